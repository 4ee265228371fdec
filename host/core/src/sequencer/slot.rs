//! One conversation's place in its shard: what waits for it, what is under way, and how it goes on.
//!
//! Commands are worked off in their order. Sends gather into one batch until something else must come first;
//! while the batch commits the conversation is busy, and the next one gathers.

use super::{
    Ask, Command, Draft, Ports,
    clients::Filter,
    conversation::{State, refers},
    gather::{Stop, gather, reused},
    mark, publish,
    relate::{self, Retell},
    shard::{Done, Turn, refuse, refuse_batch},
    storage::{self, Known, Opened, Unopened},
};
use crate::{actors::Marked, changes::Stamp};
use futures_util::{FutureExt, future::BoxFuture};
use godwit_domain::{
    held::Held,
    id::{ConversationId, UserId},
    message::{Accepted, Message},
    tables::{Append, Appended},
    time::Ms,
    user::User,
    waist,
};
use godwit_protocol::{
    error::{Code, Error},
    object,
};
use std::{collections::VecDeque, sync::Arc};

/// See the module.
#[derive(Default)]
pub struct Slot {
    /// The conversation, once loaded.
    pub state: Option<State>,
    /// Something is under way that must be finished before anything else begins.
    pub busy: bool,
    /// The outcome of a commit is not known. What is in memory was acknowledged and may be shown; nothing is built on
    /// it before storage has said what stands.
    /// These times are held meanwhile: no cursor may pass what may yet turn out to have happened.
    pub unsettled: Vec<Arc<Stamp>>,
    /// The same, for actors: what may have happened is heard once it is known.
    pub unheard: Vec<Marked>,
    /// Whom the conversation is between, where making it is what is unsettled: nobody was shown it yet.
    unopened: Option<Vec<Arc<User>>>,
    /// A change of the relation of its two users of which it is not known whether it happened. Nothing is built on
    /// what is in memory before that is known.
    pub retell: Option<Retell>,
    /// What waits, in order.
    pub waiting: VecDeque<Command>,
    /// Reactions that wait for each other, where too many would be told of each.
    #[expect(clippy::vec_box, reason = "they come boxed and go on so")]
    pub gathering: Vec<Box<Ask>>,
    /// Whether they have waited long enough.
    pub flush: bool,
}

/// Drafts of one conversation that are answered together.
pub struct Batch {
    pub conversation: ConversationId,
    /// What is appended; taken when that begins.
    pub append: Option<Append>,
    /// What is put on hold; taken when that begins. A batch has these or an append.
    pub holds: Vec<Held>,
    /// In the order of arrival.
    pub entries: Vec<Entry>,
    /// Held until what was appended has been told.
    pub stamp: Option<Arc<Stamp>>,
    /// The same, for actors.
    pub marked: Option<Marked>,
}

/// What becomes of a draft when its batch is durable.
pub enum Entry {
    Accept { draft: Box<Draft>, message: Arc<Message> },
    Refuse { draft: Box<Draft>, error: Error },
    Held { draft: Box<Draft>, on_hold: object::OnHold },
}

impl Batch {
    /// Whether it has to be durable before anything else begins.
    fn is_begun(&self) -> bool {
        self.append.is_some() || !self.holds.is_empty()
    }
}

impl Slot {
    /// Whether nothing would be lost by forgetting it.
    pub fn is_idle(&self) -> bool {
        let stored = self.state.as_ref().is_none_or(|state| state.unstored.is_empty());
        let settled = self.unsettled.is_empty() && self.retell.is_none();
        !self.busy && self.waiting.is_empty() && self.gathering.is_empty() && stored && settled
    }

    /// Whether it holds nothing at all: the place of a conversation that does not exist.
    pub fn is_vacant(&self) -> bool {
        self.state.is_none() && self.is_idle()
    }

