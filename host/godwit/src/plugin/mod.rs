//! `godwit plugin`: an operator's hand on the plugins of a running server.
//!
//! It owns how requests are made of files and replies are made readable. What a plugin may be and do is judged by the
//! host alone; nothing is checked twice here. Start with [`run`].

mod dead;
pub mod package;

use crate::{
    admin::{Body, Client},
    cli, config,
};
use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use hyper::Method;
use package::Package;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

/// How often `logs --follow` asks.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Where the server is, and what to do there.
#[derive(Debug, Args)]
pub struct Command {
    /// The admin address of the server; without it, the one of the default settings.
    #[arg(long, global = true, value_name = "ADDR", env = "GODWIT_ADMIN")]
    admin: Option<String>,
    /// The file with the admin token; without it and without GODWIT_ADMIN_TOKEN, the one in the default data folder.
    #[arg(long, global = true, value_name = "FILE", env = "GODWIT_ADMIN_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON, for programs.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Install a plugin, or swap it for another version, while messages flow.
    Install {
        /// A folder with plugin.toml and the built component, or a .wasm file with plugin.toml beside it.
        path: PathBuf,
        /// Grant these capabilities; what is not granted cannot be used.
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        grant: Vec<String>,
        /// The plugin's configuration, a JSON file; without it, what the active version has.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Check only: what serves goes on serving.
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the installed plugins in the order in which they run.
    List,
    /// Go back to the version before.
    Rollback {
        /// Which plugin.
        id: String,
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
    /// Show what a plugin wrote.
    Logs {
        /// Which plugin.
        id: String,
        /// Go on with new lines until interrupted.
        #[arg(long, short)]
        follow: bool,
    },
}

/// Carries out the command.
///
/// # Errors
/// The files are not as they should be, nobody answers, or the host refuses.
pub fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client { address: address(command.admin), token: token(command.token_file.as_deref())? };
        act(&client, command.action, command.json).await
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
    match action {
        Action::Install { path, grant, config, dry_run } => {
            let package = Package::find(&path)?;
            let config = config.as_deref().map(read_config).transpose()?;
            let reply = install(client, &package, grant, config, dry_run).await?;
            show(&reply, json, |installed| describe(installed, dry_run))
        }
        Action::List => {
            let reply = client.call(Method::GET, "/admin/v1/plugins", Body::Empty).await?;
            show(&reply, json, |plugins: &Plugins| table(&plugins.plugins))
        }
        Action::Rollback { id } => {
            let path = format!("/admin/v1/plugins/{}/rollback", segment(&id)?);
            let reply = client.call(Method::POST, &path, Body::Empty).await?;
            show(&reply, json, |installed| describe(installed, false))
        }
        Action::Dead { action } => dead::act(client, action, json).await,
        Action::Remove { id, discard } => {
            let query = if discard { "?discard=true" } else { "" };
            let path = format!("/admin/v1/plugins/{}{query}", segment(&id)?);
            let reply: Value = client.call(Method::DELETE, &path, Body::Empty).await?;
            show(&reply, json, |_| format!("{id} is removed; messages are decided without it.\n"))
        }
        Action::Logs { id, follow } => logs(client, segment(&id)?, follow, json).await,
    }
}

/// Sends a package to the host.
///
/// # Errors
/// Nobody answers, or the host refuses the plugin; the text says which import, hook or limit.
pub async fn install(
    client: &Client,
    package: &Package,
    grant: Vec<String>,
    config: Option<Value>,
    dry_run: bool,
) -> anyhow::Result<Installed> {
    let component = std::fs::read(&package.component)
        .with_context(|| format!("cannot read {}", package.component.display()))?;
    let mut parts = vec![
        ("manifest", "application/toml", Bytes::from(package.manifest.clone())),
        ("component", "application/wasm", Bytes::from(component)),
        ("grant", "application/json", Bytes::from(json!({ "capabilities": grant }).to_string())),
    ];
    if let Some(config) = config {
        parts.push(("config", "application/json", Bytes::from(config.to_string())));
    }
    let query = if dry_run { "?dry_run=true" } else { "" };
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
        let path = format!("/admin/v1/plugins/{id}/logs?after={after}");
        let reply: Logs = client.call(Method::GET, &path, Body::Empty).await?;
        for line in &reply.lines {
            after = after.max(line.n);
            show(line, json, |line| {
                format!("{} {:5} {id} {}  {}\n", time(line.at), line.level, line.version, line.text)
            })?;
        }
        if !follow {
            return Ok(());
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// What was installed, or would be.
#[derive(Debug, Serialize, Deserialize)]
pub struct Installed {
    /// Which plugin.
    pub id: String,
    /// Which version.
    pub version: String,
    /// The component's SHA-256.
    pub digest: String,
    /// The set of plugins that it is part of.
    pub generation: u64,
    /// What the operator should know.
    #[serde(default)]
    pub warnings: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Plugins {
    plugins: Vec<Status>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Status {
    id: String,
    version: String,
    digest: String,
    hooks: Vec<String>,
    priority: i32,
    grants: Vec<String>,
    #[serde(default)]
    previous: Option<String>,
    installed_at: u64,
    generation: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Logs {
    lines: Vec<Line>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    n: u64,
    at: u64,
    level: String,
    version: String,
    text: String,
}

fn show<T: Serialize>(value: &T, json: bool, words: impl Fn(&T) -> String) -> anyhow::Result<()> {
    let text = if json { format!("{}\n", serde_json::to_string(value)?) } else { words(value) };
    cli::print(&text)
}

fn describe(installed: &Installed, dry_run: bool) -> String {
    let Installed { id, version, generation, .. } = installed;
    let mut text = if dry_run {
        format!("{id} {version} would be accepted; nothing was changed.\n")
    } else {
        format!("{id} {version} serves, as of generation {generation}.\n")
    };
    for warning in &installed.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn table(plugins: &[Status]) -> String {
    if plugins.is_empty() {
        return "no plugin is installed; `godwit plugin install PATH` installs one.\n".to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["PLUGIN", "VERSION", "PRIORITY", "HOOKS", "GRANTS", "PREVIOUS", "INSTALLED"]);
    for plugin in plugins {
        let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        table.add_row([
            plugin.id.clone(),
            plugin.version.clone(),
            plugin.priority.to_string(),
            or_dash(plugin.hooks.join(", ")),
            or_dash(plugin.grants.join(", ")),
            or_dash(plugin.previous.clone().unwrap_or_default()),
            time(plugin.installed_at),
        ]);
    }
    // The library pads every line to the table's width; what is copied from a terminal should not carry that.
    let lines = table.to_string();
    lines.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned() + "\n").collect()
}

fn time(ms: u64) -> String {
    // Past the year 9999 the formatter gives up; a number is still true.
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).filter(|_| ms < 253_402_300_800_000);
    time.map_or_else(|| ms.to_string(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

/// An id as a segment of a path. What could not be an id is refused here, where it would change the path.
fn segment(id: &str) -> anyhow::Result<&str> {
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        bail!("`{id}` is no plugin id; ids are made of letters, digits, `-`, `_` and `.`");
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(id: &str) -> Status {
        Status {
            id: id.to_owned(),
            version: "1.2.0".to_owned(),
            digest: "ab".repeat(32),
            hooks: vec!["normalise".to_owned(), "moderation".to_owned()],
            priority: 100,
            grants: Vec::new(),
            previous: None,
            installed_at: 1_700_000_000_000,
            generation: 3,
        }
    }

    #[test]
    fn the_list_is_a_table_that_a_person_can_read() {
        let text = table(&[status("wordfilter")]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("PLUGIN "), "{text}");
        let cells: Vec<_> = lines[1].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(
            cells,
            ["wordfilter", "1.2.0", "100", "normalise, moderation", "-", "-", "2023-11-14T22:13:20Z"]
        );
    }

    #[test]
    fn an_empty_list_says_what_to_do() {
        assert!(table(&[]).contains("godwit plugin install"));
    }

    #[test]
    fn an_installation_is_told_with_its_warnings() {
        let installed = Installed {
            id: "wordfilter".to_owned(),
            version: "1.2.0".to_owned(),
            digest: String::new(),
            generation: 3,
            warnings: vec!["memory clamped to 16 MiB".to_owned()],
        };
        assert_eq!(
            describe(&installed, false),
            "wordfilter 1.2.0 serves, as of generation 3.\nwarning: memory clamped to 16 MiB\n"
        );
        assert!(describe(&installed, true).contains("would be accepted"));
    }

    #[test]
    fn an_id_cannot_climb_out_of_its_path() {
        for bad in ["", "../users", "a/b", "a?b", "a b"] {
            assert!(segment(bad).is_err(), "{bad:?}");
        }
        assert_eq!(segment("word-filter_2.0").unwrap(), "word-filter_2.0");
    }
}
