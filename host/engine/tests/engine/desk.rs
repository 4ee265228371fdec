//! Stands in for `core` in tests of actors: rows in memory, one group, and calls of an installed actor.

use crate::bed::Bed;
use async_trait::async_trait;
use godwit_domain::{
    actor::{
        self, Actor, Actors, ArgumentKind, Call, Denied, Desk, Effects, Event, Invocation, KvWrite,
        Notification, Notified, Outcome, Reply, Request, Response, Target, Value, What,
    },
    conversation::{Interval, Kind, Member, Role},
    filter::{Place, Verdict},
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    kept::{Kv, KvRow, Secrets},
    message::{Content, Message},
    plugin::{Begin, Component, Error, Install, Installed, Manager},
    time::Ms,
    user::{Privacy, User},
    waist,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub const GROUP: ConversationId = ConversationId::from_u128(7);
pub const SEALED: ConversationId = ConversationId::from_u128(8);
pub const ADA: UserId = UserId::from_u128(1);
const NOW: Ms = Ms(1_700_000_000_000);

/// Rows and secrets, which can be told to answer slowly.
#[derive(Default)]
pub struct Store {
    pub rows: Mutex<BTreeMap<String, Arc<[u8]>>>,
    pub secrets: Mutex<HashMap<(String, String), String>>,
    pub reads: AtomicU32,
    pub delay_ms: AtomicU32,
}

#[async_trait]
impl Kv for Store {
    async fn kv_all(&self, _: &str) -> Result<Vec<KvRow>, waist::Error> {
        let rows = self.rows.lock().unwrap();
        let row = |(key, value): (&String, &Arc<[u8]>)| KvRow {
            key: key.clone(),
            value: value.clone(),
            expires_at: None,
        };
        Ok(rows.iter().map(row).collect())
    }
}

#[async_trait]
impl Secrets for Store {
    async fn secret(&self, plugin: &str, name: &str) -> Result<Option<String>, waist::Error> {
        Ok(self.secrets.lock().unwrap().get(&(plugin.to_owned(), name.to_owned())).cloned())
    }

    async fn secret_names(&self, plugin: &str) -> Result<Vec<String>, waist::Error> {
        let secrets = self.secrets.lock().unwrap();
        let mut names: Vec<_> =
            secrets.keys().filter(|(id, _)| id == plugin).map(|(_, name)| name.clone()).collect();
        names.sort();
        Ok(names)
    }

    async fn put_secret(&self, plugin: &str, name: &str, value: &str) -> Result<(), waist::Error> {
        self.secrets.lock().unwrap().insert((plugin.to_owned(), name.to_owned()), value.to_owned());
        Ok(())
    }

    async fn drop_secret(&self, plugin: &str, name: &str) -> Result<bool, waist::Error> {
        Ok(self.secrets.lock().unwrap().remove(&(plugin.to_owned(), name.to_owned())).is_some())
    }
}

fn user(id: UserId, name: &str, bot: bool) -> User {
    let (name, joined_at, privacy) = (name.to_owned(), Ms(1), Privacy::default());
    User { id, name, display_name: None, bot, time_zone: None, joined_at, avatar: None, privacy }
}

/// What is committed, as a call reads it.
struct Committed(Arc<Store>);

impl Committed {
    async fn read(&self) {
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let delay_ms = self.0.delay_ms.load(Ordering::SeqCst);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
        }
    }
}

#[async_trait]
impl Desk for Committed {
    fn now(&self) -> Ms {
        NOW
    }

    async fn kv_get(&self, key: &str) -> Result<Option<Arc<[u8]>>, Denied> {
        self.read().await;
        Ok(self.0.rows.lock().unwrap().get(key).cloned())
    }