    /// Works off what waits, as far as it can be without storage.
    pub fn advance(&mut self, conversation: ConversationId, turn: &mut Turn<'_>) {
        if self.busy {
            return;
        }
        self.tend(conversation, turn);
        if self.flush && !self.busy && self.unsettled.is_empty() {
            self.flush = false;
            self.flush_reactions(turn);
            if self.busy {
                return;
            }
        }
        let mut batch = Batch {
            conversation,
            append: None,
            holds: Vec::new(),
            entries: Vec::new(),
            stamp: None,
            marked: None,
        };
        while let Some(command) = self.waiting.pop_front() {
            if self.retell.is_some() && command.changes() {
                self.waiting.push_front(command);
                return self.settle_relation(conversation, turn);
            }
            let Some(state) = &mut self.state else {
                self.waiting.push_front(command);
                self.load(conversation, turn);
                return;
            };
            if !self.unsettled.is_empty() && command.changes() {
                self.waiting.push_front(command);
                self.load(conversation, turn);
                return;
            }
            match command {
                Command::Send(draft) => {
                    let gathered = gather(state, draft, true, &mut batch, turn);
                    if let Err((draft, stop)) = gathered {
                        self.waiting.push_front(Command::Send(draft));
                        self.stop(conversation, stop, &batch, turn);
                        break;
                    }
                }
                Command::Fresh(draft) => {
                    if let Err((draft, stop)) = gather(state, draft, false, &mut batch, turn) {
                        self.waiting.push_front(Command::Fresh(draft));
                        self.stop(conversation, stop, &batch, turn);
                        break;
                    }
                }
                Command::Mark(mark) => mark::begin(state, mark, turn),
                Command::View { user, answer, .. } => drop(answer.send(state.view(user))),
                Command::Stand { user, answer, .. } => drop(answer.send(Ok(state.stand(user)))),
                Command::Members { user, page, answer, .. } => {
                    let page = || state.members_after(page.after).take(page.limit).cloned().collect();
                    drop(answer.send(state.member(user).map(|_| page())));
                }
                Command::Open { opening, answer } => {
                    drop(answer.send(state.view(opening.meta.created_by)));
                }
                Command::Receipts { user, seq, left_out, answer, .. } => {
                    drop(answer.send(state.member(user).map(|_| state.receipts(seq, &left_out))));
                }
                Command::Audience { user, answer, .. } => {
                    drop(answer.send(state.member(user).map(|_| state.audience().clone())));
                }
                Command::Typing(typing) => publish::typing(state, &typing, turn.ports),
                Command::Change(_)
                | Command::New(_)
                | Command::Moderate(_)
                | Command::Asked(_)
                | Command::Held { .. }
                | Command::Due { .. }
                | Command::Relate(_)
                | Command::Label { .. }
                    if batch.is_begun() =>
                {
                    self.waiting.push_front(command);
                    break;
                }
                Command::Relate(relate) => {
                    self.busy = true;
                    turn.work.push(relate::work(turn.ports.clone(), *relate));
                    break;
                }
                Command::Label { labels, answer, .. } => {
                    self.label(labels, answer, turn);
                    if self.busy {
                        break;
                    }
                }
                Command::Held { query, answer } => self.list_held(&query, answer),
                Command::Moderate(moderation) => {
                    self.moderate(*moderation, turn);
                    if self.busy {
                        break;
                    }
                }
                Command::Asked(asked) => {
                    self.asked(*asked, turn);
                    if self.busy {
                        break;
                    }
                }
                Command::Due { answer, .. } => {
                    self.due(answer, turn);
                    if self.busy {
                        break;
                    }
                }
                Command::Change(ask) => {
                    self.change(ask, false, turn);
                    if self.busy {
                        break;
                    }
                }
                Command::New(ask) => {
                    self.change(ask, true, turn);
                    if self.busy {
                        break;
                    }
                }
                Command::Settle { .. } => {}
            }
        }
        if batch.append.is_some() {
            self.busy = true;
            turn.appends.push(batch);
        } else if !batch.holds.is_empty() {
            self.store_held(batch, turn);
        } else {
            // Nothing before these waits for storage: they are answered at once.
            batch.entries.into_iter().for_each(|entry| match entry {
                Entry::Refuse { draft, error } => draft.waiter.error(&error),
                Entry::Held { draft, on_hold } => draft.waiter.held(&on_hold),
                Entry::Accept { .. } => {}
            });
        }
    }

