//! Revisions: what happened to a conversation apart from messages being sent. Numbered densely, like messages.

use crate::{
    conversation::{History, Member, Meta, Posting, Role},
    id::{ClientId, Rev, Seq, UserId},
    message::Reaction,
    time::Ms,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A revision that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number.
    pub rev: Rev,
    /// After which message it stands.
    pub at_seq: Seq,
    /// Who did it.
    pub by: UserId,
    /// When.
    pub at: Ms,
    /// What.
    pub what: What,
}

/// What a revision says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// A message has another text.
    Edit {
        /// Which message.
        seq: Seq,
        /// The new text. The store keeps it with the message alone: what is read back from the stream has none.
        body: Option<String>,
    },
    /// A message is deleted for everyone.
    Delete {
        /// Which message.
        seq: Seq,
    },
    /// Someone reacts to a message, or no longer does.
    React {
        /// To which message.
        seq: Seq,
        /// With what, up to 64 bytes.
        emoji: String,
        /// Whether they do from now on.
        on: bool,
        /// How many do so now.
        count: u32,
    },
    /// Someone came in.
    Join {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// Someone went, or was removed where `by` is another.
    Leave {
        /// Who.
        user: UserId,
        /// Why, where it was said.
        reason: Option<String>,
    },
    /// Someone may do something else from now on.
    Role {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// The conversation itself is something else.
    Meta(MetaChange),
    /// Several react to a message, or no longer do: what was gathered where too many would be told of each.
    Reacts {
        /// To which message.
        seq: Seq,
        /// How many react so now, with each of what they react with; 0 where nobody does any more.
        counts: Vec<Reaction>,
        /// Who does what. The store keeps it with the reactions alone: what is read back from the stream has none.
        reacted: Vec<Reacted>,
    },
}

/// Somebody's part in [`What::Reacts`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reacted {
    /// Who.
    pub user: UserId,
    /// With what.
    pub emoji: String,
    /// Whether they do from now on.
    pub on: bool,
}

impl What {
    /// The message that it is about.
    pub fn message(&self) -> Option<Seq> {
        match self {
            Self::Edit { seq, .. }
            | Self::Delete { seq }
            | Self::React { seq, .. }
            | Self::Reacts { seq, .. } => Some(*seq),
            Self::Join { .. } | Self::Leave { .. } | Self::Role { .. } | Self::Meta(_) => None,
        }
    }

    /// Whose membership it changes.
    pub fn concerns(&self) -> Option<UserId> {
        match self {
            Self::Join { user, .. } | Self::Leave { user, .. } | Self::Role { user, .. } => Some(*user),
            Self::Edit { .. }
            | Self::Delete { .. }
            | Self::React { .. }
            | Self::Reacts { .. }
            | Self::Meta(_) => None,
        }
    }
}

/// What of a [`Meta`] changes; the inner `None` clears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaChange {
    /// The title.
    pub title: Option<Option<String>>,
    /// The picture.
    pub avatar: Option<Option<Uuid>>,
    /// Whether anyone may join.
    pub open: Option<bool>,
    /// What newcomers may read.
    pub history: Option<History>,
    /// Who may send.
    pub posting: Option<Posting>,
    /// How long a member below admin waits between two messages, in seconds.
    pub slow_mode_s: Option<u32>,
}

impl MetaChange {
    /// Leaves out what would change nothing.
    #[must_use]
    pub fn against(mut self, meta: &Meta) -> Self {
        self.title = self.title.filter(|title| *title != meta.title);
        self.avatar = self.avatar.filter(|avatar| *avatar != meta.avatar);
        self.open = self.open.filter(|open| *open != meta.open);
        self.history = self.history.filter(|history| *history != meta.history);
        self.posting = self.posting.filter(|posting| *posting != meta.posting);
        self.slow_mode_s = self.slow_mode_s.filter(|seconds| *seconds != meta.slow_mode_s);
        self
    }

    /// The meta as it is afterwards.
    pub fn applied(&self, meta: &Meta) -> Meta {
        Meta {
            title: self.title.clone().unwrap_or_else(|| meta.title.clone()),
            avatar: self.avatar.unwrap_or(meta.avatar),
            open: self.open.unwrap_or(meta.open),
            history: self.history.unwrap_or(meta.history),
            posting: self.posting.unwrap_or(meta.posting),
            slow_mode_s: self.slow_mode_s.unwrap_or(meta.slow_mode_s),
            ..meta.clone()
        }
    }
}

/// What is to happen to a conversation in one step: stored whole, as an intent under its head, before any part of it
/// is carried out (`host/decisions/0007-revisions.md`).
///
/// It says what will stand, not how to get there, so that carrying it out twice is the same as once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The revisions that it makes, in order: they are numbered from the head on.
    pub revisions: Vec<Revised>,
    /// The conversation as it is afterwards, where that changes.
    pub meta: Option<Meta>,
    /// The members as they are afterwards, those who change. The marks of who is in begin where the last interval
    /// does.
    pub members: Vec<Member>,
}

impl Change {
    /// Whether membership or meta change, which moves a conversation in the lists.
    pub fn moves(&self) -> bool {
        self.meta.is_some() || !self.members.is_empty()
    }
}

/// A revision that is to happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revised {
    /// Who does it.
    pub by: UserId,
    /// What.
    pub what: What,
    /// What the client calls it: remembered, so that a repeat gets the same number.
    pub client_id: Option<ClientId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conversation::Kind, id::ConversationId};

    #[test]
    fn a_change_of_meta_clears_sets_and_leaves() {
        let meta = Meta {
            id: ConversationId::from_u128(1),
            kind: Kind::Group,
            title: Some("team".into()),
            avatar: None,
            open: false,
            history: History::All,
            posting: Posting::Members,
            slow_mode_s: 0,
            labels: Vec::new(),
            created_by: UserId::from_u128(1),
            created_at: Ms(1),
        };
        let change = MetaChange { title: Some(None), open: Some(false), ..MetaChange::default() };
        let change = change.against(&meta);
        assert_eq!(change, MetaChange { title: Some(None), ..MetaChange::default() });
        let after = change.applied(&meta);
        assert_eq!((after.title.as_deref(), after.open), (None, false));
        let again = MetaChange { title: Some(None), ..MetaChange::default() }.against(&after);
        assert_eq!(again, MetaChange::default());
    }
}
