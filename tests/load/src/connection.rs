//! One connection of the generator: cheap enough to run a thousand beside the host on the same two cores.
//!
//! It owns a socket, what is to be sent next on it, and the record of what came back. It runs on one thread, writes
//! without waiting, and takes no more of a frame apart than the record needs.
//! Start with [`Connection::open`], then [`Connection::request`] to set up and [`Connection::send`] to measure.

use crate::{
    message::{self, Body},
    wire::{self, Side},
};
use anyhow::{Context, Result, bail, ensure};
use godwit_e2e::checker::Fingerprint;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::HashMap,
    io::ErrorKind,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{Notify, oneshot},
    time::timeout,
};
use uuid::Uuid;

/// Requests of [`Connection::send`] are numbered from here, so that their replies are found by arithmetic.
const SENDS_FROM: u64 = 1 << 32;
const REPLY_WITHIN: Duration = Duration::from_secs(60);
const INPUT_BYTES: usize = 64 * 1024;
const NARROW_BYTES: u32 = 4096;

/// A message that was sent.
#[derive(Debug, Clone, Copy)]
pub struct Attempt {
    /// What it says.
    pub body: Body,
    /// Its number and when it was told, in microseconds since the run began; absent where it was not.
    pub acknowledged: Option<(u64, u64)>,
}

/// A message that was pushed.
#[derive(Debug, Clone, Copy)]
pub struct Pushed {
    /// Where.
    pub conversation: Uuid,
    /// Its number.
    pub seq: u64,
    /// Who sent it.
    pub sender: Uuid,
    /// Its body as it was sent.
    pub body: Fingerprint,
    /// When it was sent and when it came, in microseconds since the run began.
    pub sent_us: u64,
    /// See `sent_us`.
    pub came_us: u64,
}

/// What a connection went through.
#[derive(Debug, Default)]
pub struct Record {
    /// In the order in which they were sent.
    pub attempts: Vec<Attempt>,
    /// In the order in which they came.
    pub pushes: Vec<Pushed>,
    /// Who came to be online or offline, in the order in which it came.
    pub presence: Vec<(Uuid, bool)>,
    /// Error replies to messages, the first few.
    pub refusals: Vec<String>,
}

/// How many refusals are kept by their text.
const REFUSALS_MAX: usize = 10;

/// One connection.
pub struct Connection {
    stream: TcpStream,
    began: Instant,
    state: RefCell<State>,
    /// Whether each answer is followed by the next message.
    looping: Cell<bool>,
    /// Whether nothing is read any more.
    stalled: Cell<bool>,
    /// Told when one that is stalled is shut.
    released: Notify,
    /// Told whenever a message is answered.
    answered: Notify,
}

#[derive(Default)]
struct State {
    output: Vec<u8>,
    line: Vec<u8>,
    conversation: Uuid,
    waiting: HashMap<u64, oneshot::Sender<String>>,
    last_id: u64,
    in_flight: usize,
    record: Record,
    ended: Option<String>,
}

#[derive(Deserialize)]
struct Line<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    ok: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    presence: Option<Presence>,
}

#[derive(Deserialize)]
struct Presence {
    user: Uuid,
    online: bool,
}

#[derive(Deserialize)]
struct Message<'a> {
    conversation: Uuid,
    seq: u64,
    sender: Uuid,
    #[serde(borrow)]
    body: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Accepted {
    seq: u64,
}

impl Connection {
    /// Opens a connection and begins to read from it. It belongs to the present `LocalSet`.
    ///
    /// # Errors
    /// The upgrade is refused.
    pub async fn open(address: SocketAddr, began: Instant) -> Result<Rc<Self>> {
        Self::over(TcpStream::connect(address).await?, address, began).await
    }

