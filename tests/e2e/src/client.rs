//! The people's way in: a client of the protocol over one WebSocket, or over plain HTTP ([`Transport`]).
//!
//! It owns one connection and everything that came over it and was not asked for yet: replies by their id, pushes in
//! their order. It reads only while it is asked for something, so a test decides when a client listens; and it refuses
//! to repair anything: no reconnecting, no retrying.
//!
//! Start with [`Client::connect`], then [`Client::request`] and [`Client::push`].

use crate::{PATIENCE, admin::id, http::Http};
use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        handshake::client::Request,
        protocol::{CloseFrame, WebSocketConfig},
    },
};
use uuid::Uuid;

/// The subprotocol of the contract.
pub const SUBPROTOCOL: &str = "godwit.v1.json";

/// An `error` reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} (temporary: {temporary}, field: {field:?}): {message}")]
pub struct Refusal {
    /// The stable code.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether the same may succeed later.
    pub temporary: bool,
    /// When, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// What was wrong.
    pub field: Option<String>,
}

/// Why something that was asked for did not come.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server answered with an error.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The connection was closed with this code.
    #[error("closed with {0}")]
    Closed(u16),
    /// The connection broke without a close frame.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// It did not come in time.
    #[error("{0} did not come within {PATIENCE:?}")]
    Late(String),
}

impl Failure {
    /// The refusal's code; empty where it is none.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.code,
            _ => "",
        }
    }

    /// The refusal, where it is one.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

type Outcome = Result<Value, Failure>;

/// A message as it was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Where.
    pub conversation: Uuid,
    /// Its number.
    pub seq: u64,
    /// When.
    pub sent_at: u64,
    /// Whether it had been accepted before.
    pub duplicate: bool,
}

/// What a connection may run over: TCP, or TLS within it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// The ways in which the protocol travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the contract's")]
pub enum Transport {
    WebSocket,
    ServerSentEvents,
    LongPoll,
}

impl Transport {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::WebSocket, Self::LongPoll, Self::ServerSentEvents];
}

enum Wire {
    Socket(WebSocketStream<Box<dyn Stream>>),
    Http(Http),
}

/// One connection.
pub struct Client {
    wire: Wire,
    /// What the server said first.
    pub hello: Value,
    /// The answer to `connect`; `null` before.
    pub connected: Value,
    /// Who this is; nil before `connect`.
    pub user: Uuid,
    last_id: u64,
    replies: HashMap<u64, Result<Value, Refusal>>,
    pushes: VecDeque<(String, Value)>,
}

