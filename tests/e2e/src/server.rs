//! A server's life: started on free ports and a folder of its own, killed, ended, started again.
//!
//! It owns the process, its data folder and what it logs; it refuses to know what is said over the sockets.
//! Start with [`Server::start`]; [`run`] is for commands that end by themselves.

use crate::{
    PATIENCE,
    admin::Admin,
    client::{Client, Transport},
};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    time::timeout,
};
use uuid::Uuid;

/// What tests run with unless they say otherwise: no limit on how fast they act.
pub const UNLIMITED: &str = "[limits]\nsends_per_s = 0\nrequests_per_s = 0\nlogins_per_minute = 0\n";

/// The last lines of the log that are kept.
const LOG_LINES_MAX: usize = 2_000;

/// A server under test. Dropping it kills the process and removes the folder.
pub struct Server {
    /// Where clients connect.
    pub public: SocketAddr,
    /// Where operators connect.
    pub admin: Admin,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    folder: TempDir,
}

/// Someone with an account.
#[derive(Debug, Clone)]
pub struct Person {
    /// Who.
    pub id: Uuid,
    /// The name of the account.
    pub name: String,
    /// A minted token.
    pub token: String,
}

impl Server {
    /// A server with the settings [`UNLIMITED`].
    ///
    /// # Errors
    /// It did not start to serve; what it logged is told.
    pub async fn start() -> Result<Self> {
        Self::with(UNLIMITED).await
    }

    /// A server with these settings (TOML).
    ///
    /// # Errors
    /// It did not start to serve; what it logged is told.
    pub async fn with(settings: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("godwit-e2e-").tempdir()?;
        std::fs::write(folder.path().join("settings.toml"), settings)?;
        let started = launch(folder.path()).await?;
        let admin = Admin::of_folder(started.admin, &data(folder.path()))?;
        Ok(Self { public: started.public, admin, child: started.child, log: started.log, folder })
    }

    /// Starts it again on the same folder, after [`Server::kill`] or [`Server::terminate`]; the addresses change.
    ///
    /// # Errors
    /// It did not start to serve; what it logged is told.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_some(), "the server still runs");
        let started = launch(self.folder.path()).await?;
        self.admin = Admin::of_folder(started.admin, &self.data())?;
        (self.public, self.child, self.log) = (started.public, started.child, started.log);
        Ok(())
    }

    /// Replaces the settings; they count from the next restart.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn configure(&self, settings: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.path().join("settings.toml"), settings)?)
    }

    /// `kill -9`; returns when the process is gone.
    ///
    /// # Errors
    /// It had ended before.
    pub async fn kill(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the server had ended by itself:\n{}", self.log());
        self.child.kill().await.context("kill the server")
    }

    /// SIGTERM, without waiting for what follows.
    ///
    /// # Errors
    /// It had ended before.
    pub fn signal(&self) -> Result<()> {
        let pid = self.child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        let pid = pid.context("the server has ended")?;
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::TERM)?)
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// It did not within [`PATIENCE`].
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("the server did not end within {PATIENCE:?}:\n{}", self.log()),
        }
    }

    /// SIGTERM, and the status with which it ended.
    ///
    /// # Errors
    /// It did not end within [`PATIENCE`].
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal()?;
        self.ended().await
    }

    /// Limits how large its files may be, or takes the limit back: at the limit, writing fails as on a full disk.
    ///
    /// # Errors
    /// It has ended, or the system refuses.
    pub fn limit_file_bytes(&self, max: Option<u64>) -> Result<()> {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let pid = Pid::from_raw(self.pid()?.cast_signed());
        prlimit(pid, Resource::Fsize, Rlimit { current: max, maximum: None })?;
        Ok(())
    }

    /// Its process id.
    ///
    /// # Errors
    /// It has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        data(self.folder.path())
    }

    /// What it logged lately.
    pub fn log(&self) -> String {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// An account without a password, and a token for it.
    ///
    /// # Errors
    /// The admin API refuses.
    pub async fn person(&self, name: &str) -> Result<Person> {
        let id = self.admin.create_user(name, None).await?;
        let token = self.admin.mint(id, None).await?;
        Ok(Person { id, name: name.to_owned(), token })
    }

    /// A session of that person, from a device of its own.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn session(&self, person: &Person) -> Result<Client> {
        Client::connect(self.public, &person.token).await
    }

    /// A session of that person over that transport, from a device of its own.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn session_over(&self, transport: Transport, person: &Person) -> Result<Client> {
        Client::connect_over(transport, self.public, &person.token).await
    }

    /// A person and a session of theirs.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn join(&self, name: &str) -> Result<(Person, Client)> {
        let person = self.person(name).await?;
        let client = self.session(&person).await?;
        Ok((person, client))
    }

    /// `POST` of JSON to the public listener: the status and the JSON that came back, `null` where none did.
    ///
    /// # Errors
    /// No answer came.
    pub async fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Result<(u16, Value)> {
        let mut request = reqwest::Client::new().post(format!("http://{}{path}", self.public)).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = timeout(PATIENCE, request.send()).await??;
        let status = response.status().as_u16();
        Ok((status, serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null)))
    }
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

