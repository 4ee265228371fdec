//! Ends of events with what they caused, as one commit.
//!
//! The control row is read first, then everything else that matters; the commit checks the control row alone, which
//! every such commit changes. So what was read stands when the commit is applied, however many read and write at once.

use super::{Control, Kept, LETTERS_MS, keys, until};
use crate::tables::{Tables, put_one, record, stays};
use bytes::Bytes;
use godwit_domain::{
    actor::{KvWrite, bucket},
    tables::{End, Errand, KV_BYTES_MAX, Letter, Position, Settlement, Settling, Timer, TimerChange},
    time::Ms,
    waist::{Check, Direction, Error, Outcome, Partition, Put},
};
use serde::de::DeserializeOwned;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    ops::Bound,
};

/// How often a commit is tried again when another one came between.
const RACES_MAX: usize = 8;

/// What the partition says, and what it is to say.
struct Sheet<'a> {
    tables: &'a Tables,
    partition: Partition,
    control: Control,
    read: HashMap<Bytes, Option<Bytes>>,
    /// What is to stand there; `None` removes.
    written: HashMap<Bytes, Option<Put>>,
    now: Ms,
}

pub async fn settle(
    tables: &Tables,
    plugin: &str,
    settlements: &[Settlement],
) -> Result<Vec<Settling>, Error> {
    for _ in 0..RACES_MAX {
        let partition = keys::work(plugin);
        let control = tables.find_settled::<Control>("a control row", &partition, keys::CONTROL).await?;
        let Some((row, control)) = control else {
            return Err(Error::Invalid(format!("the plugin `{plugin}` has no partition")));
        };
        let mut sheet = Sheet {
            tables,
            partition: partition.clone(),
            control,
            read: HashMap::new(),
            written: HashMap::new(),
            now: tables.clock.now(),
        };
        sheet.read_ahead(settlements).await?;
        let mut settled = Vec::with_capacity(settlements.len());
        for settlement in settlements {
            let (before, control) = (sheet.written.clone(), sheet.control);
            let settling = sheet.take(settlement).await?;
            if !matches!(settling, Settling::Done(_)) {
                (sheet.written, sheet.control) = (before, control);
            }
            settled.push(settling);
        }
        if !settled.iter().any(|settling| matches!(settling, Settling::Done(_))) {
            return Ok(settled);
        }
        sheet.control.next += 1;
        let put = stays(&partition, keys::CONTROL, &sheet.control)?;
        let mut batch = put_one(partition, Check::Equals(row), put);
        for (key, written) in sheet.written {
            match written {
                Some(put) => batch.puts.push(put),
                None => batch.deletes.push(key),
            }
        }
        match tables.commit(batch).await {
            Outcome::Applied => return Ok(settled),
            Outcome::Conflict(_) => {}
            Outcome::Unknown(why) => {
                return Err(Error::Unavailable(format!("the outcome of a write is unknown: {why}")));
            }
            Outcome::Refused(error) => return Err(error),
        }
    }
    Err(Error::Unavailable(format!("the partition of `{plugin}` is changed by others all the time")))
}

