//! `godwit plugin`: an operator's hand on the plugins of a running server.
//!
//! It owns how requests are made of files and flags; `show` makes replies readable. What a plugin may be and do is
//! judged by the host alone; nothing is checked twice here. Start with [`run`].

mod dead;
pub mod package;
mod secrets;
mod show;

use crate::{
    admin::{Body, Client},
    author, cli, config,
};
use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use godwit_domain::{
    plugin::{Installed, Poisoned, Status, Upload},
    time::Ms,
};
use hyper::Method;
use package::Package;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How often `logs --follow` asks.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Where the server is, and how its answers are shown.
#[derive(Debug, Args)]
pub struct Connection {
    /// The admin address of the server; without it, the one of the default settings.
    #[arg(long, global = true, value_name = "ADDR", env = "GODWIT_ADMIN")]
    admin: Option<String>,
    /// The file with the admin token; without it and without GODWIT_ADMIN_TOKEN, the one in the default data folder.
    #[arg(long, global = true, value_name = "FILE", env = "GODWIT_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Where the server is, and what to do there.
#[derive(Debug, Args)]
pub struct Command {
    #[command(flatten)]
    connection: Connection,
    #[command(subcommand)]
    action: Action,
}

/// What decided about a message.
#[derive(Debug, Args)]
pub struct Trace {
    #[command(flatten)]
    connection: Connection,
    /// In which conversation.
    conversation: String,
    /// The number of the message.
    seq: u64,
}

#[derive(Debug, Subcommand)]
enum Action {
    #[command(flatten)]
    Author(author::Action),
    /// Install a plugin, or swap it for another version, while messages flow.
    Install {
        /// A folder with plugin.toml and the built component, a packed file, or a .wasm file with plugin.toml beside it.
        path: PathBuf,
        /// Grant these capabilities; without it, what the active version has. What is not granted cannot be used.
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        grant: Option<Vec<String>>,
        /// The plugin's configuration, a JSON file; without it, what the active version has.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Take the component of this digest, which was staged before, in place of the one on disk.
        #[arg(long)]
        digest: Option<String>,
        /// Let it see what the active version sees, and compare what both say.
        #[arg(long, conflicts_with = "canary")]
        shadow: bool,
        /// Let it decide in so many conversations of a hundred.
        #[arg(long, value_name = "PERCENT")]
        canary: Option<u8>,
        /// Check only, and show what would change: what serves goes on serving.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the installed plugins in the order in which they run.
    List,
    /// Show all about one plugin.
    Show(Which),
    /// Upload a component, so that it can be installed by its digest.
    Stage {
        /// A folder with plugin.toml and the built component, or a .wasm file.
        path: PathBuf,
    },
    /// Show the components that were staged.
    Staged,
    /// Forget a staged component.
    Unstage {
        /// Which component.
        digest: String,
    },
    /// Grant capabilities to the version that waits for them; it serves then.
    Grant {
        /// Which plugin.
        id: String,
        /// Which capabilities.
        #[arg(required = true, value_delimiter = ',')]
        capabilities: Vec<String>,
    },
    /// Let the version beside the active one see what that sees, and compare what both say.
    Shadow(Which),
    /// Let the version beside the active one decide in some conversations.
    Canary {
        /// Which plugin.
        id: String,
        /// In how many of a hundred.
        percent: u8,
    },
    /// Make the version beside the active one the active one.
    Promote(Which),
    /// Drop the version beside the active one.
    Drop(Which),
    /// Go back to the version before.
    Rollback(Which),
    /// Ask a plugin again that was disabled, or that is in quarantine.
    Enable(Which),
    /// Ask a plugin no more, and keep it.
    Disable(Which),
    /// Refuse other versions of a plugin.
    Pin(Which),
    /// Take other versions of a plugin again.
    Unpin(Which),
    /// Move a plugin: lower runs first.
    Priority {
        /// Which plugin.
        id: String,
        /// Its priority; without it, the manifest's.
        #[arg(allow_negative_numbers = true)]
        priority: Option<i32>,
    },
    /// Say what becomes of messages that a plugin does not judge; what is left out is as the manifest says.
    Failure {
        /// Which plugin.
        id: String,
        /// When its moderation traps, is cut or finds all instances busy: hold or reject.
        #[arg(long, value_parser = ["hold", "reject"])]
        moderation: Option<String>,
        /// While it is not asked, because its breaker is open or it is in quarantine: allow, hold or reject.
        #[arg(long, value_parser = ["allow", "hold", "reject"])]
        open: Option<String>,
    },
    /// Say where a plugin is asked: in conversations that any of these names; without any, everywhere.
    Scope {
        /// Which plugin.
        id: String,
        /// Kinds of conversations.
        #[arg(long, value_delimiter = ',', value_parser = ["direct", "group", "channel"])]
        kind: Vec<String>,
        /// Labels of conversations.
        #[arg(long, value_delimiter = ',')]
        label: Vec<String>,
        /// Ids of conversations.
        #[arg(long, value_delimiter = ',')]
        conversation: Vec<String>,
    },
    /// Show what a plugin is not shown any more because it killed it twice.
    Poison {
        /// Which plugin.
        id: String,
        /// Let it be shown everything again.
        #[arg(long)]
        clear: bool,
    },
    /// Remove a plugin. What it wanted done is done, then everything that it kept is forgotten.
    Remove {
        /// Which plugin.
        id: String,
        /// Forget what it wanted done as well.
        #[arg(long)]
        discard: bool,
    },
    /// Look after what a plugin never heard, and what it was refused.
    Dead {
        #[command(subcommand)]
        action: dead::Action,
    },
    /// Set, list or remove what a plugin is entrusted with.
    Secret {
        #[command(subcommand)]
        action: secrets::Action,
    },
    /// Show what a plugin wrote.
    Logs {
        /// Which plugin.
        id: String,
        /// Go on with new lines until interrupted.
        #[arg(long, short)]
        follow: bool,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// Which plugin.
    id: String,
}

/// Carries out the command.
///
/// # Errors
/// The files are not as they should be, nobody answers, or the host refuses.
pub fn run(command: Command) -> anyhow::Result<()> {
    let Command { connection, action } = command;
    let action = match action {
        Action::Author(action) => return author::run(action, connection),
        action => action,
    };
    connected(connection, async |client, json| act(client, action, json).await)
}

/// Shows which plugins of which version saw a message, and what each decided.
///
/// # Errors
/// There is no such message, nobody answers, or the host refuses.
pub fn trace(trace: Trace) -> anyhow::Result<()> {
    let Trace { connection, conversation, seq } = trace;
    connected(connection, async |client, json| {
        let path = format!("/admin/v1/conversations/{}/messages/{seq}/trace", segment(&conversation)?);
        let reply = client.call(Method::GET, &path, Body::Empty).await?;
        print(&reply, json, show::traced)
    })
}

/// Runs a command that talks to a server.
///
/// # Errors
/// The token cannot be read, or what the command says.
pub fn connected(
    connection: Connection,
    act: impl AsyncFnOnce(&Client, bool) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Connection { admin, token_file, json } = connection;
        let client = Client { address: address(admin), token: token(token_file.as_deref())? };
        act(&client, json).await
    })
}

fn address(named: Option<String>) -> String {
    named.unwrap_or_else(|| config::Server::default().admin.to_string())
}

/// The token: of the file that is named, of the environment, of the default data folder, in this order.
fn token(file: Option<&Path>) -> anyhow::Result<String> {
    if let (None, Ok(token)) = (file, std::env::var("GODWIT_ADMIN_TOKEN")) {
        return Ok(token);
    }
    let default = config::Server::default().data.join("admin-token");
    read_token(file.unwrap_or(&default))
}

/// Reads an admin token.
///
/// # Errors
/// The file cannot be read.
pub fn read_token(path: &Path) -> anyhow::Result<String> {
    let token = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the admin token from {}; name the file `admin-token` of the host's data folder with \
             --token-file, or set GODWIT_ADMIN_TOKEN",
            path.display()
        )
    })?;
    Ok(token.trim().to_owned())
}

