//! How filters take part in a send: what they are told, what they say, and the port through which `core` asks them.
//!
//! Four things are told apart everywhere: a *decision* (it answered), a *refusal* (it answered `err`), a *trap* (it
//! broke) and a *deadline* (it was cut). The rest is the host's own, which did not ask: `Busy`, `Open` and `Poison`.

use crate::{
    conversation::{Kind, Role},
    id::{ConversationId, Generation},
    message::Content,
    time::Ms,
    user::User,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What every filter is told beside the content.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The present time.
    pub now: Ms,
    /// Where; absent for what belongs to no conversation.
    pub conversation: Option<Place>,
    /// Who.
    pub sender: Arc<User>,
    /// As what; absent with `conversation`.
    pub sender_role: Option<Role>,
    /// What the sender did lately.
    pub activity: Activity,
    /// The plugin on whose behalf.
    pub via: Option<String>,
}

/// The conversation of a scene.
#[derive(Debug, Clone)]
pub struct Place {
    /// Which.
    pub id: ConversationId,
    /// What kind.
    pub kind: Kind,
    /// Its title.
    pub title: Option<String>,
    /// How many are in.
    pub member_count: u32,
    /// Whether bodies are opaque.
    pub encrypted: bool,
    /// The operator's labels.
    pub labels: Vec<String>,
}

/// Attempts to send before this one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// In the last 10 seconds.
    pub messages_10s: u32,
    /// In the last minute.
    pub messages_60s: u32,
    /// In the last hour.
    pub messages_1h: u32,
}

/// What the sender did lately, as this node saw it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// In this conversation.
    pub here: Option<Counts>,
    /// In all.
    pub overall: Counts,
    /// With this very body, in the last minute.
    pub same_body_60s: u32,
    /// Since when the sender is in.
    pub member_since: Option<Ms>,
}

/// Why a plugin refuses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable, lower-case words: up to 64 of `a-z0-9-_`.
    pub code: String,
    /// Shown to the sender, up to 500 characters.
    pub text: String,
}

impl Reason {
    /// What people are shown: the text, or the code of a reason without one.
    pub fn shown(&self) -> &str {
        if self.text.is_empty() { &self.code } else { &self.text }
    }
}

/// A hook that filters serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Rewrites content.
    Normalise,
    /// Allows, rejects or holds it.
    Moderation,
}

impl Hook {
    /// The name in manifests, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normalise => "normalise",
            Self::Moderation => "moderation",
        }
    }
}

/// What one call of one hook came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Decision: left as it was, or allowed.
    Allow,
    /// Decision: rewritten.
    Rewrite,
    /// Decision of moderation, or refusal of normalise.
    Reject,
    /// Decision of moderation: a person is to look at it first.
    Hold,
    /// It broke, or its answer broke a limit.
    Trap,
    /// It was cut.
    Deadline,
    /// No instance was free in time.
    Busy,
    /// It was not asked: its breaker is open, or it is in quarantine.
    Open,
    /// It was not asked: a body that killed it twice.
    Poison,
}

impl Decision {
    /// The name in metrics, logs and traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Rewrite => "rewrite",
            Self::Reject => "reject",
            Self::Hold => "hold",
            Self::Trap => "trap",
            Self::Deadline => "deadline",
            Self::Busy => "busy",
            Self::Open => "open",
            Self::Poison => "poison",
        }
    }
}

/// One call, as it is stored with the message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which plugin: its place in the [`crate::plugin::Composition`] of the generation.
    pub plugin: u16,
    /// Which hook.
    pub hook: Hook,
    /// What it came to.
    pub decision: Decision,
    /// Wall time of the call in microseconds.
    pub micros: u32,
}

/// What the filters decided about a message that was accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// By which set of plugins.
    pub generation: Generation,
    /// The calls, in order; none where no plugin serves a hook.
    pub steps: Vec<Step>,
}

/// What the chain says of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It may be numbered, as it is here.
    Allow(Content),
    /// A plugin refused it.
    Reject {
        /// Which.
        plugin: String,
        /// Why.
        reason: Reason,
    },
    /// A plugin wants a person to look at it first; none refused it.
    Hold {
        /// Which; the first, if several do.
        plugin: String,
        /// Why.
        reason: Reason,
        /// What may be numbered once a person has said so.
        content: Content,
    },
    /// A plugin that must be heard could not be; never let through.
    Failed {
        /// Which.
        plugin: String,
        /// At which hook.
        hook: Hook,
        /// [`Decision::Trap`], [`Decision::Deadline`], [`Decision::Busy`] or [`Decision::Open`].
        how: Decision,
        /// What is to be judged again, where it is to be held ([`crate::plugin::OnFailure`]); else it is refused.
        held: Option<Content>,
    },
}

/// One immutable set of filters in their order. A draft pins one for its whole pass.
#[async_trait]
pub trait Chain: Send + Sync {
    /// Which set this is.
    fn generation(&self) -> Generation;

    /// Whether any plugin serves a hook; where none does, `judge` is not called and costs nothing.
    fn is_empty(&self) -> bool;

    /// Whether any plugin may change content: where none does, what is let through is what was handed in.
    fn rewrites(&self) -> bool;

    /// Normalise, then moderation.
    async fn judge(&self, scene: &Scene, content: Content) -> (Judgement, Verdict);
}

/// Where the present chain is found.
pub trait Filters: Send + Sync + 'static {
    /// The chain that is live now.
    fn pin(&self) -> Arc<dyn Chain>;
}
