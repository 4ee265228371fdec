//! Actors: bots, commands and webhooks hear of things, and what they want done is done exactly once.
//!
//! Each plugin that serves hooks of actors has a [`lane`]: it reads the conversations from where the plugin stands
//! ([`hear`]), calls it, and stores what it wants together with its new place ([`commit`]); [`errands`] then carries
//! that out under the plugin's own user. Nothing here is on the way of a message: [`Watch`] alone is told by the shards
//! that there is something to read. It refuses to know how plugins run.
//!
//! Start with [`Crew`], which has all lanes.

mod watch;
mod lane;
mod hear;
mod patience;
mod range;
mod commit;
mod errands;
mod desk;
mod command;
mod inbound;
mod letters;
mod metrics;

pub(crate) use command::Listed;
pub use inbound::Unanswered;
pub use letters::Page as LetterPage;
pub use metrics::Metrics;
pub use watch::{Marked, Watch};

use crate::{host::Host, sequencer::SHARDS};
use godwit_domain::{
    actor::{Actor, Actors, EventKind, Hook},
    conversation::Kind,
    id::{ClientId, ConversationId, Seq, UserId},
    tables::{Work, Worker},
    time::{Clock, Ms},
    waist,
};
use godwit_protocol::error::{Code, Error};
use lane::Lane;
use lru::LruCache;
use parking_lot::{Mutex, RwLock};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    num::NonZeroUsize,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// Causes beyond which nothing is delivered any more: what bots say to each other ends.
const HOPS_MAX: u8 = 8;
/// Revisions of bots of which it is remembered how many causes they are away.
const CAUSES_MAX: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();
/// How often it is looked what is clean, and whether a plugin that was removed is done.
const CHORES_EVERY: Duration = Duration::from_secs(1);
/// How long who asks something of a plugin waits for one that was installed, or found at the start, a moment ago.
const EMPLOYED_WITHIN: Duration = Duration::from_secs(2);
/// How long a stopping host waits for calls that are under way.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// All plugins that are at work.
pub struct Crew {
    pub(crate) watch: Arc<Watch>,
    actors: Arc<dyn Actors>,
    work: Arc<dyn Work>,
    metrics: Metrics,
    lanes: RwLock<HashMap<String, Arc<Lane>>>,
    /// How many causes away what a bot did last to a message is, of those that no client id tells.
    causes: Mutex<LruCache<(UserId, ConversationId, Seq), u8>>,
    /// Plugins whose errands are not to be finished when they are removed.
    discarded: Mutex<Vec<String>>,
    inbound: inbound::Limits,
    changed: Arc<Notify>,
    /// There is a lane more.
    employed: Notify,
    closing: AtomicBool,
}

impl Crew {
    pub(crate) fn new(
        actors: Arc<dyn Actors>,
        work: Arc<dyn Work>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let changed = Arc::new(Notify::new());
        let crew = Arc::new(Self {
            watch: Watch::new(work.clone(), clock),
            actors,
            work,
            metrics,
            lanes: RwLock::default(),
            causes: Mutex::new(LruCache::new(CAUSES_MAX)),
            discarded: Mutex::default(),
            inbound: inbound::Limits::default(),
            changed: changed.clone(),
            employed: Notify::new(),
            closing: AtomicBool::new(false),
        });
        // From the first message on.
        crew.watch.set_active(crew.actors.all().iter().any(|actor| hears_conversations(&**actor)));
        crew.actors.on_change(Box::new(move || changed.notify_one()));
        crew
    }