impl Client {
    /// Opens a connection and reads `hello`.
    ///
    /// # Errors
    /// The server refuses the connection, or says something else first.
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream, request(address, &[])?).await
    }

    /// Opens a connection whose receive window is as small as the system allows, for readers that stall.
    ///
    /// # Errors
    /// The server refuses the connection, or says something else first.
    pub async fn open_narrow(address: SocketAddr) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream, request(address, &[])?).await
    }

    /// Opens a connection with this request over a stream that is there already, and reads `hello`.
    ///
    /// # Errors
    /// The server refuses the connection, or says something else first.
    pub async fn over(stream: impl Stream + 'static, request: Request) -> Result<Self> {
        let stream: Box<dyn Stream> = Box::new(stream);
        let config = WebSocketConfig::default().read_buffer_size(16 * 1024);
        let opened = client_async_with_config(request, stream, Some(config));
        let (socket, _) = tokio::time::timeout(PATIENCE, opened).await.context("no handshake")??;
        let mut client = Self::on(Wire::Socket(socket));
        client.hello = client.push("hello").await?;
        Ok(client)
    }

    fn on(wire: Wire) -> Self {
        Self {
            wire,
            hello: Value::Null,
            connected: Value::Null,
            user: Uuid::nil(),
            last_id: 0,
            replies: HashMap::new(),
            pushes: VecDeque::new(),
        }
    }

    /// Opens a connection and connects with this token, from a device of its own.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn connect(address: SocketAddr, token: &str) -> Result<Self> {
        let mut client = Self::open(address).await?;
        client.authenticate(token).await?;
        Ok(client)
    }

    /// As [`Client::connect`], over that transport.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn connect_over(transport: Transport, address: SocketAddr, token: &str) -> Result<Self> {
        let streams = match transport {
            Transport::WebSocket => return Self::connect(address, token).await,
            Transport::ServerSentEvents => true,
            Transport::LongPoll => false,
        };
        let mut client = Self::on(Wire::Http(Http::new(address, token, streams)));
        client.authenticate(token).await?;
        client.hello = client.connected["hello"].take();
        Ok(client)
    }

    /// `connect` with this token on an open connection.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn authenticate(&mut self, token: &str) -> Result<(), Failure> {
        let device = Uuid::new_v4().to_string();
        let connected = self.request("connect", json!({"token": token, "device": {"id": device}})).await?;
        self.user = id(&connected["user"]["id"]).map_err(|error| Failure::Broken(error.to_string()))?;
        self.connected = connected;
        Ok(())
    }

    /// Sends one request and waits for its reply; what comes meanwhile is kept.
    ///
    /// # Errors
    /// An error reply, a closed connection, or no reply in time.
    pub async fn request(&mut self, name: &str, payload: Value) -> Outcome {
        let id = self.post(name, payload).await?;
        self.reply(id).await
    }

    /// Sends one request that must be refused.
    ///
    /// # Errors
    /// It is not refused, or not answered.
    pub async fn refused(&mut self, name: &str, payload: Value) -> Result<Refusal> {
        match self.request(name, payload.clone()).await {
            Err(Failure::Refused(refusal)) => Ok(refusal),
            Ok(ok) => bail!("{name} {payload} was answered with {ok}"),
            Err(other) => Err(anyhow::Error::new(other).context(format!("{name} {payload}"))),
        }
    }

    /// Sends one request without waiting; its id.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn post(&mut self, name: &str, payload: Value) -> Result<u64, Failure> {
        Ok(self.post_all([(name, payload)]).await?[0])
    }

    /// Sends several requests in one frame; their ids.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn post_all<'a>(
        &mut self,
        requests: impl IntoIterator<Item = (&'a str, Value)>,
    ) -> Result<Vec<u64>, Failure> {
        let (mut ids, mut lines) = (Vec::new(), Vec::new());
        for (name, payload) in requests {
            self.last_id += 1;
            ids.push(self.last_id);
            lines.push(json!({"id": self.last_id, name: payload}).to_string());
        }
        self.raw(Message::text(lines.join("\n"))).await?;
        Ok(ids)
    }

    /// Sends this frame as it is.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn raw(&mut self, message: Message) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let sending = async {
            match &mut self.wire {
                Wire::Socket(socket) => socket.send(message).await.map_err(broken),
                Wire::Http(http) => http.send(message.to_text().map_err(broken)?).await,
            }
        };
        let late = |_| Err(Failure::Late("room for a frame".to_owned()));
        timeout_at(deadline, sending).await.unwrap_or_else(late)
    }

    /// Waits for the reply of that id.
    ///
    /// # Errors
    /// An error reply, a closed connection, or no reply in time.
    pub async fn reply(&mut self, id: u64) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(reply) = self.replies.remove(&id) {
                return reply.map_err(Failure::Refused);
            }
            self.read(deadline, || format!("the reply to {id}")).await?;
        }
    }

    /// The reply of that id, if it has come and was not asked for yet.
    pub fn take_reply(&mut self, id: u64) -> Option<Result<Value, Refusal>> {
        self.replies.remove(&id)
    }

    /// Waits for the next push of that name; those of other names are kept.
    ///
    /// # Errors
    /// A closed connection, or no push in time.
    pub async fn push(&mut self, name: &str) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.pushes.iter().position(|(other, _)| other == name) {
                // The position was found just now.
                return Ok(self.pushes.remove(at).map(|(_, payload)| payload).unwrap_or_default());
            }
            self.read(deadline, || format!("a push `{name}`")).await?;
        }
    }

    /// The pushes of that name that have come and were not asked for yet.
    pub fn kept(&self, name: &str) -> Vec<&Value> {
        self.pushes.iter().filter(|(other, _)| other == name).map(|(_, payload)| payload).collect()
    }

    /// All pushes that have come and were not asked for yet, by name, in the order in which they came.
    pub fn heard(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.pushes.iter().map(|(name, payload)| (&**name, payload))
    }

    /// Forgets the pushes that were not asked for yet.
    pub fn forget(&mut self) {
        self.pushes.clear();
    }

    /// Waits until the server closes the connection; the code, 1006 where it broke without one.
    /// Requests and pushes that come before are kept.
    ///
    /// # Errors
    /// It was not closed in time.
    pub async fn closed(&mut self) -> Result<u16> {
        self.closed_within(PATIENCE).await
    }

    /// As [`Client::closed`], with a patience of its own.
    ///
    /// # Errors
    /// It was not closed in time.
    pub async fn closed_within(&mut self, patience: Duration) -> Result<u16> {
        let deadline = Instant::now() + patience;
        loop {
            match self.read(deadline, || "a close".to_owned()).await {
                Ok(()) => {}
                Err(Failure::Closed(code)) => return Ok(code),
                Err(Failure::Broken(_)) => return Ok(1006),
                Err(other) => bail!(other),
            }
        }
    }

    /// Keeps what comes within `span`: for readers that have nothing else to do.
    ///
    /// # Errors
    /// The connection was closed.
    pub async fn listen(&mut self, span: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + span;
        loop {
            match self.read(deadline, String::new).await {
                Ok(()) => {}
                Err(Failure::Late(_)) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }

    /// Reads one frame and files its objects.
    async fn read(&mut self, deadline: Instant, what: impl FnOnce() -> String) -> Result<(), Failure> {
        let reading = async {
            match &mut self.wire {
                Wire::Socket(socket) => Ok(socket.next().await),
                Wire::Http(http) => http.next().await.map(|text| Some(Ok(Message::text(text)))),
            }
        };
        let Ok(frame) = timeout_at(deadline, reading).await else {
            return Err(Failure::Late(what()));
        };
        match frame? {
            Some(Ok(Message::Text(text))) => text.split('\n').try_for_each(|line| self.file(line)),
            Some(Ok(Message::Close(Some(CloseFrame { code, .. })))) => Err(Failure::Closed(code.into())),
            Some(Ok(Message::Close(None))) => Err(Failure::Closed(1005)),
            Some(Ok(Message::Binary(_))) => Err(Failure::Broken("a binary frame came".to_owned())),
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(broken(error)),
            None => Err(Failure::Broken("end of stream".to_owned())),
        }
    }

    fn file(&mut self, line: &str) -> Result<(), Failure> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let wrong = || Failure::Broken(format!("neither reply nor push: {line}"));
        let Ok(Value::Object(mut object)) = serde_json::from_str(line) else { return Err(wrong()) };
        if let Some(id) = object.remove("id") {
            let id = id.as_u64().ok_or_else(wrong)?;
            let reply = match (object.remove("ok"), object.remove("error")) {
                (Some(ok), None) => Ok(ok),
                (None, Some(error)) => Err(refusal(&error).map_err(|_| wrong())?),
                _ => return Err(wrong()),
            };
            if self.replies.insert(id, reply).is_some() && id != 0 {
                return Err(Failure::Broken(format!("a second reply to {id}: {line}")));
            }
            return Ok(());
        }
        let mut payloads = object.into_iter();
        match (payloads.next(), payloads.next()) {
            (Some(push), None) => self.pushes.push_back(push),
            _ => return Err(wrong()),
        }
        Ok(())
    }

    /// Sends text under a new client id and waits for its number.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn send(&mut self, conversation: Uuid, body: &str) -> Result<Sent, Failure> {
        self.send_as(conversation, Uuid::now_v7(), body).await
    }

    /// Sends text under this client id and waits for its number.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn send_as(&mut self, conversation: Uuid, client: Uuid, body: &str) -> Result<Sent, Failure> {
        let ok = self.request("send", text(conversation, client, body)).await?;
        sent(&ok).map_err(|error| Failure::Broken(format!("{error:#}: {ok}")))
    }

    /// The direct conversation with that user.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn direct(&mut self, user: Uuid) -> Result<Uuid> {
        let ok = self.request("direct", json!({"user": user})).await?;
        id(&ok["conversation"]["id"])
    }

    /// A new group with these members.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn group(&mut self, title: &str, members: &[Uuid]) -> Result<Uuid> {
        let create =
            json!({"kind": "group", "client_id": Uuid::now_v7(), "title": title, "members": members});
        let ok = self.request("create", create).await?;
        id(&ok["conversation"]["id"])
    }

    /// Everything after that number that history shows, page by page.
    ///
    /// # Errors
    /// As [`Client::request`]; or pages do not follow one another.
    pub async fn history(&mut self, conversation: Uuid, after_seq: u64) -> Result<Vec<Value>> {
        let (mut all, mut after) = (Vec::new(), after_seq);
        loop {
            let asked = json!({"conversation": conversation, "after_seq": after, "limit": 200});
            let page = self.request("history", asked).await?;
            let messages = page["messages"].as_array().context("messages are a list")?;
            for message in messages {
                let seq = message["seq"].as_u64().context("a number is an integer")?;
                ensure!(seq > after, "a page after {after} shows {seq}");
                after = seq;
            }
            all.extend(messages.iter().cloned());
            if page["more"] != json!(true) {
                return Ok(all);
            }
            ensure!(!messages.is_empty(), "there is more after {after}, but the page is empty");
        }
    }
}

