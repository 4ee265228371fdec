//! How a slot carries out changes: of members and of the conversation one at a time, of messages many at once.

use super::{
    Ask, Command, Ports, Wanted,
    conversation::State,
    decide::{Scene, Wish, decide},
    publish,
    relate::blocked,
    revise::{self, Outcomes, Permitted},
    shard::{Done, Turn},
    slot::Slot,
    storage,
};
use crate::{actors::Marked, changes::Stamp, deliver};
use futures_util::{FutureExt, future::join_all};
use godwit_domain::{
    conversation::{Head, Kind, Role, Settings},
    id::{ConversationId, Rev, UserId},
    revision::{Change, Revision},
    waist,
};
use godwit_protocol::error::{Code, Error};
use serde::Serialize;
use std::{collections::HashMap, sync::Arc};

/// Changes of messages that go together: what they say stands in one intent, whose size the waist limits.
const TOGETHER_MAX: usize = 256;
/// Reactions that are gathered into one change.
const GATHERED_MAX: usize = 4_096;
/// The most bytes of new texts that go together.
const TOGETHER_BYTES_MAX: usize = 256 * 1024;

/// A change that was tried.
pub struct Tried {
    pub conversation: ConversationId,
    pub change: Change,
    pub outcomes: Outcomes,
    pub result: Outcome,
    /// What those whom it lets in or out have in their own rows: what they are shown says so.
    pub own: Own,
    pub stamp: Arc<Stamp>,
    /// Held until actors may hear of it.
    pub marked: Vec<Marked>,
}

/// How many messages users hid in a conversation, and what they set for themselves there.
pub type Own = HashMap<UserId, (u64, Settings)>;

/// The answer to a change.
#[derive(Serialize)]
struct Revised {
    rev: Rev,
}

impl Slot {
    /// Begins the change that is asked for, with those behind it that can go along. `new` says that its client id is.
    pub fn change(&mut self, ask: Box<Ask>, new: bool, turn: &mut Turn<'_>) {
        let Some(state) = &self.state else { return self.waiting.push_front(Command::Change(ask)) };
        match &ask.what {
            Wanted::Message(_, revise::Deed::React { .. })
                if deliver::is_large(&turn.ports.limits, state.member_count()) =>
            {
                self.gathering.push(ask);
                turn.gathering.push(state.meta.id);
            }
            Wanted::Message(..) => self.change_messages(ask, turn),
            // Readers come and go without revisions, so that there is nothing to look up.
            Wanted::Members(_) if is_readers(state, &ask) => self.change_readers(ask, turn),
            Wanted::Members(_) if ask.client_id.is_some() && !new => self.look_up(ask, turn),
            Wanted::Members(wish) => {
                let stamp = turn.stamp();
                let scene = Scene {
                    state,
                    by: ask.by,
                    client_id: ask.client_id,
                    at: stamp.at(),
                    members_max: turn.ports.limits.members(state.meta.kind),
                };
                let refused = |change| match (change, &ask.refusal) {
                    (Some(_), Some(error)) => Err(error.clone()),
                    (change, _) => Ok(change),
                };
                match decide(&scene, wish).and_then(refused) {
                    // Readers of a channel whom somebody else lets in or out.
                    Ok(Some(change)) if change.revisions.is_empty() && change.meta.is_none() => {
                        let outcomes = vec![(ask, Ok(state.head.last_rev))];
                        let conversation = state.meta.id;
                        self.admit(conversation, change, outcomes, stamp, turn);
                    }
                    Ok(Some(change)) => {
                        let last = Rev(state.head.last_rev.0 + change.revisions.len() as u64);
                        let (conversation, head) = (ask.conversation, state.head);
                        let outcomes = vec![(ask, Ok(last))];
                        let ports = turn.ports.clone();
                        self.busy = true;
                        let work = async move {
                            let (result, marked) =
                                carry_out(&ports, conversation, head, &change, &stamp).await;
                            let own = own(&ports, conversation, concerned(&change)).await;
                            let tried = Tried { conversation, change, outcomes, result, own, stamp, marked };
                            Done::Changed(Box::new(tried))
                        };
                        turn.work.push(work.boxed());
                    }
                    Ok(None) => {
                        let rev = state.reader(ask.by).map_or(state.head.last_rev, |(_, head)| head.last_rev);
                        ask.reply.ok(&Revised { rev });
                    }
                    Err(error) => {
                        turn.ports.metrics.refused(error.code);
                        ask.reply.error(&error);
                    }
                }
            }
        }
    }

