//! The stream of messages: heads, appends, client ids, reading back.
//!
//! It owns the buckets of messages. A send is one conditional batch on the head of the conversation's last bucket
//! and reads nothing: the head's row is known from the caller's [`Head`] to the byte.
//!
//! Start with [`HeadRecord`], then [`Tables::append_all`].

use super::{
    Tables, absent, layout,
    membership::Intent,
    record::{self, Rows},
};
use bytes::Bytes;
use futures_util::future::try_join_all;
use godwit_domain::{
    conversation::Head,
    filter::Verdict,
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    message::{Accepted, Content, Message},
    tables::{Append, Appended, Clients},
    time::Ms,
    waist::{Batch, Check, Consistency, Direction, Error, Outcome, Partition, Raise, Row, Scan},
};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    ops::{Bound, RangeInclusive},
};

/// For how long a client id is remembered: a day longer than clients may use one.
const CLIENT_IDS_MS: u64 = 8 * 24 * 60 * 60 * 1_000;
/// How many messages are read in one call.
const PAGE: u64 = 128;
/// How many conversations with more than one bucket are looked up at the same time.
const HEADS_AT_ONCE: usize = 16;

/// The head of a bucket: the one row on which every change of a conversation is conditional.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeadRecord {
    /// The number that the next message gets.
    pub(super) next: Seq,
    /// The last revision that a change of membership made.
    pub(super) members_rev: Rev,
    /// When a message, the membership or the meta changed last.
    pub(super) changed_at: Ms,
    /// A change of membership that is being carried out.
    pub(super) intent: Option<Intent>,
}

impl HeadRecord {
    /// The record of a conversation that stands at `head`, with no change open.
    pub(super) fn of(head: Head) -> Self {
        let Head { last_seq, last_rev, changed_at } = head;
        Self { next: last_seq.next(), members_rev: last_rev, changed_at, intent: None }
    }

    /// Where the conversation stands. A change that is still open has not happened yet: `None` where that is the
    /// creation.
    pub(super) fn head(&self) -> Option<Head> {
        let last_rev = match &self.intent {
            None => self.members_rev,
            Some(intent) if intent.creates() => return None,
            Some(intent) => intent.before_rev,
        };
        Some(Head { last_seq: Seq(self.next.0 - 1), last_rev, changed_at: self.changed_at })
    }
}

/// A message as it is stored; conversation and number stand in partition and key.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    sender: UserId,
    client_id: ClientId,
    sent_at: Ms,
    content: Cow<'a, Content>,
    via: Option<Cow<'a, str>>,
    verdict: Cow<'a, Verdict>,
}

/// Where the next entry of a conversation goes, and what must hold there.
pub(super) struct Place {
    pub(super) bucket: u32,
    pub(super) partition: Partition,
    /// The row of the head as the caller knows it, as it stands where the bucket is open.
    standing: Row,
    /// The bucket before this one is full: nobody may have opened this one yet.
    pub(super) may_be_new: bool,
}

impl Place {
    pub(super) fn of(conversation: ConversationId, head: Head) -> Result<Self, Error> {
        let bucket = layout::bucket(head.last_seq.next().0);
        let partition = layout::messages(conversation, bucket);
        let standing = record::row(&partition, layout::HEAD, &HeadRecord::of(head))?;
        let may_be_new = bucket > 0 && head.last_seq.next().0 == layout::first(bucket);
        Ok(Self { bucket, partition, standing, may_be_new })
    }

    /// The check for a bucket that is new, or for one that is open.
    pub(super) fn check(&self, new: bool) -> Check {
        if new { absent(layout::HEAD) } else { Check::Equals(self.standing.clone()) }
    }

    /// Whether a conflict only says that the bucket was opened already, by a change of membership after its last
    /// message: the head in it is the one that the caller knows.
    pub(super) fn is_open(&self, conflict: &[Row]) -> bool {
        self.may_be_new && conflict == std::slice::from_ref(&self.standing)
    }
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

    /// Notes where the last buckets are. It is a hint: who reads it goes on from there to the last one, so that it
    /// may be late, and its loss costs reads only.
    pub(super) async fn hint(&self, buckets: &[(ConversationId, u32)]) {
        if buckets.is_empty() {
            return;
        }
        let raise = |&(conversation, bucket): &(_, u32)| {
            let partition = layout::conversation(conversation);
            let row = record::row(&partition, layout::LAST_BUCKET, &bucket)?;
            Ok(Raise { partition, key: row.key, version: bucket.into(), value: row.value })
        };
        let raised = match buckets.iter().map(raise).collect::<Result<Vec<_>, Error>>() {
            Ok(raises) => self.store.raise(raises).await,
            Err(error) => Err(error),
        };
        if let Err(error) = raised {
            tracing::warn!(%error, "the hint of a conversation's last bucket was not written");
        }
    }

