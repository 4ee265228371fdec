//! One instance of a plugin: made, asked one thing at a time, thrown away after any failure.
//!
//! It owns the store and cuts every call at its budgets; it refuses to know who waits for it.
//! A store in which a call trapped, was cut or was dropped is never used again: [`Instance::usable`] says so.

use crate::{
    answer::Answer,
    bindings::{Told, lifecycle},
    faults::{self, Fault},
    hooks::{Guests, Question, typed},
    metrics::Meter,
    options::{Options, kib, mib},
    services::Private,
    state::{Budget, Memory, State},
    ticker::Ticker,
    wasi,
};
use godwit_domain::filter::{Decision, Hook};
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};
use wasmtime::{FrameSymbol, Store, Trap, WasmBacktrace, component::InstancePre};
use wasmtime_wasi::ResourceTable;

/// Everything that an instance of one plugin, version and configuration is made from.
pub(crate) struct Blueprint {
    pub(crate) id: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) config: String,
    pub(crate) memory_mib: u32,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) pre: InstancePre<State>,
    /// Whether it has an `init`.
    pub(crate) lifecycle: bool,
    pub(crate) private: Arc<Private>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) options: Arc<Options>,
    /// Runs for as long as there may be calls to cut, be it only those of a snapshot that someone still holds.
    pub(crate) ticker: Arc<Ticker>,
}

/// A call that gave no answer.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// [`Decision::Trap`], [`Decision::Deadline`], [`Decision::Busy`], [`Decision::Open`] or [`Decision::Poison`].
    pub(crate) how: Decision,
    /// Of a trap: which kind, one of [`crate::metrics::TRAPS`].
    pub(crate) kind: &'static str,
    /// For the operator.
    pub(crate) why: String,
}

impl Failure {
    /// It broke a rule of the host.
    pub(crate) fn trap(why: impl Into<String>) -> Self {
        Self { how: Decision::Trap, kind: "host", why: why.into() }
    }

    /// It was not asked.
    pub(crate) fn not_asked(how: Decision, why: impl Into<String>) -> Self {
        Self { how, kind: "", why: why.into() }
    }

    pub(crate) fn deadline(why: impl Into<String>) -> Self {
        Self { how: Decision::Deadline, kind: "", why: why.into() }
    }
}

/// A live instance.
pub(crate) struct Instance {
    store: Store<State>,
    guests: Guests,
    blueprint: Arc<Blueprint>,
    usable: bool,
    calls_left: u32,
    /// What the meter counts of its memory.
    metered_bytes: usize,
    /// When it was made, or asked last.
    pub(crate) asked_at: Instant,
    /// By which thread: see [`thread`].
    pub(crate) asked_by: usize,
}

impl Instance {
    /// Instantiates the component and runs its `init`, within their own budget.
    pub(crate) async fn make(blueprint: Arc<Blueprint>) -> Result<Self, Failure> {
        let options = blueprint.options.clone();
        blueprint.ticker.call_begins();
        let mut store = store(&blueprint);
        let made = async {
            let instance = blueprint.pre.instantiate_async(&mut store).await?;
            let pre = &blueprint.pre;
            let guests = Guests::load(&blueprint.hooks, pre, &mut store, &instance)?;
            let refusal = match blueprint.lifecycle && !faults::on(Fault::InitSkipped) {
                true => {
                    let lifecycle = lifecycle::GuestIndices::new(pre)
                        .and_then(|guest| guest.load(&mut store, &instance))
                        .map_err(|error| typed("lifecycle", error))?;
                    lifecycle.call_init(&mut store, &blueprint.config).await?.err()
                }
                false => None,
            };
            Ok((guests, refusal))
        };
        let spent = || format!("{} ms of CPU time in `init`", options.init_cpu_ms);
        let (guests, refusal) = cut(pin!(made), options.init_wall(), spent).await?;
        if let Some(refusal) = refusal {
            let shown = &refusal[..refusal.floor_char_boundary(1_000)];
            return Err(Failure::trap(format!("`init` refused the configuration: {shown}")));
        }

        let memory = &mut store.data_mut().memory;
        memory.bytes_max = mib(blueprint.memory_mib).max(memory.bytes * 4).min(mib(options.memory_mib_max));
        blueprint.meter.live.inc();
        blueprint.meter.created.inc();
        let metered_bytes = memory.bytes;
        blueprint.meter.memory_bytes.inc_by(metered_bytes as i64);
        let calls_left = jitter(options.calls_per_instance.max(1));
        let (asked_at, asked_by) = (Instant::now(), 0);
        Ok(Self { store, guests, blueprint, usable: true, calls_left, metered_bytes, asked_at, asked_by })
    }

