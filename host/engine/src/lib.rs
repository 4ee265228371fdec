//! Runs plugins: WebAssembly components that are loaded, granted, budgeted, pooled, swapped and called.
//!
//! It owns wasmtime and everything that a guest can reach: limits, services, compiled code. It refuses to know where
//! its rows are stored (they go through [`tables::Plugins`]), who sends messages, and how operators ask.
//! A guest's failure is data here: it may cost its own call, never the process.
//!
//! Start with [`Engine`], which is three ports of the domain, [`Filters`], [`Actors`] and [`Manager`]. Then follow a
//! message through `chain`, `seat`, `pool`, `instance` and `hooks`, a component through `manage`, `stage` and
//! `compile`, and an event through `actor`. What failures lead to is in `health`, with `breaker` and `poison`.
//!
//! ```
//! use godwit_engine::Options;
//! // Every budget has a default; what an operator leaves out keeps it.
//! let options: Options = toml::from_str("call_cpu_ms = 10").unwrap();
//! assert_eq!(options.call_wall_ms, 50);
//! ```

mod actor;
mod answer;
mod bindings;
mod breaker;
mod chain;
pub mod compile;
mod component;
mod faults;
mod grants;
mod health;
mod hooks;
mod instance;
mod manage;
mod manifest;
mod metrics;
mod options;
pub mod package;
mod poison;
mod pool;
mod rehearsal;
mod runtime;
mod seat;
mod services;
mod shadow;
mod stage;
mod state;
mod ticker;
mod wasi;
pub mod workbench;

pub use compile::{Program, child::main as compile_child};
pub use metrics::Metrics;
pub use options::{Breaker, Compile, Options, Poison, Rollback};

use async_trait::async_trait;
use godwit_domain::{
    actor::{Actor, Actors},
    filter::{Chain, Filters},
    id::Generation,
    kept::{Kv, Secrets},
    plugin::{
        self, Advance, Digest, Install, Installed, LogLine, Manager, Poisoned, Setting, Status, Upload,
        Uploaded,
    },
    tables,
    time::Clock,
};
use manage::{Live, Parts};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{sync::mpsc, task::JoinHandle};

/// How often idle instances are looked for.
const CHORES: Duration = Duration::from_secs(5);
/// Alarms that may wait to be carried out. One that finds no room is raised again by the next failure.
const ALARMS_MAX: usize = 64;

/// The plugin engine: filters for messages, management for operators.
pub struct Engine {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    chores: JoinHandle<()>,
    heed: JoinHandle<()>,
}

/// What plugins keep outside of their versions.
pub struct Kept {
    /// Rows of their `kv`, as `core` commits them.
    pub kv: Arc<dyn Kv>,
    /// What operators entrust to them.
    pub secrets: Arc<dyn Secrets>,
}

