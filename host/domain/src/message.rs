//! Messages: what was sent, and what was decided about it.

use crate::{
    filter::Verdict,
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    time::Ms,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What kind of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Text.
    Text,
    /// Pictures.
    Image,
    /// Files.
    File,
    /// Films.
    Video,
    /// Sound.
    Audio,
    /// Said by a plugin or an administrator.
    System,
    /// Opaque to the host.
    Encrypted,
}

/// A file that a message carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The stored file.
    pub media: Uuid,
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
    /// Width in pixels.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// What kind.
    pub kind: Kind,
    /// The text, byte for byte as it was sent, or as a plugin rewrote it.
    pub body: String,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// The message that this one answers.
    pub reply_to: Option<Seq>,
    /// The message whose thread this one belongs to.
    pub thread: Option<Seq>,
    /// Who is mentioned.
    pub mentions: Vec<UserId>,
    /// Seconds after which it is gone.
    pub expires_in_s: Option<u32>,
}

impl Content {
    /// Plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            kind: Kind::Text,
            body: body.into(),
            attachments: Vec::new(),
            reply_to: None,
            thread: None,
            mentions: Vec::new(),
            expires_in_s: None,
        }
    }
}

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where.
    pub conversation: ConversationId,
    /// Its number.
    pub seq: Seq,
    /// Who.
    pub sender: UserId,
    /// What the sender's client calls it.
    pub client_id: ClientId,
    /// When the host numbered it; never decreasing within a conversation.
    pub sent_at: Ms,
    /// What.
    pub content: Content,
    /// The plugin that sent it.
    pub via: Option<String>,
    /// What the filters decided, and which.
    pub verdict: Verdict,
    /// What became of it since it was sent; `None` for most.
    pub revised: Option<Box<Revised>>,
}

impl Message {
    /// The last revision that it shows.
    pub fn rev(&self) -> Rev {
        self.revised.as_ref().map_or(Rev::ZERO, |revised| revised.rev)
    }

    /// Whether it was deleted for everyone: it keeps its place and shows nothing.
    pub fn is_deleted(&self) -> bool {
        self.revised.as_ref().is_some_and(|revised| revised.deleted)
    }
}

/// What became of a message since it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revised {
    /// The last revision that it shows.
    pub rev: Rev,
    /// The revision that gave it its text, and when.
    pub edited: Option<(Rev, Ms)>,
    /// Whether it was deleted for everyone.
    pub deleted: bool,
    /// How many react with what, in the order in which the first of each did.
    pub reactions: Vec<Reaction>,
}

/// How many react in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    /// With what.
    pub emoji: String,
    /// How many, at least 1.
    pub count: u32,
}

/// The answer that a client id got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The number.
    pub seq: Seq,
    /// When.
    pub sent_at: Ms,
    /// Tells other content under the same client id apart: of the content as it was sent, before any plugin.
    pub content_hash: u64,
}
