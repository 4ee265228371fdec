//! What actors work with: their `kv`, where they stand in each conversation, what they want done, their timers, what
//! came of it, and what they gave up on.
//!
//! All of it stands in one partition per plugin, so that what an event caused and the event's end are one commit.

use crate::{
    actor::{Act, Fate, KvWrite},
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    time::Ms,
    waist::Error,
};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The longest key of a plugin's `kv`, in bytes.
pub const KV_KEY_BYTES_MAX: usize = 512;
/// The largest value of a plugin's `kv`, and the largest payload of a timer, in bytes.
pub const KV_VALUE_BYTES_MAX: usize = 64 * 1024;
/// What the `kv` and the timers of a plugin may have in all, in bytes of keys and values.
pub const KV_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// A plugin that is, or was, at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// The plugin's own user.
    pub user: UserId,
    /// Since when: it hears what came after.
    pub since: Ms,
}

/// How often the next event failed so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// How often it was tried in vain.
    pub attempts: u32,
    /// How often of these the plugin broke or was cut.
    pub traps: u32,
    /// For how many milliseconds it is tried already; time in which the plugin was suspended does not count.
    pub waited_ms: u64,
    /// When it was tried last.
    pub last_at: Ms,
}

/// Up to where a plugin heard a conversation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The last message.
    pub seq: Seq,
    /// The last revision.
    pub rev: Rev,
    /// What is wrong with what comes next, if anything.
    pub failing: Option<Failing>,
}

impl Position {
    /// Whether it is further than another.
    pub fn is_past(&self, other: &Self) -> bool {
        self.seq >= other.seq && self.rev >= other.rev && (self.seq, self.rev) != (other.seq, other.rev)
    }
}

/// A timer that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Counts what the plugin's partition ever held: tells a timer from another of the same name. Given by storage.
    pub n: u64,
    /// Its name.
    pub name: String,
    /// When it fires.
    pub at: Ms,
    /// What comes back with it.
    pub payload: Vec<u8>,
    /// How many causes away it is.
    pub hops: u8,
}

/// What is to become of a timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimerChange {
    /// It waits from now on, in place of one of the same name.
    Set(Timer),
    /// It waits no more.
    Cancel(String),
}

/// Something that a plugin wants done, and that is done whatever becomes of the plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Errand {
    /// Its place in the plugin's queue. Given by storage.
    pub n: u64,
    /// What its request is called, however often it is made.
    pub client_id: ClientId,
    /// How the plugin calls it.
    pub reference: String,
    /// When it was committed.
    pub at: Ms,
    /// How many causes away it is.
    pub hops: u8,
    /// What.
    pub act: Act,
}

/// Something that a plugin is to hear and that does not stand in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its place in the plugin's queue. Given by storage.
    pub n: u64,
    /// Where it belongs.
    pub conversation: Option<ConversationId>,
    /// When it came to be.
    pub at: Ms,
    /// How many causes away it is.
    pub hops: u8,
    /// What.
    pub cause: Cause,
}

/// What an event was about: a reference, never a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A message.
    Message {
        /// Its number.
        seq: Seq,
    },
    /// A revision.
    Revision {
        /// Its number.
        rev: Rev,
    },
    /// A timer.
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
        /// Which.
        reference: String,
        /// What became of it.
        fate: Fate,
    },
    /// Something that the plugin wanted done and that was refused.
    Errand {
        /// How the plugin calls it.
        reference: String,
        /// What kind of thing.
        act: String,
    },
}

/// An event that a plugin never heard, or something that it wanted done and that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its number among those of the plugin. Given by storage.
    pub n: u64,
    /// Where.
    pub conversation: Option<ConversationId>,
    /// What it was about.
    pub cause: Cause,
    /// When that happened.
    pub at: Ms,
    /// How many causes away it was.
    pub hops: u8,
    /// When it was given up.
    pub dead_at: Ms,
    /// How often it was tried.
    pub attempts: u32,
    /// The plugin's version that was tried last.
    pub version: String,
    /// Why it was given up.
    pub why: String,
}

/// How a request to a plugin is called, so that a repeat gets the first answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKey {
    /// A slash command.
    Command(ConversationId, UserId, ClientId),
    /// An HTTP request, by the hash of its route and its idempotency key.
    Hook([u8; 32]),
}

/// The first answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Tells other requests under the same name apart.
    pub hash: [u8; 32],
    /// What was answered.
    pub answer: Vec<u8>,
}

/// What an event's end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The plugin stands there from now on.
    Position(ConversationId, Position),
    /// That timer, of that name and number, has fired.
    Timer(String, u64),
    /// That notice was heard.
    Notice(u64),
    /// The request was answered; it is remembered until that time.
    Answer(RequestKey, Answered, Ms),
    /// Nothing stands for it: a request that is not repeated.
    Nothing,
}

