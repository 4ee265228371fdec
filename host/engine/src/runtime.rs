//! How wasmtime is set up: the engine of filters, and what is linked.
//!
//! Every limit of wasmtime that is off by default is set here or in [`crate::instance`].

use crate::{
    bindings::{log, rate},
    options::{Options, kib, mib},
    state::State,
    wasi,
};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig,
    component::{HasSelf, Linker},
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
        // Filters have no `async func`; without this a call is half a microsecond cheaper or more.
        .concurrency_support(false)
        // The compiling process is one of the machine's many tasks, and may not start threads.
        .parallel_compilation(false)
        .wasm_memory64(false);
    config
}

/// The engine in which filters run.
pub(crate) fn engine(options: &Options) -> wasmtime::Result<Engine> {
    let instances = options.instances_max.max(1);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(16))
        .total_memories(instances.saturating_mul(2))
        .total_tables(instances.saturating_mul(8))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memory_size(mib(options.memory_mib_max))
        .table_elements(options.table_elements_max as usize);
    let mut config = config();
    config
        .max_wasm_stack(kib(options.stack_kib))
        .async_stack_size(kib(options.stack_kib) + HOST_STACK_BYTES)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// What every filter is linked to. What is not in here cannot be imported.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker)?;
    log::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    rate::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}
