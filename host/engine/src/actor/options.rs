//! The settings of actors: what one call, one plugin and all of them may use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Budgets and limits of actors: bots, commands, notifiers and webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// CPU time in milliseconds that one call of an actor may use before it is cut.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub call_cpu_ms: u32,
    /// Wall-clock time in milliseconds after which a call is cut, whatever it waits for; also how long a call waits
    /// for a free instance.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub call_wall_ms: u32,
    /// Memory in MiB of one instance, all its memories together. An instance that has more than a quarter of it
    /// after `init` may grow to four times what it has.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub memory_mib: u32,
    /// The most memory in MiB that any instance may have, in `init` and after it, whatever its manifest asks.
    #[schemars(extend("exceeded" = "clamped, with a warning"))]
    pub memory_mib_max: u32,
    /// Memory in MiB of all instances of one plugin together: the larger they are, the fewer there may be.
    pub plugin_mib_max: u32,
    /// Instances of one plugin.
    pub instances_per_plugin: u32,
    /// Instances of all plugins together.
    pub instances_max: u32,
    /// Calls after which an instance is replaced by a fresh one.
    pub calls_per_instance: u32,
    /// Calls that may wait for an instance of one plugin; beyond that they are refused as busy.
    #[schemars(extend("exceeded" = "`unavailable`"))]
    pub waiting_max: u32,
    /// KiB that an actor may hand to the host at once: a call's result, or the arguments of a host function.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub result_kib_max: u32,
    /// Effects of one call: messages, edits, reactions, timers, and keys of its `kv` that it writes.
    #[schemars(extend("exceeded" = "the service answers `invalid`"))]
    pub effects_max: u32,
    /// KiB of all effects of one call together.
    #[schemars(extend("exceeded" = "the service answers `invalid`"))]
    pub effects_kib_max: u32,
    /// Keys of its `kv` that one call may read; and as many other reads (scans, history, members, users, secrets).
    #[schemars(extend("exceeded" = "the service answers `invalid`"))]
    pub reads_max: u32,
    /// Size in KiB of a value in a plugin's `kv`.
    #[schemars(extend("exceeded" = "the service answers `invalid`"))]
    pub kv_value_kib_max: u32,
    /// Length in bytes of a key in a plugin's `kv`.
    #[schemars(extend("exceeded" = "the service answers `invalid`"))]
    pub kv_key_bytes_max: u32,
    /// Size in MiB of the copy of a plugin's `kv` in memory, which filters read as `state`; the rest is not in it.
    #[schemars(extend("exceeded" = "left out, with a line in the plugin's log"))]
    pub state_mib_max: u32,
    /// Requests of plugins to other servers.
    pub http: Http,
}

/// Limits of requests to other servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Milliseconds that a request may take in all, redirects and the answer's body included.
    #[schemars(extend("exceeded" = "the service answers `timeout`"))]
    pub timeout_ms: u32,
    /// Requests of one call.
    #[schemars(extend("exceeded" = "the service answers `busy`"))]
    pub requests_max: u32,
    /// Requests of all plugins that are under way at once.
    #[schemars(extend("exceeded" = "the service answers `busy`"))]
    pub at_once_max: u32,
    /// Size in KiB of a request's body.
    #[schemars(extend("exceeded" = "the service answers `invalid`"))]
    pub request_kib_max: u32,
    /// Size in KiB of an answer's body.
    #[schemars(extend("exceeded" = "the service answers `too-large`"))]
    pub response_kib_max: u32,
    /// Size in KiB of the headers of a request, and of those of an answer.
    #[schemars(extend("exceeded" = "the service answers `invalid` or `connection`"))]
    pub headers_kib_max: u32,
    /// Redirects that a request follows, each checked as the request was.
    #[schemars(extend("exceeded" = "the service answers `too-large`"))]
    pub redirects_max: u32,
    /// A file of certificates (PEM) of authorities that are trusted beside those of the public internet.
    pub ca_file: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            call_cpu_ms: 1_000,
            call_wall_ms: 10_000,
            memory_mib: 64,
            memory_mib_max: 256,
            plugin_mib_max: 512,
            instances_per_plugin: 8,
            instances_max: 64,
            calls_per_instance: 1_000,
            waiting_max: 256,
            result_kib_max: 1_024,
            effects_max: 64,
            effects_kib_max: 1_024,
            reads_max: 256,
            kv_value_kib_max: 64,
            kv_key_bytes_max: 512,
            state_mib_max: 16,
            http: Http::default(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            timeout_ms: 8_000,
            requests_max: 16,
            at_once_max: 64,
            request_kib_max: 256,
            response_kib_max: 1_024,
            headers_kib_max: 16,
            redirects_max: 5,
            ca_file: None,
        }
    }
}

impl Options {
    pub(crate) fn call_wall(&self) -> Duration {
        Duration::from_millis(self.call_wall_ms.into())
    }
}
