//! Conversations, their members and what a user knows of them.

use crate::{
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    time::Ms,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The namespace of derived conversation ids.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f64_7769_7400_5000_8000_676f_6477_6974);

/// The id of the one direct conversation of two users, the same in either order. A user may be both.
pub fn direct_id(a: UserId, b: UserId) -> ConversationId {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    derived(b"direct", low.as_bytes(), high.as_bytes())
}

/// The id of the conversation that `creator` made with the request `client`: a retry makes the same.
pub fn created_id(creator: UserId, client: ClientId) -> ConversationId {
    derived(b"create", creator.as_bytes(), client.as_bytes())
}

fn derived(kind: &[u8; 6], a: &[u8; 16], b: &[u8; 16]) -> ConversationId {
    let mut name = [0; 38];
    name[..6].copy_from_slice(kind);
    name[6..22].copy_from_slice(a);
    name[22..].copy_from_slice(b);
    ConversationId(Uuid::new_v5(&NAMESPACE, &name))
}

/// What kind of conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Two people (or one: notes).
    Direct,
    /// Members who all may write.
    Group,
    /// Few writers, many readers.
    Channel,
}

/// What a member may do; greater may more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads and marks.
    Reader,
    /// Sends as well.
    Member,
    /// Invites as well.
    Admin,
    /// May everything.
    Owner,
}

/// What newcomers may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Everything.
    All,
    /// What was sent since they joined.
    SinceJoin,
}

/// Who may send, of those who are in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Posting {
    /// Everyone but readers.
    #[default]
    Members,
    /// Admins and owners; so in every channel.
    Admins,
}

/// What a conversation is, apart from its members and messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Which.
    pub id: ConversationId,
    /// What kind.
    pub kind: Kind,
    /// The title, up to 100 characters; direct conversations have none.
    pub title: Option<String>,
    /// The stored picture.
    pub avatar: Option<Uuid>,
    /// Whether anyone may join.
    pub open: bool,
    /// What newcomers may read.
    pub history: History,
    /// Who may send.
    pub posting: Posting,
    /// How long a member below admin waits between two messages, in seconds; 0 for not at all.
    pub slow_mode_s: u32,
    /// What an operator calls it: plugins are installed by labels.
    pub labels: Vec<String>,
    /// Who made it.
    pub created_by: UserId,
    /// When.
    pub created_at: Ms,
}

impl Meta {
    /// As what people come in by themselves, or are invited.
    pub fn newcomer(&self) -> Role {
        match self.kind {
            Kind::Direct | Kind::Group => Role::Member,
            Kind::Channel => Role::Reader,
        }
    }

    /// Whether those of that role may send.
    pub fn may_post(&self, role: Role) -> bool {
        let admins = self.kind == Kind::Channel || self.posting == Posting::Admins;
        role >= if admins { Role::Admin } else { Role::Member }
    }
}

/// A link by which whoever has its code comes into a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// What the code says beside the conversation; nobody guesses it.
    pub secret: Uuid,
    /// Who made it.
    pub by: UserId,
    /// When.
    pub created_at: Ms,
    /// When it ends by itself.
    pub expires_at: Option<Ms>,
}

/// A stretch of membership: what came after `after_seq` and `after_rev` is theirs to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The last message before it.
    pub after_seq: Seq,
    /// The last revision before it.
    pub after_rev: Rev,
    /// Where it ended; `None` while it lasts.
    pub until: Option<Until>,
}

/// The end of a stretch of membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Until {
    /// The last message in it.
    pub seq: Seq,
    /// The last revision in it: the `leave` itself.
    pub rev: Rev,
    /// When.
    pub at: Ms,
}

/// A member of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// When they joined.
    pub joined_at: Ms,
    /// When they were in, in order; the last one is open for a present member.
    pub intervals: Vec<Interval>,
}

