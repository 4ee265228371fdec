//! A host on a disk that can fail, and clients without sockets.

use ::redb::{StorageBackend, backends::InMemoryBackend};
use async_trait::async_trait;
use godwit_conformance::TestClock;
use godwit_core::{
    accounts::{self, Key, Service},
    changes::Changes,
    domain::{
        filter::{Chain, Filters, Judgement, Scene, Verdict},
        id::{Generation, UserId},
        message::{Content, Message},
        notification::Undelivered,
        time::Ms,
    },
    host::{Host, Parts, Transport},
    limits,
    metrics::Metrics,
    outbox::{Drain, Frame},
    presence,
    registry::Registry,
    session::{Session, resume},
};
use godwit_storage::{
    redb::{self, Backend},
    tables::Tables,
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};
use uuid::Uuid;

pub const NOW: u64 = 1_800_000_000_000;

/// Bytes in memory whose writes fail after so many more, until that is taken back.
#[derive(Debug)]
struct Disk {
    /// Of the file and of its journal.
    bytes: [InMemoryBackend; 2],
    writes_left: AtomicI64,
}

#[derive(Debug, Clone)]
pub struct Shared(Arc<Disk>, usize);

impl Shared {
    fn new() -> Self {
        Self(Arc::new(Disk { bytes: Default::default(), writes_left: AtomicI64::new(i64::MAX) }), 0)
    }

    pub fn fail_after(&self, writes: i64) {
        self.0.writes_left.store(writes, Ordering::SeqCst);
    }

    pub fn mend(&self) {
        self.fail_after(i64::MAX);
    }

    fn write_one(&self) -> io::Result<()> {
        let left = self.0.writes_left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 { Ok(()) } else { Err(io::Error::other("the disk is full")) }
    }
}

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.bytes[self.1].len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.bytes[self.1].read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write_one()?;
        self.0.bytes[self.1].set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.write_one()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_one()?;
        self.0.bytes[self.1].write(offset, data)
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
    pub disk: Shared,
    pub store: Arc<Backend>,
    pub clock: Arc<TestClock>,
    pub host: Arc<Host>,
    pub registry: Arc<Registry>,
    accounts: Arc<Service>,
}

impl House {
    pub async fn new() -> Self {
        let (disk, clock) = (Shared::new(), TestClock::at(Ms(NOW)));
        // The file is opened anew when the test says so.
        let options = redb::Options { reopen_after_ms: u64::MAX, ..redb::Options::default() };
        let (journal, metrics) = (Shared(disk.0.clone(), 1), redb::Metrics::default());
        let store =
            Backend::open_on(disk.clone(), journal, "test", &options, clock.clone(), metrics).unwrap();
        let tables = Arc::new(Tables::new(store.clone(), clock.clone()));
        let registry = Arc::<Registry>::default();
        let auth = accounts::Options { hash_memory_kib: 8, hash_passes: 1, ..accounts::Options::default() };
        let key = Key::new(&[7; Key::LEN]);
        let accounts = Service::new(auth, 0, key, tables.clone(), clock.clone(), registry.clone()).unwrap();
        let accounts = Arc::new(accounts);
        let changes = Changes::start(clock.clone(), tables.clone()).await.unwrap();
        let host = Host::start(Parts {
            changes,
            resume: resume::Options::default(),
            limits: limits::Options::default(),
            transport: Transport {
                server: "godwit/test".into(),
                ping_interval_ms: 25_000,
                frame_bytes_max: 131_072,
                outbox_bytes_max: 1 << 20,
                features: &[],
            },
            epoch: "test".into(),
            conversations: tables.clone(),
            relation_tables: tables.clone(),
            held: tables.clone(),
            deferrals: tables.clone(),
            notifications: Arc::new(Undelivered),
            account_tables: tables.clone(),
            actors: Arc::new(godwit_core::domain::actor::Nobody),
            work: tables.clone(),
            actor_metrics: Default::default(),
            last_seen: tables.clone(),
            presence: presence::Options::default(),
            plugin_tables: tables,
            accounts: accounts.clone(),
            registry: registry.clone(),
            filters: Arc::new(Nobody),
            clock: clock.clone(),
            metrics: Metrics::default(),
            shard_tasks: 1,
        });
        Self { disk, store, clock, host, registry, accounts }
    }

    /// Someone new, connected.
    pub async fn join(&self, name: &str) -> Client {
        let user = self.accounts.create(name, None, None).await.unwrap();
        self.connect(user.id, Value::Null).await.0
    }

    /// Another session of someone, and what `connect` was answered.
    pub async fn connect(&self, user: UserId, resume: Value) -> (Client, Value) {
        let (mut client, connect) = self.open(user, resume).await;
        let answer = client.ask("connect", connect).await.unwrap();
        (client, answer)
    }

    /// A session of someone that is not connected yet, and what it would ask for that.
    pub async fn open(&self, user: UserId, resume: Value) -> (Client, Value) {
        let token = self.accounts.mint(user, 3_600).await.unwrap().access_token;
        let (session, drain) = self.host.open_session();
        let client = Client { id: user, session, drain, next: 0, came: VecDeque::new() };
        let device = json!({ "id": Uuid::new_v4() });
        (client, json!({ "token": token, "device": device, "resume": resume }))
    }
}

pub struct Client {
    pub id: UserId,
    pub session: Session,
    drain: Drain,
    next: u64,
    /// Frames that came and were not asked for yet.
    pub came: VecDeque<Value>,
}

impl Client {
    /// The answer, or the code of the error.
    pub async fn ask(&mut self, name: &str, payload: Value) -> Result<Value, String> {
        let id = self.begin(name, payload).await;
        self.reply(id).await
    }

    pub async fn begin(&mut self, name: &str, payload: Value) -> u64 {
        self.next += 1;
        let request = json!({ "id": self.next, name: payload }).to_string();
        self.session.receive(&request).await.unwrap();
        self.next
    }

    pub async fn reply(&mut self, id: u64) -> Result<Value, String> {
        loop {
            if let Some(at) = self.came.iter().position(|frame| frame["id"] == id) {
                let frame = self.came.remove(at).unwrap();
                return match frame.get("error") {
                    None => Ok(frame["ok"].clone()),
                    Some(error) => {
                        assert_eq!(error["temporary"], true, "{error}");
                        Err(error["code"].as_str().unwrap().to_owned())
                    }
                };
            }
            self.hear().await;
        }
    }

    /// Takes the first push of that name, of those that came or will come.
    pub async fn push(&mut self, name: &str) -> Value {
        loop {
            if let Some(at) = self.came.iter().position(|frame| frame.get(name).is_some()) {
                return self.came.remove(at).unwrap()[name].take();
            }
            self.hear().await;
        }
    }

    async fn hear(&mut self) {
        let mut frames = Vec::new();
        std::future::poll_fn(|context| self.drain.poll_next(context, &mut frames)).await.unwrap();
        for frame in frames.into_iter().map(Frame::into_bytes) {
            let objects = std::str::from_utf8(&frame).unwrap().lines().map(serde_json::from_str::<Value>);
            self.came.extend(objects.map(Result::unwrap));
        }
    }
}
