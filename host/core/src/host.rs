//! The host: everything behind the doors, put together.
//!
//! Whoever owns a connection opens a [`Session`] and hands it what comes in; what goes out is drained from its outbox.

use crate::{
    accounts, actors,
    changes::Changes,
    deliver::{self, Stage, later},
    held,
    lanes::Lanes,
    limits,
    metrics::Metrics,
    outbox::{self, Drain},
    person::People,
    presence::{self, Presence},
    profile,
    registry::Registry,
    relations::Relations,
    sequencer::{self, Cards},
    session::{Session, cursor::Cursor, resume},
    sight,
};
use bytes::Bytes;
use godwit_domain::{
    filter::Filters,
    id::{ConversationId, Generation, LoginId, Seq, UserId},
    notification::Notifications,
    plugin::Part,
    tables,
    time::{Clock, Ms},
};
use godwit_protocol::{
    encode,
    error::{Close, Code, Error},
    object,
};
use serde::Serialize;
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How often it is looked whether all sessions of a draining host are gone.
const DRAIN_POLL: Duration = Duration::from_millis(20);
/// How often sessions are told where conversations stand of which they were spared pushes.
const HEADS_EVERY: Duration = Duration::from_secs(1);
/// How long sockets have for their closing handshake.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// What the transport promises its clients, as `hello` tells them.
#[derive(Debug, Clone)]
pub struct Transport {
    /// The server's name and version.
    pub server: String,
    /// How often it pings, in milliseconds.
    pub ping_interval_ms: u64,
    /// The largest frame that it takes, in bytes.
    pub frame_bytes_max: usize,
    /// How many bytes may wait for a slow reader.
    pub outbox_bytes_max: usize,
    /// What it serves, by the names in `hello.features`.
    pub features: &'static [&'static str],
}

/// What a host is made of.
pub struct Parts {
    /// Limits on clients.
    pub limits: limits::Options,
    /// What `hello` says.
    pub transport: Transport,
    /// Which life of the store this is.
    pub epoch: String,
    /// Streams, members, marks.
    pub conversations: Arc<dyn tables::Conversations>,
    /// The rows of contacts and blocks.
    pub relation_tables: Arc<dyn tables::Relations>,
    /// The rows of drafts on hold.
    pub held: Arc<dyn tables::HeldDrafts>,
    /// The rows of notifications that were put off.
    pub deferrals: Arc<dyn tables::Deferrals>,
    /// Who delivers notifications.
    pub notifications: Arc<dyn Notifications>,
    /// The rows of accounts.
    pub account_tables: Arc<dyn tables::Accounts>,
    /// The plugins that serve hooks of actors.
    pub actors: Arc<dyn godwit_domain::actor::Actors>,
    /// What they work with.
    pub work: Arc<dyn tables::Work>,
    /// What is counted of that.
    pub actor_metrics: actors::Metrics,
    /// When users were seen last.
    pub last_seen: Arc<dyn tables::LastSeen>,
    /// How presence settles.
    pub presence: presence::Options,
    /// The rows of plugins.
    pub plugin_tables: Arc<dyn tables::Plugins>,
    /// Who may come in.
    pub accounts: Arc<accounts::Service>,
    /// Who is connected; the same that `accounts` tells of logins that end.
    pub registry: Arc<Registry>,
    /// The filters.
    pub filters: Arc<dyn Filters>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Times of change.
    pub changes: Arc<Changes>,
    /// How devices resume.
    pub resume: resume::Options,
    /// Counters.
    pub metrics: Metrics,
    /// How many tasks share the shards.
    pub shard_tasks: usize,
}

/// See the module.
pub struct Host {
    pub(crate) parts: Parts,
    pub(crate) sequencer: sequencer::Handle,
    pub(crate) stage: Arc<Stage>,
    pub(crate) cards: Arc<Cards>,
    pub(crate) people: People,
    pub(crate) crew: Arc<actors::Crew>,
    /// Users as they are stored, remembered for a while.
    pub(crate) known: Arc<deliver::People>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) profiles: profile::Changed,
    pub(crate) relations: Arc<Relations>,
    pub(crate) lanes: Lanes,
    hello: object::Hello,
    /// The same as a push, encoded once.
    hello_frame: Bytes,
    draining: AtomicBool,
}

/// How a message came to be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Which set of plugins decided.
    pub generation: Generation,
    /// What each of them did, in order.
    pub plugins: Vec<Traced>,
}

/// One call of one plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Traced {
    /// Which plugin.
    pub id: String,
    /// Which version.
    pub version: String,
    /// Which component, in hexadecimal.
    pub digest: String,
    /// At which hook.
    pub hook: &'static str,
    /// What it decided.
    pub decision: &'static str,
    /// In how many microseconds.
    pub micros: u32,
}

