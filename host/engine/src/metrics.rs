//! What the engine counts, under the prefix `godwit_plugin_`.
//!
//! A plugin's handles are looked up once, when its version goes live; a call costs two atomic additions and an
//! observation.

use godwit_domain::{
    filter::{Decision, Hook},
    id::Generation,
    plugin::Roster,
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
use std::{collections::HashSet, time::Duration};

/// All of them, in their order: a meter finds what it counts by the hook's place.
const HOOKS: [Hook; 4] = [Hook::Normalise, Hook::Moderation, Hook::FanOut, Hook::Delivery];
/// All of them, in their order: a meter finds its counter by the decision's place.
const DECISIONS: [Decision; 8] = [
    Decision::Allow,
    Decision::Rewrite,
    Decision::Reject,
    Decision::Hold,
    Decision::Trap,
    Decision::Deadline,
    Decision::Busy,
    Decision::Override,
];

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
struct Version {
    plugin: String,
    version: String,
}

/// The engine's metrics.
pub struct Metrics {
    calls: Family<Call, Counter>,
    seconds: Family<Served, Histogram, fn() -> Histogram>,
    live: Family<Version, Gauge>,
    created: Family<Version, Counter>,
    retired: Family<Version, Counter>,
    waiting: Family<Version, Gauge>,
    compile_seconds: Histogram,
    compile_failures: Counter,
    generation: Gauge,
    /// Which label sets exist, so that those of versions that are gone can be dropped.
    known: Mutex<HashSet<Version>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            // 1 µs to 65 ms.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(1e-6, 2.0, 17))),
            live: Family::default(),
            created: Family::default(),
            retired: Family::default(),
            waiting: Family::default(),
            compile_seconds: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            compile_failures: Counter::default(),
            generation: Gauge::default(),
            known: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Makes the metrics visible in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("godwit_plugin");
        registry.register("calls", "Calls of plugins by what they came to", self.calls.clone());
        registry.register("call_seconds", "Wall time of calls in seconds", self.seconds.clone());
        registry.register("instances", "Instances that are alive", self.live.clone());
        registry.register("instances_created", "Instances made", self.created.clone());
        registry.register("instances_retired", "Instances thrown away", self.retired.clone());
        registry.register("waiting", "Calls that wait for an instance", self.waiting.clone());
        registry.register("compile_seconds", "Wall time of compilations", self.compile_seconds.clone());
        registry.register("compile_failures", "Compilations that failed", self.compile_failures.clone());
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
            (calls, self.seconds.get_or_create_owned(&Served { plugin, version, hook }))
        });
        let meter = Meter {
            hooks,
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
        let kept = |version: &Version| {
            roster.plugins.iter().any(|plugin| {
                let releases = std::iter::once(&plugin.active).chain(&plugin.previous);
                plugin.id == version.plugin
                    && releases.into_iter().any(|release| release.version == version.version)
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
        self.created.remove(label);
        self.retired.remove(label);
        self.waiting.remove(label);
        let Version { plugin, version } = label;
        for hook in HOOKS.map(Hook::name) {
            self.seconds.remove(&Served { plugin: plugin.clone(), version: version.clone(), hook });
            for decision in DECISIONS.map(Decision::name) {
                self.calls.remove(&Call { plugin: plugin.clone(), version: version.clone(), hook, decision });
            }
        }
    }
}

/// What is counted for one version of a plugin.
pub(crate) struct Meter {
    hooks: [([Counter; DECISIONS.len()], Histogram); HOOKS.len()],
    pub(crate) live: Gauge,
    pub(crate) created: Counter,
    pub(crate) retired: Counter,
    pub(crate) waiting: Gauge,
}

impl Meter {
    /// Counts what nobody sees: for instances that serve no messages.
    pub(crate) fn detached() -> Self {
        Metrics::default().meter("", "")
    }

    pub(crate) fn called(&self, hook: Hook, decision: Decision, took: Duration) {
        let (calls, seconds) = &self.hooks[hook as usize];
        calls[decision as usize].inc();
        seconds.observe(took.as_secs_f64());
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
        assert_eq!(Decision::Override as usize + 1, DECISIONS.len(), "the last one");
    }

    #[test]
    fn each_hook_is_counted_under_its_own_name() {
        for (place, hook) in HOOKS.into_iter().enumerate() {
            assert_eq!(hook as usize, place, "{hook:?}");
        }
        assert_eq!(Hook::Delivery as usize + 1, HOOKS.len(), "the last one");
    }
}
