//! WebSockets: from the upgrade to the close frame.
//!
//! It owns the loop that moves frames between a stream and its session: limits before decoding, batches out, pings,
//! and the ways in which a socket ends. What a frame means it leaves to the session.
//!
//! One task per socket, polled by hand: reading, writing and the session's work go on side by side, so that a slow
//! reader still pings and a slow plugin still lets pushes through. While a frame is being worked off no other is read,
//! which is how a client that asks too fast is slowed down.

use crate::{
    Gateway,
    answer::{Body, Failure, Request, Response},
    listener::Place,
    origin,
    stream::Stream,
};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream as _, future::BoxFuture};
use godwit_core::{
    domain::time::Clock,
    outbox::{Drain, Frame},
    session::Session,
};
use godwit_protocol::{
    SUBPROTOCOL,
    error::{Close, Code, Error},
};
use hyper::{HeaderMap, StatusCode, header, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, Sleep},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message, Utf8Bytes,
        error::CapacityError,
        handshake::server::create_response_with_body,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

/// How long a client has for its `connect`.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Up to how many bytes frames are joined into one; a larger one travels alone.
const JOINED_BYTES_MAX: usize = 32 << 10;
/// What is read from a stream at once. Larger buffers are filled with zeros for every read, and idle sockets keep them.
const READ_BUFFER_BYTES: usize = 1 << 10;
/// The largest frame that the host itself makes, with room to spare.
const OWN_FRAME_BYTES_MAX: usize = 2 << 20;
/// How long a closing handshake may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<Stream>;

/// Answers `GET /v1/ws`: checks origin, subprotocol and handshake, and lets a socket take over the connection.
pub(crate) fn upgrade(gateway: &Arc<Gateway>, mut request: Request) -> Result<Response, Failure> {
    origin::check(request.headers(), &gateway.options.origins)?;
    if gateway.host.is_draining() {
        return Err(Failure::draining());
    }
    let protocol = chosen_protocol(request.headers())?;
    let mut response: Response = create_response_with_body(&request, Body::default).map_err(|error| {
        Failure::from(Error::new(Code::Invalid, format!("this is no WebSocket handshake: {error}")))
    })?;
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let gateway = gateway.clone();
    let place = request.extensions_mut().remove::<Place>();
    let upgraded = hyper::upgrade::on(&mut request);
    // In a task of its own, and boxed: hyper's state goes with it, and an idle socket keeps none of it.
    tokio::spawn(Box::pin(async move {
        match upgraded.await {
            Ok(upgraded) => start(gateway, upgraded, place).await,
            Err(error) => tracing::debug!(%error, "a connection did not become a socket"),
        }
    }));
    Ok(response)
}

async fn start(gateway: Arc<Gateway>, upgraded: Upgraded, place: Option<Place>) {
    let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
        tracing::error!("an upgraded connection is no stream of a listener");
        return;
    };
    let max = gateway.options.frame_bytes_max;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(JOINED_BYTES_MAX)
        .max_write_buffer_size(gateway.options.outbox_bytes_max + OWN_FRAME_BYTES_MAX)
        .max_message_size(Some(max))
        .max_frame_size(Some(max));
    // Copied, though it is empty as a rule: turned into a vector, hyper's whole buffer would stay with the socket.
    let (stream, read) = (parts.io.into_inner(), parts.read_buf.to_vec());
    let socket = WebSocketStream::from_partially_read(stream, read, Role::Server, Some(config)).await;
    let (session, drain) = gateway.host.open_session();
    let ping_interval = Duration::from_millis(gateway.options.ping_interval_ms.max(1));
    let connection = Connection::new(socket, session, drain, gateway.host.clock(), ping_interval);
    tokio::spawn(Box::new(connection).run(place));
}

/// Ours where it is offered, none where nothing is.
fn chosen_protocol(headers: &HeaderMap) -> Result<Option<header::HeaderValue>, Failure> {
    let mut offered = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .peekable();
    if offered.peek().is_none() {
        return Ok(None);
    }
    if offered.any(|protocol| protocol == SUBPROTOCOL) {
        return Ok(Some(header::HeaderValue::from_static(SUBPROTOCOL)));
    }
    let error =
        Error::new(Code::Invalid, format!("the subprotocol `{SUBPROTOCOL}` is not among those offered"));
    Err(Failure::with_status(StatusCode::BAD_REQUEST, error))
}