impl Host {
    /// Puts the parts together and starts the shards; needs a tokio runtime.
    pub fn start(parts: Parts) -> Arc<Self> {
        let cards = Arc::<Cards>::default();
        let (work, clock, counted) = (parts.work.clone(), parts.clock.clone(), parts.actor_metrics.clone());
        let crew = actors::Crew::new(parts.actors.clone(), work, clock, counted);
        let (later, commands) = later::channel();
        let known = Arc::new(deliver::People::new(parts.account_tables.clone(), parts.clock.clone()));
        let relations = Arc::new(Relations::new(parts.relation_tables.clone()));
        let presence = start_presence(&parts, known.clone(), relations.clone());
        let stage = Stage::new(deliver::Ports {
            router: parts.registry.clone(),
            people: known.clone(),
            conversations: parts.conversations.clone(),
            later: later.clone(),
            clock: parts.clock.clone(),
            metrics: parts.metrics.clone(),
            limits: parts.limits.clone(),
        });
        let ports = sequencer::Ports {
            conversations: parts.conversations.clone(),
            relation_tables: parts.relation_tables.clone(),
            relations: relations.clone(),
            held: parts.held.clone(),
            filters: parts.filters.clone(),
            accounts: parts.account_tables.clone(),
            presence: presence.clone(),
            cards: cards.clone(),
            router: parts.registry.clone(),
            stage: stage.clone(),
            later,
            clock: parts.clock.clone(),
            changes: parts.changes.clone(),
            metrics: parts.metrics.clone(),
            limits: parts.limits.clone(),
            watch: crew.watch.clone(),
        };
        let sequencer = sequencer::Handle::start(&ports, parts.shard_tasks);
        let hello = hello(&parts);
        let hello_frame = encode::push("hello", &hello).into();
        let (people, lanes, draining) = (People::default(), Lanes::default(), AtomicBool::new(false));
        let (deferrals, metrics) = (parts.deferrals.clone(), parts.metrics.clone());
        let host = Arc::new(Self {
            parts,
            sequencer,
            stage,
            cards,
            people,
            crew,
            known,
            presence,
            profiles: profile::Changed::default(),
            relations,
            lanes,
            hello,
            hello_frame,
            draining,
        });
        tokio::spawn(later::run(Arc::downgrade(&host), commands, deferrals, metrics));
        tokio::spawn(tell_in_time(Arc::downgrade(&host)));
        tokio::spawn(profile::tell_in_time(Arc::downgrade(&host)));
        tokio::spawn(held::tend_in_time(Arc::downgrade(&host)));
        tokio::spawn(actors::tend(Arc::downgrade(&host)));
        host
    }

    /// A session for a new connection, and the frames that it has for it: `hello` is the first.
    pub fn open_session(self: &Arc<Self>) -> (Session, Drain) {
        let (outbox, drain) = outbox::channel(self.parts.transport.outbox_bytes_max);
        outbox.push(self.hello_frame.clone(), None);
        (Session::new(self.clone(), outbox, false), drain)
    }

    /// As [`Host::open_session`], where nothing can be told before it is asked for: `hello` comes with the reply to
    /// `connect`.
    pub fn open_asked_session(self: &Arc<Self>) -> (Session, Drain) {
        let (outbox, drain) = outbox::channel(self.parts.transport.outbox_bytes_max);
        (Session::new(self.clone(), outbox, true), drain)
    }

    pub(crate) fn hello(&self) -> &object::Hello {
        &self.hello
    }

