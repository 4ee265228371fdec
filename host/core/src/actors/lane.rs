//! One plugin at work: what it has to hear, where it stands, and whose turn it is.
//!
//! One event at a time per conversation; several conversations at once, as far as the plugin has instances.

use super::{
    Crew, Metrics, commit, errands,
    hear::{self, Pause},
};
use crate::host::Host;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use godwit_domain::{
    actor::Actor,
    id::ConversationId,
    tables::{End, Failing, Notice, Position, Settlement, Settling, Timer, Work, Worker},
    time::{Clock, Ms},
    user::User,
    waist,
};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::MissedTickBehavior};

/// Events that run at once: as many as a plugin has instances by default.
const AT_ONCE: usize = 8;
/// How often it is looked whether the time of a timer, or of another attempt, has come.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often positions are stored that moved without effects, in milliseconds.
const STORE_EVERY_MS: u64 = 1_000;
/// Errands beyond which a plugin hears nothing more until some are done.
const ERRANDS_MAX: usize = 1_000;
/// Timers that are taken up at once.
const TIMERS_TOGETHER: usize = 1_000;
/// Rows that are read in one page when a lane begins.
const PAGE: usize = 1_000;
/// How long it takes until what the store refused is tried again, in milliseconds.
const STORE_AGAIN_MS: u64 = 1_000;

/// See the module.
pub struct Lane {
    /// The plugin's id.
    pub id: String,
    /// Its own user.
    pub user: Arc<User>,
    /// Since when it hears.
    pub since: Ms,
    pub work: Arc<dyn Work>,
    pub clock: Arc<dyn Clock>,
    pub errands: errands::Queue,
    pub(super) commits: commit::Queue,
    host: Weak<Host>,
    crew: Weak<Crew>,
    metrics: Metrics,
    /// `None` while no version of it serves.
    actor: Mutex<Option<Arc<dyn Actor>>>,
    state: Mutex<State>,
    wake: Notify,
    /// What was under way is over.
    idle: Notify,
    removed: AtomicBool,
    look_for_timers: AtomicBool,
}

#[derive(Default)]
struct State {
    tracks: HashMap<Option<ConversationId>, Track>,
    /// Tracks whose turn may have come, in order.
    ready: VecDeque<Option<ConversationId>>,
    timers: Timers,
    running: usize,
    /// It is over: the host stops.
    closed: bool,
}

#[derive(Default)]
struct Timers {
    /// When the next one is due; asked anew when timers changed.
    next: Option<Ms>,
    running: HashSet<u64>,
    /// Those that failed, and when they are tried again.
    failing: HashMap<u64, (Failing, Ms)>,
    /// Some are due and wait until another event is over.
    pending: bool,
}

/// What the plugin has to hear in one conversation, or outside of all.
#[derive(Default)]
struct Track {
    running: bool,
    /// Something happened since it was looked at last.
    stirred: bool,
    queued: bool,
    /// Not before that.
    wait_until: Option<Ms>,
    /// Where the plugin stands, once it is known.
    position: Option<Position>,
    /// Whether that is stored.
    stored: bool,
    notices: VecDeque<Notice>,
    /// Of the first notice.
    failing: Option<Failing>,
}

enum Done {
    Walked(Option<ConversationId>, Pause),
    Fired(u64, Result<Option<(Failing, Ms)>, waist::Error>),
    TimersRead(Result<(Vec<Timer>, Option<Ms>), waist::Error>),
    Stored(Vec<(ConversationId, Position)>, Result<Vec<Settling>, waist::Error>),
}

impl Lane {
    /// Takes up a plugin's work: its errands, its notices, its timers.
    ///
    /// # Errors
    /// That of the store.
    pub async fn start(
        crew: &Arc<Crew>,
        host: &Arc<Host>,
        id: &str,
        user: Arc<User>,
        worker: Worker,
        actor: Option<Arc<dyn Actor>>,
    ) -> Result<Arc<Self>, waist::Error> {
        let work = crew.work.clone();
        let (commits, waiting) = commit::queue();
        let mut state = State::default();
        let mut after = 0;
        loop {
            let notices = work.notices(id, after, PAGE).await?;
            let Some(last) = notices.last() else { break };
            after = last.n;
            for notice in notices {
                state.stir(notice.conversation).notices.push_back(notice);
            }
        }
        let errands = errands::Queue::read(&*work, id, user.id).await?;
        let lane = Arc::new(Self {
            id: id.to_owned(),
            user,
            since: worker.since,
            work,
            clock: host.parts.clock.clone(),
            errands,
            commits,
            host: Arc::downgrade(host),
            crew: Arc::downgrade(crew),
            metrics: crew.metrics.clone(),
            actor: Mutex::new(actor),
            state: Mutex::new(state),
            wake: Notify::new(),
            idle: Notify::new(),
            removed: AtomicBool::new(false),
            look_for_timers: AtomicBool::new(true),
        });
        let weak = Arc::downgrade(&lane);
        tokio::spawn(commit::run(weak.clone(), waiting));
        tokio::spawn(errands::run(weak.clone()));
        tokio::spawn(run(weak));
        Ok(lane)
    }

