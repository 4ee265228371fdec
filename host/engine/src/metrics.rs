//! What the engine counts, under the prefix `godwit_plugin_`.
//!
//! A plugin's handles are looked up once, when its version goes live; a call costs two atomic additions and an
//! observation.

use godwit_domain::{
    filter::{Decision, Hook},
    id::Generation,
    plugin::{Circuit, HookStatus, Roster},
};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::{
    collections::HashSet,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// All of them, in their order: a meter finds what it counts by the hook's place.
pub(crate) const HOOKS: [Hook; 4] = [Hook::Normalise, Hook::Moderation, Hook::FanOut, Hook::Delivery];
/// All of them, in their order: a meter finds its counter by the decision's place.
const DECISIONS: [Decision; 10] = [
    Decision::Allow,
    Decision::Rewrite,
    Decision::Reject,
    Decision::Hold,
    Decision::Trap,
    Decision::Deadline,
    Decision::Busy,
    Decision::Override,
    Decision::Open,
    Decision::Poison,
];
/// Kinds of traps: what the guest did, or `host` where it broke a rule of the host.
pub(crate) const TRAPS: [&str; 6] = ["unreachable", "stack", "out-of-bounds", "memory", "host", "other"];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    plugin: String,
    version: String,
    hook: &'static str,
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    plugin: String,
    version: String,
    hook: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Trapped {
    plugin: String,
    version: String,
    hook: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    plugin: String,
    version: String,
}

/// The engine's metrics.
pub struct Metrics {
    calls: Family<Call, Counter>,
    traps: Family<Trapped, Counter>,
    seconds: Family<Served, Histogram, fn() -> Histogram>,
    cpu_seconds: Family<Served, Counter<f64, AtomicU64>>,
    breaker: Family<Served, Gauge>,
    live: Family<Version, Gauge>,
    memory_bytes: Family<Version, Gauge>,
    created: Family<Version, Counter>,
    retired: Family<Version, Counter>,
    waiting: Family<Version, Gauge>,
    compile_seconds: Histogram,
    compile_failures: Counter,
    generation: Gauge,
    pub(crate) actors: crate::actor::metrics::Metrics,
    /// Which label sets exist, so that those of versions that are gone can be dropped.
    known: Mutex<HashSet<Version>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            traps: Family::default(),
            // 1 µs to 65 ms.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1e-6, 2.0, 17))),
            cpu_seconds: Family::default(),
            breaker: Family::default(),
            live: Family::default(),
            memory_bytes: Family::default(),
            created: Family::default(),
            retired: Family::default(),
            waiting: Family::default(),
            compile_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            compile_failures: Counter::default(),
            generation: Gauge::default(),
            actors: Default::default(),
            known: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Makes the metrics visible in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("godwit_plugin");
        registry.register("calls", "Calls of plugins by what they came to", self.calls.clone());
        registry.register("traps", "Traps by kind", self.traps.clone());
        registry.register("call_seconds", "Wall time of calls in seconds", self.seconds.clone());
        registry.register("cpu_seconds", "CPU time of calls in seconds", self.cpu_seconds.clone());
        let breaker = "Circuit breaker: 0 closed, 1 half-open, 2 open or in quarantine";
        registry.register("breaker", breaker, self.breaker.clone());
        registry.register("instances", "Instances that are alive", self.live.clone());
        registry.register(
            "memory_bytes",
            "Memory of the instances that are alive",
            self.memory_bytes.clone(),
        );
        registry.register("instances_created", "Instances made", self.created.clone());
        registry.register("instances_retired", "Instances thrown away", self.retired.clone());
        registry.register("waiting", "Calls that wait for an instance", self.waiting.clone());
        registry.register("compile_seconds", "Wall time of compilations", self.compile_seconds.clone());
        registry.register("compile_failures", "Compilations that failed", self.compile_failures.clone());
        self.actors.register(registry);
        registry.register("generation", "Which set of plugins is live", self.generation.clone());
    }

    pub(crate) fn compiled(&self, took: Duration, succeeded: bool) {
        self.compile_seconds.observe(took.as_secs_f64());
        if !succeeded {
            self.compile_failures.inc();
        }
    }

    pub(crate) fn generation(&self, generation: Generation) {
        self.generation.set(i64::try_from(generation.0).unwrap_or(i64::MAX));
    }

    /// The handles of one version of a plugin.
    pub(crate) fn meter(&self, plugin: &str, version: &str) -> Meter {
        let label = Version { plugin: plugin.to_owned(), version: version.to_owned() };
        let hooks = HOOKS.map(|hook| {
            let (plugin, version, hook) = (plugin.to_owned(), version.to_owned(), hook.name());
            let calls = DECISIONS.map(|decision| {
                let (plugin, version, decision) = (plugin.clone(), version.clone(), decision.name());
                self.calls.get_or_create_owned(&Call { plugin, version, hook, decision })
            });
            let served = Served { plugin, version, hook };
            Hooked {
                calls,
                seconds: self.seconds.get_or_create_owned(&served),
                cpu_seconds: self.cpu_seconds.get_or_create_owned(&served),
                breaker: self.breaker.get_or_create_owned(&served),
                own: Own::default(),
            }
        });
        let meter = Meter {
            label: label.clone(),
            traps: self.traps.clone(),
            hooks,
            memory_bytes: self.memory_bytes.get_or_create_owned(&label),
            live: self.live.get_or_create_owned(&label),
            created: self.created.get_or_create_owned(&label),
            retired: self.retired.get_or_create_owned(&label),
            waiting: self.waiting.get_or_create_owned(&label),
        };
        self.known.lock().insert(label);
        meter
    }

    /// Drops what is counted for versions that can no longer serve.
    pub(crate) fn keep(&self, roster: &Roster) {
        self.actors.keep(roster);
        let kept = |version: &Version| {
            roster.plugins.iter().any(|plugin| {
                plugin.id == version.plugin
                    && plugin.releases().any(|release| release.version == version.version)
            })
        };
        self.known.lock().retain(|label| {
            let kept = kept(label);
            if !kept {
                self.forget(label);
            }
            kept
        });
    }

    fn forget(&self, label: &Version) {
        self.live.remove(label);
        self.memory_bytes.remove(label);
        self.created.remove(label);
        self.retired.remove(label);
        self.waiting.remove(label);
        let Version { plugin, version } = label;
        for hook in HOOKS.map(Hook::name) {
            let served = Served { plugin: plugin.clone(), version: version.clone(), hook };
            self.seconds.remove(&served);
            self.cpu_seconds.remove(&served);
            self.breaker.remove(&served);
            for decision in DECISIONS.map(Decision::name) {
                self.calls.remove(&Call { plugin: plugin.clone(), version: version.clone(), hook, decision });
            }
            for kind in TRAPS {
                self.traps.remove(&Trapped { plugin: plugin.clone(), version: version.clone(), hook, kind });
            }
        }
    }
}