    /// Whether the host is stopping: nothing more is begun.
    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Begins nothing more, waits for a while for what is under way, and stores where everyone stands.
    pub(crate) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        let lanes: Vec<_> = self.lanes.read().values().cloned().collect();
        let closed = futures_util::future::join_all(lanes.iter().map(|lane| lane.close()));
        // What is cut begins anew with the next host.
        let _ = tokio::time::timeout(CLOSE_WITHIN, closed).await;
    }

    fn lane(&self, plugin: &str) -> Option<Arc<Lane>> {
        self.lanes.read().get(plugin).cloned()
    }

    /// The lane of a plugin that serves; one that was installed just now is about to have it.
    ///
    /// # Errors
    /// `unavailable`, where it still has none.
    async fn lane_soon(&self, plugin: &str) -> Result<Arc<Lane>, Error> {
        let found = async {
            loop {
                let mut employed = std::pin::pin!(self.employed.notified());
                employed.as_mut().enable();
                if let Some(lane) = self.lane(plugin).filter(|lane| !lane.is_removed()) {
                    return lane;
                }
                employed.await;
            }
        };
        let late = |_| Error::new(Code::Unavailable, format!("the plugin `{plugin}` is not at work yet"));
        tokio::time::timeout(EMPLOYED_WITHIN, found).await.map_err(late)
    }

    /// Has a plugin that is being removed forget what it still wants done.
    pub(crate) fn discard(&self, plugin: &str) {
        self.discarded.lock().push(plugin.to_owned());
        self.changed.notify_one();
    }

    /// Brings the lanes in line with what is installed.
    async fn refresh(self: &Arc<Self>, host: &Arc<Host>) -> Result<(), waist::Error> {
        let present = self.actors.all();
        for actor in &present {
            let id = actor.id();
            match self.lane(id) {
                // What was removed comes back when all of it is gone.
                Some(lane) if lane.is_removed() => {}
                Some(lane) => lane.set_actor(Some(actor.clone())),
                None => self.employ(host, actor).await?,
            }
        }
        let lanes: Vec<_> = self.lanes.read().values().cloned().collect();
        let gone: Vec<_> =
            lanes.into_iter().filter(|lane| !present.iter().any(|actor| actor.id() == lane.id)).collect();
        if !gone.is_empty() {
            let roster = host.parts.plugin_tables.roster().await?;
            for lane in gone {
                lane.set_actor(None);
                // One that is installed and cannot serve now keeps what it has.
                if !roster.plugins.iter().any(|plugin| plugin.id == lane.id) {
                    lane.remove();
                }
            }
        }
        self.set_active();
        Ok(())
    }

    /// Brings the lanes up, with everything that an earlier life of the host left.
    async fn begin(self: &Arc<Self>, host: &Arc<Host>) -> Result<(), waist::Error> {
        self.refresh(host).await?;
        self.take_up(host).await?;
        self.refresh(host).await?;
        if !self.lanes.read().is_empty() {
            self.watch.found(self.work.dirty(SHARDS).await?);
        }
        Ok(())
    }

    /// Takes up plugins that were removed and have something left to do.
    async fn take_up(self: &Arc<Self>, host: &Arc<Host>) -> Result<(), waist::Error> {
        for id in self.work.workers().await? {
            if self.lane(&id).is_none()
                && let Some(account) = host.parts.account_tables.account_by_name(&id).await?
            {
                let since = host.parts.clock.now();
                let worker = self.work.employ(&id, Worker { user: account.user.id, since }).await?;
                let lane = Lane::start(self, host, &id, Arc::new(account.user), worker, None).await?;
                self.lanes.write().insert(id, lane);
            }
        }
        Ok(())
    }

    /// Gives a plugin its user, its partition and its lane.
    async fn employ(self: &Arc<Self>, host: &Arc<Host>, actor: &Arc<dyn Actor>) -> Result<(), waist::Error> {
        let id = actor.id();
        let user = match host.parts.accounts.bot(id).await {
            Ok(user) => Arc::new(user),
            Err(error) => {
                tracing::error!(plugin = id, %error, "the plugin has no user, and hears nothing");
                return Ok(());
            }
        };
        if hears_conversations(&**actor) {
            // Before the time from which on it hears: what is sent after that is marked.
            self.watch.set_active(true);
        }
        let since = host.parts.clock.now();
        let worker = self.work.employ(id, Worker { user: user.id, since }).await?;
        let lane = Lane::start(self, host, id, user, worker, Some(actor.clone())).await?;
        for conversation in self.watch.all() {
            lane.touch(conversation);
        }
        self.lanes.write().insert(id.to_owned(), lane);
        self.employed.notify_waiters();
        Ok(())
    }

    fn set_active(&self) {
        // What is installed and cannot serve now hears later what it missed.
        let hears =
            |lane: &Arc<Lane>| lane.actor().map_or(!lane.is_removed(), |actor| hears_conversations(&*actor));
        let active = self.lanes.read().values().any(hears);
        self.watch.set_active(active);
    }

    fn has_chores(&self) -> bool {
        !self.lanes.read().is_empty() || !self.watch.is_clean()
    }

    /// Tends what nobody asks for: conversations that are clean, plugins that were removed and are done.
    async fn chores(&self) {
        for conversation in self.watch.quiet() {
            let lanes: Vec<_> = self.lanes.read().values().cloned().collect();
            if lanes.iter().all(|lane| lane.has_heard(conversation))
                && let Err(error) = self.watch.clean(conversation).await
            {
                tracing::warn!(%error, %conversation, "a conversation stays marked for actors");
                return;
            }
        }
        let discarded = std::mem::take(&mut *self.discarded.lock());
        let removed: Vec<_> = self.lanes.read().values().filter(|lane| lane.is_removed()).cloned().collect();
        for lane in removed {
            if discarded.contains(&lane.id) {
                lane.discard();
            }
            if !lane.is_done() {
                continue;
            }
            match self.work.dismiss(&lane.id).await {
                Ok(()) => {
                    tracing::info!(plugin = lane.id, "what the plugin kept is gone");
                    self.lanes.write().remove(&lane.id);
                    self.changed.notify_one();
                }
                Err(error) => {
                    tracing::warn!(%error, plugin = lane.id, "a plugin's rows could not be removed")
                }
            }
        }
        let lanes = self.lanes.read();
        // Who is removed a little later than it was said.
        let waiting = discarded.into_iter().filter(|id| lanes.get(id).is_some_and(|lane| !lane.is_removed()));
        self.discarded.lock().extend(waiting);
    }

    /// How many causes away a message is.
    fn hops_of(&self, client: ClientId, by_bot: bool) -> u8 {
        if by_bot { hops_in(client) } else { 0 }
    }

    fn note_cause(&self, by: UserId, conversation: ConversationId, seq: Seq, hops: u8) {
        let mut causes = self.causes.lock();
        let known = causes.get(&(by, conversation, seq)).copied().unwrap_or_default();
        causes.put((by, conversation, seq), known.max(hops));
    }

    fn cause(&self, by: UserId, conversation: ConversationId, seq: Seq) -> u8 {
        self.causes.lock().peek(&(by, conversation, seq)).copied().unwrap_or_default()
    }
}