async fn act(client: &Client, action: Action, json: bool) -> anyhow::Result<()> {
    let post = async |id: &str, step: &str, body: Body| {
        let path = format!("/admin/v1/plugins/{}/{step}", segment(id)?);
        let reply = client.call(Method::POST, &path, body).await?;
        print(&reply, json, |installed| show::installed(installed, false))
    };
    let put = async |id: &str, setting: &str, body: Value| {
        let path = format!("/admin/v1/plugins/{}/{setting}", segment(id)?);
        let reply = client.call(Method::PUT, &path, Body::Json(body)).await?;
        print(&reply, json, show::status)
    };
    match action {
        // Authors need no server; they were served before.
        Action::Author(_) => Ok(()),
        Action::Install { path, grant, config, digest, shadow, canary, dry_run } => {
            let (package, component) = match digest {
                None => {
                    let package = Package::find(&path)?;
                    let bytes = package.bytes()?;
                    (package, ("component", "application/wasm", Bytes::from(bytes)))
                }
                Some(digest) => (Package::described(&path)?, ("digest", "text/plain", Bytes::from(digest))),
            };
            let begin = match (shadow, canary) {
                (true, _) => "&as=shadow".to_owned(),
                (false, Some(percent)) => format!("&as=canary&percent={percent}"),
                (false, None) => String::new(),
            };
            let config = config.as_deref().map(read_config).transpose()?;
            let query = format!("?dry_run={dry_run}{begin}");
            let reply = send(client, &package, component, grant, config, &query).await?;
            print(&reply, json, |installed| show::installed(installed, dry_run))
        }
        Action::List => {
            let reply = client.call(Method::GET, "/admin/v1/plugins", Body::Empty).await?;
            print(&reply, json, |plugins: &Plugins| show::table(&plugins.plugins))
        }
        Action::Show(Which { id }) => {
            let path = format!("/admin/v1/plugins/{}", segment(&id)?);
            let reply = client.call(Method::GET, &path, Body::Empty).await?;
            print(&reply, json, show::status)
        }
        Action::Stage { path } => {
            let component = if path.is_dir() { Package::find(&path)?.component } else { path };
            let body = Body::Bytes(Bytes::from(package::read_component(&component)?));
            let reply = client.call(Method::POST, "/admin/v1/components", body).await?;
            print(&reply, json, show::uploaded)
        }
        Action::Staged => {
            let reply = client.call(Method::GET, "/admin/v1/components", Body::Empty).await?;
            print(&reply, json, |staged: &Components| show::uploads(&staged.components))
        }
        Action::Unstage { digest } => {
            let path = format!("/admin/v1/components/{}", segment(&digest)?);
            let reply: Value = client.call(Method::DELETE, &path, Body::Empty).await?;
            print(&reply, json, |_| format!("{digest} is forgotten.\n"))
        }
        Action::Grant { id, capabilities } => {
            post(&id, "grant", Body::Json(json!({ "capabilities": capabilities }))).await
        }
        Action::Canary { id, percent } => {
            post(&id, "canary", Body::Json(json!({ "percent": percent }))).await
        }
        Action::Shadow(Which { id }) => post(&id, "shadow", Body::Empty).await,
        Action::Promote(Which { id }) => post(&id, "promote", Body::Empty).await,
        Action::Drop(Which { id }) => post(&id, "drop", Body::Empty).await,
        Action::Rollback(Which { id }) => post(&id, "rollback", Body::Empty).await,
        Action::Enable(Which { id }) => put(&id, "disabled", json!({ "disabled": false })).await,
        Action::Disable(Which { id }) => put(&id, "disabled", json!({ "disabled": true })).await,
        Action::Pin(Which { id }) => put(&id, "pinned", json!({ "pinned": true })).await,
        Action::Unpin(Which { id }) => put(&id, "pinned", json!({ "pinned": false })).await,
        Action::Priority { id, priority } => put(&id, "priority", json!({ "priority": priority })).await,
        Action::Failure { id, moderation, open } => {
            put(&id, "failure", json!({ "moderation": moderation, "open": open })).await
        }
        Action::Scope { id, kind, label, conversation } => {
            put(&id, "scope", json!({ "kinds": kind, "labels": label, "conversations": conversation })).await
        }
        Action::Poison { id, clear } => {
            let path = format!("/admin/v1/plugins/{}/poison", segment(&id)?);
            if clear {
                let reply: Forgotten = client.call(Method::DELETE, &path, Body::Empty).await?;
                return print(&reply, json, |reply| {
                    format!("{} forgotten; {id} is shown everything again.\n", reply.forgotten)
                });
            }
            let reply = client.call(Method::GET, &path, Body::Empty).await?;
            print(&reply, json, |reply: &Poison| show::poisoned(&reply.poisoned))
        }
        Action::Dead { action } => dead::act(client, action, json).await,
        Action::Remove { id, discard } => {
            let query = if discard { "?discard=true" } else { "" };
            let path = format!("/admin/v1/plugins/{}{query}", segment(&id)?);
            let reply: Value = client.call(Method::DELETE, &path, Body::Empty).await?;
            print(&reply, json, |_| format!("{id} is removed; messages are decided without it.\n"))
        }
        Action::Secret { action } => secrets::act(client, action, json).await,
        Action::Logs { id, follow } => logs(client, segment(&id)?, follow, json).await,
    }
}

