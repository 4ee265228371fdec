//! The sequencer: everything that changes a conversation goes through the shard of that conversation.
//!
//! 1,024 logical shards are spread over a few tasks. A task owns the conversations of its shards ([`conversation`]);
//! it takes all that waits, gives dense numbers and appends one conditional batch per conversation. While that
//! commits, the next one gathers. Replies and pushes leave after the commit, in the order of arrival.
//! Others hold a [`Handle`]; start with [`shard`] for the loop.

mod shard;
mod slot;
mod gather;
mod conversation;
mod visible;
mod mark;
mod decide;
mod revise;
mod change;
mod relate;
mod label;
mod holdings;
mod hold;
mod clients;
mod storage;
mod publish;
mod card;

pub use card::{Card, Cards, place};
pub use clients::AGE_MS_MAX as CLIENT_ID_AGE_MS_MAX;
pub use conversation::{Receipts, Stand, Standing, View};
pub use decide::Wish;
pub use hold::{UNHEARD, unheard};
pub use relate::{Pair, Relate, blocked};
pub use revise::Deed;
pub use storage::{direct, newcomer, unknown_user};
pub use visible::Visible;

use crate::{
    actors::Watch,
    changes::Changes,
    deliver::{self, Stage},
    facts::Discretion,
    limits,
    metrics::Metrics,
    outbox::Reply,
    person::Judging,
    presence::Presence,
    registry::Router,
    relations::Relations,
};
use godwit_domain::{
    contact::{Action, Side},
    conversation::{Member, Meta},
    filter::{Activity, Filters, Verdict},
    held::{Held, Why},
    id::{ClientId, ConversationId, Seq, SessionId, UserId},
    message::Content,
    tables,
    time::{Clock, Ms},
    user::User,
};
use godwit_protocol::{
    error::{Code, Error},
    object,
};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Logical shards: fixed for ever, so that they can be spread over any number of hosts.
pub const SHARDS: u32 = 1024;

/// Commands that may wait for one task; beyond it the senders wait.
const COMMANDS_MAX: usize = 4096;

/// The shard of a conversation.
pub fn shard_of(conversation: ConversationId) -> u32 {
    // The last bytes of an id of version 5 are those of a hash.
    conversation.0.as_u128() as u32 % SHARDS
}

/// What the sequencer needs.
#[derive(Clone)]
pub struct Ports {
    /// Streams, members, marks.
    pub conversations: Arc<dyn tables::Conversations>,
    /// Drafts on hold.
    pub held: Arc<dyn tables::HeldDrafts>,
    /// How users stand to each other, as it is stored.
    pub relation_tables: Arc<dyn tables::Relations>,
    /// The same, as it is remembered: told of what changes.
    pub relations: Arc<Relations>,
    /// What judges them again.
    pub filters: Arc<dyn Filters>,
    /// Whom a direct conversation may be opened with.
    pub accounts: Arc<dyn tables::Accounts>,
    /// What hears that people came together or parted.
    pub presence: Arc<Presence>,
    /// Where shards lay out what filters are told.
    pub cards: Arc<Cards>,
    /// The way to sessions.
    pub router: Arc<dyn Router>,
    /// Where pushes wait for what plugins say about them.
    pub stage: Arc<Stage>,
    /// What hears of what was read.
    pub later: deliver::later::Handle,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Times of change.
    pub changes: Arc<Changes>,
    /// Counters.
    pub metrics: Metrics,
    /// Limits.
    pub limits: limits::Options,
    /// Who hears what is written.
    pub watch: Arc<Watch>,
}

/// A message that wants a number.
pub struct Draft {
    /// Where.
    pub conversation: ConversationId,
    /// The other one, where the direct conversation is to be made if missing.
    pub to: Option<UserId>,
    /// Who.
    pub sender: Arc<User>,
    /// From which session; `None` where it was on hold.
    pub session: Option<SessionId>,
    /// What the client calls it: of version 7, within its time.
    pub client_id: ClientId,
    /// What, as the filters left it.
    pub content: Content,
    /// What was sent, where that may be something else: a draft that is held is judged afresh from it.
    pub sent: Option<Box<Content>>,
    /// Of the content as it was sent.
    pub content_hash: u64,
    /// The sender's message that must have been accepted before.
    pub after: Option<ClientId>,
    /// What the filters decided.
    pub verdict: Verdict,
    /// What the sender did before, where filters were told.
    pub activity: Activity,
    /// Why it takes no number. It goes through the shard all the same: a repeat of what was accepted gets its first
    /// answer, and replies keep their order.
    pub refusal: Option<Error>,
    /// Why it is to be held.
    pub doubt: Option<Doubt>,
    /// Who waits.
    pub waiter: Waiter,
    /// Ends with the answer.
    pub judging: Option<Judging>,
}

