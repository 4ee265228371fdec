//! The warm instances of one plugin, version and configuration, and the calls that wait for them.
//!
//! An instance serves one call at a time. A user has at most one call of a hook running, so one person's slow
//! messages cannot take all instances; calls wait within bounds, and are refused as busy beyond them. Instances are
//! made off the path of messages, so a caller who goes away takes none along.
//!
//! A free instance is never kept for someone who waits: who waits is woken in the order of arrival, and takes one if
//! there still is one when it runs. Handed over, an instance would lie idle for as long as the woken task stands in the
//! runtime's queue, which is far longer than a call takes, and every other call would have to wait as well.
//!
//! Everything that changes the pool ends in [`Pool::settle`], which wakes whom there are instances for.

use crate::{
    faults::{self, Fault},
    health::Health,
    instance::{self, Blueprint, Failure, Instance},
};
use godwit_domain::filter::{Decision, Hook};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify};
use uuid::Uuid;

/// The instances of one plugin, version and configuration.
pub(crate) struct Pool {
    blueprint: Arc<Blueprint>,
    health: Arc<Health>,
    instances_max: usize,
    waiting_max: usize,
    waiting_per_user_max: usize,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Free instances, in the order in which they were given back.
    idle: Vec<Instance>,
    /// Instances that are free, lent or being made.
    live: usize,
    /// Of those, the ones that are being made.
    making: usize,
    /// Whose calls run.
    running: Vec<Turn>,
    waiting: VecDeque<Arc<Waiting>>,
}

/// Whose call of which hook: one of these runs at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The sender's on the way to a number; after it the conversation's, which delays itself alone.
    pub(crate) whose: Uuid,
    pub(crate) hook: Hook,
}

struct Waiting {
    turn: Turn,
    woken: Notify,
    /// Why there will be no instance, where that is known.
    failure: OnceLock<Failure>,
}

impl State {
    /// A free instance, where this call may run: the one that this thread asked last, for its memory lies in the caches
    /// of this core, else the one that was idle longest, which is no other thread's.
    fn take(&mut self, turn: Turn) -> Option<Instance> {
        let taken = self.running.contains(&turn) && !faults::on(Fault::OneTurnForAll);
        if self.idle.is_empty() || taken {
            return None;
        }
        let thread = instance::thread();
        let own = self.idle.iter().rposition(|instance| instance.asked_by == thread);
        self.running.push(turn);
        Some(self.idle.remove(own.unwrap_or_default()))
    }
}

impl Pool {
    /// A pool that begins with these instances.
    pub(crate) fn new(
        blueprint: Arc<Blueprint>,
        health: Arc<Health>,
        first: Vec<Instance>,
        runtime: Handle,
    ) -> Arc<Self> {
        let options = &blueprint.options;
        Arc::new(Self {
            instances_max: options.instances(),
            waiting_max: options.waiting_max as usize,
            waiting_per_user_max: options.waiting_per_user_max as usize,
            health,
            runtime,
            state: Mutex::new(State { live: first.len(), idle: first, ..State::default() }),
            blueprint,
        })
    }

    /// What a call may use of the CPU where the chain leaves it that.
    pub(crate) fn call_cpu_ms(&self) -> u32 {
        self.blueprint.options.call_cpu_ms
    }

