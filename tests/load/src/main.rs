//! The load generator: what the host costs, beside the floors measured in the same run.
//!
//! It owns the command line. The host and the relay are processes of their own; the generator itself runs on one
//! thread. Every run ends with the checker's judgement: the program fails where anything that was acknowledged is
//! missing, doubled or out of order, and never because a figure is worse than its goal.
//!
//! Start with [`scenario`].

mod broadcast;
mod connection;
mod host;
mod message;
mod metrics;
mod people;
mod process;
mod relay;
mod report;
mod scenario;
mod storage;
mod wire;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use host::Running;
use report::Report;
use scenario::Plan;
use std::time::Duration;
use tokio::task::LocalSet;

/// Measures a Godwit host.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// Small and quick: what must be right is checked, the figures mean little.
    #[arg(long)]
    short: bool,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// How many connections talk.
    #[arg(long)]
    connections: Option<usize>,
    /// How many connections idle.
    #[arg(long)]
    idle: Option<usize>,
    /// How many are in one group, or drop at once.
    #[arg(long)]
    crowd: Option<usize>,
    /// To how many of the crowd `tell` writes at once.
    #[arg(long, hide = true, default_value_t = 1)]
    each: usize,
    /// Messages per second where they are paced.
    #[arg(long)]
    per_s: Option<u64>,
    /// How many swaps.
    #[arg(long)]
    swaps: Option<u32>,
    /// How often each thing is measured; the median counts.
    #[arg(long)]
    rounds: Option<usize>,
    /// How long each measurement lasts, in seconds.
    #[arg(long)]
    span_s: Option<u64>,
    #[command(flatten)]
    running: Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Pairs who talk, in a closed loop and paced, beside the floors.
    Direct,
    /// Memory per idle session.
    Idle,
    /// Plugins swapped under load.
    Swaps,
    /// What the word filter costs.
    Hooks,
    /// One group of very many: what each copy costs, beside a bare write of the same bytes.
    FanOut,
    /// People who come and go: what each change costs, beside bare writes to those who watch.
    Presence,
    /// Everyone drops at once and resumes.
    Reconnect,
    /// Readers who stop reading, beside others who talk.
    Stalled,
    /// The floors alone.
    Floors,
    /// All but the floors alone, one after the other.
    All,
    /// The bare relay that the floor is measured with; started by `direct`.
    #[value(hide = true)]
    Relay,
    /// The bare writes that the floor of `fan-out` is measured with.
    #[value(hide = true)]
    Broadcast,
    /// The bare writes that the floor of `presence` is measured with.
    #[value(hide = true)]
    Tell,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let form = if self.short { Plan::short } else { Plan::full };
        let plan = form(self.running.clone());
        Plan {
            connections: self.connections.unwrap_or(plan.connections).max(2),
            idle: self.idle.unwrap_or(plan.idle).max(1),
            crowd: self.crowd.unwrap_or(plan.crowd).max(2),
            per_s: self.per_s.unwrap_or(plan.per_s).max(1),
            swaps: self.swaps.unwrap_or(plan.swaps),
            rounds: self.rounds.unwrap_or(plan.rounds).max(1),
            span: self.span_s.map_or(plan.span, Duration::from_secs),
            ..plan
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.what == What::Relay {
        // On all cores, as the host.
        return tokio::runtime::Runtime::new()?.block_on(relay::serve());
    }
    if arguments.what == What::Broadcast {
        process::allow_files(arguments.plan().crowd as u64)?;
        return tokio::runtime::Runtime::new()?.block_on(broadcast::serve(arguments.plan().crowd));
    }
    if arguments.what == What::Tell {
        process::allow_files(arguments.plan().crowd as u64)?;
        let tell = broadcast::tell(arguments.plan().crowd, arguments.each);
        return tokio::runtime::Runtime::new()?.block_on(tell);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut report = Report::default();
    let outcome = runtime.block_on(LocalSet::new().run_until(measure(&arguments, &mut report)));
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", report.table());
    }
    outcome
}

async fn measure(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let plan = arguments.plan();
    if arguments.what == What::Floors {
        return scenario::direct::floors(&plan, report).await;
    }
    let wanted = |what| arguments.what == what || arguments.what == What::All;
    if wanted(What::Direct) {
        scenario::direct::run(&plan, report).await?;
    }
    if wanted(What::Idle) {
        scenario::idle::run(&plan, report).await?;
    }
    if wanted(What::Swaps) {
        scenario::swaps::run(&plan, report).await?;
    }
    if wanted(What::Hooks) {
        scenario::hooks::run(&plan, report).await?;
    }
    if wanted(What::FanOut) {
        scenario::fan_out::run(&plan, report).await?;
    }
    if wanted(What::Presence) {
        scenario::presence::run(&plan, report).await?;
    }
    if wanted(What::Reconnect) {
        scenario::reconnect::run(&plan, report).await?;
    }
    if wanted(What::Stalled) {
        scenario::stalled::run(&plan, report).await?;
    }
    Ok(())
}
