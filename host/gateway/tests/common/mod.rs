//! A gateway on real sockets, with a real host behind it and a plugin manager that remembers what it was asked.

#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use async_trait::async_trait;
use godwit_core::{
    accounts::{self, Key},
    domain::{
        actor::{self, Actors},
        filter::{Chain, Filters, Judgement, Scene, Verdict},
        id::Generation,
        message::{Content, Message},
        notification::Undelivered,
        plugin::{
            self, Advance, Digest, Install, Installed, LogLine, Manager, Poisoned, Setting, Status, Upload,
            Uploaded,
        },
        time::{Clock, Ms},
    },
    host::{Host, Transport},
    registry,
};
use godwit_gateway::{Door, Gateway, Metrics, Options, Parts, Token};
use godwit_storage::{redb, tables::Tables};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};

pub const ADMIN_TOKEN: &str = "the-admin-token";
pub const KEY: [u8; Key::LEN] = [7; Key::LEN];
pub const START: u64 = 1_800_000_000_000;
/// Anything that takes longer than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A clock that stands until it is moved.
pub struct Hands(AtomicU64);

impl Hands {
    pub fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::Relaxed);
    }
}

impl Clock for Hands {
    fn now(&self) -> Ms {
        Ms(self.0.load(Ordering::Relaxed))
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

/// Installs whatever is not called `bad`, and knows the plugin `good`.
#[derive(Default)]
pub struct Shelf {
    pub asked: Mutex<Vec<Install>>,
    /// What was decided about `good`, and by mistake about others.
    pub decided: Mutex<Vec<String>>,
    pub secrets: Mutex<Vec<(String, Option<String>)>>,
}

fn good() -> Installed {
    Installed {
        id: "good".into(),
        version: "1.0.0".into(),
        digest: "00".repeat(32),
        generation: Generation(3),
        state: plugin::State::Active,
        missing: Vec::new(),
        diff: plugin::Diff::default(),
        warnings: vec!["memory_mib is clamped to 16".into()],
    }
}

fn known<T>(id: &str, value: T) -> Result<T, plugin::Error> {
    if id == "good" { Ok(value) } else { Err(plugin::Error::NotFound(id.into())) }
}

#[async_trait]
impl Manager for Shelf {
    async fn install(&self, install: Install) -> Result<Installed, plugin::Error> {
        let bad = install.id == "bad";
        self.asked.lock().unwrap().push(install);
        if bad {
            return Err(plugin::Error::Refused(vec![
                "no hook is exported".into(),
                "`kv` is not granted".into(),
            ]));
        }
        Ok(good())
    }

    async fn list(&self) -> Vec<Status> {
        let digest = "00".repeat(32);
        let (id, version) = ("good".into(), "1.0.0".into());
        let generation = Generation(3);
        vec![Status { id, version, digest, installed_at: Ms(START), generation, ..Status::default() }]
    }

    async fn upload(&self, component: Vec<u8>) -> Result<Uploaded, plugin::Error> {
        let (digest, size) = ("00".repeat(32), component.len() as u64);
        Ok(Uploaded { digest, size, hooks: Vec::new(), imports: Vec::new() })
    }

    async fn uploads(&self) -> Result<Vec<Upload>, plugin::Error> {
        Ok(Vec::new())
    }

    async fn discard(&self, digest: Digest) -> Result<(), plugin::Error> {
        match digest.0 {
            [0, ..] => Ok(()),
            _ => Err(plugin::Error::NoComponent(digest)),
        }
    }

    async fn advance(&self, id: &str, advance: Advance) -> Result<Installed, plugin::Error> {
        self.decided.lock().unwrap().push(format!("{advance:?}"));
        known(id, good())
    }

    async fn set(&self, id: &str, setting: Setting) -> Result<Status, plugin::Error> {
        self.decided.lock().unwrap().push(format!("{setting:?}"));
        known(id, self.list().await.remove(0))
    }

    async fn poisoned(&self, id: &str) -> Result<Vec<Poisoned>, plugin::Error> {
        known(id, Vec::new())
    }

    async fn forgive(&self, id: &str) -> Result<usize, plugin::Error> {
        known(id, 3)
    }

    async fn rollback(&self, id: &str) -> Result<Installed, plugin::Error> {
        known(id, ())?;
        Err(plugin::Error::Conflict("`good` has no version to go back to".into()))
    }

    async fn remove(&self, id: &str) -> Result<Generation, plugin::Error> {
        known(id, Generation(4))
    }

    async fn secrets(&self, id: &str) -> Result<Vec<String>, plugin::Error> {
        known(id, vec!["token".into()])
    }

    async fn set_secret(&self, id: &str, name: &str, value: Option<String>) -> Result<(), plugin::Error> {
        known(id, ())?;
        self.secrets.lock().unwrap().push((name.into(), value));
        Ok(())
    }

    async fn logs(&self, id: &str, after: u64) -> Result<Vec<LogLine>, plugin::Error> {
        let line = |n| LogLine {
            n,
            at: Ms(START),
            level: "info",
            version: "1.0.0".into(),
            text: format!("line {n}"),
        };
        known(id, (after + 1..=3).map(line).collect())
    }
}

/// A gateway that serves until it is closed.
pub struct House {
    pub public: SocketAddr,
    pub admin: SocketAddr,
    pub clock: Arc<Hands>,
    pub plugins: Arc<Shelf>,
    pub ready: Arc<AtomicBool>,
    pub stop: Vec<oneshot::Sender<()>>,
    pub doors: Vec<JoinHandle<()>>,
    _data: tempfile::TempDir,
}

impl House {
    pub async fn new() -> Self {
        Self::with(Options::default(), accounts::Options::default(), 0).await
    }

    pub async fn with(options: Options, auth: accounts::Options, logins_per_minute: u32) -> Self {
        Self::acting(options, auth, logins_per_minute, Arc::new(actor::Nobody)).await
    }

    /// A house in which those plugins act.
    pub async fn acting(
        options: Options,
        auth: accounts::Options,
        logins_per_minute: u32,
        actors: Arc<dyn Actors>,
    ) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = Arc::new(Hands(AtomicU64::new(START)));
        let backend = redb::Backend::open(
            data.path(),
            &redb::Options::default(),
            clock.clone(),
            redb::Metrics::default(),
        );
        let tables = Arc::new(Tables::new(backend.unwrap(), clock.clone()));
        let sessions = Arc::<registry::Registry>::default();
        let auth = accounts::Options { hash_memory_kib: 8, hash_passes: 1, ..auth };
        let key = Key::new(&KEY);
        let accounts = accounts::Service::new(
            auth,
            logins_per_minute,
            key,
            tables.clone(),
            clock.clone(),
            sessions.clone(),
        );
        let accounts = Arc::new(accounts.unwrap());
        let host = Host::start(godwit_core::host::Parts {
            limits: godwit_core::limits::Options::default(),
            transport: Transport {
                server: "godwit/test".into(),
                ping_interval_ms: options.ping_interval_ms,
                frame_bytes_max: options.frame_bytes_max,
                outbox_bytes_max: options.outbox_bytes_max,
                features: godwit_gateway::FEATURES,
            },
            epoch: "test".into(),
            conversations: tables.clone(),
            relation_tables: tables.clone(),
            held: tables.clone(),
            deferrals: tables.clone(),
            notifications: Arc::new(Undelivered),
            account_tables: tables.clone(),
            changes: godwit_core::changes::Changes::start(clock.clone(), tables.clone()).await.unwrap(),
            resume: godwit_core::session::resume::Options::default(),
            actors,
            work: tables.clone(),
            actor_metrics: Default::default(),
            last_seen: tables.clone(),
            presence: godwit_core::presence::Options::default(),
            plugin_tables: tables,
            accounts: accounts.clone(),
            registry: sessions,
            filters: Arc::new(Nobody),
            clock: clock.clone(),
            metrics: godwit_core::metrics::Metrics::default(),
            shard_tasks: 1,
        });
        let (plugins, ready) = (Arc::<Shelf>::default(), Arc::new(AtomicBool::new(true)));
        let (metrics, mut registry) = (Metrics::default(), prometheus_client::registry::Registry::default());
        metrics.register(registry.sub_registry_with_prefix("godwit_gateway"));
        let asked = ready.clone();
        let gateway = Gateway::new(Parts {
            options,
            host,
            accounts,
            plugins: plugins.clone(),
            registry: Arc::new(registry),
            metrics,
            admin_token: Token::new(ADMIN_TOKEN),
            ready: Box::new(move || match asked.load(Ordering::Relaxed) {
                true => Ok(()),
                false => Err("the store is read-only".into()),
            }),
        })
        .unwrap();
        let (mut addresses, mut stop, mut doors) = (Vec::new(), Vec::new(), Vec::new());
        for door in [Door::Public, Door::Admin] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.push(listener.local_addr().unwrap());
            let (sender, stopped) = oneshot::channel::<()>();
            stop.push(sender);
            doors.push(tokio::spawn(gateway.clone().serve(door, listener, async {
                let _ = stopped.await;
            })));
        }
        Self { public: addresses[0], admin: addresses[1], clock, plugins, ready, stop, doors, _data: data }
    }

