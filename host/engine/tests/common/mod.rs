//! What the engine's tests share: tables in memory, a clock that stands still, and guests written by hand.

#![allow(dead_code, missing_docs)]

use async_trait::async_trait;
use godwit_domain::{
    conversation::{Kind, Role},
    filter::{Activity, Filters, Judgement, Place, Scene, Verdict},
    id::{ConversationId, Generation, UserId},
    message::Content,
    plugin::{Composition, Digest, Error, Install, Installed, Manager, Roster},
    tables::{Plugins, Written},
    time::{Clock, Ms},
    user::User,
    waist,
};
use godwit_engine::{Engine, Options, Program};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// Tables in memory, which can be told to fail.
#[derive(Default)]
pub struct Memory {
    roster: Mutex<Roster>,
    compositions: Mutex<HashMap<Generation, Composition>>,
    components: Mutex<HashMap<Digest, Vec<u8>>>,
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

    pub fn spoil_components(&self) {
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
}

/// The clock of the tests.
struct Still;

impl Clock for Still {
    fn now(&self) -> Ms {
        Ms(1_700_000_000_000)
    }
}

/// An engine with all that it stands on.
pub struct Bed {
    pub engine: Arc<Engine>,
    pub tables: Arc<Memory>,
    pub folder: Arc<tempfile::TempDir>,
    pub options: Options,
}

impl Bed {
    pub async fn new(options: Options) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::on(options, Arc::new(Memory::default()), folder).await
    }

    pub async fn on(options: Options, tables: Arc<Memory>, folder: Arc<tempfile::TempDir>) -> Self {
        let compiler = Program { path: env!("CARGO_BIN_EXE_compile-component").into(), args: Vec::new() };
        let cache = folder.path().join("cache");
        let engine =
            Engine::open(options.clone(), tables.clone(), Arc::new(Still), &cache, compiler).await.unwrap();
        Self { engine, tables, folder, options }
    }

    /// The same host after a restart.
    pub async fn restarted(self) -> Self {
        let Self { engine, tables, folder, options } = self;
        drop(engine);
        Self::on(options, tables, folder).await
    }