struct Connection {
    socket: Socket,
    drain: Drain,
    clock: Arc<dyn Clock>,
    /// Absent while it works off a frame.
    session: Option<Session>,
    working: Option<BoxFuture<'static, (Session, Result<(), Close>)>>,
    /// Frames taken from the outbox.
    frames: Vec<Frame>,
    /// Something is written and not yet flushed; nothing else is taken from the outbox meanwhile.
    flushing: bool,
    ping_interval: Duration,
    opened: Instant,
    last_life: Instant,
    next_ping: Instant,
    timer: Pin<Box<Sleep>>,
}

/// How a socket ends.
enum End {
    /// The peer is gone, or said farewell.
    Gone,
    /// The host closes it.
    Close(Close),
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

impl From<tungstenite::Error> for End {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                Self::Close(Close::TooLarge)
            }
            tungstenite::Error::Utf8(_) => Self::Close(Close::NotUtf8),
            tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Gone
            }
            tungstenite::Error::Protocol(_) => Self::Close(Close::Protocol),
            _ => Self::Gone,
        }
    }
}

impl Connection {
    fn new(
        socket: Socket,
        session: Session,
        drain: Drain,
        clock: Arc<dyn Clock>,
        ping_interval: Duration,
    ) -> Self {
        let now = Instant::now();
        Self {
            socket,
            drain,
            clock,
            session: Some(session),
            working: None,
            frames: Vec::new(),
            flushing: false,
            ping_interval,
            opened: now,
            last_life: now,
            next_ping: now + ping_interval,
            timer: Box::pin(tokio::time::sleep_until(now + CONNECT_WITHIN.min(ping_interval))),
        }
    }

    async fn run(mut self: Box<Self>, _place: Option<Place>) {
        let end = poll_fn(|context| self.poll(context)).await;
        // What was being worked off is given up; none of it has been acknowledged.
        self.working = None;
        if let (End::Close(close), Some(session)) = (&end, &self.session) {
            session.closed(*close);
        }
        // Bounded in time: a peer that reads nothing does not hold the socket. Boxed: an idle socket needs no room for it.
        let farewell = Box::pin(self.say_farewell(end));
        let _ = tokio::time::timeout(CLOSE_WITHIN, farewell).await;
    }

