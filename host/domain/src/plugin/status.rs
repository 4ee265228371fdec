//! A plugin as operators see it: what is installed, how it does, and what a change would change.

use super::{OnFailure, OnOpen, Quarantine, Reverted, Scope};
use crate::{
    id::{ConversationId, Generation, UserId},
    time::Ms,
};
use serde::{Deserialize, Serialize};

/// Something that a version wants and was not granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Capability {
    /// Its name, with what it is for after a `=` where the manifest says that: `http=https://api.example.com`.
    pub capability: String,
    /// The import that needs it, where the component has one.
    pub import: Option<String>,
}

/// What one version has and the other has not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The candidate alone.
    pub added: Vec<String>,
    /// The active version alone.
    pub removed: Vec<String>,
}

impl Delta {
    /// The difference of two lists.
    pub fn between(active: &[String], candidate: &[String]) -> Self {
        let only = |of: &[String], other: &[String]| {
            of.iter().filter(|entry| !other.contains(entry)).cloned().collect()
        };
        Self { added: only(candidate, active), removed: only(active, candidate) }
    }

    /// Whether both have the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

/// How a version differs from the one that is active; of a first version, from nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// The active version.
    pub from: Option<String>,
    /// The other one.
    pub to: String,
    /// Hooks that they serve.
    pub hooks: Delta,
    /// What their components import.
    pub imports: Delta,
    /// Capabilities that they ask for.
    pub asks: Delta,
    /// Capabilities that they were granted.
    pub grants: Delta,
    /// Whether the component is another.
    pub component: bool,
    /// Whether the configuration is another.
    pub config: bool,
}

/// What became of a version that was installed, or would become of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It decides.
    #[default]
    Active,
    /// It waits for a grant; the version before it goes on serving.
    Pending,
    /// It sees what the active version sees, and decides nothing.
    Shadow,
    /// It decides in some conversations.
    Canary,
}

/// What was installed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// Which plugin.
    pub id: String,
    /// Which version.
    pub version: String,
    /// Which component, in hexadecimal.
    pub digest: String,
    /// The generation that serves it; of a dry run the present one.
    pub generation: Generation,
    /// What became of it.
    pub state: State,
    /// What it waits for, where it is pending.
    #[serde(default)]
    pub missing: Vec<Capability>,
    /// How it differs from what was active before.
    #[serde(default)]
    pub diff: Diff,
    /// What the operator should know: clamps, exports that were ignored.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A component that was uploaded, and may be installed by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Which, in hexadecimal.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// When it was uploaded last.
    pub uploaded_at: Ms,
    /// Plugins with a version that stands on it.
    pub plugins: Vec<String>,
}

/// What the host found in a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Which, in hexadecimal.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Hooks that it exports, by name: those of filters, then those of actors.
    pub hooks: Vec<String>,
    /// What it imports.
    pub imports: Vec<String>,
}

/// Whether a plugin serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It does.
    #[default]
    Serving,
    /// An operator switched it off.
    Disabled,
    /// It failed too often, and is asked no more until an operator enables it or another version serves.
    Quarantined,
    /// It could not be loaded.
    Broken,
}

/// What a circuit breaker lets through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Everything.
    #[default]
    Closed,
    /// One call at a time, to see how it goes.
    HalfOpen,
    /// Nothing.
    Open,
}

/// How one hook of a version does, since it was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// Which.
    pub hook: String,
    /// Calls.
    pub calls: u64,
    /// Of those, refusals: decisions of moderation, errors of normalise.
    pub refusals: u64,
    /// Of those, traps.
    pub traps: u64,
    /// Of those, cut.
    pub deadlines: u64,
    /// Times at which no instance was free.
    pub busy: u64,
    /// Times at which the breaker let nothing through.
    pub open: u64,
    /// Bodies that were refused unseen.
    pub poison: u64,
    /// Mean wall time of a call in microseconds.
    pub micros_mean: u64,
    /// CPU time of all calls in milliseconds, by a clock that ticks once a millisecond.
    pub cpu_ms: u64,
    /// The circuit breaker.
    pub breaker: Circuit,
    /// How often it opened lately.
    pub trips: u32,
}

/// How the verdicts of two versions went together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// At which hook.
    pub hook: String,
    /// What the active version decided.
    pub active: String,
    /// What the candidate decided.
    pub candidate: String,
    /// Whether that was the same, reasons and texts included.
    pub agree: bool,
    /// How often.
    pub count: u64,
}

