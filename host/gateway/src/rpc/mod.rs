//! Sessions without sockets: requests, pushes and closing over plain HTTP, for networks that break sockets.
//!
//! ```text
//! POST /v1/rpc                                       one request object; `connect` makes a session
//! GET  /v1/events   Accept: text/event-stream        its pushes as they come, numbered
//! GET  /v1/events?after=N&wait_ms=…                  its pushes that are there, or the next
//! ```
//!
//! It owns what a request must bring, and which status it is answered with. What it asks for is worked off by the task
//! that owns the session ([`owner`]); pushes wait in a numbered [`mailbox`] until they are acknowledged, and go to who
//! listens ([`listener`]); which sessions there are, and how those that were have ended, is known to [`sessions`].

mod sessions;
mod owner;
mod mailbox;
mod listener;

pub(crate) use sessions::Sessions;

use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
    origin,
};
use godwit_core::domain::{id::SessionId, time::Ms};
use godwit_protocol::error::{Close, Code, Error};
use hyper::{HeaderMap, StatusCode, header};
use listener::Heard;
use owner::{Answer, Handle, Listen, Post};
use serde::{Deserialize, de::IgnoredAny};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use uuid::Uuid;

/// The header that names the session.
const SESSION: &str = "godwit-session";
/// The header by which a stream that broke says what came last.
const LAST_EVENT_ID: &str = "last-event-id";
const EVENT_STREAM: &str = "text/event-stream";
/// The longest that a request for pushes may wait for one, in milliseconds.
const WAIT_MS_MAX: u64 = 30_000;

/// Answers `POST /v1/rpc`.
pub(crate) async fn request(gateway: &Arc<Gateway>, request: Request) -> Result<Response, Failure> {
    origin::check(request.headers(), &gateway.options.origins)?;
    if !request.headers().contains_key(SESSION) {
        let text = read(gateway, request).await.map_err(|(failure, _)| failure)?;
        return open(gateway, text).await;
    }
    let Entered { handle, expires_at } = enter(gateway, request.headers()).await?;
    let text = match read(gateway, request).await {
        Ok(text) => text,
        Err((failure, None)) => return Err(failure),
        Err((failure, Some(close))) => {
            handle.close(close);
            return Err(failure.closing(close));
        }
    };
    let (answer, answered) = oneshot::channel();
    // Waits where too many wait already, which is how a client that asks too fast is slowed down.
    let post = Post { text, expires_at, answer };
    // What is not taken is dropped at once, or the answer to it would be waited for.
    let _ = handle.posts.send(post).await.map_err(drop);
    match answered.await {
        Ok(Answer::Malformed) => Err(malformed().closing(Close::Malformed)),
        Ok(answer) => Ok(show(answer)),
        Err(_) => Err(Failure::gone(handle.closed())),
    }
}

/// Answers `GET /v1/events`.
pub(crate) async fn events(gateway: &Arc<Gateway>, request: Request) -> Result<Response, Failure> {
    origin::check(request.headers(), &gateway.options.origins)?;
    let Entered { handle, expires_at } = enter(gateway, request.headers()).await?;
    let last = header(request.headers(), LAST_EVENT_ID);
    // A stream that comes back carries both, and the header is newer.
    let after = number("after", answer::parameter(&request, "after"))?.max(number(LAST_EVENT_ID, last)?);
    let wait_ms = number("wait_ms", answer::parameter(&request, "wait_ms"))?.unwrap_or(0).min(WAIT_MS_MAX);
    let stream = accepts_stream(request.headers());
    let (answer, answered) = oneshot::channel();
    let listen = Listen { after, stream, wait: Duration::from_millis(wait_ms), expires_at, answer };
    let _ = handle.listens.send(listen).await.map_err(drop);
    match answered.await {
        Ok(Ok(Heard::Page(page))) => Ok(answer::plain(StatusCode::OK, "application/json", page)),
        Ok(Ok(Heard::Stream(chunks))) => Ok(answer::stream(EVENT_STREAM, chunks)),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::gone(handle.closed())),
    }
}

/// A session that a request may use.
struct Entered {
    handle: Handle,
    /// When the token that it brought ends, where that is a time of its own.
    expires_at: Option<Ms>,
}

