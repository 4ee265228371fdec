//! What a plugin costs: the same load without and with the word filter, in turns.
//!
//! It owns the filter's configuration and the difference of the host's processor time. Start with [`run`].

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
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        without.extend(measure(plan, &host, &pairs).await?);
        host.admin.installed(install.clone()).await?;
        with.extend(measure(plan, &host, &pairs).await?);
        let (status, body) = host.admin.call(Method::DELETE, &path, None).await?;
        expect((if status == 204 { 200 } else { status }, body), 200).context("remove the word filter")?;
    }
    if without.is_empty() {
        report.figure("hooks", "CPU per hook", "unknown without `--pid`");
    } else {
        let (without, with) = (median(without), median(with));
        let each = (with - without) / HOOKS;
        let measured = format!(
            "{} ({} without, {} with)",
            microseconds(each),
            microseconds(without),
            microseconds(with)
        );
        report.goal(
            "hooks",
            "CPU per hook",
            measured,
            format!("≤ {}", microseconds(HOOK_US_MAX)),
            each <= HOOK_US_MAX,
        );
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

/// The host's processor time per message, in microseconds.
async fn measure(plan: &Plan, host: &Host, pairs: &Pairs) -> Result<Option<f64>> {
    pairs.start_loop();
    sleep(plan.warm_up).await;
    let (reading, from) = (host.read().await?, pairs.now_us());
    sleep(plan.span).await;
    let (usage, to) = (host.since(&reading).await?, pairs.now_us());
    pairs.settle().await?;
    Ok(usage.cpu_us_each(pairs.span(from, to).acknowledged))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_words_are_a_thousand_different_ones_that_no_body_holds() {
        let words: HashSet<_> = words("mask").into_iter().collect();
        assert_eq!(words.len(), WORDS);
        let body = crate::message::Body { client: uuid::Uuid::now_v7(), sent_us: 0 }.text();
        assert!(!words.iter().any(|word| body.contains(word)), "{body}");
    }
}