    pub fn host(&self) -> Option<Arc<Host>> {
        self.host.upgrade()
    }

    pub fn crew(&self) -> Option<Arc<Crew>> {
        self.crew.upgrade()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The version that serves, if any does.
    pub fn actor(&self) -> Option<Arc<dyn Actor>> {
        self.actor.lock().clone()
    }

    /// Another version serves from now on, or none.
    pub fn set_actor(&self, actor: Option<Arc<dyn Actor>>) {
        *self.actor.lock() = actor;
        self.look_for_timers();
        self.state.lock().stir_all();
        self.wake.notify_one();
    }

    /// The plugin is removed: it hears nothing more, and what it wants done is done.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::SeqCst);
    }

    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// What it wants done is not to be done any more.
    pub fn discard(&self) {
        self.errands.discard();
    }

    /// Whether nothing is under way and nothing waits to be done.
    pub fn is_done(&self) -> bool {
        self.errands.is_empty() && self.state.lock().running == 0
    }

    /// Something happened in a conversation.
    pub fn touch(&self, conversation: ConversationId) {
        self.state.lock().stir(Some(conversation));
        self.wake.notify_one();
    }

    /// A notice was stored.
    pub fn notify(&self, notice: Notice) {
        self.state.lock().stir(notice.conversation).notices.push_back(notice);
        self.wake.notify_one();
    }

    /// The timers changed.
    pub fn look_for_timers(&self) {
        self.look_for_timers.store(true, Ordering::SeqCst);
        self.wake.notify_one();
    }

    /// Whether everything that happened in a conversation was heard, and that is stored.
    pub fn has_heard(&self, conversation: ConversationId) -> bool {
        let mut state = self.state.lock();
        let key = Some(conversation);
        let Some(track) = state.tracks.get(&key) else { return true };
        let heard = !track.running
            && !track.stirred
            && track.wait_until.is_none()
            && track.notices.is_empty()
            && (track.stored || track.position.is_none());
        if heard {
            state.tracks.remove(&key);
        }
        heard
    }