/// Sends a package to the host, to serve at once with these grants.
///
/// # Errors
/// Nobody answers, or the host refuses the plugin; the text says which import, hook or limit.
pub async fn install(
    client: &Client,
    package: &Package,
    grant: Vec<String>,
    config: Option<Value>,
) -> anyhow::Result<Installed> {
    let component = ("component", "application/wasm", Bytes::from(package.bytes()?));
    send(client, package, component, Some(grant), config, "").await
}

async fn send(
    client: &Client,
    package: &Package,
    component: Part,
    grant: Option<Vec<String>>,
    config: Option<Value>,
    query: &str,
) -> anyhow::Result<Installed> {
    let mut parts = vec![("manifest", "application/toml", Bytes::from(package.manifest.clone())), component];
    if let Some(grant) = grant {
        parts.push(("grant", "application/json", Bytes::from(json!({ "capabilities": grant }).to_string())));
    }
    if let Some(config) = config {
        parts.push(("config", "application/json", Bytes::from(config.to_string())));
    }
    let path = format!("/admin/v1/plugins/{}{query}", segment(&package.id)?);
    client.call(Method::PUT, &path, Body::Form(parts)).await
}

/// Reads a plugin's configuration.
///
/// # Errors
/// The file cannot be read or is no JSON.
pub fn read_config(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))
}