/// An event's end with everything that it caused: stored together, or not at all.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The end.
    pub end: End,
    /// Keys that were read, with what stood there.
    pub reads: Vec<(String, Option<Arc<[u8]>>)>,
    /// Buckets that were scanned, with their version.
    pub scans: Vec<(String, u64)>,
    /// The last write to each key.
    pub writes: Vec<KvWrite>,
    /// What is to be done, in order.
    pub errands: Vec<Errand>,
    /// What becomes of timers, in order.
    pub timers: Vec<TimerChange>,
    /// What was given up.
    pub letter: Option<Letter>,
}

impl Settlement {
    /// An end that caused nothing.
    pub fn of(end: End) -> Self {
        Self {
            end,
            reads: Vec::new(),
            scans: Vec::new(),
            writes: Vec::new(),
            errands: Vec::new(),
            timers: Vec::new(),
            letter: None,
        }
    }
}

/// What became of a settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settling {
    /// It is durable; these are its errands, with their numbers.
    Done(Vec<Errand>),
    /// Something else stands where it read: the event is to run again.
    Conflict,
    /// What it ends has ended already, or stands no more: nothing of it happens.
    Over,
    /// It would pass the quota, by so many bytes in all.
    Full(u64),
}

/// How an errand ended.
#[derive(Debug, Clone, Default)]
pub struct Finished {
    /// Which.
    pub n: u64,
    /// What a reference means from now on, until a time.
    pub named: Option<(String, (ConversationId, Seq), Ms)>,
    /// What the plugin is to hear of it; its number is that of the errand.
    pub notice: Option<Notice>,
    /// That it was given up; its number is that of the errand.
    pub letter: Option<Letter>,
}

/// A row of a bucket, and the bucket's version.
pub type Bucket = (Vec<(String, Arc<[u8]>)>, u64);

/// What actors work with.
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// The plugins that have a partition, by id.
    async fn workers(&self) -> Result<Vec<String>, Error>;

    /// The plugin's partition, made where there is none.
    async fn employ(&self, plugin: &str, worker: Worker) -> Result<Worker, Error>;

    /// Forgets everything of a plugin; safe to repeat.
    async fn dismiss(&self, plugin: &str) -> Result<(), Error>;

    /// What stands under a key of its `kv`.
    async fn kv_get(&self, plugin: &str, key: &str) -> Result<Option<Arc<[u8]>>, Error>;

    /// The rows of a bucket after a key, in order, up to `limit`; and the bucket's version.
    async fn kv_scan(
        &self,
        plugin: &str,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Bucket, Error>;

    /// Where the plugin stands in a conversation, unknown outcomes settled.
    async fn position(&self, plugin: &str, conversation: ConversationId) -> Result<Option<Position>, Error>;

    /// Stores ends of events with what they caused, each whole or not at all, in order, as one commit: what one of them
    /// writes the next finds. Where this fails it is not known whether it happened: positions, timers, notices and
    /// answers tell.
    async fn settle(&self, plugin: &str, settlements: Vec<Settlement>) -> Result<Vec<Settling>, Error>;

    /// The errands that wait, in order, after the one of that number.
    async fn errands(&self, plugin: &str, after: u64, limit: usize) -> Result<Vec<Errand>, Error>;

    /// Takes errands off the queue, each with what came of it, as one commit.
    async fn finish(&self, plugin: &str, finished: Vec<Finished>) -> Result<(), Error>;

    /// Which message a reference means.
    async fn named(&self, plugin: &str, reference: &str) -> Result<Option<(ConversationId, Seq)>, Error>;

    /// The timers that are due at `until`, first due first, up to `limit`.
    async fn due(&self, plugin: &str, until: Ms, limit: usize) -> Result<Vec<Timer>, Error>;

    /// When the next timer after that time is due.
    async fn next_due(&self, plugin: &str, after: Ms) -> Result<Option<Ms>, Error>;

    /// The timer of that name, if it waits.
    async fn timer(&self, plugin: &str, name: &str) -> Result<Option<Timer>, Error>;

    /// The notices that wait, in order, after the one of that number.
    async fn notices(&self, plugin: &str, after: u64, limit: usize) -> Result<Vec<Notice>, Error>;

    /// The first answer to a request.
    async fn answered(&self, plugin: &str, key: &RequestKey) -> Result<Option<Answered>, Error>;

    /// Dead letters after the one of that number, in order.
    async fn letters(&self, plugin: &str, after: u64, limit: usize) -> Result<Vec<Letter>, Error>;

    /// The dead letter of that number.
    async fn letter(&self, plugin: &str, n: u64) -> Result<Option<Letter>, Error>;

    /// Takes a dead letter away, and puts a notice of the same number in its place where one is given; `false` where
    /// there is no such letter.
    async fn take_letter(&self, plugin: &str, n: u64, notice: Option<Notice>) -> Result<bool, Error>;

    /// Remembers that something is about to happen in conversations, each of its shard.
    async fn mark_dirty(&self, conversations: &[(u32, ConversationId)]) -> Result<(), Error>;

    /// Forgets that anything happened in a conversation.
    async fn clear_dirty(&self, shard: u32, conversation: ConversationId) -> Result<(), Error>;

    /// The conversations in which something may have happened, of all shards below that number.
    async fn dirty(&self, shards: u32) -> Result<Vec<ConversationId>, Error>;
}
