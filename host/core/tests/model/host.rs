//! A real host on a real store whose bytes are in memory, without sockets; it can die at any moment.

use async_trait::async_trait;
use godwit_core::{
    accounts::{self, Key},
    changes::Changes,
    domain::{
        filter::{Chain, Filters, Judgement, Scene, Verdict},
        id::{Generation, UserId},
        message::{Content, Message},
        notification::Undelivered,
        tables::Conversations,
        time::{Clock, Ms},
    },
    host::{Host, Parts, Transport},
    limits,
    metrics::Metrics,
    presence,
    registry::Registry,
    session::resume,
};
use godwit_storage::{redb, tables::Tables};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::runtime::{Builder, Runtime};

pub const EPOCH: &str = "the-only-one";
pub const START_MS: u64 = 1_800_000_000_000;
const TOKEN_TTL_S: u64 = 3_600;

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct Hands(AtomicU64);

impl Hands {
    pub fn pass(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Ms {
        Ms(self.0.load(Ordering::Relaxed))
    }
}

/// What outlives a host.
pub struct Disk {
    pub clock: Arc<Hands>,
    backend: Arc<redb::Backend>,
    tables: Arc<Tables>,
}

/// One host, from its start to its death.
pub struct Life {
    // Its tasks end with the runtime, wherever they stand; so it is dropped before what they use.
    pub runtime: Runtime,
    pub host: Arc<Host>,
    accounts: Arc<accounts::Service>,
}

impl Disk {
    pub fn new() -> Self {
        let clock = Arc::new(Hands(AtomicU64::new(START_MS)));
        let options = redb::Options { cache_bytes: 1 << 20, ..redb::Options::default() };
        let [file, journal] = [(); 2].map(|()| ::redb::backends::InMemoryBackend::new());
        let metrics = redb::Metrics::default();
        let opened = redb::Backend::open_on(file, journal, "memory", &options, clock.clone(), metrics);
        let backend = opened.expect("memory can be opened");
        let tables = Arc::new(Tables::new(backend.clone(), clock.clone()));
        Self { clock, backend, tables }
    }

    /// Starts a host.
    pub fn start(&self) -> Life {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let (host, accounts) = runtime.block_on(self.host());
        Life { runtime, host, accounts }
    }

    pub fn close(&self, life: Life) {
        // Where it cannot be closed, the bytes are forgotten all the same.
        let _ = life.runtime.block_on(self.backend.close());
    }

    async fn host(&self) -> (Arc<Host>, Arc<accounts::Service>) {
        let (tables, clock) = (self.tables.clone(), self.clock.clone());
        // What the host before had handed to the writer is in the file when this is: as if the process had died then.
        let bound = tables.change_bound().await.expect("the store works");
        tables.raise_change_bound(bound).await.expect("the store works");
        let registry = Arc::<Registry>::default();
        let options = accounts::Options { hash_memory_kib: 8, hash_passes: 1, ..Default::default() };
        let key = Key::new(&[7; Key::LEN]);
        let service =
            accounts::Service::new(options, 0, key, tables.clone(), clock.clone(), registry.clone());
        let accounts = Arc::new(service.expect("the options are in order"));
        let host = Host::start(Parts {
            limits: limits::Options { sends_per_s: 0, requests_per_s: 0, ..Default::default() },
            transport: Transport {
                server: "godwit/model".into(),
                ping_interval_ms: 25_000,
                frame_bytes_max: 1 << 17,
                outbox_bytes_max: 1 << 20,
                features: &[],
            },
            epoch: EPOCH.into(),
            conversations: tables.clone(),
            relation_tables: tables.clone(),
            held: tables.clone(),
            deferrals: tables.clone(),
            notifications: Arc::new(Undelivered),
            account_tables: tables.clone(),
            changes: Changes::start(clock.clone(), tables.clone()).await.expect("the store works"),
            resume: resume::Options::default(),
            actors: Arc::new(godwit_core::domain::actor::Nobody),
            work: tables.clone(),
            actor_metrics: Default::default(),
            last_seen: tables.clone(),
            presence: presence::Options::default(),
            plugin_tables: tables,
            accounts: accounts.clone(),
            registry,
            filters: Arc::new(Nobody),
            clock,
            metrics: Metrics::default(),
            shard_tasks: 2,
        });
        (host, accounts)
    }
}

impl Life {
    pub fn register(&self, name: &str) -> UserId {
        let made = self.runtime.block_on(self.accounts.create(name, None, None));
        made.expect("the name is free").id
    }

    pub fn token(&self, user: UserId) -> String {
        let minted = self.runtime.block_on(self.accounts.mint(user, TOKEN_TTL_S));
        minted.expect("the user exists").access_token
    }

    /// Gives the tasks of the host some turns.
    pub fn turns(&self, count: u8) {
        self.runtime.block_on(async {
            for _ in 0..count {
                tokio::task::yield_now().await;
            }
        });
    }
}

/// No plugins.
struct Nobody;

#[async_trait]
impl Chain for Nobody {
    fn generation(&self) -> Generation {
        Generation(0)
    }

    fn is_empty(&self) -> bool {
        true
    }

    fn rewrites(&self) -> bool {
        false
    }

    async fn judge(&self, _: &Scene, content: Content, _: Option<&Message>) -> (Judgement, Verdict) {
        (Judgement::Allow(content), Verdict::default())
    }
}

impl Filters for Nobody {
    fn pin(&self) -> Arc<dyn Chain> {
        Arc::new(Nobody)
    }
}