/// Why the filters want a draft to be held.
pub struct Doubt {
    /// [`Why::Decided`] or [`Why::Failed`].
    pub why: Why,
    /// The same for the sender.
    pub reason: String,
}

/// Who waits for what becomes of a draft.
pub enum Waiter {
    /// The session that sent it.
    Sender(Reply),
    /// It was on hold: whoever released it, unless its turn came by itself.
    Releaser(Option<Answer<object::Sent>>),
}

impl Waiter {
    /// Whether the draft was on hold.
    fn is_release(&self) -> bool {
        matches!(self, Self::Releaser(_))
    }

    /// It has its number.
    fn ok(self, sent: &object::Sent) {
        match self {
            Self::Sender(reply) => reply.ok(sent),
            // Who asked may have given up.
            Self::Releaser(answer) => answer.into_iter().for_each(|answer| drop(answer.send(Ok(*sent)))),
        }
    }

    /// It is on hold.
    fn held(self, on_hold: &object::OnHold) {
        if let Self::Sender(reply) = self {
            reply.ok(on_hold);
        }
    }

    /// It has no number.
    fn error(self, error: &Error) {
        match self {
            Self::Sender(reply) => reply.error(error),
            Self::Releaser(answer) => {
                answer.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
            }
        }
    }
}

/// Who asks about drafts on hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A user, as far as they may.
    User(UserId),
    /// An operator.
    Operator,
}

/// A mark that wants to rise.
pub struct Mark {
    /// Where.
    pub conversation: ConversationId,
    /// Whose.
    pub user: UserId,
    /// From which session.
    pub session: SessionId,
    /// Up to where.
    pub seq: Seq,
    /// `read`, or `received` alone.
    pub read: bool,
    /// Who may not hear of it.
    pub discretion: Discretion,
    /// Who waits.
    pub reply: Reply,
}

/// Someone is writing.
pub struct Typing {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub user: UserId,
    /// Who may not hear of it.
    pub discretion: Discretion,
}

/// A change that someone asks for.
pub struct Ask {
    /// Where.
    pub conversation: ConversationId,
    /// Who.
    pub by: UserId,
    /// What the client calls it: of version 7, within its time.
    pub client_id: Option<ClientId>,
    /// What.
    pub what: Wanted,
    /// Why it is not done. It goes through the shard all the same, where a repeat gets its first answer.
    pub refusal: Option<Error>,
    /// Who waits.
    pub reply: Reply,
}

/// What a change is about.
pub enum Wanted {
    /// The members, their roles, or the conversation itself.
    Members(Wish),
    /// A message.
    Message(Seq, Deed),
}

/// A conversation to open, unless it exists.
#[derive(Clone)]
pub struct Opening {
    /// What it is.
    pub meta: Meta,
    /// Its first members.
    pub members: Vec<Member>,
    /// The two (or one) of a direct conversation: what each sees as `peer`.
    pub users: Vec<Arc<User>>,
}

enum Command {
    Send(Box<Draft>),
    /// A draft of which storage has said that its client id is new.
    Fresh(Box<Draft>),
    Mark(Mark),
    View {
        conversation: ConversationId,
        user: UserId,
        answer: Answer<View>,
    },
    Stand {
        conversation: ConversationId,
        user: UserId,
        answer: Answer<Stand>,
    },
    Members {
        conversation: ConversationId,
        user: UserId,
        page: Page,
        answer: Answer<Vec<Member>>,
    },
    Open {
        opening: Box<Opening>,
        answer: Answer<View>,
    },
    Receipts {
        conversation: ConversationId,
        user: UserId,
        seq: Seq,
        left_out: Vec<UserId>,
        answer: Answer<Receipts>,
    },
    Typing(Typing),
    Audience {
        conversation: ConversationId,
        user: UserId,
        answer: Answer<Arc<[UserId]>>,
    },
    /// What is to become of a draft on hold.
    Moderate(Box<hold::Moderation>),
    /// A draft on hold was judged again.
    Asked(Box<hold::Asked>),
    Held {
        query: hold::HeldQuery,
        answer: Answer<Vec<Held>>,
    },
    /// The time of a draft on hold has come.
    Due {
        conversation: ConversationId,
        answer: Answer<Option<Ms>>,
    },
    Relate(Box<Relate>),
    /// An operator calls the conversation so.
    Label {
        conversation: ConversationId,
        labels: Vec<String>,
        answer: Answer<()>,
    },
    Change(Box<Ask>),
    /// A change of which storage has said that its client id is new.
    New(Box<Ask>),
    Settle {
        done: oneshot::Sender<()>,
    },
}

