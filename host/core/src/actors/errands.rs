//! What plugins want done, carried out: as requests of the plugin's own user, by the same way as anyone's.
//!
//! In order per conversation, whatever version of the plugin is active by then. Each is taken off the queue when its
//! outcome is known; one that is made twice is told from a repeat by its client id.

use super::lane::Lane;
use crate::{
    faults::{self, Fault},
    host::Host,
    outbox::Reply,
    person::Bucket,
    session::{
        Author,
        change::{self, Change},
        send,
    },
};
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use godwit_domain::{
    actor::{Act, EventKind, Fate, Named, Target},
    conversation::direct_id,
    id::{ClientId, ConversationId, Seq, UserId},
    tables::{Cause, Errand, Finished, Letter, Notice, Work},
    time::{Clock, Ms},
    waist,
};
use godwit_protocol::{
    error::{Code, Error},
    request::{self, Delete, Edit, React, Send, Whom},
};
use parking_lot::Mutex;
use serde::Deserialize;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// What a plugin's user may send to one conversation, and in all, per second.
const PER_S: u32 = 10;
const PER_S_IN_ALL: u32 = 50;
/// After so long what was not done is given up: its client id is good for 7 days.
const AGE_MS_MAX: u64 = 6 * 24 * 60 * 60 * 1_000;
/// For how long it is remembered which message a reference means.
const NAMED_MS: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Conversations that are served at once.
const AT_ONCE: usize = 64;
/// After how many milliseconds what could not be done now is tried again at first; it doubles each time.
const RETRY_MS: u64 = 500;
/// And at the latest.
const RETRY_MS_MAX: u64 = 60_000;
/// How often it is looked whether the time for another attempt has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Errands that are read in one page when a lane begins.
const PAGE: usize = 1_000;

/// What waits to be done.
pub struct Queue {
    user: UserId,
    state: Mutex<State>,
    wake: Notify,
    discarded: AtomicBool,
}

#[derive(Default)]
struct State {
    by_place: HashMap<ConversationId, Place>,
    ready: VecDeque<ConversationId>,
    /// Those that refer to a message by the name of a send, and stand behind it.
    named: HashMap<String, ConversationId>,
    len: usize,
    in_all: Bucket,
}

#[derive(Default)]
struct Place {
    errands: VecDeque<Errand>,
    running: bool,
    rate: Bucket,
    wait_until: Option<Ms>,
    attempts: u32,
}

/// What became of an errand for now.
enum Outcome {
    /// It is off the queue; what the plugin is to hear of it.
    Done(Option<Notice>),
    /// Not now.
    Later,
}

impl Queue {
    /// Reads what an earlier life of the host left.
    pub async fn read(work: &dyn Work, plugin: &str, user: UserId) -> Result<Self, waist::Error> {
        let queue =
            Self { user, state: Mutex::default(), wake: Notify::new(), discarded: AtomicBool::new(false) };
        let mut after = 0;
        loop {
            let mut errands = work.errands(plugin, after, PAGE).await?;
            let Some(last) = errands.last() else { return Ok(queue) };
            after = last.n;
            // Those that name a send that is done already follow its message.
            for errand in &mut errands {
                if let Some(reference) = named(&errand.act)
                    && !queue.state.lock().named.contains_key(reference)
                    && let Some((conversation, seq)) = work.named(plugin, reference).await?
                {
                    number(&mut errand.act, conversation, seq);
                }
            }
            queue.push(errands);
        }
    }

    /// Adds what was committed.
    pub fn push(&self, errands: Vec<Errand>) {
        if errands.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for errand in errands {
            let place = state.place(&errand.act, self.user);
            if matches!(errand.act, Act::Send(..)) {
                state.named.insert(errand.reference.clone(), place);
            }
            state.len += 1;
            state.by_place.entry(place).or_default().errands.push_back(errand);
            state.ready.push_back(place);
        }
        drop(state);
        self.wake.notify_one();
    }

    pub fn len(&self) -> usize {
        self.state.lock().len
    }

    pub fn is_empty(&self) -> bool {
        let state = self.state.lock();
        match self.discarded.load(Ordering::SeqCst) {
            true => !state.by_place.values().any(|place| place.running),
            false => state.len == 0,
        }
    }

