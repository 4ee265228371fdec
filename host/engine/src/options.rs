//! The settings that this crate obeys: every budget and limit of plugins.
//!
//! Each field's documentation is the operator's documentation of the setting.
//! It refuses to know where the values come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Budgets and limits of plugins. What a plugin asks for beyond them is clamped, and the clamp is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// CPU time in milliseconds that one call of a filter may use before it is cut.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub call_cpu_ms: u32,
    /// CPU time in milliseconds that all filters together may use on one message before it has its number.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub chain_cpu_ms: u32,
    /// CPU time in milliseconds that all fan-out rules and delivery policies together may use on one message.
    #[schemars(extend("exceeded" = "the built-in rule"))]
    pub deliver_cpu_ms: u32,
    /// Wall-clock time in milliseconds after which a call is cut, whatever it waits for; also how long a call waits
    /// for a free instance.
    pub call_wall_ms: u32,
    /// CPU time in milliseconds for making an instance: instantiation and its `init`.
    #[schemars(extend("exceeded" = "refused, status 422"))]
    pub init_cpu_ms: u32,
    /// Wall-clock time in milliseconds for the same.
    pub init_wall_ms: u32,
    /// Memory in MiB of one instance, all its memories together. An instance that has more than a quarter of it
    /// after `init` may grow to four times what it has.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub memory_mib: u32,
    /// The most memory in MiB that any instance may have, in `init` and after it, whatever its manifest asks.
    #[schemars(extend("exceeded" = "clamped, with a warning"))]
    pub memory_mib_max: u32,
    /// Stack in KiB of one call.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub stack_kib: u32,
    /// Elements of one table of functions.
    pub table_elements_max: u32,
    /// Handles (streams, pollables and the like) that one instance may hold.
    pub handles_max: u32,
    /// KiB that a plugin may hand to the host at once: a call's result, or the arguments of a host function.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub result_kib_max: u32,
    /// Bytes of a body that a plugin rewrote.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub body_bytes_max: u32,
    /// Mentions in content that a plugin rewrote.
    #[schemars(extend("exceeded" = "the hook fails"))]
    pub mentions_max: u32,
    /// Instances of one plugin; 0 stands for twice the number of cores.
    pub instances_per_plugin: u32,
    /// Instances of all plugins together.
    pub instances_max: u32,
    /// Calls after which an instance is replaced by a fresh one, give or take a quarter.
    pub calls_per_instance: u32,
    /// Seconds after which an instance that nobody called is dropped; one always stays.
    pub instance_idle_s: u32,
    /// Calls that may wait for an instance of one plugin; beyond that they are refused as busy.
    #[schemars(extend("exceeded" = "`unavailable`"))]
    pub waiting_max: u32,
    /// Calls of one user that may wait for an instance of one plugin.
    #[schemars(extend("exceeded" = "`unavailable`"))]
    pub waiting_per_user_max: u32,
    /// Keys that one plugin may count by at once; the least recently counted is forgotten first.
    #[schemars(extend("exceeded" = "the oldest goes"))]
    pub rate_keys_max: u32,
    /// Log lines that one plugin may write in a second; those beyond are counted and dropped.
    #[schemars(extend("exceeded" = "dropped, and counted"))]
    pub log_lines_per_s: u32,
    /// Bytes of a log line; the rest is cut off.
    #[schemars(extend("exceeded" = "cut off"))]
    pub log_line_bytes_max: u32,
    /// Log lines kept in memory for one plugin.
    #[schemars(extend("exceeded" = "the oldest goes"))]
    pub log_lines_kept: u32,
    /// Size in MiB of a component.
    #[schemars(extend("exceeded" = "refused, status 422"))]
    pub component_mib_max: u32,
    /// Core modules in a component.
    #[schemars(extend("exceeded" = "refused, status 422"))]
    pub core_modules_max: u32,
    /// Size in KiB of a manifest.
    #[schemars(extend("exceeded" = "refused, status 422"))]
    pub manifest_kib_max: u32,
    /// Size in KiB of a configuration.
    #[schemars(extend("exceeded" = "refused, status 422"))]
    pub config_kib_max: u32,
    /// Size in MiB of the compiled components that are kept on disk.
    pub cache_mib: u32,
    /// The process that compiles components.
    pub compile: Compile,
}

/// Limits of the process that compiles a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Compile {
    /// CPU time in seconds.
    #[schemars(extend("exceeded" = "refused, status 422"))]
    pub cpu_s: u32,
    /// Wall-clock time in seconds.
    #[schemars(extend("exceeded" = "refused, status 422"))]
    pub wall_s: u32,
    /// Address space in MiB.
    pub memory_mib: u32,
    /// Size in MiB of what it makes.
    #[schemars(extend("exceeded" = "refused, status 422"))]
    pub artefact_mib_max: u32,
    /// How far the process stands back for others: 0 not at all, 19 most.
    pub nice: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            call_cpu_ms: 5,
            chain_cpu_ms: 20,
            deliver_cpu_ms: 100,
            call_wall_ms: 50,
            init_cpu_ms: 1_000,
            init_wall_ms: 10_000,
            memory_mib: 16,
            memory_mib_max: 64,
            stack_kib: 512,
            table_elements_max: 20_000,
            handles_max: 1_000,
            result_kib_max: 64,
            body_bytes_max: 16 * 1024,
            mentions_max: 100,
            instances_per_plugin: 0,
            instances_max: 256,
            calls_per_instance: 100_000,
            instance_idle_s: 60,
            waiting_max: 1_024,
            waiting_per_user_max: 4,
            rate_keys_max: 65_536,
            log_lines_per_s: 100,
            log_line_bytes_max: 4_096,
            log_lines_kept: 1_000,
            component_mib_max: 64,
            core_modules_max: 64,
            manifest_kib_max: 64,
            config_kib_max: 1_024,
            cache_mib: 512,
            compile: Compile::default(),
        }
    }
}

impl Default for Compile {
    fn default() -> Self {
        Self { cpu_s: 60, wall_s: 120, memory_mib: 2_048, artefact_mib_max: 256, nice: 10 }
    }
}

impl Options {
    /// How many instances a plugin begins with.
    pub(crate) fn warm_instances(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.instances().min(cores)
    }

    /// How many instances one plugin may have on this machine.
    pub(crate) fn instances(&self) -> usize {
        match self.instances_per_plugin {
            0 => 2 * std::thread::available_parallelism().map_or(1, usize::from),
            set => set as usize,
        }
    }

    pub(crate) fn call_wall(&self) -> Duration {
        Duration::from_millis(self.call_wall_ms.into())
    }

    pub(crate) fn init_wall(&self) -> Duration {
        Duration::from_millis(self.init_wall_ms.into())
    }
}

/// `mib` MiB in bytes.
pub(crate) const fn mib(mib: u32) -> usize {
    (mib as usize) << 20
}

/// `kib` KiB in bytes.
pub(crate) const fn kib(kib: u32) -> usize {
    (kib as usize) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_settings_are_refused_by_name() {
        let error = toml::from_str::<Options>("call_cpu_s = 5").unwrap_err().to_string();
        assert!(error.contains("call_cpu_s"), "{error}");
        let error = toml::from_str::<Options>("[compile]\nthreads = 5").unwrap_err().to_string();
        assert!(error.contains("threads"), "{error}");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let options: Options = toml::from_str("memory_mib = 8\n[compile]\ncpu_s = 1").unwrap();
        let compile = Compile { cpu_s: 1, ..Compile::default() };
        assert_eq!(options, Options { memory_mib: 8, compile, ..Options::default() });
    }
}
