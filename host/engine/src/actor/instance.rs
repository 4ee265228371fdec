//! One instance of an actor: made, called for one event at a time, thrown away after any failure.
//!
//! It owns the store and cuts every call at its budgets, as [`crate::instance`] does for filters; what differs is that
//! an actor waits for what it asks, and that its effects leave with its answer or not at all.

use super::{
    answer::{self, Answer},
    bindings::{self as wit, bot, command, inbound, lifecycle, notifier},
    running::{Means, Running},
};
use crate::{
    faults::{self, Fault},
    hooks::typed,
    instance::{Failure, cut},
    options::{Options, kib, mib},
    services::Private,
    state::{Budget, Memory, State},
    ticker::Ticker,
    wasi,
};
use godwit_domain::actor::{CommandSpec, Effects, Event, Hook, Invocation, Notification, Request};
use std::{
    pin::pin,
    sync::{Arc, OnceLock},
    time::Instant,
};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{Store, component::InstancePre};
use wasmtime_wasi::ResourceTable;

/// Everything that an instance of one plugin, version and configuration is made from.
pub(crate) struct Blueprint {
    pub(crate) version: Arc<str>,
    pub(crate) config: String,
    pub(crate) memory_mib: u32,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) pre: InstancePre<State>,
    /// Whether it has an `init`.
    pub(crate) lifecycle: bool,
    pub(crate) private: Arc<Private>,
    pub(crate) means: Means,
    pub(crate) options: Arc<Options>,
    pub(crate) ticker: Arc<Ticker>,
    /// Bytes of memory that each instance may have, known once the first one went through its `init`.
    pub(crate) bytes_max: OnceLock<usize>,
}