    /// Asks the public listener.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        ask(self.public, method, path, &[], body.as_bytes()).await
    }

    /// Asks the admin listener, with its token.
    pub async fn administer(&self, method: &str, path: &str, body: &str) -> Answer {
        let token = format!("Bearer {ADMIN_TOKEN}");
        ask(self.admin, method, path, &[("authorization", &token)], body.as_bytes()).await
    }

    /// Registers and returns what the answer holds.
    pub async fn register(&self, name: &str) -> Value {
        let body = format!(r#"{{"name": "{name}", "password": "correct horse"}}"#);
        let answer = self.ask("POST", "/v1/auth/register", &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    pub fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Checks status, code and field of an error, and that it has the form that all errors have.
    #[track_caller]
    pub fn check_error(&self, status: u16, code: &str, field: Option<&str>) {
        let body = self.json();
        let error = &body["error"];
        let said = (self.status, error["code"].as_str(), error["field"].as_str());
        assert_eq!(said, (status, Some(code), field), "{body}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{body}");
        assert!(error["temporary"].is_boolean(), "{body}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
    }
}

/// One request on a connection of its own.
pub async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n", body.len());
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    let answer = exchange(address, &bytes).await;
    parse(&answer).unwrap_or_else(|| panic!("{method} {path}: {:?}", String::from_utf8_lossy(&answer)))
}

/// Sends these bytes, and reads until the other side closes.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let mut answer = Vec::new();
    let sending = async {
        // Whoever is refused may find the connection closed while still sending.
        let _ = write.write_all(bytes).await;
    };
    let both = async { tokio::join!(sending, read.read_to_end(&mut answer)).1 };
    let ended = tokio::time::timeout(PATIENCE, both).await.expect("the connection stays open");
    if let Err(error) = ended {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    answer
}

/// Reads what an answer of one request holds.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header =
        |line: &str| line.split_once(": ").map(|(key, value)| (key.to_lowercase(), value.to_owned()));
    Some(Answer { status, headers: lines.filter_map(header).collect(), body: bytes[end + 4..].to_vec() })
}
