//! The queue of one conversation in the deliver stage, and the task that works it off.
//!
//! Its shard alone puts in, its task alone takes out, so everything leaves in the order in which it came. The first in
//! the queue stays there until it was told: what is told as heads meanwhile is not told again.
//! Lock order: the map of queues is never locked while a queue is.

use super::{Plan, Posted, Stage};
use crate::{
    changes::Stamp,
    outbox::Pace,
    registry::{At, Push, Reach},
};
use bytes::Bytes;
use futures_util::FutureExt;
use godwit_domain::id::{ConversationId, SessionId, UserId};
use godwit_protocol::{encode, object};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// What waits in all conversations together; beyond it what comes is told as heads.
const WAITING_MAX: usize = 65_536;
/// The longest that anything waits: no cursor of any device passes it meanwhile.
const WAITED_MAX: Duration = Duration::from_secs(10);

/// What waits.
#[derive(Clone)]
pub enum Item {
    /// A message about which plugins are asked.
    Message(Arc<Posted>),
    /// A push that came after one.
    Push(Arc<Ready>),
    /// Where the conversation stands, for those who were spared something.
    Spare(Arc<[UserId]>, object::Head, Pace),
    /// That somebody who goes is not told so.
    Unspare(UserId, ConversationId),
}

/// A push that owns what it needs.
pub struct Ready {
    pub audience: Vec<UserId>,
    pub reach: Reach,
    pub frame: Bytes,
    pub own: Option<(UserId, Bytes)>,
    pub except: Option<SessionId>,
    pub at: Option<At>,
    /// Whether heads may take its place.
    pub fetchable: bool,
}

struct Waiting {
    item: Item,
    since: Instant,
    /// Held until it was told.
    _stamp: Option<Arc<Stamp>>,
}

/// See the module.
#[derive(Default)]
pub struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    items: VecDeque<Waiting>,
    /// How many were taken so far: tells whether the first still is the one that was looked at.
    taken: u64,
    /// Its task has ended: what comes needs another queue.
    ended: bool,
}

impl Stage {
    /// Puts in what comes next of a conversation, or tells it where there is no room.
    pub(super) fn put(self: &Arc<Self>, conversation: ConversationId, item: Item, stamp: Option<Arc<Stamp>>) {
        let waiting = Waiting { item, since: Instant::now(), _stamp: stamp };
        loop {
            let (queue, is_new) = self.queue(conversation);
            let mut state = queue.0.lock();
            if state.ended {
                drop(state);
                self.forget(conversation, &queue);
                continue;
            }
            let overdue = state.items.front().is_some_and(|first| first.since.elapsed() > WAITED_MAX);
            let full = state.items.len() >= self.ports.limits.delivering_max
                || self.waiting.load(Ordering::Relaxed) >= WAITING_MAX;
            if overdue || full {
                self.collapse(&mut state);
                self.tell_instead(&waiting.item);
            } else {
                state.items.push_back(waiting);
                self.count(1);
            }
            drop(state);
            if is_new {
                let stage = self.clone();
                tokio::spawn(async move { stage.work(conversation, &queue).await });
            }
            return;
        }
    }

    fn queue(&self, conversation: ConversationId) -> (Arc<Queue>, bool) {
        let mut queues = self.queues.lock();
        if let Some(queue) = queues.get(&conversation) {
            return (queue.clone(), false);
        }
        let queue = Arc::<Queue>::default();
        queues.insert(conversation, queue.clone());
        self.busy.store(queues.len(), Ordering::Release);
        (queue, true)
    }

    fn forget(&self, conversation: ConversationId, queue: &Arc<Queue>) {
        let mut queues = self.queues.lock();
        if queues.get(&conversation).is_some_and(|other| Arc::ptr_eq(other, queue)) {
            queues.remove(&conversation);
            self.busy.store(queues.len(), Ordering::Release);
        }
    }

    fn count(&self, more: usize) {
        let waiting = self.waiting.fetch_add(more, Ordering::Relaxed) + more;
        self.ports.metrics.delivering.set(waiting as i64);
    }

    fn uncount(&self, less: usize) {
        let waiting = self.waiting.fetch_sub(less, Ordering::Relaxed) - less;
        self.ports.metrics.delivering.set(waiting as i64);
    }

