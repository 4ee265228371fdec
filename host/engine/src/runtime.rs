//! How wasmtime is set up: the engines of filters and of actors, what is linked, and the clock that cuts long calls.
//!
//! Every limit of wasmtime that is off by default is set here or in [`crate::instance`].

use crate::{
    actor::services,
    options::{Options, kib, mib},
    state::State,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::Thread,
    time::Duration,
};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails,
    component::Linker,
};

/// Core instances in one component; components made from JavaScript or Python have about a hundred.
const CORE_INSTANCES_MAX: u32 = 128;
/// Memories, and tables, in one component.
pub(crate) const MEMORIES_MAX: u32 = 8;
pub(crate) const TABLES_MAX: u32 = 32;
/// Host functions run on the call's stack as well; this is theirs.
const HOST_STACK_BYTES: usize = 512 << 10;

/// The settings that compiled code depends on: the same here and in the compiling process.
pub(crate) fn config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // Interface 0.1 has no `async func`; without this a call is half a microsecond cheaper or more.
        .concurrency_support(false)
        // The compiling process is one of the machine's many tasks, and may not start threads.
        .parallel_compilation(false)
        // Where a component says which line its code came from, a trap names the line.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_memory64(false);
    config
}

/// The engine in which filters run.
pub(crate) fn engine(options: &Options) -> wasmtime::Result<Engine> {
    pooling(options, options.instances_max, options.memory_mib_max)
}

/// The engine in which actors run: beside that of filters, so that neither can use up the other's instances. It has
/// the same settings for code, so that both load what was compiled once.
pub(crate) fn actors(options: &Options) -> wasmtime::Result<Engine> {
    pooling(options, options.actors.instances_max, options.actors.memory_mib_max)
}

fn pooling(options: &Options, instances: u32, memory_mib_max: u32) -> wasmtime::Result<Engine> {
    let instances = instances.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(16))
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(8))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memory_size(mib(memory_mib_max))
        .table_elements(options.table_elements_max as usize);
    let mut config = config();
    config
        .max_wasm_stack(kib(options.stack_kib))
        .async_stack_size(kib(options.stack_kib) + HOST_STACK_BYTES)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// What every plugin is linked to, beside what it was granted. What is in neither cannot be imported.
pub(crate) fn linker(engine: &Engine, waits: bool) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    services::link_always(&mut linker, waits)?;
    Ok(linker)
}

/// After how many ticks without a new call the ticker sleeps: longer than any call may take.
const IDLE_TICKS_MAX: u32 = 20_000;

/// Advances the engine's epoch each millisecond while there are calls, until it is dropped.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Default)]
struct Shared {
    /// Counts calls, so that the thread sees whether there are any.
    calls: AtomicU64,
    /// The thread sleeps until it is woken.
    parked: AtomicBool,
    stopped: AtomicBool,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let (engine, shared) = (engine.clone(), Arc::<Shared>::default());
        let seen = shared.clone();
        let run = move || {
            let (mut calls, mut idle_ticks) = (0, 0);
            // Nothing runs before the first call.
            seen.sleep(calls);
            while !seen.stopped.load(SeqCst) {
                std::thread::park_timeout(Duration::from_millis(1));
                engine.increment_epoch();
                let now = seen.calls.load(SeqCst);
                idle_ticks = if now == calls { idle_ticks + 1 } else { 0 };
                calls = now;
                if idle_ticks > IDLE_TICKS_MAX {
                    seen.sleep(calls);
                    idle_ticks = 0;
                }
            }
        };
        let thread = std::thread::Builder::new().name("plugin-ticker".to_owned()).spawn(run)?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// A call or an `init` begins: from now on the epoch advances.
    pub(crate) fn call_begins(&self) {
        self.shared.calls.fetch_add(1, SeqCst);
        if self.shared.parked.load(SeqCst) {
            self.thread.unpark();
        }
    }
}

impl Shared {
    /// Sleeps until there is a call beyond these.
    fn sleep(&self, calls: u64) {
        self.parked.store(true, SeqCst);
        // Asked after `parked` is set: a call that began before has been counted, one that begins now wakes.
        while self.calls.load(SeqCst) == calls && !self.stopped.load(SeqCst) {
            std::thread::park();
        }
        self.parked.store(false, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        self.thread.unpark();
    }
}