/// What is asked of an instance.
pub(crate) enum Ask<'a> {
    Event(&'a Event),
    Run(&'a Invocation),
    Handle(&'a Request),
    Notify(&'a Notification),
}

/// A live instance.
pub(crate) struct Instance {
    store: Store<State>,
    bot: Option<bot::Guest>,
    command: Option<command::Guest>,
    inbound: Option<inbound::Guest>,
    notifier: Option<notifier::Guest>,
    blueprint: Arc<Blueprint>,
    usable: bool,
    calls_left: u32,
    pub(crate) idle_since: Instant,
    /// Its place among the instances of all plugins.
    _place: OwnedSemaphorePermit,
}

/// The functions of a hook, where it is served.
macro_rules! guest {
    ($module:ident, $hook:expr, $blueprint:expr, $store:expr, $instance:expr) => {
        match $blueprint.hooks.contains(&$hook) {
            true => Some(
                $module::GuestIndices::new(&$blueprint.pre)
                    .and_then(|guest| guest.load(&mut $store, &$instance))
                    .map_err(|error| typed($hook.name(), error))?,
            ),
            false => None,
        }
    };
}

impl Instance {
    /// Instantiates the component and runs its `init`, within their own budget.
    pub(crate) async fn make(
        blueprint: Arc<Blueprint>,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Failure> {
        let options = blueprint.options.clone();
        blueprint.ticker.call_begins();
        let mut store = store(&blueprint);
        let made = async {
            let instance = blueprint.pre.instantiate_async(&mut store).await?;
            let bot = guest!(bot, Hook::Bot, blueprint, store, instance);
            let command = guest!(command, Hook::Command, blueprint, store, instance);
            let inbound = guest!(inbound, Hook::Inbound, blueprint, store, instance);
            let notifier = guest!(notifier, Hook::Notifier, blueprint, store, instance);
            let refusal = match blueprint.lifecycle {
                true => {
                    let lifecycle = lifecycle::GuestIndices::new(&blueprint.pre)
                        .and_then(|guest| guest.load(&mut store, &instance))
                        .map_err(|error| typed("lifecycle", error))?;
                    lifecycle.call_init(&mut store, &blueprint.config).await?.err()
                }
                false => None,
            };
            Ok((bot, command, inbound, notifier, refusal))
        };
        let spent = || format!("{} ms of CPU time in `init`", options.init_cpu_ms);
        let (bot, command, inbound, notifier, refusal) = cut(pin!(made), options.init_wall(), spent).await?;
        if let Some(refusal) = refusal {
            let shown = &refusal[..refusal.floor_char_boundary(1_000)];
            return Err(Failure::trap(format!("`init` refused the configuration: {shown}")));
        }
        let memory = &mut store.data_mut().memory;
        let after_init = memory.bytes;
        memory.bytes_max = *blueprint.bytes_max.get_or_init(|| {
            mib(blueprint.memory_mib).max(after_init * 4).min(mib(options.actors.memory_mib_max))
        });
        Ok(Self {
            store,
            bot,
            command,
            inbound,
            notifier,
            calls_left: options.actors.calls_per_instance.max(1),
            blueprint,
            usable: true,
            idle_since: Instant::now(),
            _place: place,
        })
    }

    /// Whether it may be called again; one that failed, or whose call was dropped, may not.
    pub(crate) fn usable(&self) -> bool {
        self.usable
    }

    /// Whether it has served its time.
    pub(crate) fn worn(&self) -> bool {
        self.calls_left == 0
    }

    /// Bytes of memory that it has, and may have.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let memory = &self.store.data().memory;
        (memory.bytes, memory.bytes_max)
    }

    fn begin(&mut self, running: Option<Running>) {
        // Stays so if this call fails, or if its future is dropped.
        self.usable = faults::on(Fault::StoreUsedAgain);
        self.calls_left = self.calls_left.saturating_sub(1);
        let granted_ms = self.blueprint.options.actors.call_cpu_ms;
        let state = self.store.data_mut();
        state.budget = Budget::of(granted_ms);
        state.running = running.map(Box::new);
        self.store.set_epoch_deadline(1);
        self.blueprint.ticker.call_begins();
    }

    /// Calls one hook. What it did through its services comes with its answer.
    pub(crate) async fn ask(&mut self, ask: Ask<'_>, running: Running) -> Result<(Answer, Effects), Failure> {
        self.begin(Some(running));
        let options = self.blueprint.options.clone();
        let wall = options.actors.call_wall();
        let spent = || format!("{} ms of CPU time", options.actors.call_cpu_ms);
        let store = &mut self.store;
        let answer = match ask {
            Ask::Event(event) => {
                let (guest, event) = (served(&self.bot, Hook::Bot)?, wit::event(event));
                cut(pin!(guest.call_on_event(store, &event)), wall, spent).await.map(answer::heard)
            }
            Ask::Run(invocation) => {
                let (guest, invocation) =
                    (served(&self.command, Hook::Command)?, wit::invocation(invocation));
                let call = pin!(guest.call_run(store, &invocation));
                cut(call, wall, spent).await.map(|answer| answer::replied(answer, &options))
            }
            Ask::Handle(request) => {
                let (guest, request) = (served(&self.inbound, Hook::Inbound)?, wit::request(request));
                let call = pin!(guest.call_handle(store, &request));
                cut(call, wall, spent).await.map(|answer| answer::responded(answer, &options))
            }
            Ask::Notify(notification) => {
                let (guest, told) =
                    (served(&self.notifier, Hook::Notifier)?, wit::notification(notification));
                cut(pin!(guest.call_notify(store, &told)), wall, spent).await.map(answer::notified)
            }
        };
        let running = self.store.data_mut().running.take();
        let answer = answer?.map_err(Failure::trap)?;
        let effects = running.map(|running| running.effects()).unwrap_or_default();
        self.usable = true;
        Ok((answer, effects))
    }

    /// What it says of its slash commands.
    pub(crate) async fn commands(&mut self) -> Result<Vec<CommandSpec>, Failure> {
        self.begin(None);
        let options = self.blueprint.options.clone();
        let spent = || format!("{} ms of CPU time in `commands`", options.actors.call_cpu_ms);
        let guest = served(&self.command, Hook::Command)?;
        let call = pin!(guest.call_commands(&mut self.store));
        let specs = cut(call, options.actors.call_wall(), spent).await?;
        let specs = answer::commands(specs).map_err(Failure::trap)?;
        self.usable = true;
        Ok(specs)
    }

    /// What it says of the kinds of devices that it serves.
    pub(crate) async fn kinds(&mut self) -> Result<Vec<String>, Failure> {
        self.begin(None);
        let options = self.blueprint.options.clone();
        let spent = || format!("{} ms of CPU time in `kinds`", options.actors.call_cpu_ms);
        let guest = served(&self.notifier, Hook::Notifier)?;
        let call = pin!(guest.call_kinds(&mut self.store));
        let kinds = cut(call, options.actors.call_wall(), spent).await?;
        let kinds = answer::kinds(kinds).map_err(Failure::trap)?;
        self.usable = true;
        Ok(kinds)
    }
}

fn served<G>(guest: &Option<G>, hook: Hook) -> Result<&G, Failure> {
    guest.as_ref().ok_or_else(|| Failure::trap(format!("hook `{}` is not served", hook.name())))
}

/// An empty store with every limit set.
fn store(blueprint: &Blueprint) -> Store<State> {
    let options = &blueprint.options;
    let mut table = ResourceTable::new();
    table.set_max_capacity(options.handles_max as usize);
    let state = State {
        private: blueprint.private.clone(),
        version: blueprint.version.clone(),
        wasi: wasi::context(&blueprint.private, &blueprint.version),
        table,
        budget: Budget::of(options.init_cpu_ms),
        memory: Memory {
            bytes: 0,
            bytes_max: blueprint.bytes_max.get().copied().unwrap_or(mib(options.actors.memory_mib_max)),
            table_elements_max: options.table_elements_max as usize,
        },
        running: None,
    };
    let mut store = Store::new(blueprint.pre.engine(), state);
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(kib(options.actors.result_kib_max));
    store.set_max_component_handles(options.handles_max as usize);
    store.set_epoch_deadline(1);
    let ticker = blueprint.ticker.clone();
    store.epoch_deadline_callback(move |mut store| Ok(store.data_mut().budget.tick(ticker.met())));
    store
}
