//! Requests of plugins to other servers: to origins that were granted, over addresses that were checked.
//!
//! It owns the way of a request: what may be in it, whither it may go, how long it may take and how much may come
//! back; it refuses to know which plugin asks and why. A name is resolved once, its addresses are checked, and the
//! connection is made to one of those: a name that changes in between changes nothing. Connections are not kept.
//!
//! Start with [`Client::fetch`].

pub(crate) mod address;
pub(crate) mod exchange;
pub(crate) mod origin;
#[cfg(test)]
mod tests;

use super::options::Http as Options;
use crate::{
    faults::{self, Fault},
    options::kib,
};
use async_trait::async_trait;
use hyper::{
    Method,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use origin::Origin;
use serde::{Deserialize, Serialize};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, pem::PemObject},
    },
};
use url::{Host, Url};

const URL_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
/// Headers that are the connection's, the host's, or would speak for somebody else.
const HEADERS_CLOSED: [&str; 17] = [
    "connection",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "set-cookie",
];
const PREFIXES_CLOSED: [&str; 3] = ["proxy-", "x-forwarded-", "sec-"];
/// Headers of answers that are the connection's, or would make a plugin remember.
const ANSWERS_CLOSED: [&str; 6] =
    ["connection", "keep-alive", "set-cookie", "set-cookie2", "transfer-encoding", "upgrade"];

/// What a plugin asks.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) timeout_ms: Option<u32>,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("denied: {0}")]
    Denied(String),
    #[error("invalid: {0}")]
    Invalid(String),
    #[error("address: {0}")]
    Address(String),
    #[error("connection: {0}")]
    Connection(String),
    #[error("timeout")]
    Timeout,
    #[error("too large: {0}")]
    TooLarge(String),
    #[error("busy: {0}")]
    Busy(String),
}

/// Where addresses of names come from.
#[async_trait]
pub(crate) trait Resolve: Send + Sync {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own way.
struct System;

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Answers in place of servers, after all checks but those of addresses: for tests of plugins.
pub(crate) trait Play: Send + Sync {
    fn answer(&self, method: &str, url: &str, body: &[u8]) -> Result<Answer, Error>;
}

/// Where connections come from.
#[async_trait]
pub(crate) trait Connect: Send + Sync {
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;
}

#[async_trait]
impl Connect for System {
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
}

/// Makes requests for all plugins.
pub(crate) struct Client {
    played: Option<Arc<dyn Play>>,
    options: Options,
    tls: TlsConnector,
    resolver: Arc<dyn Resolve>,
    connector: Arc<dyn Connect>,
    /// Which addresses a name may have.
    open: fn(IpAddr) -> bool,
    at_once: Semaphore,
}

/// A request that may be sent.
struct Ready {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        Self::with(options, Arc::new(System), Arc::new(System), address::public)
    }

    /// One that connects to nobody.
    pub(crate) fn played(options: &Options, play: Arc<dyn Play>) -> io::Result<Self> {
        Ok(Self { played: Some(play), ..Self::new(options)? })
    }