    /// Begins nothing more, waits for what is under way, and stores where the plugin stands.
    pub async fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_one();
        loop {
            let idle = self.idle.notified();
            if self.state.lock().running == 0 {
                break;
            }
            idle.await;
        }
        let moved = self.state.lock().unstored();
        let positions = moved.iter().map(|(at, position)| Settlement::of(End::Position(*at, *position)));
        if !moved.is_empty()
            && let Err(error) = self.work.settle(&self.id, positions.collect()).await
        {
            tracing::warn!(%error, plugin = self.id, "some events will be heard a second time");
        }
    }

    /// Where the plugin stands in a conversation, if that is known in memory.
    pub fn standing(&self, conversation: ConversationId) -> Option<Position> {
        self.state.lock().tracks.get(&Some(conversation)).and_then(|track| track.position)
    }

    /// The plugin stands there from now on; `stored` says that this is durable.
    pub fn stand(&self, conversation: ConversationId, position: Position, stored: bool) {
        let mut state = self.state.lock();
        let track = state.tracks.entry(Some(conversation)).or_default();
        (track.position, track.stored) = (Some(position), stored);
    }

    /// Where the plugin stands has to be read again.
    pub fn forget(&self, conversation: ConversationId) {
        let mut state = self.state.lock();
        if let Some(track) = state.tracks.get_mut(&Some(conversation)) {
            (track.position, track.stored) = (None, false);
        }
    }

    /// The first notice that waits there, and how often it failed.
    pub fn first_notice(&self, key: Option<ConversationId>) -> Option<(Notice, Option<Failing>)> {
        let state = self.state.lock();
        let track = state.tracks.get(&key)?;
        Some((track.notices.front()?.clone(), track.failing))
    }

    /// The first notice is settled, or failed so often.
    pub fn settle_notice(&self, key: Option<ConversationId>, failing: Option<Failing>) {
        let mut state = self.state.lock();
        if let Some(track) = state.tracks.get_mut(&key) {
            track.failing = failing;
            if failing.is_none() {
                track.notices.pop_front();
            }
        }
    }

    /// Whether the plugin is to be called now.
    pub fn may_run(&self) -> Option<Arc<dyn Actor>> {
        if self.is_removed() || self.state.lock().closed {
            return None;
        }
        self.actor().filter(|actor| actor.suspended().is_none())
    }

    fn finish(&self, done: Done) {
        let now = self.clock.now();
        let ended = matches!(done, Done::Walked(..) | Done::Fired(..));
        let mut state = self.state.lock();
        match done {
            Done::Walked(key, pause) => {
                state.running -= 1;
                let Some(track) = state.tracks.get_mut(&key) else { return };
                track.running = false;
                match pause {
                    Pause::Heard => {}
                    Pause::More => track.stirred = true,
                    Pause::Until(at) => (track.stirred, track.wait_until) = (true, Some(at)),
                    Pause::Store => {
                        (track.stirred, track.wait_until) = (true, Some(now.plus(STORE_AGAIN_MS)));
                    }
                    // Stirred again when it may.
                    Pause::Suspended => track.stirred = true,
                }
                state.queue(key);
            }
            Done::Fired(n, result) => {
                state.running -= 1;
                state.timers.running.remove(&n);
                match result {
                    Ok(None) => drop(state.timers.failing.remove(&n)),
                    Ok(Some(failing)) => drop(state.timers.failing.insert(n, failing)),
                    Err(_) => {
                        let failing = state.timers.failing.get(&n).map_or(Failing::default(), |(f, _)| *f);
                        state.timers.failing.insert(n, (failing, now.plus(STORE_AGAIN_MS)));
                    }
                }
                state.timers.pending = true;
            }
            Done::TimersRead(Ok((_, next))) => {
                // Those that failed are looked at again when their time has come.
                let again = state.timers.failing.values().map(|(_, at)| *at);
                state.timers.next = next.into_iter().chain(again).min();
            }
            Done::TimersRead(Err(error)) => {
                tracing::warn!(%error, plugin = self.id, "timers could not be read");
                state.timers.next = Some(now.plus(STORE_AGAIN_MS));
            }
            Done::Stored(moved, Ok(_)) => {
                for (conversation, position) in moved {
                    if let Some(track) = state.tracks.get_mut(&Some(conversation))
                        && track.position == Some(position)
                    {
                        track.stored = true;
                    }
                }
            }
            Done::Stored(_, Err(error)) => {
                tracing::warn!(%error, plugin = self.id, "positions could not be stored; it is tried again");
            }
        }
        if ended && std::mem::take(&mut state.timers.pending) {
            self.look_for_timers.store(true, Ordering::SeqCst);
        }
    }
}

impl State {
    /// Something is to be looked at there.
    fn stir(&mut self, key: Option<ConversationId>) -> &mut Track {
        self.tracks.entry(key).or_default().stirred = true;
        self.queue(key);
        self.tracks.entry(key).or_default()
    }

    fn stir_all(&mut self) {
        let keys: Vec<_> = self.tracks.keys().copied().collect();
        for key in keys {
            self.stir(key);
        }
    }

    fn queue(&mut self, key: Option<ConversationId>) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        if track.stirred && !track.running && !std::mem::replace(&mut track.queued, true) {
            self.ready.push_back(key);
        }
    }

    /// Whose turn it is; those that wait go to the end.
    fn next(&mut self, now: Ms) -> Option<Option<ConversationId>> {
        for _ in 0..self.ready.len() {
            let key = self.ready.pop_front()?;
            let Some(track) = self.tracks.get_mut(&key) else { continue };
            if track.wait_until.is_some_and(|at| at > now) {
                self.ready.push_back(key);
                continue;
            }
            (track.queued, track.stirred, track.running, track.wait_until) = (false, false, true, None);
            return Some(key);
        }
        None
    }

    /// Positions that are not stored, of conversations in which nothing is under way.
    fn unstored(&self) -> Vec<(ConversationId, Position)> {
        let moved = self.tracks.iter().filter(|(_, track)| !track.stored && !track.running);
        moved.filter_map(|(key, track)| (*key).zip(track.position)).collect()
    }
}