    /// Whether the host sends everyone away: nobody new is to be let in.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The clock by which tokens end.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.parts.clock.clone()
    }

    /// Which plugins saw a message, and what each decided.
    ///
    /// # Errors
    /// `not_found`, or that of the store.
    pub async fn trace(&self, conversation: ConversationId, seq: Seq) -> Result<Trace, Error> {
        let missing =
            || Error::new(Code::NotFound, format!("no message {seq} in conversation {conversation}"));
        if seq == Seq::ZERO {
            return Err(missing());
        }
        let read = self.parts.conversations.messages(conversation, seq..=seq, false, usize::MAX).await?;
        let message = read.into_iter().next().ok_or_else(missing)?;
        let generation = message.verdict.generation;
        let composition = self.parts.plugin_tables.composition(generation).await?.unwrap_or_default();
        let named = |plugin: u16| composition.plugins.get(usize::from(plugin));
        let plugins = message.verdict.steps.iter().filter_map(|step| {
            let Part { id, version, digest } = named(step.plugin)?.clone();
            let (hook, decision) = (step.hook.name(), step.decision.name());
            Some(Traced { id, version, digest: digest.to_string(), hook, decision, micros: step.micros })
        });
        Ok(Trace { generation, plugins: plugins.collect() })
    }

    /// Sends every session away within about `within`, each at its own moment, then waits until what was accepted is
    /// durable and answered. Whoever opens sessions asks [`Host::is_draining`] first; connections are still to be
    /// accepted, for those who are here may need one for each request.
    pub async fn drain(&self, within: Duration) {
        self.draining.store(true, Ordering::Relaxed);
        let registry = &self.parts.registry;
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let mut told = 0u64;
        registry.each(|entry| {
            // Spread evenly: ids are random, so their order is too.
            let after_ms = entry.id.0.as_u128() as u64 % within_ms.max(1);
            entry.outbox.push(encode::push("reconnect", &Reconnect { after_ms }).into(), None);
            told += 1;
        });
        tracing::info!(sessions = told, within_ms, "draining");
        self.until_empty(within).await;
        registry.each(|entry| entry.outbox.close(Close::Draining));
        self.until_empty(CLOSE_WAIT).await;
        self.crew.close().await;
        self.settle().await;
        self.presence.write_all().await;
        tracing::info!(left = registry.len(), "drained");
    }

    /// Tells every session where conversations stand of which it was spared pushes.
    pub fn tell_heads(&self) {
        self.parts.registry.tell_heads();
    }

    /// Tells every session up to where it has been told everything, heads included. Those that are to be told of large
    /// conversations hear of it with that.
    pub fn tell_cursors(&self) {
        let at = self.parts.changes.cursor();
        self.parts.registry.each(|entry| entry.outbox.cursor(|| cursor_frame(entry.user, at)));
    }

    /// Tells the sessions whose turn it is where the large conversations stand that they do not follow.
    pub fn tell_slowly(&self, turn: usize) {
        let owing = self.parts.registry.owing(turn);
        if owing.is_empty() {
            return;
        }
        let at = self.parts.changes.cursor();
        owing.iter().for_each(|entry| entry.outbox.tell_all(|| cursor_frame(entry.user, at)));
    }

    /// Waits until what was accepted before is durable and answered, marks that rose by sending included, and told to
    /// whom it concerns.
    pub async fn settle(&self) {
        self.sequencer.settle().await;
        self.stage.settle().await;
    }

    /// Looks now what is due of the notifications that were put off, as is done every second.
    pub async fn tend_deferred(&self) {
        self.stage.tend_deferred().await;
    }

    async fn until_empty(&self, within: Duration) {
        let all_gone = async {
            while !self.parts.registry.is_empty() {
                tokio::time::sleep(DRAIN_POLL).await;
            }
        };
        // Whoever is still there is closed next.
        let _ = tokio::time::timeout(within, all_gone).await;
    }
}

/// Tells sessions what is told from time to time: where conversations stand of which they were spared pushes, and up to
/// where they have been told everything.
async fn tell_in_time(host: Weak<Host>) {
    let mut ticks = tokio::time::interval(HEADS_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told_at = Instant::now();
    for turn in 0usize.. {
        ticks.tick().await;
        let Some(host) = host.upgrade() else { return };
        host.tell_heads();
        host.tell_slowly(turn);
        if told_at.elapsed() >= Duration::from_millis(host.parts.resume.cursor_interval_ms) {
            told_at = Instant::now();
            host.tell_cursors();
        }
    }
}

fn start_presence(parts: &Parts, known: Arc<deliver::People>, relations: Arc<Relations>) -> Arc<Presence> {
    let small_max = parts.limits.follow_above as usize;
    let conversations = parts.conversations.clone();
    let ports = presence::Ports {
        sight: Arc::new(sight::Stored::new(known, conversations, relations, small_max)),
        last_seen: parts.last_seen.clone(),
        clock: parts.clock.clone(),
        metrics: parts.metrics.clone(),
    };
    Presence::start(&parts.presence, ports)
}

fn cursor_frame(user: UserId, at: Ms) -> Bytes {
    let cursor = Cursor { user, at }.to_string();
    encode::push("cursor", &Told { cursor }).into()
}

#[derive(Serialize)]
struct Told {
    cursor: String,
}

#[derive(Serialize)]
struct Reconnect {
    after_ms: u64,
}

fn hello(parts: &Parts) -> object::Hello {
    object::Hello {
        protocol: godwit_protocol::VERSION,
        server: parts.transport.server.clone(),
        ping_interval_ms: parts.transport.ping_interval_ms,
        max_frame_bytes: parts.transport.frame_bytes_max,
        max_body_bytes: parts.limits.body_bytes_max,
        max_in_flight: parts.limits.in_flight_max,
        max_users_per_request: parts.limits.users_per_request_max,
        follow_above: parts.limits.follow_above,
        features: parts.transport.features,
    }
}

impl accounts::Ends for Registry {
    fn login_ended(&self, login: LoginId) {
        self.each(|entry| {
            if entry.login == Some(login) {
                entry.outbox.close(Close::Revoked);
            }
        });
    }

    fn user_ended(&self, user: UserId) {
        self.close(user, Close::Revoked, |_| true);
    }
}