    /// Works off a queue until it is empty.
    async fn work(self: Arc<Self>, conversation: ConversationId, queue: &Arc<Queue>) {
        loop {
            let (ticket, item) = {
                let mut state = queue.0.lock();
                let Some(first) = state.items.front() else {
                    state.ended = true;
                    break;
                };
                if first.since.elapsed() > WAITED_MAX {
                    self.collapse(&mut state);
                    continue;
                }
                (state.taken, first.item.clone())
            };
            let plan = match &item {
                // A task that ended here would hold what waits, and with it the cursors of everyone.
                Item::Message(posted) => Some(
                    AssertUnwindSafe(self.plan(posted))
                        .catch_unwind()
                        .await
                        .unwrap_or_else(|_| self.plan_unasked(posted)),
                ),
                _ => None,
            };
            let later = {
                let mut state = queue.0.lock();
                // While it was thought about, it was told as heads.
                if state.taken != ticket {
                    continue;
                }
                let later = match (&item, plan) {
                    (Item::Message(posted), Some(plan)) => self.tell_as_planned(posted, plan),
                    _ => {
                        self.tell(&item);
                        Vec::new()
                    }
                };
                state.items.pop_front();
                state.taken += 1;
                self.uncount(1);
                later
            };
            if !later.is_empty() {
                self.ports.later.defer(later).await;
            }
        }
        self.forget(conversation, queue);
    }

    /// Tells all that waits, in its order, and heads in place of what can be fetched as well. Of messages in a row that
    /// went to the same people the last head says it all: this runs in the shard, and an audience may be large.
    fn collapse(&self, state: &mut State) {
        let all = std::mem::take(&mut state.items);
        state.taken += all.len() as u64;
        self.uncount(all.len());
        for (n, waiting) in all.iter().enumerate() {
            match (&waiting.item, all.get(n + 1).map(|next| &next.item)) {
                (Item::Message(posted), Some(Item::Message(next)))
                    if Arc::ptr_eq(&posted.audience, &next.audience) =>
                {
                    self.ports.metrics.collapsed.inc();
                }
                (item, _) => self.tell_instead(item),
            }
        }
    }

    fn tell_instead(&self, item: &Item) {
        let router = &self.ports.router;
        match item {
            Item::Message(posted) => {
                self.ports.metrics.collapsed.inc();
                router.spare(&posted.audience, posted.head, self.pace(posted.audience.len()));
            }
            Item::Push(ready) if ready.fetchable && ready.at.is_some() => {
                self.ports.metrics.collapsed.inc();
                let pace = if ready.reach == Reach::Sessions { Pace::Soon } else { Pace::Slowly };
                ready.at.iter().for_each(|at| router.spare(&ready.audience, at.head, pace));
            }
            item => self.tell(item),
        }
    }

    fn tell(&self, item: &Item) {
        let router = &self.ports.router;
        match item {
            Item::Push(ready) => {
                let Ready { audience, reach, frame, own, except, at, .. } = &**ready;
                let (frame, own, except, at) = (frame.clone(), own.clone(), *except, *at);
                router.route(Push { audience, reach: *reach, frame, own, except, at });
            }
            Item::Spare(audience, head, pace) => router.spare(audience, *head, *pace),
            Item::Unspare(user, conversation) => router.unspare(*user, *conversation),
            Item::Message(posted) => {
                router.spare(&posted.audience, posted.head, self.pace(posted.audience.len()));
            }
        }
    }

    /// Tells a message to those to whom it goes, each as it should; the notifications that are put off.
    fn tell_as_planned(&self, posted: &Posted, plan: Plan) -> Vec<godwit_domain::notification::Deferred> {
        let Plan { sessions, followers, spared, later } = plan;
        let (router, message) = (&self.ports.router, &*posted.message);
        let object = |own| object::Message::new(message, own);
        let loud = Bytes::from(encode::push("message", &object(false)));
        let quiet = (!sessions.quiet.is_empty() || !followers.quiet.is_empty())
            .then(|| Bytes::from(encode::push("message", &object(false).quiet())));
        let own = router.reaches(message.sender, posted.from).then(|| {
            let frame = Bytes::from(encode::push("message", &object(true)));
            (message.sender, frame)
        });
        let at = At { head: posted.head, seq: Some(message.seq) };
        let pace = self.pace(posted.audience.len());
        let told = [(sessions, Reach::Sessions), (followers, Reach::Followers(pace))];
        for (told, reach) in told {
            for (audience, frame) in [(&told.loud, Some(&loud)), (&told.quiet, quiet.as_ref())] {
                let Some(frame) = frame.filter(|_| !audience.is_empty()) else { continue };
                router.route(Push {
                    audience,
                    reach,
                    frame: frame.clone(),
                    own: own.clone(),
                    except: posted.from,
                    at: Some(at),
                });
            }
        }
        router.spare(&spared, posted.head, pace);
        later
    }
}
