//! A host on a disk that fails: what senders are told, what is still shown, and that a repeat settles it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use ::redb::{StorageBackend, backends::InMemoryBackend};
use async_trait::async_trait;
use godwit_conformance::TestClock;
use godwit_core::{
    accounts::{self, Key, Service},
    changes::Changes,
    domain::{
        filter::{Chain, Filters, Judgement, Scene, Verdict},
        id::Generation,
        message::Content,
        time::Ms,
    },
    host::{Host, Parts, Transport},
    limits,
    metrics::Metrics,
    outbox::{Drain, Frame},
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

const NOW: u64 = 1_800_000_000_000;

/// Bytes in memory whose writes fail after so many more, until that is taken back.
#[derive(Debug)]
struct Disk {
    bytes: InMemoryBackend,
    writes_left: AtomicI64,
}

#[derive(Debug, Clone)]
struct Shared(Arc<Disk>);

impl Shared {
    fn new() -> Self {
        Self(Arc::new(Disk { bytes: InMemoryBackend::new(), writes_left: AtomicI64::new(i64::MAX) }))
    }

    fn fail_after(&self, writes: i64) {
        self.0.writes_left.store(writes, Ordering::SeqCst);
    }

    fn mend(&self) {
        self.fail_after(i64::MAX);
    }

    fn write_one(&self) -> io::Result<()> {
        let left = self.0.writes_left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 { Ok(()) } else { Err(io::Error::other("the disk is full")) }
    }
}

impl StorageBackend for Shared {
    fn len(&self) -> io::Result<u64> {
        self.0.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write_one()?;
        self.0.bytes.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.write_one()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_one()?;
        self.0.bytes.write(offset, data)
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

    async fn judge(&self, _: &Scene, content: Content) -> (Judgement, Verdict) {
        (Judgement::Allow(content), Verdict::default())
    }
}

impl Filters for Nobody {
    fn pin(&self) -> Arc<dyn Chain> {
        Arc::new(Self)
    }
}

struct House {
    disk: Shared,
    store: Arc<Backend>,
    accounts: Arc<Service>,
    host: Arc<Host>,
}

impl House {
    async fn new() -> Self {
        let (disk, clock) = (Shared::new(), TestClock::at(Ms(NOW)));
        // The file is opened anew when the test says so.
        let options = redb::Options { reopen_after_ms: u64::MAX, ..redb::Options::default() };
        let store = Backend::open_on(disk.clone(), "test", &options, clock.clone(), redb::Metrics::default());
        let store = store.unwrap();
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
            held: tables.clone(),
            account_tables: tables.clone(),
            actors: Arc::new(godwit_core::domain::actor::Nobody),
            work: tables.clone(),
            actor_metrics: Default::default(),
            plugin_tables: tables,
            accounts: accounts.clone(),
            registry,
            filters: Arc::new(Nobody),
            clock,
            metrics: Metrics::default(),
            shard_tasks: 1,
        });
        Self { disk, store, accounts, host }
    }

    /// Someone new, connected.
    async fn join(&self, name: &str) -> Client {
        let user = self.accounts.create(name, None, None).await.unwrap();
        let token = self.accounts.mint(user.id, 3_600).await.unwrap().access_token;
        let (session, drain) = self.host.open_session();
        let mut client = Client { id: user.id.to_string(), session, drain, next: 0, came: VecDeque::new() };
        let device = json!({ "id": Uuid::new_v4() });
        client.ask("connect", json!({ "token": token, "device": device })).await.unwrap();
        client
    }
}

struct Client {
    id: String,
    session: Session,
    drain: Drain,
    next: u64,
    /// Frames that came and were not asked for yet.
    came: VecDeque<Value>,
}

impl Client {
    /// The answer, or the code of the error.
    async fn ask(&mut self, name: &str, payload: Value) -> Result<Value, String> {
        let id = self.begin(name, payload).await;
        self.reply(id).await
    }

    async fn begin(&mut self, name: &str, payload: Value) -> u64 {
        self.next += 1;
        let request = json!({ "id": self.next, name: payload }).to_string();
        self.session.receive(&request).await.unwrap();
        self.next
    }

