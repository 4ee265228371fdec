//! The loop of one task: commands in, finished work in, one round of appends and marks out.
//!
//! The loop never waits for storage: what storage does is a future in `work`, and the conversation that needs it is
//! `busy` until it is done, so that its commands keep their order while all other conversations go on.
//! What happens to one conversation is in [`super::slot`].

use super::{
    Ask, Command, Mark, Ports,
    change::Tried,
    clients::Filter,
    conversation::State,
    hold::{Asked, Settling},
    label::Labelled,
    publish,
    relate::Related,
    revise::Permitted,
    slot::{Batch, Entry, Slot},
    storage::{Known, Opened, Unopened},
};
use crate::changes::Stamp;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use godwit_domain::{
    contact::Relation,
    conversation::Rise,
    id::{ConversationId, Rev},
    message::Accepted,
    tables::{Appended, Written},
    waist,
};
use godwit_protocol::error::{Code, Error};
use lru::LruCache;
use std::{collections::HashSet, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// Commands taken in one turn.
const INBOX_MAX: usize = 512;
/// Conversations that one task holds in memory; the one that was used longest ago goes first.
const SLOTS_MAX: usize = 20_000;
/// Commands that wait for one conversation; beyond it they are `unavailable`.
const WAITING_MAX: usize = 16_384;
/// How often marks that rose by sending are stored.
const STORE_MARKS_EVERY: Duration = Duration::from_secs(1);

/// Work that storage finished.
pub enum Done {
    Loaded(ConversationId, Result<Option<State>, waist::Error>),
    Opened(ConversationId, Result<Option<Opened>, Unopened>),
    Clients(ConversationId, Result<Filter, waist::Error>),
    LookedUp(ConversationId, Result<Option<Known>, waist::Error>),
    LookedUpAfter(ConversationId, Result<Option<Accepted>, waist::Error>),
    Appended(Vec<(Batch, Appended)>),
    Held(Batch, Result<Written, waist::Error>),
    HeldAnew(ConversationId, Result<(), waist::Error>),
    Asked(Box<Asked>),
    Settled(Box<Settling>, Result<(), waist::Error>),
    Forgotten(Result<(), waist::Error>),
    Known(Box<Ask>, Result<Option<Rev>, waist::Error>),
    Unplanned(ConversationId, Vec<Permitted>, waist::Error),
    Changed(Box<Tried>),
    Labelled(Box<Labelled>),
    Related(Box<Related>),
    Retold(ConversationId, Result<Relation, waist::Error>),
    Raised(Vec<Raising>, Result<(), waist::Error>),
    Stored(Vec<Rise>, Arc<Stamp>, Result<(), waist::Error>),
}

/// A mark on its way to storage.
pub struct Raising {
    pub mark: Mark,
    pub rise: Rise,
    pub stamp: Arc<Stamp>,
}

/// What one turn of the loop puts in motion.
pub struct Turn<'a> {
    pub ports: &'a Ports,
    pub work: &'a FuturesUnordered<BoxFuture<'static, Done>>,
    pub appends: Vec<Batch>,
    pub raising: Vec<Raising>,
    /// Conversations in which reactions are gathered.
    pub gathering: Vec<ConversationId>,
    stamp: Option<Arc<Stamp>>,
}

impl Turn<'_> {
    /// The time of change of what begins in this turn.
    pub fn stamp(&mut self) -> Arc<Stamp> {
        self.stamp.get_or_insert_with(|| Arc::new(self.ports.changes.begin())).clone()
    }
}

/// One task's share of the conversations.
pub struct Shard {
    ports: Ports,
    slots: LruCache<ConversationId, Slot>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// Conversations that may be able to go on.
    touched: Vec<ConversationId>,
    /// Conversations with marks to store.
    unstored: HashSet<ConversationId>,
    /// Conversations in which reactions are gathered.
    gathering: HashSet<ConversationId>,
    /// Conversations of which it is not known what became of a commit.
    unsettled: HashSet<ConversationId>,
    settling: Vec<oneshot::Sender<()>>,
    stored_to_settle: bool,
}

impl Shard {
    pub fn new(ports: Ports) -> Self {
        Self {
            ports,
            slots: LruCache::unbounded(),
            work: FuturesUnordered::new(),
            touched: Vec::new(),
            unstored: HashSet::new(),
            gathering: HashSet::new(),
            unsettled: HashSet::new(),
            settling: Vec::new(),
            stored_to_settle: false,
        }
    }