    async fn kv_scan(
        &self,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Arc<[u8]>)>, u64), Denied> {
        self.read().await;
        let rows = self.0.rows.lock().unwrap();
        let of_bucket = rows.iter().filter(|(key, _)| {
            actor::bucket(key) == bucket && after.is_none_or(|after| key.as_str() > after)
        });
        Ok((of_bucket.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect(), 5))
    }

    async fn history(
        &self,
        place: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>, Denied> {
        self.read().await;
        if place != GROUP {
            return Err(Denied::NotFound);
        }
        let numbers = (1..before.map_or(4, |seq| seq.0)).rev().take(limit);
        Ok(numbers.map(|seq| message(seq, &format!("text {seq}"))).collect())
    }

    async fn members(
        &self,
        place: ConversationId,
        _: Option<UserId>,
        _: usize,
    ) -> Result<Vec<Member>, Denied> {
        self.read().await;
        if place != GROUP {
            return Err(Denied::NotFound);
        }
        let interval = Interval { after_seq: Seq(0), after_rev: Rev(0), until: None };
        Ok(vec![Member { user: ADA, role: Role::Owner, joined_at: Ms(1), intervals: vec![interval] }])
    }

    async fn sendable(&self, to: Target) -> Result<(), Denied> {
        self.read().await;
        match to {
            Target::Conversation(GROUP) | Target::User(ADA) => Ok(()),
            Target::Conversation(SEALED) => Err(Denied::Encrypted),
            _ => Err(Denied::NotFound),
        }
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, Denied> {
        Ok((id == ADA).then(|| user(ADA, "ada", false)))
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Denied> {
        Ok((name == "ada").then(|| user(ADA, "ada", false)))
    }
}

pub fn message(seq: u64, body: &str) -> Message {
    Message {
        conversation: GROUP,
        seq: Seq(seq),
        sender: ADA,
        client_id: ClientId::from_u128(seq.into()),
        sent_at: NOW,
        content: Content::text(body),
        via: None,
        verdict: Verdict::default(),
        revised: None,
    }
}

pub fn place(id: ConversationId) -> Place {
    Place {
        id,
        kind: Kind::Group,
        title: Some("Team".into()),
        member_count: 2,
        encrypted: id == SEALED,
        labels: vec![],
    }
}

pub fn call(event: &str) -> Call {
    Call {
        user: Arc::new(user(UserId::from_u128(9), "fixture", true)),
        event: event.to_owned(),
        at: NOW,
        hops: 0,
        answers: Arc::default(),
    }
}

/// Everything that the fixture asks.
pub const ALL: [&str; 7] = ["kv", "send", "history", "members", "timer", "secret", "http"];

/// The fixture of actors, with these grants and origins.
pub fn actor(config: &str, grants: &[&str], origins: &[String]) -> Install {
    let manifest = godwit_fixtures::manifest(godwit_fixtures::ACTOR);
    let asked = manifest.split("[[test]]").next().unwrap_or_default().to_owned();
    let manifest = match origins.is_empty() {
        true => asked,
        false => asked.replace("[\"http://127.0.0.1:1\"]", &format!("{origins:?}")),
    };
    Install {
        id: "fixture-actor".to_owned(),
        manifest,
        component: Component::Bytes(godwit_fixtures::component(godwit_fixtures::ACTOR)),
        grants: Some(grants.iter().map(|grant| (*grant).to_owned()).collect()),
        config: Some(config.to_owned()),
        to: Begin::Active,
        dry_run: false,
    }
}

/// The fixture of actors, which neither asks for these capabilities nor is granted them.
pub fn actor_without(kept_back: &[&str]) -> Install {
    let grants: Vec<_> = ALL.into_iter().filter(|grant| !kept_back.contains(grant)).collect();
    let mut install = actor("{}", &grants, &[]);
    let asks = |line: &&str| !kept_back.iter().any(|name| line.starts_with(&format!("{name} = ")));
    install.manifest = install.manifest.lines().filter(asks).map(|line| format!("{line}\n")).collect();
    install
}

impl Bed {
    pub async fn install_actor(&self, config: &str) -> Result<Installed, Error> {
        self.engine.install(actor(config, &ALL, &[])).await
    }

    pub fn actor(&self) -> Arc<dyn Actor> {
        self.engine.all().into_iter().next().expect("an actor is installed")
    }

    pub fn desk(&self) -> Arc<dyn Desk> {
        Arc::new(Committed(self.store.clone()))
    }

    /// What came of a call of the bot with these steps.
    pub async fn hear(&self, steps: &str) -> Outcome<()> {
        self.hear_as(&call("event"), steps).await
    }

    pub async fn hear_as(&self, call: &Call, steps: &str) -> Outcome<()> {
        let told = Arc::new(message(1, steps));
        let sender = Arc::new(user(ADA, "ada", false));
        let what = What::Message { message: told, sender, mentioned: false };
        let event = Event { id: call.event.clone(), at: NOW, hops: 0, place: Some(place(GROUP)), what };
        self.actor().on_event(call, &event, self.desk()).await
    }

    /// What the bot told of these steps, and its effects, which are committed.
    pub async fn did(&self, steps: &str) -> (serde_json::Value, Effects) {
        match self.hear(steps).await {
            Outcome::Done((), effects) => {
                self.commit(&effects.writes);
                (self.told().await, effects)
            }
            other => panic!("{steps}: {other:?}"),
        }
    }

    pub fn commit(&self, writes: &[KvWrite]) {
        for write in writes {
            let mut rows = self.store.rows.lock().unwrap();
            match &write.value {
                Some(value) => drop(rows.insert(write.key.clone(), value.as_slice().into())),
                None => drop(rows.remove(&write.key)),
            }
        }
        self.actor().committed(writes);
    }

    /// What the fixture logged last.
    pub async fn told(&self) -> serde_json::Value {
        let lines = self.engine.logs("fixture-actor", 0).await.unwrap();
        let last = lines.iter().rev().find(|line| line.text.starts_with('['));
        serde_json::from_str(&last.expect("it told something").text).unwrap()
    }

    pub async fn run(&self, steps: &str) -> Outcome<Reply> {
        assert_eq!(self.actor().commands()[0].arguments[0].kind, ArgumentKind::Text);
        let invocation = Invocation {
            name: "do".into(),
            arguments: vec![("steps".into(), Value::Text(steps.into()))],
            place: place(GROUP),
            caller: Arc::new(user(ADA, "ada", false)),
            role: Role::Member,
            client_id: ClientId::from_u128(5),
        };
        self.actor().run(&call("command"), &invocation, self.desk()).await
    }

    pub async fn handle(&self, steps: &str) -> Outcome<Response> {
        let request = Request {
            method: "POST".into(),
            path: "in".into(),
            query: Some("a=b".into()),
            headers: vec![("x-own".into(), "1".into())],
            body: steps.into(),
            address: "192.0.2.1".into(),
        };
        self.actor().handle(&call("request"), &request, self.desk()).await
    }

    pub async fn notify(&self, steps: &str) -> Outcome<Notified> {
        let notification = Notification {
            kind: "fixture".into(),
            endpoint: "endpoint".into(),
            keys: None,
            user: ADA,
            device: "device".into(),
            conversation: GROUP,
            seq: Seq(1),
            sender: ADA,
            preview: Some(steps.into()),
        };
        self.actor().notify(&call("notification"), &notification, self.desk()).await
    }
}
