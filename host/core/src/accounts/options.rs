//! The settings of accounts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[auth]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whether people may register themselves; where they may not, administrators make the accounts.
    pub registration: bool,
    /// How long an access token is good for, in seconds; clients refresh it before.
    pub access_ttl_s: u64,
    /// How long a login lasts without being refreshed, in seconds.
    pub refresh_ttl_s: u64,
    /// The memory that one password hash takes, in KiB; at least 8. What is stored already keeps its own cost.
    pub hash_memory_kib: u32,
    /// How many times a password hash passes over its memory; at least 1.
    pub hash_passes: u32,
    /// How many passwords are hashed at once; each takes a core and its memory for some tens of milliseconds.
    pub hashes_at_once_max: usize,
    /// How many passwords may wait to be hashed; whoever comes after that is asked to try again.
    #[schemars(extend("exceeded" = "`unavailable`"))]
    pub hashes_waiting_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registration: true,
            access_ttl_s: 15 * 60,
            refresh_ttl_s: 30 * 24 * 60 * 60,
            hash_memory_kib: 19 * 1024,
            hash_passes: 2,
            hashes_at_once_max: 2,
            hashes_waiting_max: 64,
        }
    }
}

/// A setting that cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misconfigured {
    /// A number that has to be 1 or more is 0.
    #[error("auth.{0} is 0, it must be at least 1")]
    Zero(&'static str),
    /// The cost of a hash is outside of what argon2id knows.
    #[error(
        "auth.hash_memory_kib {memory_kib} with auth.hash_passes {passes} is no cost of argon2id: {source}"
    )]
    Cost {
        /// The memory asked for.
        memory_kib: u32,
        /// The passes asked for.
        passes: u32,
        /// What argon2 says.
        source: argon2::Error,
    },
    /// There is no randomness to be had, or hashing itself does not work.
    #[error("passwords cannot be hashed: {0}")]
    Hashing(argon2::password_hash::Error),
}

impl Options {
    /// Refuses numbers under which nothing would work.
    pub(super) fn check(&self) -> Result<(), Misconfigured> {
        let at_least_one = [
            ("access_ttl_s", self.access_ttl_s),
            ("refresh_ttl_s", self.refresh_ttl_s),
            ("hashes_at_once_max", self.hashes_at_once_max as u64),
        ];
        match at_least_one.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Misconfigured::Zero(name)),
            None => Ok(()),
        }
    }
}
