//! What the gateway counts.
//!
//! It owns the metrics of HTTP and their names; it refuses to know how they are served.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// The gateway's metrics; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Requests that were answered, by listener and status.
    pub requests: Family<Request, Counter>,
    /// Connections that are open, by listener; those that became sockets included.
    pub connections: Family<Listener, Gauge>,
    /// Connections that were closed as they came, for there were too many, by listener.
    pub refused: Family<Listener, Counter>,
    /// Connections that came to no TLS session: broken off, too slow, or with nothing in common.
    pub handshakes_failed: Counter,
}

/// The labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// `public` or `admin`.
    pub listener: &'static str,
    /// The status of the answer.
    pub status: u16,
}

/// The label of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Listener {
    /// `public` or `admin`.
    pub listener: &'static str,
}

impl Metrics {
    /// Makes the metrics known under the registry's prefix.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("requests", "Requests that were answered", self.requests.clone());
        registry.register(
            "connections",
            "Connections that are open, sockets included",
            self.connections.clone(),
        );
        registry.register("connections_refused", "Connections closed as they came", self.refused.clone());
        registry.register(
            "tls_handshakes_failed",
            "Connections that came to no TLS session",
            self.handshakes_failed.clone(),
        );
    }
}
