//! What there is, as the protocol's text has it: conversations as lists, members as stretches, marks as numbers.

use godwit_core::domain::{
    conversation::{History, Role},
    id::{ClientId, ConversationId, UserId},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Everything, of all conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    pub users: BTreeSet<UserId>,
    pub conversations: BTreeMap<ConversationId, Conversation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    pub id: ConversationId,
    pub direct: bool,
    pub title: Option<String>,
    pub open: bool,
    pub history: History,
    pub members: BTreeMap<UserId, Member>,
    /// The first has the number 1.
    pub messages: Vec<Message>,
    /// The first has the number 1.
    pub revisions: Vec<Revision>,
    pub marks: BTreeMap<UserId, Marks>,
    /// In the order in which they were hidden.
    pub hidden: BTreeMap<UserId, Vec<u64>>,
    /// What each client id of a change was answered.
    pub answered: BTreeMap<(UserId, ClientId), u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub role: Role,
    /// The revision with which they came in last, 0 for those who were in first.
    pub since_rev: u64,
    pub stretches: Vec<Stretch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub after_seq: u64,
    pub after_rev: u64,
    /// The last message and the last revision in it.
    pub until: Option<(u64, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub sender: UserId,
    pub client: ClientId,
    /// As it was sent: what a repeat is compared with.
    pub sent: String,
    pub body: String,
    pub reply_to: Option<u64>,
    pub thread: Option<u64>,
    pub mentions: Vec<UserId>,
    /// The last revision that it shows, 0 for none.
    pub rev: u64,
    /// The revision that gave the text, 0 for none.
    pub edited: u64,
    pub deleted: bool,
    pub reactions: BTreeMap<String, BTreeSet<UserId>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub at_seq: u64,
    pub by: UserId,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Edit { seq: u64, body: String },
    Delete { seq: u64 },
    React { seq: u64, emoji: String, on: bool, count: usize },
    Join { user: UserId, role: Role },
    Leave { user: UserId },
    Role { user: UserId, role: Role },
    Meta { title: Option<Option<String>>, open: Option<bool>, history: Option<History> },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    pub received: u64,
    pub read: u64,
}

/// How somebody stands to a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    In(Role),
    Left,
    /// Never in; it is open.
    Outside,
    /// It might as well not exist.
    Nothing,
}

/// How many of the newest messages are looked at after a restart, for marks that rose by sending.
const TAIL: usize = 32;

impl Model {
    pub fn standing(&self, conversation: ConversationId, user: UserId) -> Standing {
        let Some(found) = self.conversations.get(&conversation) else { return Standing::Nothing };
        match found.members.get(&user) {
            Some(member) if member.is_in() => Standing::In(member.role),
            Some(_) => Standing::Left,
            None if found.open => Standing::Outside,
            None => Standing::Nothing,
        }
    }

    /// What a restart changes: a host finds marks that had risen by sending again in the newest messages, and may let
    /// them rise over one's own message that stands right behind what was read.
    pub fn restart(&mut self) {
        for conversation in self.conversations.values_mut() {
            let first = conversation.messages.len().saturating_sub(TAIL);
            for nth in first..conversation.messages.len() {
                let sender = conversation.messages[nth].sender;
                conversation.raise_by_sending(sender, nth as u64 + 1);
            }
        }
    }
}

impl Member {
    pub fn is_in(&self) -> bool {
        self.stretches.last().is_some_and(|stretch| stretch.until.is_none())
    }
}

impl Conversation {
    pub fn last_seq(&self) -> u64 {
        self.messages.len() as u64
    }

    pub fn last_rev(&self) -> u64 {
        self.revisions.len() as u64
    }

    pub fn message(&self, seq: u64) -> Option<&Message> {
        self.messages.get(usize::try_from(seq.checked_sub(1)?).ok()?)
    }

    pub fn marks_of(&self, user: UserId) -> Marks {
        self.marks.get(&user).copied().unwrap_or_default()
    }

    pub fn hidden_of(&self, user: UserId) -> &[u64] {
        self.hidden.get(&user).map_or(&[], |hidden| hidden)
    }

    /// The last numbers that somebody sees who is in, or was.
    pub fn heads_of(&self, user: UserId) -> (u64, u64) {
        let left = self.members.get(&user).and_then(|member| member.stretches.last()?.until);
        left.unwrap_or((self.last_seq(), self.last_rev()))
    }

    /// Whether that user has left.
    pub fn has_left(&self, user: UserId) -> bool {
        self.members.get(&user).is_some_and(|member| !member.is_in())
    }

    pub fn may_read(&self, user: UserId, seq: u64) -> bool {
        self.reads(user, seq, self.heads_of(user).0, |stretch| {
            (stretch.after_seq, stretch.until.map(|until| until.0))
        })
    }

