//! People who are connected and say nothing.
//!
//! It owns the comparison of the host's memory before and after they came. Start with [`run`].

use super::Plan;
use crate::{
    connection::Connection,
    host::Host,
    people::{names, user},
    process::{allow_files, memory_bytes},
    report::Report,
};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::time::Instant;

/// What a session may take of the host's memory.
const SESSION_BYTES_MAX: f64 = 8.0 * 1024.0;
/// Connections that come before memory is looked at: what the host needs once is not the sessions'.
const FIRST: usize = 100;
const AT_ONCE: usize = 64;
/// Files that the generator has open beside its connections.
const OTHER_FILES: u64 = 200;

/// Runs the scenario.
///
/// # Errors
/// The host refused someone, or a connection ended.
pub async fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    allow_files((plan.idle + FIRST) as u64 + OTHER_FILES)?;
    let host = Host::start(&plan.running).await?;
    let began = Instant::now();
    let admin = &host.admin;
    let accounts = stream::iter(names(plan.idle + FIRST)).map(|name| user(admin, name));
    let accounts: Vec<_> = accounts.buffered(AT_ONCE).try_collect().await?;
    let connect = async |accounts: &[(uuid::Uuid, String)]| {
        let connections = stream::iter(accounts).map(|(_, token)| async {
            let connection = Connection::open(host.public, began).await?;
            connection.authenticate(token).await?;
            anyhow::Ok(connection)
        });
        connections.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await
    };
    let (first, rest) = accounts.split_at(FIRST);
    let mut connections = connect(first).await?;
    let before = host.pid.map(memory_bytes).transpose()?;
    connections.extend(connect(rest).await?);
    let after = host.pid.map(memory_bytes).transpose()?;
    ensure!(connections.len() == plan.idle + FIRST, "only {} sessions were made", connections.len());
    for connection in &connections {
        if let Some(ended) = connection.ended() {
            anyhow::bail!("an idle connection ended: {ended}");
        }
    }
    // Everyone is still served: the last asks for something.
    let last = connections.last().context("someone is connected")?;
    last.request("conversations", serde_json::json!({})).await?;
    match before.zip(after) {
        Some((before, after)) => {
            let each = after.saturating_sub(before) as f64 / plan.idle as f64;
            let measured = format!("{:.1} KiB of {} sessions", each / 1024.0, plan.idle);
            let goal = format!("≤ {:.0} KiB", SESSION_BYTES_MAX / 1024.0);
            report.goal("idle", "memory per session", measured, goal, each <= SESSION_BYTES_MAX);
        }
        None => report.figure("idle", "memory per session", "unknown without `--pid`"),
    }
    drop(connections);
    host.end().await
}
