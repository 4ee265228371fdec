//! The outbox of a session: bounded by bytes, filled by anyone, drained by the one who owns the connection.
//!
//! It also counts what the session asked and has not been answered, because a reply is what ends a request.
//! When the outbox is full the session is closed as a slow consumer: resuming repairs it, nothing is lost.

use bytes::Bytes;
use godwit_domain::id::{ConversationId, Seq};
use godwit_protocol::{
    encode,
    error::{Close, Code, Error},
};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll, Waker},
};

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
    frames: Vec<Bytes>,
    bytes: usize,
    close: Option<Close>,
    waker: Option<Waker>,
    /// The ids of requests that have no reply yet: few, so a list is the smallest and the fastest.
    in_flight: Vec<u64>,
    gate: Option<Box<Gate>>,
}

/// What gathers for a session whose `connect` is being answered.
#[derive(Default)]
struct Gate {
    pushes: Vec<(Option<(ConversationId, Seq)>, Bytes)>,
}

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
        true
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
    fn wait(&mut self, context: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
    }
}

impl Outbox {
    /// Adds a frame that answers.
    pub fn reply(&self, frame: impl Into<Bytes>) {
        let frame = frame.into();
        self.0.with(|state| {
            if self.0.add(state, &frame) {
                state.frames.push(frame);
            }
        });
    }

    /// Adds a frame that was not asked for; `at` says which message it shows, if one. Behind a shut gate it waits.
    pub fn push(&self, frame: Bytes, at: Option<(ConversationId, Seq)>) {
        self.0.with(|state| {
            if !self.0.add(state, &frame) {
                return;
            }
            match &mut state.gate {
                Some(gate) => gate.pushes.push((at, frame)),
                None => state.frames.push(frame),
            }
        });
    }

    /// Shuts the gate: pushes gather until [`Outbox::open_gate`].
    pub fn shut_gate(&self) {
        self.0.with(|state| state.gate = Some(Box::default()));
    }

    /// Adds the reply to `connect` and opens the gate; pushes of messages that the reply covers are dropped.
    pub fn open_gate(&self, reply: impl Into<Bytes>, covered: &HashMap<ConversationId, Seq>) {
        let reply = reply.into();
        self.0.with(|state| {
            let gathered = state.gate.take().map(|gate| gate.pushes).unwrap_or_default();
            if !self.0.add(state, &reply) {
                return;
            }
            state.frames.push(reply);
            for (at, frame) in gathered {
                let is_covered = at.is_some_and(|(conversation, seq)| {
                    covered.get(&conversation).is_some_and(|last| seq <= *last)
                });
                if is_covered {
                    state.bytes -= frame.len();
                } else {
                    state.frames.push(frame);
                }
            }
        });
    }

    /// Ends the session; what waits is not sent. The first reason stays.
    pub fn close(&self, close: Close) {
        self.0.with(|state| state.close = Some(close));
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
        Ok(Reply { outbox: self.clone(), id, answered: false })
    }

    fn end(&self, id: u64) {
        let mut state = self.0.state.lock();
        if let Some(index) = state.in_flight.iter().position(|other| *other == id) {
            state.in_flight.swap_remove(index);
        }
    }

    /// How many requests wait for their reply.
    pub fn in_flight(&self) -> usize {
        self.0.state.lock().in_flight.len()
    }
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
        frames: &mut Vec<Bytes>,
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
        let mut taken = std::mem::take(&mut state.frames);
        state.bytes = 0;
        drop(state);
        if frames.is_empty() {
            *frames = taken;
        } else {
            frames.append(&mut taken);
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

    /// Takes what waits, without waiting.
    pub fn rest(&mut self) -> Vec<Bytes> {
        let mut state = self.0.state.lock();
        state.bytes = 0;
        std::mem::take(&mut state.frames)
    }
}

/// The duty to answer one request. Dropped without an answer it says `internal`, so that no request is left open.
pub struct Reply {
    outbox: Outbox,
    id: u64,
    answered: bool,
}

impl Reply {
    /// The id of the request.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Answers with a frame that was made for this id.
    pub fn frame(self, frame: Vec<u8>) {
        self.send(frame);
    }

