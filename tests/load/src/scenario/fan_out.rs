//! One group, one who speaks, and everyone else connected and following: in bursts and at a pace.
//!
//! It owns the comparison of what a copy costs the host with a bare write of the same bytes. Every copy is checked:
//! each member is pushed every number, in order. Start with [`run`].

use super::Plan;
use crate::{
    connection::Connection,
    host::{Host, Relay},
    people::{names, user},
    process::{Cpu, allow_files, memory_bytes},
    report::{Report, median, microseconds},
};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use std::{
    rc::Rc,
    time::{Duration, Instant},
};
use uuid::Uuid;

/// What a copy may cost, in bare writes.
const BARE_WRITES: f64 = 1.5;
/// Messages that are sent at once.
const BURST: usize = 8;
const BURSTS: usize = 5;
const PACED: usize = 20;
const PACE: Duration = Duration::from_millis(250);
/// How many one `invite` names.
const INVITED: usize = 500;
const AT_ONCE: usize = 64;
/// Files that the generator has open beside its connections.
const OTHER_FILES: u64 = 200;

/// One who speaks, and those who listen.
struct Crowd {
    speaker: Rc<Connection>,
    listeners: Vec<Rc<Connection>>,
}

/// Runs the scenario.
///
/// # Errors
/// The host refused something, or a copy is missing or out of order.
pub async fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let listeners = plan.crowd - 1;
    allow_files(plan.crowd as u64 + OTHER_FILES)?;
    // One after the other: a process may not open files enough for both crowds at once.
    let mut floors = Vec::with_capacity(plan.rounds);
    {
        let floor = Relay::broadcast(listeners).await?;
        let bare = bare(floor.address, listeners).await?;
        for _ in 0..plan.rounds {
            let cpu = Cpu::of(floor.pid)?;
            bare.speak(BURSTS, BURST, Duration::ZERO).await?;
            let burst = Cpu::of(floor.pid)?.since(cpu);
            let cpu = Cpu::of(floor.pid)?;
            bare.speak(PACED, 1, PACE).await?;
            floors.push((burst, Cpu::of(floor.pid)?.since(cpu)));
        }
    }
    let host = Host::start(&plan.running).await?;
    let crowd = crowd(&host, listeners).await?;
    let copies = format!("{BURST} messages to {listeners} members");
    let (mut in_bursts, mut paced) = (Vec::new(), Vec::new());
    let before = host.pid.map(memory_bytes).transpose()?;
    let mut most = 0;
    for (bare_burst, bare_paced) in floors {
        let reading = host.read().await?;
        crowd.speak(BURSTS, BURST, Duration::ZERO).await?;
        let burst = host.since(&reading).await?.cpu;
        most = most.max(host.pid.map(memory_bytes).transpose()?.unwrap_or_default());
        let reading = host.read().await?;
        crowd.speak(PACED, 1, PACE).await?;
        let pace = host.since(&reading).await?.cpu;
        in_bursts.extend(burst.map(|burst| each(burst, bare_burst, BURSTS * BURST * listeners)));
        paced.extend(pace.map(|pace| each(pace, bare_paced, PACED * listeners)));
    }
    for (name, rounds) in
        [(format!("in bursts: {copies}"), in_bursts), ("paced, one by one".to_owned(), paced)]
    {
        let ratio = median(rounds.iter().map(|(host, bare)| host / bare).collect());
        let of = |figure: fn(&(f64, f64)) -> f64| microseconds(median(rounds.iter().map(figure).collect()));
        let all: Vec<_> = rounds.iter().map(|(host, bare)| format!("{:.2}", host / bare)).collect();
        let measured = format!(
            "{ratio:.2} × a bare write ({} against {} CPU per copy; rounds {})",
            of(|(host, _)| *host),
            of(|(_, bare)| *bare),
            all.join(", ")
        );
        report.goal("fan-out", name, measured, format!("≤ {BARE_WRITES} ×"), ratio <= BARE_WRITES);
    }
    if let Some(before) = before {
        let more = most.saturating_sub(before) as f64 / (1024.0 * 1024.0);
        report.figure("fan-out", "memory after bursts", format!("{more:.1} MiB more than before"));
    }
    let told = crowd.check()?;
    report.figure("fan-out", "checked", format!("{told} copies, each number once and in order: no fault"));
    host.end().await
}

/// Microseconds of the host and of the floor for each copy.
fn each(host: Duration, bare: Duration, copies: usize) -> (f64, f64) {
    let us = |cpu: Duration| cpu.as_secs_f64() * 1e6 / copies as f64;
    // The clock of processes ticks a hundred times a second.
    (us(host), us(bare.max(Duration::from_millis(10))))
}

async fn crowd(host: &Host, listeners: usize) -> Result<Crowd> {
    let began = Instant::now();
    let admin = &host.admin;
    let accounts = stream::iter(names(listeners + 1)).map(|name| user(admin, name));
    let accounts: Vec<_> = accounts.buffered(AT_ONCE).try_collect().await?;
    let (speaker, others) = accounts.split_first().context("somebody speaks")?;
    let connection = Connection::open(host.public, began).await?;
    connection.authenticate(&speaker.1).await?;
    let create = json!({"kind": "group", "client_id": Uuid::now_v7(), "title": "Crowd"});
    let made = connection.request("create", create).await?;
    let conversation = godwit_e2e::admin::id(&made["conversation"]["id"])?;
    for some in others.chunks(INVITED) {
        let users: Vec<_> = some.iter().map(|(user, _)| user).collect();
        connection.request("invite", json!({"conversation": conversation, "users": users})).await?;
    }
    connection.enter(conversation);
    let connected = stream::iter(others).map(|(_, token)| async {
        let listener = Connection::open(host.public, began).await?;
        listener.authenticate(token).await?;
        // So many are told of it live if they say so.
        listener.request("follow", json!({"conversation": conversation})).await?;
        anyhow::Ok(listener)
    });
    let listeners = connected.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(Crowd { speaker: connection, listeners })
}

async fn bare(address: std::net::SocketAddr, listeners: usize) -> Result<Crowd> {
    let began = Instant::now();
    let mut all = Vec::with_capacity(listeners + 1);
    for _ in 0..=listeners {
        all.push(Connection::open(address, began).await?);
    }
    let speaker = all.pop().context("somebody speaks")?;
    Ok(Crowd { speaker, listeners: all })
}

impl Crowd {
    /// Speaks that often, each time that many messages at once, and waits until all have heard all.
    async fn speak(&self, times: usize, at_once: usize, pause: Duration) -> Result<()> {
        let heard = |listener: &Rc<Connection>| listener.with_record(|record| record.pushes.len());
        let before = self.listeners.first().map_or(0, heard);
        for time in 1..=times {
            self.speaker.send_many(at_once);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let due = before + time * at_once;
            for listener in &self.listeners {
                let what = format!("push {due} of a listener");
                godwit_e2e::eventually(&what, || async {
                    if let Some(ended) = listener.ended() {
                        anyhow::bail!("a connection ended: {ended}");
                    }
                    Ok((heard(listener) >= due).then_some(()))
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Whether everyone was pushed every number, in order; how many copies that were.
    fn check(&self) -> Result<usize> {
        let sent = self.speaker.with_record(|record| record.attempts.len());
        for listener in &self.listeners {
            listener.with_record(|record| {
                let numbers = record.pushes.iter().map(|push| push.seq);
                ensure!(numbers.eq(1..=sent as u64), "a listener was not pushed 1 to {sent} in order");
                Ok(())
            })?;
        }
        Ok(sent * self.listeners.len())
    }
}