    /// Takes this coming or going of a reader of a channel, and those of others that follow it in the queue.
    fn change_readers(&mut self, first: Box<Ask>, turn: &mut Turn<'_>) {
        let Some(state) = &self.state else { return };
        let (stamp, head, conversation) = (turn.stamp(), state.head, state.meta.id);
        let mut change = Change::default();
        let mut outcomes: Outcomes = Vec::new();
        let mut next = Some(first);
        while let Some(ask) = next.take() {
            let scene = Scene {
                state,
                by: ask.by,
                client_id: None,
                at: stamp.at(),
                // Those who come with it count as well.
                members_max: turn.ports.limits.members(Kind::Channel).saturating_sub(change.members.len()),
            };
            let Wanted::Members(wish) = &ask.what else { break };
            match decide(&scene, wish) {
                Ok(Some(decided)) => {
                    change.members.extend(decided.members);
                    outcomes.push((ask, Ok(head.last_rev)));
                }
                Ok(None) => ask.reply.ok(&Revised { rev: head.last_rev }),
                Err(error) => {
                    turn.ports.metrics.refused(error.code);
                    ask.reply.error(&error);
                }
            }
            let fits = |ask: &Ask| {
                // What one and the same asks is decided one after the other.
                let is_another = |(other, _): &(Box<Ask>, _)| other.by != ask.by;
                is_readers(state, ask) && outcomes.len() < TOGETHER_MAX && outcomes.iter().all(is_another)
            };
            if matches!(self.waiting.front(), Some(Command::Change(ask) | Command::New(ask)) if fits(ask))
                && let Some(Command::Change(ask) | Command::New(ask)) = self.waiting.pop_front()
            {
                next = Some(ask);
            }
        }
        if !outcomes.is_empty() {
            self.admit(conversation, change, outcomes, stamp, turn);
        }
    }

    /// Has readers let in or out of a channel.
    fn admit(
        &mut self,
        conversation: ConversationId,
        change: Change,
        outcomes: Outcomes,
        stamp: Arc<Stamp>,
        turn: &Turn<'_>,
    ) {
        let Some(head) = self.state.as_ref().map(|state| state.head) else { return };
        let ports = turn.ports.clone();
        self.busy = true;
        let work = async move {
            let admitted = async {
                stamp.secured().await?;
                ports.conversations.admit(conversation, &change.members, stamp.at()).await
            };
            let result = admitted.await.map(|()| Some((head, Vec::new())));
            let own = own(&ports, conversation, change.members.iter().map(|member| member.user)).await;
            // No revision tells of it, so that actors have nothing to hear.
            let marked = Vec::new();
            Done::Changed(Box::new(Tried { conversation, change, outcomes, result, own, stamp, marked }))
        };
        turn.work.push(work.boxed());
    }

    /// Takes this change of a message and all that follow it in the queue.
    fn change_messages(&mut self, first: Box<Ask>, turn: &mut Turn<'_>) {
        let Some(state) = &self.state else { return };
        let mut asks = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(ask) = next.take() {
            match permit(state, &ask) {
                Err(error) if ask.client_id.is_none() => {
                    turn.ports.metrics.refused(error.code);
                    ask.reply.error(&error);
                }
                admin => {
                    bytes += text_bytes(&ask);
                    asks.push(Permitted { ask, admin });
                }
            }
            let fits = |ask: &Ask| {
                matches!(ask.what, Wanted::Message(..))
                    && asks.len() < TOGETHER_MAX
                    && bytes + text_bytes(ask) <= TOGETHER_BYTES_MAX
            };
            if matches!(self.waiting.front(), Some(Command::Change(ask)) if fits(ask))
                && let Some(Command::Change(ask)) = self.waiting.pop_front()
            {
                next = Some(ask);
            }
        }
        self.revise(asks, false, turn);
    }

