//! The stream of messages: appends and reading back, threads too.
//!
//! It owns the buckets of messages. A send is one conditional batch on the head of the conversation's last bucket
//! and reads nothing: the head's row is known from the caller's [`Head`] to the byte.
//!
//! Start with [`HeadRecord`], then [`Tables::append_all`].

use super::{
    Tables,
    clients::CLIENT_IDS_MS,
    heads::{HeadRecord, Place},
    layout,
    record::{self, Rows},
};
use godwit_domain::{
    conversation::Head,
    filter::Verdict,
    id::{ClientId, ConversationId, Seq, UserId},
    message::{Accepted, Content, Message, Revised},
    tables::{Append, Appended},
    time::Ms,
    waist::{Batch, Consistency, Direction, Error, Outcome, Partition, Row, Scan},
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    ops::{Bound, RangeInclusive},
    sync::Arc,
};

/// How many messages are read in one call.
const PAGE: u64 = 128;

/// A message as it is stored; conversation and number stand in partition and key.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored<'a> {
    sender: UserId,
    client_id: ClientId,
    sent_at: Ms,
    pub(super) content: Cow<'a, Content>,
    via: Option<Cow<'a, str>>,
    verdict: Cow<'a, Verdict>,
    pub(super) revised: Option<Box<Revised>>,
}

impl Tables {
    /// Appends: one commit, with one batch per conversation. A bucket that is entered is taken for new first; where
    /// it was opened already the batch is tried once more.
    pub(super) async fn append_all(&self, appends: Vec<Append>) -> Vec<Appended> {
        let mut done = vec![Appended::Stale; appends.len()];
        let mut tries = Vec::with_capacity(appends.len());
        for (index, append) in appends.iter().enumerate() {
            match check(append).and_then(|()| Place::of(append.conversation, append.head)) {
                Ok(place) => tries.push((index, place.may_be_new, place)),
                Err(error) => done[index] = Appended::Refused(error),
            }
        }
        let mut hints = Vec::new();
        while !tries.is_empty() {
            let mut batches = Vec::with_capacity(tries.len());
            tries.retain(|(index, new, place)| match batch(&appends[*index], place, *new) {
                Ok(batch) => {
                    batches.push(batch);
                    true
                }
                Err(error) => {
                    done[*index] = Appended::Refused(error);
                    false
                }
            });
            let mut outcomes = self.store.commit(batches).await.into_iter();
            let mut again = Vec::new();
            for (index, new, place) in tries {
                let outcome = outcomes.next();
                done[index] = match outcome {
                    Some(Outcome::Applied) => {
                        if new {
                            hints.push((appends[index].conversation, place.bucket));
                        }
                        Appended::Yes
                    }
                    Some(Outcome::Conflict(rows)) => {
                        if new && place.is_open(&rows) {
                            again.push((index, false, place));
                        }
                        Appended::Stale
                    }
                    Some(Outcome::Unknown(why)) => Appended::Unknown(why),
                    Some(Outcome::Refused(error)) => Appended::Refused(error),
                    None => Appended::Unknown("the store gave no outcome".into()),
                };
            }
            tries = again;
        }
        self.hint(&hints).await;
        done
    }

    /// The stored messages of a range, ascending, as many as the bodies' bytes allow from the end where it begins.
    pub(super) async fn read_messages(
        &self,
        conversation: ConversationId,
        range: RangeInclusive<Seq>,
        newest_first: bool,
        bytes_max: usize,
    ) -> Result<Vec<Message>, Error> {
        let (mut from, mut to) = (range.start().0.max(1), range.end().0);
        let mut messages = Vec::new();
        let mut bytes = 0;
        'pages: while from <= to {
            // A page stays within its bucket and is no larger than what is read at once.
            let page = if newest_first {
                from.max(to.saturating_sub(PAGE - 1)).max(layout::first(layout::bucket(to)))..=to
            } else {
                from..=to.min(from + (PAGE - 1)).min(layout::last(layout::bucket(from)))
            };
            let direction = if newest_first { Direction::Backward } else { Direction::Forward };
            for message in self.page(conversation, page.clone(), direction, PAGE as usize).await? {
                bytes += message.content.body.len();
                if bytes > bytes_max && !messages.is_empty() {
                    break 'pages;
                }
                messages.push(message);
            }
            if newest_first {
                to = page.start() - 1;
            } else {
                from = page.end() + 1;
            }
        }
        if newest_first {
            messages.reverse();
        }
        Ok(messages)
    }

    /// The stored messages of a range that lies in one bucket.
    async fn page(
        &self,
        conversation: ConversationId,
        range: RangeInclusive<u64>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Message>, Error> {
        let partition = layout::messages(conversation, layout::bucket(*range.start()));
        let scan = Scan {
            partition: partition.clone(),
            from: Bound::Included(record::key(&layout::entry(*range.start()))),
            to: Bound::Included(record::key(&layout::entry(*range.end()))),
            direction,
            limit,
            consistency: Consistency::Committed,
        };
        let rows = self.store.scan(scan).await?;
        rows.iter().map(|row| message(conversation, &partition, row)).collect()
    }

    /// The first stored message from `from` to `to`.
    async fn first_stored(
        &self,
        conversation: ConversationId,
        mut from: u64,
        to: u64,
    ) -> Result<Option<Message>, Error> {
        while from <= to {
            let end = to.min(layout::last(layout::bucket(from)));
            let mut found = self.page(conversation, from..=end, Direction::Forward, 1).await?;
            if let Some(message) = found.pop() {
                return Ok(Some(message));
            }
            from = end + 1;
        }
        Ok(None)
    }

    /// The numbers of a thread's messages within a range, ascending, `limit` from the end where it is read from.
    pub(super) async fn read_thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        range: RangeInclusive<Seq>,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<Seq>, Error> {
        // What belongs to a thread was sent after its root.
        let (from, to) = (range.start().0.max(root.next().0), range.end().0);
        let direction = if newest_first { Direction::Backward } else { Direction::Forward };
        let mut seqs = Vec::new();
        if from > to {
            return Ok(seqs);
        }
        let mut buckets = layout::bucket(from)..=layout::bucket(to);
        while seqs.len() < limit {
            let next = if newest_first { buckets.next_back() } else { buckets.next() };
            let Some(bucket) = next else { break };
            let partition = layout::messages(conversation, bucket);
            let bounds = (
                Bound::Included(record::key(&layout::thread(root, Seq(from)))),
                Bound::Included(record::key(&layout::thread(root, Seq(to)))),
            );
            for row in self.scan_range(&partition, bounds, direction, limit - seqs.len()).await? {
                let wrong =
                    || record::corrupt("a row of a thread", &partition, &row.key, "the key names no message");
                seqs.push(layout::split_thread(&row.key).ok_or_else(wrong)?);
            }
        }
        if newest_first {
            seqs.reverse();
        }
        Ok(seqs)
    }

    /// By bisection: times never decrease along the numbers.
    pub(super) async fn first_since(
        &self,
        conversation: ConversationId,
        last_seq: Seq,
        at: Ms,
    ) -> Result<Seq, Error> {
        // What lies before `low` was sent earlier; what is stored from `high` on was sent at `at` or later.
        let (mut low, mut high) = (1, last_seq.0 + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.first_stored(conversation, middle, high - 1).await? {
                Some(message) if message.sent_at < at => low = message.seq.0 + 1,
                _ => high = middle,
            }
        }
        Ok(Seq(high))
    }
}

