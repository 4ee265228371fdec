//! Listening, and the life of a connection until its last request, or until it becomes a socket.
//!
//! It owns the bounds within which anybody may knock: how many connections, how long a head may be and how long it
//! may take, TLS included. It refuses to know what is asked: that is for the routes.
//!
//! Shutdown in one place: stop accepting, let every connection finish the request that it is in, cut those that do
//! not end in time. Sockets have left by then; draining them is for whoever owns their sessions.

use crate::{
    Gateway, admin,
    answer::{self, Failure, Response},
    forwarded, metrics, public,
    stream::Stream,
    tls::Tls,
};
use godwit_protocol::error::{Code, Error};
use hyper::{body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::{Future, pending},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// How many connections the admin listener takes.
const ADMIN_CONNECTIONS_MAX: usize = 128;
/// A connection that goes on asking for longer than this is closed after an answer, so that none is held for ever.
const LIFETIME: Duration = Duration::from_secs(600);
/// What a connection may take for its last answer when it has to end; also bounds who does not read answers.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// What hyper asks for at least.
const BUFFER_BYTES_MIN: usize = 8192;

/// Which listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// For clients.
    Public,
    /// For operators.
    Admin,
}

impl Door {
    const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Admin => "admin",
        }
    }

    fn connections_max(self, gateway: &Gateway) -> usize {
        match self {
            Self::Public => gateway.options.connections_max.min(Semaphore::MAX_PERMITS),
            Self::Admin => ADMIN_CONNECTIONS_MAX,
        }
    }
}

/// The place of a connection among those that may be open. It is an extension of each request: a socket takes it along,
/// so that it counts for as long as it is open.
#[derive(Clone)]
pub(crate) struct Place {
    _open: Arc<Open>,
}

struct Open {
    gauge: prometheus_client::metrics::gauge::Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

impl Gateway {
    /// Serves a listener until `shutdown`, then finishes what was begun, within seconds.
    pub async fn serve(
        self: Arc<Self>,
        door: Door,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) {
        let places = Arc::new(Semaphore::new(door.connections_max(&self)));
        let label = metrics::Listener { listener: door.name() };
        let gauge = self.metrics.connections.get_or_create_owned(&label);
        let refused = self.metrics.refused.get_or_create_owned(&label);
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        let mut fresh = pin!(self.keep_fresh(door));
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                never = &mut fresh => match never {},
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly for want of file descriptors: trying again at once would spin.
                    tracing::warn!(%error, listener = door.name(), "a connection could not be accepted");
                    sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(permit) = places.clone().try_acquire_owned() else {
                refused.inc();
                continue;
            };
            gauge.inc();
            let place = Place { _open: Arc::new(Open { gauge: gauge.clone(), _permit: permit }) };
            connections.spawn(connection(self.clone(), door, stream, peer, place, stopped.clone()));
        }
        drop(listener);
        stop.send_replace(true);
        while connections.join_next().await.is_some() {}
    }

    /// TLS is for the way that leads outside; operators are on a private one.
    fn tls(&self, door: Door) -> Option<&Tls> {
        self.tls.as_ref().filter(|_| door == Door::Public)
    }

    async fn keep_fresh(&self, door: Door) -> Infallible {
        match self.tls(door) {
            Some(tls) => tls.keep_fresh().await,
            None => pending().await,
        }
    }

    async fn respond(
        self: &Arc<Self>,
        door: Door,
        mut request: hyper::Request<Incoming>,
        peer: SocketAddr,
    ) -> Response {
        let response = match door {
            Door::Public => {
                let client = forwarded::client(&self.options, peer.ip(), request.headers());
                if let Some(host) = client.host {
                    request.headers_mut().insert(header::HOST, host);
                }
                public::respond(self, request, client.address).await
            }
            Door::Admin => admin::respond(self, request).await,
        };
        let status = response.status().as_u16();
        self.metrics.requests.get_or_create(&metrics::Request { listener: door.name(), status }).inc();
        response
    }
}

async fn connection(
    gateway: Arc<Gateway>,
    door: Door,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    mut stopped: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "a connection was gone at once");
        return;
    }
    let stream = match gateway.tls(door) {
        None => Stream::Plain(stream),
        Some(tls) => {
            let accepted = tokio::select! {
                // Boxed: its state is large, and gone before the first request.
                accepted = Box::pin(tls.accept(stream)) => accepted,
                _ = stopped.wait_for(|stopped| *stopped) => return,
            };
            match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    gateway.metrics.handshakes_failed.inc();
                    tracing::debug!(%error, %peer, "a connection came to no TLS session");
                    return;
                }
            }
        }
    };
    let misled = gateway.tls(door).is_some() && matches!(stream, Stream::Plain(_));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .keep_alive(!misled)
        .header_read_timeout(Duration::from_millis(gateway.options.header_timeout_ms))
        .max_buf_size(gateway.options.header_bytes_max.max(BUFFER_BYTES_MIN));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(place.clone());
        let gateway = gateway.clone();
        async move {
            Ok::<_, Infallible>(match misled {
                true => show_the_way(request).await,
                false => gateway.respond(door, request, peer).await,
            })
        }
    });
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        _ = stopped.wait_for(|stopped| *stopped) => None,
        () = sleep(LIFETIME) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_ANSWER_WITHIN, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, listener = door.name(), "a connection failed");
    }
}

/// Answers who speaks plain HTTP where TLS is spoken; nothing of what was asked is done.
async fn show_the_way(request: hyper::Request<Incoming>) -> Response {
    answer::discard(request.into_body()).await;
    let error = Error::new(Code::Invalid, "TLS is spoken here: use https:// or wss:// with this address");
    Failure::from(error).into()
}
