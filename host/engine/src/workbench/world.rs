//! The world in which a scenario takes place: a clock that a test moves, people, rows, and servers that only seem.
//!
//! It carries out what a plugin did, as `core` does, as far as that can be seen by the plugin: rows are there for the
//! next call, messages stand in the history. Nothing leaves it.

use super::scenario::{Exchange, Scenario};
use crate::actor::http::{Answer, Error, Play};
use async_trait::async_trait;
use godwit_domain::{
    actor::{self, Act, Denied, Desk, Effects, Target},
    conversation::{Interval, Member},
    filter::{Activity, Counts, Verdict},
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    kept::{Kv, KvRow, Secrets},
    message::{Content, Message},
    time::{Clock, Ms},
    user::User,
    waist,
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Attempts to send that are remembered: more than a scenario can count by.
const ATTEMPTS_MAX: usize = 100_000;

/// A clock that stands until it is moved.
#[derive(Default)]
pub(super) struct Hands(AtomicU64);

impl Hands {
    pub(super) fn set(&self, now: Ms) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Ms {
        Ms(self.0.load(Ordering::SeqCst))
    }
}

/// The world of the scenario that runs.
pub(super) struct World {
    pub(super) clock: Arc<Hands>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    scenario: Option<Arc<Scenario>>,
    rows: BTreeMap<String, (Arc<[u8]>, Option<Ms>)>,
    said: Vec<Message>,
    timers: BTreeMap<String, (Ms, Vec<u8>)>,
    attempts: Vec<(UserId, Ms, String)>,
    /// How often each exchange of the scenario was played.
    played: Vec<u32>,
    asked: Vec<String>,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { clock: Arc::default(), inner: Mutex::default() })
    }

    /// Makes it that of a scenario, as it is at its beginning.
    pub(super) fn begin(&self, scenario: Arc<Scenario>) {
        self.clock.set(scenario.begin);
        let rows = scenario.kv.iter();
        let rows = rows.map(|(key, value)| (key.clone(), (value.as_bytes().into(), None))).collect();
        let played = vec![0; scenario.http.len()];
        *self.inner.lock() = Inner { scenario: Some(scenario), rows, played, ..Inner::default() };
    }

    /// What stands in `kv`.
    pub(super) fn rows(&self) -> Vec<KvRow> {
        let inner = self.inner.lock();
        let rows = inner.rows.iter();
        let row = |(key, (value, expires_at)): (&String, &(Arc<[u8]>, Option<Ms>))| KvRow {
            key: key.clone(),
            value: value.clone(),
            expires_at: *expires_at,
        };
        rows.map(row).collect()
    }

    /// Adds rows, as a step gives them.
    pub(super) fn put_rows(&self, rows: &BTreeMap<String, String>) {
        let mut inner = self.inner.lock();
        for (key, value) in rows {
            inner.rows.insert(key.clone(), (value.as_bytes().into(), None));
        }
    }

    /// Carries out what a plugin did.
    pub(super) fn commit(&self, effects: &Effects, own: UserId) {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        for write in &effects.writes {
            match &write.value {
                Some(value) => {
                    let expires_at = write.ttl_s.map(|ttl_s| now.plus(ttl_s.saturating_mul(1_000)));
                    inner.rows.insert(write.key.clone(), (value.as_slice().into(), expires_at));
                }
                None => drop(inner.rows.remove(&write.key)),
            }
        }
        for act in &effects.acts {
            match act {
                Act::Send(Target::Conversation(conversation), content) => {
                    let message = inner.next(*conversation, own, content.clone(), now);
                    inner.said.push(message);
                }
                Act::SetTimer { name, at, payload } => {
                    inner.timers.insert(name.clone(), (*at, payload.clone()));
                }
                Act::CancelTimer(name) => drop(inner.timers.remove(name)),
                _ => {}
            }
        }
    }

    /// Takes the timer of that name, which fires now.
    ///
    /// # Errors
    /// It is not due yet.
    pub(super) fn fire(&self, name: &str) -> Result<Option<(Ms, Vec<u8>)>, String> {
        let mut inner = self.inner.lock();
        match inner.timers.get(name) {
            Some((at, _)) if *at > self.clock.now() => {
                let left = at.0 - self.clock.now().0;
                Err(format!(
                    "the timer `{name}` is due in {} s; let time pass with `after`",
                    left.div_ceil(1_000)
                ))
            }
            _ => Ok(inner.timers.remove(name)),
        }
    }

    /// What the sender did lately in this scenario, before this attempt, which is noted.
    pub(super) fn attempt(&self, sender: UserId, body: &str, member_since: Option<Ms>) -> Activity {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let own = || inner.attempts.iter().filter(|(who, ..)| *who == sender);
        let within = |ms: u64| {
            let count = own().filter(|(_, at, _)| at.plus(ms) > now).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        let counts = Counts {
            messages_10s: within(10_000),
            messages_60s: within(60_000),
            messages_1h: within(3_600_000),
        };
        let same = own().filter(|(_, at, said)| at.plus(60_000) > now && said == body).count();
        let activity = Activity {
            here: Some(counts),
            overall: counts,
            same_body_60s: u32::try_from(same).unwrap_or(u32::MAX),
            member_since,
        };
        if inner.attempts.len() < ATTEMPTS_MAX {
            inner.attempts.push((sender, now, body.to_owned()));
        }
        activity
    }

    /// Says something on behalf of somebody, so that it stands in the history.
    pub(super) fn say(&self, sender: UserId, body: &str) {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let Some(place) = inner.scenario.as_ref().map(|scenario| scenario.place.id) else { return };
        let message = inner.next(place, sender, Content::text(body), now);
        inner.said.push(message);
    }

    /// The requests that were made since the last time.
    pub(super) fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().asked)
    }
}