/// What is counted for one version of a plugin.
pub(crate) struct Meter {
    label: Version,
    /// Looked up at each trap: most never happen.
    traps: Family<Trapped, Counter>,
    hooks: [Hooked; HOOKS.len()],
    pub(crate) live: Gauge,
    pub(crate) memory_bytes: Gauge,
    pub(crate) created: Counter,
    pub(crate) retired: Counter,
    pub(crate) waiting: Gauge,
}

/// What is counted for one hook of it.
struct Hooked {
    calls: [Counter; DECISIONS.len()],
    seconds: Histogram,
    cpu_seconds: Counter<f64, AtomicU64>,
    breaker: Gauge,
    own: Own,
}

/// What this meter alone counted: the same version may serve, be tried out, and serve again.
#[derive(Default)]
struct Own {
    calls: [AtomicU64; DECISIONS.len()],
    micros: AtomicU64,
    cpu_ms: AtomicU64,
}

impl Meter {
    /// Counts what nobody sees: for instances that serve no messages.
    pub(crate) fn detached() -> Self {
        Metrics::default().meter("", "")
    }

    /// A call that came to this.
    pub(crate) fn called(&self, hook: Hook, decision: Decision, took: Duration) {
        let Hooked { calls, seconds, own, .. } = &self.hooks[hook as usize];
        calls[decision as usize].inc();
        own.calls[decision as usize].fetch_add(1, Relaxed);
        // Who was not asked took no time, and would hide that of the others.
        if matches!(decision, Decision::Open | Decision::Poison) {
            return;
        }
        seconds.observe(took.as_secs_f64());
        own.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// CPU time of a call, as far as it was seen.
    pub(crate) fn used(&self, hook: Hook, cpu_ms: u32) {
        let Hooked { cpu_seconds, own, .. } = &self.hooks[hook as usize];
        cpu_seconds.inc_by(f64::from(cpu_ms) / 1e3);
        own.cpu_ms.fetch_add(cpu_ms.into(), Relaxed);
    }

    /// A trap of that kind.
    pub(crate) fn trapped(&self, hook: Hook, kind: &'static str) {
        let Version { plugin, version } = self.label.clone();
        self.traps.get_or_create(&Trapped { plugin, version, hook: hook.name(), kind }).inc();
    }

    /// Where the breaker stands.
    pub(crate) fn breaker(&self, hook: Hook, circuit: Circuit) {
        self.hooks[hook as usize].breaker.set(circuit as i64);
    }

    /// Calls that this meter counted, and those of them that trapped or were cut.
    pub(crate) fn failures(&self) -> (u64, u64) {
        let count = |hooked: &Hooked, decision| hooked.own.calls[decision as usize].load(Relaxed);
        let asked = [
            Decision::Allow,
            Decision::Rewrite,
            Decision::Reject,
            Decision::Hold,
            Decision::Trap,
            Decision::Deadline,
        ];
        let sum = |decisions: &[Decision]| {
            let of = |hooked| decisions.iter().map(move |decision| count(hooked, *decision)).sum::<u64>();
            self.hooks.iter().map(of).sum()
        };
        (sum(&asked), sum(&asked[4..]))
    }

    /// What this meter counted for a hook.
    pub(crate) fn status(&self, hook: Hook) -> HookStatus {
        let own = &self.hooks[hook as usize].own;
        let count = |decision| own.calls[decision as usize].load(Relaxed);
        let not_asked = [Decision::Open, Decision::Poison, Decision::Busy];
        let all: u64 = DECISIONS.into_iter().map(count).sum();
        let calls = all - not_asked.into_iter().map(count).sum::<u64>().min(all);
        HookStatus {
            hook: hook.name().to_owned(),
            calls,
            refusals: count(Decision::Reject),
            traps: count(Decision::Trap),
            deadlines: count(Decision::Deadline),
            busy: count(Decision::Busy),
            open: count(Decision::Open),
            poison: count(Decision::Poison),
            micros_mean: own.micros.load(Relaxed).checked_div(calls).unwrap_or_default(),
            cpu_ms: own.cpu_ms.load(Relaxed),
            ..HookStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_decision_is_counted_under_its_own_name() {
        for (place, decision) in DECISIONS.into_iter().enumerate() {
            assert_eq!(decision as usize, place, "{decision:?}");
        }
        assert_eq!(Decision::Poison as usize + 1, DECISIONS.len(), "the last one");
    }

    #[test]
    fn each_hook_is_counted_under_its_own_name() {
        for (place, hook) in HOOKS.into_iter().enumerate() {
            assert_eq!(hook as usize, place, "{hook:?}");
        }
        assert_eq!(Hook::Delivery as usize + 1, HOOKS.len(), "the last one");
    }
}
