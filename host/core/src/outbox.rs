//! The outbox of a session: bounded by bytes, filled by anyone, drained by the one who owns the connection.
//!
//! It also counts what the session asked and has not been answered, because a reply is what ends a request.
//! When the outbox is full the session is closed as a slow consumer: resuming repairs it, nothing is lost.

use crate::registry::At;
use bytes::Bytes;
use godwit_domain::id::{ConversationId, Seq};
use godwit_protocol::{
    encode,
    error::{Close, Code, Error},
    object,
};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::sync::oneshot;

/// What waits to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The answer to the request of that id; of id 0 where the request's own could not be used.
    Reply(u64, Bytes),
    /// What was not asked for.
    Push(Bytes),
}

impl Frame {
    /// Its text, for a transport on which both travel together.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Reply(_, bytes) | Self::Push(bytes) => bytes,
        }
    }
}

/// The side that fills: clonable, never blocks.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

/// The side that drains; there is one.
pub struct Drain(Arc<Shared>);

struct Shared {
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    frames: Vec<Frame>,
    bytes: usize,
    close: Option<Close>,
    waker: Option<Waker>,
    /// The ids of requests that have no reply yet: few, so a list is the smallest and the fastest.
    in_flight: Vec<u64>,
    gate: Option<Box<Gate>>,
    /// Where conversations stand of which the session was spared a push; most sessions have none.
    spared: Option<Box<Spared>>,
    /// Whether something went out since the last cursor.
    moved: bool,
}

/// How soon a session is told where a conversation stands of which it was spared a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Within about a second.
    Soon,
    /// Within half a minute: of large conversations, which go on all the time.
    Slowly,
}

/// Where conversations stand that are to be told.
#[derive(Default)]
struct Spared {
    soon: HashMap<ConversationId, object::Head>,
    slowly: HashMap<ConversationId, object::Head>,
}

/// What gathers for a session whose `connect` is being answered.
#[derive(Default)]
struct Gate {
    pushes: Vec<(Option<At>, Bytes)>,
    /// It was too much: what can be fetched as well is told as heads from then on.
    collapsed: bool,
}

/// What share of the outbox may gather behind a gate before it is told as heads: the reply needs room too.
const GATE_SHARE: usize = 2;

/// An outbox that closes itself when more than `bytes_max` wait in it.
pub fn channel(bytes_max: usize) -> (Outbox, Drain) {
    let shared = Arc::new(Shared { bytes_max, state: Mutex::default() });
    (Outbox(shared.clone()), Drain(shared))
}

impl Shared {
    fn add(&self, state: &mut State, frame: &Bytes) -> bool {
        // A single frame over the limit may pass through an empty outbox: a page of history, say.
        if state.bytes > 0 && state.bytes + frame.len() > self.bytes_max {
            state.close = Some(Close::SlowConsumer);
            state.frames = Vec::new();
            return false;
        }
        state.bytes += frame.len();
        state.moved = true;
        true
    }

    fn add_heads(&self, state: &mut State, slow: bool) {
        if state.gate.is_none()
            && let Some(frame) = take_heads(state, slow)
            && self.add(state, &frame)
        {
            state.frames.push(Frame::Push(frame));
        }
    }

    fn add_cursor(&self, state: &mut State, frame: impl FnOnce() -> Bytes) {
        let owes = state.spared.as_ref().is_some_and(|spared| !spared.slowly.is_empty());
        if !state.moved || state.gate.is_some() || state.close.is_some() || owes {
            return;
        }
        let frame = frame();
        if self.add(state, &frame) {
            state.frames.push(Frame::Push(frame));
            state.moved = false;
        }
    }

