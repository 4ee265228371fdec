//! How actors take part: what reaches them, what they may ask meanwhile, what is to happen if they agree.
//!
//! An actor's effects are a transaction: [`Effects`] is handed over with the answer, and carried out by `core` if, and
//! only if, it is stored together with the event's end. Events reach an actor at least once, effects happen exactly
//! once (`host/ARCHITECTURE.md`, Actors).
//!
//! The engine implements [`Actors`] and [`Actor`]; `core` implements [`Desk`], through which a running call reads what
//! is committed, with the rights of the plugin's own user.
//!
//! This file is long because an event, what it asks and what it wants are read together.

use crate::{
    conversation::{Member, Role},
    filter::{Decision, Place},
    id::{ClientId, ConversationId, Seq, UserId},
    message::{Content, Message},
    time::Ms,
    user::User,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// A hook that actors serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Hears events.
    Bot,
    /// Serves slash commands.
    Command,
    /// Delivers notifications.
    Notifier,
    /// Answers HTTP requests.
    Inbound,
}

impl Hook {
    /// The name in manifests, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Command => "command",
            Self::Notifier => "notifier",
            Self::Inbound => "inbound",
        }
    }
}

/// What a bot may ask to hear, as its manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A message.
    Message,
    /// A message that mentions the plugin's user.
    Mentioned,
    /// A message was edited.
    Edited,
    /// A message was deleted for everyone.
    Deleted,
    /// A reaction was set or taken away.
    Reaction,
    /// A member came in.
    Joined,
    /// A member left or was removed.
    Left,
    /// A timer of its own is due.
    Timer,
    /// What became of a send of its own.
    Sent,
}

/// Something that happened, as one actor hears it.
#[derive(Debug, Clone)]
pub struct Event {
    /// The same each time that this event reaches this plugin, and of no other event.
    pub id: String,
    /// When it happened.
    pub at: Ms,
    /// How many causes it is away from something that no plugin did.
    pub hops: u8,
    /// Where; absent for timers and sends that belong to no conversation.
    pub place: Option<Place>,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// A message was sent; `mentioned` where it mentions the plugin's user, and the plugin asked to hear of that.
    Message {
        /// As it stands now.
        message: Arc<Message>,
        /// Who sent it.
        sender: Arc<User>,
        /// Whether it is told as [`EventKind::Mentioned`].
        mentioned: bool,
    },
    /// A message was edited.
    Edited {
        /// As it stands now.
        message: Arc<Message>,
        /// Who did it.
        by: UserId,
    },
    /// A message was deleted for everyone.
    Deleted {
        /// Which.
        seq: Seq,
        /// Who did it.
        by: UserId,
    },
    /// A reaction was set or taken away.
    Reaction {
        /// Of which message.
        seq: Seq,
        /// What.
        emoji: String,
        /// Whether it was set.
        on: bool,
        /// Who did it.
        by: UserId,
    },
    /// A member came in.
    Joined {
        /// Who.
        user: UserId,
        /// Who did it.
        by: UserId,
    },
    /// A member left or was removed.
    Left {
        /// Who.
        user: UserId,
        /// Who did it.
        by: UserId,
    },
    /// A timer is due.
    Timer {
        /// Its name.
        name: String,
        /// When it was to fire.
        at: Ms,
        /// What was handed in with it.
        payload: Vec<u8>,
    },
    /// What became of a send.
    Sent {
        /// Which send: what `send` returned.
        reference: String,
        /// What became of it.
        fate: Fate,
    },
}

/// What became of a plugin's send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It got its number.
    Accepted(ConversationId, Seq),
    /// A person is to look at it first.
    Held,
    /// It was refused.
    Refused {
        /// The protocol's error code.
        code: String,
        /// Why.
        text: String,
    },
}

/// A call of an actor: made once per event and kept over its runs.
#[derive(Debug)]
pub struct Call {
    /// The plugin's own user.
    pub user: Arc<User>,
    /// [`Event::id`], or what stands for it: the same in every run.
    pub event: String,
    /// When it happened: what ids of effects are made of.
    pub at: Ms,
    /// How many causes away it is; effects count one more.
    pub hops: u8,
    /// Answers that HTTP gave in earlier runs, by request: a run after a conflict gets the same. Shared with the run.
    pub answers: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

/// What one run of a call came to.
#[derive(Debug)]
pub enum Outcome<T> {
    /// It answered; its effects are to be committed with the event's end.
    Done(T, Effects),
    /// It answered `err`; nothing of it happens.
    Refused {
        /// Whether it wants to be asked again.
        retry: bool,
        /// Why.
        text: String,
    },
    /// It broke, was cut, or could not run; nothing of it happens.
    Failed {
        /// [`Decision::Trap`], [`Decision::Deadline`] or [`Decision::Busy`].
        how: Decision,
        /// Why.
        why: String,
    },
}

/// What is to happen if an event's end is stored, in the order in which the actor asked for it.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Keys that were read, with what stood there: what [`Desk::kv_get`] returned, before any write of this run.
    pub reads: Vec<(String, Option<Arc<[u8]>>)>,
    /// Buckets that were scanned, with the version that [`Desk::kv_scan`] returned.
    pub scans: Vec<(String, u64)>,
    /// The last write to each key.
    pub writes: Vec<KvWrite>,
    /// All else. The position of each is its ordinal, of which ids are made.
    pub acts: Vec<Act>,
}

