//! What is counted of actors, beside what is counted of filters and under the same prefix.

use godwit_domain::{actor::Hook, plugin::Roster};
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use std::{collections::HashSet, time::Duration};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    plugin: String,
    version: String,
    hook: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    plugin: String,
    version: String,
    hook: &'static str,
}

/// The metrics of actors.
pub(crate) struct Metrics {
    calls: Family<Call, Counter>,
    seconds: Family<Served, Histogram, fn() -> Histogram>,
    /// Which label sets exist, so that those of versions that are gone can be dropped.
    known: Mutex<HashSet<(Served, &'static str)>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            // 16 µs to 16 s.
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(16e-6, 4.0, 11))),
            known: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Makes the metrics visible in `registry`, which has the prefix already.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("actor_calls", "Calls of actors by what they came to", self.calls.clone());
        registry.register(
            "actor_call_seconds",
            "Wall time of calls of actors in seconds",
            self.seconds.clone(),
        );
    }

    /// A call ended, in `done`, `refused`, `trap`, `deadline` or `busy`.
    pub(crate) fn called(
        &self,
        plugin: &str,
        version: &str,
        hook: Hook,
        outcome: &'static str,
        took: Duration,
    ) {
        let (plugin, version, hook) = (plugin.to_owned(), version.to_owned(), hook.name());
        let served = Served { plugin, version, hook };
        self.calls.get_or_create(&call(&served, outcome)).inc();
        self.seconds.get_or_create(&served).observe(took.as_secs_f64());
        self.known.lock().insert((served, outcome));
    }

    /// Drops what is counted for versions that can no longer serve.
    pub(crate) fn keep(&self, roster: &Roster) {
        self.known.lock().retain(|(served, outcome)| {
            let kept = roster.plugins.iter().any(|plugin| {
                let mut releases = std::iter::once(&plugin.active).chain(&plugin.previous);
                plugin.id == served.plugin && releases.any(|release| release.version == served.version)
            });
            if !kept {
                self.calls.remove(&call(served, outcome));
                self.seconds.remove(served);
            }
            kept
        });
    }
}

fn call(served: &Served, outcome: &'static str) -> Call {
    let Served { plugin, version, hook } = served.clone();
    Call { plugin, version, hook, outcome }
}