async fn logs(client: &Client, id: &str, follow: bool, json: bool) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        after = show_lines(client, id, after, json).await?;
        if !follow {
            return Ok(());
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// Shows the lines that a plugin wrote after the `after`th; returns the number of the last one.
///
/// # Errors
/// Nobody answers, or the host refuses.
pub async fn show_lines(client: &Client, id: &str, after: u64, json: bool) -> anyhow::Result<u64> {
    let path = format!("/admin/v1/plugins/{}/logs?after={after}", segment(id)?);
    let reply: Logs = client.call(Method::GET, &path, Body::Empty).await?;
    for line in &reply.lines {
        print(line, json, |line| {
            format!("{} {:5} {id} {}  {}\n", show::time(line.at), line.level, line.version, line.text)
        })?;
    }
    Ok(reply.lines.iter().fold(after, |last, line| last.max(line.n)))
}

/// A plugin as an operator sees it.
///
/// # Errors
/// Nobody answers, or there is no such plugin.
pub async fn status(client: &Client, id: &str) -> anyhow::Result<Status> {
    client.call(Method::GET, &format!("/admin/v1/plugins/{}", segment(id)?), Body::Empty).await
}

/// A part of a form: name, content type, bytes.
type Part = (&'static str, &'static str, Bytes);

#[derive(Debug, Serialize, Deserialize)]
struct Plugins {
    plugins: Vec<Status>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Components {
    components: Vec<Upload>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Poison {
    poisoned: Vec<Poisoned>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Forgotten {
    forgotten: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Logs {
    lines: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    n: u64,
    at: Ms,
    level: String,
    version: String,
    text: String,
}

fn print<T: Serialize>(value: &T, json: bool, words: impl Fn(&T) -> String) -> anyhow::Result<()> {
    let text = if json { format!("{}\n", serde_json::to_string(value)?) } else { words(value) };
    cli::print(&text)
}

/// An id as a segment of a path. What could not be an id is refused here, where it would change the path.
fn segment(id: &str) -> anyhow::Result<&str> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        bail!("`{id}` is no id; ids are made of letters, digits, `-`, `_` and `.`");
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_climb_out_of_its_path() {
        for bad in ["", "../users", "a/b", "a?b", "a b"] {
            assert!(segment(bad).is_err(), "{bad:?}");
        }
        assert_eq!(segment("word-filter_2.0").unwrap(), "word-filter_2.0");
    }
}