    /// Asks storage for what the first waiting draft needs, unless a batch has to be committed before.
    fn stop(&mut self, conversation: ConversationId, stop: Stop, batch: &Batch, turn: &Turn<'_>) {
        let Some(state) = &self.state else { return };
        if batch.is_begun() {
            return;
        }
        let (ports, head) = (turn.ports.clone(), state.head);
        match stop {
            Stop::Full => {}
            Stop::Clients => {
                self.busy = true;
                let work = async move {
                    let now = ports.clock.now();
                    Done::Clients(conversation, storage::clients(&ports, conversation, head, now).await)
                };
                turn.work.push(work.boxed());
            }
            Stop::LookUpAfter => {
                let Some(Command::Send(draft) | Command::Fresh(draft)) = self.waiting.front() else { return };
                let Some(after) = draft.after else { return };
                let sender = draft.sender.id;
                self.busy = true;
                let work = async move {
                    let found = storage::accepted(&ports, conversation, head, sender, after).await;
                    Done::LookedUpAfter(conversation, found)
                };
                turn.work.push(work.boxed());
            }
            Stop::LookUp => {
                let Some(Command::Send(draft)) = self.waiting.front() else { return };
                let (sender, client) = (draft.sender.id, draft.client_id);
                self.busy = true;
                let work = async move {
                    let found = storage::known(&ports, conversation, head, sender, client).await;
                    Done::LookedUp(conversation, found)
                };
                turn.work.push(work.boxed());
            }
        }
    }

    fn load(&mut self, conversation: ConversationId, turn: &Turn<'_>) {
        self.busy = true;
        let ports = turn.ports.clone();
        let work = async move {
            let result = storage::load(&ports, conversation).await;
            Done::Loaded(conversation, result)
        };
        turn.work.push(work.boxed());
    }

