//! The processes that a run measures: the host and the relay.
//!
//! It owns their starting and ending and the reading of what they cost; it refuses to know what is sent to them.
//! Start with [`Host::start`].

use crate::{metrics::Commits, process::Cpu};
use anyhow::{Context, Result};
use clap::Args;
use godwit_e2e::{
    admin::Admin,
    server::{Server, UNLIMITED},
};
use std::{net::SocketAddr, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A host that runs already. It must not limit how fast people send.
#[derive(Debug, Clone, Args)]
pub struct Running {
    /// Measure the host that listens here, instead of starting one.
    #[arg(long, requires_all = ["admin", "admin_token"])]
    server: Option<SocketAddr>,
    /// Its admin listener.
    #[arg(long)]
    admin: Option<SocketAddr>,
    /// Its admin token.
    #[arg(long, env = "GODWIT_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
    /// Its process id on this machine; its own cost is not measured without.
    #[arg(long)]
    pid: Option<u32>,
}

/// A host under load.
pub struct Host {
    /// Where people connect.
    pub public: SocketAddr,
    /// Where operators connect.
    pub admin: Admin,
    /// Whose cost is measured.
    pub pid: Option<u32>,
    /// The process, where it is ours.
    server: Option<Server>,
}

/// What stood on the meters at some time.
#[derive(Debug)]
pub struct Reading {
    cpu: Option<Cpu>,
    commits: Commits,
}

/// What was used between two readings.
#[derive(Debug)]
pub struct Usage {
    /// Processor time, where the process can be seen.
    pub cpu: Option<Duration>,
    /// Durable commits.
    pub commits: Commits,
}

impl Host {
    /// Starts a host on a folder of its own, or uses the one that runs.
    ///
    /// # Errors
    /// It does not serve.
    pub async fn start(running: &Running) -> Result<Self> {
        Self::start_with(running, "").await
    }

    /// As [`Host::start`], with these settings (TOML) as well, where the host is ours.
    ///
    /// # Errors
    /// It does not serve.
    pub async fn start_with(running: &Running, settings: &str) -> Result<Self> {
        if let Some(public) = running.server {
            let admin = running.admin.context("`--server` needs `--admin`")?;
            let token = running.admin_token.as_deref().context("`--server` needs `--admin-token`")?;
            return Ok(Self { public, admin: Admin::new(admin, token), pid: running.pid, server: None });
        }
        let server = Server::with(&format!("{UNLIMITED}{settings}")).await?;
        let pid = Some(server.pid()?);
        Ok(Self { public: server.public, admin: server.admin.clone(), pid, server: Some(server) })
    }

    /// Reads the meters.
    ///
    /// # Errors
    /// The host has ended.
    pub async fn read(&self) -> Result<Reading> {
        let commits = Commits::read(&self.admin.metrics().await?)?;
        let cpu = self.pid.map(Cpu::of).transpose()?;
        Ok(Reading { cpu, commits })
    }

    /// What was used since an earlier reading.
    ///
    /// # Errors
    /// The host has ended.
    pub async fn since(&self, earlier: &Reading) -> Result<Usage> {
        let now = self.read().await?;
        let cpu = now.cpu.zip(earlier.cpu).map(|(now, then)| now.since(then));
        Ok(Usage { cpu, commits: now.commits.since(&earlier.commits) })
    }

    /// Ends the host, where it is ours.
    ///
    /// # Errors
    /// It does not end cleanly.
    pub async fn end(self) -> Result<()> {
        if let Some(mut server) = self.server {
            let status = server.terminate().await?;
            anyhow::ensure!(status.success(), "the host ended with {status}:\n{}", server.log());
        }
        Ok(())
    }
}

impl Usage {
    /// Microseconds of processor time for each of that many messages; `None` where the process cannot be seen.
    pub fn cpu_us_each(&self, messages: u64) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / messages.max(1) as f64)
    }
}

/// The relay's process.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its process id.
    pub pid: u32,
    _child: Child,
}

impl Relay {
    /// Starts this program once more, as the relay.
    ///
    /// # Errors
    /// It does not serve.
    pub async fn start() -> Result<Self> {
        Self::launch(&["relay"]).await
    }

    /// Starts this program once more, as the one who writes to that many listeners.
    ///
    /// # Errors
    /// It does not serve.
    pub async fn broadcast(listeners: usize) -> Result<Self> {
        Self::launch(&["broadcast", "--crowd", &listeners.to_string()]).await
    }

    /// Starts this program once more, as the one who writes to `each` of so many listeners in turn.
    ///
    /// # Errors
    /// It does not serve.
    pub async fn tell(listeners: usize, each: usize) -> Result<Self> {
        Self::launch(&["tell", "--crowd", &listeners.to_string(), "--each", &each.to_string()]).await
    }

    async fn launch(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(arguments).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("standard output is piped")?).lines();
        let address = lines.next_line().await?.context("the relay did not begin to serve")?.parse()?;
        Ok(Self { address, pid: child.id().context("the relay has ended")?, _child: child })
    }
}
