//! What each request carries.

use crate::error::Error;
use godwit_domain::{
    contact::Action,
    conversation::{History, Kind, Posting, Role},
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    message,
    time::Ms,
    user::Shown,
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use uuid::Uuid;

/// `connect {token, device, resume?, active?, window?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Connect {
    /// An access token.
    pub token: String,
    /// What connects.
    pub device: Device,
    /// What the device knew last.
    pub resume: Option<Resume>,
    /// Whether a person is looking; so where it is absent.
    pub active: Option<bool>,
    /// How many conversations to show.
    pub window: Option<u32>,
}

/// A device as it names itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Device {
    /// Chosen by the client.
    pub id: String,
    /// For people.
    pub name: Option<String>,
    /// What it runs on.
    pub platform: Option<String>,
}

/// Where a device left off.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Resume {
    /// Of which store.
    pub epoch: String,
    /// Up to where.
    pub cursor: String,
}

/// `renew {token}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Renew {
    /// The token that takes the place of the one before.
    pub token: String,
}

/// `direct {user}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Direct {
    /// With whom.
    pub user: UserId,
}

/// `create {kind, client_id, title, members?, history?, …}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Create {
    /// What kind.
    pub kind: Kind,
    /// A retry carries the same and makes the same.
    pub client_id: ClientId,
    /// The title.
    pub title: String,
    /// Who is in from the start, beside the asker.
    #[serde(default, deserialize_with = "or_default")]
    pub members: Vec<UserId>,
    /// What newcomers may read.
    pub history: Option<History>,
    /// Whether anyone may join.
    pub open: Option<bool>,
    /// Whether bodies are opaque.
    pub encrypted: Option<bool>,
    /// How long messages live.
    pub ttl_s: Option<u64>,
    /// How long the conversation lives.
    pub expires_in_s: Option<u64>,
}

/// `invite {conversation, users, client_id?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Invite {
    /// Where.
    pub conversation: ConversationId,
    /// Whom.
    pub users: Vec<UserId>,
    /// A repeat carries the same.
    pub client_id: Option<ClientId>,
}

/// `remove {conversation, user, client_id?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Remove {
    /// From where.
    pub conversation: ConversationId,
    /// Whom.
    pub user: UserId,
    /// A repeat carries the same.
    pub client_id: Option<ClientId>,
}

/// `link {conversation, expires_in_s?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Link {
    /// Into where.
    pub conversation: ConversationId,
    /// How long it lives; for ever where absent.
    pub expires_in_s: Option<u64>,
}

/// `unlink {conversation, code}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Unlink {
    /// Into where.
    pub conversation: ConversationId,
    /// Which.
    pub code: String,
}

/// `join {conversation | code, client_id?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Join {
    /// Where.
    pub conversation: Option<ConversationId>,
    /// By which link.
    pub code: Option<String>,
    /// A repeat carries the same.
    pub client_id: Option<ClientId>,
}

/// `leave {conversation, client_id?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Leave {
    /// From where.
    pub conversation: ConversationId,
    /// A repeat carries the same.
    pub client_id: Option<ClientId>,
}

/// `set_role {conversation, user, role, client_id?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SetRole {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub user: UserId,
    /// Which.
    pub role: Role,
    /// A repeat carries the same.
    pub client_id: Option<ClientId>,
}

/// `update {conversation, title?, avatar?, open?, history?, posting?, slow_mode_s?, client_id?, …}`: `null` clears, absence leaves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Update {
    /// Which.
    pub conversation: ConversationId,
    /// The title.
    #[serde(default, deserialize_with = "present")]
    pub title: Option<Option<String>>,
    /// The picture.
    #[serde(default, deserialize_with = "present")]
    pub avatar: Option<Option<Uuid>>,
    /// Whether anyone may join.
    pub open: Option<bool>,
    /// What newcomers may read.
    pub history: Option<History>,
    /// How long messages live.
    pub ttl_s: Option<u64>,
    /// Who may send.
    pub posting: Option<Posting>,
    /// How long a member waits between two messages; `null` for not at all.
    #[serde(default, deserialize_with = "present")]
    pub slow_mode_s: Option<Option<u32>>,
    /// A repeat carries the same.
    pub client_id: Option<ClientId>,
}

/// `edit {conversation, seq, body, client_id?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Edit {
    /// Where.
    pub conversation: ConversationId,
    /// Which message.
    pub seq: Seq,
    /// The new text.
    pub body: String,
    /// A repeat carries the same.
    pub client_id: Option<ClientId>,
}

