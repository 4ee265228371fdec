//! A host whose store can stop after any write, its users, and a look at what is stored.

use crate::script::Cast;
use async_trait::async_trait;
use bytes::Bytes;
use godwit_core::{
    accounts::{self, Key, Service},
    changes::Changes,
    domain::{
        filter::{Chain, Filters, Judgement, Scene, Verdict},
        id::Generation,
        message::{Content, Message},
        notification::Undelivered,
        tables::Work,
        time::{Clock, Ms},
        waist::{Batch, Consistency, Error, Outcome, Partition, Put, Raise, Row, Scan, Space, Store},
    },
    host::{Host, Parts, Transport},
    limits,
    metrics::Metrics,
    outbox::{Drain, Frame},
    registry::Registry,
    session::{Session, resume},
};
use godwit_storage::{redb, tables::Tables};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use uuid::Uuid;

const START_MS: u64 = 1_800_000_000_000;
/// How long anything may take to happen.
const WITHIN: Duration = Duration::from_secs(20);
/// How long nothing must happen, where nothing is to happen any more.
pub const QUIET: Duration = Duration::from_millis(400);

/// A clock that runs, and can be moved forward.
pub struct Hands {
    since: Instant,
    ahead: AtomicU64,
}

impl Hands {
    pub fn pass(&self, ms: u64) {
        self.ahead.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Ms {
        Ms(START_MS + self.since.elapsed().as_millis() as u64 + self.ahead.load(Ordering::SeqCst))
    }
}

/// A store that takes no more writes after a number of them, as if the process had died there.
pub struct Stopping {
    inner: Arc<dyn Store>,
    left: AtomicI64,
    doubtful: AtomicBool,
}

impl Stopping {
    pub fn stop_after(&self, writes: i64) {
        self.left.store(writes, Ordering::SeqCst);
    }

    /// Does not say of the next write to a conversation that it was done.
    pub fn doubt_next(&self) {
        self.doubtful.store(true, Ordering::SeqCst);
    }

    pub fn has_stopped(&self) -> bool {
        self.left.load(Ordering::SeqCst) < 0
    }

    fn take(&self) -> Result<(), Error> {
        match self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            true => Ok(()),
            false => Err(Error::Unavailable("stopped by the test".into())),
        }
    }
}

#[async_trait]
impl Store for Stopping {
    async fn get(&self, at: Partition, key: Bytes, how: Consistency) -> Result<Option<Bytes>, Error> {
        self.inner.get(at, key, how).await
    }

    async fn get_many(&self, keys: Vec<(Partition, Bytes)>) -> Result<Vec<Option<Bytes>>, Error> {
        self.inner.get_many(keys).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, Error> {
        self.inner.scan(scan).await
    }

    async fn commit(&self, batches: Vec<Batch>) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for batch in batches {
            let doubtful = batch.partition.space == Space::Log && self.doubtful.swap(false, Ordering::SeqCst);
            let outcome = match self.take() {
                Ok(()) => self.inner.commit(vec![batch]).await.remove(0),
                Err(error) => Outcome::Refused(error),
            };
            outcomes.push(if doubtful { Outcome::Unknown("doubted by the test".into()) } else { outcome });
        }
        outcomes
    }

    async fn raise(&self, raises: Vec<Raise>) -> Result<(), Error> {
        self.take()?;
        self.inner.raise(raises).await
    }

    async fn mark(&self, at: Partition, key: Bytes) -> Result<Option<(u64, Bytes)>, Error> {
        self.inner.mark(at, key).await
    }

    async fn marks(&self, at: Partition, prefix: Bytes) -> Result<Vec<(Bytes, u64, Bytes)>, Error> {
        self.inner.marks(at, prefix).await
    }

    async fn put_all(&self, rows: Vec<(Partition, Put)>) -> Result<(), Error> {
        self.take()?;
        self.inner.put_all(rows).await
    }
}

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
        Arc::new(Self)
    }
}