/// Finds the session that a request names. How one has ended is told before the token is looked at: who has to connect
/// again should not have to refresh a token first.
async fn enter(gateway: &Gateway, headers: &HeaderMap) -> Result<Entered, Failure> {
    let Some(named) = headers.get(SESSION) else {
        return Err(unauthorised("there is no `Godwit-Session`; `connect` comes first"));
    };
    let id = named.to_str().ok().and_then(|id| id.parse::<Uuid>().ok()).map(SessionId);
    let found = id.map_or(Err(Close::Internal), |id| gateway.sessions.find(id));
    let handle = found.map_err(Failure::gone)?;
    let token = answer::bearer(headers)
        .ok_or_else(|| unauthorised("there is no `Authorization: Bearer` with an access token"))?;
    let principal = gateway.accounts.authenticate(token).await?;
    if !handle.is_of(principal.user.id, principal.login) {
        return Err(Failure::gone(Close::Internal));
    }
    Ok(Entered { handle, expires_at: principal.expires_at })
}

/// Makes a session, if `text` is a `connect` that is granted.
async fn open(gateway: &Arc<Gateway>, text: String) -> Result<Response, Failure> {
    #[derive(Deserialize)]
    struct Opening {
        connect: Option<IgnoredAny>,
    }
    if let Ok(Opening { connect: None }) = serde_json::from_str(&text) {
        return Err(unauthorised("there is no `Godwit-Session`; `connect` comes first"));
    }
    if gateway.host.is_draining() {
        return Err(Failure::draining());
    }
    let place = gateway.sessions.place().ok_or_else(|| {
        Error::new(Code::Unavailable, "there are too many sessions without a socket; try again later")
    })?;
    // In a task of its own: who hangs up meanwhile does not leave a session half made.
    match owner::open(gateway, place, text).await {
        Some(Answer::Malformed) => Err(malformed()),
        Some(answer) => Ok(show(answer)),
        None => Err(Error::new(Code::Unavailable, "the session ended before it began; try again").into()),
    }
}

fn show(answer: Answer) -> Response {
    match answer {
        Answer::Reply(reply) => answer::plain(StatusCode::OK, "application/json", reply),
        Answer::Nothing => answer::nothing(),
        Answer::Malformed => malformed().into(),
    }
}

/// Reads the text of a request, or says what is wrong with it, and how it would have closed a socket.
async fn read(gateway: &Gateway, request: Request) -> Result<String, (Failure, Option<Close>)> {
    let options = &gateway.options;
    match answer::read(request, options.frame_bytes_max, options.body_timeout_ms).await {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| {
            let error = Error::invalid("body", "the body must be UTF-8");
            (error.into(), Some(Close::NotUtf8))
        }),
        Err(failure) => {
            let close = (failure.code() == Code::TooLarge).then_some(Close::TooLarge);
            Err((failure, close))
        }
    }
}

fn malformed() -> Failure {
    Error::invalid("body", "the body must be one JSON object, nested no deeper than 64 levels").into()
}

fn unauthorised(message: &str) -> Failure {
    Error::new(Code::Unauthorised, message).into()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A number of the query or of a header; one that cannot be read is `invalid`.
fn number(name: &str, value: Option<&str>) -> Result<Option<u64>, Error> {
    let Some(value) = value else { return Ok(None) };
    let invalid = |_| {
        let shown: String = value.chars().take(100).collect();
        Error::invalid(name, format!("`{name}` is `{shown}`, but must be an integer from 0"))
    };
    value.trim().parse().map(Some).map_err(invalid)
}

fn accepts_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().is_some_and(|range| range.trim().eq_ignore_ascii_case(EVENT_STREAM))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_given_to_who_names_its_type() {
        let accepts =
            |accept: &str| accepts_stream(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]));
        assert!(accepts("text/event-stream"));
        assert!(accepts("application/json;q=0.5, Text/Event-Stream; q=1"));
        assert!(!accepts("*/*"));
        assert!(!accepts_stream(&HeaderMap::new()));
    }

    #[test]
    fn numbers_are_whole_and_not_negative() {
        assert_eq!(number("after", None).unwrap(), None);
        assert_eq!(number("after", Some("7")).unwrap(), Some(7));
        for bad in ["", "-1", "1.5", "x", "18446744073709551616"] {
            let error = number("after", Some(bad)).unwrap_err();
            assert_eq!((error.code, error.field.as_deref()), (Code::Invalid, Some("after")), "{bad}");
        }
    }
}
