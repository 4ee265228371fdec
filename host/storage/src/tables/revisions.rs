//! The stream of revisions: what a change made, in order, without the texts of edits, and under which client ids.

use super::{
    Tables, absent,
    change::Intent,
    clients::CLIENT_IDS_MS,
    layout,
    record::{self, Rows},
};
use godwit_domain::{
    conversation::Head,
    id::{ConversationId, Rev},
    revision::{Revised, Revision, What},
    tables::Written,
    time::Ms,
    waist::{Batch, Check, Consistency, Direction, Error, Scan},
};
use serde::{Deserialize, Serialize};
use std::ops::{Bound, RangeInclusive};

/// The head of a bucket of revisions.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct RevisionsHead {
    /// The number that the next revision gets.
    next: Rev,
    /// When the bucket was opened.
    opened_at: Ms,
}

/// What names the head in an error.
const REVISIONS_HEAD: &str = "the head of revisions";

impl Tables {
    /// Writes revisions whose numbers are fixed: those that stand already are passed over.
    pub(super) async fn write_revisions(
        &self,
        conversation: ConversationId,
        intent: &Intent,
    ) -> Result<(), Error> {
        let numbered: Vec<_> = intent.numbered().collect();
        for chunk in numbered.chunk_by(|(a, _), (b, _)| layout::bucket(a.0) == layout::bucket(b.0)) {
            while self.append_revisions(conversation, intent, chunk).await? == Written::No {}
        }
        Ok(())
    }

    /// One attempt for the revisions of one bucket; [`Written::No`] where another writer came between.
    async fn append_revisions(
        &self,
        conversation: ConversationId,
        intent: &Intent,
        chunk: &[(Rev, &Revised)],
    ) -> Result<Written, Error> {
        let (Some((first, _)), Some((last, _))) = (chunk.first(), chunk.last()) else {
            return Ok(Written::Yes);
        };
        let bucket = layout::bucket(first.0);
        let partition = layout::revisions(conversation, bucket);
        let found = self.find::<RevisionsHead>(REVISIONS_HEAD, &partition, layout::HEAD).await?;
        let (check, next, opened_at) = match found {
            Some((row, head)) => (Check::Equals(row), head.next, head.opened_at),
            None => (absent(layout::HEAD), Rev(layout::first(bucket)), intent.at),
        };
        if next > *last {
            return Ok(Written::Yes);
        }
        if next != *first {
            let why = format!("the next revision is {next}, and {first} is to follow");
            return Err(record::corrupt(REVISIONS_HEAD, &partition, layout::HEAD, &why));
        }
        let mut rows = Rows::new(partition.clone(), 192 * (chunk.len() + 1));
        let mut puts = Vec::with_capacity(2 * chunk.len() + 1);
        for (rev, revised) in chunk {
            let revision = intent.revision(*rev, revised, without_text(&revised.what));
            puts.push(rows.put(&layout::entry(rev.0), &revision)?);
        }
        puts.push(rows.put(layout::HEAD, &RevisionsHead { next: last.next(), opened_at })?);
        for (rev, revised) in chunk {
            if let Some(client) = revised.client_id {
                let key = layout::sent(revised.by, client);
                puts.push(rows.put_until(&key, rev, intent.at.plus(CLIENT_IDS_MS))?);
            }
        }
        self.write(Batch { partition, checks: vec![check], puts, deletes: vec![] }).await
    }

    /// The number that the revision of a client id got, looked for from the newest bucket back through the first that
    /// was opened no later than `opened_before`.
    pub(super) async fn revised_under(
        &self,
        conversation: ConversationId,
        head: Head,
        key: [u8; 33],
        opened_before: Ms,
    ) -> Result<Option<Rev>, Error> {
        if head.last_rev == Rev::ZERO {
            return Ok(None);
        }
        for bucket in (0..=layout::bucket(head.last_rev.0)).rev() {
            let partition = layout::revisions(conversation, bucket);
            let (found, head) = tokio::try_join!(
                self.find_settled("a client id", &partition, &key),
                self.find::<RevisionsHead>(REVISIONS_HEAD, &partition, layout::HEAD),
            )?;
            if let Some((_, rev)) = found {
                return Ok(Some(rev));
            }
            let missing = || record::corrupt(REVISIONS_HEAD, &partition, layout::HEAD, "there is no row");
            let (_, head) = head.ok_or_else(missing)?;
            if head.opened_at <= opened_before {
                break;
            }
        }
        Ok(None)
    }

    /// The revisions of a range, ascending.
    pub(super) async fn read_revisions(
        &self,
        conversation: ConversationId,
        range: RangeInclusive<Rev>,
    ) -> Result<Vec<Revision>, Error> {
        let (mut from, to) = (range.start().0.max(1), range.end().0);
        let mut revisions = Vec::new();
        while from <= to {
            let bucket = layout::bucket(from);
            let partition = layout::revisions(conversation, bucket);
            let end = to.min(layout::last(bucket));
            let scan = Scan {
                partition: partition.clone(),
                from: Bound::Included(record::key(&layout::entry(from))),
                to: Bound::Included(record::key(&layout::entry(end))),
                direction: Direction::Forward,
                limit: layout::BUCKET as usize,
                consistency: Consistency::Committed,
            };
            for row in self.store.scan(scan).await? {
                revisions.push(record::read("a revision", &partition, &row.key, &row.value)?);
            }
            from = end + 1;
        }
        Ok(revisions)
    }
}

/// What a revision says without the text of an edit: that stands in the message alone, so that it goes with it.
fn without_text(what: &What) -> What {
    match what {
        What::Edit { seq, .. } => What::Edit { seq: *seq, body: None },
        What::Reacts { seq, counts, .. } => {
            What::Reacts { seq: *seq, counts: counts.clone(), reacted: Vec::new() }
        }
        other => other.clone(),
    }
}