struct Started {
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<VecDeque<String>>>,
}

async fn launch(folder: &Path) -> Result<Started> {
    let mut command = Command::new(binary()?);
    command.arg("serve").arg("--data").arg(data(folder)).args(["--listen", "127.0.0.1:0"]);
    command.args(["--admin", "127.0.0.1:0"]).arg("--config").arg(folder.join("settings.toml"));
    let mut child = isolated(&mut command).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let log = Arc::new(Mutex::new(VecDeque::new()));
    let errors = child.stderr.take().context("standard error is piped")?;
    let keeper = tokio::spawn(keep(errors, Arc::clone(&log)));
    let mut lines = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
    let serving = async {
        while let Some(line) = lines.next_line().await? {
            let words: Vec<_> = line.split_whitespace().collect();
            if let ["listening", "on", public, "admin", admin] = words[..] {
                return Ok(Some((public.parse()?, admin.parse()?)));
            }
        }
        anyhow::Ok(None)
    };
    let Some((public, admin)) =
        timeout(PATIENCE, serving).await.context("the server does not begin to serve")??
    else {
        let status = child.wait().await?;
        // The log is whole once the pipe is at its end.
        keeper.await?;
        let log = log.lock().unwrap_or_else(PoisonError::into_inner);
        bail!(
            "the server ended with {status} before it served:\n{}",
            Vec::from_iter(log.iter().cloned()).join("\n")
        );
    };
    // Nobody reads the rest, but a full pipe would stop the server.
    tokio::spawn(keep(lines.into_inner(), Arc::new(Mutex::new(VecDeque::new()))));
    Ok(Started { child, public, admin, log })
}

async fn keep(from: impl AsyncRead + Unpin, log: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LOG_LINES_MAX {
            log.pop_front();
        }
        log.push_back(line);
    }
}

/// Settings from the caller's own environment must not reach a server under test.
fn isolated(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GODWIT_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stderr(Stdio::piped())
}

/// Runs the binary with these arguments to its end.
///
/// # Errors
/// It did not end within [`PATIENCE`].
pub async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(binary()?);
    isolated(&mut command).args(arguments).envs(environment.iter().copied()).kill_on_drop(true);
    Ok(timeout(PATIENCE, command.output())
        .await
        .with_context(|| format!("godwit {arguments:?} does not end"))??)
}

/// The binary under test: `GODWIT_BIN`, or else the one that cargo builds beside the running program.
///
/// # Errors
/// It cannot be built.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = BINARY.get_or_init(|| match std::env::var_os("GODWIT_BIN") {
        Some(path) => Ok(path.into()),
        None => build().map_err(|error| format!("{error:#}")),
    });
    found.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    // Tests stand in `TARGET/PROFILE/deps`, other programs one folder higher.
    let folder = this.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    let folder = folder.context("a program stands in a folder")?;
    let target = folder.parent().context("a profile's folder stands in the target folder")?;
    let profile = folder.file_name().and_then(|name| name.to_str()).context("a profile has a name")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args(["build", "--quiet", "--package", "godwit", "--bin", "godwit", "--profile"]);
    command.arg(if profile == "debug" { "dev" } else { profile }).arg("--target-dir").arg(target);
    command.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    let status = command.status().context("start cargo; or set GODWIT_BIN to a built binary")?;
    ensure!(status.success(), "cargo could not build the server; or set GODWIT_BIN to a built binary");
    Ok(folder.join("godwit"))
}
