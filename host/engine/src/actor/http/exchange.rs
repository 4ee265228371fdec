//! One request and its answer over a connection of their own.
//!
//! It owns the socket; whither it goes was decided before. A connection ends with its request, however that ends.

use super::{ANSWERS_CLOSED, Answer, Connect, Error, HEADERS_MAX, Options, Ready, origin::Origin};
use crate::options::kib;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Uri,
    body::{Body, Bytes, Incoming},
    client::conn::http1,
    header::{HOST, HeaderValue},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, time::Duration};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_rustls::{
    TlsConnector,
    rustls::pki_types::{IpAddr, ServerName},
};
use url::Host;

/// How long one address is tried where there are several.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// What drives a connection; ends with whom it was driven for.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Connection(error.to_string())
}

pub(super) async fn exchange(
    options: &Options,
    connector: &dyn Connect,
    tls: &TlsConnector,
    origin: &Origin,
    addresses: &[SocketAddr],
    ready: &Ready,
) -> Result<Answer, Error> {
    let stream = connect(connector, addresses).await?;
    if !origin.secure {
        return plainly(options, TokioIo::new(stream), origin, ready).await;
    }
    let name = match &origin.host {
        Host::Domain(name) => ServerName::try_from(name.clone()).map_err(broken)?,
        Host::Ipv4(address) => ServerName::IpAddress(IpAddr::from(*address)),
        Host::Ipv6(address) => ServerName::IpAddress(IpAddr::from(*address)),
    };
    let stream = tls.connect(name, stream).await.map_err(|error| broken(format!("TLS: {error}")))?;
    plainly(options, TokioIo::new(stream), origin, ready).await
}

async fn connect(connector: &dyn Connect, addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let mut last = Error::Connection("there is no address".to_owned());
    for address in addresses {
        match timeout(CONNECT_WITHIN, connector.connect(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = broken(format!("{address}: {error}")),
            Err(_) => last = broken(format!("{address} does not answer")),
        }
    }
    Err(last)
}

/// By HTTP 1.1.
async fn plainly<S: Read + Write + Unpin + Send + 'static>(
    options: &Options,
    stream: S,
    origin: &Origin,
    ready: &Ready,
) -> Result<Answer, Error> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(kib(options.headers_kib_max).max(8 << 10))
        .max_headers(2 * HEADERS_MAX)
        .handshake(stream)
        .await
        .map_err(broken)?;
    let _driver = Driver(tokio::spawn(async move { drop(connection.await) }));
    let path = &ready.url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request = request(path, ready)?;
    let host = HeaderValue::from_str(&origin.authority()).map_err(broken)?;
    request.headers_mut().insert(HOST, host);
    let response = sender.send_request(request).await.map_err(broken)?;
    read(options, response).await
}

fn request(uri: &str, ready: &Ready) -> Result<Request<Full<Bytes>>, Error> {
    let uri: Uri = uri.parse().map_err(broken)?;
    let mut request = Request::new(Full::new(Bytes::from(ready.body.clone())));
    *request.method_mut() = ready.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = ready.headers.clone();
    Ok(request)
}

async fn read(options: &Options, response: Response<Incoming>) -> Result<Answer, Error> {
    let status = response.status().as_u16();
    let open = response.headers().iter().filter(|(name, _)| !ANSWERS_CLOSED.contains(&name.as_str()));
    // What is not text is left out rather than guessed at.
    let text =
        open.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let headers: Vec<(String, String)> = text.collect();
    let limit = kib(options.response_kib_max);
    let large =
        || Error::TooLarge(format!("the answer's body has more than {} KiB", options.response_kib_max));
    let mut incoming = response.into_body();
    if incoming.size_hint().lower() > limit as u64 {
        return Err(large());
    }
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if body.len() + data.len() > limit {
                return Err(large());
            }
            body.extend_from_slice(&data);
        }
    }
    Ok(Answer { status, headers, body })
}
