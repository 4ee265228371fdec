//! What core counts.

use godwit_protocol::error::{Close, Code};
use prometheus_client::{
    encoding::{EncodeLabelSet, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::fmt::Write;

/// The counters; clones count together.
#[derive(Clone)]
pub struct Metrics {
    /// Messages that got their number.
    pub messages: Counter,
    /// Drafts that were put on hold.
    pub held: Counter,
    /// Sends that were answered with an earlier outcome.
    pub duplicates: Counter,
    /// Requests that were refused, by code.
    pub refusals: Family<Refusal, Counter>,
    /// Messages of one conversation that shared one append.
    pub append_messages: Histogram,
    /// Connected sessions.
    pub sessions: Gauge,
    /// Sessions that the host ended, by close code.
    pub closes: Family<Closed, Counter>,
    /// Conversations held in memory.
    pub conversations: Gauge,
    /// Storage failures that a shard saw.
    pub store_failures: Counter,
}

/// The label of [`Metrics::refusals`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Refusal {
    /// The error's code.
    pub code: CodeLabel,
}

/// The label of [`Metrics::closes`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Closed {
    /// The close code.
    pub code: u32,
}

/// An error code as a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CodeLabel(pub Code);

impl prometheus_client::encoding::EncodeLabelValue for CodeLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(self.0.as_str())
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            messages: Counter::default(),
            held: Counter::default(),
            duplicates: Counter::default(),
            refusals: Family::default(),
            append_messages: Histogram::new((0..=10).map(|power| f64::from(1 << power))),
            sessions: Gauge::default(),
            closes: Family::default(),
            conversations: Gauge::default(),
            store_failures: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes them visible under the registry's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("messages", "Messages that got their number", self.messages.clone());
        registry.register("held", "Drafts that were put on hold", self.held.clone());
        registry.register("duplicates", "Sends answered with an earlier outcome", self.duplicates.clone());
        registry.register("refusals", "Requests that were refused", self.refusals.clone());
        let help = "Messages of one conversation that shared one append";
        registry.register("append_messages", help, self.append_messages.clone());
        registry.register("sessions", "Connected sessions", self.sessions.clone());
        registry.register("closes", "Sessions that the host ended", self.closes.clone());
        registry.register("conversations", "Conversations held in memory", self.conversations.clone());
        registry.register("store_failures", "Storage failures that a shard saw", self.store_failures.clone());
    }

    /// Counts a refusal.
    pub fn refused(&self, code: Code) {
        self.refusals.get_or_create(&Refusal { code: CodeLabel(code) }).inc();
    }

    /// Counts a session that the host ended.
    pub fn closed(&self, close: Close) {
        self.closes.get_or_create(&Closed { code: u32::from(close.code()) }).inc();
    }
}