    /// Whether it may be called again; one that failed, or whose call was dropped, may not.
    pub(crate) fn usable(&self) -> bool {
        self.usable
    }

    /// Bytes of memory that it has, and may have.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let memory = &self.store.data().memory;
        (memory.bytes, memory.bytes_max)
    }

    /// Whether it has served its time.
    pub(crate) fn worn(&self) -> bool {
        self.calls_left == 0
    }

    /// Asks one hook, at the time `now`. `cpu_ms` is what is left of the common budget and is reduced by what the call
    /// used.
    pub(crate) async fn ask(
        &mut self,
        told: &Told<'_>,
        question: Question<'_>,
        now: Instant,
        cpu_ms: &mut u32,
    ) -> Result<Answer, Failure> {
        let Self { store, guests, blueprint, .. } = self;
        let options = &blueprint.options;
        let granted_ms = options.call_cpu_ms.min(*cpu_ms);
        // Stays so if this call fails, or if its future is dropped.
        self.usable = faults::on(Fault::StoreUsedAgain);
        self.calls_left = self.calls_left.saturating_sub(1);
        (self.asked_at, self.asked_by) = (now, thread());
        store.data_mut().budget = Budget::of(granted_ms);
        store.set_epoch_deadline(1);
        blueprint.ticker.call_begins();

        let spent = || format!("{granted_ms} ms of CPU time");
        let answer = {
            let call = pin!(guests.ask(&mut *store, told, question, options));
            cut(call, options.call_wall(), spent).await
        };
        let State { budget, memory, .. } = store.data();
        *cpu_ms = cpu_ms.saturating_sub(budget.used_ms);
        // Most calls end before a tick meets them.
        if budget.sampled_ms > 0 {
            blueprint.meter.used(question.hook(), budget.sampled_ms);
        }
        let bytes = memory.bytes;
        if bytes != self.metered_bytes {
            blueprint.meter.memory_bytes.inc_by(bytes as i64 - self.metered_bytes as i64);
            self.metered_bytes = bytes;
        }
        let answer = answer?.map_err(Failure::trap)?;
        self.usable = true;
        Ok(answer)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.blueprint.meter.live.dec();
        self.blueprint.meter.memory_bytes.dec_by(self.metered_bytes as i64);
        self.blueprint.meter.retired.inc();
    }
}

/// An empty store with every limit set.
fn store(blueprint: &Blueprint) -> Store<State> {
    let options = &blueprint.options;
    let mut table = ResourceTable::new();
    if !faults::on(Fault::HandlesUnbounded) {
        table.set_max_capacity(options.handles_max as usize);
    }
    let state = State {
        private: blueprint.private.clone(),
        version: blueprint.version.clone(),
        wasi: wasi::context(&blueprint.private, &blueprint.version),
        table,
        budget: Budget::of(options.init_cpu_ms),
        memory: Memory {
            bytes: 0,
            bytes_max: mib(options.memory_mib_max),
            table_elements_max: options.table_elements_max as usize,
        },
        running: None,
    };
    let mut store = Store::new(blueprint.pre.engine(), state);
    store.limiter(|state| &mut state.memory);
    if !faults::on(Fault::ResultUnbounded) {
        store.set_hostcall_fuel(kib(options.result_kib_max));
    }
    if !faults::on(Fault::HandlesUnbounded) {
        store.set_max_component_handles(options.handles_max as usize);
    }
    // A new store's deadline has passed already.
    store.set_epoch_deadline(1);
    let ticker = blueprint.ticker.clone();
    store.epoch_deadline_callback(move |mut store| Ok(store.data_mut().budget.tick(ticker.met())));
    store
}

