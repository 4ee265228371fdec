//! Presence: who is here, told to those who watch, once it has settled.
//!
//! It owns the sessions' comings and goings as others see them ([`Table`]), the watched sets, and when users were seen
//! last ([`Seen`]). Who may see whom it asks [`Sight`], when a watch begins and whenever something changed that may
//! change the answer; a coming or going itself asks nobody, and costs what its watchers cost.
//! Nothing of it stands on the way of a message.

mod options;
mod seen;
mod table;

pub use options::Options;

use crate::{metrics::Metrics, registry::Entry, sight::Sight};
use godwit_domain::{
    id::{SessionId, UserId},
    tables::LastSeen,
    time::Clock,
    waist::Error,
};
use godwit_protocol::object;
use parking_lot::Mutex;
use seen::Seen;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use table::{Due, Settling, Table, Watch};
use tokio::{
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

const STRIPES: usize = 64;
/// How often it is looked whether something is to be written.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Every how many of these it is noted of everyone online that they still are: a crash loses no more of it.
const HEARTBEAT: u64 = 600;
/// How long it is waited where it could not be found out who may see whom.
const RETRY: Duration = Duration::from_secs(1);

/// See the module.
pub struct Presence {
    settling: Settling,
    sight: Arc<dyn Sight>,
    seen: Seen,
    now: fn() -> Instant,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    stripes: [Mutex<Table>; STRIPES],
    /// Who is to be looked at when. Taken within the lock of a stripe, never around one.
    due: Mutex<BTreeSet<(Instant, UserId)>>,
    due_moved: Arc<Notify>,
    /// Of whom it is to be found out anew who may see them, and whom they may see.
    doubtful: Mutex<HashSet<UserId>>,
    doubted: Arc<Notify>,
    /// How often anyone was doubtful: what was found out before may not hold.
    doubts: AtomicU64,
}

/// What presence stands on.
pub struct Ports {
    /// Who may see whom.
    pub sight: Arc<dyn Sight>,
    /// Where it is written when users were seen last.
    pub last_seen: Arc<dyn LastSeen>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Metrics,
}

impl Presence {
    /// Nobody is here yet. Needs a tokio runtime; its tasks end with it.
    pub fn start(options: &Options, ports: Ports) -> Arc<Self> {
        let presence = Arc::new(Self::new(options, ports, Instant::now));
        tokio::spawn(advance_in_time(Arc::downgrade(&presence), presence.due_moved.clone()));
        tokio::spawn(settle_doubts(Arc::downgrade(&presence), presence.doubted.clone()));
        tokio::spawn(write_in_time(Arc::downgrade(&presence)));
        presence
    }

    fn new(options: &Options, ports: Ports, now: fn() -> Instant) -> Self {
        let Ports { sight, last_seen, clock, metrics } = ports;
        let interval_ms = options.last_seen_interval_ms;
        Self {
            settling: Settling {
                online_after: Duration::from_millis(options.online_after_ms),
                offline_after: Duration::from_millis(options.offline_after_ms),
            },
            sight,
            seen: Seen::new(last_seen, clock.clone(), metrics.clone(), interval_ms),
            now,
            clock,
            metrics,
            stripes: std::array::from_fn(|_| Mutex::default()),
            due: Mutex::default(),
            due_moved: Arc::default(),
            doubtful: Mutex::default(),
            doubted: Arc::default(),
            doubts: AtomicU64::new(0),
        }
    }

    fn stripe(&self, user: UserId) -> &Mutex<Table> {
        // The low bytes of a UUID are random in every version that is used.
        &self.stripes[usize::from(user.as_bytes()[15]) % STRIPES]
    }

    /// A session of the user began; it is here until what this returns is dropped.
    pub fn enter(self: &Arc<Self>, entry: Arc<Entry>) -> Here {
        let mut table = self.stripe(entry.user).lock();
        let due = table.came(entry.user, entry.id, (self.now)(), self.settling);
        self.move_due(entry.user, due);
        drop(table);
        Here { presence: self.clone(), entry }
    }

    fn leave(&self, user: UserId, session: SessionId) {
        let now = ((self.now)(), self.clock.now());
        let mut table = self.stripe(user).lock();
        let (due, watched) = table.went(user, session, now, self.settling);
        self.move_due(user, due);
        drop(table);
        self.unwatch(session, &watched);
    }

    fn unwatch(&self, session: SessionId, watched: &[UserId]) {
        let unwatch = |user: &&UserId| self.stripe(**user).lock().unwatch(**user, session, self.settling);
        self.metrics.watches.dec_by(watched.iter().filter(unwatch).count() as i64);
    }

    fn move_due(&self, user: UserId, Due { before, after }: Due) {
        if before == after {
            return;
        }
        let mut due = self.due.lock();
        if let Some(before) = before {
            due.remove(&(before, user));
        }
        if let Some(after) = after {
            due.insert((after, user));
            if due.first() == Some(&(after, user)) {
                self.due_moved.notify_one();
            }
        }
    }

    /// Works off whose time has come; when the next one's comes.
    fn advance(&self) -> Option<Instant> {
        let now = (self.now)();
        loop {
            let user = {
                let due = self.due.lock();
                match due.first() {
                    Some((at, user)) if *at <= now => *user,
                    next => return next.map(|(at, _)| *at),
                }
            };
            let mut table = self.stripe(user).lock();
            let (due, moved) = table.advance(user, now, self.settling);
            self.move_due(user, due);
            let Some(moved) = moved else { continue };
            self.seen.note(user, moved.seen.unwrap_or_else(|| self.clock.now()));
            drop(table);
            self.metrics.online.inc_by(if moved.online { 1 } else { -1 });
            self.metrics.presence_changes.inc();
            self.metrics.presence_pushes.inc_by(moved.told as u64);
        }
    }

    /// Whether these are here, as far as the viewer may see it; in the order asked.
    ///
    /// # Errors
    /// That of the store.
    pub async fn of(&self, viewer: UserId, users: &[UserId]) -> Result<Vec<object::Presence>, Error> {
        let visible = self.sight.of(viewer, users).await?;
        self.shown(users, &visible).await
    }

    async fn shown(&self, users: &[UserId], visible: &[bool]) -> Result<Vec<object::Presence>, Error> {
        let show = |(user, visible): (&UserId, &bool)| {
            let online = *visible && self.stripe(*user).lock().is_online(*user);
            object::Presence { user: *user, online, last_seen: None }
        };
        let mut all: Vec<_> = users.iter().zip(visible).map(show).collect();
        let is_away = |(presence, visible): (&object::Presence, &bool)| *visible && !presence.online;
        let away: Vec<_> =
            all.iter().zip(visible).filter(|asked| is_away(*asked)).map(|(p, _)| p.user).collect();
        let mut seen = self.seen.last(&away).await?.into_iter();
        for (presence, visible) in all.iter_mut().zip(visible) {
            if is_away((presence, visible)) {
                presence.last_seen = seen.next().flatten();
            }
        }
        Ok(all)
    }

    /// Who may see that user, and whom they may see, is to be found out anew, soon: they came into a conversation or
    /// went from one. Who neither watches nor is watched costs a look.
    pub fn doubt(&self, user: UserId) {
        self.doubts.fetch_add(1, Ordering::SeqCst);
        let concerns = {
            let table = self.stripe(user).lock();
            !table.viewers(user).is_empty() || !table.watched(user).is_empty()
        };
        if concerns && self.doubtful.lock().insert(user) {
            self.doubted.notify_one();
        }
    }

    /// The same, done when this returns: where an answer promises it. Where it cannot be found out, nothing is shown
    /// until it can.
    pub async fn look_again(&self, user: UserId) {
        self.doubts.fetch_add(1, Ordering::SeqCst);
        if let Err(error) = self.try_again(user).await {
            tracing::warn!(%error, %user, "who may see a user cannot be found out; nobody does until it can");
            self.metrics.store_failures.inc();
            self.stripe(user).lock().show(user, |_| Some(false));
            for target in self.watched(user) {
                self.stripe(target).lock().show(target, |viewer| (viewer == user).then_some(false));
            }
            self.doubtful.lock().insert(user);
        }
    }

    async fn try_again(&self, user: UserId) -> Result<(), Error> {
        let viewers = self.stripe(user).lock().viewers(user);
        let visible = self.sight.on(user, &viewers).await?;
        let by_viewer: HashMap<_, _> = viewers.into_iter().zip(visible).collect();
        self.stripe(user).lock().show(user, |viewer| by_viewer.get(&viewer).copied());
        let targets = self.watched(user);
        let visible = self.sight.of(user, &targets).await?;
        for (target, visible) in targets.into_iter().zip(visible) {
            self.stripe(target).lock().show(target, |viewer| (viewer == user).then_some(visible));
        }
        Ok(())
    }

    fn watched(&self, user: UserId) -> Vec<UserId> {
        self.stripe(user).lock().watched(user)
    }

    /// Looks again at all who are in doubt; whether nobody is any more.
    async fn settle_doubts(&self) -> bool {
        let doubtful = std::mem::take(&mut *self.doubtful.lock());
        for user in doubtful {
            self.look_again(user).await;
        }
        self.doubtful.lock().is_empty()
    }

    /// Writes when everybody was seen last, those who still are here included: before the host ends.
    pub async fn write_all(&self) {
        self.note_online();
        self.seen.write_all().await;
    }

    fn note_online(&self) {
        let now = self.clock.now();
        for stripe in &self.stripes {
            stripe.lock().online().for_each(|user| self.seen.note(user, now));
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // Whoever waits for them finds that there is nothing left to do.
        self.due_moved.notify_one();
        self.doubted.notify_one();
    }
}

/// A session that is here, until this is dropped.
pub struct Here {
    presence: Arc<Presence>,
    entry: Arc<Entry>,
}

impl Here {
    /// Watches these, each named once, and nobody else from now on; `answer` is given how they are now, before anything
    /// that changes later is told.
    ///
    /// # Errors
    /// That of the store; the session goes on watching whom it watched.
    pub async fn watch(
        &self,
        users: Vec<UserId>,
        answer: impl FnOnce(&[object::Presence]),
    ) -> Result<(), Error> {
        let Self { presence, entry } = self;
        let doubts = presence.doubts.load(Ordering::SeqCst);
        let visible = presence.sight.of(entry.user, &users).await?;
        let shown = presence.shown(&users, &visible).await?;
        answer(&shown);
        let before = presence.stripe(entry.user).lock().rewatch(entry.user, entry.id, users.clone());
        let Some(mut before) = before else { return Ok(()) };
        before.retain(|user| !users.contains(user));
        presence.unwatch(entry.id, &before);
        for ((user, visible), shown) in users.iter().zip(visible).zip(shown) {
            let (session, viewer, outbox) = (entry.id, entry.user, entry.outbox.clone());
            let watch = Watch { session, viewer, outbox, visible, told: shown.online };
            if presence.stripe(*user).lock().watch(*user, watch, presence.settling) {
                presence.metrics.watches.inc();
            }
        }
        if presence.doubts.load(Ordering::SeqCst) != doubts {
            presence.doubt(entry.user);
        }
        Ok(())
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.presence.leave(self.entry.user, self.entry.id);
    }
}

async fn advance_in_time(presence: Weak<Presence>, moved: Arc<Notify>) {
    loop {
        let Some(next) = presence.upgrade().map(|presence| presence.advance()) else { return };
        match next {
            Some(at) => tokio::select! {
                () = sleep_until(at) => {}
                () = moved.notified() => {}
            },
            None => moved.notified().await,
        }
    }
}

async fn settle_doubts(presence: Weak<Presence>, doubted: Arc<Notify>) {
    loop {
        let Some(here) = presence.upgrade() else { return };
        let is_settled = here.settle_doubts().await;
        drop(here);
        match is_settled {
            true => doubted.notified().await,
            // What could not be found out; or others came to be in doubt meanwhile, and may wait as well.
            false => sleep(RETRY).await,
        }
    }
}

async fn write_in_time(presence: Weak<Presence>) {
    let mut ticks = interval(WRITE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 1u64.. {
        ticks.tick().await;
        let Some(presence) = presence.upgrade() else { return };
        if turn.is_multiple_of(HEARTBEAT) {
            presence.note_online();
        }
        presence.seen.write().await;
    }
}

#[cfg(test)]
mod tests;
