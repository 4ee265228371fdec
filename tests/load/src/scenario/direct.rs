//! Pairs of people who talk, as fast as they can and at a pace, beside the floors.
//!
//! It owns the order of measurements: floors and host take turns, so that what else the machine does falls on all of
//! them alike. Start with [`run`].

use super::{Plan, judge};
use crate::{
    host::{Host, Relay},
    people::{Pairs, Span},
    process::Cpu,
    report::{Report, median, microseconds, milliseconds},
    storage::Floor,
};
use anyhow::Result;
use std::time::Duration;
use tokio::time::sleep;

/// What a message may cost above both floors.
const ABOVE_FLOORS_US: f64 = 10.0;
/// How many lone commits an acknowledgement may take.
const LONE_COMMITS: u32 = 4;
const LONE_COMMITS_MEASURED: usize = 1_000;

/// One round's processor time per message, in microseconds.
struct Round {
    relay_us: f64,
    storage_us: f64,
    host_us: f64,
}

/// Runs the scenario.
///
/// # Errors
/// The host refused something, or the checker found a fault.
pub async fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let host = Host::start(&plan.running).await?;
    let pairs = Pairs::of_host(host.public, &host.admin, plan.pairs()).await?;
    let relay = Relay::start().await?;
    let relayed = Pairs::of_relay(relay.address, plan.pairs()).await?;
    let folder = tempfile::tempdir()?;
    let mut floor = Floor::new(folder.path(), plan.pairs())?;

    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let relay_us = relay_round(plan, &relay, &relayed, report).await?;
        let (span, host_us, size, histogram) = host_round(plan, &host, &pairs).await?;
        report.figure("direct", "closed loop", rate(&span));
        report.percentiles("direct", "acknowledged after", &span.acknowledgement);
        report.percentiles("direct", "delivered after", &span.delivery);
        report.figure("direct", "messages per commit", format!("{size} on average"));
        report.figure("direct", "commits by conversations", histogram);
        let cost;
        (floor, cost) = commit(floor, size, span.acknowledged, plan.span).await?;
        let storage_us = cost.us_each();
        report.figure("direct", "floor: storage", format!("{} CPU per message", microseconds(storage_us)));
        match host_us {
            Some(host_us) => rounds.push(Round { relay_us, storage_us, host_us }),
            None => report.figure("direct", "CPU per message", "unknown without `--pid`"),
        }
    }
    if !rounds.is_empty() {
        cpu_goal(&rounds, report);
    }
    paced(plan, &pairs, floor, report).await?;
    judge("direct", &pairs, report).await?;
    host.end().await
}

/// Measures the floors alone, at some sizes of commits.
///
/// # Errors
/// The relay or the database fails.
pub async fn floors(plan: &Plan, report: &mut Report) -> Result<()> {
    let relay = Relay::start().await?;
    let relayed = Pairs::of_relay(relay.address, plan.pairs()).await?;
    let folder = tempfile::tempdir()?;
    let mut floor = Floor::new(folder.path(), plan.pairs())?;
    for _ in 0..plan.rounds {
        relay_round(plan, &relay, &relayed, report).await?;
        for size in [1, 10, 100, 500] {
            let cost;
            (floor, cost) = commit(floor, size, u64::MAX, plan.span / 2).await?;
            let text = format!("{} CPU per message, {size} per commit", microseconds(cost.us_each()));
            report.figure("floors", "storage", text);
        }
    }
    lone_commit(floor, report).await?;
    Ok(())
}

fn rate(span: &Span) -> String {
    let per_s = span.acknowledged as f64 / span.took.as_secs_f64();
    format!("{} messages in {:.1} s, {per_s:.0}/s", span.acknowledged, span.took.as_secs_f64())
}

