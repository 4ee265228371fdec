//! The warm instances of one plugin, version and configuration, and the calls that wait for them.
//!
//! An instance serves one call at a time. A user has at most one call of a hook running, so one person's slow
//! messages cannot take all instances; calls wait in the order in which they came, within bounds, and are refused as
//! busy beyond them. Instances are made off the path of messages, so a caller who goes away takes none along.
//!
//! Everything that changes the pool ends in [`Pool::settle`], which matches instances with calls.

use crate::instance::{Blueprint, Failure, Instance};
use godwit_domain::{
    filter::{Decision, Hook},
    id::UserId,
};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::oneshot};

/// The instances of one plugin, version and configuration.
pub(crate) struct Pool {
    blueprint: Arc<Blueprint>,
    instances_max: usize,
    waiting_max: usize,
    waiting_per_user_max: usize,
    runtime: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Free instances; the one used last is taken first.
    idle: Vec<Instance>,
    /// Instances that are free, lent or being made.
    live: usize,
    /// Of those, the ones that are being made.
    making: usize,
    /// Whose calls run.
    running: Vec<Turn>,
    waiting: VecDeque<Waiting>,
}

/// Whose call of which hook: one of these runs at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) user: UserId,
    pub(crate) hook: Hook,
}

struct Waiting {
    turn: Turn,
    answer: oneshot::Sender<Result<Lease, Failure>>,
}

impl Pool {
    /// A pool that begins with one instance.
    pub(crate) fn new(blueprint: Arc<Blueprint>, first: Instance, runtime: Handle) -> Arc<Self> {
        let options = &blueprint.options;
        Arc::new(Self {
            instances_max: options.instances(),
            waiting_max: options.waiting_max as usize,
            waiting_per_user_max: options.waiting_per_user_max as usize,
            runtime,
            state: Mutex::new(State { idle: vec![first], live: 1, ..State::default() }),
            blueprint,
        })
    }

    /// Lends an instance, waiting for one if none is free.
    pub(crate) async fn lend(self: &Arc<Self>, turn: Turn) -> Result<Lease, Failure> {
        let answered = {
            let mut state = self.state.lock();
            if !state.running.contains(&turn)
                && let Some(instance) = state.idle.pop()
            {
                state.running.push(turn);
                return Ok(Lease { pool: self.clone(), turn, instance: Some(instance) });
            }
            // Those whose callers went away hold no places.
            state.waiting.retain(|waiting| !waiting.answer.is_closed());
            let own = state.waiting.iter().filter(|waiting| waiting.turn.user == turn.user).count();
            if own >= self.waiting_per_user_max || state.waiting.len() >= self.waiting_max {
                return Err(busy(format!("{} calls wait already, {own} of this user", state.waiting.len())));
            }
            let (answer, answered) = oneshot::channel();
            state.waiting.push_back(Waiting { turn, answer });
            answered
        };
        let _waiting = Gauged::new(self);
        self.settle();
        let wall = self.blueprint.options.call_wall();
        match tokio::time::timeout(wall, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(busy("the pool was closed".to_owned())),
            Err(_) => Err(busy(format!("no instance was free for {} ms", wall.as_millis()))),
        }
    }

    /// Drops instances that nobody called for a while, all but one.
    pub(crate) fn retire_idle(&self, idle: Duration) {
        let retired: Vec<Instance> = {
            let mut state = self.state.lock();
            // The longest idle come first; the last one stays if nothing else is live.
            let old = state.idle.iter().take_while(|instance| instance.idle_since.elapsed() >= idle).count();
            let retired = old.min(state.live.saturating_sub(1));
            state.live -= retired;
            state.idle.drain(..retired).collect()
        };
        drop(retired);
    }

    /// Hands free instances to the calls whose turn it is, and has more made if calls are left and may run.
    fn settle(self: &Arc<Self>) {
        let mut matched = Vec::new();
        {
            let mut guard = self.state.lock();
            let state = &mut *guard;
            let mut at = 0;
            let mut unserved = 0;
            while let Some(waiting) = state.waiting.get(at) {
                if waiting.answer.is_closed() {
                    state.waiting.remove(at);
                } else if state.running.contains(&waiting.turn) {
                    at += 1;
                } else if let Some(instance) = state.idle.pop() {
                    state.running.push(waiting.turn);
                    let lease = Lease { pool: self.clone(), turn: waiting.turn, instance: Some(instance) };
                    if let Some(waiting) = state.waiting.remove(at) {
                        matched.push((waiting.answer, lease));
                    }
                } else {
                    unserved += 1;
                    at += 1;
                }
            }
            // A plugin that serves messages keeps an instance warm even after its last one failed.
            let wanted = unserved.max(usize::from(state.live == 0));
            while state.making < wanted && state.live < self.instances_max {
                state.live += 1;
                state.making += 1;
                self.make();
            }
        }
        for (answer, lease) in matched {
            // A caller who went away meanwhile gives the lease back by dropping it, outside the lock.
            drop(answer.send(Ok(lease)));
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
                self.settle();
            }
            Err(failure) => {
                state.live -= 1;
                // Those who wait hear it now; the next call tries again.
                let waiting = std::mem::take(&mut state.waiting);
                drop(state);
                let Blueprint { id, version, private, .. } = &*self.blueprint;
                tracing::warn!(plugin = %id, %version, why = failure.why, "an instance could not be made");
                private.log(
                    "error",
                    version,
                    &format!("host: an instance could not be made: {}", failure.why),
                );
                for waiting in waiting {
                    drop(waiting.answer.send(Err(failure.clone())));
                }
            }
        }
    }

    fn give_back(self: &Arc<Self>, mut instance: Instance, turn: Turn) {
        let kept = instance.usable() && !instance.worn();
        let mut state = self.state.lock();
        if let Some(at) = state.running.iter().position(|running| *running == turn) {
            state.running.swap_remove(at);
        }
        let retired = match kept {
            true => {
                instance.idle_since = Instant::now();
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
    Failure { how: Decision::Busy, why }
}

/// An instance on loan; it goes back to its pool, or to the grave, when this is dropped.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    turn: Turn,
    /// Present until dropped.
    instance: Option<Instance>,
}

impl Deref for Lease {
    type Target = Instance;

    fn deref(&self) -> &Instance {
        self.instance.as_ref().expect("present until dropped")
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Instance {
        self.instance.as_mut().expect("present until dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            self.pool.give_back(instance, self.turn);
        }
    }
}

/// Counts a call that waits, however it ends.
struct Gauged<'a>(&'a Pool);

impl<'a> Gauged<'a> {
    fn new(pool: &'a Pool) -> Self {
        pool.blueprint.meter.waiting.inc();
        Self(pool)
    }
}

impl Drop for Gauged<'_> {
    fn drop(&mut self) {
        self.0.blueprint.meter.waiting.dec();
    }
}
