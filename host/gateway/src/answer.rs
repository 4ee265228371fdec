//! Reading bodies within bounds, and writing answers of one shape.
//!
//! It owns what all routes share: JSON in and out, streams out, and the form of errors. It refuses to know any route.

use bytes::Bytes;
use godwit_protocol::{
    error::{Close, Code, Error},
    request,
};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, StatusCode,
    body::{self, Frame, Incoming, SizeHint},
    header::{self, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;

pub(crate) type Request = hyper::Request<Incoming>;
pub(crate) type Response = hyper::Response<Body>;

/// What an answer carries.
pub(crate) enum Body {
    /// All of it; nothing where it is empty.
    Whole(Bytes),
    /// What comes, until the other side has no more.
    Stream(mpsc::Receiver<Bytes>),
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(chunks) => chunks.poll_recv(context).map(|chunk| chunk.map(Frame::data).map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// The largest JSON body of any route.
const JSON_BYTES_MAX: usize = 16 << 10;
/// How long, and how much, a refused body is read on: a client that is still writing when the connection is closed
/// would lose the answer that says why.
const DISCARD_WITHIN: Duration = Duration::from_secs(2);
const DISCARD_BYTES_MAX: usize = 64 << 20;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    error: Error,
    /// The methods that there are, where it was another one.
    allow: Option<&'static str>,
    /// Everything that is wrong, where it may be more than one thing.
    problems: Option<Vec<String>>,
    /// How the session ended, where it did.
    close: Option<Close>,
}

/// A failure as clients see it.
#[derive(Serialize)]
pub(crate) struct Shown<'a> {
    error: &'a Error,
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<u16>,
}

impl Failure {
    /// The error under another status than its code has.
    pub fn with_status(status: StatusCode, error: Error) -> Self {
        Self { status, error, allow: None, problems: None, close: None }
    }

    /// The session has ended so.
    pub fn gone(close: Close) -> Self {
        let text = format!("the session has ended: {}", close.reason());
        Self::from(Error::new(Code::SessionGone, text)).closing(close)
    }

    /// The host lets nobody in any more.
    pub fn draining() -> Self {
        Error::new(Code::Unavailable, "the host is going away; connect again in a moment").into()
    }

    /// The same, and the session ends with it.
    pub fn closing(self, close: Close) -> Self {
        Self { close: Some(close), ..self }
    }

    /// What kind of error it is.
    pub fn code(&self) -> Code {
        self.error.code
    }

    /// What the client is shown of it.
    pub fn shown(&self) -> Shown<'_> {
        let close = self.close.map(Close::code);
        Shown { error: &self.error, problems: self.problems.as_deref(), close }
    }

    /// No such path.
    pub fn no_route(path: &str) -> Self {
        let path: String = path.chars().take(100).collect();
        Error::new(Code::NotFound, format!("nothing is served at {path}")).into()
    }

    /// The path is there, for these methods alone.
    pub fn method(allow: &'static str) -> Self {
        let error = Error::new(Code::UnknownRequest, format!("this path is served for {allow} only"));
        Self { allow: Some(allow), ..Self::with_status(StatusCode::METHOD_NOT_ALLOWED, error) }
    }

    /// Several things are wrong with what was given.
    pub fn problems(message: &str, problems: Vec<String>) -> Self {
        let error = Error::new(Code::Invalid, message);
        Self { problems: Some(problems), ..Self::with_status(StatusCode::UNPROCESSABLE_ENTITY, error) }
    }

    fn timeout() -> Self {
        let error = Error::new(Code::Timeout, "the body did not come in time");
        Self::with_status(StatusCode::REQUEST_TIMEOUT, error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::with_status(status, error)
    }
}

impl From<Failure> for Response {
    fn from(failure: Failure) -> Self {
        let mut response = json(failure.status, &failure.shown());
        let headers = response.headers_mut();
        if let Some(ms) = failure.error.retry_after_ms {
            headers.insert(header::RETRY_AFTER, ms.div_ceil(1000).max(1).into());
        }
        if let Some(allow) = failure.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        if failure.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// An answer in JSON, not to be cached by anyone.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => plain(status, "application/json", bytes),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "application/json", Bytes::new())
        }
    }
}

/// An answer without a body.
pub(crate) fn nothing() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// An answer of that type, not to be cached by anyone.
pub(crate) fn plain(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    answer(status, content_type, Body::Whole(body.into()))
}

/// An answer of that type that is written as it comes; nothing on the way is to keep it back.
pub(crate) fn stream(content_type: &'static str, chunks: mpsc::Receiver<Bytes>) -> Response {
    let mut response = answer(StatusCode::OK, content_type, Body::Stream(chunks));
    // What reverse proxies go by that gather answers as a rule.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn answer(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Refuses other methods than this one.
pub(crate) fn only(request: &Request, method: Method, allow: &'static str) -> Result<(), Failure> {
    if *request.method() == method { Ok(()) } else { Err(Failure::method(allow)) }
}

/// The token of `Authorization: Bearer …`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The value of a parameter of the query, as it stands there: those that are read are words and numbers.
pub(crate) fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let pairs = request.uri().query()?.split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Reads a JSON object that came whole and in time; an empty body stands for `{}`.
pub(crate) async fn read_json<T: DeserializeOwned>(request: Request, timeout_ms: u64) -> Result<T, Failure> {
    let body = read(request, JSON_BYTES_MAX, timeout_ms).await?;
    let text = std::str::from_utf8(&body).map_err(|_| Error::invalid("body", "`body` must be UTF-8"))?;
    let text = if text.trim_ascii().is_empty() { "{}" } else { text };
    Ok(request::read("body", text)?)
}

/// Reads a body that came whole and in time.
pub(crate) async fn read(request: Request, bytes_max: usize, timeout_ms: u64) -> Result<Vec<u8>, Failure> {
    let body = request.into_body();
    if body::Body::size_hint(&body).lower() > bytes_max as u64 {
        // The length that was declared is enough to know; what comes of it is read away, for a while.
        discard(body).await;
        return Err(too_large("body", bytes_max as u64));
    }
    within(timeout_ms, collect(body, bytes_max)).await?
}

/// What reads a body, unless it takes longer.
pub(crate) async fn within<T>(timeout_ms: u64, reading: impl Future<Output = T>) -> Result<T, Failure> {
    let timeout = Duration::from_millis(timeout_ms);
    tokio::time::timeout(timeout, reading).await.map_err(|_| Failure::timeout())
}

/// That a body, or a part of one, is over its limit.
pub(crate) fn too_large(what: &str, limit: u64) -> Failure {
    Error::new(Code::TooLarge, format!("the {what} is larger than {limit} bytes")).field(what).into()
}

async fn collect(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::with_capacity(body::Body::size_hint(&body).lower().min(bytes_max as u64) as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::invalid("body", "the body ended before its time"))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > bytes_max {
            discard(body).await;
            return Err(too_large("body", bytes_max as u64));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Reads on and throws away, within bounds, so that the client reads the refusal.
pub(crate) async fn discard<B: body::Body<Data = Bytes> + Unpin>(mut body: B) {
    let discarding = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // A body that goes on for longer than that gets a closed connection.
    let _ = tokio::time::timeout(DISCARD_WITHIN, discarding).await;
}
