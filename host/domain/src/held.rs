//! Held drafts: what was sent and waits to be numbered or rejected, stored meanwhile.

use crate::{
    id::{ClientId, ConversationId, UserId},
    message::Content,
    time::Ms,
};
use serde::{Deserialize, Serialize};

/// Why a draft is on hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A plugin wants a person to look at it: only a person releases it.
    Decided,
    /// A plugin that must be heard could not be: it is judged again by itself.
    Failed,
    /// It comes after another that is on hold: it is judged again when its turn comes.
    Behind,
}

/// A draft on hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub sender: UserId,
    /// What the sender's client calls it.
    pub client_id: ClientId,
    /// What, as it was sent: plugins see it afresh when it is released.
    pub content: Content,
    /// Tells other content under the same client id apart.
    pub content_hash: u64,
    /// Why it is on hold.
    pub why: Why,
    /// The same for the sender.
    pub reason: String,
    /// The sender's message that must be accepted before it.
    pub after: Option<ClientId>,
    /// Counts the drafts of the conversation that were held, in the order in which they came.
    pub place: u64,
    /// Since when.
    pub since: Ms,
    /// When it is rejected unless it was released.
    pub until: Ms,
    /// When it is judged again, if by itself.
    pub retry_at: Ms,
}

impl Held {
    /// When something has to be done about it without anybody asking.
    pub fn due_at(&self) -> Ms {
        match self.why {
            Why::Failed => self.until.min(self.retry_at),
            Why::Decided | Why::Behind => self.until,
        }
    }
}

/// The final answer to a held draft that was not accepted: every repeat of it gets the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// Of the draft.
    pub content_hash: u64,
    /// The stable code of the error.
    pub code: String,
    /// Its field: of a moderation the plugin's own code.
    pub field: Option<String>,
    /// Its words for the sender.
    pub text: String,
}

/// A held draft whose end has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Whose.
    pub sender: UserId,
    /// Which.
    pub client_id: ClientId,
    /// How it was rejected, unless it was accepted.
    pub rejection: Option<Rejection>,
}
