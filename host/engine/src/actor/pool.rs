//! The instances of one actor, and the calls that wait for them.
//!
//! An instance serves one call at a time and is kept for the next one if it did well. How many there may be follows
//! from what one of them takes, so that a plugin's memory is bounded whatever its size.

use super::instance::{Blueprint, Instance};
use crate::{instance::Failure, options::mib};
use godwit_domain::filter::Decision;
use parking_lot::Mutex;
use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The instances of one plugin, version and configuration.
pub(crate) struct Pool {
    blueprint: Arc<Blueprint>,
    /// Free instances; the one used last is taken first.
    idle: Mutex<Vec<Instance>>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Places for the instances of all plugins.
    places: Arc<Semaphore>,
}

fn busy(why: String) -> Failure {
    Failure::not_asked(Decision::Busy, why)
}

impl Pool {
    /// A pool that begins with one instance, which shows whether it works and what one takes.
    pub(crate) async fn open(
        blueprint: Arc<Blueprint>,
        places: Arc<Semaphore>,
    ) -> Result<Arc<Self>, Failure> {
        let place = place(&places, &blueprint).await?;
        let first = Instance::make(blueprint.clone(), place).await?;
        let options = &blueprint.options.actors;
        let each = blueprint.bytes_max.get().copied().unwrap_or(mib(options.memory_mib_max)).max(1);
        let fitting = mib(options.plugin_mib_max) / each;
        let instances = fitting.min(options.instances_per_plugin as usize).max(1);
        Ok(Arc::new(Self {
            idle: Mutex::new(vec![first]),
            turns: Arc::new(Semaphore::new(instances)),
            waiting: AtomicUsize::new(0),
            places,
            blueprint,
        }))
    }

    /// Lends an instance, waiting for one if none is free.
    pub(crate) async fn lend(self: &Arc<Self>) -> Result<Lease, Failure> {
        let options = &self.blueprint.options.actors;
        let wall = options.call_wall();
        let turn = match self.turns.clone().try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let _waiting = Waiting::begin(&self.waiting, options.waiting_max as usize)?;
                match timeout(wall, self.turns.clone().acquire_owned()).await {
                    Ok(Ok(turn)) => turn,
                    _ => return Err(busy(format!("no instance was free for {} ms", wall.as_millis()))),
                }
            }
        };
        let free = self.idle.lock().pop();
        let instance = match free {
            Some(instance) => instance,
            None => {
                let place = place(&self.places, &self.blueprint).await?;
                Instance::make(self.blueprint.clone(), place).await?
            }
        };
        Ok(Lease { pool: self.clone(), instance: Some(instance), _turn: turn })
    }

    /// Drops instances that nobody called for a while.
    pub(crate) fn retire_idle(&self, idle: Duration) {
        let retired: Vec<Instance> = {
            let mut free = self.idle.lock();
            let old = free.iter().take_while(|instance| instance.idle_since.elapsed() >= idle).count();
            free.drain(..old).collect()
        };
        drop(retired);
    }
}

/// A place among the instances of all plugins.
async fn place(places: &Arc<Semaphore>, blueprint: &Blueprint) -> Result<OwnedSemaphorePermit, Failure> {
    let options = &blueprint.options.actors;
    match timeout(options.call_wall(), places.clone().acquire_owned()).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(busy(format!("{} instances of actors live, which is the limit", options.instances_max))),
    }
}

/// A call that waits for its turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize, max: usize) -> Result<Self, Failure> {
        let before = count.fetch_add(1, SeqCst);
        let waiting = Self(count);
        match before >= max {
            true => Err(busy(format!("{before} calls wait already"))),
            false => Ok(waiting),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// An instance on loan; it goes back to its pool, or to the grave, when this is dropped.
pub(crate) struct Lease {
    pool: Arc<Pool>,
    /// Present until dropped.
    instance: Option<Instance>,
    _turn: OwnedSemaphorePermit,
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
        if let Some(mut instance) = self.instance.take()
            && instance.usable()
            && !instance.worn()
        {
            instance.idle_since = Instant::now();
            self.pool.idle.lock().push(instance);
        }
    }
}
