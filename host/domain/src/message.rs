//! Messages: what was sent, and what was decided about it.

use crate::{
    filter::Verdict,
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    revision::{Revision, What},
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

    /// Takes over what a revision says of this message, unless it shows that already.
    ///
    /// A deleted message is not changed any more.
    pub fn revise(&mut self, revision: &Revision) {
        if revision.what.message() != Some(self.seq) || self.is_deleted() || self.rev() >= revision.rev {
            return;
        }
        let revised = self.revised.get_or_insert_default();
        revised.rev = revision.rev;
        match &revision.what {
            What::Edit { body: Some(body), .. } => {
                self.content.body.clone_from(body);
                revised.edited = Some((revision.rev, revision.at));
            }
            What::Delete { .. } => {
                **revised = Revised { rev: revision.rev, deleted: true, ..Revised::default() };
                self.content.body = String::new();
                self.content.attachments = Vec::new();
                self.content.mentions = Vec::new();
            }
            What::React { emoji, count, .. } => revised.count(emoji, *count),
            What::Reacts { counts, .. } => {
                counts.iter().for_each(|reaction| revised.count(&reaction.emoji, reaction.count));
            }
            _ => {}
        }
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

impl Revised {
    /// Sets how many react with an emoji; with none it goes.
    pub fn count(&mut self, emoji: &str, count: u32) {
        let known = self.reactions.iter().position(|reaction| reaction.emoji == emoji);
        match (known, count) {
            (Some(index), 0) => drop(self.reactions.remove(index)),
            (Some(index), count) => self.reactions[index].count = count,
            (None, 0) => {}
            (None, count) => self.reactions.push(Reaction { emoji: emoji.to_owned(), count }),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn after(revisions: &[(u64, What)]) -> Message {
        let mut message = Message {
            conversation: ConversationId::from_u128(1),
            seq: Seq(4),
            sender: UserId::from_u128(1),
            client_id: ClientId::from_u128(1),
            sent_at: Ms(1),
            content: Content::text("first"),
            via: None,
            verdict: Verdict::default(),
            revised: None,
        };
        for (rev, what) in revisions {
            let by = UserId::from_u128(1);
            let revision = Revision { rev: Rev(*rev), at_seq: Seq(9), by, at: Ms(7), what: what.clone() };
            message.revise(&revision);
        }
        message
    }

    fn react(emoji: &str, count: u32) -> What {
        What::React { seq: Seq(4), emoji: emoji.into(), on: count > 0, count }
    }

    #[test]
    fn revisions_are_taken_over_once_and_in_order() {
        let edit = |body: &str| What::Edit { seq: Seq(4), body: Some(body.into()) };
        let message = after(&[(2, edit("second")), (2, edit("again")), (1, edit("late"))]);
        assert_eq!((message.content.body.as_str(), message.rev()), ("second", Rev(2)));
        assert_eq!(after(&[(1, What::Edit { seq: Seq(5), body: Some("x".into()) })]).revised, None);
    }

    #[test]
    fn reactions_are_counted_in_the_order_of_their_first() {
        let message =
            after(&[(1, react("+1", 1)), (2, react("!", 1)), (3, react("+1", 2)), (4, react("!", 0))]);
        let counts = [Reaction { emoji: "+1".into(), count: 2 }];
        assert_eq!(message.revised.map(|revised| revised.reactions), Some(counts.to_vec()));
    }

    #[test]
    fn what_is_deleted_shows_nothing_and_stays_so() {
        let late = What::Edit { seq: Seq(4), body: Some("back".into()) };
        let message = after(&[(1, react("+1", 1)), (2, What::Delete { seq: Seq(4) }), (3, late)]);
        assert!(message.is_deleted() && message.content.body.is_empty());
        assert_eq!(message.revised.map(|revised| (revised.rev, revised.reactions)), Some((Rev(2), vec![])));
    }
}
