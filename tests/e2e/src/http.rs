//! The protocol over plain HTTP: requests by `POST`, pushes by long poll or as server-sent events.
//!
//! It owns one session's numbers and headers: what was read is acknowledged with the next request for pushes, and a
//! push that was skipped or comes twice is a fault. [`Http`] is what a [`crate::client::Client`] stands on; [`call`] and
//! [`Events`] are for tests that look at single answers.
//!
//! Requests leave one after the other, each when the one before is answered, for that is what keeps their order.

use crate::{PATIENCE, client::Failure};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::{collections::VecDeque, net::SocketAddr};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

/// How long a request for pushes waits for one, in milliseconds: short enough that a test ends soon after its subject.
const WAIT_MS: u64 = 5_000;
/// How many requests may wait to be sent.
const REQUESTS_MAX: usize = 4_096;

/// What came back: the status, the JSON of the body (`null` where there is none), and the headers.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
}

impl Answer {
    /// The code of the error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// The close code of the session that it tells of.
    ///
    /// # Errors
    /// It tells of none.
    pub fn close(&self) -> Result<u16> {
        let gone = self.status == 410 && self.code() == "session_gone";
        ensure!(gone, "{} {}", self.status, self.body);
        Ok(u16::try_from(self.body["close"].as_u64().context("`close` is an integer")?)?)
    }
}

/// Sends a request and reads all of its answer.
///
/// # Errors
/// No answer came.
pub async fn call(request: reqwest::RequestBuilder) -> Result<Answer> {
    let answering = async {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        anyhow::Ok(Answer { status, body, headers })
    };
    timeout(PATIENCE, answering).await.context("no answer came")?
}

/// The headers of a session.
#[derive(Debug, Clone)]
pub struct Way {
    /// What holds the connections.
    pub http: reqwest::Client,
    /// Where the server listens.
    pub address: SocketAddr,
    /// The token of each request.
    pub token: String,
    /// The session; empty before `connect`.
    pub session: String,
}

impl Way {
    /// The way to a server, without a session.
    pub fn new(address: SocketAddr, token: &str) -> Self {
        Self { http: reqwest::Client::new(), address, token: token.to_owned(), session: String::new() }
    }

    /// The way of a new session from a device of its own, and the answer to its `connect`.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn connect(address: SocketAddr, token: &str) -> Result<(Self, Value)> {
        let mut way = Self::new(address, token);
        let connect = json!({"id": 1, "connect": {"token": token, "device": {"id": "d"}}});
        let answer = call(way.post(connect.to_string())).await?;
        ensure!(answer.status == 200, "{answer:?}");
        way.session = answer.body["ok"]["session"].as_str().context("`session` is a string")?.to_owned();
        Ok((way, answer.body))
    }

    /// A request with this body, to be sent.
    pub fn post(&self, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.with_headers(self.http.post(format!("http://{}/v1/rpc", self.address)).body(body))
    }

    /// A request for pushes with this query, to be sent.
    pub fn get(&self, query: &str) -> reqwest::RequestBuilder {
        self.with_headers(self.http.get(format!("http://{}/v1/events{query}", self.address)))
    }

    fn with_headers(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        if self.session.is_empty() {
            return request;
        }
        request.bearer_auth(&self.token).header("Godwit-Session", &self.session)
    }
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A comment.
    Comment,
    /// A push: its number and its text.
    Push(u64, String),
    /// The end of the session: what a request would be answered with.
    Close(Value),
}

/// A stream of events that is open.
pub struct Events {
    response: reqwest::Response,
    /// What was read and is no whole event yet.
    read: Vec<u8>,
}

impl Events {
    /// Opens one with this request; or the answer that is none.
    ///
    /// # Errors
    /// No answer came.
    pub async fn open(request: reqwest::RequestBuilder) -> Result<Result<Self, Answer>> {
        let sending = request.header("accept", "text/event-stream").send();
        let response = timeout(PATIENCE, sending).await.context("no answer came")??;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if status == 200 {
            ensure!(
                headers.get("content-type").is_some_and(|kind| kind == "text/event-stream"),
                "{headers:?}"
            );
            return Ok(Ok(Self { response, read: Vec::new() }));
        }
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        Ok(Err(Answer { status, body, headers }))
    }

    /// The headers of the answer.
    pub fn headers(&self) -> &reqwest::header::HeaderMap {
        self.response.headers()
    }

    /// The next event; `None` at the stream's end. May be dropped and asked again.
    ///
    /// # Errors
    /// The connection broke, or what came is no event.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(end) = self.read.windows(2).position(|window| window == b"\n\n") {
                let event: Vec<_> = self.read.drain(..end + 2).collect();
                return parse(std::str::from_utf8(&event)?.trim_end()).map(Some);
            }
            match self.response.chunk().await? {
                Some(chunk) => self.read.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}

fn parse(event: &str) -> Result<Event> {
    let lines: Vec<_> = event.lines().collect();
    match lines[..] {
        [comment] if comment.starts_with(':') => Ok(Event::Comment),
        ["event: close", data] => {
            let data = data.strip_prefix("data: ").context("the event has data")?;
            Ok(Event::Close(serde_json::from_str(data)?))
        }
        [id, data] => match (id.strip_prefix("id: "), data.strip_prefix("data: ")) {
            (Some(id), Some(data)) => Ok(Event::Push(id.parse()?, data.to_owned())),
            _ => bail!("no event: {event}"),
        },
        _ => bail!("no event: {event}"),
    }
}

/// What became of a request.
type Answered = Result<String, Failure>;