    /// Nothing of it is to be done any more.
    pub fn discard(&self) {
        self.discarded.store(true, Ordering::SeqCst);
    }

    /// The first errand of a conversation whose turn it is.
    fn next(&self, clock: &dyn Clock) -> Option<(ConversationId, Errand)> {
        let now = clock.now();
        let mut state = self.state.lock();
        let state = &mut *state;
        for _ in 0..state.ready.len() {
            let id = state.ready.pop_front()?;
            let Some(place) = state.by_place.get_mut(&id) else { continue };
            let Some(errand) = place.errands.front().filter(|_| !place.running) else { continue };
            if place.wait_until.is_some_and(|at| at > now) {
                state.ready.push_back(id);
                continue;
            }
            // Each attempt counts: what is refused costs as much as what is not.
            let taken = place.rate.take(now, PER_S, PER_S);
            let taken = taken.and_then(|()| state.in_all.take(now, PER_S_IN_ALL, PER_S_IN_ALL));
            if let Err(ms) =
                taken.or_else(|ms| if faults::on(Fault::SendsUnbounded) { Ok(()) } else { Err(ms) })
            {
                place.wait_until = Some(now.plus(ms));
                state.ready.push_back(id);
                continue;
            }
            place.running = true;
            return Some((id, errand.clone()));
        }
        None
    }

    /// The first errand of that conversation is done, or is to be tried again.
    fn ended(&self, id: ConversationId, outcome: &Outcome, now: Ms) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(place) = state.by_place.get_mut(&id) else { return };
        place.running = false;
        match outcome {
            Outcome::Done(_) => {
                state.len -= 1;
                if let Some(errand) = place.errands.pop_front() {
                    state.named.remove(&errand.reference);
                }
                (place.attempts, place.wait_until) = (0, None);
            }
            Outcome::Later => {
                let wait_ms = RETRY_MS_MAX.min(RETRY_MS << place.attempts.min(16));
                place.wait_until = Some(now.plus(wait_ms));
                place.attempts += 1;
            }
        }
        if place.errands.is_empty() {
            // Its rate is forgotten a second after it matters; until then it stays.
            if place.rate.is_full(now, PER_S) {
                state.by_place.remove(&id);
            }
        } else {
            state.ready.push_back(id);
        }
    }

    fn forget_idle(&self, now: Ms) {
        let mut state = self.state.lock();
        state
            .by_place
            .retain(|_, place| place.running || !place.errands.is_empty() || !place.rate.is_full(now, PER_S));
    }
}

impl State {
    /// Where an errand belongs: behind what it refers to.
    fn place(&self, act: &Act, user: UserId) -> ConversationId {
        let by_message = |message: &Named| match message {
            Named::Number(conversation, _) => *conversation,
            // One that nobody knows is refused wherever it stands.
            Named::Sent(reference) => {
                self.named.get(reference).copied().unwrap_or(ConversationId::from_u128(0))
            }
        };
        match act {
            Act::Send(Target::Conversation(conversation), _) | Act::Typing(conversation) => *conversation,
            Act::Send(Target::User(peer), _) => direct_id(user, *peer),
            Act::Edit(message, _) | Act::Delete(message) | Act::React { message, .. } => by_message(message),
            Act::SetTimer { .. } | Act::CancelTimer(_) => ConversationId::from_u128(0),
        }
    }
}

/// The reference by which an errand names a message.
fn named(act: &Act) -> Option<&str> {
    match act {
        Act::Edit(Named::Sent(reference), _)
        | Act::Delete(Named::Sent(reference))
        | Act::React { message: Named::Sent(reference), .. } => Some(reference),
        _ => None,
    }
}

/// Puts a number in the place of a reference.
fn number(act: &mut Act, conversation: ConversationId, seq: Seq) {
    if let Act::Edit(message, _) | Act::Delete(message) | Act::React { message, .. } = act {
        *message = Named::Number(conversation, seq);
    }
}

