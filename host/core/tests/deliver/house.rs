//! A host whose rules are functions of the test, and people before it.

use async_trait::async_trait;
use godwit_conformance::TestClock;
use godwit_core::{
    accounts::{self, Key, Service},
    changes::Changes,
    domain::{
        filter::{
            Attention, Audience, Chain, Facts, Filters, Hook, Judgement, Place, Recipient, Scene, Spent,
            Verdict,
        },
        id::Generation,
        message::{Content, Message},
        notification::{Due, NotTaken, Notifications},
        tables::{Accounts, Written},
        time::{Clock, Ms},
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
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use uuid::Uuid;

pub const NOW: u64 = 1_800_000_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

type Choose = Box<dyn Fn(&Message, &Facts) -> Option<Audience> + Send + Sync>;
type Decide = Box<dyn Fn(&Scene, &Message, &Recipient) -> Attention + Send + Sync>;

/// What the test says for the plugins.
pub struct Rules {
    pub choose: Option<Choose>,
    pub decide: Option<Decide>,
    pub wants_members: bool,
    /// Rules wait for a permit before they answer about a message whose text begins with `slow`.
    pub permits: Semaphore,
    /// How often rules were asked.
    pub asked: AtomicU32,
    /// How many answers of policies are left out.
    pub unanswered: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            choose: None,
            decide: None,
            wants_members: false,
            permits: Semaphore::new(0),
            asked: AtomicU32::new(0),
            unanswered: 0,
        }
    }
}

impl Rules {
    async fn think(&self, message: &Message) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if message.content.body.starts_with("slow") {
            self.permits.acquire().await.unwrap().forget();
        }
    }
}

struct Pinned(Arc<Rules>);

#[async_trait]
impl Chain for Pinned {
    fn generation(&self) -> Generation {
        Generation(1)
    }

    fn is_empty(&self) -> bool {
        self.0.choose.is_none() && self.0.decide.is_none()
    }

    fn rewrites(&self) -> bool {
        false
    }

    async fn judge(&self, _: &Scene, content: Content, _: Option<&Message>) -> (Judgement, Verdict) {
        (Judgement::Allow(content), Verdict::default())
    }

    fn serves(&self, hook: Hook, place: &Place) -> bool {
        let served = match hook {
            Hook::FanOut => self.0.choose.is_some(),
            Hook::Delivery => self.0.decide.is_some(),
            Hook::Normalise | Hook::Moderation => false,
        };
        served && place.title.as_deref() != Some("Elsewhere")
    }

    fn wants_members(&self, _: &Place) -> bool {
        self.0.wants_members
    }

    async fn choose(
        &self,
        scene: &Scene,
        message: &Message,
        facts: &Facts,
        _: &mut Spent,
    ) -> Option<Audience> {
        assert_eq!(scene.sender.id, message.sender);
        self.0.think(message).await;
        self.0.choose.as_ref()?(message, facts)
    }

    async fn decide(
        &self,
        scene: &Scene,
        message: &Message,
        recipients: &[Recipient],
        _: &mut Spent,
    ) -> Vec<Attention> {
        if self.0.choose.is_none() {
            self.0.think(message).await;
        }
        let decide = self.0.decide.as_ref().unwrap();
        let answered = recipients.len().saturating_sub(self.0.unanswered);
        recipients[..answered].iter().map(|recipient| decide(scene, message, recipient)).collect()
    }
}

impl Filters for Pinned {
    fn pin(&self) -> Arc<dyn Chain> {
        Arc::new(Self(self.0.clone()))
    }
}

/// What came due, and when.
pub struct Taken {
    pub clock: Arc<TestClock>,
    pub due: Mutex<Vec<(Ms, Due)>>,
    /// How many are refused before one is taken.
    pub refusals: AtomicU32,
}

#[async_trait]
impl Notifications for Taken {
    async fn take(&self, due: Due) -> Result<(), NotTaken> {
        let refuse = |left: u32| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
            return Err(NotTaken("not now".into()));
        }
        self.due.lock().push((self.clock.now(), due));
        Ok(())
    }
}

pub struct House {
    pub clock: Arc<TestClock>,
    pub rules: Arc<Rules>,
    pub metrics: Metrics,
    pub taken: Arc<Taken>,
    pub host: Arc<Host>,
    pub tables: Arc<Tables>,
    accounts: Arc<Service>,
    limits: limits::Options,
}

