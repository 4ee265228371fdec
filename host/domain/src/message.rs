//! Messages: what was sent, and what was decided about it.

use crate::{
    filter::Verdict,
    id::{ClientId, ConversationId, Seq, UserId},
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