impl Inner {
    fn next(&self, conversation: ConversationId, sender: UserId, content: Content, now: Ms) -> Message {
        let seq = self.said.len() as u64 + 1;
        Message {
            conversation,
            seq: Seq(seq),
            sender,
            client_id: ClientId::from_u128(seq.into()),
            sent_at: now,
            content,
            via: None,
            verdict: Verdict::default(),
            revised: None,
        }
    }

    fn find(&self, matches: impl Fn(&User) -> bool) -> Option<User> {
        let people = self.scenario.as_ref().map(|scenario| scenario.people.values());
        people.into_iter().flatten().map(|person| &person.user).find(|user| matches(user)).cloned()
    }
}

impl Play for World {
    fn answer(&self, method: &str, url: &str, _body: &[u8]) -> Result<Answer, Error> {
        let mut inner = self.inner.lock();
        inner.asked.push(format!("{method} {url}"));
        let scenario = inner.scenario.clone();
        let exchanges = scenario.iter().flat_map(|scenario| &scenario.http).enumerate();
        let fits = |n: usize, exchange: &Exchange, inner: &Inner| {
            // As the URL library writes it, so that `https://example.com` is the same with a `/`.
            let written = url::Url::parse(&exchange.url).map_or(exchange.url.clone(), String::from);
            exchange.method == method
                && written == url
                && exchange.times.is_none_or(|times| inner.played[n] < times)
        };
        for (n, exchange) in exchanges {
            if fits(n, exchange, &inner) {
                inner.played[n] += 1;
                if exchange.fails {
                    return Err(Error::Connection("the scenario says that nobody answers".to_owned()));
                }
                let headers = exchange.headers.iter();
                return Ok(Answer {
                    status: exchange.status,
                    headers: headers.map(|(name, value)| (name.to_lowercase(), value.clone())).collect(),
                    body: exchange.body.clone().into_bytes(),
                });
            }
        }
        Err(Error::Connection(format!(
            "the scenario has no [[http]] with method = \"{method}\" and url = \"{url}\""
        )))
    }
}