impl House {
    pub async fn new(rules: Rules, limits: limits::Options) -> Self {
        Self::at(Ms(NOW), rules, limits).await
    }

    pub async fn at(now: Ms, rules: Rules, limits: limits::Options) -> Self {
        let clock = TestClock::at(now);
        let options = redb::Options { cache_bytes: 1 << 20, ..redb::Options::default() };
        let [file, journal] = [(); 2].map(|()| ::redb::backends::InMemoryBackend::new());
        let metrics = redb::Metrics::default();
        let store = Backend::open_on(file, journal, "test", &options, clock.clone(), metrics);
        let tables = Arc::new(Tables::new(store.unwrap(), clock.clone()));
        let taken =
            Arc::new(Taken { clock: clock.clone(), due: Mutex::default(), refusals: AtomicU32::new(0) });
        let rules = Arc::new(rules);
        let limits = limits::Options { sends_per_s: 0, requests_per_s: 0, ..limits };
        let (host, accounts, metrics) = host(&clock, &tables, &taken, &rules, &limits).await;
        Self { clock, rules, metrics, taken, host, tables, accounts, limits }
    }

    /// Another host on the same store; what the one before held in memory is gone.
    pub async fn restart(self) -> Self {
        let Self { clock, rules, taken, tables, limits, host: before, .. } = self;
        before.settle().await;
        let gone = Arc::downgrade(&before);
        drop(before);
        while gone.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (host, accounts, metrics) = host(&clock, &tables, &taken, &rules, &limits).await;
        Self { clock, rules, metrics, taken, host, tables, accounts, limits }
    }

    pub async fn person(&self, name: &str, time_zone: Option<&str>) -> Uuid {
        let user = self.accounts.create(name, None, None).await.unwrap();
        let before = self.tables.account(user.id).await.unwrap().unwrap();
        let mut after = before.clone();
        after.user.time_zone = time_zone.map(str::to_owned);
        assert_eq!(self.tables.replace_account(&before, &after).await, Ok(Written::Yes));
        user.id.0
    }

    pub async fn connect(&self, user: Uuid, more: Value) -> Client {
        let user = godwit_core::domain::id::UserId(user);
        let token = self.accounts.mint(user, 3_600).await.unwrap().access_token;
        let (session, drain) = self.host.open_session();
        let mut client = Client {
            id: user.0,
            clock: self.clock.clone(),
            session,
            drain,
            next: 0,
            came: VecDeque::new(),
            connected: Value::Null,
        };
        let mut connect = json!({ "token": token, "device": { "id": Uuid::new_v4() } });
        connect.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.connected = client.ask("connect", connect).await.unwrap();
        client
    }

    pub async fn join(&self, name: &str) -> Client {
        let user = self.person(name, None).await;
        self.connect(user, json!({})).await
    }
}

async fn host(
    clock: &Arc<TestClock>,
    tables: &Arc<Tables>,
    taken: &Arc<Taken>,
    rules: &Arc<Rules>,
    limits: &limits::Options,
) -> (Arc<Host>, Arc<Service>, Metrics) {
    let registry = Arc::<Registry>::default();
    let auth = accounts::Options { hash_memory_kib: 8, hash_passes: 1, ..accounts::Options::default() };
    let key = Key::new(&[7; Key::LEN]);
    let accounts = Service::new(auth, 0, key, tables.clone(), clock.clone(), registry.clone()).unwrap();
    let (accounts, metrics) = (Arc::new(accounts), Metrics::default());
    let host = Host::start(Parts {
        changes: Changes::start(clock.clone(), tables.clone()).await.unwrap(),
        resume: resume::Options::default(),
        limits: limits.clone(),
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
        notifications: taken.clone(),
        account_tables: tables.clone(),
        actors: Arc::new(godwit_core::domain::actor::Nobody),
        work: tables.clone(),
        actor_metrics: Default::default(),
        last_seen: tables.clone(),
        presence: presence::Options { online_after_ms: 0, offline_after_ms: 0, ..Default::default() },
        plugin_tables: tables.clone(),
        accounts: accounts.clone(),
        registry,
        filters: Arc::new(Pinned(rules.clone())),
        clock: clock.clone(),
        metrics: metrics.clone(),
        shard_tasks: 1,
    });
    (host, accounts, metrics)
}

