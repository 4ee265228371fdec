//! The waist: the few operations on which all storage stands.
//!
//! Three spaces of a partitioned, ordered key-value store. That is what redb, Cassandra, ScyllaDB, DynamoDB and
//! PostgreSQL can all do, so everything above is written once, and a backend is one crate that passes
//! `tests/conformance`.

use crate::time::Ms;
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Bound;

/// Which part of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Conversations' streams.
    Log,
    /// What is true now: meta, members, marks, users, plugins.
    State,
    /// What ends by itself: logins, queues, timers.
    Ephemeral,
}

/// The largest partition name in bytes.
pub const PARTITION_BYTES_MAX: usize = 255;
/// The largest key in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// The largest value in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// A partition of a space: what one commit may span, and what a scan runs over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// Which space.
    pub space: Space,
    /// Which partition of it, 1 to [`PARTITION_BYTES_MAX`] bytes.
    pub name: Bytes,
}

/// A stored row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Where in the partition, 1 to [`KEY_BYTES_MAX`] bytes; rows sort by it, bytewise.
    pub key: Bytes,
    /// What, up to [`VALUE_BYTES_MAX`] bytes.
    pub value: Bytes,
}

/// A row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// The row.
    pub row: Row,
    /// When it ends by itself: from then on no read shows it.
    pub expires_at: Option<Ms>,
}

/// What must hold for a commit to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// No row stands under this key.
    Absent(Bytes),
    /// Just this row stands there.
    Equals(Row),
}

/// Changes of one partition that happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Which partition.
    pub partition: Partition,
    /// What must hold.
    pub checks: Vec<Check>,
    /// What is written.
    pub puts: Vec<Put>,
    /// Keys that are removed.
    pub deletes: Vec<Bytes>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is durable.
    Applied,
    /// Nothing was written; these rows stand where a check failed (those that exist).
    Conflict(Vec<Row>),
    /// The store did not say. It may be durable now, or become so.
    Unknown(String),
    /// Nothing was written, nor will be: the store is stopped, or the batch breaks a limit.
    Refused(Error),
}

/// Which way a scan runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest key first.
    Forward,
    /// Largest key first.
    Backward,
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Everything acknowledged before the read began.
    Committed,
    /// That, and the outcome of every unknown commit is settled first.
    Serial,
}

/// Which rows of a partition to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Which partition.
    pub partition: Partition,
    /// From which key.
    pub from: Bound<Bytes>,
    /// To which key.
    pub to: Bound<Bytes>,
    /// Which way.
    pub direction: Direction,
    /// At most so many rows.
    pub limit: usize,
    /// How fresh.
    pub consistency: Consistency,
}

/// A mark that only rises. Marks are kept apart from rows: no `get` or `scan` shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    /// Which partition.
    pub partition: Partition,
    /// Where in it; never a key that a [`Batch`] writes.
    pub key: Bytes,
    /// The row of the highest version stays.
    pub version: u64,
    /// What, up to [`VALUE_BYTES_MAX`] bytes.
    pub value: Bytes,
}

/// Why the store could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is stopped, read-only, or overloaded; nothing was written.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// A part of it cannot be read as written.
    #[error("store corrupt: {0}")]
    Corrupt(String),
    /// The request breaks a limit of the waist.
    #[error("store request invalid: {0}")]
    Invalid(String),
}

/// A backend.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The row under `key`.
    async fn get(
        &self,
        partition: Partition,
        key: Bytes,
        consistency: Consistency,
    ) -> Result<Option<Bytes>, Error>;

    /// Many point reads at once, in the order asked.
    async fn get_many(&self, keys: Vec<(Partition, Bytes)>) -> Result<Vec<Option<Bytes>>, Error>;

    /// The rows of a range, in order.
    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, Error>;

    /// Applies each batch by itself, whole or not at all; the outcomes are in the order of the batches.
    /// An outcome is given only when the batch is durable, refused, or its fate unknown.
    /// Batches of one partition within a call are applied in their order.
    async fn commit(&self, batches: Vec<Batch>) -> Vec<Outcome>;

    /// Raises marks; safe to repeat and in any order.
    async fn raise(&self, raises: Vec<Raise>) -> Result<(), Error>;

    /// The version and value of a mark.
    async fn mark(&self, partition: Partition, key: Bytes) -> Result<Option<(u64, Bytes)>, Error>;

    /// Every mark whose key begins with `prefix`, as (key, version, value), in order of keys.
    async fn marks(&self, partition: Partition, prefix: Bytes) -> Result<Vec<(Bytes, u64, Bytes)>, Error>;

    /// Writes rows without a check, each by itself; safe to repeat.
    async fn put_all(&self, rows: Vec<(Partition, Put)>) -> Result<(), Error>;
}
