//! What the binary can be told to do.
//!
//! It owns names, flags and their help; each command's work stands in the module of its name.

use crate::{config, dev, plugin, serve};
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode};

/// A self-hosted chat server whose rules are plugins.
#[derive(Debug, Parser)]
#[command(name = "godwit", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(Settings),
    /// Build the plugins of this project, run a server with them, and swap them as their sources change.
    Dev(Settings),
    /// Manage the plugins of a running server.
    Plugin(plugin::Command),
    /// Show which plugins of which version saw a message, what each decided, and in what time.
    Trace(plugin::Trace),
    /// Print every setting with its documentation and default, as a file that `--config` takes.
    Config {
        /// Print a table of the limits instead: each with its default, and what answers whoever goes beyond it.
        #[arg(long)]
        limits: bool,
    },
    /// Compile a component from standard input to standard output: how the server calls itself.
    #[command(hide = true)]
    CompileComponent,
}

/// Settings on the command line; each is stronger than the environment, and that than the file.
#[derive(Debug, Args)]
pub struct Settings {
    /// Read settings from this TOML file.
    #[arg(long, value_name = "FILE", env = "GODWIT_CONFIG")]
    config: Option<PathBuf>,
    /// Keep everything in this folder.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Listen for clients here; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Listen for operators here; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// Set anything that `godwit config` prints, as in `--set gateway.ping_interval_ms=1000`.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Settings {
    /// Where the settings of this run come from.
    ///
    /// # Errors
    /// A `--set` without `=`.
    pub fn sources(self) -> anyhow::Result<config::Sources> {
        let mut flags = Vec::new();
        for set in self.set {
            let (key, value) = set.split_once('=').with_context(|| {
                format!("--set: `{set}` has no `=`; write it as in `--set log.level=debug`")
            })?;
            flags.push(("--set", key.trim().to_owned(), value.to_owned()));
        }
        // The flags with names of their own come last: who writes both means them.
        let named = [
            ("--data", "server.data", self.data.map(|path| path.to_string_lossy().into_owned())),
            ("--listen", "server.listen", self.listen.map(|address| address.to_string())),
            ("--admin", "server.admin", self.admin.map(|address| address.to_string())),
        ];
        for (flag, key, value) in named {
            flags.extend(value.map(|value| (flag, key.to_owned(), value)));
        }
        Ok(config::Sources { presets: Vec::new(), file: self.config, flags })
    }
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Whatever keeps it from being done, in words for the person who asked.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(settings) => serve::run(&settings.sources()?),
            Command::Dev(settings) => dev::run(settings.sources()?),
            Command::Plugin(command) => plugin::run(command),
            Command::Trace(trace) => plugin::trace(trace),
            Command::Config { limits: false } => print(&config::example()),
            Command::Config { limits: true } => print(&config::limits()),
            Command::CompileComponent => return Ok(godwit_engine::compile_child()),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// Writes to standard output. A reader who has read enough (`godwit config | head`) is no failure.
///
/// # Errors
/// Standard output cannot be written to.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Vec<(&'static str, String, String)> {
        let cli = Cli::try_parse_from(["godwit", "serve"].iter().chain(arguments)).unwrap();
        let Command::Serve(settings) = cli.command else { panic!("not serve") };
        settings.sources().unwrap().flags
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn named_flags_are_settings_and_stronger_than_set() {
        let flags = flags(&["--listen", "127.0.0.1:0", "--set", "server.listen=127.0.0.1:1"]);
        assert_eq!(flags[0], ("--set", "server.listen".to_owned(), "127.0.0.1:1".to_owned()));
        assert_eq!(flags[1], ("--listen", "server.listen".to_owned(), "127.0.0.1:0".to_owned()));
    }

    #[test]
    fn a_set_may_hold_an_equals_sign_in_its_value() {
        let flags = flags(&["--set", "log.level=info,godwit_core=debug"]);
        assert_eq!(flags[0].2, "info,godwit_core=debug");
    }
}