    /// Compiled components on disk.
    pub fn artefacts(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.path().join("cache")).unwrap();
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "cwasm"));
        paths
    }

    pub async fn install(&self, id: &str, version: &str, guest: &Guest) -> Result<Installed, Error> {
        self.engine.install(guest.install(id, version)).await
    }

    /// Why an installation is refused.
    pub async fn refusal(&self, install: Install) -> String {
        match self.engine.install(install).await {
            Err(Error::Refused(problems)) => problems.join("\n"),
            other => panic!("should be refused: {other:?}"),
        }
    }

    pub async fn judge(&self, body: &str) -> (Judgement, Verdict) {
        self.engine.pin().judge(&scene(1), Content::text(body)).await
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

/// What a filter is told of a message of that user.
pub fn scene(user: u128) -> Scene {
    let sender = User {
        id: UserId::from_u128(user),
        name: "ada".to_owned(),
        display_name: Some("Ada".to_owned()),
        bot: false,
        time_zone: None,
        joined_at: Ms(1),
    };
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

/// A guest written by hand: a core module that becomes a component of the interface.
#[derive(Clone, Default)]
pub struct Guest {
    /// Body of `review`: returns a pointer to a verdict.
    pub review: Option<String>,
    /// Body of `normalise`: returns a pointer to its result.
    pub normalise: Option<String>,
    /// Body of `init`: returns a pointer to its result.
    pub init: Option<String>,
    /// More of the module: imports first.
    pub imports: String,
    /// More of the module: functions, globals, data.
    pub more: String,
    /// More of the manifest.
    pub manifest: String,
    /// More of the world.
    pub world: String,
}

/// Where a guest leaves its answer.
const ANSWER: u32 = 1_024;
const REVIEW: &str = "godwit:plugin/moderation@0.1.0#review";
const NORMALISE: &str = "godwit:plugin/normalise@0.1.0#normalise";
const INIT: &str = "godwit:plugin/lifecycle@0.1.0#init";

impl Guest {
    /// Moderation with that body.
    pub fn review(body: impl Into<String>) -> Self {
        Self { review: Some(body.into()), ..Self::default() }
    }

    /// Moderation that allows everything.
    pub fn allows() -> Self {
        Self::review(allow())
    }

    pub fn component(&self) -> Vec<u8> {
        let mut functions = String::new();
        let mut exports = String::new();
        for (body, name, params, interface) in [
            (&self.review, REVIEW, "(param $args i32)", "moderation"),
            (&self.normalise, NORMALISE, "(param $args i32)", "normalise"),
            (&self.init, INIT, "(param $config i32) (param $config_len i32)", "lifecycle"),
        ] {
            let Some(body) = body else { continue };
            functions += &format!("(func (export \"{name}\") {params} (result i32) (local $n i32) {body})\n");
            // What was handed in is forgotten with the answer.
            functions += &format!(
                "(func (export \"cabi_post_{name}\") (param i32) (global.set $top (i32.const 65536)))\n"
            );
            exports += &format!("export godwit:plugin/{interface}@0.1.0;\n");
        }
        let module = format!(
            r#"(module
                {}
                (memory (export "memory") 4)
                (global $top (mut i32) (i32.const 65536))
                (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32) (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                    (global.set $top (i32.add (local.get $at) (local.get $size)))
                    (local.get $at))
                {}
                {functions})"#,
            self.imports, self.more
        );
        encode(&module, &format!("{}\n{exports}", self.world))
    }

    pub fn manifest(&self, id: &str, version: &str) -> String {
        let mut hooks = Vec::new();
        hooks.extend(self.normalise.as_ref().map(|_| "normalise"));
        hooks.extend(self.review.as_ref().map(|_| "moderation"));
        let more = &self.manifest;
        format!("id = {id:?}\nversion = {version:?}\ninterface = \"0.1\"\nhooks = {hooks:?}\n{more}")
    }

    pub fn install(&self, id: &str, version: &str) -> Install {
        Install {
            id: id.to_owned(),
            manifest: self.manifest(id, version),
            component: self.component(),
            grants: Vec::new(),
            config: None,
            dry_run: false,
        }
    }
}

/// Makes a component of a core module in text and the items of its world.
fn encode(module: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = wit_parser::Resolve::default();
    resolve.push_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/0.1")).unwrap();
    let world = format!("package test:guest;\nworld guest {{\n{world}\n}}");
    let package = resolve.push_str("guest.wit", &world).unwrap();
    let world = resolve.select_world(&[package], Some("guest")).unwrap();
    wit_component::embed_component_metadata(
        &mut module,
        &resolve,
        world,
        wit_component::StringEncoding::UTF8,
    )
    .unwrap();
    let mut encoder = wit_component::ComponentEncoder::default().module(&module).unwrap();
    encoder.encode().unwrap()
}

/// Answers `allow`.
pub fn allow() -> String {
    format!("(i32.store8 (i32.const {ANSWER}) (i32.const 0)) (i32.const {ANSWER})")
}

/// Answers `reject` (1) or `hold` (2) with this code and text.
pub fn refuse(verdict: u32, code: &str, text: &str) -> String {
    let (code, code_len) = string(2_048, code);
    let (text, text_len) = string(4_096, text);
    format!(
        "{code} {text} (i32.store8 (i32.const {ANSWER}) (i32.const {verdict}))
         (i32.store offset=4 (i32.const {ANSWER}) (i32.const 2048))
         (i32.store offset=8 (i32.const {ANSWER}) (i32.const {code_len}))
         (i32.store offset=12 (i32.const {ANSWER}) (i32.const 4096))
         (i32.store offset=16 (i32.const {ANSWER}) (i32.const {text_len}))
         (i32.const {ANSWER})"
    )
}

/// Answers `normalise` with a body of its own.
pub fn rewrite(body: &str) -> String {
    let (store, len) = string(2_048, body);
    format!("{store} {}", rewrite_at(2_048, len as u32))
}

/// Answers `normalise` with the body that lies there.
pub fn rewrite_at(at: u32, len: u32) -> String {
    format!(
        "(i32.store8 (i32.const {ANSWER}) (i32.const 0))
         (i32.store8 offset=4 (i32.const {ANSWER}) (i32.const 1))
         (i32.store offset=8 (i32.const {ANSWER}) (i32.const {at}))
         (i32.store offset=12 (i32.const {ANSWER}) (i32.const {len}))
         (i32.store offset=16 (i32.const {ANSWER}) (i32.const 8))
         (i32.store offset=20 (i32.const {ANSWER}) (i32.const 0))
         (i32.const {ANSWER})"
    )
}

/// Answers `init`: well.
pub fn well() -> String {
    format!("(i32.store8 (i32.const {ANSWER}) (i32.const 0)) (i32.const {ANSWER})")
}

/// Answers `init` or `normalise` with an `err` of this text, for `init`.
pub fn unwell(text: &str) -> String {
    let (store, len) = string(2_048, text);
    format!(
        "{store} (i32.store8 (i32.const {ANSWER}) (i32.const 1))
         (i32.store offset=4 (i32.const {ANSWER}) (i32.const 2048))
         (i32.store offset=8 (i32.const {ANSWER}) (i32.const {len}))
         (i32.const {ANSWER})"
    )
}

/// Code that writes a string, and its length.
fn string(at: usize, text: &str) -> (String, usize) {
    let bytes = text.bytes().enumerate();
    let stores = bytes.map(|(n, byte)| format!("(i32.store8 (i32.const {}) (i32.const {byte}))", at + n));
    (stores.collect(), text.len())
}