    fn with(&self, change: impl FnOnce(&mut State)) {
        let waker = {
            let mut state = self.state.lock();
            if state.close.is_some() {
                return;
            }
            change(&mut state);
            if state.frames.is_empty() && state.close.is_none() { None } else { state.waker.take() }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    /// Whether it is the first of its pace.
    fn spare(&mut self, head: object::Head, pace: Pace) -> bool {
        let Spared { soon, slowly } = &mut **self.spared.get_or_insert_default();
        let conversation = head.conversation;
        if pace == Pace::Soon {
            slowly.remove(&conversation);
        }
        let heads = if pace == Pace::Soon || soon.contains_key(&conversation) { soon } else { slowly };
        heads.insert(conversation, head).is_none() && heads.len() == 1
    }

    /// Turns what gathered behind the gate, and can be fetched as well, into heads.
    fn collapse(&mut self) {
        let Some(gate) = &mut self.gate else { return };
        gate.collapsed = true;
        let gathered = std::mem::take(&mut gate.pushes);
        for (at, frame) in gathered {
            match at {
                Some(at) => {
                    self.bytes -= frame.len();
                    self.spare(at.head, Pace::Soon);
                }
                None => {
                    if let Some(gate) = &mut self.gate {
                        gate.pushes.push((None, frame));
                    }
                }
            }
        }
    }

    fn end(&mut self, id: u64) {
        if let Some(index) = self.in_flight.iter().position(|other| *other == id) {
            self.in_flight.swap_remove(index);
        }
    }

    fn wait(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

impl Outbox {
    /// Answers a request that did not begin, and so is not in flight.
    pub fn reply(&self, id: u64, frame: impl Into<Bytes>) {
        let frame = frame.into();
        self.0.with(|state| {
            if self.0.add(state, &frame) {
                state.frames.push(Frame::Reply(id, frame));
            }
        });
    }

    /// Answers a request that is in flight. Both at once: who sees the reply may use the id again, and who finds the id
    /// free finds the reply.
    fn answer(&self, id: u64, frame: Bytes) {
        self.0.with(|state| {
            state.end(id);
            if self.0.add(state, &frame) {
                state.frames.push(Frame::Reply(id, frame));
            }
        });
    }

    /// Adds a frame that was not asked for; `at` says what it is about, where that can be fetched as well. Behind a
    /// shut gate it waits.
    pub fn push(&self, frame: Bytes, at: Option<At>) {
        self.0.with(|state| {
            if let Some(gate) = &state.gate {
                if !gate.collapsed && state.bytes + frame.len() > self.0.bytes_max / GATE_SHARE {
                    state.collapse();
                }
                if let (Some(Gate { collapsed: true, .. }), Some(at)) = (state.gate.as_deref(), at) {
                    state.spare(at.head, Pace::Soon);
                    return;
                }
            }
            if !self.0.add(state, &frame) {
                return;
            }
            match &mut state.gate {
                Some(gate) => gate.pushes.push((at, frame)),
                None => state.frames.push(Frame::Push(frame)),
            }
        });
    }

    /// Notes where a conversation stands, to be told by [`Outbox::tell_heads`], or slowly by
    /// [`Outbox::tell_all`]; whether it is the first note of that pace.
    pub fn spare(&self, head: object::Head, pace: Pace) -> bool {
        let mut first = false;
        self.0.with(|state| first = state.spare(head, pace));
        first
    }

    /// Takes back what was noted of a conversation.
    pub fn unspare(&self, conversation: ConversationId) {
        self.0.with(|state| {
            if let Some(spared) = &mut state.spared {
                spared.soon.remove(&conversation);
                spared.slowly.remove(&conversation);
            }
        });
    }

    /// Tells what was noted to be told soon. Behind a shut gate it stays.
    pub fn tell_heads(&self) {
        self.0.with(|state| self.0.add_heads(state, false));
    }

    /// Adds the frame of a cursor, after what was noted to be told soon, if anything went out since the last one. Where
    /// something is to be told slowly there is none: it would cover that. It comes with [`Outbox::tell_all`].
    pub fn cursor(&self, frame: impl FnOnce() -> Bytes) {
        self.0.with(|state| {
            self.0.add_heads(state, false);
            self.0.add_cursor(state, frame);
        });
    }

    /// As [`Outbox::cursor`], after all that was noted.
    pub fn tell_all(&self, frame: impl FnOnce() -> Bytes) {
        self.0.with(|state| {
            self.0.add_heads(state, true);
            self.0.add_cursor(state, frame);
        });
    }

    /// Shuts the gate: pushes gather until [`Outbox::open_gate`].
    pub fn shut_gate(&self) {
        self.0.with(|state| state.gate = Some(Box::default()));
    }

    /// Adds the reply to `connect`, the request of that id, and opens the gate; pushes of messages that the reply
    /// covers are dropped.
    pub fn open_gate(&self, id: u64, reply: impl Into<Bytes>, covered: &HashMap<ConversationId, Seq>) {
        let reply = reply.into();
        self.0.with(|state| {
            state.end(id);
            let gathered = state.gate.take().map(|gate| gate.pushes).unwrap_or_default();
            if !self.0.add(state, &reply) {
                return;
            }
            state.frames.push(Frame::Reply(id, reply));
            for (at, frame) in gathered {
                let is_covered = at.is_some_and(|at| {
                    let last = covered.get(&at.head.conversation);
                    at.seq.zip(last).is_some_and(|(seq, last)| seq <= *last)
                });
                if is_covered {
                    state.bytes -= frame.len();
                } else {
                    state.frames.push(Frame::Push(frame));
                }
            }
            self.0.add_heads(state, true);
        });
    }

    /// Ends the session; what waits is not sent. The first reason stays.
    pub fn close(&self, close: Close) {
        self.0.with(|state| state.close = Some(close));
    }

    /// Why the session has ended, if it has.
    pub fn closed(&self) -> Option<Close> {
        self.0.state.lock().close
    }

    /// Takes `id` as in flight; `None` where it is in use already or `max` are in flight.
    pub fn begin(&self, id: u64, max: usize) -> Result<Reply, Busy> {
        let mut state = self.0.state.lock();
        if state.in_flight.contains(&id) {
            return Err(Busy::InUse);
        }
        if state.in_flight.len() >= max {
            return Err(Busy::Full);
        }
        state.in_flight.push(id);
        drop(state);
        Ok(Reply { to: Some(To::Session(self.clone())), id })
    }

    /// How many requests wait for their reply.
    pub fn in_flight(&self) -> usize {
        self.0.state.lock().in_flight.len()
    }
}

/// The push of what was noted, ordered by conversation.
fn take_heads(state: &mut State, slow: bool) -> Option<Bytes> {
    let spared = state.spared.as_mut()?;
    let mut heads: Vec<_> = spared.soon.drain().map(|(_, head)| head).collect();
    if slow {
        heads.extend(spared.slowly.drain().map(|(_, head)| head));
    }
    if spared.slowly.is_empty() {
        state.spared = None;
    }
    if heads.is_empty() {
        return None;
    }
    heads.sort_unstable_by_key(|head| head.conversation);
    Some(encode::push("heads", &heads).into())
}

/// Why a request cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Its id is in flight.
    InUse,
    /// Too many are in flight.
    Full,
}

impl Drain {
    /// Moves the frames that wait into `frames`, or says why the session ends; what waited is then left behind.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        frames: &mut Vec<Frame>,
    ) -> Poll<Result<(), Close>> {
        self.poll(context, frames, |state| {
            // What gathers behind the gate goes on counting.
            state.bytes =
                state.gate.as_ref().map_or(0, |gate| gate.pushes.iter().map(|(_, frame)| frame.len()).sum());
        })
    }

    /// As [`Drain::poll_next`], but what is taken goes on counting until it is released: for a transport on which it
    /// waits for the client to come and fetch it.
    pub fn poll_kept(
        &mut self,
        context: &mut Context<'_>,
        frames: &mut Vec<Frame>,
    ) -> Poll<Result<(), Close>> {
        self.poll(context, frames, |_| {})
    }

    /// Makes room for as many bytes as were taken by [`Drain::poll_kept`] and are gone now.
    pub fn release(&mut self, bytes: usize) {
        let mut state = self.0.state.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        frames: &mut Vec<Frame>,
        taken: impl FnOnce(&mut State),
    ) -> Poll<Result<(), Close>> {
        let mut state = self.0.state.lock();
        if let Some(close) = state.close {
            return Poll::Ready(Err(close));
        }
        if state.frames.is_empty() {
            state.wait(context);
            return Poll::Pending;
        }
        // An idle outbox keeps no buffer: there are many of them.
        let mut gathered = std::mem::take(&mut state.frames);
        taken(&mut state);
        drop(state);
        if frames.is_empty() {
            *frames = gathered;
        } else {
            frames.append(&mut gathered);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the session ends; what waits stays.
    pub fn poll_closed(&mut self, context: &mut Context<'_>) -> Poll<Close> {
        let mut state = self.0.state.lock();
        if let Some(close) = state.close {
            return Poll::Ready(close);
        }
        state.wait(context);
        Poll::Pending
    }

    /// Takes what waits, without waiting; it goes on counting until it is released.
    pub fn rest(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.0.state.lock().frames)
    }

    /// Whether the request of that id waits for its reply.
    pub fn awaits(&self, id: u64) -> bool {
        self.0.state.lock().in_flight.contains(&id)
    }
}

/// The duty to answer one request. Dropped without an answer it says `internal`, so that no request is left open.
pub struct Reply {
    /// Until it is answered.
    to: Option<To>,
    id: u64,
}

/// What a request that the host made by itself was answered: the payload, or why not.
pub type Caught = oneshot::Receiver<Result<Vec<u8>, Error>>;

enum To {
    Session(Outbox),
    Host(oneshot::Sender<Result<Vec<u8>, Error>>),
}

impl Reply {
    /// The reply to a request that the host makes by itself, on behalf of a plugin.
    pub fn caught() -> (Self, Caught) {
        let (answer, caught) = oneshot::channel();
        (Self { to: Some(To::Host(answer)), id: 0 }, caught)
    }

    /// The id of the request.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Answers with a frame that was made for this id.
    pub fn frame(mut self, frame: Vec<u8>) {
        match self.to.take() {
            Some(To::Session(outbox)) => outbox.answer(self.id, frame.into()),
            Some(To::Host(answer)) => drop(answer.send(Ok(frame))),
            None => {}
        }
    }

    /// Answers with what was asked for.
    pub fn ok(self, payload: &impl Serialize) {
        let unwritten = |error| Error::new(Code::Internal, format!("an answer cannot be written: {error}"));
        self.send(|id| encode::ok(id, payload), || serde_json::to_vec(payload).map_err(unwritten));
    }

    /// Answers that it was done.
    pub fn done(self) {
        self.send(encode::done, || Ok(b"{}".to_vec()));
    }

    /// Answers why it was not done.
    pub fn error(self, error: &Error) {
        self.send(|id| encode::error(id, error), || Err(error.clone()));
    }

    /// Answers `connect`: see [`Outbox::open_gate`].
    pub fn connected(mut self, payload: &impl Serialize, covered: &HashMap<ConversationId, Seq>) {
        if let Some(To::Session(outbox)) = self.to.take() {
            outbox.open_gate(self.id, encode::ok(self.id, payload), covered);
        }
    }

    fn send(mut self, frame: impl FnOnce(u64) -> Vec<u8>, payload: impl FnOnce() -> Result<Vec<u8>, Error>) {
        match self.to.take() {
            Some(To::Session(outbox)) => outbox.answer(self.id, frame(self.id).into()),
            // Who asked may have given up.
            Some(To::Host(answer)) => drop(answer.send(payload())),
            None => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(To::Session(outbox)) = self.to.take() {
            let error = Error::new(Code::Internal, "the request was not finished");
            outbox.answer(self.id, encode::error(self.id, &error).into());
        }
    }
}

#[cfg(test)]
mod tests;