    /// Whether the revision is within what that user may read; one of a message wants that as well.
    pub fn may_read_revision(&self, user: UserId, rev: u64) -> bool {
        let is_within = self.reads(user, rev, self.heads_of(user).1, |stretch| {
            (stretch.after_rev, stretch.until.map(|until| until.1))
        });
        let about = self.revisions.get(rev as usize - 1).and_then(|revision| revision.what.message());
        is_within && about.is_none_or(|seq| self.may_read(user, seq))
    }

    fn reads(
        &self,
        user: UserId,
        number: u64,
        last: u64,
        bounds: impl Fn(&Stretch) -> (u64, Option<u64>),
    ) -> bool {
        let Some(member) = self.members.get(&user) else { return false };
        let is_within = |stretch: &Stretch| {
            let (after, until) = bounds(stretch);
            number > after && until.is_none_or(|until| number <= until)
        };
        let is_there = (1..=last).contains(&number);
        is_there && (self.history == History::All || member.stretches.iter().any(is_within))
    }

    pub fn raise_by_sending(&mut self, sender: UserId, seq: u64) {
        let marks = self.marks.entry(sender).or_default();
        if marks.received + 1 == seq {
            marks.received = seq;
        }
        if marks.read + 1 == seq {
            marks.read = seq;
        }
    }

    /// Who is in.
    pub fn present(&self) -> BTreeSet<UserId> {
        self.members.iter().filter(|(_, member)| member.is_in()).map(|(user, _)| *user).collect()
    }

    /// The other one of a direct conversation.
    pub fn peer_of(&self, user: UserId) -> Option<UserId> {
        self.direct.then(|| self.members.keys().copied().find(|other| *other != user).unwrap_or(user))
    }

    /// The object of the conversation for somebody to whom it shows; `null` is what must not be there.
    pub fn object(&self, user: UserId, standing: Standing) -> Value {
        let (last_seq, last_rev) = self.heads_of(user);
        let marks = self.marks_of(user);
        match standing {
            Standing::In(role) => {
                let peer = self.peer_of(user);
                let peer_marks = peer.map(|peer| self.marks_of(peer));
                let last = (last_seq > 0 && self.may_read(user, last_seq))
                    .then(|| self.message_object(user, last_seq));
                json!({
                    "id": self.id,
                    "kind": if self.direct { "direct" } else { "group" },
                    "title": self.title,
                    "role": role,
                    "open": self.open,
                    "encrypted": false,
                    "history": self.history,
                    "member_count": self.present().len(),
                    "members": self.present(),
                    "peer": peer.map(|peer| json!({"id": peer})),
                    "peer_read_seq": peer_marks.map(|marks| marks.read),
                    "peer_received_seq": peer_marks.map(|marks| marks.received),
                    "last_seq": last_seq,
                    "last_rev": last_rev,
                    "last_message": last,
                    "read_seq": marks.read,
                    "received_seq": marks.received,
                    "unread": last_seq - marks.read,
                    "hidden": self.hidden_of(user).len(),
                    "left": null,
                })
            }
            Standing::Left => json!({
                "id": self.id,
                "last_seq": last_seq,
                "last_rev": last_rev,
                "last_message": null,
                "members": null,
                "read_seq": marks.read,
                "received_seq": marks.received,
                "unread": last_seq - marks.read,
                "hidden": self.hidden_of(user).len(),
                "left": true,
            }),
            Standing::Outside | Standing::Nothing => json!({
                "id": self.id,
                "title": self.title,
                "open": true,
                "member_count": self.present().len(),
                "last_message": null,
                "members": null,
                "unread": 0,
            }),
        }
    }

    /// The object of a message as that user sees it; `null` is what must not be there.
    pub fn message_object(&self, user: UserId, seq: u64) -> Value {
        let message = &self.messages[seq as usize - 1];
        let mut object = json!({
            "conversation": self.id,
            "seq": seq,
            "sender": message.sender,
            "kind": "text",
            "body": message.body,
            "client_id": (message.sender == user).then_some(message.client),
            "mentions": (!message.mentions.is_empty()).then_some(&message.mentions),
            "deleted": message.deleted.then_some(true),
        });
        if !message.deleted {
            object["reply_to"] = json!(message.reply_to);
            object["thread"] = json!(message.thread);
        }
        // Who left sees no counts of later, and what stands in their place is left open.
        if !self.has_left(user) || message.rev <= self.heads_of(user).1 {
            let counts: BTreeMap<_, _> =
                message.reactions.iter().map(|(emoji, users)| (emoji, users.len())).collect();
            object["rev"] = json!((message.rev > 0).then_some(message.rev));
            object["reactions"] = json!((!counts.is_empty()).then_some(counts));
        }
        object
    }
}

impl What {
    /// The message that it is about.
    pub fn message(&self) -> Option<u64> {
        match self {
            Self::Edit { seq, .. } | Self::Delete { seq } | Self::React { seq, .. } => Some(*seq),
            _ => None,
        }
    }
}