/// Why the engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Wasmtime does not run with these settings on this machine.
    #[error("plugin runtime: {0:#}")]
    Runtime(#[from] wasmtime::Error),
    /// Requests to other servers cannot be made.
    #[error("requests of plugins: {0}")]
    Http(std::io::Error),
    /// The folder of compiled components cannot be used.
    #[error("plugin cache: {0}")]
    Cache(#[from] std::io::Error),
    /// What is installed cannot be read.
    #[error(transparent)]
    Store(#[from] godwit_domain::waist::Error),
}

impl Engine {
    /// Opens the engine and loads what is installed: from `cache` (a folder of its own) or by compiling again with
    /// `compiler`. To be called within a tokio runtime with timers.
    pub async fn open(
        options: Options,
        tables: Arc<dyn tables::Plugins>,
        clock: Arc<dyn Clock>,
        cache: &Path,
        compiler: Program,
        kept: Kept,
    ) -> Result<Arc<Self>, Error> {
        let metrics = Arc::new(Metrics::default());
        let options = Arc::new(options);
        let engine = runtime::engine(&options)?;
        let cache = compile::cache::Cache::open(cache, &engine, options::mib(options.cache_mib) as u64)?;
        let compiler = compile::Compiler::new(engine.clone(), compiler, &options, cache, metrics.clone());
        // Before the first instance is made: it is cut by this clock.
        let ticker = ticker::Ticker::start(&engine)?;
        let (kv, secrets) = (kept.kv, kept.secrets);
        let actors = actor::stage::Stage::open(options.clone(), clock.clone(), metrics.clone(), kv, secrets)?;
        let stage = stage::Stage::new(options, clock.clone(), &engine, ticker, compiler, actors)?;
        let (alarms, heard) = mpsc::channel(ALARMS_MAX);
        let parts = Parts { tables, clock, metrics: metrics.clone(), alarms };
        let live = Live::load(stage, parts).await?;
        let heed = tokio::spawn(manage::heed(Arc::downgrade(&live), heard));
        let weak = Arc::downgrade(&live);
        let chores = tokio::spawn(async move {
            let mut chores = tokio::time::interval(CHORES);
            loop {
                chores.tick().await;
                match weak.upgrade() {
                    Some(live) => live.retire_idle(),
                    None => break,
                }
            }
        });
        Ok(Arc::new(Self { live, metrics, chores, heed }))
    }

    /// What is counted; to be registered by who serves metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.chores.abort();
        self.heed.abort();
    }
}

impl Filters for Engine {
    fn pin(&self) -> Arc<dyn Chain> {
        self.live.snapshot.load_full()
    }
}

impl Actors for Engine {
    fn all(&self) -> Vec<Arc<dyn Actor>> {
        let snapshot = self.live.snapshot.load();
        let actors = snapshot.seats().iter().filter_map(|seat| seat.actor.clone());
        actors.map(|actor| actor as Arc<dyn Actor>).collect()
    }

    fn on_change(&self, wake: Box<dyn Fn() + Send + Sync>) {
        self.live.on_change(wake);
    }
}

#[async_trait]
impl Manager for Engine {
    async fn upload(&self, component: Vec<u8>) -> Result<Uploaded, plugin::Error> {
        let live = self.live.clone();
        finish(async move { live.upload(component).await }).await
    }

    async fn uploads(&self) -> Result<Vec<Upload>, plugin::Error> {
        self.live.uploads().await
    }

    async fn discard(&self, digest: Digest) -> Result<(), plugin::Error> {
        let live = self.live.clone();
        finish(async move { live.discard(digest).await }).await
    }

    async fn install(&self, install: Install) -> Result<Installed, plugin::Error> {
        let live = self.live.clone();
        finish(async move { live.install(install).await }).await
    }

    async fn list(&self) -> Vec<Status> {
        self.live.list()
    }

    async fn rollback(&self, id: &str) -> Result<Installed, plugin::Error> {
        let (live, id) = (self.live.clone(), id.to_owned());
        finish(async move { live.rollback(&id).await }).await
    }

    async fn advance(&self, id: &str, advance: Advance) -> Result<Installed, plugin::Error> {
        let (live, id) = (self.live.clone(), id.to_owned());
        finish(async move { live.advance(&id, advance).await }).await
    }

    async fn set(&self, id: &str, setting: Setting) -> Result<Status, plugin::Error> {
        let (live, id) = (self.live.clone(), id.to_owned());
        finish(async move { live.set(&id, setting).await }).await
    }

    async fn remove(&self, id: &str) -> Result<Generation, plugin::Error> {
        let (live, id) = (self.live.clone(), id.to_owned());
        finish(async move { live.remove(&id).await }).await
    }

    async fn logs(&self, id: &str, after: u64) -> Result<Vec<LogLine>, plugin::Error> {
        self.live.logs(id, after)
    }

    async fn poisoned(&self, id: &str) -> Result<Vec<Poisoned>, plugin::Error> {
        self.live.poisoned(id)
    }

    async fn forgive(&self, id: &str) -> Result<usize, plugin::Error> {
        let (live, id) = (self.live.clone(), id.to_owned());
        finish(async move { live.forgive(&id).await }).await
    }

    async fn secrets(&self, id: &str) -> Result<Vec<String>, plugin::Error> {
        self.live.secrets(id).await
    }

    async fn set_secret(&self, id: &str, name: &str, value: Option<String>) -> Result<(), plugin::Error> {
        self.live.set_secret(id, name, value).await
    }
}

/// Carries out a change to its end, whether or not the caller stays to hear of it.
async fn finish<T: Send + 'static>(
    change: impl Future<Output = Result<T, plugin::Error>> + Send + 'static,
) -> Result<T, plugin::Error> {
    let done = tokio::spawn(change).await;
    done.unwrap_or_else(|error| Err(plugin::Error::Conflict(format!("the change was cut short: {error}"))))
}
