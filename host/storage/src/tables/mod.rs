//! The typed tables: what is stored where, written once over the waist.
//!
//! It owns the layout of partitions and keys, the format of records, and the order of steps in which what spans
//! partitions is written, so that a crash between any two of them is repaired by who comes next.
//! It refuses to know the backend, and keeps nothing in memory: a second owner reads the same.
//!
//! Start with `FORMAT.md` beside this crate, then [`Tables`]; `messages.rs` is the way of a send, `change.rs` that of
//! everything else that changes a conversation.

mod accounts;
mod change;
mod clients;
mod contacts;
mod conversations;
mod deferrals;
mod heads;
mod held;
mod hidden;
mod layout;
mod links;
mod marks;
mod messages;
mod people;
mod plugins;
mod reactions;
mod record;
mod revised;
mod revisions;
mod secrets;
mod settings;
mod work;

use bytes::Bytes;
use godwit_domain::{
    tables::Written,
    time::Clock,
    waist::{Batch, Check, Consistency, Direction, Error, Outcome, Partition, Put, Raise, Row, Scan, Store},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{ops::Bound, sync::Arc};

/// The tables of a store. Cheap to clone.
#[derive(Clone)]
pub struct Tables {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Tables {
    /// The tables in `store`; `clock` says how old a claim on a name is.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Commits one batch.
    async fn commit(&self, batch: Batch) -> Outcome {
        let none = || Outcome::Unknown("the store gave no outcome".into());
        self.store.commit(vec![batch]).await.pop().unwrap_or_else(none)
    }

    /// Commits one batch where an unknown outcome is nothing but an error.
    async fn write(&self, batch: Batch) -> Result<Written, Error> {
        match self.commit(batch).await {
            Outcome::Applied => Ok(Written::Yes),
            Outcome::Conflict(_) => Ok(Written::No),
            Outcome::Unknown(why) => {
                Err(Error::Unavailable(format!("the outcome of a write is unknown: {why}")))
            }
            Outcome::Refused(error) => Err(error),
        }
    }

    /// A row as it stands, with what it says.
    async fn find<T: DeserializeOwned>(
        &self,
        what: &str,
        partition: &Partition,
        key: &[u8],
    ) -> Result<Option<(Row, T)>, Error> {
        self.find_by(Consistency::Committed, what, partition, key).await
    }

    /// A row as it stands when the outcome of every unknown commit is settled: for what an owner goes on from.
    async fn find_settled<T: DeserializeOwned>(
        &self,
        what: &str,
        partition: &Partition,
        key: &[u8],
    ) -> Result<Option<(Row, T)>, Error> {
        self.find_by(Consistency::Serial, what, partition, key).await
    }

    async fn find_by<T: DeserializeOwned>(
        &self,
        consistency: Consistency,
        what: &str,
        partition: &Partition,
        key: &[u8],
    ) -> Result<Option<(Row, T)>, Error> {
        let key = record::key(key);
        let found = self.store.get(partition.clone(), key.clone(), consistency).await?;
        found
            .map(|value| {
                let said = record::read(what, partition, &key, &value)?;
                Ok((Row { key, value }, said))
            })
            .transpose()
    }

    /// Replaces what a row says if it still says `before`. The check is on the bytes that stand there, not on how
    /// `before` would be written today, so that a row of an older format can be replaced.
    async fn replace<T: DeserializeOwned + PartialEq>(
        &self,
        what: &str,
        partition: Partition,
        key: &[u8],
        before: &T,
        after: Put,
    ) -> Result<Written, Error> {
        match self.find::<T>(what, &partition, key).await? {
            Some((row, said)) if said == *before => {
                self.write(Batch {
                    partition,
                    checks: vec![Check::Equals(row)],
                    puts: vec![after],
                    deletes: vec![],
                })
                .await
            }
            _ => Ok(Written::No),
        }
    }

    /// All rows of a partition whose keys begin with `prefix`, in order.
    async fn scan_all(&self, partition: &Partition, prefix: u8) -> Result<Vec<Row>, Error> {
        let bounds = (Bound::Included(record::key(&[prefix])), Bound::Excluded(record::key(&[prefix + 1])));
        self.scan_range(partition, bounds, Direction::Forward, usize::MAX).await
    }

    /// The rows of a range, up to `limit`, in the order in which they are read: page by page.
    async fn scan_range(
        &self,
        partition: &Partition,
        (mut from, mut to): (Bound<Bytes>, Bound<Bytes>),
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        const PAGE: usize = 1_024;
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let size = PAGE.min(limit - rows.len());
            let page = Scan {
                partition: partition.clone(),
                from: from.clone(),
                to: to.clone(),
                direction,
                limit: size,
                consistency: Consistency::Committed,
            };
            let page = self.store.scan(page).await?;
            let more = page.len() == size;
            rows.extend(page);
            let Some(last) = rows.last().filter(|_| more && rows.len() < limit) else { return Ok(rows) };
            let rest = Bound::Excluded(last.key.clone());
            match direction {
                Direction::Forward => from = rest,
                Direction::Backward => to = rest,
            }
        }
    }

    /// The version of a mark and what it says.
    async fn find_mark<T: DeserializeOwned>(
        &self,
        what: &str,
        partition: &Partition,
        key: &[u8],
    ) -> Result<Option<(u64, T)>, Error> {
        let found = self.store.mark(partition.clone(), record::key(key)).await?;
        found.map(|(version, value)| Ok((version, record::read(what, partition, key, &value)?))).transpose()
    }
}

/// A mark to raise.
fn raise(partition: &Partition, key: &[u8], version: u64, payload: &impl Serialize) -> Result<Raise, Error> {
    let row = record::row(partition, key, payload)?;
    Ok(Raise { partition: partition.clone(), key: row.key, version, value: row.value })
}

/// A batch that writes one row.
fn put_one(partition: Partition, check: Check, put: Put) -> Batch {
    Batch { partition, checks: vec![check], puts: vec![put], deletes: vec![] }
}

/// A row to write that stays.
fn stays(partition: &Partition, key: &[u8], payload: &impl Serialize) -> Result<Put, Error> {
    Ok(Put { row: record::row(partition, key, payload)?, expires_at: None })
}

/// No row stands under that key.
fn absent(key: &[u8]) -> Check {
    Check::Absent(Bytes::copy_from_slice(key))
}