struct Page {
    after: Option<UserId>,
    limit: usize,
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

impl Command {
    /// Whether it may change the conversation, and so needs to know for certain where that stands.
    fn changes(&self) -> bool {
        !matches!(
            self,
            Self::View { .. }
                | Self::Stand { .. }
                | Self::Members { .. }
                | Self::Receipts { .. }
                | Self::Typing(_)
                | Self::Audience { .. }
                | Self::Settle { .. }
        )
    }

    fn conversation(&self) -> Option<ConversationId> {
        match self {
            Self::Send(draft) | Self::Fresh(draft) => Some(draft.conversation),
            Self::Mark(mark) => Some(mark.conversation),
            Self::Typing(typing) => Some(typing.conversation),
            Self::View { conversation, .. }
            | Self::Stand { conversation, .. }
            | Self::Members { conversation, .. }
            | Self::Receipts { conversation, .. }
            | Self::Audience { conversation, .. }
            | Self::Label { conversation, .. }
            | Self::Due { conversation, .. } => Some(*conversation),
            Self::Moderate(moderation) => Some(moderation.conversation),
            Self::Asked(asked) => Some(asked.conversation),
            Self::Held { query, .. } => Some(query.conversation),
            Self::Relate(relate) => Some(relate.pair.conversation()),
            Self::Change(ask) | Self::New(ask) => Some(ask.conversation),
            Self::Open { opening, .. } => Some(opening.meta.id),
            Self::Settle { .. } => None,
        }
    }
}

/// The way to all shards.
#[derive(Clone)]
pub struct Handle {
    tasks: Arc<[mpsc::Sender<Command>]>,
}

impl Handle {
    /// Starts `tasks` tasks that share the shards.
    pub fn start(ports: &Ports, tasks: usize) -> Self {
        let start = |_| {
            let (sender, receiver) = mpsc::channel(COMMANDS_MAX);
            tokio::spawn(shard::Shard::new(ports.clone()).run(receiver));
            sender
        };
        Self { tasks: (0..tasks.max(1)).map(start).collect() }
    }

    fn task(&self, conversation: ConversationId) -> &mpsc::Sender<Command> {
        &self.tasks[shard_of(conversation) as usize % self.tasks.len()]
    }

    async fn command(&self, conversation: ConversationId, command: Command) {
        // A task ends only with the host; what is in the command then answers by being dropped.
        let _ = self.task(conversation).send(command).await;
    }

    /// Hands a draft to its shard, which answers it. Waits while the shard's queue is full.
    pub async fn send(&self, draft: Draft) {
        self.command(draft.conversation, Command::Send(Box::new(draft))).await;
    }

    /// The same of a draft whose client id is not to be looked up.
    pub async fn send_fresh(&self, draft: Draft) {
        self.command(draft.conversation, Command::Fresh(Box::new(draft))).await;
    }

    /// Hands a mark to its shard, which answers it.
    pub async fn mark(&self, mark: Mark) {
        self.command(mark.conversation, Command::Mark(mark)).await;
    }

    /// The conversation as that user sees it, be it from outside where it is open.
    ///
    /// # Errors
    /// `not_found`, or that of the store.
    pub async fn view(&self, conversation: ConversationId, user: UserId) -> Result<View, Error> {
        self.ask(conversation, |answer| Command::View { conversation, user, answer }).await
    }

    /// The conversation as the host sees it, and that user's place in it.
    ///
    /// # Errors
    /// `not_found` where it does not exist, or that of the store.
    pub async fn stand(&self, conversation: ConversationId, user: UserId) -> Result<Stand, Error> {
        self.ask(conversation, |answer| Command::Stand { conversation, user, answer }).await
    }