    /// Runs until every handle is gone and everything is durable.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut inbox = Vec::with_capacity(INBOX_MAX);
        let mut ticks = tokio::time::interval(STORE_MARKS_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut open = true;
        while open || !self.work.is_empty() {
            tokio::select! {
                Some(done) = self.work.next(), if !self.work.is_empty() => {
                    self.finish(done);
                    while let Some(Some(done)) = self.work.next().now_or_never() {
                        self.finish(done);
                    }
                }
                taken = commands.recv_many(&mut inbox, INBOX_MAX), if open => {
                    open = taken > 0;
                    inbox.drain(..).for_each(|command| self.accept(command));
                    if !open {
                        self.store_unstored();
                        self.flush_gathering();
                    }
                }
                _ = ticks.tick(), if open && self.has_to_tend() => {
                    self.store_unstored();
                    self.settle_unknown();
                    self.flush_gathering();
                }
            }
            self.turn();
        }
    }

    fn has_to_tend(&self) -> bool {
        !(self.unstored.is_empty() && self.unsettled.is_empty() && self.gathering.is_empty())
    }

    /// Has the reactions done that waited for each other.
    fn flush_gathering(&mut self) {
        for conversation in self.gathering.drain() {
            if let Some(slot) = self.slots.peek_mut(&conversation) {
                slot.flush = true;
                self.touched.push(conversation);
            }
        }
    }

    fn accept(&mut self, command: Command) {
        let Some(conversation) = command.conversation() else {
            if let Command::Settle { done } = command {
                self.settling.push(done);
            }
            return;
        };
        let slot = self.slots.get_or_insert_mut(conversation, Slot::default);
        // What the shard itself has asked for must come through: it is waited for.
        if slot.waiting.len() + slot.gathering.len() >= WAITING_MAX && !matches!(command, Command::Asked(_)) {
            let text = format!("more than {WAITING_MAX} requests wait for this conversation");
            return refuse(command, Error::new(Code::Unavailable, text));
        }
        slot.waiting.push_back(command);
        self.touched.push(conversation);
    }

    /// Lets every touched conversation go on as far as it can, then puts one round of writes in motion.
    fn turn(&mut self) {
        if !self.settling.is_empty() {
            self.flush_gathering();
        }
        let mut turn = Turn {
            ports: &self.ports,
            work: &self.work,
            appends: Vec::new(),
            raising: Vec::new(),
            gathering: Vec::new(),
            stamp: None,
        };
        for conversation in self.touched.drain(..) {
            if let Some(slot) = self.slots.get_mut(&conversation) {
                slot.advance(conversation, &mut turn);
                if slot.is_vacant() {
                    self.slots.pop(&conversation);
                }
            }
        }
        let Turn { appends, raising, gathering, stamp, .. } = turn;
        self.gathering.extend(gathering);
        if let Some(stamp) = stamp {
            self.append(appends, stamp.clone());
            self.raise(raising, stamp);
        }
        self.evict();
        self.settle();
    }

    fn settle(&mut self) {
        // No work means that nobody is busy, and whoever is not busy has nothing waiting but reactions.
        if self.settling.is_empty() || !self.work.is_empty() || !self.gathering.is_empty() {
            return;
        }
        // Once: where the store is broken, marks that rose by sending are found again by the next load.
        if !std::mem::replace(&mut self.stored_to_settle, true) {
            self.store_unstored();
        }
        if self.work.is_empty() {
            self.stored_to_settle = false;
            for done in self.settling.drain(..) {
                // Who asked may have given up.
                let _ = done.send(());
            }
        }
    }

    fn append(&mut self, mut batches: Vec<Batch>, stamp: Arc<Stamp>) {
        if batches.is_empty() {
            return;
        }
        let tables = self.ports.conversations.clone();
        let appends: Vec<_> = batches.iter_mut().filter_map(|batch| batch.append.take()).collect();
        for append in &appends {
            self.ports.metrics.append_messages.observe(append.messages.len() as f64);
        }
        let watch = self.ports.watch.clone();
        let work = async move {
            let ready = async {
                stamp.secured().await?;
                watch.mark(batches.iter().map(|batch| batch.conversation)).await
            };
            let outcomes = match ready.await {
                Ok(marked) => {
                    batches.iter_mut().zip(marked).for_each(|(batch, marked)| batch.marked = Some(marked));
                    tables.append(appends).await
                }
                Err(error) => vec![Appended::Refused(error); appends.len()],
            };
            Done::Appended(batches.into_iter().zip(outcomes).collect())
        };
        self.work.push(work.boxed());
    }

