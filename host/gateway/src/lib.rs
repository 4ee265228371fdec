//! The doors of the host: HTTP routes, sockets, the admin API and the web pages.
//!
//! It owns listeners and connections, what a request looks like, and the loop that moves frames between a socket and
//! its session. It refuses to know behaviour, which is `core`'s, and storage and plugins, which it reaches through
//! ports. It is written on hyper itself: a handful of routes needs no framework, and sockets want the bare stream
//! (`host/decisions/0004-tokens-and-http.md`).
//!
//! Start with [`Gateway`] and [`Gateway::serve`], then `public` and `admin` for the routes, then `socket` and `rpc`.

mod admin;
mod answer;
mod assets;
mod auth;
mod forwarded;
mod hooks;
mod listener;
mod metrics;
mod options;
mod origin;
mod public;
mod rpc;
mod socket;
mod stream;
mod tls;

pub use admin::Token;
pub use forwarded::Network;
pub use listener::Door;
pub use metrics::Metrics;
pub use options::{ForwardedHeader, Options, Tls as TlsOptions};
pub use tls::Misconfigured;

use godwit_core::{accounts, domain::plugin, host::Host};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tls::Tls;
use tokio::sync::Semaphore;

/// How many components may be on their way in at once.
const UPLOADS_MAX: usize = 2;

/// What the doors serve, by the names of `hello.features`.
pub const FEATURES: &[&str] = &["sse", "poll"];

/// Says why the host cannot serve now, if it cannot.
pub type Ready = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the doors lead to.
pub struct Parts {
    /// The section `[gateway]`.
    pub options: Options,
    /// What sessions talk to.
    pub host: Arc<Host>,
    /// Who may come in.
    pub accounts: Arc<accounts::Service>,
    /// The plugins.
    pub plugins: Arc<dyn plugin::Manager>,
    /// Everything that `/metrics` shows.
    pub registry: Arc<Registry>,
    /// What the gateway itself counts, registered by whoever made the registry.
    pub metrics: Metrics,
    /// What opens the admin API.
    pub admin_token: Token,
    /// What `/health/ready` asks.
    pub ready: Ready,
}

/// The doors.
pub struct Gateway {
    parts: Parts,
    uploads: Semaphore,
    tls: Option<Tls>,
    /// The sessions that have no socket.
    sessions: Arc<rpc::Sessions>,
}

impl std::ops::Deref for Gateway {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl Gateway {
    /// Doors that lead to these parts; nothing is open until [`Gateway::serve`].
    ///
    /// # Errors
    /// TLS is set, and there can be none.
    pub fn new(parts: Parts) -> Result<Arc<Self>, Misconfigured> {
        let tls = Tls::open(&parts.options.tls)?;
        let sessions = Arc::new(rpc::Sessions::new(parts.options.connections_max));
        Ok(Arc::new(Self { parts, uploads: Semaphore::new(UPLOADS_MAX), tls, sessions }))
    }

    async fn read_json<T: DeserializeOwned>(&self, request: answer::Request) -> Result<T, answer::Failure> {
        answer::read_json(request, self.options.body_timeout_ms).await
    }
}
