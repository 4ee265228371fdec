//! Messages that users deleted for themselves: numbered in the order in which they did, and found by their numbers.
//!
//! A message is hidden in one conditional batch; the count is then raised in the user's own partition, where a list
//! finds it, before the answer. Hiding a message again repairs a count that a crash left behind.

use super::{
    Tables, absent, layout,
    marks::{HIDDEN_COUNT, HiddenCount},
    raise, record, stays,
};
use godwit_domain::{
    id::{ConversationId, Seq, UserId},
    tables::Written,
    time::Ms,
    waist::{Batch, Check, Direction, Error},
};
use std::ops::{Bound, RangeInclusive};

impl Tables {
    /// Hides a message; returns how many are hidden.
    pub(super) async fn write_hidden(
        &self,
        user: UserId,
        conversation: ConversationId,
        seq: Seq,
        at: Ms,
    ) -> Result<u64, Error> {
        let partition = layout::hidden(user, conversation);
        let count = loop {
            let head =
                self.find_settled::<u64>("the head of hidden messages", &partition, layout::HEAD).await?;
            let hidden = self.find::<u64>("a hidden message", &partition, &layout::hidden_seq(seq)).await?;
            let (check, before) = match head {
                Some((row, count)) => (Check::Equals(row), count),
                None => (absent(layout::HEAD), 0),
            };
            match hidden {
                Some((_, nth)) if nth <= before => break before,
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
                break count;
            }
        };
        let (theirs, key) = (layout::user(user), layout::hidden_count(conversation));
        let raised = self.find_mark::<HiddenCount>(HIDDEN_COUNT, &theirs, &key).await?;
        if raised.is_none_or(|(raised, _)| raised < count) {
            let said: HiddenCount = (count, at);
            self.store.raise(vec![raise(&theirs, &key, count, &said)?]).await?;
        }
        Ok(count)
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