pub struct Client {
    pub id: Uuid,
    pub connected: Value,
    clock: Arc<TestClock>,
    session: Session,
    drain: Drain,
    next: u64,
    came: VecDeque<Value>,
}

impl Client {
    /// The answer, or the code of the error.
    pub async fn ask(&mut self, name: &str, payload: Value) -> Result<Value, String> {
        self.next += 1;
        let id = self.next;
        let request = json!({ "id": id, name: payload }).to_string();
        self.session.receive(&request).await.unwrap();
        let reply = self.find(|frame| frame["id"] == id).await;
        match reply.get("error") {
            None => Ok(reply["ok"].clone()),
            Some(error) => Err(error["code"].as_str().unwrap().to_owned()),
        }
    }

    /// The next push of that name; those of other names are kept.
    pub async fn push(&mut self, name: &str) -> Value {
        self.find(|frame| frame.get(name).is_some()).await[name].clone()
    }

    async fn find(&mut self, which: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                if let Some(at) = self.came.iter().position(&which) {
                    return self.came.remove(at).unwrap();
                }
                let mut frames = Vec::new();
                std::future::poll_fn(|context| self.drain.poll_next(context, &mut frames)).await.unwrap();
                self.take(frames);
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("it comes in time")
    }

    fn take(&mut self, frames: Vec<Frame>) {
        for frame in frames.into_iter().map(Frame::into_bytes) {
            let objects = std::str::from_utf8(&frame).unwrap().lines().map(serde_json::from_str::<Value>);
            self.came.extend(objects.map(Result::unwrap));
        }
    }

    /// The pushes that have come, as (name, payload), and were not asked for yet.
    pub fn pushes(&mut self) -> Vec<(String, Value)> {
        let mut frames = Vec::new();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let _ = self.drain.poll_next(&mut context, &mut frames);
        self.take(frames);
        let name = |frame: Value| {
            let (name, payload) = frame.as_object()?.iter().next()?;
            Some((name.clone(), payload.clone()))
        };
        self.came.drain(..).filter_map(name).filter(|(name, _)| name != "hello").collect()
    }

    /// What came, in short: a message's text with a `*` where it is quiet, or the push's name with a number.
    pub fn heard(&mut self) -> Vec<String> {
        let short = |(name, payload): (String, Value)| match &*name {
            "message" => {
                let quiet = if payload["quiet"] == true { "*" } else { "" };
                Some(format!("{}{quiet}", payload["body"].as_str().unwrap()))
            }
            "heads" => Some(format!("heads {}", payload[0]["last_seq"])),
            "cursor" => None,
            "revision" => Some(format!("revision {}", payload["rev"])),
            "receipt" => Some(format!("receipt {}", payload["read_seq"])),
            name => Some(name.to_owned()),
        };
        self.pushes().into_iter().filter_map(short).collect()
    }

    /// Says that someone is writing, and waits until that was told, if it was to be.
    pub async fn typing(&mut self, conversation: &Value) {
        // Half a second is enough for another one.
        self.clock.advance(500);
        let typing = json!({ "typing": { "conversation": conversation } }).to_string();
        self.session.receive(&typing).await.unwrap();
        self.ask("conversation", json!({ "conversation": conversation })).await.unwrap();
    }

    pub async fn group(&mut self, title: &str, members: &[Uuid]) -> Value {
        let client_id = self.client_id();
        let create = json!({ "kind": "group", "client_id": client_id, "title": title, "members": members });
        self.ask("create", create).await.unwrap()["conversation"]["id"].clone()
    }

    pub async fn send(&mut self, conversation: &Value, body: &str) -> Value {
        self.say(conversation, body, &[]).await
    }

    pub async fn say(&mut self, conversation: &Value, body: &str, mentions: &[Uuid]) -> Value {
        let client_id = self.client_id();
        let send = json!({ "conversation": conversation, "client_id": client_id, "body": body, "mentions": mentions });
        self.ask("send", send).await.unwrap()["seq"].clone()
    }

    fn client_id(&self) -> Uuid {
        let now = self.clock.now().0;
        let timestamp =
            uuid::Timestamp::from_unix(uuid::NoContext, now / 1_000, (now % 1_000) as u32 * 1_000_000);
        Uuid::new_v7(timestamp)
    }
}