impl Sheet<'_> {
    /// Reads what the settlements name, all at once.
    async fn read_ahead(&mut self, settlements: &[Settlement]) -> Result<(), Error> {
        let mut named = HashSet::new();
        for Settlement { end, reads, scans, writes, timers, .. } in settlements {
            named.extend(match end {
                End::Position(conversation, _) => Some(keys::position(*conversation)),
                End::Timer(name, _) => Some(keys::timer(name)),
                End::Notice(n) => Some(keys::numbered(keys::NOTICE, *n)),
                End::Answer(key, ..) => Some(keys::answer(key)),
                End::Nothing => None,
            });
            named.extend(reads.iter().map(|(key, _)| keys::kv(key)));
            named.extend(scans.iter().map(|(bucket, _)| keys::version(bucket)));
            named.extend(writes.iter().map(|write| keys::kv(&write.key)));
            named.extend(writes.iter().map(|write| keys::version(bucket(&write.key))));
            named.extend(timers.iter().map(|change| match change {
                TimerChange::Set(timer) => keys::timer(&timer.name),
                TimerChange::Cancel(name) => keys::timer(name),
            }));
        }
        let keys: Vec<_> = named.into_iter().collect();
        let asked = keys.iter().map(|key| (self.partition.clone(), key.clone())).collect();
        let found = self.tables.store.get_many(asked).await?;
        self.read = keys.into_iter().zip(found).collect();
        Ok(())
    }

    /// What stands there, or will.
    fn says<T: DeserializeOwned>(&self, what: &str, key: &[u8]) -> Result<Option<T>, Error> {
        let bytes = match self.written.get(key) {
            Some(written) => written.as_ref().map(|put| &put.row.value),
            None => self.read.get(key).and_then(Option::as_ref),
        };
        bytes.map(|bytes| record::read(what, &self.partition, key, bytes)).transpose()
    }

    fn put(&mut self, put: Put) {
        self.written.insert(put.row.key.clone(), Some(put));
    }

    fn remove(&mut self, key: Bytes) {
        self.written.insert(key, None);
    }

    fn number(&mut self) -> u64 {
        let n = self.control.next;
        self.control.next += 1;
        n
    }

    /// Takes one settlement over, or says why not; what it wrote then is to be taken back.
    async fn take(&mut self, settlement: &Settlement) -> Result<Settling, Error> {
        if !self.end(&settlement.end)? {
            return Ok(Settling::Over);
        }
        for (key, stood) in &settlement.reads {
            let stands = self.says::<Kept<'_>>("a row of a plugin", &keys::kv(key))?;
            if stands.as_ref().map(|kept| &*kept.value) != stood.as_deref() {
                return Ok(Settling::Conflict);
            }
        }
        for (bucket, stood) in &settlement.scans {
            let version = self.says::<u64>("a bucket's version", &keys::version(bucket))?;
            if version.unwrap_or_default() != *stood {
                return Ok(Settling::Conflict);
            }
        }
        let before = self.control.used;
        let mut buckets = HashSet::new();
        for write in &settlement.writes {
            self.write(write)?;
            if buckets.insert(bucket(&write.key)) {
                let key = keys::version(bucket(&write.key));
                let version = self.says::<u64>("a bucket's version", &key)?.unwrap_or_default();
                self.put(stays(&self.partition, &key, &(version + 1))?);
            }
        }
        for change in &settlement.timers {
            match change {
                TimerChange::Set(timer) => self.set_timer(timer)?,
                TimerChange::Cancel(name) => drop(self.drop_timer(name)?),
            }
        }
        if self.control.used > KV_BYTES_MAX.max(before) {
            self.count().await?;
            if self.control.used > KV_BYTES_MAX {
                return Ok(Settling::Full(self.control.used));
            }
        }
        let mut errands = Vec::with_capacity(settlement.errands.len());
        for errand in &settlement.errands {
            let errand = Errand { n: self.number(), ..errand.clone() };
            self.put(stays(&self.partition, &keys::numbered(keys::ERRAND, errand.n), &errand)?);
            errands.push(errand);
        }
        if let Some(letter) = &settlement.letter {
            let letter = Letter { n: self.number(), ..letter.clone() };
            let (key, ends) = (keys::numbered(keys::LETTER, letter.n), self.now.plus(LETTERS_MS));
            self.put(until(&self.partition, &key, &letter, ends)?);
        }
        Ok(Settling::Done(errands))
    }

    /// Writes the end of an event; whether it can still end.
    fn end(&mut self, end: &End) -> Result<bool, Error> {
        match end {
            End::Position(conversation, position) => {
                let key = keys::position(*conversation);
                let stands = self.says::<Position>("a position", &key)?;
                // What is stored of a failure stands at the same place.
                let same = stands.is_some_and(|stands| {
                    (stands.seq, stands.rev) == (position.seq, position.rev)
                        && position.failing.is_some()
                        && stands.failing != position.failing
                });
                if !same && stands.is_some_and(|stands| !position.is_past(&stands)) {
                    return Ok(false);
                }
                self.put(stays(&self.partition, &key, position)?);
            }
            End::Timer(name, n) => {
                let stands = self.says::<Timer>("a timer", &keys::timer(name))?;
                if stands.is_none_or(|timer| timer.n != *n) {
                    return Ok(false);
                }
                self.drop_timer(name)?;
            }
            End::Notice(n) => {
                let key = keys::numbered(keys::NOTICE, *n);
                if self.says::<godwit_domain::tables::Notice>("a notice", &key)?.is_none() {
                    return Ok(false);
                }
                self.remove(key);
            }
            End::Answer(key, answered, ends) => {
                let key = keys::answer(key);
                if self.says::<godwit_domain::tables::Answered>("an answer", &key)?.is_some() {
                    return Ok(false);
                }
                self.put(until(&self.partition, &key, answered, *ends)?);
            }
            End::Nothing => {}
        }
        Ok(true)
    }

    fn write(&mut self, write: &KvWrite) -> Result<(), Error> {
        let key = keys::kv(&write.key);
        let size = |value: &[u8]| (write.key.len() + value.len()) as u64;
        let stands = self.says::<Kept<'_>>("a row of a plugin", &key)?.map_or(0, |kept| size(&kept.value));
        self.control.used = self.control.used.saturating_sub(stands);
        let Some(value) = &write.value else {
            self.remove(key);
            return Ok(());
        };
        self.control.used += size(value);
        let expires_at = write.ttl_s.map(|ttl_s| self.now.plus(ttl_s.saturating_mul(1_000)));
        let kept = Kept { value: Cow::Borrowed(value), expires_at };
        let row = record::row(&self.partition, &key, &kept)?;
        self.put(Put { row, expires_at });
        Ok(())
    }

    fn set_timer(&mut self, timer: &Timer) -> Result<(), Error> {
        self.drop_timer(&timer.name)?;
        let timer = Timer { n: self.number(), ..timer.clone() };
        self.control.used += timer_bytes(&timer);
        self.put(stays(&self.partition, &keys::due(timer.at, timer.n), &timer.name)?);
        self.put(stays(&self.partition, &keys::timer(&timer.name), &timer)?);
        Ok(())
    }

    fn drop_timer(&mut self, name: &str) -> Result<(), Error> {
        let key = keys::timer(name);
        if let Some(timer) = self.says::<Timer>("a timer", &key)? {
            self.control.used = self.control.used.saturating_sub(timer_bytes(&timer));
            self.remove(keys::due(timer.at, timer.n));
            self.remove(key);
        }
        Ok(())
    }

    /// Counts what is used anew: rows that ended by themselves were never taken off.
    async fn count(&mut self) -> Result<(), Error> {
        let mut used = 0;
        for first in [keys::KV, keys::TIMER] {
            let bounds = (Bound::Included(record::key(&[first])), Bound::Excluded(record::key(&[first + 1])));
            let rows =
                self.tables.scan_range(&self.partition, bounds, Direction::Forward, usize::MAX).await?;
            let mut sizes: HashMap<Bytes, u64> = HashMap::new();
            for row in rows {
                sizes.insert(row.key.clone(), self.size(&row.key, &row.value)?);
            }
            for (key, written) in self.written.iter().filter(|(key, _)| key.first() == Some(&first)) {
                let size = written.as_ref().map(|put| self.size(key, &put.row.value)).transpose()?;
                sizes.insert(key.clone(), size.unwrap_or_default());
            }
            used += sizes.values().sum::<u64>();
        }
        self.control.used = used;
        Ok(())
    }

    fn size(&self, key: &[u8], value: &[u8]) -> Result<u64, Error> {
        if key.first() == Some(&keys::TIMER) {
            return Ok(timer_bytes(&record::read("a timer", &self.partition, key, value)?));
        }
        let kept: Kept<'_> = record::read("a row of a plugin", &self.partition, key, value)?;
        let name = keys::split_kv(key).map_or(0, str::len);
        Ok((name + kept.value.len()) as u64)
    }
}

fn timer_bytes(timer: &Timer) -> u64 {
    (timer.name.len() + timer.payload.len()) as u64
}