    /// Storage has said what the conversation is.
    pub fn loaded(
        &mut self,
        conversation: ConversationId,
        result: Result<Option<State>, waist::Error>,
        ports: &Ports,
    ) -> Option<BoxFuture<'static, Done>> {
        match result {
            Ok(Some(state)) => {
                ports.cards.put(conversation, state.card());
                self.settled(&state, ports);
                self.state = Some(state);
                self.unheard.clear();
            }
            Ok(None) => return self.missing(conversation, ports),
            Err(error) => self.failed(&error, ports),
        }
        None
    }

    /// Storage has said what became of commits whose outcome was not known: who is connected was not told of them.
    fn settled(&mut self, now: &State, ports: &Ports) {
        let moved = |before: &State| {
            (before.head.last_seq, before.head.last_rev) != (now.head.last_seq, now.head.last_rev)
        };
        if let Some(users) = self.unopened.take() {
            publish::opened(now, &users, self.unsettled.first(), ports);
        } else if !self.unsettled.is_empty() && self.state.as_ref().is_none_or(moved) {
            publish::heads(now, self.unsettled.first(), ports);
        }
        self.unsettled.clear();
    }

    /// Asks storage once more what became of a commit, if that is not known yet.
    pub fn settle(&mut self, conversation: ConversationId, turn: &Turn<'_>) {
        if self.busy {
            return;
        }
        if self.retell.is_some() {
            self.settle_relation(conversation, turn);
        } else if !self.unsettled.is_empty() {
            self.load(conversation, turn);
        }
    }

    /// There is no such conversation: the first that waits makes it, or is told so.
    fn missing(&mut self, conversation: ConversationId, ports: &Ports) -> Option<BoxFuture<'static, Done>> {
        self.unsettled.clear();
        self.unheard.clear();
        self.unopened = None;
        let ports = ports.clone();
        if let Some(Command::Relate(_)) = self.waiting.front() {
            let Some(Command::Relate(relate)) = self.waiting.pop_front() else { return None };
            self.busy = true;
            return Some(relate::work(ports, *relate));
        }
        let work = match self.waiting.front() {
            Some(Command::Open { opening, .. }) => {
                let opening = (**opening).clone();
                async move { Done::Opened(conversation, storage::open(&ports, opening).await) }.boxed()
            }
            Some(Command::Send(draft)) if draft.refusal.is_none() && draft.to.is_some() => {
                let sender = draft.sender.clone();
                let peer = draft.to?;
                if let Err(error) = begins(draft, peer) {
                    if let Some(command) = self.waiting.pop_front() {
                        refuse(command, error);
                    }
                    return None;
                }
                let work = async move {
                    let opening = storage::opening(&ports, sender, peer).await?;
                    storage::open(&ports, opening).await
                };
                work.map(move |result| Done::Opened(conversation, result)).boxed()
            }
            _ => {
                if let Some(command) = self.waiting.pop_front() {
                    let refusal = match &command {
                        Command::Send(draft) | Command::Fresh(draft) => draft.refusal.clone(),
                        _ => None,
                    };
                    refuse(command, refusal.unwrap_or_else(Error::not_found));
                }
                return None;
            }
        };
        self.busy = true;
        Some(work)
    }

    /// Storage has made the conversation, or not.
    pub fn opened(
        &mut self,
        conversation: ConversationId,
        result: Result<Option<Opened>, Unopened>,
        ports: &Ports,
    ) {
        let error = match result {
            Ok(Some(Opened { state, users, stamp, marked })) => {
                ports.cards.put(conversation, state.card());
                publish::opened(&state, &users, Some(&stamp), ports);
                self.state = Some(state);
                return drop(marked);
            }
            // It came to be meanwhile: it is loaded like any other.
            Ok(None) => return,
            Err(Unopened::Refused(error)) => error,
            Err(Unopened::Unknown(storage::Unknown { cause, users, stamp, marked })) => {
                tracing::error!(%cause, %conversation, "whether a conversation was made is not known");
                ports.metrics.store_failures.inc();
                self.unsettled.push(Arc::new(stamp));
                self.unheard.extend(marked);
                self.unopened = Some(users);
                let text = "whether the conversation was made is not known; asking the same again settles it";
                Error::new(Code::UnknownOutcome, text)
            }
        };
        if let Some(command) = self.waiting.pop_front() {
            refuse(command, error);
        }
    }

    /// Storage has said which client ids were used lately.
    pub fn clients_read(&mut self, result: Result<Filter, waist::Error>, ports: &Ports) {
        match (result, &mut self.state) {
            (Ok(filter), Some(state)) => state.clients = Some(filter),
            (Ok(_), None) => {}
            (Err(error), _) => self.failed(&error, ports),
        }
    }

    /// Storage has said what the first draft's client id was answered.
    pub fn looked_up(&mut self, result: Result<Option<Known>, waist::Error>, ports: &Ports) {
        let draft = match self.waiting.pop_front() {
            Some(Command::Send(draft)) => draft,
            Some(other) => return self.waiting.push_front(other),
            None => return,
        };
        match result {
            Ok(None) => self.waiting.push_front(Command::Fresh(draft)),
            Ok(Some(Known::Rejected(rejection))) if rejection.content_hash == draft.content_hash => {
                ports.metrics.duplicates.inc();
                let code = rejection.code.parse().unwrap_or(Code::Moderated);
                draft.waiter.error(&Error { field: rejection.field, ..Error::new(code, rejection.text) });
            }
            Ok(Some(Known::Accepted(accepted))) if accepted.content_hash == draft.content_hash => {
                ports.metrics.duplicates.inc();
                draft.waiter.ok(&object::Sent {
                    conversation: draft.conversation,
                    seq: accepted.seq,
                    sent_at: accepted.sent_at,
                    duplicate: true,
                });
            }
            Ok(Some(_)) => draft.waiter.error(&reused()),
            Err(error) => {
                ports.metrics.store_failures.inc();
                tracing::error!(%error, conversation = %draft.conversation, "a client id could not be looked up");
                draft.waiter.error(&error.into());
            }
        }
    }

    /// Storage has said whether what the first draft comes after was accepted.
    pub fn looked_up_after(&mut self, result: Result<Option<Accepted>, waist::Error>, ports: &Ports) {
        let mut draft = match self.waiting.pop_front() {
            Some(Command::Send(draft) | Command::Fresh(draft)) => draft,
            Some(other) => return self.waiting.push_front(other),
            None => return,
        };
        match result {
            Ok(found) => {
                draft.after = None;
                draft.refusal = draft.refusal.or(found.is_none().then(out_of_turn));
                self.waiting.push_front(Command::Fresh(draft));
            }
            Err(error) => {
                ports.metrics.store_failures.inc();
                tracing::error!(%error, conversation = %draft.conversation, "a client id could not be looked up");
                draft.waiter.error(&error.into());
            }
        }
    }

    /// A batch is durable, or not.
    pub fn appended(&mut self, mut batch: Batch, outcome: Appended, ports: &Ports) {
        match outcome {
            Appended::Yes => {
                let changed_at = batch.stamp.as_ref().map_or(Ms::default(), |stamp| stamp.at());
                let stamp = batch.stamp.as_ref();
                for entry in batch.entries {
                    match entry {
                        Entry::Accept { draft, message } => {
                            self.accepted(*draft, message, changed_at, stamp, ports);
                        }
                        Entry::Refuse { draft, error } => draft.waiter.error(&error),
                        Entry::Held { draft, on_hold } => draft.waiter.held(&on_hold),
                    }
                }
            }
            Appended::Stale => {
                tracing::warn!(conversation = %batch.conversation, "the head was not as expected; loading again");
                self.state = None;
                for entry in batch.entries.into_iter().rev() {
                    let draft = match entry {
                        // It is still on hold, and found there again.
                        Entry::Accept { draft, .. } if draft.waiter.is_release() => {
                            let text = "the conversation is read anew; try again";
                            draft.waiter.error(&Error::new(Code::Unavailable, text));
                            continue;
                        }
                        Entry::Held { draft, .. } => draft,
                        Entry::Accept { mut draft, message } => {
                            draft.content = message.content.clone();
                            draft.verdict = message.verdict.clone();
                            draft
                        }
                        Entry::Refuse { mut draft, error } => {
                            draft.refusal = Some(error);
                            draft
                        }
                    };
                    self.waiting.push_front(Command::Send(draft));
                }
            }
            Appended::Unknown(cause) => {
                tracing::error!(%cause, conversation = %batch.conversation, "the outcome of a commit is not known");
                ports.metrics.store_failures.inc();
                self.unsettled.extend(batch.stamp.clone());
                self.unheard.extend(batch.marked.take());
                let text = "whether this took effect is not known; the same client_id settles it";
                refuse_batch(batch, &Error::new(Code::UnknownOutcome, text));
            }
            Appended::Refused(error) => {
                tracing::error!(%error, conversation = %batch.conversation, "a commit was refused");
                ports.metrics.store_failures.inc();
                self.state = None;
                refuse_batch(batch, &error.into());
            }
        }
    }

    fn accepted(
        &mut self,
        draft: Draft,
        message: Arc<Message>,
        changed_at: Ms,
        stamp: Option<&Arc<Stamp>>,
        ports: &Ports,
    ) {
        let from = publish::From { sender: draft.sender, activity: draft.activity, session: draft.session };
        ports.metrics.messages.inc();
        let (conversation, seq, sent_at) = (message.conversation, message.seq, message.sent_at);
        let sent = object::Sent { conversation, seq, sent_at, duplicate: false };
        let (sender, client_id, is_release) = (message.sender, message.client_id, draft.waiter.is_release());
        if !is_release {
            draft.waiter.ok(&sent);
            if let Some(state) = &mut self.state {
                state.sent(message.clone(), changed_at);
                publish::message(state, &message, from, stamp, ports);
            }
            return;
        }
        if let Some(state) = &mut self.state {
            state.held.accept(sender, client_id);
            state.sent(message.clone(), changed_at);
            publish::message(state, &message, from, stamp, ports);
            let (seq, sent_at) = (Some(seq), Some(sent_at));
            let verdict = object::Verdict { conversation, client_id, seq, sent_at, rejected: None };
            publish::verdict(sender, &verdict, stamp, ports);
        }
        draft.waiter.ok(&sent);
    }

    /// Storage cannot serve this conversation: everyone who waits is told so, but for those who only look at one that
    /// is in memory.
    pub fn failed(&mut self, error: &waist::Error, ports: &Ports) {
        ports.metrics.store_failures.inc();
        tracing::error!(%error, waiting = self.waiting.len(), "a conversation could not be read");
        if self.unsettled.is_empty() {
            self.state = None;
        }
        for command in std::mem::take(&mut self.waiting) {
            if self.state.is_some() && !command.changes() {
                self.waiting.push_back(command);
            } else {
                refuse(command, error.clone().into());
            }
        }
    }
}

/// What the message that comes after a refused one is told.
pub fn out_of_turn() -> Error {
    let text = "the message that this one comes `after` was not accepted";
    Error::new(Code::OutOfTurn, text).field("after")
}

/// Whether a message can be the first of a direct conversation: one that is refused makes none.
fn begins(draft: &Draft, peer: UserId) -> Result<(), Error> {
    refers(&draft.content, |_| false, |user| user == peer || user == draft.sender.id)?;
    draft.after.map_or(Ok(()), |_| Err(out_of_turn()))
}