    fn raise(&mut self, raising: Vec<Raising>, stamp: Arc<Stamp>) {
        if raising.is_empty() {
            return;
        }
        let tables = self.ports.conversations.clone();
        let rises: Vec<_> = raising.iter().map(|raising| raising.rise).collect();
        let work = async move {
            let raised = async {
                stamp.secured().await?;
                tables.raise_marks(&rises).await
            };
            Done::Raised(raising, raised.await)
        };
        self.work.push(work.boxed());
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Loaded(conversation, result) => {
                let next =
                    self.with_slot(conversation, |slot, ports| slot.loaded(conversation, result, ports));
                self.work.extend(next.flatten());
                self.note(conversation);
            }
            Done::Opened(conversation, result) => {
                self.with_slot(conversation, |slot, ports| slot.opened(conversation, result, ports));
                self.note(conversation);
            }
            Done::Clients(conversation, result) => {
                self.with_slot(conversation, |slot, ports| slot.clients_read(result, ports));
            }
            Done::LookedUp(conversation, result) => {
                self.with_slot(conversation, |slot, ports| slot.looked_up(result, ports));
            }
            Done::Appended(outcomes) => {
                for (batch, outcome) in outcomes {
                    let conversation = batch.conversation;
                    self.with_slot(conversation, |slot, ports| slot.appended(batch, outcome, ports));
                    self.note(conversation);
                }
            }
            Done::LookedUpAfter(conversation, result) => {
                self.with_slot(conversation, |slot, ports| slot.looked_up_after(result, ports));
            }
            Done::Held(batch, result) => {
                let conversation = batch.conversation;
                self.with_slot(conversation, |slot, ports| slot.held_stored(batch, result, ports));
                self.note(conversation);
            }
            Done::HeldAnew(conversation, result) => {
                self.with_slot(conversation, |slot, ports| slot.held_anew(result, ports));
                self.note(conversation);
            }
            // Its conversation went on meanwhile.
            Done::Asked(asked) => self.accept(Command::Asked(asked)),
            Done::Settled(settling, result) => {
                let conversation = settling.conversation;
                self.with_slot(conversation, |slot, ports| slot.rejected(*settling, result, ports));
                self.note(conversation);
            }
            Done::Forgotten(Ok(())) => {}
            Done::Forgotten(Err(error)) => {
                tracing::warn!(%error, "drafts that were accepted still stand as held; the next load removes them");
                self.ports.metrics.store_failures.inc();
            }
            Done::Known(ask, result) => {
                self.with_slot(ask.conversation, |slot, ports| slot.known(ask, result, ports));
            }
            Done::Unplanned(conversation, asks, error) => {
                self.with_slot(conversation, |slot, ports| slot.unplanned(asks, &error, ports));
            }
            Done::Changed(tried) => {
                let conversation = tried.conversation;
                self.with_slot(conversation, |slot, ports| slot.changed(*tried, ports));
                self.note(conversation);
            }
            Done::Labelled(labelled) => {
                let conversation = labelled.conversation;
                self.with_slot(conversation, |slot, ports| slot.labelled(*labelled, ports));
                self.note(conversation);
            }
            Done::Related(related) => {
                let conversation = related.relate.pair.conversation();
                self.with_slot(conversation, |slot, ports| slot.related(*related, ports));
                self.note(conversation);
            }
            Done::Retold(conversation, result) => {
                self.with_slot(conversation, |slot, ports| slot.retold(result, ports));
                self.note(conversation);
            }
            Done::Raised(raising, result) => self.raised(raising, &result),
            Done::Stored(rises, stamp, result) => {
                if let Err(error) = &result {
                    tracing::warn!(%error, marks = rises.len(), "marks could not be stored and will be tried again");
                    self.ports.metrics.store_failures.inc();
                }
                for Rise { conversation, user, to, .. } in rises {
                    if let Some(state) =
                        self.slots.peek_mut(&conversation).and_then(|slot| slot.state.as_mut())
                    {
                        if result.is_ok()
                            && let Some(discretion) = state.stored(user, to)
                        {
                            publish::receipt(state, user, to, None, &discretion, &stamp, &self.ports);
                        }
                        if !state.unstored.is_empty() {
                            self.unstored.insert(conversation);
                        }
                    }
                }
            }
        }
    }

    /// Notes what the conversation needs soon: marks that rose by sending stored, a commit of unknown outcome settled.
    fn note(&mut self, conversation: ConversationId) {
        let Some(slot) = self.slots.peek(&conversation) else { return };
        if slot.state.as_ref().is_some_and(|state| !state.unstored.is_empty()) {
            self.unstored.insert(conversation);
        }
        if !slot.unsettled.is_empty() || slot.retell.is_some() {
            self.unsettled.insert(conversation);
        }
    }

    /// Asks storage what became of commits of which it did not say so.
    fn settle_unknown(&mut self) {
        let turn = Turn {
            ports: &self.ports,
            work: &self.work,
            appends: Vec::new(),
            raising: Vec::new(),
            gathering: Vec::new(),
            stamp: None,
        };
        for conversation in self.unsettled.drain() {
            if let Some(slot) = self.slots.peek_mut(&conversation) {
                slot.settle(conversation, &turn);
            }
        }
    }

    /// The slot of a conversation that was busy, which is over now.
    fn with_slot<T>(
        &mut self,
        conversation: ConversationId,
        then: impl FnOnce(&mut Slot, &Ports) -> T,
    ) -> Option<T> {
        let slot = self.slots.get_mut(&conversation)?;
        slot.busy = false;
        self.touched.push(conversation);
        Some(then(slot, &self.ports))
    }

    fn raised(&mut self, raising: Vec<Raising>, result: &Result<(), waist::Error>) {
        for Raising { mark, rise, stamp } in raising {
            let to = rise.to;
            let slot = self.slots.get_mut(&mark.conversation);
            let mut state = slot.and_then(|slot| slot.state.as_mut());
            if let Some(state) = &mut state
                && (result.is_err() || state.rising.get(&mark.user) == Some(&to))
            {
                state.rising.remove(&mark.user);
            }
            if let Err(error) = result {
                mark.reply.error(&Error::from(error.clone()));
                continue;
            }
            let Some(state) = state else {
                mark.reply.ok(&publish::marked(to));
                continue;
            };
            let before = state.marks(mark.user);
            state.raise(mark.user, to);
            let untold = state.stored(mark.user, to);
            if before.read < to.read && to.read >= state.head.last_seq {
                self.ports.later.read(mark.user, mark.conversation);
            }
            // A message that was sent meanwhile may have raised one of them further: it came before this.
            let stands = state.marks(mark.user);
            if before != stands || untold.is_some() {
                let (user, session) = (mark.user, Some(mark.session));
                publish::receipt(state, user, stands, session, &mark.discretion, &stamp, &self.ports);
            }
            mark.reply.ok(&publish::marked(stands));
            drop(stamp);
        }
    }

    fn store_unstored(&mut self) {
        let stamp = Arc::new(self.ports.changes.begin());
        let mut rises = Vec::new();
        for conversation in self.unstored.drain() {
            if let Some(state) = self.slots.peek_mut(&conversation).and_then(|slot| slot.state.as_mut()) {
                rises.extend(state.unstored_marks(stamp.at()));
            }
        }
        if rises.is_empty() {
            return;
        }
        let tables = self.ports.conversations.clone();
        let work = async move {
            let stored = async {
                stamp.secured().await?;
                tables.raise_marks(&rises).await
            };
            let result = stored.await;
            Done::Stored(rises, stamp, result)
        };
        self.work.push(work.boxed());
    }

    fn evict(&mut self) {
        const MAX: NonZeroUsize = NonZeroUsize::new(SLOTS_MAX).unwrap();
        while self.slots.len() > MAX.get() {
            let Some((conversation, slot)) = self.slots.pop_lru() else { break };
            if !slot.is_idle() {
                // In use after all: it goes to the front, and the next turn tries the one behind it.
                self.slots.push(conversation, slot);
                break;
            }
            self.ports.cards.remove(conversation);
        }
        self.ports.metrics.conversations.set(self.slots.len() as i64);
    }
}