    /// As [`Connection::open`], with a window as small as the system allows: for readers that stall.
    ///
    /// # Errors
    /// The upgrade is refused.
    pub async fn open_narrow(address: SocketAddr, began: Instant) -> Result<Rc<Self>> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(NARROW_BYTES)?;
        Self::over(socket.connect(address).await?, address, began).await
    }

    async fn over(mut stream: TcpStream, address: SocketAddr, began: Instant) -> Result<Rc<Self>> {
        stream.set_nodelay(true)?;
        let rest = timeout(REPLY_WITHIN, wire::ask(&mut stream, address))
            .await
            .context("no answer to the upgrade")??;
        let connection = Rc::new(Self {
            stream,
            began,
            state: RefCell::default(),
            looping: Cell::new(false),
            stalled: Cell::new(false),
            released: Notify::new(),
            answered: Notify::new(),
        });
        let reader = Rc::clone(&connection);
        tokio::task::spawn_local(async move {
            let Err(error) = reader.read(rest).await;
            reader.end(&error);
        });
        Ok(connection)
    }

    /// Sends any request and waits for what it is answered.
    ///
    /// # Errors
    /// An error reply, or none in time.
    pub async fn request(&self, name: &str, payload: Value) -> Result<Value> {
        let (teller, told) = oneshot::channel();
        {
            let mut state = self.state.borrow_mut();
            if let Some(ended) = &state.ended {
                bail!("{ended}");
            }
            state.last_id += 1;
            let id = state.last_id;
            state.waiting.insert(id, teller);
            let line = serde_json::json!({"id": id, name: payload}).to_string();
            wire::put(&mut state.output, Side::Client, wire::TEXT, line.as_bytes());
        }
        self.flush();
        let told = timeout(REPLY_WITHIN, told).await.with_context(|| format!("no reply to {name}"))?;
        let line = told.with_context(|| format!("the connection ended before the reply to {name}"))?;
        let mut reply: Value = serde_json::from_str(&line)?;
        ensure!(reply["error"].is_null(), "{name} was refused: {}", reply["error"]);
        Ok(reply["ok"].take())
    }

    /// `connect` with this token; the user.
    ///
    /// # Errors
    /// It is refused.
    pub async fn authenticate(&self, token: &str) -> Result<Uuid> {
        let connected = self.connect(token, Value::Null).await?;
        godwit_e2e::admin::id(&connected["user"]["id"])
    }

    /// `connect` with this token, where a device left off or `null`; the answer.
    ///
    /// # Errors
    /// It is refused.
    pub async fn connect(&self, token: &str, resume: Value) -> Result<Value> {
        let device = serde_json::json!({"id": "load"});
        self.request("connect", serde_json::json!({"token": token, "device": device, "resume": resume})).await
    }

    /// Ends the connection without a word, as a network that breaks.
    pub fn shut(&self) {
        // One that has ended already is as good.
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
        self.released.notify_one();
    }

    /// Says which conversation's end this is, to the relay.
    pub fn name(&self, conversation: Uuid) {
        let name = conversation.to_string();
        wire::put(&mut self.state.borrow_mut().output, Side::Client, wire::TEXT, name.as_bytes());
        self.flush();
    }

    /// Reads nothing any more, until it is shut.
    pub fn stall(&self) {
        self.stalled.set(true);
    }

    /// Where [`Connection::send`] sends to.
    pub fn enter(&self, conversation: Uuid) {
        self.state.borrow_mut().conversation = conversation;
    }

    /// Sends the next message.
    pub fn send(&self) {
        self.push_message(&mut self.state.borrow_mut());
        self.flush();
    }

    /// Sends the next messages in one piece.
    pub fn send_many(&self, count: usize) {
        for _ in 0..count {
            self.push_message(&mut self.state.borrow_mut());
        }
        self.flush();
    }

    /// Sends a message now, and the next one after each answer.
    pub fn start_loop(&self) {
        self.looping.set(true);
        self.send();
    }

    /// Answers are followed by no more messages.
    pub fn stop_loop(&self) {
        self.looping.set(false);
    }

    /// Waits until every message sent is answered.
    ///
    /// # Errors
    /// The connection ended, or answers do not come.
    pub async fn settle(&self) -> Result<()> {
        loop {
            let answered = self.answered.notified();
            {
                let state = self.state.borrow();
                if let Some(ended) = &state.ended {
                    bail!("{ended}");
                }
                if state.in_flight == 0 {
                    return Ok(());
                }
            }
            timeout(REPLY_WITHIN, answered).await.context("messages are not answered")?;
        }
    }

    /// What happened so far; the connection's own record starts afresh.
    pub fn take_record(&self) -> Record {
        std::mem::take(&mut self.state.borrow_mut().record)
    }

    /// Reads what happened so far.
    pub fn with_record<T>(&self, read: impl FnOnce(&Record) -> T) -> T {
        read(&self.state.borrow().record)
    }

    /// Why the connection ended, if it did.
    pub fn ended(&self) -> Option<String> {
        self.state.borrow().ended.clone()
    }

    /// The present time of the run, in microseconds.
    pub fn now_us(&self) -> u64 {
        // A run of half a million years would overflow.
        self.began.elapsed().as_micros() as u64
    }

    fn push_message(&self, state: &mut State) {
        let body = Body { client: Uuid::now_v7(), sent_us: self.now_us() };
        let id = SENDS_FROM + state.record.attempts.len() as u64;
        state.record.attempts.push(Attempt { body, acknowledged: None });
        state.in_flight += 1;
        state.line.clear();
        message::request(&mut state.line, id, state.conversation, body);
        wire::put(&mut state.output, Side::Client, wire::TEXT, &state.line);
    }

    /// Writes what the socket takes now; the reader's loop writes the rest when there is room again.
    fn flush(&self) {
        let mut state = self.state.borrow_mut();
        while !state.output.is_empty() {
            match self.stream.try_write(&state.output) {
                Ok(count) => drop(state.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    state.ended.get_or_insert_with(|| error.to_string());
                    return;
                }
            }
        }
    }

    fn end(&self, error: &anyhow::Error) {
        let mut state = self.state.borrow_mut();
        state.ended.get_or_insert_with(|| format!("{error:#}"));
        state.waiting.clear();
        self.answered.notify_waiters();
    }

    async fn read(&self, mut input: Vec<u8>) -> Result<std::convert::Infallible> {
        loop {
            let mut read = 0;
            while let Some(frame) = wire::take(&input[read..])? {
                self.take_frame(frame.opcode, &input[read..][frame.payload.clone()])?;
                read += frame.payload.end;
            }
            input.drain(..read);
            self.flush();
            if input.is_empty() {
                // Ten thousand idle connections need no buffers of their own.
                input = Vec::new();
            }
            let waits_for_room = !self.state.borrow().output.is_empty();
            if waits_for_room {
                tokio::select! {
                    ready = self.stream.writable() => { ready?; continue }
                    ready = self.stream.readable() => ready?,
                }
            } else {
                self.stream.readable().await?;
            }
            if self.stalled.get() {
                self.released.notified().await;
                bail!("it was shut while it was stalled");
            }
            input.reserve(if input.is_empty() { 4096 } else { INPUT_BYTES });
            match self.stream.try_read_buf(&mut input) {
                Ok(0) => bail!("the server ended the connection"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_frame(&self, opcode: u8, payload: &[u8]) -> Result<()> {
        match opcode {
            wire::TEXT => {
                for line in str::from_utf8(payload)?.split('\n').filter(|line| !line.is_empty()) {
                    self.take_line(line)?;
                }
                Ok(())
            }
            wire::PING => {
                wire::put(&mut self.state.borrow_mut().output, Side::Client, wire::PONG, payload);
                Ok(())
            }
            wire::PONG => Ok(()),
            wire::CLOSE => {
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                bail!("the server closed the connection with {code}")
            }
            other => bail!("a frame of kind {other} came"),
        }
    }

    fn take_line(&self, line: &str) -> Result<()> {
        let taken: Line<'_> =
            serde_json::from_str(line).with_context(|| format!("cannot be read: {line}"))?;
        let state = &mut *self.state.borrow_mut();
        if let Some(message) = taken.message {
            let (_, body) = message::split(&message.body).context("a push carries a body of a run")?;
            let came_us = self.now_us();
            let sent_us = message::sent_us(body).context("a body begins with its time")?;
            let Message { conversation, seq, sender, .. } = message;
            let body = Fingerprint::of(body);
            state.record.pushes.push(Pushed { conversation, seq, sender, body, sent_us, came_us });
            return Ok(());
        }
        if let Some(Presence { user, online }) = taken.presence {
            state.record.presence.push((user, online));
            return Ok(());
        }
        let Some(id) = taken.id else { return Ok(()) };
        if let Some(teller) = state.waiting.remove(&id) {
            // Who does not wait any more needs no answer.
            let _ = teller.send(line.to_owned());
            return Ok(());
        }
        let index = id.checked_sub(SENDS_FROM).with_context(|| format!("nobody asked: {line}"))?;
        let now_us = self.now_us();
        let attempt = state.record.attempts.get_mut(usize::try_from(index)?);
        let attempt = attempt.with_context(|| format!("nobody sent: {line}"))?;
        match taken.ok {
            Some(ok) => {
                let Accepted { seq } = serde_json::from_str(ok.get())?;
                attempt.acknowledged = Some((seq, now_us));
            }
            None if state.record.refusals.len() < REFUSALS_MAX => state.record.refusals.push(line.to_owned()),
            None => {}
        }
        state.in_flight -= 1;
        if self.looping.get() {
            self.push_message(state);
        } else {
            self.answered.notify_waiters();
        }
        Ok(())
    }
}
