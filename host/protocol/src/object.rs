//! Objects as clients see them. They borrow from the domain, so that a frame is written without copying it first.

mod contact;
mod held;
mod link;
mod revision;

pub use contact::Contact;
pub use held::{Held, HeldDraft, Hold, OnHold, Verdict};
pub use link::Link;
pub use revision::{Head, Hidden, Revision};

use godwit_domain::{
    conversation::{History, Kind, Posting, Role},
    id::{ClientId, ConversationId, Rev, Seq, SessionId, UserId},
    message,
    time::Ms,
    user,
};
use serde::{Serialize, Serializer};
use uuid::Uuid;

fn no(flag: &bool) -> bool {
    !flag
}

/// A user as others see it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct User<'a> {
    id: UserId,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar: Option<Uuid>,
    #[serde(skip_serializing_if = "no")]
    bot: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<&'a str>,
    joined_at: Ms,
    /// Told to the user alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    privacy: Option<user::Privacy>,
}

impl<'a> From<&'a user::User> for User<'a> {
    fn from(user: &'a user::User) -> Self {
        Self {
            id: user.id,
            name: &user.name,
            display_name: user.display_name.as_deref(),
            avatar: user.avatar,
            bot: user.bot,
            time_zone: user.time_zone.as_deref(),
            joined_at: user.joined_at,
            privacy: None,
        }
    }
}

impl<'a> User<'a> {
    /// The user as they see themselves.
    pub fn own(user: &'a user::User) -> Self {
        Self { privacy: Some(user.privacy), ..Self::from(user) }
    }

    /// The same as one sees it who is `blocked`: by what name to call them, and nothing of their profile beside.
    #[must_use]
    pub fn guarded(self, blocked: bool) -> Self {
        if blocked { Self { avatar: None, time_zone: None, ..self } } else { self }
    }
}

/// A message.
#[derive(Debug, Clone, Serialize)]
pub struct Message<'a> {
    conversation: ConversationId,
    seq: Seq,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<Rev>,
    sender: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<ClientId>,
    sent_at: Ms,
    kind: message::Kind,
    body: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<Seq>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    mentions: &'a [UserId],
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_at: Option<Ms>,
    #[serde(skip_serializing_if = "no")]
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reactions: Option<Counts<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    my_reactions: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'a str>,
    #[serde(skip_serializing_if = "no")]
    quiet: bool,
}

/// `{emoji: count}`.
#[derive(Debug, Clone, Copy)]
struct Counts<'a>(&'a [message::Reaction]);

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|reaction| (&reaction.emoji, reaction.count)))
    }
}

impl<'a> Message<'a> {
    /// The message as `own` devices of its sender see it, or as everyone else does.
    pub fn new(message: &'a message::Message, own: bool) -> Self {
        let revised = message.revised.as_deref();
        Self {
            conversation: message.conversation,
            seq: message.seq,
            rev: revised.map(|revised| revised.rev),
            sender: message.sender,
            client_id: own.then_some(message.client_id),
            sent_at: message.sent_at,
            kind: message.content.kind,
            body: &message.content.body,
            reply_to: message.content.reply_to,
            thread: message.content.thread,
            mentions: &message.content.mentions,
            edited_at: revised.and_then(|revised| revised.edited).map(|(_, at)| at),
            deleted: message.is_deleted(),
            reactions: revised
                .map(|revised| Counts(&revised.reactions))
                .filter(|counts| !counts.0.is_empty()),
            my_reactions: Vec::new(),
            via: message.via.as_deref(),
            quiet: false,
        }
    }

    /// The same, to be shown without an alert.
    #[must_use]
    pub fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// The same, with what the asker reacts.
    #[must_use]
    pub fn reacted(self, my_reactions: Vec<&'a str>) -> Self {
        Self { my_reactions, ..self }
    }
}

