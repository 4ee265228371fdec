//! Messages that users deleted for themselves: numbered in the order in which they did, and found by their numbers.
//!
//! The time is raised first in the user's own partition, where a resume finds it; then the message is hidden, and
//! counted, in one conditional batch. A crash in between leaves a conversation that is listed once for nothing.

use super::{Tables, absent, layout, raise, record, stays};
use godwit_domain::{
    id::{ConversationId, Seq, UserId},
    tables::Written,
    time::Ms,
    waist::{Batch, Check, Direction, Error},
};
use std::ops::{Bound, RangeInclusive};

/// What names the head in errors.
const COUNT: &str = "a count of hidden messages";

impl Tables {
    /// Hides a message; returns how many are hidden.
    pub(super) async fn write_hidden(
        &self,
        user: UserId,
        conversation: ConversationId,
        seq: Seq,
        at: Ms,
    ) -> Result<u64, Error> {
        self.store
            .raise(vec![raise(&layout::user(user), &layout::hidden_at(conversation), at.0, &at)?])
            .await?;
        let partition = layout::hidden(user, conversation);
        loop {
            let head = self.find_settled::<u64>(COUNT, &partition, layout::HEAD).await?;
            let hidden = self.find::<u64>("a hidden message", &partition, &layout::hidden_seq(seq)).await?;
            let (check, before) = match head {
                Some((row, count)) => (Check::Equals(row), count),
                None => (absent(layout::HEAD), 0),
            };
            match hidden {
                Some((_, nth)) if nth <= before => return Ok(before),
                // Hidden between the two reads, by another device: the count is read again.
                Some(_) => continue,
                None => {}
            }
            let count = before + 1;
            let puts = vec![
                stays(&partition, layout::HEAD, &count)?,
                stays(&partition, &layout::hidden_nth(count), &seq)?,
                stays(&partition, &layout::hidden_seq(seq), &count)?,
            ];
            let batch = Batch { partition: partition.clone(), checks: vec![check], puts, deletes: vec![] };
            if self.write(batch).await? == Written::Yes {
                return Ok(count);
            }
        }
    }

    /// How many messages the user hid.
    pub(super) async fn read_hidden_count(
        &self,
        user: UserId,
        conversation: ConversationId,
    ) -> Result<u64, Error> {
        let partition = layout::hidden(user, conversation);
        let found = self.find::<u64>(COUNT, &partition, layout::HEAD).await?;
        Ok(found.map_or(0, |(_, count)| count))
    }

    /// The hidden messages of a range, ascending.
    pub(super) async fn read_hidden_within(
        &self,
        user: UserId,
        conversation: ConversationId,
        range: RangeInclusive<Seq>,
    ) -> Result<Vec<Seq>, Error> {
        let bounds = (
            Bound::Included(record::key(&layout::hidden_seq(*range.start()))),
            Bound::Included(record::key(&layout::hidden_seq(*range.end()))),
        );
        let partition = layout::hidden(user, conversation);
        let rows = self.scan_range(&partition, bounds, Direction::Forward, usize::MAX).await?;
        Ok(rows.iter().map(|row| Seq(layout::number(&row.key))).collect())
    }

    /// The hidden messages after the first `after` of them, in the order in which they were hidden.
    pub(super) async fn read_hidden(
        &self,
        user: UserId,
        conversation: ConversationId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Seq>, Error> {
        let bounds = (
            Bound::Excluded(record::key(&layout::hidden_nth(after))),
            Bound::Included(record::key(&layout::hidden_nth(u64::MAX))),
        );
        let partition = layout::hidden(user, conversation);
        let rows = self.scan_range(&partition, bounds, Direction::Forward, limit).await?;
        rows.iter().map(|row| record::read("a hidden message", &partition, &row.key, &row.value)).collect()
    }
}
