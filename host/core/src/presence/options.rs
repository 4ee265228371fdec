//! The settings of presence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[presence]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How long a session lasts before its user counts as online, in milliseconds.
    pub online_after_ms: u64,
    /// For how long a user's last session is gone before they count as offline, in milliseconds.
    pub offline_after_ms: u64,
    /// How often at most it is written when a user was seen last, in milliseconds.
    pub last_seen_interval_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { online_after_ms: 3_000, offline_after_ms: 5_000, last_seen_interval_ms: 60_000 }
    }
}
