//! The one binary: reads settings, wires the crates together, and speaks to operators.
//!
//! It owns configuration, the command line, signals and logs. It refuses to know how anything behaves: that stands
//! in `core`, behind ports that are filled here and nowhere else.
//!
//! Start with [`cli`] for what it can be told to do, then [`serve`] for how the parts are put together.

mod cli;
mod config;
mod logs;
mod serve;
mod admin;
mod plugin;
mod dev;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
