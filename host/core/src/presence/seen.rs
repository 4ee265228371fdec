//! When users were seen last: gathered, and written off the path of everything, once a minute for each at most.
//!
//! What waits to be written is what is read. What cannot be written stays and is tried again, ever more slowly.

use crate::metrics::Metrics;
use godwit_domain::{
    id::UserId,
    tables::LastSeen,
    time::{Clock, Ms},
    waist::Error,
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// How many users' times may wait to be written; those of more are not noted until some are.
const WAITING_MAX: usize = 100_000;
/// How many are written at once.
const BATCH_MAX: usize = 1_000;
/// How long it is waited after a failure, at first and at most, in milliseconds.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=60_000;

/// See the module.
pub struct Seen {
    tables: Arc<dyn LastSeen>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    interval_ms: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When users were seen whose time is to be written.
    waiting: HashMap<UserId, Ms>,
    /// When a user's time was written, of those who must wait for the next time.
    written: HashMap<UserId, Ms>,
    /// After a failure: when it is tried again, and how long was waited for that.
    retry: Option<(Ms, u64)>,
}

impl Seen {
    /// Writes a user's time once in `interval_ms` at most.
    pub fn new(tables: Arc<dyn LastSeen>, clock: Arc<dyn Clock>, metrics: Metrics, interval_ms: u64) -> Self {
        Self { tables, clock, metrics, interval_ms, state: Mutex::default() }
    }

    /// A user was seen.
    pub fn note(&self, user: UserId, at: Ms) {
        let mut state = self.state.lock();
        let is_full = state.waiting.len() >= WAITING_MAX;
        match state.waiting.get_mut(&user) {
            Some(seen) => *seen = at.max(*seen),
            None if is_full => {}
            None => drop(state.waiting.insert(user, at)),
        }
    }

    /// When these were seen last, in the order asked.
    ///
    /// # Errors
    /// That of the store.
    pub async fn last(&self, users: &[UserId]) -> Result<Vec<Option<Ms>>, Error> {
        let mut stored = self.tables.last_seen(users).await?;
        let state = self.state.lock();
        for (user, seen) in users.iter().zip(&mut stored) {
            *seen = (*seen).max(state.waiting.get(user).copied());
        }
        Ok(stored)
    }

    /// Writes what may be written now: to be called every second or so.
    pub async fn write(&self) {
        let now = self.clock.now();
        let batch: Vec<_> = {
            let mut state = self.state.lock();
            if state.retry.is_some_and(|(at, _)| now < at) {
                return;
            }
            let interval_ms = self.interval_ms;
            state.written.retain(|_, at| now.since(*at) < interval_ms);
            let State { waiting, written, .. } = &*state;
            let due = waiting.iter().filter(|(user, _)| !written.contains_key(user));
            due.take(BATCH_MAX).map(|(user, at)| (*user, *at)).collect()
        };
        // Its failure is told and tried again.
        let _ = self.write_batch(&batch).await;
    }

    /// Writes everything: before the host ends.
    pub async fn write_all(&self) {
        loop {
            let batch: Vec<_> = {
                let state = self.state.lock();
                state.waiting.iter().take(BATCH_MAX).map(|(user, at)| (*user, *at)).collect()
            };
            if batch.is_empty() || self.write_batch(&batch).await.is_err() {
                return;
            }
        }
    }

    async fn write_batch(&self, batch: &[(UserId, Ms)]) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let result = self.tables.raise_last_seen(batch).await;
        let now = self.clock.now();
        let mut state = self.state.lock();
        match &result {
            Ok(()) => {
                state.retry = None;
                for (user, at) in batch {
                    state.written.insert(*user, now);
                    if state.waiting.get(user) == Some(at) {
                        state.waiting.remove(user);
                    }
                }
            }
            Err(error) => {
                let wait_ms = state.retry.map_or(*RETRY_MS.start(), |(_, waited_ms)| 2 * waited_ms);
                let wait_ms = wait_ms.min(*RETRY_MS.end());
                state.retry = Some((now.plus(wait_ms), wait_ms));
                self.metrics.last_seen_failures.inc();
                tracing::warn!(%error, users = state.waiting.len(), wait_ms, "when users were seen last cannot be written; it is tried again");
            }
        }
        self.metrics.last_seen_waiting.set(state.waiting.len() as i64);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    #[derive(Default)]
    struct Rows {
        rows: Mutex<HashMap<UserId, Ms>>,
        writes: AtomicU64,
        fails: AtomicBool,
    }

    #[async_trait]
    impl LastSeen for Rows {
        async fn last_seen(&self, users: &[UserId]) -> Result<Vec<Option<Ms>>, Error> {
            let rows = self.rows.lock();
            Ok(users.iter().map(|user| rows.get(user).copied()).collect())
        }

        async fn raise_last_seen(&self, seen: &[(UserId, Ms)]) -> Result<(), Error> {
            if self.fails.load(Ordering::SeqCst) {
                return Err(Error::Unavailable("not now".into()));
            }
            self.writes.fetch_add(seen.len() as u64, Ordering::SeqCst);
            self.rows.lock().extend(seen.iter().copied());
            Ok(())
        }
    }

    #[derive(Default)]
    struct Hands(AtomicU64);

    impl Clock for Hands {
        fn now(&self) -> Ms {
            Ms(self.0.load(Ordering::SeqCst))
        }
    }

    const ADA: UserId = UserId::from_u128(1);

    fn seen() -> (Seen, Arc<Rows>, Arc<Hands>) {
        let (rows, clock) = (Arc::<Rows>::default(), Arc::<Hands>::default());
        clock.0.store(1_000_000, Ordering::SeqCst);
        (Seen::new(rows.clone(), clock.clone(), Metrics::default(), 60_000), rows, clock)
    }

    #[tokio::test]
    async fn a_users_time_is_written_once_a_minute_at_most_and_read_as_it_is_at_once() {
        let (seen, rows, clock) = seen();
        for second in 0..=120 {
            let now = Ms(1_000_000 + second * 1_000);
            clock.0.store(now.0, Ordering::SeqCst);
            seen.note(ADA, now);
            seen.write().await;
            assert_eq!(seen.last(&[ADA]).await, Ok(vec![Some(now)]));
        }
        assert_eq!(rows.writes.load(Ordering::SeqCst), 3);
        seen.note(ADA, Ms(2_000_000));
        seen.write_all().await;
        assert_eq!(rows.rows.lock()[&ADA], Ms(2_000_000), "the end writes what waits");
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_tried_again_ever_more_slowly() {
        let (seen, rows, clock) = seen();
        rows.fails.store(true, Ordering::SeqCst);
        seen.note(ADA, Ms(7));
        for second in 0..30 {
            clock.0.store(1_000_000 + second * 1_000, Ordering::SeqCst);
            seen.write().await;
        }
        assert_eq!(seen.metrics.last_seen_failures.get(), 5, "after 0, 1, 3, 7 and 15 s");
        assert_eq!(seen.last(&[ADA]).await, Ok(vec![Some(Ms(7))]));
        rows.fails.store(false, Ordering::SeqCst);
        clock.0.store(1_000_000 + 31_000, Ordering::SeqCst);
        seen.write().await;
        assert_eq!(rows.rows.lock()[&ADA], Ms(7));
        assert_eq!(seen.metrics.last_seen_waiting.get(), 0);
    }
}
