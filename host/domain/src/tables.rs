//! The typed tables by which `core` and the engine reach storage: written once over the [`crate::waist`].
//!
//! A method that writes returns when the write is durable.

mod work;

pub use work::*;

use crate::{
    contact::{Contact, Relation},
    conversation::{Circle, Head, Link, Listed, Marks, Member, Meta, Rise, Settings, SettingsChange},
    held::{Held, Rejection, Settled},
    id::{ClientId, ConversationId, Generation, LoginId, Rev, Seq, UserId},
    message::{Accepted, Message},
    notification::Deferred,
    plugin::{Composition, Poisoned, Roster},
    revision::{Change, Revision},
    time::Ms,
    user::{Account, Login},
    waist::Error,
};
use async_trait::async_trait;
use std::{ops::RangeInclusive, sync::Arc};
use uuid::Uuid;

/// Whether a conditional write found what it expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Written {
    /// It did, and the write is durable.
    Yes,
    /// Something else stands there; nothing was written.
    No,
}

/// What became of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// Durable.
    Yes,
    /// The head is not what the caller took it for: load again.
    Stale,
    /// Whether it is durable is not known.
    Unknown(String),
    /// Nothing was written, nor will be.
    Refused(Error),
}

/// Messages of one conversation to append: dense, in order, from `head.last_seq + 1`, all in one bucket
/// (see [`Conversations::bucket_end`]).
#[derive(Debug, Clone)]
pub struct Append {
    /// Where.
    pub conversation: ConversationId,
    /// Where the conversation stood.
    pub head: Head,
    /// The new time of change, not before that of `head`.
    pub changed_at: Ms,
    /// The messages, each with the hash of its content as it was sent; shared, since they are pushed afterwards.
    pub messages: Vec<(Arc<Message>, u64)>,
}

/// A conversation as its shard holds it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it is.
    pub meta: Meta,
    /// Where it stands.
    pub head: Head,
    /// All who are or were in, by user.
    pub members: Vec<Member>,
}

/// Client ids that may have been used: those of one bucket.
#[derive(Debug, Clone)]
pub struct Clients {
    /// The first number of the bucket.
    pub first_seq: Seq,
    /// When the bucket was opened.
    pub opened_at: Ms,
    /// Who used which, and what they were answered.
    pub clients: Vec<(UserId, ClientId, Accepted)>,
}

/// The people and their logins.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// Makes an account; [`Written::No`] where the name is taken.
    async fn create_account(&self, account: &Account) -> Result<Written, Error>;

    /// The account of that id.
    async fn account(&self, user: UserId) -> Result<Option<Account>, Error>;

    /// The account of that name.
    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, Error>;

    /// The accounts of those ids that exist, in the order asked.
    async fn accounts(&self, users: &[UserId]) -> Result<Vec<Account>, Error>;

    /// Replaces an account (same id, same name) if it still is `before`.
    async fn replace_account(&self, before: &Account, after: &Account) -> Result<Written, Error>;

    /// Stores a new login; it is gone by itself at its `expires_at`.
    async fn create_login(&self, login: &Login) -> Result<(), Error>;

    /// The login of that id, unless it has ended.
    async fn login(&self, login: LoginId) -> Result<Option<Login>, Error>;

    /// Replaces a login if it still is `before`.
    async fn replace_login(&self, before: &Login, after: &Login) -> Result<Written, Error>;

    /// Ends a login; one that has ended already is no error.
    async fn drop_login(&self, login: LoginId) -> Result<(), Error>;
}