impl Member {
    /// Whether they are in now.
    pub fn present(&self) -> bool {
        self.intervals.last().is_some_and(|interval| interval.until.is_none())
    }

    /// Where they left, if they did.
    pub fn left(&self) -> Option<Until> {
        self.intervals.last().and_then(|interval| interval.until)
    }
}

/// Where a conversation stands: read by every send, written by every commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The number of the newest message, 0 before the first.
    pub last_seq: Seq,
    /// The number of the newest revision, 0 before the first.
    pub last_rev: Rev,
    /// When a message, the membership or the meta changed last.
    pub changed_at: Ms,
    /// When anything changed last: that, or a message that was revised.
    pub revised_at: Ms,
}

/// How far one user has come in one conversation. Marks only rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Marks {
    /// Everything up to here has reached a device.
    pub received: Seq,
    /// Everything up to here was seen; never above `received`.
    pub read: Seq,
}

impl Marks {
    /// These marks, raised to `to` where that is further.
    #[must_use]
    pub fn raised(self, to: Self) -> Self {
        Self { received: self.received.max(to.received), read: self.read.max(to.read) }
    }
}

/// What a user set for themselves in one conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Until when they want no alert.
    pub muted_until: Option<Ms>,
    /// What they call it, or file it under: up to 100 characters.
    pub label: Option<String>,
    /// To be shown first.
    pub pinned: bool,
    /// Not to be shown with the others.
    pub archived: bool,
}

/// What of [`Settings`] changes; the inner `None` clears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsChange {
    /// See [`Settings::muted_until`].
    pub muted_until: Option<Option<Ms>>,
    /// See [`Settings::label`].
    pub label: Option<Option<String>>,
    /// See [`Settings::pinned`].
    pub pinned: Option<bool>,
    /// See [`Settings::archived`].
    pub archived: Option<bool>,
}

impl SettingsChange {
    /// The settings as they are afterwards.
    pub fn applied(&self, settings: &Settings) -> Settings {
        Settings {
            muted_until: self.muted_until.unwrap_or(settings.muted_until),
            label: self.label.clone().unwrap_or_else(|| settings.label.clone()),
            pinned: self.pinned.unwrap_or(settings.pinned),
            archived: self.archived.unwrap_or(settings.archived),
        }
    }
}

/// What a user's own rows say of one of their conversations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which conversation.
    pub conversation: ConversationId,
    /// Whether they are in now.
    pub present: bool,
    /// When their membership changed last.
    pub changed_at: Ms,
    /// When one of their marks rose last, or the peer's in a direct conversation.
    pub marked_at: Ms,
    /// When they deleted a message for themselves last, or tried to.
    pub hidden_at: Ms,
    /// When the other one of a direct conversation changed their profile last, or tried to.
    pub peer_changed_at: Ms,
    /// What they set for themselves.
    pub settings: Settings,
    /// When they did last.
    pub set_at: Ms,
}

impl Listed {
    /// When any of it changed last.
    pub fn touched_at(&self) -> Ms {
        let shown = self.changed_at.max(self.marked_at).max(self.peer_changed_at);
        shown.max(self.hidden_at).max(self.set_at)
    }
}

/// Who is in a conversation that is small, as its rows say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// What kind.
    pub kind: Kind,
    /// Who is in, in order.
    pub members: Vec<UserId>,
}

/// A mark that is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rise {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub user: UserId,
    /// The other one of a direct conversation, who is told when they resume.
    pub peer: Option<UserId>,
    /// Up to where.
    pub to: Marks,
    /// The time of change.
    pub at: Ms,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_one_conversation_and_a_creation_another() {
        let (a, b) = (UserId::from_u128(1), UserId::from_u128(2));
        assert_eq!(direct_id(a, b), direct_id(b, a));
        assert_ne!(direct_id(a, b), direct_id(a, a));
        assert_ne!(direct_id(a, b).0, created_id(a, ClientId(b.0)).0);
    }
}