/// Tells the threads that ask apart; none is 0.
pub(crate) fn thread() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

/// Runs a call to its end or its budgets: CPU time is counted by the store, wall-clock time here.
///
/// Most calls end before they are polled a second time, so only those that do not pay for a timer; a poll lasts at
/// most until the next tick of the epoch. The call is pinned where it was made: it is large, and would be copied.
pub(crate) async fn cut<T>(
    mut call: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    wall: Duration,
    cpu: impl Fn() -> String,
) -> Result<T, Failure> {
    let first = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
    let result = match first {
        Poll::Ready(result) => result,
        Poll::Pending if faults::on(Fault::WallUnbounded) => call.await,
        Poll::Pending => match Box::pin(tokio::time::timeout(wall, call)).await {
            Ok(result) => result,
            Err(_) => return Err(Failure::deadline(format!("more than {} ms passed", wall.as_millis()))),
        },
    };
    result.map_err(|error| {
        let place = place(&error).map(|place| format!(", {place}")).unwrap_or_default();
        match error.downcast_ref::<Trap>() {
            // The instances of other plugins are all there may be: nothing that this one did.
            None if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                Failure::not_asked(Decision::Busy, format!("{error:#}"))
            }
            Some(Trap::Interrupt) => Failure::deadline(format!("more than {} used{place}", cpu())),
            trap => {
                let why = match trap {
                    Some(trap) => trap.to_string(),
                    // Around what a host function said stands only where the guest was.
                    None if error.downcast_ref::<WasmBacktrace>().is_some() => error.root_cause().to_string(),
                    None => format!("{error:#}"),
                };
                Failure { how: Decision::Trap, kind: kind(trap, &why), why: why + &place }
            }
        }
    })
}

/// Where in the guest it was, as far as the component says so: its author's own source rather than what that calls.
fn place(error: &wasmtime::Error) -> Option<String> {
    let frames = error.downcast_ref::<WasmBacktrace>()?.frames();
    let lines = || frames.iter().flat_map(|frame| frame.symbols());
    let line = |symbol: &FrameSymbol| Some((symbol.file()?.to_owned(), symbol.line()?));
    let own = lines().filter_map(line).find(|(file, _)| !FOREIGN.iter().any(|part| file.contains(part)));
    if let Some((file, line)) = own.or_else(|| lines().find_map(line)) {
        return Some(format!("at {file}:{line}"));
    }
    let name = frames.iter().find_map(|frame| frame.func_name())?;
    Some(format!("in `{}`", &name[..name.floor_char_boundary(100)]))
}

/// What sources of libraries have in their paths.
const FOREIGN: [&str; 3] = ["/rustc/", "/.cargo/", "/godwit/sdk/"];

/// Which kind of trap it was, for metrics.
fn kind(trap: Option<&Trap>, why: &str) -> &'static str {
    match trap {
        Some(Trap::UnreachableCodeReached) => "unreachable",
        Some(Trap::StackOverflow) => "stack",
        Some(Trap::MemoryOutOfBounds | Trap::HeapMisaligned | Trap::TableOutOfBounds) => "out-of-bounds",
        Some(_) => "other",
        // What the limiter says of growth; there is no type to know it by.
        None if why.contains("memory limit") || why.contains("table limit") => "memory",
        None => "host",
    }
}

/// `calls`, give or take a quarter, so that instances that began together do not end together.
fn jitter(calls: u32) -> u32 {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    let spread = calls / 2;
    calls - spread / 2 + ((u64::from(random) * u64::from(spread)) >> 32) as u32
}