    /// Answers with what was asked for.
    pub fn ok(self, payload: &impl Serialize) {
        let bytes = encode::ok(self.id, payload);
        self.send(bytes);
    }

    /// Answers that it was done.
    pub fn done(self) {
        let bytes = encode::done(self.id);
        self.send(bytes);
    }

    /// Answers why it was not done.
    pub fn error(self, error: &Error) {
        let bytes = encode::error(self.id, error);
        self.send(bytes);
    }

    /// Answers `connect`: see [`Outbox::open_gate`].
    pub fn connected(mut self, payload: &impl Serialize, covered: &HashMap<ConversationId, Seq>) {
        self.answered = true;
        self.outbox.end(self.id);
        self.outbox.open_gate(encode::ok(self.id, payload), covered);
    }

    fn send(mut self, bytes: Vec<u8>) {
        self.answered = true;
        // Before the reply can be seen: who has it may use the id again.
        self.outbox.end(self.id);
        self.outbox.reply(bytes);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered {
            self.outbox.end(self.id);
            let error = Error::new(Code::Internal, "the request was not finished");
            self.outbox.reply(encode::error(self.id, &error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(drain: &mut Drain) -> Result<Vec<Bytes>, Close> {
        let mut frames = Vec::new();
        match drain.poll_next(&mut Context::from_waker(Waker::noop()), &mut frames) {
            Poll::Ready(Err(close)) => Err(close),
            _ => Ok(frames),
        }
    }

    #[test]
    fn frames_come_out_in_order_and_an_overflow_closes() {
        let (outbox, mut drain) = channel(10);
        outbox.reply("four");
        outbox.push(Bytes::from("five!"), None);
        assert_eq!(drained(&mut drain).unwrap(), ["four", "five!"]);
        outbox.reply("a frame over the limit");
        assert_eq!(drained(&mut drain).unwrap().len(), 1);
        outbox.reply("12345678");
        outbox.reply("90a");
        assert_eq!(drained(&mut drain), Err(Close::SlowConsumer));
        outbox.close(Close::Draining);
        assert_eq!(drained(&mut drain), Err(Close::SlowConsumer), "the first reason stays");
    }

    #[test]
    fn a_gate_drops_what_the_reply_covers_and_keeps_the_rest_in_order() {
        let (outbox, mut drain) = channel(1000);
        let conversation = ConversationId::from_u128(1);
        outbox.shut_gate();
        outbox.push(Bytes::from("old"), Some((conversation, Seq(4))));
        outbox.push(Bytes::from("other"), None);
        outbox.push(Bytes::from("new"), Some((conversation, Seq(5))));
        assert_eq!(drained(&mut drain).unwrap(), Vec::<Bytes>::new());
        outbox.open_gate("reply", &HashMap::from([(conversation, Seq(4))]));
        outbox.push(Bytes::from("later"), Some((conversation, Seq(4))));
        assert_eq!(drained(&mut drain).unwrap(), ["reply", "other", "new", "later"]);
    }

    #[test]
    fn a_request_is_answered_exactly_once_even_when_it_is_dropped() {
        let (outbox, mut drain) = channel(1000);
        let reply = outbox.begin(1, 2).ok().unwrap();
        assert!(matches!(outbox.begin(1, 2), Err(Busy::InUse)));
        let second = outbox.begin(2, 2).ok().unwrap();
        assert!(matches!(outbox.begin(3, 2), Err(Busy::Full)));
        second.done();
        drop(reply);
        let frames = drained(&mut drain).unwrap();
        assert_eq!(frames[0], r#"{"id":2,"ok":{}}"#);
        assert!(frames[1].starts_with(br#"{"id":1,"error":{"code":"internal""#));
        assert_eq!(outbox.in_flight(), 0);
    }
}