/// A write to a plugin's `kv`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvWrite {
    /// Where; the bucket is what stands before the first `/`.
    pub key: String,
    /// What; `None` deletes.
    pub value: Option<Vec<u8>>,
    /// After how many seconds it is gone by itself.
    pub ttl_s: Option<u64>,
}

/// A message, as an actor names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Named {
    /// By its number.
    Number(ConversationId, Seq),
    /// By what `send` returned.
    Sent(String),
}

/// Where a send goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// To a conversation.
    Conversation(ConversationId),
    /// To the direct conversation with a user.
    User(UserId),
}

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A message. Its reference is made by [`reference()`].
    Send(Target, Content),
    /// A new text.
    Edit(Named, String),
    /// Gone for everyone.
    Delete(Named),
    /// A reaction.
    React {
        /// To which message.
        message: Named,
        /// What.
        emoji: String,
        /// Set, or taken away.
        on: bool,
    },
    /// That someone is typing; never stored.
    Typing(ConversationId),
    /// A timer; one of the same name is replaced.
    SetTimer {
        /// Its name.
        name: String,
        /// When it fires.
        at: Ms,
        /// What comes back with it.
        payload: Vec<u8>,
    },
    /// No timer of that name any more.
    CancelTimer(String),
}

/// How the send of this ordinal in the effects of an event is called, in every run.
pub fn reference(event: &str, ordinal: usize) -> String {
    format!("{event}#{ordinal}")
}

/// The bucket of a key in a plugin's `kv`: what stands before its first `/`. Keys without one share the bucket `""`.
pub fn bucket(key: &str) -> &str {
    key.split_once('/').map_or("", |(bucket, _)| bucket)
}

/// Why something was not given to an actor; told to it as an `err`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Its user may not, or the operator did not grant it.
    #[error("denied: {0}")]
    Denied(String),
    /// It does not exist, or its user may not know of it.
    #[error("not found")]
    NotFound,
    /// Something in the question breaks a limit, named with it.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The conversation's texts are opaque to the host.
    #[error("encrypted")]
    Encrypted,
    /// The store cannot answer now.
    #[error("unavailable: {0}")]
    Unavailable(String),
}

/// What a running call may read: committed state, with the rights of the plugin's own user.
#[async_trait]
pub trait Desk: Send + Sync {
    /// The present time.
    fn now(&self) -> Ms;

    /// What stands under a key.
    async fn kv_get(&self, key: &str) -> Result<Option<Arc<[u8]>>, Denied>;

    /// The rows of a bucket after a key, in order, up to `limit`; and the bucket's version, which every write to the
    /// bucket raises.
    async fn kv_scan(
        &self,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Arc<[u8]>)>, u64), Denied>;

    /// Messages before a number (of the newest where `None`), newest first, up to `limit`.
    async fn history(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>, Denied>;

    /// The members after a user, by id, up to `limit`.
    async fn members(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, Denied>;

    /// Whether its user may send there as things stand: it exists, they are in and may write, and it is not encrypted.
    async fn sendable(&self, to: Target) -> Result<(), Denied>;

    /// The user of an id.
    async fn user(&self, id: UserId) -> Result<Option<User>, Denied>;

    /// The user of a name.
    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Denied>;
}

/// What a version told of itself when it was staged: stored with it, and told to `core` by its [`Actor`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Hooks of actors that it serves.
    pub hooks: Vec<Hook>,
    /// What its bot wants to hear.
    pub events: Vec<EventKind>,
    /// What its `commands` answered.
    pub commands: Vec<CommandSpec>,
    /// What its `kinds` answered: kinds of devices whose notifications it delivers.
    pub kinds: Vec<String>,
}

/// A slash command that a plugin serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// Without the slash.
    pub name: String,
    /// What it does, in a line.
    pub help: String,
    /// In order.
    pub arguments: Vec<Argument>,
}

/// An argument of a slash command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// Of what type.
    pub kind: ArgumentKind,
    /// Whether it must be given.
    pub required: bool,
    /// What it means, in a line.
    pub help: String,
    /// The values of a choice.
    pub choices: Vec<String>,
}

/// The type of an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentKind {
    /// Any text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// A user.
    User,
    /// A time span, in milliseconds.
    Duration,
    /// One of the choices.
    Choice,
}

