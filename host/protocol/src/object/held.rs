//! Drafts on hold, as their senders and whoever decides about them see them.

use godwit_domain::{
    held,
    id::{ClientId, ConversationId, Seq, UserId},
    message,
    time::Ms,
};
use serde::Serialize;

/// The answer to a `send` that is on hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnHold {
    /// Where.
    pub conversation: ConversationId,
    /// That it is.
    pub held: Hold,
}

/// Why and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hold {
    /// Why, for its sender.
    pub reason: String,
    /// When it is rejected unless it was released.
    pub until: Ms,
}

impl From<&held::Held> for OnHold {
    fn from(held: &held::Held) -> Self {
        let hold = Hold { reason: held.reason.clone(), until: held.until };
        Self { conversation: held.conversation, held: hold }
    }
}

/// A draft of one's own that is on hold, as `connect` lists it.
#[derive(Debug, Clone, Serialize)]
pub struct Held {
    conversation: ConversationId,
    client_id: ClientId,
    reason: String,
    since: Ms,
    until: Ms,
}

impl From<held::Held> for Held {
    fn from(held: held::Held) -> Self {
        let held::Held { conversation, client_id, reason, since, until, .. } = held;
        Self { conversation, client_id, reason, since, until }
    }
}

/// A draft on hold with what it says, for whoever may decide about it.
#[derive(Debug, Clone, Serialize)]
pub struct HeldDraft {
    conversation: ConversationId,
    sender: UserId,
    client_id: ClientId,
    kind: message::Kind,
    body: String,
    reason: String,
    since: Ms,
    until: Ms,
}

impl From<held::Held> for HeldDraft {
    fn from(held: held::Held) -> Self {
        let held::Held { conversation, sender, client_id, content, reason, since, until, .. } = held;
        Self { conversation, sender, client_id, kind: content.kind, body: content.body, reason, since, until }
    }
}

/// What became of a draft on hold.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Verdict<'a> {
    /// Where.
    pub conversation: ConversationId,
    /// Which.
    pub client_id: ClientId,
    /// Its number, where it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// When it got that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Ms>,
    /// Why it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<&'a str>,
}
