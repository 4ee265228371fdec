//! The one binary: reads settings, wires the crates together, and speaks to operators.
//!
//! It owns configuration, the command line, signals and logs. It refuses to know how anything behaves: that stands
//! in `core`, behind ports that are filled here and nowhere else.
//!
//! Start with [`cli`] for what it can be told to do, then [`serve`] for how the parts are put together.

mod admin;
mod author;
mod cli;
mod clock;
mod config;
mod dev;
mod keys;
mod logs;
mod plugin;
mod serve;

use clap::Parser;
use std::process::ExitCode;

/// A sixth of the CPU under load was spent in the system's allocator (`host/decisions/0006-allocator.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