/// The conversations: streams of messages and revisions, members, marks.
#[async_trait]
pub trait Conversations: Send + Sync + 'static {
    /// The name of this store's present life, made on first use: a restart keeps it, restoring a backup makes another.
    async fn epoch(&self) -> Result<String, Error>;

    /// The conversation, its open change finished first; `None` where it does not exist.
    async fn load(&self, conversation: ConversationId) -> Result<Option<Loaded>, Error>;

    /// Carries out a change: first whole as an intent under the head, then revisions, the messages that they are about,
    /// member rows and users' rows. `head` is `None` for a creation. Returns the revisions that it made, in order, each
    /// as it is to be told (an edit with its text), and the new head; `None` where the head was not as given.
    async fn change(
        &self,
        conversation: ConversationId,
        head: Option<Head>,
        change: &Change,
        at: Ms,
    ) -> Result<Option<(Head, Vec<Revision>)>, Error>;

    /// Lets readers of a channel in or out: no revision tells of it, and its head stays. They are as given afterwards;
    /// the marks of who is in begin where the last interval does.
    async fn admit(&self, channel: ConversationId, readers: &[Member], at: Ms) -> Result<(), Error>;

    /// Stores a link into a conversation; it is gone by itself at its `expires_at`.
    async fn put_link(&self, conversation: ConversationId, link: &Link) -> Result<(), Error>;

    /// The links into a conversation that have not ended.
    async fn links(&self, conversation: ConversationId) -> Result<Vec<Link>, Error>;

    /// Ends a link; one that has ended already is no error.
    async fn drop_link(&self, conversation: ConversationId, secret: Uuid) -> Result<(), Error>;

    /// The open conversations after that id, in order of ids, with their titles: up to `limit`.
    async fn open_conversations(
        &self,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Option<String>)>, Error>;

    /// Appends messages, one outcome per append.
    async fn append(&self, appends: Vec<Append>) -> Vec<Appended>;

    /// The last number of the bucket in which `seq` stands: an [`Append`] may not run past it.
    fn bucket_end(&self, seq: Seq) -> Seq;

    /// The client ids of recent buckets, newest bucket first, back through the first bucket that was opened
    /// no later than `opened_before`. With it alone it can be told that a younger client id was never used.
    async fn recent_clients(
        &self,
        conversation: ConversationId,
        head: Head,
        opened_before: Ms,
    ) -> Result<Vec<Clients>, Error>;

    /// What this client id was answered; looked up from the newest bucket back through the first bucket that was
    /// opened no later than `opened_before`.
    async fn accepted(
        &self,
        conversation: ConversationId,
        head: Head,
        sender: UserId,
        client: ClientId,
        opened_before: Ms,
    ) -> Result<Option<Accepted>, Error>;

    /// The messages of that range that are stored, ascending; stops early before `bytes_max` of bodies is passed
    /// (never before the first message), at the end that lies away from where the range is read:
    /// `newest_first` reads down from the end of the range.
    async fn messages(
        &self,
        conversation: ConversationId,
        range: RangeInclusive<Seq>,
        newest_first: bool,
        bytes_max: usize,
    ) -> Result<Vec<Message>, Error>;

    /// The revisions of that range, ascending; edits without their text.
    async fn revisions(
        &self,
        conversation: ConversationId,
        range: RangeInclusive<Rev>,
    ) -> Result<Vec<Revision>, Error>;

    /// The first number whose message was sent at `at` or later; `last_seq + 1` where none was.
    async fn first_sent_since(
        &self,
        conversation: ConversationId,
        last_seq: Seq,
        at: Ms,
    ) -> Result<Seq, Error>;

    /// The number that a revision with this client id got; looked up from the newest bucket of revisions back through
    /// the first that was opened no later than `opened_before`.
    async fn revised(
        &self,
        conversation: ConversationId,
        head: Head,
        by: UserId,
        client: ClientId,
        opened_before: Ms,
    ) -> Result<Option<Rev>, Error>;

    /// Who reacts to a message with what, ordered by emoji, then user; with `emoji` only those who do with that.
    async fn reactions(
        &self,
        conversation: ConversationId,
        seq: Seq,
        emoji: Option<&str>,
    ) -> Result<Vec<(String, UserId)>, Error>;

    /// Whether that user reacts so, in the order asked.
    async fn reacts(
        &self,
        conversation: ConversationId,
        user: UserId,
        asked: &[(Seq, &str)],
    ) -> Result<Vec<bool>, Error>;

    /// The numbers of the messages of a thread within that range, up to `limit` from the end where it is read from,
    /// ascending.
    async fn thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        range: RangeInclusive<Seq>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Seq>, Error>;

    /// The user's conversations, those that were left included.
    async fn listed(&self, user: UserId) -> Result<Vec<Listed>, Error>;

    /// The conversations that the user is in, in order: less than [`Conversations::listed`] reads.
    async fn present_in(&self, user: UserId) -> Result<Vec<ConversationId>, Error>;

    /// Who is in a conversation; `None` where these are more than `max`, or it does not exist.
    async fn circle(&self, conversation: ConversationId, max: usize) -> Result<Option<Circle>, Error>;

    /// Notes for each of these that the other one of that direct conversation changes their profile, so that they are
    /// told when they resume.
    async fn note_peer_changed(&self, told: &[(UserId, ConversationId)], at: Ms) -> Result<(), Error>;

    /// What users set for themselves in conversations, in the order asked.
    async fn settings(&self, asked: &[(UserId, ConversationId)]) -> Result<Vec<Settings>, Error>;

    /// Changes what a user set for themselves in a conversation; `None` where that changes nothing.
    async fn set(
        &self,
        user: UserId,
        conversation: ConversationId,
        change: &SettingsChange,
        at: Ms,
    ) -> Result<Option<Settings>, Error>;

    /// Hides a message from that user for ever; returns how many they hid there. Hiding it again changes nothing.
    async fn hide(&self, user: UserId, conversation: ConversationId, seq: Seq, at: Ms) -> Result<u64, Error>;

    /// How many messages the user hid there.
    async fn hidden_count(&self, user: UserId, conversation: ConversationId) -> Result<u64, Error>;

    /// The messages of that range that the user hid, ascending.
    async fn hidden_within(
        &self,
        user: UserId,
        conversation: ConversationId,
        range: RangeInclusive<Seq>,
    ) -> Result<Vec<Seq>, Error>;

    /// The messages that the user hid, in the order in which they did, after the first `after` of them.
    async fn hidden(
        &self,
        user: UserId,
        conversation: ConversationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Seq>, Error>;

    /// Where conversations stand, in the order asked; `None` for those that do not exist.
    async fn heads(&self, conversations: &[ConversationId]) -> Result<Vec<Option<Head>>, Error>;

    /// The marks of all who have some in this conversation.
    async fn marks(&self, conversation: ConversationId) -> Result<Vec<(UserId, Marks)>, Error>;

    /// Raises marks: of the conversation's row, of the peer's, and last of the user's own.
    async fn raise_marks(&self, marks: &[Rise]) -> Result<(), Error>;

    /// The bound that times of change have not passed, 0 where none was ever stored.
    async fn change_bound(&self) -> Result<Ms, Error>;

    /// Stores a higher bound.
    async fn raise_change_bound(&self, bound: Ms) -> Result<(), Error>;
}