    /// Does what was asked of reactions since the last time, as one revision of each message.
    pub fn flush_reactions(&mut self, turn: &mut Turn<'_>) {
        let Some(state) = &self.state else {
            // They are gathered again once it is loaded.
            self.waiting.extend(self.gathering.drain(..).map(Command::Change));
            return;
        };
        let count = self.gathering.len().min(GATHERED_MAX);
        let mut asks = Vec::with_capacity(count);
        for mut ask in self.gathering.drain(..count) {
            // Doing it again changes nothing.
            ask.client_id = None;
            match permit(state, &ask) {
                Err(error) => {
                    turn.ports.metrics.refused(error.code);
                    ask.reply.error(&error);
                }
                admin => asks.push(Permitted { ask, admin }),
            }
        }
        if !self.gathering.is_empty() {
            turn.gathering.push(state.meta.id);
        }
        self.revise(asks, true, turn);
    }

    fn revise(&mut self, asks: Vec<Permitted>, gathers: bool, turn: &mut Turn<'_>) {
        let Some(state) = &self.state else { return };
        if asks.is_empty() {
            return;
        }
        let (conversation, head, stamp, ports) =
            (state.meta.id, state.head, turn.stamp(), turn.ports.clone());
        self.busy = true;
        let work = async move {
            let planned = revise::plan(&ports, conversation, head, asks, gathers, &stamp).await;
            let (change, outcomes) = match planned {
                Ok(planned) => planned,
                Err((error, asks)) => return Done::Unplanned(conversation, asks, error),
            };
            let (result, marked) = match change.revisions.is_empty() {
                true => (Ok(Some((head, Vec::new()))), Vec::new()),
                false => carry_out(&ports, conversation, head, &change, &stamp).await,
            };
            let own = HashMap::new();
            Done::Changed(Box::new(Tried { conversation, change, outcomes, result, own, stamp, marked }))
        };
        turn.work.push(work.boxed());
    }

    /// Asks storage whether the client id of a change was used.
    fn look_up(&mut self, ask: Box<Ask>, turn: &Turn<'_>) {
        let (Some(state), Some(client)) = (&self.state, ask.client_id) else { return };
        let (ports, head) = (turn.ports.clone(), state.head);
        self.busy = true;
        let work = async move {
            let found = storage::revised(&ports, ask.conversation, head, ask.by, client).await;
            Done::Known(ask, found)
        };
        turn.work.push(work.boxed());
    }

    /// Storage has said what the client id of a change was answered.
    pub fn known(&mut self, ask: Box<Ask>, found: Result<Option<Rev>, waist::Error>, ports: &Ports) {
        match found {
            Ok(None) => self.waiting.push_front(Command::New(ask)),
            Ok(Some(rev)) => {
                ports.metrics.duplicates.inc();
                ask.reply.ok(&Revised { rev });
            }
            Err(error) => {
                ports.metrics.store_failures.inc();
                tracing::error!(%error, conversation = %ask.conversation, "a client id could not be looked up");
                ask.reply.error(&error.into());
            }
        }
    }

    /// What changes are about could not be read: nothing was done.
    pub fn unplanned(&mut self, asks: Vec<Permitted>, error: &waist::Error, ports: &Ports) {
        ports.metrics.store_failures.inc();
        tracing::error!(%error, "the messages of changes could not be read");
        for Permitted { ask, .. } in asks {
            ask.reply.error(&error.clone().into());
        }
    }

