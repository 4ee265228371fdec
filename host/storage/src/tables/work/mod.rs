//! What actors work with, in one partition per plugin.
//!
//! Everything that ends an event goes through [`settle`], whose commit is conditional on the one row that each such
//! commit changes: what was read after that row is what stands when the commit is applied. Queues of what is to be
//! done afterwards stand in the same partition, so that they are filled by the same commit.

mod keys;
mod settle;

use super::{Tables, absent, record, stays};
use async_trait::async_trait;
use bytes::Bytes;
use godwit_domain::{
    id::{ConversationId, Seq},
    kept::{Kv, KvRow},
    tables::{
        Answered, Bucket, Errand, Finished, Letter, Notice, Position, RequestKey, Settlement, Settling,
        Timer, Work, Worker, Written,
    },
    time::Ms,
    waist::{Batch, Check, Direction, Error, Partition, Put, Row},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{borrow::Cow, ops::Bound, sync::Arc};

/// For how long a dead letter is kept.
const LETTERS_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// How many rows are removed in one commit.
const DROPPED_TOGETHER: usize = 256;

/// The row that every commit of events changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Control {
    worker: Worker,
    /// The number of the next row of any queue, and of the next timer.
    next: u64,
    /// What the rows of `kv` and the timers have, in bytes. Too much where rows ended by themselves.
    used: u64,
}

/// A row of a plugin's `kv`.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    value: Cow<'a, [u8]>,
    expires_at: Option<Ms>,
}

fn until(partition: &Partition, key: &[u8], payload: &impl Serialize, ends: Ms) -> Result<Put, Error> {
    Ok(Put { row: record::row(partition, key, payload)?, expires_at: Some(ends) })
}

#[async_trait]
impl Work for Tables {
    async fn workers(&self) -> Result<Vec<String>, Error> {
        let partition = keys::workers();
        let all = (Bound::Unbounded, Bound::Unbounded);
        let rows = self.scan_range(&partition, all, Direction::Forward, usize::MAX).await?;
        let id = |row: &Row| {
            let wrong = |_| record::corrupt("a plugin at work", &partition, &row.key, "the key is no text");
            String::from_utf8(row.key.to_vec()).map_err(wrong)
        };
        rows.iter().map(id).collect()
    }

    async fn employ(&self, plugin: &str, worker: Worker) -> Result<Worker, Error> {
        let (workers, partition) = (keys::workers(), keys::work(plugin));
        // First, so that a partition is always found again.
        self.store.put_all(vec![(workers.clone(), stays(&workers, plugin.as_bytes(), &())?)]).await?;
        let control = Control { worker, next: 1, used: 0 };
        let put = stays(&partition, keys::CONTROL, &control)?;
        let checks = vec![absent(keys::CONTROL)];
        let batch = Batch { partition: partition.clone(), checks, puts: vec![put], deletes: vec![] };
        match self.write(batch).await? {
            Written::Yes => Ok(worker),
            Written::No => {
                let found = self.find_settled::<Control>("a control row", &partition, keys::CONTROL).await?;
                Ok(found.map_or(worker, |(_, control)| control.worker))
            }
        }
    }

    async fn dismiss(&self, plugin: &str) -> Result<(), Error> {
        for partition in [keys::work(plugin), keys::secrets(plugin)] {
            loop {
                let all = (Bound::Unbounded, Bound::Unbounded);
                let rows = self.scan_range(&partition, all, Direction::Forward, DROPPED_TOGETHER).await?;
                if rows.is_empty() {
                    break;
                }
                let deletes = rows.into_iter().map(|row| row.key).collect();
                let batch = Batch { partition: partition.clone(), checks: vec![], puts: vec![], deletes };
                // Without a check there is nothing to conflict with.
                let _ = self.write(batch).await?;
            }
        }
        // Last: until then it is found again.
        let deletes = vec![record::key(plugin.as_bytes())];
        let _ =
            self.write(Batch { partition: keys::workers(), checks: vec![], puts: vec![], deletes }).await?;
        Ok(())
    }

    async fn kv_get(&self, plugin: &str, key: &str) -> Result<Option<Arc<[u8]>>, Error> {
        let found = self.find::<Kept<'_>>("a row of a plugin", &keys::work(plugin), &keys::kv(key)).await?;
        Ok(found.map(|(_, kept)| Arc::from(&*kept.value)))
    }