/// When users were seen last.
#[async_trait]
pub trait LastSeen: Send + Sync + 'static {
    /// When each of these was seen last, in the order asked; `None` for who never was.
    async fn last_seen(&self, users: &[UserId]) -> Result<Vec<Option<Ms>>, Error>;

    /// Stores when users were seen; an earlier time changes nothing.
    async fn raise_last_seen(&self, seen: &[(UserId, Ms)]) -> Result<(), Error>;
}

/// How users stand to each other.
#[async_trait]
pub trait Relations: Send + Sync + 'static {
    /// The relation of two users; the default where nothing ever happened between them.
    async fn relation(&self, a: UserId, b: UserId) -> Result<Relation, Error>;

    /// Replaces the relation of two users if it still is `before`, and both their copies. Cut off anywhere, both
    /// copies are of before or of after, and the same way round.
    async fn relate(
        &self,
        a: UserId,
        b: UserId,
        before: &Relation,
        after: &Relation,
    ) -> Result<Written, Error>;

    /// Everyone who stands, or stood once, in a relation to that user, in order of ids.
    async fn contacts(&self, user: UserId) -> Result<Vec<Contact>, Error>;
}

/// The drafts on hold. A timer stands for each conversation that has any, from before they are stored.
#[async_trait]
pub trait HeldDrafts: Send + Sync + 'static {
    /// Stores drafts of one conversation, all or none; [`Written::No`] where one of them is held already.
    async fn hold(&self, held: &[Held]) -> Result<Written, Error>;

    /// Says anew why a draft is on hold, and until when.
    async fn hold_anew(&self, held: &Held) -> Result<(), Error>;

    /// The drafts on hold in a conversation, in order of `place`.
    async fn held(&self, conversation: ConversationId) -> Result<Vec<Held>, Error>;

    /// Takes drafts off hold, and remembers those that were rejected for as long as a client id.
    async fn settle(&self, conversation: ConversationId, settled: &[Settled], at: Ms) -> Result<(), Error>;

    /// How a draft of that client id was rejected, if it was held.
    async fn rejection(
        &self,
        conversation: ConversationId,
        sender: UserId,
        client: ClientId,
    ) -> Result<Option<Rejection>, Error>;

    /// The client ids of rejected drafts.
    async fn rejected(&self, conversation: ConversationId) -> Result<Vec<(UserId, ClientId)>, Error>;

    /// The conversations in which the user may have drafts on hold; perhaps one too many, never one too few.
    async fn held_by(&self, user: UserId) -> Result<Vec<ConversationId>, Error>;

    /// The timers up to `until`, first due first, up to `limit`.
    async fn timers(&self, until: Ms, limit: usize) -> Result<Vec<(Ms, ConversationId)>, Error>;

    /// Puts a timer in the place of another, or of none.
    async fn move_timer(
        &self,
        conversation: ConversationId,
        from: Option<Ms>,
        to: Option<Ms>,
    ) -> Result<(), Error>;
}

