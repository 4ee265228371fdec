//! What the engine's tests share: an engine on tables in memory, and the fixture plugin with a configuration.

use crate::desk::Store;
use async_trait::async_trait;
use godwit_domain::{
    conversation::{Kind, Role},
    filter::{Activity, Filters, Judgement, Place, Scene, Verdict},
    id::{ClientId, ConversationId, Generation, Seq, UserId},
    message::{Content, Message},
    plugin::{
        Begin, Component, Composition, Digest, Error, Install, Installed, Manager, Poisoned, Roster, Status,
    },
    tables::{Plugins, Written},
    time::{Clock, Ms},
    user::{Privacy, User},
    waist,
};
use godwit_engine::{Engine, Kept, Options, Program};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Tables in memory, which can be told to fail.
#[derive(Default)]
pub struct Memory {
    roster: Mutex<Roster>,
    compositions: Mutex<HashMap<Generation, Composition>>,
    components: Mutex<HashMap<Digest, Vec<u8>>>,
    uploads: Mutex<Vec<(Digest, u64, Ms)>>,
    poisoned: Mutex<Vec<(String, Poisoned)>>,
    pub broken: AtomicBool,
}

impl Memory {
    fn check(&self) -> Result<(), waist::Error> {
        match self.broken.load(Ordering::SeqCst) {
            true => Err(waist::Error::Unavailable("told to fail".to_owned())),
            false => Ok(()),
        }
    }

    pub fn stored(&self) -> Vec<Digest> {
        self.components.lock().unwrap().keys().copied().collect()
    }

    pub fn lose_components(&self) {
        self.components.lock().unwrap().clear();
    }
}

#[async_trait]
impl Plugins for Memory {
    async fn roster(&self) -> Result<Roster, waist::Error> {
        self.check()?;
        Ok(self.roster.lock().unwrap().clone())
    }

    async fn replace_roster(&self, before: Generation, after: &Roster) -> Result<Written, waist::Error> {
        self.check()?;
        let mut roster = self.roster.lock().unwrap();
        if roster.generation != before {
            return Ok(Written::No);
        }
        self.compositions.lock().unwrap().insert(after.generation, after.composition());
        *roster = after.clone();
        Ok(Written::Yes)
    }

    async fn composition(&self, generation: Generation) -> Result<Option<Composition>, waist::Error> {
        Ok(self.compositions.lock().unwrap().get(&generation).cloned())
    }

    async fn put_component(&self, digest: Digest, component: &[u8]) -> Result<(), waist::Error> {
        self.components.lock().unwrap().insert(digest, component.to_vec());
        Ok(())
    }

    async fn component(&self, digest: Digest) -> Result<Option<Vec<u8>>, waist::Error> {
        Ok(self.components.lock().unwrap().get(&digest).cloned())
    }

    async fn drop_component(&self, digest: Digest) -> Result<(), waist::Error> {
        self.components.lock().unwrap().remove(&digest);
        Ok(())
    }

    async fn uploads(&self) -> Result<Vec<(Digest, u64, Ms)>, waist::Error> {
        Ok(self.uploads.lock().unwrap().clone())
    }

    async fn put_upload(&self, digest: Digest, size: u64, at: Ms) -> Result<(), waist::Error> {
        self.drop_upload(digest).await?;
        self.uploads.lock().unwrap().push((digest, size, at));
        Ok(())
    }

    async fn drop_upload(&self, digest: Digest) -> Result<(), waist::Error> {
        self.uploads.lock().unwrap().retain(|(other, ..)| *other != digest);
        Ok(())
    }

    async fn poisoned(&self, plugin: &str) -> Result<Vec<Poisoned>, waist::Error> {
        let all = self.poisoned.lock().unwrap();
        Ok(all.iter().filter(|(id, _)| id == plugin).map(|(_, poisoned)| poisoned.clone()).collect())
    }

    async fn put_poisoned(&self, plugin: &str, poisoned: &Poisoned) -> Result<(), waist::Error> {
        self.check()?;
        self.poisoned.lock().unwrap().push((plugin.to_owned(), poisoned.clone()));
        Ok(())
    }

    async fn drop_poisoned(&self, plugin: &str, hashes: &[String]) -> Result<(), waist::Error> {
        let mut all = self.poisoned.lock().unwrap();
        all.retain(|(id, poisoned)| id != plugin || !hashes.contains(&poisoned.hash));
        Ok(())
    }
}

/// The clock of the tests, which stands until it is moved.
pub struct Hands(AtomicU64);

impl Hands {
    pub fn pass(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Ms {
        Ms(self.0.load(Ordering::SeqCst))
    }
}

/// An engine with all that it stands on.
pub struct Bed {
    pub engine: Arc<Engine>,
    pub tables: Arc<Memory>,
    pub store: Arc<Store>,
    pub folder: Arc<tempfile::TempDir>,
    pub options: Options,
    pub clock: Arc<Hands>,
}

impl Bed {
    pub async fn new(options: Options) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let clock = Arc::new(Hands(AtomicU64::new(1_700_000_000_000)));
        Self::on(options, Arc::new(Memory::default()), folder, clock, Arc::default()).await
    }