/// Whether an append is what it must be: dense from the head on, within one bucket, not back in time.
fn check(append: &Append) -> Result<(), Error> {
    let numbers = append.messages.iter().map(|(message, _)| (message.seq, message.conversation));
    let expected = (append.head.last_seq.0 + 1..).map(|seq| (Seq(seq), append.conversation));
    let (first, count) = (append.head.last_seq.0 + 1, append.messages.len() as u64);
    let why = if count == 0 {
        "no message"
    } else if !numbers.eq(expected.take(append.messages.len())) {
        "numbers that do not follow the head's"
    } else if layout::bucket(first) != layout::bucket(append.head.last_seq.0 + count) {
        "messages of two buckets"
    } else if append.changed_at < append.head.changed_at.max(append.head.revised_at) {
        "a time of change before that of the head"
    } else {
        return Ok(());
    };
    Err(Error::Invalid(format!(
        "an append of {count} messages from {first} on to {} with {why}",
        append.conversation
    )))
}

/// The batch of an append: the messages, the head, what their client ids were answered, to which threads they belong.
fn batch(append: &Append, place: &Place, new: bool) -> Result<Batch, Error> {
    let bodies: usize = append.messages.iter().map(|(message, _)| message.content.body.len()).sum();
    let mut rows = Rows::new(place.partition.clone(), 128 + bodies + 256 * append.messages.len());
    let mut puts = Vec::with_capacity(2 + 2 * append.messages.len());
    let head = Head {
        last_seq: Seq(append.head.last_seq.0 + append.messages.len() as u64),
        changed_at: append.changed_at,
        revised_at: append.changed_at,
        ..append.head
    };
    // First, as the batch is conditional on it: a backend may check and write it in one step.
    puts.push(rows.put(layout::HEAD, &HeadRecord::of(head))?);
    for (message, _) in &append.messages {
        let stored = Stored {
            sender: message.sender,
            client_id: message.client_id,
            sent_at: message.sent_at,
            content: Cow::Borrowed(&message.content),
            via: message.via.as_deref().map(Cow::Borrowed),
            verdict: Cow::Borrowed(&message.verdict),
            revised: None,
        };
        puts.push(rows.put(&layout::entry(message.seq.0), &stored)?);
    }
    if new {
        puts.push(rows.put(layout::OPENED, &append.changed_at)?);
    }
    // The newest first, as their keys sort.
    for (message, content_hash) in append.messages.iter().rev() {
        let Message { seq, sent_at, .. } = **message;
        let accepted = Accepted { seq, sent_at, content_hash: *content_hash };
        let key = layout::sent(message.sender, message.client_id);
        puts.push(rows.put_until(&key, &accepted, sent_at.plus(CLIENT_IDS_MS))?);
    }
    let thread = |(message, _): &(Arc<Message>, u64)| Some((message.content.thread?, message.seq));
    let mut threads: Vec<_> = append.messages.iter().filter_map(thread).collect();
    threads.sort_unstable();
    for (root, seq) in threads {
        puts.push(rows.put(&layout::thread(root, seq), &())?);
    }
    Ok(Batch { partition: place.partition.clone(), checks: vec![place.check(new)], puts, deletes: vec![] })
}

fn message(conversation: ConversationId, partition: &Partition, row: &Row) -> Result<Message, Error> {
    let stored: Stored<'_> = record::read("a message", partition, &row.key, &row.value)?;
    Ok(Message {
        conversation,
        seq: Seq(layout::number(&row.key)),
        sender: stored.sender,
        client_id: stored.client_id,
        sent_at: stored.sent_at,
        content: stored.content.into_owned(),
        via: stored.via.map(Cow::into_owned),
        verdict: stored.verdict.into_owned(),
        revised: stored.revised,
    })
}
