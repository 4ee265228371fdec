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
    /// Where conversations stand of which the session was spared a push.
    #[expect(clippy::box_collection, reason = "most sessions have none, and a pointer is a sixth of a map")]
    spared: Option<Box<HashMap<ConversationId, object::Head>>>,
    /// Whether something went out since the last cursor.
    moved: bool,
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
    /// Whether it is the first.
    fn spare(&mut self, head: object::Head) -> bool {
        let first = self.spared.is_none();
        self.spared.get_or_insert_default().insert(head.conversation, head);
        first
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
                    self.spare(at.head);
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
                    state.spare(at.head);
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

    /// Notes where a conversation stands, to be told by [`Outbox::tell_heads`]; whether it is the first such note.
    pub fn spare(&self, head: object::Head) -> bool {
        let mut first = false;
        self.0.with(|state| first = state.spare(head));
        first
    }

    /// Takes back what was noted of a conversation.
    pub fn unspare(&self, conversation: ConversationId) {
        self.0.with(|state| {
            if let Some(spared) = &mut state.spared {
                spared.remove(&conversation);
            }
        });
    }

    /// Tells what was noted. Behind a shut gate it stays.
    pub fn tell_heads(&self) {
        self.0.with(|state| {
            if state.gate.is_some() {
                return;
            }
            if let Some(frame) = take_heads(state)
                && self.0.add(state, &frame)
            {
                state.frames.push(Frame::Push(frame));
            }
        });
    }

    /// Adds the frame of a cursor, after what was noted, if anything went out since the last one.
    pub fn cursor(&self, frame: impl FnOnce() -> Bytes) {
        self.tell_heads();
        self.0.with(|state| {
            if !state.moved || state.gate.is_some() {
                return;
            }
            let frame = frame();
            if self.0.add(state, &frame) {
                state.frames.push(Frame::Push(frame));
                state.moved = false;
            }
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
            if let Some(frame) = take_heads(state)
                && self.0.add(state, &frame)
            {
                state.frames.push(Frame::Push(frame));
            }
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
fn take_heads(state: &mut State) -> Option<Bytes> {
    let mut heads: Vec<_> = state.spared.take()?.into_values().collect();
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
mod tests {
    use super::*;
    use godwit_domain::{id::Rev, time::Ms};

    fn drained(drain: &mut Drain) -> Result<Vec<Bytes>, Close> {
        let mut frames = Vec::new();
        match drain.poll_next(&mut Context::from_waker(Waker::noop()), &mut frames) {
            Poll::Ready(Err(close)) => Err(close),
            _ => Ok(frames.into_iter().map(Frame::into_bytes).collect()),
        }
    }

    #[test]
    fn frames_come_out_in_order_and_an_overflow_closes() {
        let (outbox, mut drain) = channel(10);
        outbox.reply(1, "four");
        outbox.push(Bytes::from("five!"), None);
        assert_eq!(drained(&mut drain).unwrap(), ["four", "five!"]);
        outbox.reply(1, "a frame over the limit");
        assert_eq!(drained(&mut drain).unwrap().len(), 1);
        outbox.reply(1, "12345678");
        outbox.reply(1, "90a");
        assert_eq!(drained(&mut drain), Err(Close::SlowConsumer));
        outbox.close(Close::Draining);
        assert_eq!(drained(&mut drain), Err(Close::SlowConsumer), "the first reason stays");
    }

    fn at(last_seq: u64) -> At {
        let conversation = ConversationId::from_u128(1);
        let head =
            object::Head { conversation, last_seq: Seq(last_seq), last_rev: Rev(0), updated_at: Ms(1) };
        At { head, seq: Some(Seq(last_seq)) }
    }

    #[test]
    fn what_is_too_much_for_a_gate_is_told_as_heads() {
        let (outbox, mut drain) = channel(1000);
        outbox.shut_gate();
        for seq in 1..=100 {
            outbox.push(Bytes::from("m".repeat(100)), Some(at(seq)));
        }
        outbox.push(Bytes::from("other"), None);
        outbox.open_gate(1, "reply", &HashMap::new());
        let frames = drained(&mut drain).unwrap();
        assert_eq!(frames[0], "reply");
        let text: Vec<_> = frames.iter().map(|frame| std::str::from_utf8(frame).unwrap()).collect();
        assert!(text.contains(&"other") && text.len() < 10, "{text:?}");
        assert!(text.last().unwrap().contains(r#""last_seq":100"#), "{text:?}");
    }

    #[test]
    fn a_cursor_follows_what_moved_and_what_was_spared() {
        let (outbox, mut drain) = channel(1000);
        let frame = || Bytes::from("cursor");
        outbox.cursor(frame);
        assert!(drained(&mut drain).unwrap().is_empty());
        assert!(outbox.spare(at(1).head));
        assert!(!outbox.spare(at(2).head));
        outbox.cursor(frame);
        outbox.cursor(frame);
        let frames = drained(&mut drain).unwrap();
        assert!(frames.len() == 2 && frames[0].starts_with(br#"{"heads":[{"#) && frames[1] == "cursor");
    }

    #[test]
    fn a_gate_drops_what_the_reply_covers_and_keeps_the_rest_in_order() {
        let (outbox, mut drain) = channel(1000);
        let conversation = ConversationId::from_u128(1);
        outbox.shut_gate();
        outbox.push(Bytes::from("old"), Some(at(4)));
        outbox.push(Bytes::from("other"), None);
        outbox.push(Bytes::from("new"), Some(at(5)));
        assert_eq!(drained(&mut drain).unwrap(), Vec::<Bytes>::new());
        outbox.open_gate(1, "reply", &HashMap::from([(conversation, Seq(4))]));
        outbox.push(Bytes::from("later"), Some(at(4)));
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

    #[test]
    fn what_is_kept_by_the_transport_counts_until_it_is_released() {
        let (outbox, mut drain) = channel(10);
        let take = |drain: &mut Drain| {
            let mut frames = Vec::new();
            let _ = drain.poll_kept(&mut Context::from_waker(Waker::noop()), &mut frames);
            frames
        };
        outbox.push(Bytes::from("123456"), None);
        assert_eq!(take(&mut drain), [Frame::Push(Bytes::from("123456"))]);
        drain.release(6);
        outbox.reply(7, "1234567");
        assert_eq!(take(&mut drain), [Frame::Reply(7, Bytes::from("1234567"))]);
        outbox.push(Bytes::from("890"), None);
        assert_eq!(take(&mut drain).len(), 1, "just within the limit");
        outbox.push(Bytes::from("a"), None);
        assert_eq!(drained(&mut drain), Err(Close::SlowConsumer));
    }

    #[test]
    fn what_gathers_behind_a_gate_still_counts_when_frames_before_it_are_written() {
        let (outbox, mut drain) = channel(30);
        outbox.push(Bytes::from("hello"), None);
        outbox.shut_gate();
        let at = Some(at(1));
        outbox.push(Bytes::from("12345"), at);
        assert_eq!(drained(&mut drain).unwrap(), ["hello"]);
        outbox.open_gate(1, "reply", &HashMap::from([(ConversationId::from_u128(1), Seq(1))]));
        outbox.push(Bytes::from("67890"), at);
        assert_eq!(drained(&mut drain).unwrap(), ["reply", "67890"]);
    }
}
