//! What a run does: one module per scenario.
//!
//! It owns how long and how wide each is; it refuses to know how anything is sent or printed.
//! Start with [`Plan`] and [`direct`].

pub mod direct;
pub mod fan_out;
pub mod hooks;
pub mod idle;
pub mod presence;
pub mod reconnect;
pub mod stalled;
pub mod swaps;

use crate::{host::Running, people::Pairs, report::Report};
use anyhow::Result;
use std::time::Duration;

/// How long and how wide.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The host that runs already, if any.
    pub running: Running,
    /// How many connections talk.
    pub connections: usize,
    /// How many connections idle.
    pub idle: usize,
    /// How many are in one group, or drop at once.
    pub crowd: usize,
    /// Messages per second where they are paced.
    pub per_s: u64,
    /// How many swaps.
    pub swaps: u32,
    /// How often each thing is measured; the median counts.
    pub rounds: usize,
    /// How long each measurement lasts.
    pub span: Duration,
    /// How long things run before they are measured.
    pub warm_up: Duration,
}

impl Plan {
    /// The full form.
    pub fn full(running: Running) -> Self {
        Self {
            running,
            connections: 1_000,
            idle: 10_000,
            crowd: 10_000,
            per_s: 2_000,
            swaps: 100,
            rounds: 3,
            span: Duration::from_secs(6),
            warm_up: Duration::from_secs(1),
        }
    }

    /// Small and quick: for what must be right, not for figures.
    pub fn short(running: Running) -> Self {
        Self {
            connections: 40,
            idle: 200,
            crowd: 100,
            per_s: 400,
            swaps: 10,
            rounds: 1,
            span: Duration::from_secs(1),
            warm_up: Duration::from_millis(100),
            ..Self::full(running)
        }
    }

    /// How many pairs talk.
    pub fn pairs(&self) -> usize {
        self.connections.div_ceil(2)
    }
}

/// Hands the run to the checker, tells what it found, and gives back what history shows.
async fn judge(
    scenario: &'static str,
    pairs: &Pairs,
    report: &mut Report,
) -> Result<Vec<crate::people::Stored>> {
    let (checker, stored) = pairs.judge().await?;
    checker.verdict()?;
    let (acknowledged, pushed) = (checker.acknowledged(), checker.pushed());
    let checked = format!("{acknowledged} acknowledged, {pushed} pushed, {} stored: no fault", stored.len());
    report.figure(scenario, "checked", checked);
    Ok(stored)
}
