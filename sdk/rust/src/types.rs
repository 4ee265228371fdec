//! What hooks are told and what they answer.
//!
//! The types are those of `wit/0.1`, as they cross the boundary, with the conveniences that Rust expects: no copy and
//! no second set of names. It refuses to know what a plugin does with them. Start with [`Scene`] and [`Subject`].

use crate::bindings::{delivery, fan_out, moderation, normalise, services};
use serde::Deserialize;
use std::borrow::Cow;
use uuid::Uuid;

pub use delivery::exports::godwit::plugin::delivery::{Attention, Recipient};
pub use fan_out::exports::godwit::plugin::fan_out::{Audience, Facts, Live, Notified};
pub use moderation::exports::godwit::plugin::moderation::{Edit, Subject, Verdict};
pub use normalise::exports::godwit::plugin::normalise::Rewrite;
pub use services::godwit::plugin::{
    log::Level,
    types::{
        Attachment, Content, ContentKind, Conversation, ConversationKind, Counts, Id, Message, Ms, Reason,
        Role, Scene, SenderActivity, User,
    },
};

/// The configuration of a plugin that has none: `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

impl Id {
    /// The id with this value; for tests and examples.
    pub const fn from_u128(value: u128) -> Self {
        Self { hi: (value >> 64) as u64, lo: value as u64 }
    }

    /// The id's value.
    pub const fn as_u128(self) -> u128 {
        (self.hi as u128) << 64 | self.lo as u128
    }
}

/// The hyphenated, lower-case form in which clients and logs show it.
impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Uuid::from_u128(self.as_u128()).as_hyphenated().fmt(f)
    }
}

/// Reads any form of a UUID.
impl std::str::FromStr for Id {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::from_u128(Uuid::try_parse(text)?.as_u128()))
    }
}

/// Reads any form of a UUID, so that a configuration may name users and conversations.
impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|error| serde::de::Error::custom(format!("`{text}` is no UUID: {error}")))
    }
}

impl Reason {
    /// A reason with a stable `code` for programs (up to 64 of `a-z0-9-_`) and a `text` for the sender (up to 500
    /// characters).
    pub fn new(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { code: code.into(), text: text.into() }
    }
}

impl Verdict {
    /// Rejects with [`Reason::new`].
    pub fn reject(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Reject(Reason::new(code, text))
    }

    /// Holds with [`Reason::new`].
    pub fn hold(code: impl Into<String>, text: impl Into<String>) -> Self {
        Self::Hold(Reason::new(code, text))
    }
}

impl Audience {
    /// Whom the host's own rule would reach: everyone live in a small conversation, followers in a large one; whoever is
    /// reached is notified.
    pub fn usual(facts: &Facts) -> Self {
        let live = if facts.member_count > facts.follow_above { Live::Followers } else { Live::Everyone };
        Self { live, notified: Notified::Everyone }
    }

    /// These alone, live and notified.
    pub fn only(users: Vec<Id>) -> Self {
        Self { live: Live::Only(users.clone()), notified: Notified::Only(users) }
    }
}

impl Subject {
    /// What people will read: the body, the new body of an edit, or the name, title or emoji itself.
    pub fn text(&self) -> &str {
        match self {
            Self::Message(content) | Self::Edit(Edit { content, .. }) => &content.body,
            Self::Title(text)
            | Self::UserName(text)
            | Self::DisplayName(text)
            | Self::FileName(text)
            | Self::Reaction(text) => text,
        }
    }

    /// What a message or an edit says; `None` for names, titles and reactions.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Message(content) | Self::Edit(Edit { content, .. }) => Some(content),
            _ => None,
        }
    }
}

impl Content {
    /// A text without anything beside it.
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            kind: ContentKind::Text,
            body: body.into(),
            attachments: Vec::new(),
            reply_to: None,
            thread: None,
            mentions: Vec::new(),
            expires_in_s: None,
        }
    }

    /// This content with another body: its mentions stay.
    pub fn rewrite(self, body: impl Into<String>) -> Rewrite {
        Rewrite { body: body.into(), mentions: self.mentions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_and_read_as_a_uuid() {
        let text = "018f4e2a-7c1b-7d3e-9a5f-0123456789ab";
        let id: Id = text.parse().unwrap();
        assert_eq!(id, Id { hi: 0x018f_4e2a_7c1b_7d3e, lo: 0x9a5f_0123_4567_89ab });
        assert_eq!(id.to_string(), text);
        assert_eq!(serde_json::from_str::<Id>(&format!("\"{text}\"")).unwrap(), id);
    }

    #[test]
    fn what_is_no_uuid_is_refused_by_its_text() {
        let error = serde_json::from_str::<Id>("\"ada\"").unwrap_err().to_string();
        assert!(error.contains("`ada`"), "{error}");
    }

    #[test]
    fn a_subject_shows_the_text_that_people_will_read() {
        let original = Message {
            conversation: Id::from_u128(1),
            seq: 7,
            sender: Id::from_u128(2),
            sent_at: 0,
            content: Content::text("old"),
            edited: false,
            via: None,
        };
        let edit = Subject::Edit(Edit { original, content: Content::text("new") });
        assert_eq!(edit.text(), "new");
        assert_eq!(edit.content(), Some(&Content::text("new")));
        assert_eq!(Subject::Title("team".into()).text(), "team");
        assert_eq!(Subject::Title("team".into()).content(), None);
    }

    #[test]
    fn a_rewrite_keeps_the_mentions() {
        let content = Content { mentions: vec![Id::from_u128(3)], ..Content::text("hello") };
        assert_eq!(content.rewrite("hi"), Rewrite { body: "hi".into(), mentions: vec![Id::from_u128(3)] });
    }
}