    /// Goes on as far as possible in every direction; ready when the socket has to end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            match self.step(context) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(end) => return Poll::Ready(end),
            }
        }
    }

    /// One step in each direction; whether another may be possible at once.
    fn step(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        let moved = self.step_work(context)? | self.step_in(context)? | self.step_out(context)?;
        if self.timer.as_mut().poll(context).is_pending() {
            return Ok(moved);
        }
        self.on_time(context)?;
        Ok(true)
    }

    fn step_work(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        let Some(working) = &mut self.working else { return Ok(false) };
        let Poll::Ready((session, result)) = working.as_mut().poll(context) else { return Ok(false) };
        self.working = None;
        self.session = Some(session);
        result?;
        self.last_life = Instant::now();
        self.arm();
        Ok(true)
    }

    fn step_in(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        let Some(session) = self.session.take() else { return Ok(false) };
        let Poll::Ready(message) = Pin::new(&mut self.socket).poll_next(context) else {
            self.session = Some(session);
            return Ok(false);
        };
        self.last_life = Instant::now();
        if let Some(Ok(Message::Text(text))) = message {
            self.working = Some(Box::pin(receive(session, text)));
            return Ok(true);
        }
        self.session = Some(session);
        match message {
            None | Some(Ok(Message::Close(_))) => Err(End::Gone),
            Some(Err(error)) => Err(error.into()),
            Some(Ok(Message::Binary(_))) => Err(Close::Malformed.into()),
            // The answer to a ping is in the buffer already.
            Some(Ok(_)) => {
                self.flushing = true;
                Ok(true)
            }
        }
    }

    fn step_out(&mut self, context: &mut Context<'_>) -> Result<bool, End> {
        if self.flushing {
            match Pin::new(&mut self.socket).poll_flush(context) {
                Poll::Ready(result) => result?,
                // The outbox is asked all the same, so that its closing is noticed; what it holds stays there.
                Poll::Pending => match self.drain.poll_closed(context) {
                    Poll::Ready(close) => return Err(close.into()),
                    Poll::Pending => return Ok(false),
                },
            }
            self.flushing = false;
        }
        match self.drain.poll_next(context, &mut self.frames) {
            Poll::Pending => return Ok(false),
            Poll::Ready(result) => result?,
        }
        self.write_frames(context)?;
        Ok(true)
    }

    /// Writes the frames that were taken, joining small ones: one WebSocket frame for many objects.
    fn write_frames(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        let mut joined = String::new();
        let frames = std::mem::take(&mut self.frames);
        let alone = frames.len() == 1;
        for frame in frames {
            let Ok(text) = Utf8Bytes::try_from(frame.into_bytes()) else {
                tracing::error!("a frame of the host's own is not UTF-8");
                return Err(Close::Internal.into());
            };
            if alone || text.len() >= JOINED_BYTES_MAX {
                self.write_joined(context, &mut joined)?;
                self.write(context, Message::Text(text))?;
                continue;
            }
            if joined.len() + 1 + text.len() > JOINED_BYTES_MAX {
                self.write_joined(context, &mut joined)?;
            }
            if !joined.is_empty() {
                joined.push('\n');
            }
            joined.push_str(&text);
        }
        self.write_joined(context, &mut joined)
    }

    fn write_joined(&mut self, context: &mut Context<'_>, joined: &mut String) -> Result<(), End> {
        if joined.is_empty() {
            return Ok(());
        }
        self.write(context, Message::text(std::mem::take(joined)))
    }

    fn write(&mut self, context: &mut Context<'_>, message: Message) -> Result<(), End> {
        // Pending means that what was written before waits in the buffer, which has bounds of its own.
        if let Poll::Ready(result) = Pin::new(&mut self.socket).poll_ready(context) {
            result?;
        }
        Pin::new(&mut self.socket).start_send(message)?;
        self.flushing = true;
        Ok(())
    }

    /// Pings, and looks whether the peer is silent, late with its `connect`, or at the end of its token.
    fn on_time(&mut self, context: &mut Context<'_>) -> Result<(), End> {
        let now = Instant::now();
        if now >= self.last_life + 2 * self.ping_interval {
            return Err(Close::Idle.into());
        }
        if now >= self.next_ping {
            self.next_ping = now + self.ping_interval;
            // A peer that has not read the last frame yet needs no ping: either it reads on, or it is idle soon.
            if !self.flushing {
                self.write(context, Message::Ping(Bytes::new()))?;
            }
        }
        if let Some(session) = self.session.take() {
            if !session.is_connected() && now >= self.opened + CONNECT_WITHIN {
                self.session = Some(session);
                return Err(Close::NoConnect.into());
            }
            if session.expires_at().is_some_and(|at| at <= self.clock.now()) {
                self.working = Some(Box::pin(expire(session)));
            } else {
                self.session = Some(session);
            }
        }
        let next = self.next_time();
        self.timer.as_mut().reset(next);
        Ok(())
    }

    /// Brings the timer forward where something is due earlier; one that rings too early is set anew then.
    fn arm(&mut self) {
        let next = self.next_time();
        if next < self.timer.deadline() {
            self.timer.as_mut().reset(next);
        }
    }

    fn next_time(&self) -> Instant {
        let mut next = self.next_ping.min(self.last_life + 2 * self.ping_interval);
        if let Some(session) = &self.session {
            if !session.is_connected() {
                next = next.min(self.opened + CONNECT_WITHIN);
            }
            if let Some(at) = session.expires_at() {
                next = next.min(Instant::now() + Duration::from_millis(at.since(self.clock.now())));
            }
        }
        next
    }

    /// Sends what waits, then the close frame, and reads on for a while: a connection that is dropped with unread
    /// bytes is reset, and the peer would not learn why.
    async fn say_farewell(&mut self, end: End) {
        match end {
            End::Gone => {
                let _ = self.socket.flush().await;
                return;
            }
            End::Close(close) => {
                if close != Close::SlowConsumer {
                    self.frames.extend(self.drain.rest());
                    let written = poll_fn(|context| Poll::Ready(self.write_frames(context).is_ok())).await;
                    if !written {
                        return;
                    }
                }
                let frame = CloseFrame { code: close.code().into(), reason: close.reason().into() };
                if self.socket.close(Some(frame)).await.is_err() {
                    return;
                }
            }
        }
        let stream = self.socket.get_mut();
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut discarded = [0; 1024];
        while stream.read(&mut discarded).await.is_ok_and(|read| read > 0) {}
    }
}

async fn receive(mut session: Session, text: Utf8Bytes) -> (Session, Result<(), Close>) {
    let result = session.receive(&text).await;
    (session, result)
}

async fn expire(mut session: Session) -> (Session, Result<(), Close>) {
    let result = session.expire().await;
    (session, result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn our_subprotocol_is_chosen_where_it_is_offered_and_missed_where_others_are() {
        let chosen = |offers: &[(&'static str, &str)]| chosen_protocol(&headers(offers));
        assert_eq!(chosen(&[]).unwrap(), None);
        assert_eq!(
            chosen(&[("sec-websocket-protocol", "chat, godwit.v1.json")]).unwrap().unwrap(),
            SUBPROTOCOL
        );
        assert!(chosen(&[("sec-websocket-protocol", "chat")]).is_err());
    }
}