fn cpu_goal(rounds: &[Round], report: &mut Report) {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let (relay, storage) = (of(|round| round.relay_us), of(|round| round.storage_us));
    let above = of(|round| round.host_us - round.relay_us - round.storage_us);
    let measured = format!(
        "{} = relay {} + storage {} + {}",
        microseconds(of(|round| round.host_us)),
        microseconds(relay),
        microseconds(storage),
        microseconds(above)
    );
    let goal = format!("floors + {}", microseconds(ABOVE_FLOORS_US));
    report.goal("direct", "CPU per message", measured, goal, above <= ABOVE_FLOORS_US);
}

async fn relay_round(plan: &Plan, relay: &Relay, pairs: &Pairs, report: &mut Report) -> Result<f64> {
    pairs.start_loop();
    sleep(plan.warm_up).await;
    let (cpu, from) = (Cpu::of(relay.pid)?, pairs.now_us());
    sleep(plan.span).await;
    let (cpu, to) = (Cpu::of(relay.pid)?.since(cpu), pairs.now_us());
    pairs.settle().await?;
    let span = pairs.span(from, to);
    pairs.forget();
    let us = cpu.as_secs_f64() * 1e6 / span.acknowledged.max(1) as f64;
    report.figure("direct", "floor: relay", format!("{}, {} CPU per message", rate(&span), microseconds(us)));
    Ok(us)
}

/// The span, the host's processor time per message, messages per commit, and commits by conversations.
async fn host_round(plan: &Plan, host: &Host, pairs: &Pairs) -> Result<(Span, Option<f64>, usize, String)> {
    pairs.start_loop();
    sleep(plan.warm_up).await;
    let (reading, from) = (host.read().await?, pairs.now_us());
    sleep(plan.span).await;
    let (usage, to) = (host.since(&reading).await?, pairs.now_us());
    pairs.settle().await?;
    let span = pairs.span(from, to);
    let per_commit = span.acknowledged as f64 / usage.commits.count.max(1) as f64;
    let host_us = usage.cpu_us_each(span.acknowledged);
    Ok((span, host_us, per_commit.round().max(1.0) as usize, usage.commits.line()))
}

/// Commits on a thread of its own, whose processor time is the cost.
async fn commit(
    mut floor: Floor,
    size: usize,
    messages: u64,
    at_most: Duration,
) -> Result<(Floor, crate::storage::Cost)> {
    let committed = tokio::task::spawn_blocking(move || {
        let cost = floor.commit_batches(size, messages, at_most)?;
        anyhow::Ok((floor, cost))
    });
    committed.await?
}

/// The p99 of a commit of one message while nothing else happens.
async fn lone_commit(mut floor: Floor, report: &mut Report) -> Result<Duration> {
    let lone = tokio::task::spawn_blocking(move || floor.lone_commits(LONE_COMMITS_MEASURED));
    let mut lone = lone.await??;
    lone.sort_unstable();
    let (p50, p99) = (lone[lone.len() / 2], lone[lone.len() * 99 / 100]);
    let text = format!("p50 {}, p99 {}", milliseconds(p50), milliseconds(p99));
    report.figure("direct", "floor: lone durable commit", text);
    Ok(p99)
}

async fn paced(plan: &Plan, pairs: &Pairs, floor: Floor, report: &mut Report) -> Result<()> {
    let p99 = lone_commit(floor, report).await?;
    pairs.pace(plan.per_s, plan.warm_up, || false).await?;
    let from = pairs.now_us();
    pairs.pace(plan.per_s, plan.span, || false).await?;
    let to = pairs.now_us();
    pairs.settle().await?;
    let span = pairs.span(from, to);
    report.figure("direct", "paced", rate(&span));
    report.percentiles("direct", "paced: acknowledged after", &span.acknowledgement);
    report.percentiles("direct", "paced: delivered after", &span.delivery);
    let measured = Duration::from_micros(span.acknowledgement.value_at_quantile(0.99));
    let times = measured.as_secs_f64() / p99.as_secs_f64();
    report.goal(
        "direct",
        "paced: acknowledgement p99",
        format!("{}, {times:.1} × a lone commit's p99", milliseconds(measured)),
        format!("≤ {LONE_COMMITS} ×"),
        measured <= p99 * LONE_COMMITS,
    );
    Ok(())
}
