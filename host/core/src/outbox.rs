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
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
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
    /// Waits for frames and moves them into `frames`, or says why the session ends.
    ///
    /// # Errors
    /// The reason for which the session is to be closed; frames that waited are dropped.
    pub async fn next(&mut self, frames: &mut Vec<Bytes>) -> Result<(), Close> {
        poll_fn(|context| {
            let mut state = self.0.state.lock();
            if let Some(close) = state.close {
                return Poll::Ready(Err(close));
            }
            if state.frames.is_empty() {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    none => *none = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
            frames.append(&mut state.frames);
            // An idle outbox keeps no buffer: there are many of them.
            state.frames = Vec::new();
            state.bytes = 0;
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Takes what waits, without waiting.
    pub fn rest(&mut self) -> Vec<Bytes> {
        let mut state = self.0.state.lock();
        state.bytes = 0;
        std::mem::take(&mut state.frames)
    }

    /// Why the session is to be closed, if it is.
    pub fn closed(&self) -> Option<Close> {
        self.0.state.lock().close
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
    use futures_util::FutureExt;

    fn drained(drain: &mut Drain) -> Result<Vec<Bytes>, Close> {
        let mut frames = Vec::new();
        drain.next(&mut frames).now_or_never().unwrap_or(Ok(())).map(|()| frames)
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
        assert_eq!(drain.closed(), Some(Close::SlowConsumer));
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