/// The payload of a `send` of text.
pub fn text(conversation: Uuid, client: Uuid, body: &str) -> Value {
    json!({"conversation": conversation, "client_id": client, "body": body})
}

/// Reads the reply to a `send`.
///
/// # Errors
/// A field is missing or of another type.
pub fn sent(ok: &Value) -> Result<Sent> {
    Ok(Sent {
        conversation: id(&ok["conversation"])?,
        seq: ok["seq"].as_u64().context("`seq` is an integer")?,
        sent_at: ok["sent_at"].as_u64().context("`sent_at` is an integer")?,
        duplicate: ok["duplicate"] == json!(true),
    })
}

/// The upgrade request of a client with these headers beside its own.
///
/// # Errors
/// A header cannot be written.
pub fn request(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Request> {
    let mut request = format!("ws://{address}/v1/ws").into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", SUBPROTOCOL.parse()?);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse()?);
    }
    Ok(request)
}

/// Tries to upgrade with this request: the subprotocol that was chosen, or the status of the refusal.
///
/// # Errors
/// No answer came, or none of HTTP.
pub async fn upgrade(address: SocketAddr, request: Request) -> Result<Result<Option<String>, u16>> {
    let stream = TcpStream::connect(address).await?;
    let upgraded = client_async_with_config(request, stream, None);
    match tokio::time::timeout(PATIENCE, upgraded).await.context("no handshake")? {
        Ok((_, response)) => {
            let chosen = response.headers().get("sec-websocket-protocol");
            Ok(Ok(chosen.and_then(|chosen| chosen.to_str().ok()).map(str::to_owned)))
        }
        Err(tungstenite::Error::Http(response)) => Ok(Err(response.status().as_u16())),
        Err(other) => Err(other.into()),
    }
}

fn refusal(error: &Value) -> Result<Refusal> {
    Ok(Refusal {
        code: error["code"].as_str().context("`code` is a string")?.to_owned(),
        message: error["message"].as_str().context("`message` is a string")?.to_owned(),
        temporary: error["temporary"].as_bool().context("`temporary` is a bool")?,
        retry_after_ms: error["retry_after_ms"].as_u64(),
        field: error["field"].as_str().map(str::to_owned),
    })
}

fn broken(error: tungstenite::Error) -> Failure {
    Failure::Broken(error.to_string())
}