/// A conversation as one of its members sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Conversation<'a> {
    /// Which.
    pub id: ConversationId,
    /// What kind.
    pub kind: Kind,
    /// The title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<&'a str>,
    /// The stored picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar: Option<Uuid>,
    /// The other one of a direct conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<User<'a>>,
    /// Who is in, up to [`MEMBERS_SHOWN_MAX`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<UserId>>,
    /// How many are in.
    pub member_count: u32,
    /// What the asker may do.
    pub role: Role,
    /// Whether anyone may join.
    pub open: bool,
    /// Whether bodies are opaque.
    pub encrypted: bool,
    /// What newcomers may read.
    pub history: History,
    /// Who may send, where that is not every member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub posting: Option<Posting>,
    /// How long a member waits between two messages, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_mode_s: Option<u32>,
    /// The newest message's number.
    pub last_seq: Seq,
    /// The newest revision's number.
    pub last_rev: Rev,
    /// The newest message, where the asker may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_message: Option<Message<'a>>,
    /// How far the asker has read.
    pub read_seq: Seq,
    /// How far it has reached a device of the asker.
    pub received_seq: Seq,
    /// `last_seq − read_seq`.
    pub unread: u64,
    /// How many the asker hid.
    pub hidden: u64,
    /// How far the peer has read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_read_seq: Option<Seq>,
    /// How far it has reached a device of the peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_received_seq: Option<Seq>,
    /// The asker's own setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted_until: Option<Ms>,
    /// The asker's own setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<&'a str>,
    /// The asker's own setting.
    pub pinned: bool,
    /// The asker's own setting.
    pub archived: bool,
    /// Whether the asker has left it.
    #[serde(skip_serializing_if = "no")]
    pub left: bool,
    /// When messages, membership or meta changed last.
    pub updated_at: Ms,
}

/// Up to how many members a [`Conversation`] lists.
pub const MEMBERS_SHOWN_MAX: usize = 50;

/// A mark that rose.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Receipt {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub user: UserId,
    /// How far it has reached a device.
    pub received_seq: Seq,
    /// How far it was read.
    pub read_seq: Seq,
    /// When.
    pub at: Ms,
}

/// Whether someone is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// Whether.
    pub online: bool,
    /// Until when they were, where they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Ms>,
}

/// Someone is writing.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Typing {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
}

/// A member, as `members` lists it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// Since when.
    pub joined_at: Ms,
}

/// Why numbers of a range come without a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Sent when the asker was not in, or changed since they left.
    NotVisible,
    /// Deleted by the asker for themselves.
    Hidden,
}

/// Numbers that come without a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// The first.
    pub from: Seq,
    /// The last.
    pub to: Seq,
    /// Why.
    pub why: Why,
}

/// What the server says first.
#[derive(Debug, Clone, Serialize)]
pub struct Hello {
    /// The protocol's number.
    pub protocol: u32,
    /// The server's name and version.
    pub server: String,
    /// How often it pings.
    pub ping_interval_ms: u64,
    /// The largest frame that it takes, in bytes.
    pub max_frame_bytes: usize,
    /// The largest body that it takes, in bytes.
    pub max_body_bytes: usize,
    /// How many requests may be in flight.
    pub max_in_flight: usize,
    /// How many users one request may name.
    pub max_users_per_request: usize,
    /// Above how many members live messages flow to followers alone.
    pub follow_above: u32,
    /// What is served beyond the core.
    pub features: &'static [&'static str],
}

/// The answer to `connect`.
#[derive(Debug, Clone, Serialize)]
pub struct Connected<'a> {
    /// Who this is.
    pub user: User<'a>,
    /// This connection's session.
    pub session: SessionId,
    /// Of which store the cursor is.
    pub epoch: &'a str,
    /// Where to resume.
    pub cursor: String,
    /// Whether `conversations` is what changed, or a cold start.
    pub recovered: bool,
    /// The newest conversations, or those that changed.
    pub conversations: Vec<Conversation<'a>>,
    /// All contacts, or those that changed.
    pub contacts: Vec<Contact<'a>>,
    /// The user's drafts on hold.
    pub held: Vec<Held>,
    /// Where `sync` goes on, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// What the server would have said first, where it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hello: Option<&'a Hello>,
}

/// The answer to `send`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sent {
    /// Where.
    pub conversation: ConversationId,
    /// Its number.
    pub seq: Seq,
    /// When.
    pub sent_at: Ms,
    /// It was accepted before.
    #[serde(skip_serializing_if = "no")]
    pub duplicate: bool,
}
