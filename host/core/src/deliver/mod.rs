//! The deliver stage: between what a shard made durable and the sessions that are told of it.
//!
//! Where no plugin serves fan-out or delivery, pushes pass without a queue, a task or an allocation ([`Way`]). Where one
//! does, a message waits in the queue of its conversation ([`queue`]) until the plugins have said whom it reaches and how
//! ([`rule`]), and everything else of that conversation waits behind it: a slow rule delays its own conversation and
//! nothing else. What waits holds its time of change, so that no cursor covers it. What is too much, or waits too long,
//! is told as heads.
//! Notifications that a policy puts off are kept by [`later`].

mod queue;
mod people;
mod mutes;
mod rule;
pub mod later;

use crate::{
    changes::Stamp,
    limits,
    metrics::Metrics,
    outbox::Pace,
    registry::{Push, Reach, Router},
    sequencer::Card,
};
use godwit_domain::{
    filter::{Activity, Chain},
    id::{ConversationId, SessionId, UserId},
    message::Message,
    tables,
    time::{Clock, Ms},
    user::User,
    waist,
};
use godwit_protocol::object;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use self::{mutes::Mutes, queue::Queue};
pub use people::People;
pub use rule::{Plan, is_asked};

/// How often it is looked whether nothing waits any more.
const SETTLE_POLL: Duration = Duration::from_millis(5);

/// What the stage needs.
pub struct Ports {
    /// The way to sessions.
    pub router: Arc<dyn Router>,
    /// Who recipients are.
    pub people: Arc<People>,
    /// What they set for themselves.
    pub conversations: Arc<dyn tables::Conversations>,
    /// Where notifications that are put off go.
    pub later: later::Handle,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Metrics,
    /// Limits.
    pub limits: limits::Options,
}

/// A message that is durable, with what rules are told of it.
pub struct Posted {
    /// The message.
    pub message: Arc<Message>,
    /// Who sent it.
    pub sender: Arc<User>,
    /// What they did before.
    pub activity: Activity,
    /// From which session, which has its reply.
    pub from: Option<SessionId>,
    /// Where the conversation stands with it.
    pub head: object::Head,
    /// Who was in at its number, in order.
    pub audience: Arc<[UserId]>,
    /// The conversation, and as what everyone is in.
    pub card: Arc<Card>,
    /// What the rules are.
    pub chain: Arc<dyn Chain>,
}

/// See the module.
pub struct Stage {
    ports: Ports,
    mutes: Mutes,
    /// The conversations in which something waits.
    queues: Mutex<HashMap<ConversationId, Arc<Queue>>>,
    /// How many these are: read on the way of every push, mostly 0.
    busy: AtomicUsize,
    /// What waits in all of them.
    waiting: AtomicUsize,
}

impl Stage {
    /// A stage in which nothing waits.
    pub fn new(ports: Ports) -> Arc<Self> {
        Arc::new(Self {
            mutes: Mutes::new(ports.conversations.clone(), ports.clock.clone()),
            ports,
            queues: Mutex::default(),
            busy: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        })
    }

    /// The way of what one conversation has to tell, behind whatever waits there. `stamp` is held meanwhile.
    pub fn way<'a>(
        self: &'a Arc<Self>,
        conversation: ConversationId,
        stamp: Option<&'a Arc<Stamp>>,
    ) -> Way<'a> {
        let waits = self.busy.load(Ordering::Acquire) > 0 && self.queues.lock().contains_key(&conversation);
        Way { stage: self, conversation, stamp, waits }
    }

    /// Waits until nothing waits any more; who sends meanwhile prolongs it.
    pub async fn settle(&self) {
        while self.busy.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(SETTLE_POLL).await;
        }
        self.ports.later.settle().await;
    }

    /// Looks now which notifications are due.
    pub async fn tend_deferred(&self) {
        self.ports.later.tend().await;
    }

    /// Somebody muted a conversation until then, or no longer does: from here on policies are told so.
    pub fn muted(&self, user: UserId, conversation: ConversationId, until: Option<Ms>) {
        self.mutes.set(user, conversation, until);
    }

    /// Until when that user muted the conversation, where they do.
    ///
    /// # Errors
    /// That of the store.
    pub async fn muted_until(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<Option<Ms>, waist::Error> {
        Ok(self.mutes.get(&[user], conversation).await?.into_iter().next().flatten())
    }

    /// How soon those who are spared hear of a conversation of so many members.
    fn pace(&self, members: usize) -> Pace {
        pace(&self.ports.limits, members)
    }
}

/// How soon those who are spared a push hear of a conversation of so many members.
pub fn pace(limits: &limits::Options, members: usize) -> Pace {
    if is_large(limits, members) { Pace::Slowly } else { Pace::Soon }
}

/// Whether live messages flow to followers alone where so many are in.
pub fn is_large(limits: &limits::Options, members: usize) -> bool {
    members > limits.follow_above as usize
}

/// How the pushes of one conversation reach sessions: at once, unless something of it waits.
pub struct Way<'a> {
    stage: &'a Arc<Stage>,
    conversation: ConversationId,
    stamp: Option<&'a Arc<Stamp>>,
    waits: bool,
}

impl Way<'_> {
    /// Hands on a push that nothing else tells: it is never told as heads.
    pub fn route(&self, push: Push<'_>) {
        self.hand(push, false);
    }

    /// Hands on a push that can be fetched as well.
    pub fn route_fetchable(&self, push: Push<'_>) {
        self.hand(push, true);
    }

    fn hand(&self, push: Push<'_>, fetchable: bool) {
        if !self.waits {
            return self.stage.ports.router.route(push);
        }
        let Push { audience, reach, frame, own, except, at } = push;
        let ready = queue::Ready { audience: audience.to_vec(), reach, frame, own, except, at, fetchable };
        self.put(queue::Item::Push(Arc::new(ready)));
    }

    /// As [`Router::spare`].
    pub fn spare(&self, audience: &[UserId], head: object::Head, pace: Pace) {
        // It would take a place where there are few.
        if audience.is_empty() {
            return;
        }
        if !self.waits {
            return self.stage.ports.router.spare(audience, head, pace);
        }
        self.put(queue::Item::Spare(audience.into(), head, pace));
    }

    /// As [`Router::unspare`].
    pub fn unspare(&self, user: UserId) {
        if !self.waits {
            return self.stage.ports.router.unspare(user, self.conversation);
        }
        self.put(queue::Item::Unspare(user, self.conversation));
    }

    /// Hands on a message about which plugins are to be asked.
    pub fn ask(&self, posted: Posted) {
        self.put(queue::Item::Message(Arc::new(posted)));
    }

    fn put(&self, item: queue::Item) {
        self.stage.put(self.conversation, item, self.stamp.cloned());
    }
}

/// Who hears a built-in rule: all sessions, or those that follow where many are in.
pub fn built_in(limits: &limits::Options, members: usize) -> Reach {
    if is_large(limits, members) { Reach::Followers(Pace::Slowly) } else { Reach::Sessions }
}
