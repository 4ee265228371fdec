//! Times of change: what a device's cursor is made of.
//!
//! Every write that a device may have to hear of carries the time of a [`Stamp`], which is held until the write is
//! durable and its pushes have been handed to the outboxes. A cursor is a time at and below which no stamp is held:
//! whoever was told everything up to it lacks only what carries a later time.
//! Times of change never go back, over restarts too: a bound ahead of them is stored before the first that passes it.

use godwit_domain::{
    tables,
    time::{Clock, Ms},
    waist,
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// How far ahead of the times of change their stored bound lies, in milliseconds. After a crash times begin at the
/// bound, so that this is also how far they may be ahead of the clock then.
const LEAD_MS: u64 = 5_000;

/// Gives the times of change.
pub struct Changes {
    clock: Arc<dyn Clock>,
    tables: Arc<dyn tables::Conversations>,
    state: Mutex<State>,
    /// The stored bound; held while a higher one is stored.
    bound: tokio::sync::Mutex<Ms>,
}

struct State {
    /// The newest time that was given.
    last: Ms,
    /// The newest cursor that was given: later changes lie above it.
    told: Ms,
    /// How many stamps of each time are held.
    held: BTreeMap<Ms, usize>,
    /// What is known of the stored bound.
    bound: Ms,
}

impl Changes {
    /// Goes on after the stored bound.
    ///
    /// # Errors
    /// That of the store.
    pub async fn start(
        clock: Arc<dyn Clock>,
        tables: Arc<dyn tables::Conversations>,
    ) -> Result<Arc<Self>, waist::Error> {
        let before = tables.change_bound().await?;
        let mut bound = before;
        // Not where times are ahead of the clock already: a host that is started over and over must not add to it.
        if clock.now() > bound {
            bound = clock.now().plus(LEAD_MS);
            tables.raise_change_bound(bound).await?;
        }
        let state = State { last: before, told: before, held: BTreeMap::new(), bound };
        Ok(Arc::new(Self { clock, tables, state: Mutex::new(state), bound: tokio::sync::Mutex::new(bound) }))
    }

    /// A time for changes that begin now.
    pub fn begin(self: &Arc<Self>) -> Stamp {
        let mut state = self.state.lock();
        let at = self.clock.now().max(state.last).max(state.told.plus(1));
        state.last = at;
        *state.held.entry(at).or_default() += 1;
        Stamp { changes: self.clone(), at }
    }

    /// The newest time at and below which everything is durable and told.
    pub fn cursor(&self) -> Ms {
        let mut state = self.state.lock();
        let settled = match state.held.first_key_value() {
            Some((oldest, _)) => oldest.minus(1),
            None => self.clock.now().max(state.last),
        };
        // The next host may begin at the bound: what it changes must lie above every cursor that was told.
        let cursor = settled.min(state.bound);
        state.told = state.told.max(cursor);
        state.last = state.last.max(cursor);
        cursor
    }

    async fn raise_bound(&self, at: Ms) -> Result<(), waist::Error> {
        let mut bound = self.bound.lock().await;
        if at > *bound {
            let higher = at.plus(LEAD_MS);
            self.tables.raise_change_bound(higher).await?;
            *bound = higher;
            self.state.lock().bound = higher;
        }
        Ok(())
    }
}

/// A time of change that is in use until this is dropped.
pub struct Stamp {
    changes: Arc<Changes>,
    at: Ms,
}

impl Stamp {
    /// The time.
    pub fn at(&self) -> Ms {
        self.at
    }

    /// Waits until the time lies below the stored bound: before anything is written under it.
    ///
    /// # Errors
    /// That of the store; nothing may be written then.
    pub async fn secured(&self) -> Result<(), waist::Error> {
        if self.at <= self.changes.state.lock().bound {
            return Ok(());
        }
        self.changes.raise_bound(self.at).await
    }
}

impl Drop for Stamp {
    fn drop(&mut self) {
        let mut state = self.changes.state.lock();
        if let Some(held) = state.held.get_mut(&self.at) {
            *held -= 1;
            if *held == 0 {
                state.held.remove(&self.at);
            }
        }
    }
}
