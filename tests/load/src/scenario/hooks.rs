//! What a plugin costs: the same load without and with the word filter, in turns.
//!
//! It owns the filter's configuration and the difference of the host's processor time: each span with the filter is held
//! against those before and after it. Start with [`run`].

use super::{Plan, judge};
use crate::{
    host::Host,
    people::Pairs,
    report::{Report, median, microseconds},
};
use anyhow::{Context, Result};
use godwit_e2e::admin::{Install, expect};
use godwit_fixtures::WORDFILTER;
use reqwest::Method;
use serde_json::json;
use tokio::time::sleep;

/// What a hook may add to a message.
const HOOK_US_MAX: f64 = 3.0;
/// The filter serves `normalise` and `moderation`.
const HOOKS: f64 = 2.0;
const WORDS: usize = 1_000;

/// Runs the scenario.
///
/// # Errors
/// The host refused something, or the checker found a fault.
pub async fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let host = Host::start(&plan.running).await?;
    let pairs = Pairs::of_host(host.public, &host.admin, plan.pairs()).await?;
    let install = Install {
        id: WORDFILTER.to_owned(),
        manifest: godwit_fixtures::manifest(WORDFILTER),
        component: godwit_fixtures::component(WORDFILTER),
        // No body of a run holds any of these.
        config: Some(json!({"mask": words("mask"), "reject": words("bar")})),
        ..Install::default()
    };
    let path = format!("/admin/v1/plugins/{WORDFILTER}");
    let (mut without, mut with) = (vec![measure(plan, &host, &pairs).await?], Vec::new());
    for _ in 0..plan.rounds {
        host.admin.installed(install.clone()).await?;
        with.push(measure(plan, &host, &pairs).await?);
        let (status, body) = host.admin.call(Method::DELETE, &path, None).await?;
        expect((if status == 204 { 200 } else { status }, body), 200).context("remove the word filter")?;
        without.push(measure(plan, &host, &pairs).await?);
    }
    let per_commit = |spans: &[Span]| median(spans.iter().map(|span| span.per_commit).collect());
    let batches = format!("{:.0} without, {:.0} with", per_commit(&without), per_commit(&with));
    report.figure("hooks", "messages per commit", batches);
    let cpu_us = |spans: &[Span]| spans.iter().map(|span| span.cpu_us).collect::<Option<Vec<_>>>();
    if let (Some(without), Some(with)) = (cpu_us(&without), cpu_us(&with)) {
        let each = median(added(&without, &with)) / HOOKS;
        let measured = format!(
            "{} ({} without, {} with)",
            microseconds(each),
            microseconds(median(without)),
            microseconds(median(with))
        );
        let goal = format!("≤ {}", microseconds(HOOK_US_MAX));
        report.goal("hooks", "CPU per hook", measured, goal, each <= HOOK_US_MAX);
    } else {
        report.figure("hooks", "CPU per hook", "unknown without `--pid`");
    }
    judge("hooks", &pairs, report).await?;
    host.end().await
}

/// Pronounceable words that are unlike each other from the first letters on.
fn words(end: &str) -> Vec<String> {
    let syllable =
        |n: usize| [["q", "z", "x", "k", "v"][n % 5], ["a", "e", "i", "o", "u"][n / 5 % 5]].concat();
    (0..WORDS).map(|n| [syllable(n), syllable(n / 25), syllable(n / 625), end.to_owned()].concat()).collect()
}

/// What one span cost.
struct Span {
    /// The host's processor time per message, in microseconds; none where the process cannot be seen.
    cpu_us: Option<f64>,
    /// Of larger commits each message costs less, with a plugin and without.
    per_commit: f64,
}

async fn measure(plan: &Plan, host: &Host, pairs: &Pairs) -> Result<Span> {
    pairs.start_loop();
    sleep(plan.warm_up).await;
    let (reading, from) = (host.read().await?, pairs.now_us());
    sleep(plan.span).await;
    let (usage, to) = (host.since(&reading).await?, pairs.now_us());
    pairs.settle().await?;
    let acknowledged = pairs.span(from, to).acknowledged;
    let per_commit = acknowledged as f64 / usage.commits.count.max(1) as f64;
    Ok(Span { cpu_us: usage.cpu_us_each(acknowledged), per_commit })
}

/// By how much each span with the filter lies above the mean of those before and after it: what grows or warms up
/// during a run is in neither.
fn added(without: &[f64], with: &[f64]) -> Vec<f64> {
    let around = without.windows(2).map(|around| (around[0] + around[1]) / 2.0);
    with.iter().zip(around).map(|(with, around)| with - around).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn what_grows_during_a_run_is_not_the_filters() {
        assert_eq!(added(&[10.0, 12.0, 20.0], &[17.0, 22.0]), [6.0, 6.0]);
    }

    #[test]
    fn the_words_are_a_thousand_different_ones_that_no_body_holds() {
        let words: HashSet<_> = words("mask").into_iter().collect();
        assert_eq!(words.len(), WORDS);
        let body = crate::message::Body { client: uuid::Uuid::now_v7(), sent_us: 0 }.text();
        assert!(!words.iter().any(|word| body.contains(word)), "{body}");
    }
}
