//! What a plugin used in its tests, hook by hook, beside what it may use.

use crate::options::{Options, mib};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// What one hook used.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Usage {
    /// The hook, or `init`.
    pub hook: String,
    /// How often it was called.
    pub calls: u64,
    /// How often it broke or was cut.
    pub failures: u64,
    /// Wall time of half of the calls was less, in microseconds.
    pub median_us: u64,
    /// Wall time of the longest call, in microseconds.
    pub longest_us: u64,
    /// CPU time that a call may use, in milliseconds.
    pub cpu_ms_max: u32,
    /// The most memory that an instance had, in bytes.
    pub memory_bytes: u64,
    /// Memory that an instance may have, in bytes.
    pub memory_bytes_max: u64,
    /// The most effects of one call, and how many there may be; of actors alone.
    pub effects: Option<(u32, u32)>,
}

impl Usage {
    /// How much of its time the longest call used, in hundredths. Wall time is taken for CPU time, of which it is at
    /// least as much: a machine that does other things makes it look worse, never better.
    pub fn time_percent(&self) -> u64 {
        self.longest_us / (u64::from(self.cpu_ms_max).max(1) * 10)
    }

    /// How much of its memory it used, in hundredths.
    pub fn memory_percent(&self) -> u64 {
        self.memory_bytes * 100 / self.memory_bytes_max.max(1)
    }
}

/// Gathers usage.
#[derive(Debug, Default)]
pub(super) struct Meter(BTreeMap<&'static str, Gathered>);

#[derive(Debug, Default)]
struct Gathered {
    took_us: Vec<u64>,
    failures: u64,
    memory: (usize, usize),
    effects: usize,
}

/// What one call used.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) took: Duration,
    pub(super) failed: bool,
    pub(super) memory: (usize, usize),
    pub(super) effects: usize,
}

impl Meter {
    pub(super) fn note(&mut self, hook: &'static str, call: &Call) {
        let gathered = self.0.entry(hook).or_default();
        gathered.took_us.push(u64::try_from(call.took.as_micros()).unwrap_or(u64::MAX));
        gathered.failures += u64::from(call.failed);
        gathered.memory = gathered.memory.max(call.memory);
        gathered.effects = gathered.effects.max(call.effects);
    }

    pub(super) fn usage(&self, options: &Options, actors: &[&str]) -> Vec<Usage> {
        let of = |(hook, gathered): (&&'static str, &Gathered)| {
            let mut took = gathered.took_us.clone();
            took.sort_unstable();
            let actor = actors.contains(hook);
            let cpu_ms_max = match *hook {
                "init" => options.init_cpu_ms,
                _ if actor => options.actors.call_cpu_ms,
                _ => options.call_cpu_ms,
            };
            let limit = match gathered.memory.1 {
                0 => mib(options.memory_mib),
                known => known,
            };
            Usage {
                hook: (*hook).to_owned(),
                calls: took.len() as u64,
                failures: gathered.failures,
                median_us: took.get(took.len() / 2).copied().unwrap_or_default(),
                longest_us: took.last().copied().unwrap_or_default(),
                cpu_ms_max,
                memory_bytes: gathered.memory.0 as u64,
                memory_bytes_max: limit as u64,
                effects: actor.then_some((
                    u32::try_from(gathered.effects).unwrap_or(u32::MAX),
                    options.actors.effects_max,
                )),
            }
        };
        self.0.iter().map(of).collect()
    }
}