    fn with(
        options: &Options,
        resolver: Arc<dyn Resolve>,
        connector: Arc<dyn Connect>,
        open: fn(IpAddr) -> bool,
    ) -> io::Result<Self> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &options.ca_file {
            let named = |error: String| {
                io::Error::other(format!("plugins.actors.http.ca_file {}: {error}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| named(error.to_string()))?;
            let mut count = 0;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| named(error.to_string()))?;
                roots.add(certificate).map_err(|error| named(error.to_string()))?;
                count += 1;
            }
            if count == 0 {
                return Err(named("there is no certificate in it".to_owned()));
            }
        }
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            played: None,
            options: options.clone(),
            tls: TlsConnector::from(Arc::new(config)),
            resolver,
            connector,
            open,
            at_once: Semaphore::new(options.at_once_max.max(1) as usize),
        })
    }

    /// Makes a request, and follows where it is sent on to.
    pub(crate) async fn fetch(
        &self,
        granted: &[Origin],
        key: &str,
        request: Request,
    ) -> Result<Answer, Error> {
        let timeout_ms = request.timeout_ms.unwrap_or(u32::MAX).min(self.options.timeout_ms);
        let ready = self.check(request, key)?;
        let _permit = self.at_once.try_acquire().map_err(|_| {
            Error::Busy(format!("{} requests of plugins are under way", self.options.at_once_max))
        })?;
        let way = self.follow(granted, ready);
        tokio::time::timeout(Duration::from_millis(timeout_ms.into()), way)
            .await
            .unwrap_or(Err(Error::Timeout))
    }

    async fn follow(&self, granted: &[Origin], mut ready: Ready) -> Result<Answer, Error> {
        let mut redirects = 0;
        loop {
            let origin = Origin::of(&ready.url).map_err(Error::Invalid)?;
            if !granted.contains(&origin) && !faults::on(Fault::HttpAnyOrigin) {
                return Err(Error::Denied(format!("`{origin}` is not granted under the capability `http`")));
            }
            let answer = match &self.played {
                Some(play) => play.answer(ready.method.as_str(), ready.url.as_str(), &ready.body)?,
                None => {
                    let addresses = self.addresses(&origin).await?;
                    let (options, connector) = (&self.options, &*self.connector);
                    exchange::exchange(options, connector, &self.tls, &origin, &addresses, &ready).await?
                }
            };
            let Some(next) = onward(&answer, &ready.url) else { return Ok(answer) };
            redirects += 1;
            if redirects > self.options.redirects_max {
                let limit = self.options.redirects_max;
                return Err(Error::TooLarge(format!("more than {limit} redirects")));
            }
            let next = next.map_err(Error::Connection)?;
            if answer.status == 303 && ready.method != Method::HEAD
                || matches!(answer.status, 301 | 302) && ready.method == Method::POST
            {
                ready.method = Method::GET;
                ready.body.clear();
                ready.headers.remove(hyper::header::CONTENT_TYPE);
            }
            if Origin::of(&next).ok() != Some(origin) {
                // What was meant for one server is not told to another.
                ready.headers.remove(hyper::header::AUTHORIZATION);
            }
            ready.url = next;
        }
    }

    /// The addresses to connect to: all of them may be reached, or none is.
    async fn addresses(&self, origin: &Origin) -> Result<Vec<SocketAddr>, Error> {
        let port = origin.port;
        let name = match &origin.host {
            // Granted by its address, whatever range it is of: the operator named that very one.
            Host::Ipv4(address) => return Ok(vec![SocketAddr::from((*address, port))]),
            Host::Ipv6(address) => return Ok(vec![SocketAddr::from((*address, port))]),
            Host::Domain(name) => name,
        };
        let found = self.resolver.resolve(name).await;
        let found = found.map_err(|error| Error::Address(format!("`{name}` was not found: {error}")))?;
        if found.is_empty() {
            return Err(Error::Address(format!("`{name}` has no address")));
        }
        let closed = |address: &&IpAddr| !(self.open)(**address) && !faults::on(Fault::HttpAnyAddress);
        if let Some(closed) = found.iter().find(closed) {
            return Err(Error::Address(format!(
                "`{name}` has the address {closed}, which is not of the public internet; an operator may grant the \
                 address itself"
            )));
        }
        Ok(found.into_iter().take(ADDRESSES_MAX).map(|address| SocketAddr::new(address, port)).collect())
    }

    fn check(&self, request: Request, key: &str) -> Result<Ready, Error> {
        let invalid = |why: String| Err(Error::Invalid(why));
        let Request { method, url, headers, body, .. } = request;
        let Some(method) = METHODS.into_iter().find(|known| known.as_str() == method) else {
            return invalid(format!("the method `{}` is none of those that are possible", clip(&method)));
        };
        if url.len() > URL_BYTES_MAX {
            return invalid(format!("the URL has {} bytes, the limit is {URL_BYTES_MAX}", url.len()));
        }
        let mut url = Url::parse(&url).map_err(|error| Error::Invalid(format!("the URL: {error}")))?;
        url.set_fragment(None);
        let (bytes, limit) = (body.len(), self.options.request_kib_max);
        if bytes > kib(limit) {
            return invalid(format!("the body has {bytes} bytes, the limit is {limit} KiB"));
        }
        let (bytes, limit) = (
            headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>(),
            self.options.headers_kib_max,
        );
        if headers.len() > HEADERS_MAX || kib(limit) < bytes {
            return invalid(format!(
                "{} headers of {bytes} bytes, the limit is {HEADERS_MAX} and {limit} KiB",
                headers.len()
            ));
        }
        let mut checked = HeaderMap::new();
        for (name, value) in &headers {
            let refused = |why: &str| Error::Invalid(format!("the header `{}` {why}", clip(name)));
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused("is no name of a header"))?;
            if HEADERS_CLOSED.contains(&name.as_str())
                || PREFIXES_CLOSED.iter().any(|prefix| name.as_str().starts_with(prefix))
            {
                return Err(refused("is not a plugin's to set"));
            }
            let value =
                HeaderValue::from_str(value).map_err(|_| refused("has a value with forbidden characters"))?;
            checked.append(name, value);
        }
        checked.entry(hyper::header::USER_AGENT).or_insert(HeaderValue::from_static("godwit"));
        let key = HeaderValue::from_str(key).map_err(|error| Error::Invalid(error.to_string()))?;
        checked.insert("idempotency-key", key);
        Ok(Ready { method, url, headers: checked, body })
    }
}

/// Where an answer sends the request on to.
fn onward(answer: &Answer, from: &Url) -> Option<Result<Url, String>> {
    if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let (_, to) = answer.headers.iter().find(|(name, _)| name == "location")?;
    let next = from.join(to).map(|mut next| {
        next.set_fragment(None);
        next
    });
    Some(next.map_err(|error| format!("redirected to what is no URL: {error}")))
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}