/// The notifications that were put off. A timer stands for each, from before it is stored until after it is gone.
/// There is one writer, so no write is conditional.
#[async_trait]
pub trait Deferrals: Send + Sync + 'static {
    /// Stores notifications that are put off, each in the place of one of the same user and conversation.
    async fn defer(&self, deferred: &[Deferred]) -> Result<(), Error>;

    /// What was put off for these users and conversations, in the order asked.
    async fn deferred(&self, asked: &[(UserId, ConversationId)]) -> Result<Vec<Option<Deferred>>, Error>;

    /// The timers up to `until`, first due first, up to `limit`. One whose notification is due at another time, or no
    /// more, is what a change or a crash left.
    async fn deferral_timers(
        &self,
        until: Ms,
        limit: usize,
    ) -> Result<Vec<(Ms, UserId, ConversationId)>, Error>;

    /// How many timers there are.
    async fn deferral_timers_count(&self) -> Result<usize, Error>;

    /// Forgets notifications, then their timers.
    async fn undefer(&self, deferred: &[Deferred]) -> Result<(), Error>;

    /// Removes timers.
    async fn drop_deferral_timers(&self, timers: &[(Ms, UserId, ConversationId)]) -> Result<(), Error>;
}

/// The installed plugins.
#[async_trait]
pub trait Plugins: Send + Sync + 'static {
    /// What is installed; the default where nothing ever was.
    async fn roster(&self) -> Result<Roster, Error>;

    /// Replaces the roster if its generation still is `before`, and remembers the composition of the new generation.
    async fn replace_roster(&self, before: Generation, after: &Roster) -> Result<Written, Error>;

    /// Which plugins made up a generation.
    async fn composition(&self, generation: Generation) -> Result<Option<Composition>, Error>;

    /// Stores a component under its digest; safe to repeat. Large ones are kept in parts.
    async fn put_component(&self, digest: crate::plugin::Digest, component: &[u8]) -> Result<(), Error>;

    /// The component of that digest.
    async fn component(&self, digest: crate::plugin::Digest) -> Result<Option<Vec<u8>>, Error>;

    /// Forgets a component; safe to repeat.
    async fn drop_component(&self, digest: crate::plugin::Digest) -> Result<(), Error>;

    /// The uploaded components: digest, size in bytes, when.
    async fn uploads(&self) -> Result<Vec<(crate::plugin::Digest, u64, Ms)>, Error>;

    /// Remembers that a component of that size was uploaded; safe to repeat.
    async fn put_upload(&self, digest: crate::plugin::Digest, size: u64, at: Ms) -> Result<(), Error>;

    /// Forgets that it was uploaded, not the component; safe to repeat.
    async fn drop_upload(&self, digest: crate::plugin::Digest) -> Result<(), Error>;

    /// The bodies that a plugin is not shown, those whose time is over left out.
    async fn poisoned(&self, plugin: &str) -> Result<Vec<Poisoned>, Error>;

    /// Remembers one until its time is over; safe to repeat.
    async fn put_poisoned(&self, plugin: &str, poisoned: &Poisoned) -> Result<(), Error>;

    /// Forgets these; safe to repeat.
    async fn drop_poisoned(&self, plugin: &str, hashes: &[String]) -> Result<(), Error>;
}