/// Carries out what waits, for as long as there is a lane.
pub async fn run(lane: Weak<Lane>) {
    let mut work: FuturesUnordered<BoxFuture<'static, (ConversationId, Outcome)>> = FuturesUnordered::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let Some(lane) = lane.upgrade() else { return };
        let Some(host) = lane.host() else { return };
        let queue = &lane.errands;
        let stopped = queue.discarded.load(Ordering::SeqCst) || host.crew.is_closing();
        while work.len() < AT_ONCE && !stopped {
            let Some((id, errand)) = queue.next(&*lane.clock) else { break };
            let (lane, host) = (lane.clone(), host.clone());
            work.push(Box::pin(async move { (id, carry_out(&lane, &host, errand).await) }));
        }
        drop(host);
        lane.gauge();
        tokio::select! {
            Some((id, outcome)) = work.next(), if !work.is_empty() => {
                lane.errands.ended(id, &outcome, lane.clock.now());
                if let Outcome::Done(Some(notice)) = outcome {
                    lane.notify(notice);
                }
            }
            () = lane.errands.wake.notified() => {}
            _ = looks.tick() => lane.errands.forget_idle(lane.clock.now()),
        }
    }
}

impl Lane {
    fn gauge(&self) {
        let plugin = super::metrics::Plugin { plugin: self.id.clone() };
        self.metrics().queue.get_or_create(&plugin).set(self.errands.len() as i64);
    }
}

/// The answer to a send.
#[derive(Deserialize)]
struct Sent {
    conversation: ConversationId,
    /// Absent where it is on hold.
    seq: Option<Seq>,
}

/// Carries out one errand and takes it off the queue, unless it is to be tried again.
async fn carry_out(lane: &Arc<Lane>, host: &Arc<Host>, errand: Errand) -> Outcome {
    let now = lane.clock.now();
    let done = if now.since(errand.at) > AGE_MS_MAX {
        let days = AGE_MS_MAX / (24 * 60 * 60 * 1_000);
        Err(Error::new(Code::Timeout, format!("it could not be done within {days} days")))
    } else {
        match perform(lane, host, &errand).await {
            Err(error) if error.code.temporary() => {
                tracing::debug!(plugin = lane.id, %error, "what a plugin wants is tried again");
                return Outcome::Later;
            }
            done => done,
        }
    };
    let mut finished = Finished { n: errand.n, ..Finished::default() };
    let place = |act: &Act| match act {
        Act::Send(Target::Conversation(conversation), _) => Some(*conversation),
        Act::Send(Target::User(user), _) => Some(direct_id(lane.user.id, *user)),
        Act::Edit(Named::Number(conversation, _), _)
        | Act::Delete(Named::Number(conversation, _))
        | Act::React { message: Named::Number(conversation, _), .. } => Some(*conversation),
        _ => None,
    };
    let conversation = place(&errand.act);
    let fate = match done {
        Ok(Some(Sent { conversation, seq: Some(seq) })) => {
            let named = (errand.reference.clone(), (conversation, seq), now.plus(NAMED_MS));
            finished.named = Some(named);
            Some(Fate::Accepted(conversation, seq))
        }
        Ok(Some(Sent { seq: None, .. })) => Some(Fate::Held),
        Ok(None) => None,
        Err(error) => {
            let cause = Cause::Errand { reference: errand.reference.clone(), act: name(&errand.act).into() };
            let version = lane.actor().map(|actor| actor.version().to_owned()).unwrap_or_default();
            tracing::warn!(plugin = lane.id, reference = errand.reference, %error, "a plugin may not do this");
            finished.letter = Some(Letter {
                n: 0,
                conversation,
                cause,
                at: errand.at,
                hops: errand.hops,
                dead_at: now,
                attempts: 1,
                version,
                why: error.to_string(),
            });
            let refused = Fate::Refused { code: error.code.as_str().into(), text: error.message };
            matches!(errand.act, Act::Send(..)).then_some(refused)
        }
    };
    let wants = lane.actor().is_some_and(|actor| actor.events().contains(&EventKind::Sent));
    finished.notice = fate.filter(|_| wants && !lane.is_removed()).map(|fate| Notice {
        n: errand.n,
        conversation,
        at: now,
        hops: errand.hops,
        cause: Cause::Sent { reference: errand.reference.clone(), fate },
    });
    let (notice, is_dead) = (finished.notice.clone(), finished.letter.is_some());
    match lane.work.finish(&lane.id, vec![finished]).await {
        Ok(()) => {
            lane.metrics().count(|metrics| &metrics.errands, &lane.id);
            if is_dead {
                lane.metrics().count(|metrics| &metrics.dead, &lane.id);
            }
            Outcome::Done(notice)
        }
        Err(error) => {
            tracing::warn!(%error, plugin = lane.id, "the end of what a plugin wanted could not be stored");
            Outcome::Later
        }
    }
}