/// Answers a command with an error.
pub fn refuse(command: Command, error: Error) {
    match command {
        Command::Send(draft) | Command::Fresh(draft) => draft.waiter.error(&error),
        Command::Mark(mark) => mark.reply.error(&error),
        Command::View { answer, .. } | Command::Open { answer, .. } => drop(answer.send(Err(error))),
        Command::Stand { answer, .. } => drop(answer.send(Err(error))),
        Command::Members { answer, .. } => drop(answer.send(Err(error))),
        Command::Moderate(moderation) => moderation.refuse(error),
        Command::Asked(asked) => {
            asked.by.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))))
        }
        Command::Held { answer, .. } => drop(answer.send(Err(error))),
        Command::Due { answer, .. } => drop(answer.send(Err(error))),
        Command::Receipts { answer, .. } => drop(answer.send(Err(error))),
        Command::Audience { answer, .. } => drop(answer.send(Err(error))),
        // Nobody waits for it.
        Command::Typing(_) => {}
        Command::Label { answer, .. } => drop(answer.send(Err(error))),
        Command::Relate(relate) => drop(relate.answer.send(Err(error))),
        Command::Change(ask) | Command::New(ask) => ask.reply.error(&error),
        Command::Settle { .. } => {}
    }
}

/// Answers the drafts of a batch that was not appended.
pub fn refuse_batch(batch: Batch, error: &Error) {
    for entry in batch.entries {
        match entry {
            Entry::Accept { draft, .. } => draft.waiter.error(error),
            Entry::Refuse { draft, error } => draft.waiter.error(&error),
            // It was on hold before.
            Entry::Held { draft, on_hold } => draft.waiter.held(&on_hold),
        }
    }
}
