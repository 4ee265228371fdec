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
    /// What waits in the deliver stage.
    pub delivering: Gauge,
    /// Messages and revisions of the deliver stage that were told as heads.
    pub collapsed: Counter,
    /// Fan-out rules and delivery policies that were not heard in time.
    pub overdue: Counter,
    /// Notifications that are put off.
    pub deferred: Gauge,
    /// Notifications that were put off and are no more, by how they ended.
    pub deferrals_ended: Family<Ended, Counter>,
    /// Users who count as online.
    pub online: Gauge,
    /// Users whom sessions watch, each as often as it is watched.
    pub watches: Gauge,
    /// Users who came to be online or offline.
    pub presence_changes: Counter,
    /// Sessions that were told so.
    pub presence_pushes: Counter,
    /// Users of whom it waits to be written when they were seen last.
    pub last_seen_waiting: Gauge,
    /// Failures to write that; it is tried again.
    pub last_seen_failures: Counter,
    /// Profiles whose change was told to those who share a conversation.
    pub profiles_told: Counter,
    /// Times that someone was said to be writing.
    pub typings: Counter,
}

/// The label of [`Metrics::deferrals_ended`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// How.
    pub end: DeferralEnd,
}

/// How a notification that was put off ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeferralEnd {
    /// Its time came, and it was handed on.
    Due,
    /// The conversation was read, left or emptied, or a policy no longer wants it.
    Cancelled,
    /// It was put off for as long as may be.
    Expired,
}

impl prometheus_client::encoding::EncodeLabelValue for DeferralEnd {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.write_str(match self {
            Self::Due => "due",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        })
    }
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
            delivering: Gauge::default(),
            collapsed: Counter::default(),
            overdue: Counter::default(),
            deferred: Gauge::default(),
            deferrals_ended: Family::default(),
            online: Gauge::default(),
            watches: Gauge::default(),
            presence_changes: Counter::default(),
            presence_pushes: Counter::default(),
            last_seen_waiting: Gauge::default(),
            last_seen_failures: Counter::default(),
            profiles_told: Counter::default(),
            typings: Counter::default(),
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
        registry.register("delivering", "What waits in the deliver stage", self.delivering.clone());
        let help = "Messages and revisions of the deliver stage that were told as heads";
        registry.register("collapsed", help, self.collapsed.clone());
        let help = "Fan-out rules and delivery policies that were not heard in time";
        registry.register("delivery_overdue", help, self.overdue.clone());
        registry.register("deferred", "Notifications that are put off", self.deferred.clone());
        let help = "Notifications that were put off and are no more";
        registry.register("deferrals_ended", help, self.deferrals_ended.clone());
        registry.register("online", "Users who count as online", self.online.clone());
        let help = "Users whom sessions watch, each as often as it is watched";
        registry.register("watches", help, self.watches.clone());
        let help = "Users who came to be online or offline";
        registry.register("presence_changes", help, self.presence_changes.clone());
        let help = "Sessions that were told that someone came to be online or offline";
        registry.register("presence_pushes", help, self.presence_pushes.clone());
        let help = "Users of whom it waits to be written when they were seen last";
        registry.register("last_seen_waiting", help, self.last_seen_waiting.clone());
        let help = "Failures to write when users were seen last";
        registry.register("last_seen_failures", help, self.last_seen_failures.clone());
        let help = "Profiles whose change was told to others";
        registry.register("profiles_told", help, self.profiles_told.clone());
        registry.register("typings", "Times that someone was said to be writing", self.typings.clone());
    }

    /// Counts notifications that are no longer put off.
    pub fn deferral_ended(&self, end: DeferralEnd, count: usize) {
        self.deferrals_ended.get_or_create(&Ended { end }).inc_by(count as u64);
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