/// The value of an argument, already of its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Any text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A user.
    User(UserId),
    /// Milliseconds.
    Duration(u64),
    /// One of the choices.
    Choice(String),
}

/// A slash command that somebody gave.
#[derive(Debug, Clone)]
pub struct Invocation {
    /// Which, as its plugin named it.
    pub name: String,
    /// By name; those that were not given are absent.
    pub arguments: Vec<(String, Value)>,
    /// Where.
    pub place: Place,
    /// Who.
    pub caller: Arc<User>,
    /// As what.
    pub role: Role,
    /// What the caller's client calls it.
    pub client_id: ClientId,
}

/// What a slash command answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Seen by the caller alone.
    ToCaller(Content),
    /// A message of the plugin's user to the conversation.
    ToAll(Content),
    /// Nothing.
    None,
}

/// An HTTP request to a plugin.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST` …
    pub method: String,
    /// What comes after `/v1/hooks/{plugin}/`.
    pub path: String,
    /// Without the `?`.
    pub query: Option<String>,
    /// Names in lower case; without cookies and credentials of the host.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// From where.
    pub address: String,
}

/// What a plugin answers to an HTTP request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// 200 to 599.
    pub status: u16,
    /// Of what kind the body is.
    pub media: Media,
    /// The body.
    pub body: Vec<u8>,
}

/// What a plugin's HTTP response may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    /// `application/json`
    Json,
    /// `text/plain; charset=utf-8`
    Text,
    /// `application/octet-stream`
    Bytes,
}

/// A notification for a device whose kind a plugin serves.
#[derive(Debug, Clone)]
pub struct Notification {
    /// The device's kind, as the plugin named it.
    pub kind: String,
    /// Where the device is reached.
    pub endpoint: String,
    /// What the device's owner gave with it.
    pub keys: Option<String>,
    /// For whom.
    pub user: UserId,
    /// Which device.
    pub device: String,
    /// Of which message.
    pub conversation: ConversationId,
    /// Its number.
    pub seq: Seq,
    /// Who sent it.
    pub sender: UserId,
    /// Its text, where the user allows previews.
    pub preview: Option<String>,
}

/// What became of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notified {
    /// It is on its way.
    Sent,
    /// The device is no more.
    Gone,
    /// To be tried again then.
    Later(Ms),
}

/// An installed plugin that serves hooks of actors: one version, with its grants and its configuration.
#[async_trait]
pub trait Actor: Send + Sync {
    /// The manifest's `id`.
    fn id(&self) -> &str;

    /// The manifest's `version`.
    fn version(&self) -> &str;

    /// What it serves.
    fn hooks(&self) -> &[Hook];

    /// What its bot wants to hear.
    fn events(&self) -> &[EventKind];

    /// Whether it is installed for that conversation; where it is not it hears nothing and serves no commands.
    fn serves(&self, place: &Place) -> bool {
        let _ = place;
        true
    }

    /// Whether the operator granted a capability.
    fn may(&self, capability: &str) -> bool;

    /// Why it is not to be asked now (disabled, an open breaker, quarantine, a missing grant), if so.
    fn suspended(&self) -> Option<String>;

    /// Its slash commands, as it told them when it was installed.
    fn commands(&self) -> &[CommandSpec];

    /// The kinds of devices whose notifications it delivers, as it told them when it was installed.
    fn kinds(&self) -> &[String];

    /// Tells its bot an event.
    async fn on_event(&self, call: &Call, event: &Event, desk: Arc<dyn Desk>) -> Outcome<()>;

    /// Runs a slash command. [`Outcome::Refused`] is the text that the caller hears.
    async fn run(&self, call: &Call, invocation: &Invocation, desk: Arc<dyn Desk>) -> Outcome<Reply>;

    /// Answers an HTTP request.
    async fn handle(&self, call: &Call, request: &Request, desk: Arc<dyn Desk>) -> Outcome<Response>;

    /// Delivers a notification.
    async fn notify(
        &self,
        call: &Call,
        notification: &Notification,
        desk: Arc<dyn Desk>,
    ) -> Outcome<Notified>;

    /// These writes to its `kv` are committed: filters see them through `state` from now on.
    fn committed(&self, writes: &[KvWrite]);
}

/// Where the present actors are found.
pub trait Actors: Send + Sync + 'static {
    /// All installed plugins that serve a hook of actors, by id.
    fn all(&self) -> Vec<Arc<dyn Actor>>;

    /// Has `wake` called after each change of what [`Self::all`] returns or of what one says of being suspended.
    fn on_change(&self, wake: Box<dyn Fn() + Send + Sync>);
}

/// No actors at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl Actors for Nobody {
    fn all(&self) -> Vec<Arc<dyn Actor>> {
        Vec::new()
    }

    fn on_change(&self, _: Box<dyn Fn() + Send + Sync>) {}
}