    /// Up to `limit` members after `after`, in order of ids, as that user may see them.
    ///
    /// # Errors
    /// `not_found`, `not_member`, or that of the store.
    pub async fn members(
        &self,
        conversation: ConversationId,
        user: UserId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, Error> {
        let page = Page { after, limit };
        self.ask(conversation, |answer| Command::Members { conversation, user, page, answer }).await
    }

    /// Opens a conversation unless it exists, and shows it as its creator sees it.
    ///
    /// # Errors
    /// `not_member` where it exists and the asker has left it, or that of the store.
    pub async fn open(&self, opening: Opening) -> Result<View, Error> {
        let conversation = opening.meta.id;
        self.ask(conversation, |answer| Command::Open { opening: Box::new(opening), answer }).await
    }

    /// Hands a change to its shard, which answers it with the number of its revision.
    pub async fn change(&self, ask: Ask) {
        self.command(ask.conversation, Command::Change(Box::new(ask))).await;
    }

    /// Has it told that someone is writing, if they may; nobody hears whether.
    pub async fn typing(&self, typing: Typing) {
        self.command(typing.conversation, Command::Typing(typing)).await;
    }

    /// Everyone who is in a conversation, in order, as one of them may know.
    ///
    /// # Errors
    /// `not_found`, `not_member`, or that of the store.
    pub async fn audience(&self, conversation: ConversationId, user: UserId) -> Result<Arc<[UserId]>, Error> {
        self.ask(conversation, |answer| Command::Audience { conversation, user, answer }).await
    }

    /// Does something about another user, and says how they stand then to who did it.
    ///
    /// # Errors
    /// `blocked`, `conflict`, `unknown_outcome`, or that of the store.
    pub async fn relate(&self, pair: Pair, action: Action, session: SessionId) -> Result<Side, Error> {
        let conversation = pair.conversation();
        let command = |answer| Command::Relate(Box::new(Relate { pair, action, session, answer }));
        self.ask(conversation, command).await
    }

    /// How far the members have come with message `seq`, those of `left_out` left out, which are in order.
    ///
    /// # Errors
    /// `not_found`, `not_member`, or that of the store.
    pub async fn receipts(
        &self,
        conversation: ConversationId,
        user: UserId,
        seq: Seq,
        left_out: Vec<UserId>,
    ) -> Result<Receipts, Error> {
        self.ask(conversation, |answer| Command::Receipts { conversation, user, seq, left_out, answer }).await
    }

    /// Drafts on hold after `after`, in order: all of them to who may decide, else one's own.
    ///
    /// # Errors
    /// `not_found`, `not_member`, or that of the store.
    pub async fn held(
        &self,
        conversation: ConversationId,
        by: By,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Held>, Error> {
        let query = hold::HeldQuery { conversation, by, own: false, after, limit };
        self.ask(conversation, |answer| Command::Held { query, answer }).await
    }

    /// The user's own drafts on hold there, those of who left included.
    ///
    /// # Errors
    /// `not_found`, or that of the store.
    pub async fn own_held(&self, conversation: ConversationId, user: UserId) -> Result<Vec<Held>, Error> {
        let query =
            hold::HeldQuery { conversation, by: By::User(user), own: true, after: 0, limit: usize::MAX };
        self.ask(conversation, |answer| Command::Held { query, answer }).await
    }

    /// Has a draft on hold numbered, unless the present plugins refuse it.
    ///
    /// # Errors
    /// `forbidden`, `not_found`; `conflict` where another one comes first; that with which it was rejected; or that
    /// of the store.
    pub async fn release(
        &self,
        conversation: ConversationId,
        sender: UserId,
        client_id: ClientId,
        by: By,
    ) -> Result<object::Sent, Error> {
        let moderation = |act| hold::Moderation { conversation, sender, client_id, by, act };
        let command = |answer| Command::Moderate(Box::new(moderation(hold::Act::Release(answer))));
        self.ask(conversation, command).await
    }

    /// Rejects a draft on hold, and those that come after it.
    ///
    /// # Errors
    /// `forbidden`, `not_found`, or that of the store.
    pub async fn reject(
        &self,
        conversation: ConversationId,
        sender: UserId,
        client_id: ClientId,
        by: By,
        reason: String,
    ) -> Result<(), Error> {
        let moderation = |act| hold::Moderation { conversation, sender, client_id, by, act };
        let command = |answer| Command::Moderate(Box::new(moderation(hold::Act::Reject { reason, answer })));
        self.ask(conversation, command).await
    }

    /// Does what is due about the drafts on hold there; when that is next.
    ///
    /// # Errors
    /// `not_found`, or that of the store.
    pub async fn due(&self, conversation: ConversationId) -> Result<Option<Ms>, Error> {
        self.ask(conversation, |answer| Command::Due { conversation, answer }).await
    }

    /// Has a conversation called so from here on: plugins are installed by labels.
    ///
    /// # Errors
    /// `not_found`, or that of the store.
    pub async fn label(&self, conversation: ConversationId, labels: Vec<String>) -> Result<(), Error> {
        self.ask(conversation, |answer| Command::Label { conversation, labels, answer }).await
    }

    /// Waits until everything that was handed in before is durable and answered, and marks are stored.
    pub async fn settle(&self) {
        for task in self.tasks.iter() {
            let (done, settled) = oneshot::channel();
            if task.send(Command::Settle { done }).await.is_ok() {
                let _ = settled.await;
            }
        }
    }

    async fn ask<T>(
        &self,
        conversation: ConversationId,
        command: impl FnOnce(Answer<T>) -> Command,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.command(conversation, command(answer)).await;
        answered.await.unwrap_or_else(|_| Err(Error::new(Code::Unavailable, "the host is stopping")))
    }
}