    async fn reply(&mut self, id: u64) -> Result<Value, String> {
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
            let mut frames = Vec::new();
            std::future::poll_fn(|context| self.drain.poll_next(context, &mut frames)).await.unwrap();
            for frame in frames.into_iter().map(Frame::into_bytes) {
                let objects = std::str::from_utf8(&frame).unwrap().lines().map(serde_json::from_str::<Value>);
                self.came.extend(objects.map(Result::unwrap));
            }
        }
    }
}

fn client_id(number: u64) -> Uuid {
    let time = uuid::Timestamp::from_unix(uuid::NoContext, NOW / 1_000, number as u32);
    Uuid::new_v7(time)
}

fn message(to: &str, client: Uuid) -> Value {
    json!({ "to": to, "client_id": client, "body": client.to_string() })
}

/// The disk fails at each of the writes of a commit in turn: at the first nothing of it lasts, at the last all does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_settles_what_a_failed_write_left_unknown() {
    const BEFORE: u64 = 3;
    const AFTER: u64 = 8;
    let (mut kept, mut lost) = (0, 0);
    for writes in 0..24 {
        let house = House::new().await;
        let (mut ada, mut ben) = (house.join("ada").await, house.join("ben").await);
        let ids: Vec<_> = (0..BEFORE + AFTER).map(client_id).collect();
        let mut conversation = Value::Null;
        for id in &ids[..BEFORE as usize] {
            conversation = ada.ask("send", message(&ben.id, *id)).await.unwrap()["conversation"].clone();
        }

        house.disk.fail_after(writes);
        let mut under_way = Vec::new();
        for id in &ids[BEFORE as usize..] {
            under_way.push(ada.begin("send", message(&ben.id, *id)).await);
        }
        let mut acknowledged = Vec::new();
        for request in under_way {
            acknowledged.push(match ada.reply(request).await {
                Ok(sent) => Some(sent["seq"].as_u64().unwrap()),
                Err(code) => {
                    assert!(matches!(&*code, "unknown_outcome" | "unavailable"), "{code}");
                    None
                }
            });
        }
        if house.store.health().is_err() {
            // What was acknowledged is shown, to those who are here and those who come.
            let page = json!({ "conversation": conversation, "after_seq": 0 });
            let shown = ben.ask("history", page.clone()).await.unwrap();
            let shown = shown["messages"].as_array().unwrap().len() as u64;
            assert!((BEFORE..=BEFORE + AFTER).contains(&shown), "{shown} messages are shown");
            assert_eq!(ada.ask("send", message(&ben.id, ids[0])).await, Err("unavailable".into()));
            let read = json!({ "conversation": conversation, "seq": 1 });
            assert_eq!(ben.ask("read", read).await, Err("unavailable".into()));

            house.disk.mend();
            house.store.reopen().await.unwrap();
        }
        house.disk.mend();

        for (id, seq) in ids[BEFORE as usize..].iter().zip(acknowledged) {
            let sent = ada.ask("send", message(&ben.id, *id)).await.unwrap();
            let duplicate = sent["duplicate"] == true;
            match seq {
                Some(seq) => assert_eq!((sent["seq"].as_u64(), duplicate), (Some(seq), true)),
                None if duplicate => kept += 1,
                None => lost += 1,
            }
        }
        let page = json!({ "conversation": conversation, "after_seq": 0, "limit": 100 });
        let history = ben.ask("history", page).await.unwrap();
        let history = history["messages"].as_array().unwrap();
        let seqs: Vec<_> = history.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
        assert_eq!(
            seqs,
            Vec::from_iter(1..=BEFORE + AFTER),
            "dense, and nothing twice, after {writes} writes"
        );
        let mut bodies: Vec<_> = history.iter().map(|message| message["body"].as_str().unwrap()).collect();
        bodies.sort_unstable();
        bodies.dedup();
        assert_eq!(bodies.len() as u64, BEFORE + AFTER);
        house.store.close().await.unwrap();
    }
    assert!(kept > 0 && lost > 0, "{kept} unknown messages had taken effect, {lost} had not");
}