async fn run(lane: Weak<Lane>) {
    let mut work: FuturesUnordered<BoxFuture<'static, Done>> = FuturesUnordered::new();
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stored_at = Ms::default();
    loop {
        {
            let Some(lane) = lane.upgrade() else { return };
            if lane.host().is_none() {
                return;
            }
            begin(&lane, &work);
            store(&lane, &work, &mut stored_at);
        }
        // Held no longer than it takes: a lane ends with its crew.
        let Some(wake) = lane.upgrade() else { return };
        tokio::select! {
            Some(done) = work.next(), if !work.is_empty() => {
                if let Done::TimersRead(Ok((due, _))) = &done {
                    fire(&wake, due, &work);
                }
                wake.finish(done);
                wake.idle.notify_waiters();
            }
            () = wake.wake.notified() => {}
            _ = looks.tick() => {}
        }
    }
}

/// Begins whatever may begin now.
fn begin(lane: &Arc<Lane>, work: &FuturesUnordered<BoxFuture<'static, Done>>) {
    let Some(actor) = lane.may_run() else { return };
    if lane.errands.len() >= ERRANDS_MAX {
        return;
    }
    let now = lane.clock.now();
    let mut state = lane.state.lock();
    let is_due = state.timers.next.is_some_and(|next| next <= now);
    if lane.look_for_timers.swap(false, Ordering::SeqCst) || is_due {
        state.timers.next = None;
        let lane = lane.clone();
        work.push(Box::pin(async move {
            let read = async {
                let due = lane.work.due(&lane.id, now, TIMERS_TOGETHER).await?;
                // Those that are due stand before it: they are tried again by their own times.
                let next = match due.len() < TIMERS_TOGETHER {
                    true => lane.work.next_due(&lane.id, now).await?,
                    false => Some(now.plus(STORE_AGAIN_MS)),
                };
                Ok((due, next))
            };
            Done::TimersRead(read.await)
        }));
    }
    while state.running < AT_ONCE {
        let Some(key) = state.next(now) else { break };
        state.running += 1;
        let (lane, actor) = (lane.clone(), actor.clone());
        work.push(Box::pin(async move { Done::Walked(key, hear::walk(&lane, &actor, key).await) }));
    }
}

/// Has the timers fire that are due, unless they do already or are to be tried later.
fn fire(lane: &Arc<Lane>, due: &[Timer], work: &FuturesUnordered<BoxFuture<'static, Done>>) {
    let Some(actor) = lane.may_run() else {
        return lane.look_for_timers.store(true, Ordering::SeqCst);
    };
    let now = lane.clock.now();
    let mut state = lane.state.lock();
    for timer in due {
        let failing = state.timers.failing.get(&timer.n).copied();
        if failing.is_some_and(|(_, at)| at > now) || state.timers.running.contains(&timer.n) {
            continue;
        }
        if state.running >= AT_ONCE {
            state.timers.pending = true;
            break;
        }
        state.timers.running.insert(timer.n);
        state.running += 1;
        let (lane, actor, timer) = (lane.clone(), actor.clone(), timer.clone());
        let failing = failing.map(|(failing, _)| failing);
        work.push(Box::pin(
            async move { Done::Fired(timer.n, hear::fire(&lane, &actor, &timer, failing).await) },
        ));
    }
}

/// Stores positions that moved without effects.
fn store(lane: &Arc<Lane>, work: &FuturesUnordered<BoxFuture<'static, Done>>, stored_at: &mut Ms) {
    let now = lane.clock.now();
    // A clock that was set back must not stop this.
    if now.0.abs_diff(stored_at.0) < STORE_EVERY_MS {
        return;
    }
    *stored_at = now;
    let moved = lane.state.lock().unstored();
    if moved.is_empty() {
        return;
    }
    let lane = lane.clone();
    work.push(Box::pin(async move {
        let stored = moved.iter().map(|(at, position)| {
            // By the same queue as effects, so that none of them overtakes another.
            lane.commit(Settlement::of(End::Position(*at, *position)), None)
        });
        let stored = futures_util::future::try_join_all(stored).await;
        Done::Stored(moved, stored)
    }));
}
