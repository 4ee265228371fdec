//! The tools of plugin authors: `godwit plugin new`, `build`, `test`, `inspect`, `pack` and `dev`.
//!
//! It owns the way from an empty folder to a plugin that an operator can install. It refuses to judge a plugin: what is
//! right is said by the engine, here as in a host. Start with [`run`]; [`project`] knows what a folder holds, [`kit`]
//! carries what projects are built with.

mod build;
mod inspect;
mod kit;
mod live;
mod new;
mod pack;
mod project;
mod test;

use crate::plugin::Connection;
use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;

/// What authors do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make the project of a new plugin: sources, manifest, README, a unit test and a scenario for each hook.
    New {
        /// The plugin's id: a-z, 0-9 and -, beginning with a letter.
        name: String,
        /// In which language.
        #[arg(long, short)]
        language: Language,
        /// Which hooks it serves; several are possible.
        #[arg(long, required = true, value_delimiter = ',', value_parser = new::HOOKS)]
        hook: Vec<String>,
        /// Make it in this folder; without it, in one of the plugin's name.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Build the component, and install what that needs where it can be installed.
    Build {
        /// The plugin's folder.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Run the manifest's tests and the scenarios in the real engine, with every limit on, and show what they used.
    Test {
        /// The plugin's folder, or a packed file.
        #[arg(default_value = ".")]
        path: PathBuf,
        /// Test what was built before.
        #[arg(long)]
        no_build: bool,
        /// Run the scenarios whose names contain this.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Throw instances away as in the run that printed this.
        #[arg(long)]
        seed: Option<u64>,
        /// Write the results as JUnit XML, too.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Show what the plugin logged in tests that passed, too.
        #[arg(long, short)]
        verbose: bool,
    },
    /// Show hooks, imports and the capabilities that they need, size, digest and version of the interface.
    Inspect {
        /// A component, a packed file, or a plugin's folder.
        path: PathBuf,
    },
    /// Make one file of manifest and component, which `install` takes.
    Pack {
        /// The plugin's folder.
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Write it here; without it, into the folder, under the plugin's id and version.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Build and swap into a running server as sources change, and show its log and decisions meanwhile.
    Dev {
        /// The plugin's folder.
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// The plugin's configuration, a JSON file; without it, dev-config.json of the folder.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Build and install once, and end.
        #[arg(long)]
        once: bool,
    },
}

/// A language that plugins are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust, with cargo.
    Rust,
    /// JavaScript, with Node.js.
    Js,
    /// Python, with CPython.
    Python,
}

/// Carries out the command.
///
/// # Errors
/// What keeps it from being done, and what to do about it.
pub fn run(action: Action, connection: Connection) -> anyhow::Result<()> {
    let json = connection.json;
    match action {
        Action::New { name, language, hook, dir } => {
            let dir = dir.unwrap_or_else(|| PathBuf::from(&name));
            new::run(&name, language, &hook, &dir, json)
        }
        Action::Build { dir } => build::run(&dir, json),
        Action::Test { path, no_build, only, seed, junit, verbose } => {
            let wanted = test::Wanted { build: !no_build, only, seed, junit, verbose, json };
            test::run(&path, &wanted)
        }
        Action::Inspect { path } => inspect::run(&path, json),
        Action::Pack { dir, output } => pack::run(&dir, output, json),
        Action::Dev { dir, config, once } => live::run(&dir, config.as_deref(), once, connection),
    }
}