    async fn kv_scan(
        &self,
        plugin: &str,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Bucket, Error> {
        let partition = keys::work(plugin);
        // The version first: what is written meanwhile makes the commit a conflict, and never the other way round.
        let version = self.find::<u64>("a bucket's version", &partition, &keys::version(bucket)).await?;
        let first = keys::kv_bucket(bucket);
        let from = match after.map(keys::kv).filter(|after| after.as_ref() >= first.as_slice()) {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(record::key(&first)),
        };
        let bounds = (from, Bound::Excluded(end_of(&first)));
        let rows = self.scan_range(&partition, bounds, Direction::Forward, limit).await?;
        let read = |row: &Row| {
            let (key, kept) = kept(&partition, row)?;
            Ok((key, Arc::from(&*kept.value)))
        };
        let rows = rows.iter().map(read).collect::<Result<_, Error>>()?;
        Ok((rows, version.map_or(0, |(_, version)| version)))
    }

    async fn position(&self, plugin: &str, conversation: ConversationId) -> Result<Option<Position>, Error> {
        let key = keys::position(conversation);
        let found = self.find_settled("a position", &keys::work(plugin), &key).await?;
        Ok(found.map(|(_, position)| position))
    }

    async fn settle(&self, plugin: &str, settlements: Vec<Settlement>) -> Result<Vec<Settling>, Error> {
        settle::settle(self, plugin, &settlements).await
    }

    async fn errands(&self, plugin: &str, after: u64, limit: usize) -> Result<Vec<Errand>, Error> {
        self.queue("an errand", plugin, keys::ERRAND, after, limit).await
    }

    async fn finish(&self, plugin: &str, finished: Vec<Finished>) -> Result<(), Error> {
        let partition = keys::work(plugin);
        let now = self.clock.now();
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        for Finished { n, named, notice, letter } in finished {
            deletes.push(keys::numbered(keys::ERRAND, n));
            if let Some((reference, message, ends)) = named {
                puts.push(until(&partition, &keys::named(&reference), &message, ends)?);
            }
            if let Some(notice) = notice {
                let key = keys::numbered(keys::NOTICE, n);
                puts.push(stays(&partition, &key, &Notice { n, ..notice })?);
            }
            if let Some(letter) = letter {
                let key = keys::numbered(keys::LETTER, n);
                puts.push(until(&partition, &key, &Letter { n, ..letter }, now.plus(LETTERS_MS))?);
            }
        }
        // Without a check there is nothing to conflict with; done twice it is the same.
        let _ = self.write(Batch { partition, checks: vec![], puts, deletes }).await?;
        Ok(())
    }

    async fn named(&self, plugin: &str, reference: &str) -> Result<Option<(ConversationId, Seq)>, Error> {
        let found = self.find("a reference", &keys::work(plugin), &keys::named(reference)).await?;
        Ok(found.map(|(_, message)| message))
    }

    async fn due(&self, plugin: &str, until: Ms, limit: usize) -> Result<Vec<Timer>, Error> {
        let partition = keys::work(plugin);
        let bounds = (Bound::Included(keys::due(Ms(0), 0)), Bound::Included(keys::due(until, u64::MAX)));
        let mut timers = Vec::new();
        for row in self.scan_range(&partition, bounds, Direction::Forward, limit).await? {
            let name: String = record::read("a due timer", &partition, &row.key, &row.value)?;
            timers.extend(self.timer(plugin, &name).await?);
        }
        Ok(timers)
    }

    async fn next_due(&self, plugin: &str, after: Ms) -> Result<Option<Ms>, Error> {
        let partition = keys::work(plugin);
        let bounds =
            (Bound::Excluded(keys::due(after, u64::MAX)), Bound::Included(keys::due(Ms(u64::MAX), u64::MAX)));
        let rows = self.scan_range(&partition, bounds, Direction::Forward, 1).await?;
        Ok(rows.first().and_then(|row| keys::split_due(&row.key)))
    }

    async fn timer(&self, plugin: &str, name: &str) -> Result<Option<Timer>, Error> {
        let found = self.find("a timer", &keys::work(plugin), &keys::timer(name)).await?;
        Ok(found.map(|(_, timer)| timer))
    }

    async fn notices(&self, plugin: &str, after: u64, limit: usize) -> Result<Vec<Notice>, Error> {
        self.queue("a notice", plugin, keys::NOTICE, after, limit).await
    }

    async fn answered(&self, plugin: &str, key: &RequestKey) -> Result<Option<Answered>, Error> {
        let found = self.find_settled("an answer", &keys::work(plugin), &keys::answer(key)).await?;
        Ok(found.map(|(_, answered)| answered))
    }

    async fn letters(&self, plugin: &str, after: u64, limit: usize) -> Result<Vec<Letter>, Error> {
        self.queue("a dead letter", plugin, keys::LETTER, after, limit).await
    }

    async fn letter(&self, plugin: &str, n: u64) -> Result<Option<Letter>, Error> {
        let key = keys::numbered(keys::LETTER, n);
        let found = self.find_settled("a dead letter", &keys::work(plugin), &key).await?;
        Ok(found.map(|(_, letter)| letter))
    }

    async fn take_letter(&self, plugin: &str, n: u64, notice: Option<Notice>) -> Result<bool, Error> {
        let (partition, key) = (keys::work(plugin), keys::numbered(keys::LETTER, n));
        let Some((row, _)) = self.find_settled::<Letter>("a dead letter", &partition, &key).await? else {
            return Ok(false);
        };
        let notice =
            notice.map(|notice| stays(&partition, &keys::numbered(keys::NOTICE, n), &Notice { n, ..notice }));
        let puts = notice.transpose()?.into_iter().collect();
        let checks = vec![Check::Equals(row)];
        let written = self.write(Batch { partition, checks, puts, deletes: vec![key] }).await?;
        Ok(written == Written::Yes)
    }

    async fn mark_dirty(&self, conversations: &[(u32, ConversationId)]) -> Result<(), Error> {
        let row = |(shard, conversation): &(u32, ConversationId)| {
            let partition = keys::dirty(*shard);
            let put = stays(&partition, conversation.as_bytes(), &())?;
            Ok((partition, put))
        };
        self.store.put_all(conversations.iter().map(row).collect::<Result<_, Error>>()?).await
    }

    async fn clear_dirty(&self, shard: u32, conversation: ConversationId) -> Result<(), Error> {
        let deletes = vec![record::key(conversation.as_bytes())];
        let batch = Batch { partition: keys::dirty(shard), checks: vec![], puts: vec![], deletes };
        let _ = self.write(batch).await?;
        Ok(())
    }

    async fn dirty(&self, shards: u32) -> Result<Vec<ConversationId>, Error> {
        let mut all = Vec::new();
        for shard in 0..shards {
            let partition = keys::dirty(shard);
            let bounds = (Bound::Unbounded, Bound::Unbounded);
            for row in self.scan_range(&partition, bounds, Direction::Forward, usize::MAX).await? {
                let wrong = |_| record::corrupt("a dirty row", &partition, &row.key, "it names none");
                let id: [u8; 16] = row.key.as_ref().try_into().map_err(wrong)?;
                all.push(ConversationId::from_u128(u128::from_be_bytes(id)));
            }
        }
        Ok(all)
    }
}

#[async_trait]
impl Kv for Tables {
    async fn kv_all(&self, plugin: &str) -> Result<Vec<KvRow>, Error> {
        let partition = keys::work(plugin);
        let rows = self.scan_all(&partition, keys::KV).await?;
        let read = |row: &Row| {
            let (key, Kept { value, expires_at }) = kept(&partition, row)?;
            Ok(KvRow { key, value: Arc::from(&*value), expires_at })
        };
        rows.iter().map(read).collect()
    }
}

impl Tables {
    /// The rows of a queue after a number, in order.
    async fn queue<T: DeserializeOwned>(
        &self,
        what: &str,
        plugin: &str,
        first: u8,
        after: u64,
        limit: usize,
    ) -> Result<Vec<T>, Error> {
        let partition = keys::work(plugin);
        let bounds =
            (Bound::Excluded(keys::numbered(first, after)), Bound::Included(keys::numbered(first, u64::MAX)));
        let rows = self.scan_range(&partition, bounds, Direction::Forward, limit).await?;
        rows.iter().map(|row| record::read(what, &partition, &row.key, &row.value)).collect()
    }
}

/// The key and the content of a row of a plugin's `kv`.
fn kept<'a>(partition: &Partition, row: &'a Row) -> Result<(String, Kept<'a>), Error> {
    let what = "a row of a plugin";
    let kept = record::read(what, partition, &row.key, &row.value)?;
    let wrong = || record::corrupt(what, partition, &row.key, "the key is no text");
    Ok((keys::split_kv(&row.key).ok_or_else(wrong)?.to_owned(), kept))
}

/// The first key after all that begin with `first`, which is not made of the highest byte alone.
fn end_of(first: &[u8]) -> Bytes {
    let mut end = first.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end.into()
}