/// For whom a message is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// For all.
    Everyone,
    /// For the asker alone.
    Me,
}

/// `delete {conversation, seq, for, client_id?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Delete {
    /// Where.
    pub conversation: ConversationId,
    /// Which message.
    pub seq: Seq,
    /// For whom.
    pub r#for: Whom,
    /// A repeat carries the same.
    pub client_id: Option<ClientId>,
}

/// `react {conversation, seq, emoji, on, client_id?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct React {
    /// Where.
    pub conversation: ConversationId,
    /// To which message.
    pub seq: Seq,
    /// With what.
    pub emoji: String,
    /// Whether from now on, or no longer.
    pub on: bool,
    /// A repeat carries the same.
    pub client_id: Option<ClientId>,
}

/// `revisions {conversation, after_rev, limit?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Revisions {
    /// Where.
    pub conversation: ConversationId,
    /// Those after this number.
    pub after_rev: Rev,
    /// How many.
    pub limit: Option<u32>,
}

/// `hidden {conversation, after, limit?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Hidden {
    /// Where.
    pub conversation: ConversationId,
    /// After the first so many of them.
    pub after: u64,
    /// How many.
    pub limit: Option<u32>,
}

/// `reactions {conversation, seq, emoji?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reactions {
    /// Where.
    pub conversation: ConversationId,
    /// To which message.
    pub seq: Seq,
    /// With what; all where absent.
    pub emoji: Option<String>,
}

/// `receipts {conversation, seq?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Receipts {
    /// Where.
    pub conversation: ConversationId,
    /// Of which message; the newest where absent.
    pub seq: Option<Seq>,
}

/// `sync {page}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Sync {
    /// Where to go on.
    pub page: String,
}

/// `members {conversation, page?, limit?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Members {
    /// Where.
    pub conversation: ConversationId,
    /// Where to go on.
    pub page: Option<String>,
    /// How many.
    pub limit: Option<u32>,
}

/// `conversation {conversation}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Conversation {
    /// Which.
    pub conversation: ConversationId,
}

/// `conversations {page?, limit?, archived?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Conversations {
    /// Where to go on.
    pub page: Option<String>,
    /// How many.
    pub limit: Option<u32>,
    /// The archived ones.
    pub archived: Option<bool>,
}

/// `discover {query?, page?, limit?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Discover {
    /// A part of the title.
    pub query: Option<String>,
    /// Where to go on.
    pub page: Option<String>,
    /// How many.
    pub limit: Option<u32>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To a conversation.
    Conversation(ConversationId),
    /// To a user: the direct conversation, made if missing.
    User(UserId),
}

/// `send {conversation | to, client_id, kind?, body, …}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Send {
    conversation: Option<ConversationId>,
    to: Option<UserId>,
    /// What the client calls it.
    pub client_id: ClientId,
    /// What kind; text where absent.
    pub kind: Option<message::Kind>,
    /// The text.
    pub body: String,
    /// Files.
    #[serde(default, deserialize_with = "or_default")]
    pub attachments: Vec<IgnoredAny>,
    /// The message answered.
    pub reply_to: Option<Seq>,
    /// The thread's root.
    pub thread: Option<Seq>,
    /// Who is mentioned.
    #[serde(default, deserialize_with = "or_default")]
    pub mentions: Vec<UserId>,
    /// How long it lives.
    pub expires_in_s: Option<u32>,
    /// What must come before.
    pub after: Option<ClientId>,
}

impl Send {
    /// A message that the host sends on behalf of a plugin.
    pub fn new(target: Target, client_id: ClientId, content: message::Content) -> Self {
        let (conversation, to) = match target {
            Target::Conversation(conversation) => (Some(conversation), None),
            Target::User(user) => (None, Some(user)),
        };
        Self {
            conversation,
            to,
            client_id,
            kind: Some(content.kind),
            body: content.body,
            attachments: content.attachments.iter().map(|_| IgnoredAny).collect(),
            reply_to: content.reply_to,
            thread: content.thread,
            mentions: content.mentions,
            expires_in_s: content.expires_in_s,
            after: None,
        }
    }

    /// Where it goes; `invalid` unless exactly one place is named.
    pub fn target(&self) -> Result<Target, Error> {
        match (self.conversation, self.to) {
            (Some(conversation), None) => Ok(Target::Conversation(conversation)),
            (None, Some(user)) => Ok(Target::User(user)),
            (None, None) => Err(Error::invalid("conversation", "one of `conversation` and `to` is needed")),
            (Some(_), Some(_)) => Err(Error::invalid("to", "`conversation` and `to` exclude each other")),
        }
    }