pub struct House {
    pub clock: Arc<Hands>,
    backend: Arc<redb::Backend>,
    pub cast: Arc<Cast>,
    pub store: Arc<Stopping>,
    pub tables: Arc<Tables>,
    pub accounts: Arc<Service>,
    pub host: Arc<Host>,
}

impl House {
    /// A house in which these plugins are installed from the beginning.
    pub async fn new(cast: Arc<Cast>) -> Self {
        let clock = Arc::new(Hands { since: Instant::now(), ahead: AtomicU64::new(0) });
        let options = redb::Options { cache_bytes: 1 << 20, ..redb::Options::default() };
        let [file, journal] = [(); 2].map(|()| ::redb::backends::InMemoryBackend::new());
        let metrics = redb::Metrics::default();
        let backend = redb::Backend::open_on(file, journal, "memory", &options, clock.clone(), metrics);
        Self::open(clock, backend.unwrap(), cast).await
    }

    /// The next life of the host, with another store before the same bytes: what was written stands, no more.
    pub async fn restart(self) -> Self {
        self.store.stop_after(0);
        Self::open(self.clock, self.backend, self.cast).await
    }

    async fn open(clock: Arc<Hands>, backend: Arc<redb::Backend>, cast: Arc<Cast>) -> Self {
        let inner: Arc<dyn Store> = backend.clone();
        let store =
            Arc::new(Stopping { inner, left: AtomicI64::new(i64::MAX), doubtful: AtomicBool::new(false) });
        let tables = Arc::new(Tables::new(store.clone(), clock.clone()));
        let registry = Arc::<Registry>::default();
        let auth = accounts::Options { hash_memory_kib: 8, hash_passes: 1, ..accounts::Options::default() };
        let key = Key::new(&[7; Key::LEN]);
        let accounts = Service::new(auth, 0, key, tables.clone(), clock.clone(), registry.clone()).unwrap();
        let accounts = Arc::new(accounts);
        let host = Host::start(Parts {
            changes: Changes::start(clock.clone(), tables.clone()).await.unwrap(),
            resume: resume::Options::default(),
            limits: limits::Options { sends_per_s: 0, requests_per_s: 0, ..limits::Options::default() },
            transport: Transport {
                server: "godwit/test".into(),
                ping_interval_ms: 25_000,
                frame_bytes_max: 131_072,
                outbox_bytes_max: 1 << 20,
                features: &[],
            },
            epoch: "test".into(),
            conversations: tables.clone(),
            held: tables.clone(),
            deferrals: tables.clone(),
            notifications: Arc::new(Undelivered),
            account_tables: tables.clone(),
            actors: cast.clone(),
            work: tables.clone(),
            actor_metrics: godwit_core::actors::Metrics::default(),
            relation_tables: tables.clone(),
            last_seen: tables.clone(),
            presence: godwit_core::presence::Options::default(),
            plugin_tables: tables.clone(),
            accounts: accounts.clone(),
            registry,
            filters: Arc::new(Nobody),
            clock: clock.clone(),
            metrics: Metrics::default(),
            shard_tasks: 1,
        });
        Self { clock, backend, cast, store, tables, accounts, host }
    }

    /// Someone, made if need be, connected.
    pub async fn join(&self, name: &str) -> Client {
        let user = match self.accounts.find(name).await.unwrap() {
            Some(user) => user,
            None => self.accounts.create(name, None, None).await.unwrap(),
        };
        let token = self.accounts.mint(user.id, 3_600).await.unwrap().access_token;
        let (session, drain) = self.host.open_session();
        let (clock, came) = (self.clock.clone(), VecDeque::new());
        let mut client = Client { id: user.id.to_string(), session, drain, next: 0, came, clock };
        let device = json!({ "id": Uuid::new_v4() });
        client.ask("connect", json!({ "token": token, "device": device })).await.unwrap();
        client
    }

    /// The user of a plugin, once it is at work.
    pub async fn bot(&self, plugin: &str) -> String {
        let found = until(async || {
            let workers = self.tables.workers().await.unwrap();
            let user = self.accounts.find(plugin).await.unwrap();
            user.filter(|_| workers.iter().any(|worker| worker == plugin))
        });
        let user = found.await;
        assert!(user.bot);
        // Its lane begins a moment after its row stands.
        tokio::time::sleep(Duration::from_millis(50)).await;
        // What comes from here on is told by its time from what was there before.
        self.clock.pass(10);
        user.id.to_string()
    }