    /// Lends an instance, waiting for one if none is free.
    pub(crate) async fn lend(self: &Arc<Self>, turn: Turn) -> Result<Lease<'_>, Failure> {
        let waiting = {
            let mut state = self.state.lock();
            if let Some(instance) = state.take(turn) {
                return Ok(self.lease(turn, instance));
            }
            let own = state.waiting.iter().filter(|waiting| waiting.turn.whose == turn.whose).count();
            if own >= self.waiting_per_user_max || state.waiting.len() >= self.waiting_max {
                return Err(busy(format!("{} calls wait already, {own} of the same", state.waiting.len())));
            }
            let waiting = Arc::new(Waiting { turn, woken: Notify::new(), failure: OnceLock::new() });
            state.waiting.push_back(waiting.clone());
            waiting
        };
        let place = Place::new(self, waiting);
        self.settle();
        let wall = self.blueprint.options.call_wall();
        let late = || busy(format!("no instance was free for {} ms", wall.as_millis()));
        // Boxed: few calls wait, and every call's future would have room for the timer.
        Box::pin(tokio::time::timeout(wall, place.instance())).await.unwrap_or_else(|_| Err(late()))
    }

    fn lease(self: &Arc<Self>, turn: Turn, instance: Instance) -> Lease<'_> {
        Lease { pool: self, turn, instance: Some(instance) }
    }

    /// Drops instances that nobody called for a while, all but one.
    pub(crate) fn retire_idle(&self, idle: Duration) {
        let retired: Vec<Instance> = {
            let mut state = self.state.lock();
            // The longest idle come first; the last one stays if nothing else is live.
            let old = state.idle.iter().take_while(|instance| instance.asked_at.elapsed() >= idle).count();
            let retired = old.min(state.live.saturating_sub(1));
            state.live -= retired;
            state.idle.drain(..retired).collect()
        };
        drop(retired);
    }

    /// Wakes as many calls as there are free instances, and has more made if calls are left that may run.
    fn settle(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let ready = || state.waiting.iter().filter(|waiting| !state.running.contains(&waiting.turn));
        ready().take(state.idle.len()).for_each(|waiting| waiting.woken.notify_one());
        // More than there may be instances need not be counted: the queue can be long.
        let unserved = ready().take(self.instances_max).count().saturating_sub(state.idle.len());
        // A plugin that serves messages keeps an instance warm even after its last one failed.
        let wanted = unserved.max(usize::from(state.live == 0));
        while state.making < wanted && state.live < self.instances_max {
            state.live += 1;
            state.making += 1;
            self.make();
        }
    }

    /// Makes an instance in a task of its own, for as long as the pool is in use.
    fn make(self: &Arc<Self>) {
        let (pool, blueprint) = (Arc::downgrade(self), self.blueprint.clone());
        self.runtime.spawn(async move {
            let made = Instance::make(blueprint).await;
            if let Some(pool) = pool.upgrade() {
                pool.made(made);
            }
        });
    }

    fn made(self: &Arc<Self>, made: Result<Instance, Failure>) {
        let mut state = self.state.lock();
        state.making -= 1;
        match made {
            Ok(instance) => {
                state.idle.push(instance);
                drop(state);
                self.health.init_succeeded();
                self.settle();
            }
            Err(failure) => {
                state.live -= 1;
                // Those who wait hear it now; the next call tries again.
                let waiting = std::mem::take(&mut state.waiting);
                drop(state);
                if failure.how != Decision::Busy {
                    self.health.init_failed(&failure.why);
                }
                let Blueprint { id, version, private, .. } = &*self.blueprint;
                tracing::warn!(plugin = %id, %version, why = failure.why, "an instance could not be made");
                private.log(
                    "error",
                    version,
                    &format!("host: an instance could not be made: {}", failure.why),
                );
                for waiting in waiting {
                    // Only once: nobody waits on after that.
                    let _ = waiting.failure.set(failure.clone());
                    waiting.woken.notify_one();
                }
            }
        }
    }

    fn give_back(self: &Arc<Self>, instance: Instance, turn: Turn) {
        let kept = instance.usable() && !instance.worn();
        let mut state = self.state.lock();
        if let Some(at) = state.running.iter().position(|running| *running == turn) {
            state.running.swap_remove(at);
        }
        let retired = match kept {
            true => {
                state.idle.push(instance);
                None
            }
            false => {
                state.live -= 1;
                Some(instance)
            }
        };
        let settled = state.waiting.is_empty() && state.live > 0;
        drop(state);
        drop(retired);
        if !settled {
            self.settle();
        }
    }
}

fn busy(why: String) -> Failure {
    Failure::not_asked(Decision::Busy, why)
}

/// An instance on loan; it goes back to its pool, or to the grave, when this is dropped.
pub(crate) struct Lease<'a> {
    pool: &'a Arc<Pool>,
    turn: Turn,
    /// Present until dropped.
    instance: Option<Instance>,
}

impl Deref for Lease<'_> {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        self.instance.as_ref().expect("present until dropped")
    }
}

impl DerefMut for Lease<'_> {
    fn deref_mut(&mut self) -> &mut Instance {
        self.instance.as_mut().expect("present until dropped")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            self.pool.give_back(instance, self.turn);
        }
    }
}

/// The place of a call that waits; it is given up however the wait ends.
struct Place<'a> {
    pool: &'a Arc<Pool>,
    waiting: Arc<Waiting>,
}

impl<'a> Place<'a> {
    fn new(pool: &'a Arc<Pool>, waiting: Arc<Waiting>) -> Self {
        pool.blueprint.meter.waiting.inc();
        Self { pool, waiting }
    }

    async fn instance(&self) -> Result<Lease<'a>, Failure> {
        loop {
            self.waiting.woken.notified().await;
            if let Some(failure) = self.waiting.failure.get() {
                return Err(failure.clone());
            }
            if let Some(instance) = self.pool.state.lock().take(self.waiting.turn) {
                return Ok(self.pool.lease(self.waiting.turn, instance));
            }
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.blueprint.meter.waiting.dec();
        self.pool.state.lock().waiting.retain(|other| !Arc::ptr_eq(other, &self.waiting));
        // It may have been woken for an instance that it did not take.
        self.pool.settle();
    }
}
