//! Notifications that were put off: one row in the partition of the user, and a timer.
//!
//! The timer comes first and goes last, so that no row is without one. A timer whose time is not that of the row says
//! nothing.

use super::{Tables, layout, record, stays};
use async_trait::async_trait;
use bytes::Bytes;
use godwit_domain::{
    id::{ConversationId, Seq, UserId},
    notification::Deferred,
    tables::Deferrals,
    time::Ms,
    waist::{Batch, Direction, Error, Outcome, Row},
};
use serde::{Deserialize, Serialize};
use std::ops::Bound;

const WHAT: &str = "a deferred notification";
/// How many timers are read at once to count them.
const COUNT_PAGE: usize = 1_024;

/// What a row says; user and conversation stand in partition and key.
#[derive(Serialize, Deserialize)]
struct Stored {
    due_at: Ms,
    since: Ms,
    seq: Seq,
}

fn split(row: &Row) -> Result<(Ms, UserId, ConversationId), Error> {
    let wrong = || record::corrupt("a timer", &layout::deferral_timers(), &row.key, "the key names no time");
    layout::split_deferral_timer(&row.key).ok_or_else(wrong)
}

#[async_trait]
impl Deferrals for Tables {
    async fn defer(&self, deferred: &[Deferred]) -> Result<(), Error> {
        let (mut timers, mut rows) = (Vec::with_capacity(deferred.len()), Vec::with_capacity(deferred.len()));
        for &Deferred { user, conversation, due_at, since, seq } in deferred {
            let at = layout::deferral_timers();
            let timer = stays(&at, &layout::deferral_timer(due_at, user, conversation), &())?;
            timers.push((at, timer));
            let theirs = layout::user(user);
            let row = stays(&theirs, &layout::deferred(conversation), &Stored { due_at, since, seq })?;
            rows.push((theirs, row));
        }
        self.store.put_all(timers).await?;
        self.store.put_all(rows).await
    }

    async fn deferred(&self, asked: &[(UserId, ConversationId)]) -> Result<Vec<Option<Deferred>>, Error> {
        let place = |(user, conversation): &(UserId, ConversationId)| {
            (layout::user(*user), layout::deferred(*conversation))
        };
        let found = self.store.get_many(asked.iter().map(place).collect()).await?;
        let read = |(asked, value): (&(UserId, ConversationId), Option<Bytes>)| {
            let Some(value) = value else { return Ok(None) };
            let (partition, key) = place(asked);
            let Stored { due_at, since, seq } = record::read(WHAT, &partition, &key, &value)?;
            let &(user, conversation) = asked;
            Ok(Some(Deferred { user, conversation, due_at, since, seq }))
        };
        asked.iter().zip(found).map(read).collect()
    }

    async fn deferral_timers(
        &self,
        until: Ms,
        limit: usize,
    ) -> Result<Vec<(Ms, UserId, ConversationId)>, Error> {
        let last = UserId::from_u128(u128::MAX);
        let last = layout::deferral_timer(until, last, ConversationId::from_u128(u128::MAX));
        let bounds = (Bound::Unbounded, Bound::Included(record::key(&last)));
        let rows = self.scan_range(&layout::deferral_timers(), bounds, Direction::Forward, limit).await?;
        rows.iter().map(split).collect()
    }

    async fn deferral_timers_count(&self) -> Result<usize, Error> {
        let (mut count, mut from) = (0, Bound::Unbounded);
        loop {
            let bounds = (from, Bound::Unbounded);
            let at = layout::deferral_timers();
            let rows = self.scan_range(&at, bounds, Direction::Forward, COUNT_PAGE).await?;
            count += rows.len();
            match rows.into_iter().nth(COUNT_PAGE - 1) {
                Some(last) => from = Bound::Excluded(last.key),
                None => return Ok(count),
            }
        }
    }

    async fn undefer(&self, deferred: &[Deferred]) -> Result<(), Error> {
        let row = |deferred: &Deferred| {
            let deletes = vec![layout::deferred(deferred.conversation)];
            Batch { partition: layout::user(deferred.user), checks: vec![], puts: vec![], deletes }
        };
        for outcome in self.store.commit(deferred.iter().map(row).collect()).await {
            match outcome {
                // Without a check there is nothing to conflict with.
                Outcome::Applied | Outcome::Conflict(_) => {}
                Outcome::Unknown(why) => {
                    return Err(Error::Unavailable(format!("the outcome of a write is unknown: {why}")));
                }
                Outcome::Refused(error) => return Err(error),
            }
        }
        let timers: Vec<_> =
            deferred.iter().map(|deferred| (deferred.due_at, deferred.user, deferred.conversation)).collect();
        self.drop_deferral_timers(&timers).await
    }

    async fn drop_deferral_timers(&self, timers: &[(Ms, UserId, ConversationId)]) -> Result<(), Error> {
        if timers.is_empty() {
            return Ok(());
        }
        let key = |&(at, user, conversation): &(Ms, UserId, ConversationId)| {
            record::key(&layout::deferral_timer(at, user, conversation))
        };
        let (partition, deletes) = (layout::deferral_timers(), timers.iter().map(key).collect());
        let _ = self.write(Batch { partition, checks: vec![], puts: vec![], deletes }).await?;
        Ok(())
    }
}
