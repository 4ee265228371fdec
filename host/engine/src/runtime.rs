//! How wasmtime is set up: the engines of filters and of actors, and what is linked.
//!
//! Every limit of wasmtime that is off by default is set here or in [`crate::instance`].

use crate::{
    actor::services,
    options::{Options, kib, mib},
    state::State,
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
