//! The settings of the listeners.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The `[gateway]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Web pages of these origins may open sessions beside those of the host itself, as `https://chat.example.com`.
    pub origins: Vec<String>,
    /// How often a socket is pinged, in milliseconds; one that is silent for two intervals is closed.
    pub ping_interval_ms: u64,
    /// How many bytes may wait for a slow reader before its session is closed; it loses nothing, and connects again.
    pub outbox_bytes_max: usize,
    /// The largest frame that a client may send, in bytes.
    pub frame_bytes_max: usize,
    /// How many connections of clients may be open, and how many sessions without a socket; more connections are
    /// closed as they come, more sessions refused.
    pub connections_max: usize,
    /// The largest head of an HTTP request, in bytes; at least 8192.
    pub header_bytes_max: usize,
    /// How long a connection may take to send the head of its next request, in milliseconds.
    pub header_timeout_ms: u64,
    /// How long a request may take to send its body, in milliseconds.
    pub body_timeout_ms: u64,
    /// The largest component that may be installed, in bytes.
    pub component_bytes_max: u64,
    /// How long the upload of a component may take, in milliseconds.
    pub upload_timeout_ms: u64,
    /// A checkout of the project whose web pages are served in place of those in the binary, to see changes at once.
    pub assets_dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            ping_interval_ms: 25_000,
            outbox_bytes_max: 1 << 20,
            frame_bytes_max: 128 << 10,
            connections_max: 50_000,
            header_bytes_max: 16 << 10,
            header_timeout_ms: 10_000,
            body_timeout_ms: 10_000,
            component_bytes_max: 32 << 20,
            upload_timeout_ms: 120_000,
            assets_dir: None,
        }
    }
}