/// Runs the crew for as long as there is a host.
pub(crate) async fn tend(host: Weak<Host>) {
    let mut chores = tokio::time::interval(CHORES_EVERY);
    chores.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut begun, mut stale) = (false, true);
    loop {
        let Some(host) = host.upgrade() else { return };
        let crew = host.crew.clone();
        if stale {
            let refreshed = if begun { crew.refresh(&host).await } else { crew.begin(&host).await };
            match refreshed {
                Ok(()) => (begun, stale) = (true, false),
                Err(error) => {
                    tracing::warn!(%error, "what plugins have left to do cannot be read; it is tried again");
                }
            }
        }
        // Held no longer than it takes: the tasks of a host must not keep it.
        drop(host);
        tokio::select! {
            () = crew.changed.notified() => stale = true,
            () = crew.watch.stirred.notified() => {
                let lanes: Vec<_> = crew.lanes.read().values().cloned().collect();
                for conversation in crew.watch.take_moved() {
                    lanes.iter().for_each(|lane| lane.touch(conversation));
                }
            }
            _ = chores.tick(), if stale || crew.has_chores() => crew.chores().await,
        }
    }
}

/// Whether a plugin wants to hear of anything that stands in a conversation's log.
fn hears_conversations(actor: &dyn Actor) -> bool {
    let stands_there = |kind: &EventKind| !matches!(kind, EventKind::Timer | EventKind::Sent);
    actor.hooks().contains(&Hook::Bot) && actor.events().iter().any(stands_there)
}

/// Whether the plugin hears a conversation of which its user is no member.
fn hears_all(actor: &dyn Actor, kind: Kind) -> bool {
    match kind {
        Kind::Direct => actor.may("all-conversations=with-direct"),
        Kind::Group | Kind::Channel => {
            actor.may("all-conversations") || actor.may("all-conversations=with-direct")
        }
    }
}

/// The client id of something that a plugin wants done: the same however often it is made. It carries how many causes
/// away it is, so that this stands with the message: nobody else makes client ids for a plugin's user.
fn client_id(plugin: &str, event: &str, ordinal: usize, at: Ms, hops: u8) -> ClientId {
    let mut hash = Sha256::new();
    for part in [plugin.as_bytes(), &[0], event.as_bytes(), &[0], &ordinal.to_be_bytes()] {
        hash.update(part);
    }
    let hash = hash.finalize();
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    // The last byte: neither version nor variant stands there.
    random[9] = hops;
    ClientId(uuid::Builder::from_unix_timestamp_millis(at.0, &random).into_uuid())
}

/// How many causes away something is that a plugin did under that client id.
fn hops_in(client: ClientId) -> u8 {
    client.as_bytes()[15]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_the_same_each_time_and_tells_how_many_causes_away_it_is() {
        let at = Ms(1_800_000_000_000);
        let id = client_id("bot", "m.1.2", 3, at, 7);
        assert_eq!(id, client_id("bot", "m.1.2", 3, at, 7));
        assert_eq!((id.made_at(), hops_in(id)), (Some(at), 7));
        for other in [
            client_id("bo", "tm.1.2", 3, at, 7),
            client_id("bot", "m.1.2", 4, at, 7),
            client_id("bot", "m.1.3", 3, at, 7),
        ] {
            assert_ne!(id, other);
        }
    }
}
