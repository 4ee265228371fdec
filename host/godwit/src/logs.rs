//! Structured logs on standard error; standard output belongs to what was asked for.

use crate::config::{Format, Log};
use anyhow::anyhow;
use std::io::{IsTerminal, stderr};
use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process.
///
/// # Errors
/// `log.level` cannot be understood, or logging was started before.
pub fn start(options: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.level)
        .map_err(|error| anyhow!("`log.level` is {:?}, but {error}", options.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    match options.format {
        Format::Text => builder.with_ansi(stderr().is_terminal()).try_init(),
        Format::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
    }
    .map_err(|error| anyhow!("cannot start the log: {error}"))
}