/// One message about which two versions differed. It holds no text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// When.
    pub at: Ms,
    /// Where, if it belongs to a conversation.
    pub conversation: Option<ConversationId>,
    /// At which hook.
    pub hook: String,
    /// What the active version decided, with the code of its reason.
    pub active: String,
    /// What the candidate decided, with the code of its reason, or why it could not.
    pub candidate: String,
    /// How many bytes the body had.
    pub body_bytes: u64,
}

/// What a shadow run has shown, since it was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Since when.
    pub since: Ms,
    /// Verdicts that were the same.
    pub agreed: u64,
    /// Verdicts that were not.
    pub differed: u64,
    /// Messages that the candidate was not shown, because it did not keep up.
    pub dropped: u64,
    /// Mean wall time of the candidate's calls in microseconds.
    pub micros_mean: u64,
    /// The verdicts by what both decided.
    pub pairs: Vec<Pair>,
    /// The last differences, oldest first.
    pub differences: Vec<Difference>,
}

/// A version beside the active one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateStatus {
    /// Which.
    pub version: String,
    /// Its component, in hexadecimal.
    pub digest: String,
    /// How far it is.
    pub state: State,
    /// In how many conversations of a hundred it decides; of a canary.
    pub percent: Option<u8>,
    /// What it waits for; of a pending one.
    #[serde(default)]
    pub missing: Vec<Capability>,
    /// How it differs from the active one.
    pub diff: Diff,
    /// What it has shown; of a shadow.
    pub comparison: Option<Comparison>,
    /// How its hooks do; of a canary.
    #[serde(default)]
    pub calls: Vec<HookStatus>,
    /// When it was installed.
    pub installed_at: Ms,
}

/// How far a plugin is that acts; its counts are since the start of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtWork {
    /// Its own user, whom a conversation invites that it is to hear.
    pub user: UserId,
    /// Events that it heard.
    pub heard: u64,
    /// Things that it wanted done, and that were.
    pub done: u64,
    /// Things that wait to be done.
    pub waiting: u64,
    /// Dead letters that were written.
    pub dead: u64,
}

/// A plugin as operators see it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Which.
    pub id: String,
    /// The active version.
    pub version: String,
    /// Its component, in hexadecimal.
    pub digest: String,
    /// Whether it serves.
    pub health: Health,
    /// Why not, where it does not.
    pub why: Option<String>,
    /// Hooks that it serves, by name: those of filters, then those of actors.
    pub hooks: Vec<String>,
    /// Lower runs first.
    pub priority: i32,
    /// What becomes of a message that its moderation could not judge.
    pub on_failure: OnFailure,
    /// What becomes of a message while it is not asked.
    pub on_open: OnOpen,
    /// Where it is asked; everywhere, if it is empty.
    pub scope: Scope,
    /// Whether its version stays.
    pub pinned: bool,
    /// Capabilities that it asks for.
    pub asks: Vec<String>,
    /// Capabilities granted.
    pub grants: Vec<String>,
    /// The version that a rollback returns to.
    pub previous: Option<String>,
    /// The version beside it.
    pub candidate: Option<CandidateStatus>,
    /// Since when and why it is in quarantine.
    pub quarantine: Option<Quarantine>,
    /// What the host took back by itself, until the next version is installed.
    pub reverted: Option<Reverted>,
    /// How far it is, where it acts.
    pub at_work: Option<AtWork>,
    /// Bodies that are refused unseen.
    pub poisoned: usize,
    /// How its hooks do.
    pub calls: Vec<HookStatus>,
    /// Instances that are alive.
    pub instances: u64,
    /// Memory of those, in KiB.
    pub memory_kib: u64,
    /// Calls that wait for an instance.
    pub waiting: u64,
    /// When the active version was installed.
    pub installed_at: Ms,
    /// The present generation.
    pub generation: Generation,
}

/// A body that is refused unseen because it killed a plugin twice; known by a hash alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poisoned {
    /// The hash of plugin, component, hook and content, in hexadecimal.
    pub hash: String,
    /// At which hook.
    pub hook: String,
    /// Which version it killed.
    pub version: String,
    /// How, the second time.
    pub how: String,
    /// Since when.
    pub at: Ms,
    /// Until when.
    pub until: Ms,
}