/// One session over HTTP.
pub struct Http {
    way: Way,
    /// The way to the task that sends requests, once there is a session.
    requests: Option<mpsc::Sender<String>>,
    /// That task; it ends with this.
    tasks: JoinSet<()>,
    replies: (mpsc::Sender<Answered>, mpsc::Receiver<Answered>),
    pushes: Pushes,
}

impl Http {
    /// One that takes pushes as they come, or asks for them again and again.
    pub fn new(address: SocketAddr, token: &str, streams: bool) -> Self {
        Self {
            way: Way::new(address, token),
            requests: None,
            tasks: JoinSet::new(),
            replies: mpsc::channel(REQUESTS_MAX),
            pushes: Pushes { streams, stream: None, after: 0, ready: VecDeque::new() },
        }
    }

    /// Sends the requests of these lines. The first one makes the session.
    ///
    /// # Errors
    /// The session is gone.
    pub async fn send(&mut self, lines: &str) -> Result<(), Failure> {
        for line in lines.split('\n') {
            match &self.requests {
                None => self.connect(line).await?,
                Some(requests) => {
                    let gone = |_| Failure::Broken("the session's requests have ended".to_owned());
                    requests.send(line.to_owned()).await.map_err(gone)?;
                }
            }
        }
        Ok(())
    }

    async fn connect(&mut self, line: &str) -> Result<(), Failure> {
        let answer = call(self.way.post(line.to_owned())).await.map_err(broken)?;
        if let Some(session) = answer.body["ok"]["session"].as_str() {
            self.way.session = session.to_owned();
            let (requests, queue) = mpsc::channel(REQUESTS_MAX);
            self.tasks.spawn(forward(self.way.clone(), queue, self.replies.0.clone()));
            self.requests = Some(requests);
        }
        let reply = outcome(&answer).map(|()| answer.body.to_string());
        self.replies.0.send(reply).await.map_err(|_| Failure::Broken("nobody reads".to_owned()))
    }

    /// The next reply or push. May be dropped and asked again: what was not read is not acknowledged.
    ///
    /// # Errors
    /// The session is gone.
    pub async fn next(&mut self) -> Result<String, Failure> {
        tokio::select! {
            biased;
            Some(reply) = self.replies.1.recv() => reply,
            push = self.pushes.next(&self.way), if self.requests.is_some() => push,
            else => Err(Failure::Broken("there is no session".to_owned())),
        }
    }
}

/// Sends requests in their order, each when the one before is answered.
async fn forward(
    way: Way,
    mut requests: mpsc::Receiver<String>,
    replies: mpsc::Sender<Result<String, Failure>>,
) {
    while let Some(request) = requests.recv().await {
        let reply = match call(way.post(request)).await {
            Ok(answer) if answer.status == 204 => continue,
            Ok(answer) => outcome(&answer).map(|()| answer.body.to_string()),
            Err(error) => Err(broken(error)),
        };
        let ended = reply.is_err();
        if replies.send(reply).await.is_err() || ended {
            return;
        }
    }
}

/// A reply object, or how the session ended.
fn outcome(answer: &Answer) -> Result<(), Failure> {
    match answer.status {
        200 => Ok(()),
        _ => match answer.body["close"].as_u64() {
            Some(close) => Err(Failure::Closed(u16::try_from(close).unwrap_or_default())),
            None => Err(Failure::Broken(format!("{} {}", answer.status, answer.body))),
        },
    }
}

struct Pushes {
    streams: bool,
    stream: Option<Events>,
    /// The number of the last push that was read.
    after: u64,
    ready: VecDeque<String>,
}

impl Pushes {
    async fn next(&mut self, way: &Way) -> Result<String, Failure> {
        loop {
            if let Some(push) = self.ready.pop_front() {
                return Ok(push);
            }
            if self.streams { self.read(way).await? } else { self.poll(way).await? }
        }
    }

    fn take(&mut self, n: u64, push: String) -> Result<(), Failure> {
        if n != self.after + 1 {
            return Err(Failure::Broken(format!("push {n} came after {}", self.after)));
        }
        self.after = n;
        self.ready.push_back(push);
        Ok(())
    }

    async fn poll(&mut self, way: &Way) -> Result<(), Failure> {
        let query = format!("?after={}&wait_ms={WAIT_MS}", self.after);
        let answer = call(way.get(&query)).await.map_err(broken)?;
        outcome(&answer)?;
        let wrong = || Failure::Broken(format!("no list of events: {}", answer.body));
        for event in answer.body["events"].as_array().ok_or_else(wrong)? {
            self.take(event["n"].as_u64().ok_or_else(wrong)?, event["push"].to_string())?;
        }
        Ok(())
    }

    async fn read(&mut self, way: &Way) -> Result<(), Failure> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let request = way.get("").header("last-event-id", self.after);
                match Events::open(request).await.map_err(broken)? {
                    Ok(stream) => none.insert(stream),
                    Err(answer) => {
                        outcome(&answer)?;
                        return Ok(());
                    }
                }
            }
        };
        match stream.next().await.map_err(broken)? {
            Some(Event::Comment) => Ok(()),
            Some(Event::Push(n, push)) => self.take(n, push),
            Some(Event::Close(body)) => {
                let close = body["close"].as_u64().and_then(|close| u16::try_from(close).ok());
                Err(close.map_or_else(|| Failure::Broken(body.to_string()), Failure::Closed))
            }
            None => {
                self.stream = None;
                Ok(())
            }
        }
    }
}

fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Broken(format!("{error:#}"))
}
