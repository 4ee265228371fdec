//! The settings of the listeners.

use crate::forwarded::Network;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The `[gateway]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Web pages of these origins may open sessions beside those of the host itself, as `https://chat.example.com`.
    pub origins: Vec<String>,
    /// The addresses and networks, as `10.0.0.0/8`, of the proxies in front of this host. They alone are believed when
    /// they say for whom they ask; without that, everybody behind a proxy shares the limits of one address.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<Network>,
    /// The header in which those proxies say it. They must set or extend this one: whatever else a client sends passes
    /// through them unseen.
    pub forwarded_header: ForwardedHeader,
    /// How often a socket is pinged, in milliseconds; one that is silent for two intervals is closed.
    #[schemars(extend("exceeded" = "3002"))]
    pub ping_interval_ms: u64,
    /// How many bytes may wait for a slow reader before its session is closed; it loses nothing, and connects again.
    #[schemars(extend("exceeded" = "3001"))]
    pub outbox_bytes_max: usize,
    /// The largest frame that a client may send, in bytes.
    #[schemars(extend("exceeded" = "3502"))]
    pub frame_bytes_max: usize,
    /// How many connections of clients may be open, and how many sessions without a socket; more connections are
    /// closed as they come, more sessions refused.
    #[schemars(extend("exceeded" = "closed as it comes"))]
    pub connections_max: usize,
    /// The largest head of an HTTP request, in bytes; at least 8192.
    #[schemars(extend("exceeded" = "status 431"))]
    pub header_bytes_max: usize,
    /// How long a connection may take to send the head of its next request, in milliseconds.
    #[schemars(extend("exceeded" = "closed"))]
    pub header_timeout_ms: u64,
    /// How long a request may take to send its body, in milliseconds.
    #[schemars(extend("exceeded" = "`timeout`"))]
    pub body_timeout_ms: u64,
    /// The largest body of a request to a plugin, under `/v1/hooks/`, in bytes.
    #[schemars(extend("exceeded" = "`too_large`"))]
    pub hook_body_bytes_max: usize,
    /// How many requests a second each address may make to each plugin in the long run; 0 turns the limit off.
    #[schemars(extend("exceeded" = "`rate_limited`"))]
    pub hooks_per_s: u32,
    /// The largest component that may be installed, in bytes.
    #[schemars(extend("exceeded" = "`too_large`"))]
    pub component_bytes_max: u64,
    /// How long the upload of a component may take, in milliseconds.
    #[schemars(extend("exceeded" = "`timeout`"))]
    pub upload_timeout_ms: u64,
    /// A checkout of the project whose web pages are served in place of those in the binary, to see changes at once.
    pub assets_dir: Option<PathBuf>,
    /// TLS on the listener for clients; without it, a proxy has to speak TLS in front.
    pub tls: Tls,
}

/// The header in which proxies say for whom they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Host` beside it.
    XForwardedFor,
    /// `Forwarded`, as in RFC 7239.
    Forwarded,
}

/// The `[gateway.tls]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the server's certificate and, after it, those that lead to its authority. With `key` it turns
    /// TLS on. Both files are taken up anew when they change.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the private key of the certificate, without a passphrase.
    pub key: Option<PathBuf>,
    /// How long a connection may take to agree on TLS, in milliseconds.
    #[schemars(extend("exceeded" = "closed"))]
    pub handshake_timeout_ms: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificate: None, key: None, handshake_timeout_ms: 10_000 }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            ping_interval_ms: 25_000,
            outbox_bytes_max: 1 << 20,
            frame_bytes_max: 128 << 10,
            connections_max: 50_000,
            header_bytes_max: 16 << 10,
            header_timeout_ms: 10_000,
            body_timeout_ms: 10_000,
            hook_body_bytes_max: 256 << 10,
            hooks_per_s: 20,
            component_bytes_max: 32 << 20,
            upload_timeout_ms: 120_000,
            assets_dir: None,
            tls: Tls::default(),
        }
    }
}