fn name(act: &Act) -> &'static str {
    match act {
        Act::Send(..) => "send",
        Act::Edit(..) => "edit",
        Act::Delete(_) => "delete",
        Act::React { .. } => "react",
        Act::Typing(_) => "typing",
        Act::SetTimer { .. } | Act::CancelTimer(_) => "timer",
    }
}

/// Makes the request; of a send what it was answered.
async fn perform(lane: &Arc<Lane>, host: &Arc<Host>, errand: &Errand) -> Result<Option<Sent>, Error> {
    let person = host.people.get(lane.user.id);
    let author = Author { user: &lane.user, person: &person, session: None };
    let (reply, caught) = Reply::caught();
    let client_id = match faults::on(Fault::ErrandsRenamed) {
        true => ClientId(uuid::Uuid::now_v7()),
        false => errand.client_id,
    };
    let change = match &errand.act {
        Act::Send(target, content) => {
            let target = match target {
                Target::Conversation(conversation) => request::Target::Conversation(*conversation),
                Target::User(user) => request::Target::User(*user),
            };
            send::begin(host, author, Send::new(target, client_id, content.clone()), reply).await;
            let unreadable = |error| Error::new(Code::Internal, format!("an answer cannot be read: {error}"));
            let answer = caught.await.unwrap_or_else(|_| Err(stopping()))?;
            return serde_json::from_slice(&answer).map(Some).map_err(unreadable);
        }
        Act::Edit(message, body) => {
            let (conversation, seq) = message_of(lane, message).await?;
            let body = body.clone();
            Change::Edit(Edit { conversation, seq, body, client_id: Some(client_id) })
        }
        Act::Delete(message) => {
            let (conversation, seq) = message_of(lane, message).await?;
            let client_id = Some(client_id);
            Change::Delete(Delete { conversation, seq, r#for: Whom::Everyone, client_id })
        }
        Act::React { message, emoji, on } => {
            let (conversation, seq) = message_of(lane, message).await?;
            let (emoji, on, client_id) = (emoji.clone(), *on, Some(client_id));
            Change::React(React { conversation, seq, emoji, on, client_id })
        }
        Act::Typing(_) | Act::SetTimer { .. } | Act::CancelTimer(_) => return Ok(None),
    };
    let about = match &change {
        Change::Edit(Edit { conversation, seq, .. })
        | Change::Delete(Delete { conversation, seq, .. })
        | Change::React(React { conversation, seq, .. }) => Some((*conversation, *seq)),
        _ => None,
    };
    if let (Some((conversation, seq)), Some(crew)) = (about, lane.crew()) {
        // Before it is done: whoever hears of it asks how many causes away it is.
        crew.note_cause(lane.user.id, conversation, seq, errand.hops);
    }
    change::begin(host, author, change, reply).await;
    caught.await.unwrap_or_else(|_| Err(stopping())).map(|_| None)
}

fn stopping() -> Error {
    Error::new(Code::Unavailable, "the host is stopping")
}

/// The message that is meant.
async fn message_of(lane: &Lane, message: &Named) -> Result<(ConversationId, Seq), Error> {
    match message {
        Named::Number(conversation, seq) => Ok((*conversation, *seq)),
        Named::Sent(reference) => {
            let missing = || {
                let text = format!("no message was accepted of the send `{reference}`");
                Error::new(Code::NotFound, text)
            };
            lane.work.named(&lane.id, reference).await?.ok_or_else(missing)
        }
    }
}