    /// A change is durable, or not.
    pub fn changed(&mut self, tried: Tried, ports: &Ports) {
        let Tried { conversation, change, outcomes, result, own, stamp, mut marked } = tried;
        match (result, &mut self.state) {
            (Ok(Some((head, revisions))), Some(state)) => {
                if change.meta.is_none() && revisions.is_empty() && !change.members.is_empty() {
                    let readers = change.members.clone();
                    state.apply(change, head, &revisions);
                    ports.cards.put(conversation, state.card());
                    publish::admitted(state, &readers, &own, &stamp, ports);
                } else {
                    let before = state.audience().clone();
                    let moves = change.moves();
                    state.apply(change, head, &revisions);
                    if moves {
                        ports.cards.put(conversation, state.card());
                    }
                    publish::changed(state, &before, &revisions, &own, &stamp, ports);
                }
                for (ask, outcome) in outcomes {
                    match outcome {
                        Ok(rev) => ask.reply.ok(&Revised { rev }),
                        Err(error) => {
                            ports.metrics.refused(error.code);
                            ask.reply.error(&error);
                        }
                    }
                }
            }
            (Ok(_), state) => {
                tracing::warn!(%conversation, "the head was not as expected; loading again");
                *state = None;
                for (ask, _) in outcomes.into_iter().rev() {
                    self.waiting.push_front(Command::Change(ask));
                }
            }
            (Err(error), _) => {
                ports.metrics.store_failures.inc();
                tracing::error!(%error, %conversation, "a change was not carried out");
                // How far it came is found by loading again, which finishes it.
                self.unsettled.push(stamp.clone());
                self.unheard.append(&mut marked);
                let text = "whether this took effect is not known; the same client_id settles it";
                for (ask, outcome) in outcomes {
                    let unknown = || Error::new(Code::UnknownOutcome, text);
                    ask.reply.error(&outcome.err().unwrap_or_else(unknown));
                }
            }
        }
        drop((stamp, marked));
    }
}

/// Where the conversation stands after a change and what revisions it made; `None` where another one came first.
pub type Outcome = Result<Option<(Head, Vec<Revision>)>, waist::Error>;

/// Changes the conversation; what is given with the outcome is held until actors may hear of it.
pub async fn carry_out(
    ports: &Ports,
    conversation: ConversationId,
    head: Head,
    change: &Change,
    stamp: &Stamp,
) -> (Outcome, Vec<Marked>) {
    let ready = async {
        stamp.secured().await?;
        ports.watch.mark([conversation]).await
    };
    match ready.await {
        Ok(marked) => {
            let changed = ports.conversations.change(conversation, Some(head), change, stamp.at());
            (changed.await, marked)
        }
        Err(error) => (Err(error), Vec::new()),
    }
}

/// Those whom a change lets in or out, or whose role it changes.
fn concerned(change: &Change) -> impl Iterator<Item = UserId> {
    change.revisions.iter().filter_map(|revised| revised.what.concerns())
}

/// Whether this is a reader of a channel, or somebody who would be one, who comes or goes.
fn is_readers(state: &State, ask: &Ask) -> bool {
    let comes_or_goes = matches!(&ask.what, Wanted::Members(Wish::Join(_) | Wish::Leave));
    let is_reader =
        || state.known(ask.by).is_none_or(|member| !member.present() || member.role == Role::Reader);
    state.meta.kind == Kind::Channel && comes_or_goes && ask.refusal.is_none() && is_reader()
}

/// What those have in their own rows whom a change concerns.
async fn own(ports: &Ports, conversation: ConversationId, users: impl Iterator<Item = UserId>) -> Own {
    let connected = users.filter(|user| ports.router.reaches(*user, None));
    let read = connected.map(|user| async move {
        // What cannot be read now is read when the device asks for its list.
        let hidden = ports.conversations.hidden_count(user, conversation).await.unwrap_or_default();
        let settings = ports.conversations.settings(&[(user, conversation)]).await.unwrap_or_default();
        (user, (hidden, settings.into_iter().next().unwrap_or_default()))
    });
    join_all(read).await.into_iter().collect()
}

fn text_bytes(ask: &Ask) -> usize {
    match &ask.what {
        Wanted::Message(_, revise::Deed::Edit(body)) => body.len(),
        _ => 0,
    }
}

/// Whether the asker may do such things to that message at all, and whether they may do to others'.
fn permit(state: &State, ask: &Ask) -> Result<bool, Error> {
    let Wanted::Message(seq, deed) = &ask.what else { return Ok(false) };
    let member = state.member(ask.by)?;
    if !state.visible(member).message(*seq) {
        let text = format!("no message {seq} is to be seen here");
        return Err(Error::new(Code::NotFound, text).field("seq"));
    }
    if member.role == Role::Reader && !matches!(deed, revise::Deed::React { .. }) {
        return Err(Error::new(Code::Forbidden, "readers neither edit nor delete"));
    }
    if state.relation.is_blocked() && matches!(deed, revise::Deed::Edit(_)) {
        return Err(blocked());
    }
    if let Some(error) = &ask.refusal {
        return Err(error.clone());
    }
    Ok(member.role >= Role::Admin && state.meta.kind != Kind::Direct)
}
