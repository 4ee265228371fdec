//! What is counted of each plugin's work.

use godwit_domain::{id::UserId, plugin::AtWork};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Which plugin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Plugin {
    /// Its id.
    pub plugin: String,
}

/// The counters; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Events that were heard.
    pub events: Family<Plugin, Counter>,
    /// Runs that were in vain and are repeated.
    pub retries: Family<Plugin, Counter>,
    /// Runs that met what another had written, and were repeated.
    pub conflicts: Family<Plugin, Counter>,
    /// Dead letters that were written.
    pub dead: Family<Plugin, Counter>,
    /// Events that were too old when their turn came.
    pub skipped: Family<Plugin, Counter>,
    /// Events that were too many causes away.
    pub looped: Family<Plugin, Counter>,
    /// Things that plugins wanted done, and that were.
    pub errands: Family<Plugin, Counter>,
    /// Things that wait to be done.
    pub queue: Family<Plugin, Gauge>,
}

impl Metrics {
    /// Makes them visible under the registry's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("events", "Events that a plugin heard", self.events.clone());
        registry.register("retries", "Runs that were in vain and are repeated", self.retries.clone());
        registry.register("conflicts", "Runs that met what another had written", self.conflicts.clone());
        registry.register("dead_letters", "Dead letters that were written", self.dead.clone());
        registry.register("skipped", "Events that were too old when their turn came", self.skipped.clone());
        registry.register("looped", "Events that were too many causes away", self.looped.clone());
        registry.register("errands", "Things that plugins wanted done, and that were", self.errands.clone());
        registry.register("errands_waiting", "Things that wait to be done", self.queue.clone());
    }

    /// How far that plugin is, whose user this is.
    pub(super) fn at_work(&self, plugin: &str, user: UserId) -> AtWork {
        let label = Plugin { plugin: plugin.to_owned() };
        let count = |family: &Family<Plugin, Counter>| family.get(&label).map_or(0, |counter| counter.get());
        AtWork {
            user,
            heard: count(&self.events),
            done: count(&self.errands),
            waiting: self.queue.get(&label).map_or(0, |gauge| gauge.get().try_into().unwrap_or(0)),
            dead: count(&self.dead),
        }
    }

    /// Counts one.
    pub(super) fn count(&self, family: impl FnOnce(&Self) -> &Family<Plugin, Counter>, plugin: &str) {
        family(self).get_or_create(&Plugin { plugin: plugin.to_owned() }).inc();
    }
}