    pub async fn on(
        options: Options,
        tables: Arc<Memory>,
        folder: Arc<tempfile::TempDir>,
        clock: Arc<Hands>,
        store: Arc<Store>,
    ) -> Self {
        let compiler = Program { path: env!("CARGO_BIN_EXE_compile-component").into(), args: Vec::new() };
        let cache = folder.path().join("cache");
        let kept = Kept { kv: store.clone(), secrets: store.clone() };
        let engine =
            Engine::open(options.clone(), tables.clone(), clock.clone(), &cache, compiler, kept).await;
        Self { engine: engine.unwrap(), tables, store, folder, options, clock }
    }

    /// The same host after a restart.
    pub async fn restarted(self) -> Self {
        let Self { engine, tables, store, folder, options, clock } = self;
        drop(engine);
        Self::on(options, tables, folder, clock, store).await
    }

    /// Compiled components on disk.
    pub fn artefacts(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.path().join("cache")).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "cwasm"));
        paths
    }

    /// Installs the fixture plugin, which behaves as its configuration says.
    pub async fn install(&self, id: &str, version: &str, config: &str) -> Result<Installed, Error> {
        self.engine.install(fixture(id, version, config)).await
    }

    /// Why an installation is refused.
    pub async fn refusal(&self, install: Install) -> String {
        match self.engine.install(install).await {
            Err(Error::Refused(problems)) => problems.join("\n"),
            other => panic!("should be refused: {other:?}"),
        }
    }

    pub async fn judge(&self, body: &str) -> (Judgement, Verdict) {
        self.judge_of(1, body).await
    }

    /// As [`Bed::judge`], of that user.
    pub async fn judge_of(&self, user: u128, body: &str) -> (Judgement, Verdict) {
        self.engine.pin().judge(&scene(user), Content::text(body), None).await
    }

    /// The plugin as operators see it.
    pub async fn status(&self, id: &str) -> Status {
        let all = self.engine.list().await;
        all.into_iter().find(|status| status.id == id).unwrap_or_else(|| panic!("`{id}` is not installed"))
    }

    /// Waits for what the host does by itself.
    pub async fn until(&self, id: &str, done: impl Fn(&Status) -> bool) -> Status {
        for _ in 0..1_000 {
            let status = self.status(id).await;
            if done(&status) {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it did not come to that: {:?}", self.status(id).await);
    }

    /// All that a plugin logged.
    pub async fn log(&self, id: &str) -> String {
        let lines = self.engine.logs(id, 0).await.unwrap();
        lines.into_iter().map(|line| line.text + "\n").collect()
    }

    pub fn metrics(&self) -> String {
        let mut registry = prometheus_client::registry::Registry::default();
        self.engine.metrics().register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }
}

/// A user of that name.
pub fn user(id: u128, name: &str) -> User {
    User {
        id: UserId::from_u128(id),
        name: name.to_owned(),
        display_name: None,
        bot: false,
        time_zone: None,
        joined_at: Ms(1),
        avatar: None,
        privacy: Privacy::default(),
    }
}

/// A message that has its number, of the first user in the scene's conversation.
pub fn sent(body: &str) -> Message {
    Message {
        conversation: ConversationId::from_u128(7),
        seq: Seq(3),
        sender: UserId::from_u128(1),
        client_id: ClientId::from_u128(1),
        sent_at: Ms(1_700_000_000_000),
        content: Content::text(body),
        via: None,
        verdict: Verdict::default(),
        revised: None,
    }
}

/// What a filter is told of a message of that user.
pub fn scene(user: u128) -> Scene {
    let sender = User { display_name: Some("Ada".to_owned()), ..self::user(user, "ada") };
    Scene {
        now: Ms(1_700_000_000_000),
        conversation: Some(Place {
            id: ConversationId::from_u128(7),
            kind: Kind::Group,
            title: Some("A title".to_owned()),
            member_count: 3,
            encrypted: false,
            labels: vec!["a".to_owned(), "b".to_owned()],
        }),
        sender: Arc::new(sender),
        sender_role: Some(Role::Member),
        activity: Activity::default(),
        via: None,
    }
}

/// The fixture plugin under that id, with that configuration.
pub fn fixture(id: &str, version: &str, config: &str) -> Install {
    Install {
        id: id.to_owned(),
        manifest: manifest(id, version),
        component: Component::Bytes(godwit_fixtures::component(godwit_fixtures::FIXTURE)),
        grants: Some(Vec::new()),
        config: Some(config.to_owned()),
        to: Begin::Active,
        dry_run: false,
    }
}

/// The manifest of the fixture plugin.
pub fn manifest(id: &str, version: &str) -> String {
    format!(
        "id = {id:?}\nversion = {version:?}\ninterface = \"0.1\"\nhooks = [\"normalise\", \"moderation\"]\n"
    )
}

/// The code with which a message was refused.
pub fn refused(judgement: &Judgement) -> Option<&str> {
    match judgement {
        Judgement::Reject { reason, .. } => Some(&reason.code),
        _ => None,
    }
}

/// The text with which a message was let through.
pub fn allowed(judgement: &Judgement) -> Option<&str> {
    match judgement {
        Judgement::Allow(content) => Some(&content.body),
        _ => None,
    }
}
