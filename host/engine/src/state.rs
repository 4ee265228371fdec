//! What the host keeps beside each instance: its limits, its budget, and whose it is.

use crate::{
    actor::running::Running,
    bindings::{log, rate, types},
    faults::{self, Fault},
    runtime::{MEMORIES_MAX, TABLES_MAX},
    services::Private,
};
use std::sync::Arc;
use wasmtime::{ResourceLimiter, UpdateDeadline};
use wasmtime_wasi::{ResourceTable, WasiCtx, WasiCtxView, WasiView};

/// The data of an instance's store.
pub(crate) struct State {
    pub(crate) private: Arc<Private>,
    pub(crate) version: Arc<str>,
    pub(crate) wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) budget: Budget,
    pub(crate) memory: Memory,
    /// The call of an actor that runs; none in filters, nor while an instance is made.
    pub(crate) running: Option<Box<Running>>,
}

/// The CPU time of one call, counted in ticks of a millisecond.
///
/// What is counted is how often the guest was found running, not how much time passed: time in which other threads
/// had the processor is not the guest's.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) used_ms: u32,
    pub(crate) granted_ms: u32,
    /// For how long the ticks stand that met it: over many calls the time that they took, for metrics.
    pub(crate) sampled_ms: u32,
}

impl Budget {
    /// What a call may use.
    pub(crate) fn of(granted_ms: u32) -> Self {
        Self { granted_ms, ..Self::default() }
    }

    /// The epoch moved on while the guest was running, after that much time.
    pub(crate) fn tick(&mut self, elapsed_ms: u32) -> UpdateDeadline {
        self.used_ms += 1;
        self.sampled_ms += elapsed_ms;
        // The first tick counts as one, however late it comes: what a short call used before is not known.
        match self.used_ms {
            used if used > self.granted_ms && !faults::on(Fault::CpuUnbounded) => UpdateDeadline::Interrupt,
            // A short call that a tick happens to meet goes on: yielding, it would keep its instance for as long as
            // every other task takes, and calls would queue behind it.
            1 => UpdateDeadline::Continue(1),
            _ => UpdateDeadline::Yield(1),
        }
    }
}

/// The memory of one instance: all its memories together.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) bytes: usize,
    pub(crate) bytes_max: usize,
    pub(crate) table_elements_max: usize,
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let bytes = self.bytes - current + desired;
        if bytes > self.bytes_max && !faults::on(Fault::MemoryUnbounded) {
            // An error and not a refusal, so that the log says what ended the call.
            wasmtime::bail!("memory limit: {bytes} bytes asked, the limit is {}", self.bytes_max);
        }
        self.bytes = bytes;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.table_elements_max && !faults::on(Fault::TableUnbounded) {
            let limit = self.table_elements_max;
            wasmtime::bail!("table limit: {desired} elements asked, the limit is {limit}");
        }
        Ok(true)
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for State {}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Trace => "trace",
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.private.log(level, &self.version, &message);
    }
}

impl rate::Host for State {
    fn hit(&mut self, key: String, window_ms: u32) -> u32 {
        self.private.hit(&key, window_ms)
    }

    fn peek(&mut self, key: String, window_ms: u32) -> u32 {
        self.private.peek(&key, window_ms)
    }
}
