//! Plugins that are swapped while people talk.
//!
//! It owns the marker that each installation writes into bodies, and the comparison of markers with the generations
//! that the host stored. Start with [`run`].

use super::{Plan, judge};
use crate::{
    host::Host,
    people::{Pairs, Stored},
    report::Report,
};
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use godwit_e2e::admin::{Admin, Install};
use godwit_fixtures::FIXTURE;
use serde_json::json;
use std::{
    cell::Cell,
    collections::HashMap,
    time::{Duration, Instant},
};

/// Messages should flow between two swaps, and before the first and after the last.
const BETWEEN: Duration = Duration::from_millis(50);
/// Longer than any run.
const FOREVER: Duration = Duration::from_secs(3_600);
const PEOPLE_MAX: usize = 200;
const AT_ONCE: usize = 32;

/// Runs the scenario.
///
/// # Errors
/// The host refused something, the checker found a fault, or a marker is not that of the stored generation.
pub async fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    let install = Install {
        id: "fixture".to_owned(),
        manifest: godwit_fixtures::manifest(FIXTURE),
        component: godwit_fixtures::component(FIXTURE),
        ..Install::default()
    };
    let host = Host::start(&plan.running).await?;
    let pairs =
        Pairs::of_host(host.public, &host.admin, plan.connections.min(PEOPLE_MAX).div_ceil(2)).await?;
    let mut generations = HashMap::new();
    let marked = |n: u32| {
        let marker = format!("v{n}");
        let config =
            json!({"normalise": {"mode": "stamp", "marker": marker}, "moderation": {"mode": "allow"}});
        (marker, Install { config: Some(config), ..install.clone() })
    };
    let (marker, first) = marked(0);
    generations.insert(marker, host.admin.installed(first).await?);

    let done = Cell::new(false);
    let swapping = async {
        let began = Instant::now();
        for n in 1..=plan.swaps {
            tokio::time::sleep(BETWEEN).await;
            let (marker, install) = marked(n);
            generations
                .insert(marker, host.admin.installed(install).await.with_context(|| format!("swap {n}"))?);
        }
        let took = began.elapsed();
        tokio::time::sleep(BETWEEN).await;
        done.set(true);
        anyhow::Ok(took)
    };
    let from = pairs.now_us();
    let (paced, swapped) = tokio::join!(pairs.pace(plan.per_s, FOREVER, || done.get()), async {
        let swapped = swapping.await;
        done.set(true);
        swapped
    });
    let took = swapped?;
    paced?;
    pairs.settle().await?;
    let span = pairs.span(from, pairs.now_us());
    report.figure("swaps", "swaps", format!("{} in {:.1} s", plan.swaps, took.as_secs_f64()));
    report.percentiles("swaps", "acknowledged after", &span.acknowledgement);

    let stored = judge("swaps", &pairs, report).await?;
    let used = check_generations(&host.admin, &stored, &generations).await?;
    let measured = format!("{} of {} messages under {used} generations", stored.len(), stored.len());
    report.goal("swaps", "stored generation is the marker's", measured, "all", true);
    host.end().await
}

/// Every message's stored generation must be that of the installation whose marker it carries; how many were used.
async fn check_generations(
    admin: &Admin,
    stored: &[Stored],
    generations: &HashMap<String, u64>,
) -> Result<usize> {
    let traces = stream::iter(stored).map(|message| async move {
        let trace = admin.trace(message.conversation, message.seq).await?;
        let generation = trace["generation"].as_u64().context("a generation is an integer")?;
        let Stored { conversation, seq, marker } = message;
        let expected =
            generations.get(marker).with_context(|| format!("{conversation} {seq}: marker `{marker}`"))?;
        ensure!(
            generation == *expected,
            "{conversation} {seq}: stored generation {generation}, marker `{marker}` is of {expected}"
        );
        Ok(generation)
    });
    let mut used: Vec<u64> = traces.buffer_unordered(AT_ONCE).try_collect().await?;
    used.sort_unstable();
    used.dedup();
    Ok(used.len())
}