    /// The head of the conversation's last bucket as it stands.
    pub(super) async fn last_head(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<(Partition, Row, HeadRecord)>, Error> {
        let head = |bucket| async move {
            let partition = layout::messages(conversation, bucket);
            let found = self.find_settled::<HeadRecord>("a head", &partition, layout::HEAD).await?;
            Ok(found.map(|(row, record)| (partition, row, record)))
        };
        let Some(mut last) = head(0).await? else { return Ok(None) };
        let mut bucket = 0;
        while last.2.next.0 > layout::last(bucket) {
            let hint = if bucket == 0 { self.last_bucket(conversation).await? } else { 0 };
            bucket = hint.max(bucket + 1);
            match head(bucket).await? {
                Some(next) => last = next,
                None => break,
            }
        }
        Ok(Some(last))
    }

    async fn last_bucket(&self, conversation: ConversationId) -> Result<u32, Error> {
        let (partition, key) = (layout::conversation(conversation), layout::LAST_BUCKET);
        match self.store.mark(partition.clone(), record::key(key)).await? {
            Some((_, value)) => record::read("the hint of the last bucket", &partition, key, &value),
            None => Ok(0),
        }
    }

    /// Where conversations stand. Most have one bucket: their heads are read in one call.
    pub(super) async fn heads_of(
        &self,
        conversations: &[ConversationId],
    ) -> Result<Vec<Option<Head>>, Error> {
        let partition = |conversation| layout::messages(conversation, 0);
        let key = record::key(layout::HEAD);
        let keys = conversations.iter().map(|conversation| (partition(*conversation), key.clone())).collect();
        let found = self.store.get_many(keys).await?;
        let mut heads = Vec::with_capacity(conversations.len());
        let mut longer = Vec::new();
        for (index, (conversation, value)) in conversations.iter().zip(found).enumerate() {
            let Some(value) = value else {
                heads.push(None);
                continue;
            };
            let head: HeadRecord = record::read("a head", &partition(*conversation), layout::HEAD, &value)?;
            if head.next.0 > layout::last(0) {
                longer.push((index, *conversation));
            }
            heads.push(head.head());
        }
        for some in longer.chunks(HEADS_AT_ONCE) {
            let last =
                try_join_all(some.iter().map(|(_, conversation)| self.last_head(*conversation))).await?;
            for ((index, _), last) in some.iter().zip(last) {
                heads[*index] = last.and_then(|(_, _, record)| record.head());
            }
        }
        Ok(heads)
    }

    /// The client ids of buckets, newest first, back through the first that was opened no later than `opened_before`.
    pub(super) async fn clients(
        &self,
        conversation: ConversationId,
        head: Head,
        opened_before: Ms,
    ) -> Result<Vec<Clients>, Error> {
        let mut all = Vec::new();
        for bucket in (0..=layout::bucket(head.last_seq.0)).rev() {
            let partition = layout::messages(conversation, bucket);
            let (opened_at, rows) =
                tokio::try_join!(self.opened_at(&partition), self.scan_all(&partition, layout::SENT))?;
            let client = |row: &Row| {
                let accepted = record::read("a client id", &partition, &row.key, &row.value)?;
                let wrong =
                    || record::corrupt("a client id", &partition, &row.key, "the key is none of a client id");
                let (sender, client) = layout::split_sent(&row.key).ok_or_else(wrong)?;
                Ok((sender, client, accepted))
            };
            let clients = rows.iter().map(client).collect::<Result<_, Error>>()?;
            all.push(Clients { first_seq: Seq(layout::first(bucket)), opened_at, clients });
            if opened_at <= opened_before {
                break;
            }
        }
        Ok(all)
    }

    /// What a client id was answered, looked for in the same buckets.
    pub(super) async fn answer(
        &self,
        conversation: ConversationId,
        head: Head,
        key: [u8; 33],
        opened_before: Ms,
    ) -> Result<Option<Accepted>, Error> {
        for bucket in (0..=layout::bucket(head.last_seq.0)).rev() {
            let partition = layout::messages(conversation, bucket);
            let found = self.find_settled("a client id", &partition, &key);
            let (opened_at, found) = tokio::try_join!(self.opened_at(&partition), found)?;
            if let Some((_, accepted)) = found {
                return Ok(Some(accepted));
            }
            if opened_at <= opened_before {
                break;
            }
        }
        Ok(None)
    }

    async fn opened_at(&self, partition: &Partition) -> Result<Ms, Error> {
        let what = "the opening of a bucket";
        match self.find(what, partition, layout::OPENED).await? {
            Some((_, opened_at)) => Ok(opened_at),
            None => Err(record::corrupt(what, partition, layout::OPENED, "there is no row")),
        }
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
    } else if append.changed_at < append.head.changed_at {
        "a time of change before that of the head"
    } else {
        return Ok(());
    };
    Err(Error::Invalid(format!(
        "an append of {count} messages from {first} on to {} with {why}",
        append.conversation
    )))
}

/// The batch of an append: the head, the messages, what their client ids were answered.
fn batch(append: &Append, place: &Place, new: bool) -> Result<Batch, Error> {
    let bodies: usize = append.messages.iter().map(|(message, _)| message.content.body.len()).sum();
    let mut rows = Rows::new(place.partition.clone(), 128 + bodies + 256 * append.messages.len());
    let mut puts = Vec::with_capacity(2 + 2 * append.messages.len());
    let head = Head {
        last_seq: Seq(append.head.last_seq.0 + append.messages.len() as u64),
        changed_at: append.changed_at,
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
    Ok(Batch { partition: place.partition.clone(), checks: vec![place.check(new)], puts, deletes: vec![] })
}

fn message(conversation: ConversationId, partition: &Partition, row: &Row) -> Result<Message, Error> {
    let stored: Stored<'_> = record::read("a message", partition, &row.key, &row.value)?;
    Ok(Message {
        conversation,
        seq: Seq(number(&row.key)),
        sender: stored.sender,
        client_id: stored.client_id,
        sent_at: stored.sent_at,
        content: stored.content.into_owned(),
        via: stored.via.map(Cow::into_owned),
        verdict: stored.verdict.into_owned(),
    })
}

/// The number in the key of an entry. The scan's bounds leave no other keys.
pub(super) fn number(key: &Bytes) -> u64 {
    key.iter().skip(1).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