#[async_trait]
impl Kv for World {
    async fn kv_all(&self, _: &str) -> Result<Vec<KvRow>, waist::Error> {
        Ok(self.rows())
    }
}

#[async_trait]
impl Secrets for World {
    async fn secret(&self, _: &str, name: &str) -> Result<Option<String>, waist::Error> {
        let inner = self.inner.lock();
        Ok(inner.scenario.as_ref().and_then(|scenario| scenario.secrets.get(name).cloned()))
    }

    async fn secret_names(&self, _: &str) -> Result<Vec<String>, waist::Error> {
        let inner = self.inner.lock();
        Ok(inner.scenario.iter().flat_map(|scenario| scenario.secrets.keys().cloned()).collect())
    }

    async fn put_secret(&self, _: &str, _: &str, _: &str) -> Result<(), waist::Error> {
        Err(waist::Error::Unavailable("a scenario's secrets stand in its file".to_owned()))
    }

    async fn drop_secret(&self, _: &str, _: &str) -> Result<bool, waist::Error> {
        Err(waist::Error::Unavailable("a scenario's secrets stand in its file".to_owned()))
    }
}

#[async_trait]
impl Desk for World {
    fn now(&self) -> Ms {
        self.clock.now()
    }

    async fn kv_get(&self, key: &str) -> Result<Option<Arc<[u8]>>, Denied> {
        let now = self.clock.now();
        let inner = self.inner.lock();
        let row = inner.rows.get(key).filter(|(_, expires_at)| expires_at.is_none_or(|at| at > now));
        Ok(row.map(|(value, _)| value.clone()))
    }

    async fn kv_scan(
        &self,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Arc<[u8]>)>, u64), Denied> {
        let now = self.clock.now();
        let inner = self.inner.lock();
        let rows = inner.rows.iter().filter(|(key, (_, expires_at))| {
            actor::bucket(key) == bucket
                && after.is_none_or(|after| key.as_str() > after)
                && expires_at.is_none_or(|at| at > now)
        });
        Ok((rows.take(limit).map(|(key, (value, _))| (key.clone(), value.clone())).collect(), 0))
    }

    async fn history(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>, Denied> {
        let inner = self.inner.lock();
        let here = inner.said.iter().rev().filter(|message| {
            message.conversation == conversation && before.is_none_or(|before| message.seq < before)
        });
        Ok(here.take(limit).cloned().collect())
    }

    async fn members(
        &self,
        _: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, Denied> {
        let inner = self.inner.lock();
        let interval = Interval { after_seq: Seq(0), after_rev: Rev(0), until: None };
        let people = inner.scenario.iter().flat_map(|scenario| scenario.people.values());
        let mut members: Vec<_> = people
            .map(|person| Member {
                user: person.user.id,
                role: person.role,
                joined_at: person.member_since,
                intervals: vec![interval],
            })
            .filter(|member| after.is_none_or(|after| member.user > after))
            .collect();
        members.sort_by_key(|member| member.user);
        members.truncate(limit);
        Ok(members)
    }

    async fn sendable(&self, to: Target) -> Result<(), Denied> {
        let inner = self.inner.lock();
        let Some(scenario) = &inner.scenario else { return Err(Denied::NotFound) };
        match to {
            Target::Conversation(id) if id != scenario.place.id => Err(Denied::NotFound),
            Target::Conversation(_) if scenario.place.encrypted => Err(Denied::Encrypted),
            Target::Conversation(_) => Ok(()),
            Target::User(id) => inner.find(|user| user.id == id).map(drop).ok_or(Denied::NotFound),
        }
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, Denied> {
        Ok(self.inner.lock().find(|user| user.id == id))
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Denied> {
        Ok(self.inner.lock().find(|user| user.name == name))
    }
}