    /// The first field that asks for what this host does not serve yet.
    pub fn unserved(&self) -> Option<&'static str> {
        [("attachments", !self.attachments.is_empty()), ("expires_in_s", self.expires_in_s.is_some())]
            .into_iter()
            .find_map(|(field, asked)| asked.then_some(field))
    }
}

/// `history {conversation, before_seq? | after_seq? | before_ms?, thread?, limit?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct HistoryRequest {
    /// Where.
    pub conversation: ConversationId,
    /// Those before this number.
    pub before_seq: Option<Seq>,
    /// Those after this number.
    pub after_seq: Option<Seq>,
    /// Those before this time.
    pub before_ms: Option<Ms>,
    /// Those of this thread.
    pub thread: Option<Seq>,
    /// How many.
    pub limit: Option<u32>,
}

/// `received {conversation, seq}` and `read {conversation, seq}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Mark {
    /// Where.
    pub conversation: ConversationId,
    /// Up to where.
    pub seq: Seq,
}

/// `active {active}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Active {
    /// Whether a person is looking.
    pub active: bool,
}

/// `held {conversation, page?, limit?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Held {
    /// Where.
    pub conversation: ConversationId,
    /// Where to go on.
    pub page: Option<String>,
    /// How many.
    pub limit: Option<u32>,
}

/// `release {conversation, sender, client_id}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Release {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub sender: UserId,
    /// Which.
    pub client_id: ClientId,
}

/// `reject {conversation, sender, client_id, reason?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reject {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub sender: UserId,
    /// Which.
    pub client_id: ClientId,
    /// Why, for the sender.
    pub reason: Option<String>,
}

/// `users {query | ids}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Users {
    /// A whole name.
    pub query: Option<String>,
    /// These.
    pub ids: Option<Vec<UserId>>,
}

/// `profile {display_name?, avatar?, time_zone?, privacy?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Profile {
    /// The name to show.
    #[serde(default, deserialize_with = "present")]
    pub display_name: Option<Option<String>>,
    /// The stored picture.
    #[serde(default, deserialize_with = "present")]
    pub avatar: Option<Option<Uuid>>,
    /// IANA name of the time zone.
    #[serde(default, deserialize_with = "present")]
    pub time_zone: Option<Option<String>>,
    /// What others are shown.
    #[serde(default, deserialize_with = "or_default")]
    pub privacy: Privacy,
}

/// What others are to be shown; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Privacy {
    /// To whom presence is.
    pub presence: Option<Shown>,
    /// Whether receipts are.
    pub receipts: Option<bool>,
}

/// `watch {users}` and `presence {users}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Watch {
    /// Whom.
    pub users: Vec<UserId>,
}

/// `typing {conversation}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Typing {
    /// Where.
    pub conversation: ConversationId,
}

/// `contacts {page?, limit?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Contacts {
    /// Where to go on.
    pub page: Option<String>,
    /// How many.
    pub limit: Option<u32>,
}

/// `contact {user, action}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Contact {
    /// About whom.
    pub user: UserId,
    /// What.
    pub action: Action,
}

/// `settings {conversation, muted_until?, label?, pinned?, archived?}`: `null` clears, absence leaves.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Settings {
    /// Where.
    pub conversation: ConversationId,
    /// Until when there is to be no alert.
    #[serde(default, deserialize_with = "present")]
    pub muted_until: Option<Option<Ms>>,
    /// What the asker calls it.
    #[serde(default, deserialize_with = "present")]
    pub label: Option<Option<String>>,
    /// To be shown first.
    #[serde(default, deserialize_with = "flag")]
    pub pinned: Option<bool>,
    /// Not to be shown with the others.
    #[serde(default, deserialize_with = "flag")]
    pub archived: Option<bool>,
}

/// `null` and absence mean the same.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A flag that `null` clears.
fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Option::deserialize(deserializer).map(|flag: Option<bool>| Some(flag.unwrap_or_default()))
}

/// Tells `null`, which is `Some(None)`, from absence.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `commands {conversation}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Commands {
    /// Where.
    pub conversation: ConversationId,
}

/// `command {conversation, client_id, name, arguments?}`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Command {
    /// Where.
    pub conversation: ConversationId,
    /// A repeat carries the same, and gets the first answer.
    pub client_id: ClientId,
    /// Which, as it is listed.
    pub name: String,
    /// By name.
    #[serde(default, deserialize_with = "or_default")]
    pub arguments: serde_json::Map<String, serde_json::Value>,
}
