//! How filters take part in a send: what they are told, what they say, and the port through which `core` asks them.
//!
//! Four things are told apart everywhere: a *decision* (it answered), a *refusal* (it answered `err`), a *trap* (it
//! broke) and a *deadline* (it was cut). The rest is the host's own, which did not ask: `Busy`, `Open` and `Poison`.

use crate::{
    conversation::{Kind, Role},
    id::{ConversationId, Generation, UserId},
    message::{Content, Message},
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
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Rewrites content.
    Normalise,
    /// Allows, rejects or holds it.
    Moderation,
    /// Names who gets a message as a live push, and who is to be notified.
    FanOut,
    /// Says with what attention it reaches each recipient.
    Delivery,
}

impl Hook {
    /// The name in manifests, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normalise => "normalise",
            Self::Moderation => "moderation",
            Self::FanOut => "fan-out",
            Self::Delivery => "delivery",
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
    /// Decision of fan-out or delivery: something else than the built-in rule would do.
    Override,
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
            Self::Override => "override",
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

/// A few words that other people will read and that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wording<'a> {
    /// Of a conversation.
    Title(&'a str),
    /// That of a new account.
    UserName(&'a str),
    /// The name that is shown of a user.
    DisplayName(&'a str),
    /// Of an upload.
    FileName(&'a str),
    /// An emoji, or what is sent as one.
    Reaction(&'a str),
}

/// What moderation says of a [`Wording`], which cannot be on hold: all but `Allow` refuses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Review {
    /// People may read it.
    Allow,
    /// A plugin refused it.
    Reject {
        /// Which.
        plugin: String,
        /// Why.
        reason: Reason,
    },
    /// A plugin wants a person to look at it first, which refuses it for now; none refused it for good.
    Hold {
        /// Which; the first, if several do.
        plugin: String,
        /// Why.
        reason: Reason,
    },
    /// A plugin that must be heard could not be, which refuses it for now.
    Failed {
        /// Which.
        plugin: String,
        /// [`Decision::Trap`], [`Decision::Deadline`] or [`Decision::Busy`].
        how: Decision,
    },
}

/// What a fan-out rule is told beside the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Above how many members live messages flow to followers alone.
    pub follow_above: u32,
    /// How many are in.
    pub member_count: u32,
    /// How many of them follow with a session that is live.
    pub follower_count: u32,
    /// How many of them have a session that is live.
    pub online_count: u32,
    /// Owners and admins.
    pub admins: Vec<UserId>,
    /// Members whom the message mentions.
    pub mentioned: Vec<UserId>,
    /// Who is in: only where [`Chain::wants_members`], and where they are at most [`MEMBERS_MAX`].
    pub members: Option<Vec<UserId>>,
}

/// How many members a fan-out rule is shown at most.
pub const MEMBERS_MAX: usize = 1_000;
/// How many recipients a delivery policy is asked about in one call.
pub const RECIPIENTS_MAX: usize = 1_000;
/// How far ahead a notification may be put off, in milliseconds; a later time counts as this.
pub const NOTIFY_LATER_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;

/// Who gets a message, as a fan-out rule says it. Who is named and may not read the message gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    /// As a live push; everyone else hears of it by `heads`.
    pub live: Live,
    /// As a notification.
    pub notified: Notified,
}

/// Who gets a live push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Live {
    /// All members.
    Everyone,
    /// Who follows.
    Followers,
    /// Who follows, and these.
    FollowersAnd(Vec<UserId>),
    /// These.
    Only(Vec<UserId>),
}

/// Who is to be notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notified {
    /// All members.
    Everyone,
    /// Who is mentioned.
    Mentioned,
    /// These.
    Only(Vec<UserId>),
    /// Nobody.
    Nobody,
}

/// Someone whom a message is about to reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub user: Arc<User>,
    /// As what.
    pub role: Role,
    /// Whether a session of theirs is live.
    pub online: bool,
    /// Whether a person is looking at one.
    pub active: bool,
    /// Whether the message mentions them.
    pub mentioned: bool,
    /// Until when they muted the conversation.
    pub muted_until: Option<Ms>,
}

/// With what attention a message reaches one recipient. In order of quietness: of several answers the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// Live, with alert and notification.
    Normal,
    /// Live, without alert.
    Quiet,
    /// Live without alert, and a notification at that time.
    NotifyLater(Ms),
    /// Live without alert, and no notification.
    NoNotification,
}

/// What the hooks of one message's delivery used of their common budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// CPU time in milliseconds.
    pub cpu_ms: u32,
}

/// One immutable set of filters in their order. A draft pins one for its whole pass.
#[async_trait]
pub trait Chain: Send + Sync {
    /// Which set this is.
    fn generation(&self) -> Generation;

    /// Whether no plugin serves any hook: then nothing else here is called, and costs nothing.
    fn is_empty(&self) -> bool;

    /// Whether any plugin moderates: where none does, `review` is not called and costs nothing.
    fn reviews(&self) -> bool {
        false
    }

    /// Whether any plugin may change content: where none does, what is let through is what was handed in.
    fn rewrites(&self) -> bool;

    /// Normalise, then moderation: of a draft, or of what `original` is to become. An edit cannot be on hold: a plugin
    /// that fails over it refuses it, and [`Judgement::Hold`] refuses it for now.
    async fn judge(
        &self,
        scene: &Scene,
        content: Content,
        original: Option<&Message>,
    ) -> (Judgement, Verdict);

    /// Moderation of a few words. Of what belongs to no conversation `scene` has none, nor a role.
    async fn review(&self, scene: &Scene, wording: Wording<'_>) -> Review {
        let _ = (scene, wording);
        Review::Allow
    }

    /// Whether a plugin serves this hook in that place. Where none does the built-in rule runs inline.
    fn serves(&self, hook: Hook, place: &Place) -> bool {
        let _ = (hook, place);
        false
    }

    /// Whether a fan-out rule that serves that place was granted the member list.
    fn wants_members(&self, place: &Place) -> bool {
        let _ = place;
        false
    }

    /// Asks the fan-out rules: the first that names an audience counts. `None` stands for the built-in rule: nobody
    /// named one, or who might have could not be heard.
    async fn choose(
        &self,
        scene: &Scene,
        message: &Message,
        facts: &Facts,
        spent: &mut Spent,
    ) -> Option<Audience> {
        let _ = (scene, message, facts, spent);
        None
    }

    /// Asks the delivery policies: one answer per recipient, in order, of several the quietest. Who could not be heard
    /// counts as [`Attention::Normal`]. May be given any number of recipients.
    async fn decide(
        &self,
        scene: &Scene,
        message: &Message,
        recipients: &[Recipient],
        spent: &mut Spent,
    ) -> Vec<Attention> {
        let _ = (scene, message, spent);
        vec![Attention::Normal; recipients.len()]
    }
}

/// Where the present chain is found.
pub trait Filters: Send + Sync + 'static {
    /// The chain that is live now.
    fn pin(&self) -> Arc<dyn Chain>;
}