    /// What a plugin keeps under a key, as a number.
    pub async fn kept(&self, plugin: &str, key: &str) -> u64 {
        let value = self.tables.kv_get(plugin, key).await.unwrap();
        value.map_or(0, |value| std::str::from_utf8(&value).unwrap().parse().unwrap())
    }
}

/// Waits until there is an answer.
pub async fn until<T>(mut asked: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = asked().await {
            return answer;
        }
        assert!(begun.elapsed() < WITHIN, "it did not happen within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for something that is asked of nobody.
pub async fn until_true(mut holds: impl FnMut() -> bool) {
    until(async || holds().then_some(())).await;
}

/// As long as nothing is to happen any more.
pub fn quiet() -> impl Future<Output = ()> {
    tokio::time::sleep(QUIET)
}

pub struct Client {
    pub id: String,
    session: Session,
    drain: Drain,
    next: u64,
    /// Frames that came and were not asked for yet.
    came: VecDeque<Value>,
    clock: Arc<Hands>,
}

impl Client {
    /// The answer, or the error.
    pub async fn ask(&mut self, name: &str, payload: Value) -> Result<Value, Value> {
        self.next += 1;
        let id = self.next;
        self.session.receive(&json!({ "id": id, name: payload }).to_string()).await.unwrap();
        loop {
            if let Some(at) = self.came.iter().position(|frame| frame["id"] == id) {
                let frame = self.came.remove(at).unwrap();
                return match frame.get("error") {
                    None => Ok(frame["ok"].clone()),
                    Some(error) => Err(error.clone()),
                };
            }
            self.came.clear();
            let mut frames = Vec::new();
            std::future::poll_fn(|context| self.drain.poll_next(context, &mut frames)).await.unwrap();
            for frame in frames.into_iter().map(Frame::into_bytes) {
                let objects = std::str::from_utf8(&frame).unwrap().lines().map(serde_json::from_str::<Value>);
                self.came.extend(objects.map(Result::unwrap));
            }
        }
    }

    /// A client id of now.
    pub fn client_id(&self) -> Uuid {
        let mut random = [0; 10];
        random.copy_from_slice(&Uuid::new_v4().as_bytes()[..10]);
        uuid::Builder::from_unix_timestamp_millis(self.clock.now().0, &random).into_uuid()
    }

    /// A group with those.
    pub async fn group(&mut self, members: &[&str]) -> String {
        let client_id = self.client_id();
        let payload = json!({ "kind": "group", "client_id": client_id, "title": "Crew", "members": members });
        let made = self.ask("create", payload).await.unwrap();
        made["conversation"]["id"].as_str().unwrap().to_owned()
    }

    pub async fn say(&mut self, conversation: &str, body: &str) -> u64 {
        let client_id = self.client_id();
        let payload = json!({ "conversation": conversation, "client_id": client_id, "body": body });
        self.ask("send", payload).await.unwrap()["seq"].as_u64().unwrap()
    }

    /// All that was said.
    pub async fn history(&mut self, conversation: &str) -> Vec<Value> {
        let payload = json!({ "conversation": conversation, "after_seq": 0, "limit": 200 });
        let page = self.ask("history", payload).await.unwrap();
        page["messages"].as_array().unwrap().clone()
    }

    /// The bodies that a user said, once there are so many.
    pub async fn said(&mut self, conversation: &str, by: &str, count: usize) -> Vec<String> {
        let of = |messages: Vec<Value>| {
            let own = messages.into_iter().filter(|message| message["sender"] == by);
            own.map(|message| message["body"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let begun = Instant::now();
        loop {
            let said = of(self.history(conversation).await);
            if said.len() >= count {
                return said;
            }
            assert!(begun.elapsed() < WITHIN, "{by} said {said:?}, not {count} things");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
