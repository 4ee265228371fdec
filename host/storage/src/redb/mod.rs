//! The backend on redb: all rows of a host in one file, every acknowledgement behind an fsync of its journal.
//!
//! It owns the file and its journal, the write thread with its group commit, the bounded readers and the sweeper of rows that ended.
//! It refuses to know what rows mean, and never changes a row by itself but to remove one that has ended.
//!
//! When a write fails, nobody knows what the file holds. Its batches are [`Outcome::Unknown`], nothing is written any
//! more, and reads go on from a view of what was acknowledged; after a while the file is opened anew, which settles
//! what was unknown. A panic of redb, whose checks are assertions, is contained in the same way: that of a read is
//! that read's [`Error::Corrupt`], that of a write is a write that failed.
//!
//! Start with [`Backend::open`], then `writer.rs` for the way of a write, and `recover.rs` for the way back.

mod current;
mod disk;
mod file;
mod journal;
mod metrics;
mod recover;
mod rows;
mod sweep;
mod writer;

#[cfg(test)]
mod tests;

pub use self::metrics::Metrics;

use self::{
    current::Current,
    file::File,
    recover::Alarm,
    rows::{Envelope, Kind},
    writer::{Call, Calls, Done, Writer},
};
use ::redb::{Database, ReadOnlyTable, ReadableDatabase, StorageBackend, backends::FileBackend};
use async_trait::async_trait;
use bytes::Bytes;
use godwit_domain::{
    time::{Clock, Ms},
    waist::{
        Batch, Check, Consistency, Direction, Error, KEY_BYTES_MAX, Outcome, PARTITION_BYTES_MAX, Partition,
        Put, Raise, Row, Scan, Store, VALUE_BYTES_MAX,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    ops::Bound,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The name of the file in the data folder.
const FILE: &str = "godwit.redb";
/// The name of its journal.
const JOURNAL_FILE: &str = "godwit.journal";

/// Settings of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Memory for pages of the file, in bytes.
    /// What is read from it costs microseconds; what is not there costs a read of the disk.
    pub cache_bytes: usize,
    /// How many calls may wait for the write thread.
    /// When the queue is full, callers wait for room.
    pub queue_calls_max: usize,
    /// How many changes one durable commit takes at most.
    /// More in a group cost less each, and let the first of them wait longer.
    pub group_changes_max: usize,
    /// How many bytes of values one durable commit takes at most; the call that crosses the bound still goes in.
    pub group_bytes_max: usize,
    /// How far the journal grows, in bytes, before what it holds is made durable in the file at once.
    /// More makes messages cheaper, and the pauses longer and rarer; a host that was killed reads it back on start.
    pub journal_bytes: u64,
    /// After how many milliseconds this happens at the latest, at the next write.
    pub checkpoint_ms: u64,
    /// How many reads run at the same time.
    /// When all are busy, callers wait for their turn.
    pub readers_max: usize,
    /// How many rows the sweeper of ended rows looks at in one step.
    pub sweep_rows_max: usize,
    /// Milliseconds between two steps of the sweeper.
    pub sweep_interval_ms: u64,
    /// Seconds for which the sweeper rests when it has been through the whole file.
    pub sweep_rest_s: u64,
    /// A file of up to so many bytes is checked from end to end when it is opened, and refused where it was changed
    /// from outside; a larger one is trusted, because reading a gigabyte takes seconds.
    /// 0 trusts every file.
    pub check_bytes_max: u64,
    /// Milliseconds after a failed write until the file is opened anew, so that the host writes again.
    /// Each failure soon after the last one doubles the wait.
    pub reopen_after_ms: u64,
    /// The longest of these waits, in milliseconds.
    pub reopen_after_ms_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 256 << 20,
            queue_calls_max: 1_024,
            group_changes_max: 8_192,
            group_bytes_max: 16 << 20,
            journal_bytes: 64 << 20,
            checkpoint_ms: 30_000,
            readers_max: 8,
            sweep_rows_max: 2_048,
            sweep_interval_ms: 1_000,
            sweep_rest_s: 600,
            check_bytes_max: 256 << 20,
            reopen_after_ms: 250,
            reopen_after_ms_max: 30_000,
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), Error> {
        let at_least_one = [
            ("queue_calls_max", self.queue_calls_max),
            ("group_changes_max", self.group_changes_max),
            ("group_bytes_max", self.group_bytes_max),
            ("readers_max", self.readers_max),
            ("sweep_rows_max", self.sweep_rows_max),
        ];
        for (name, value) in at_least_one {
            if value == 0 {
                return Err(Error::Invalid(format!("{name} is 0, at least 1 is needed")));
            }
        }
        if self.readers_max > Semaphore::MAX_PERMITS.min(u32::MAX as usize) {
            return Err(Error::Invalid(format!("readers_max is {}, that is too many", self.readers_max)));
        }
        Ok(())
    }
}

/// The store of one data folder. It is shared by handle, works until [`Backend::close`], and is safe to drop at any
/// time: what was acknowledged is on the disk.
pub struct Backend {
    current: Arc<Current>,
    alarm: Alarm,
    calls: Calls,
    /// One permit per running read. `close` takes all of them, so that no read holds the file when it is closed.
    readers: Arc<Semaphore>,
    readers_max: u32,
    sweeper: Mutex<Option<sweep::Handle>>,
    clock: Arc<dyn Clock>,
    group_changes_max: usize,
}

impl Backend {
    /// Opens the store in `folder`, and makes both where they are missing.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where another process has it open or the disk refuses, [`Error::Corrupt`] where the
    /// file cannot be read or has another format, [`Error::Invalid`] where an option is out of range.
    pub fn open(
        folder: &Path,
        options: &Options,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Error> {
        let refused = |error: &dyn std::fmt::Display| {
            Error::Unavailable(format!("cannot open the data folder {}: {error}", folder.display()))
        };
        std::fs::create_dir_all(folder).map_err(|error| refused(&error))?;
        let (path, name) = (folder.join(FILE), folder.display().to_string());
        let made = path.try_exists().map_err(|error| refused(&error))?;
        if !made {
            file::make(folder, FILE, options)?;
        }
        let open = |path: &Path| {
            let file =
                std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
            let file = file.map_err(|error| refused(&error))?;
            file::drop_memory(&file).map_err(|error| refused(&error))?;
            FileBackend::new(file).map_err(|error| refused(&error))
        };
        let (bytes, journal) = (open(&path)?, open(&folder.join(JOURNAL_FILE))?);
        // A name is durable only when its folder is.
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| refused(&error))?;
        Self::open_on(bytes, journal, &name, options, clock, metrics)
    }

    /// Opens the store on any bytes that redb can use, those of the file and those of its journal: tests hand in disks
    /// that fail. `name` is what messages call it.
    ///
    /// # Errors
    /// As [`Backend::open`].
    pub fn open_on(
        bytes: impl StorageBackend,
        journal: impl StorageBackend,
        name: &str,
        options: &Options,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Error> {
        options.check()?;
        let (file, database) = File::open(bytes, journal, name, options)?;
        let current = Arc::new(Current::new(database.clone()));
        let (sender, receiver) = mpsc::channel(options.queue_calls_max);
        let calls = Calls { sender, metrics: metrics.clone() };
        let no_thread = |error| Error::Unavailable(format!("cannot start a thread of the store: {error}"));
        let alarm = recover::start(calls.sender.downgrade(), metrics.clone(), options).map_err(no_thread)?;
        let writer = Writer {
            database,
            file,
            current: current.clone(),
            alarm: alarm.clone(),
            calls: receiver,
            clock: clock.clone(),
            metrics,
            options: options.clone(),
            trial_bytes: 0,
        };
        let thread = std::thread::Builder::new().name("storage-write".into());
        thread.spawn(move || writer.run()).map_err(no_thread)?;
        let sweeper =
            sweep::start(current.clone(), calls.clone(), clock.clone(), options).map_err(no_thread)?;
        Ok(Arc::new(Self {
            current,
            alarm,
            calls,
            readers: Arc::new(Semaphore::new(options.readers_max)),
            // `Options::check` has seen that it fits.
            readers_max: options.readers_max as u32,
            sweeper: Mutex::new(Some(sweeper)),
            clock,
            group_changes_max: options.group_changes_max,
        }))
    }

    /// Whether it still writes; if not, why. For readiness.
    ///
    /// # Errors
    /// Why nothing is written any more.
    pub fn health(&self) -> Result<(), String> {
        if let Some(failure) = self.current.failure() {
            return Err(failure);
        }
        self.current.database().map(drop).map_err(|error| error.to_string())
    }

    /// Opens the file anew if a write has failed, without waiting for the next try. What was unknown is settled when
    /// this returns.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where it still cannot be written, [`Error::Corrupt`] where it cannot be read: nothing is
    /// written until a later try succeeds.
    pub async fn reopen(&self) -> Result<(), Error> {
        let (reply, opened) = oneshot::channel();
        self.calls.send(Call::Reopen { reply }).await;
        opened.await.unwrap_or_else(|_| Err(unavailable(WRITER_GONE)))
    }

    /// Makes durable what waits, answers it, and closes the file. Later calls are refused; closing twice is no error.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the file could not be closed cleanly; what was acknowledged is safe even then.
    pub async fn close(&self) -> Result<(), Error> {
        let sweeper = lock(&self.sweeper).take();
        if let Some(sweeper) = sweeper {
            let join = move || {
                sweeper.join();
                Ok(())
            };
            blocking(join).await?;
        }
        let (reply, closed) = oneshot::channel();
        self.calls.send(Call::Close { reply }).await;
        // An error says that the thread is gone already, which is what is wanted.
        let _ = closed.await;
        let Ok(_all) = self.readers.acquire_many(self.readers_max).await else { return Ok(()) };
        self.readers.close();
        let database = self.current.take().and_then(Arc::into_inner);
        match database {
            Some(database) => blocking(|| database.close().map_err(|error| read_error(error.into()))).await,
            None => Ok(()),
        }
    }

    /// Runs a read on a thread that may block, with the time that it shall see.
    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&Table, Ms) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit =
            self.readers.clone().acquire_owned().await.map_err(|_| unavailable("the store is closed"))?;
        let (current, alarm, now) = (self.current.clone(), self.alarm.clone(), self.clock.now());
        blocking(move || {
            let run = |database: &Database| {
                let open = || Ok(database.begin_read()?.open_table(rows::ROWS)?);
                open().map_err(read_error).and_then(|table| read(&table, now))
            };
            let mut database = current.database()?;
            let mut result = run(&database);
            if let Err(Error::Unavailable(why)) = &result {
                // After one failure redb reads no more, until it is opened anew.
                match current.replaced(&database, why) {
                    Some(newer) => {
                        database = newer;
                        result = run(&database);
                    }
                    None => {
                        tracing::error!(%why, "a read failed: the store is read-only until its file is opened anew");
                        alarm.raise();
                    }
                }
            }
            // In this order: who holds all permits knows that nobody holds the file.
            drop(database);
            drop(permit);
            result
        })
        .await
    }

    /// The outcome of a commit that failed is settled by opening the file anew, not before.
    fn settled(&self, consistency: Consistency, partition: &Partition) -> Result<(), Error> {
        match consistency {
            Consistency::Committed => Ok(()),
            Consistency::Serial => self.current.settled(partition),
        }
    }

    /// Sends calls of a bounded size and waits for all of them.
    async fn write<T>(&self, mut items: Vec<T>, call: impl Fn(Vec<T>, Done) -> Call) -> Result<(), Error> {
        let mut waits = Vec::new();
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(self.group_changes_max));
            let (reply, done) = oneshot::channel();
            self.calls.send(call(std::mem::replace(&mut items, rest), reply)).await;
            waits.push(done);
        }
        for done in waits {
            done.await.unwrap_or_else(|_| Err(unavailable(WRITER_GONE)))?;
        }
        Ok(())
    }
}

type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

const WRITER_GONE: &str = "the write thread ended before it answered";

#[async_trait]
impl Store for Backend {
    async fn get(
        &self,
        partition: Partition,
        key: Bytes,
        consistency: Consistency,
    ) -> Result<Option<Bytes>, Error> {
        check_key(&partition, &key)?;
        self.settled(consistency, &partition)?;
        self.read(move |table, now| find(table, now, &partition, &key)).await
    }

    async fn get_many(&self, keys: Vec<(Partition, Bytes)>) -> Result<Vec<Option<Bytes>>, Error> {
        keys.iter().try_for_each(|(partition, key)| check_key(partition, key))?;
        let find_all = move |table: &Table, now| {
            keys.iter().map(|(partition, key)| find(table, now, partition, key)).collect()
        };
        self.read(find_all).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<Row>, Error> {
        check_partition(&scan.partition)?;
        self.settled(scan.consistency, &scan.partition)?;
        self.read(move |table, now| {
            let mut found = Vec::new();
            let Some(bounds) = rows::bounds(Kind::Row, &scan.partition, &scan.from, &scan.to) else {
                return Ok(found);
            };
            let mut range =
                table.range::<&[u8]>(as_slices(&bounds)).map_err(|error| read_error(error.into()))?;
            while found.len() < scan.limit {
                let next = match scan.direction {
                    Direction::Forward => range.next(),
                    Direction::Backward => range.next_back(),
                };
                let Some(row) = next else { break };
                let (key, stored) = row.map_err(|error| read_error(error.into()))?;
                let (envelope, value) = Envelope::split(key.value(), stored.value())?;
                if !envelope.ended(now) {
                    found.push(Row {
                        key: inner_key(&scan.partition, key.value()),
                        value: Bytes::copy_from_slice(value),
                    });
                }
            }
            Ok(found)
        })
        .await
    }

    async fn commit(&self, mut batches: Vec<Batch>) -> Vec<Outcome> {
        let mut refused = Vec::new();
        let mut index = 0;
        batches.retain(|batch| {
            let checked = check_batch(batch);
            refused.extend(checked.as_ref().err().map(|error| (index, Outcome::Refused(error.clone()))));
            index += 1;
            checked.is_ok()
        });
        let mut waits = Vec::new();
        while !batches.is_empty() {
            let rest = batches.split_off(batches.len().min(self.group_changes_max));
            let batches = std::mem::replace(&mut batches, rest);
            let (reply, outcomes) = oneshot::channel();
            waits.push((batches.len(), outcomes));
            self.calls.send(Call::Commit { batches, reply }).await;
        }
        let mut outcomes = Vec::new();
        for (count, wait) in waits {
            match wait.await {
                Ok(some) => outcomes.extend(some),
                Err(_) => outcomes.extend(vec![Outcome::Unknown(WRITER_GONE.into()); count]),
            }
        }
        // In ascending order, so that each lands where its batch stood.
        refused.into_iter().for_each(|(index, outcome)| outcomes.insert(index, outcome));
        outcomes
    }

    async fn raise(&self, raises: Vec<Raise>) -> Result<(), Error> {
        for raise in &raises {
            check_key(&raise.partition, &raise.key)?;
            check_value(&raise.value)?;
        }
        self.write(raises, |raises, reply| Call::Raise { raises, reply }).await
    }

    async fn mark(&self, partition: Partition, key: Bytes) -> Result<Option<(u64, Bytes)>, Error> {
        check_key(&partition, &key)?;
        self.read(move |table, _| {
            let key = rows::key(Kind::Mark, &partition, &key);
            let stored = table.get(&key[..]).map_err(|error| read_error(error.into()))?;
            stored.map(|stored| split_mark(&key, stored.value())).transpose()
        })
        .await
    }

    async fn marks(&self, partition: Partition, prefix: Bytes) -> Result<Vec<(Bytes, u64, Bytes)>, Error> {
        check_partition(&partition)?;
        self.read(move |table, _| {
            let lower = rows::key(Kind::Mark, &partition, &prefix);
            let upper = rows::after_prefix(lower.clone()).map_or(Bound::Unbounded, Bound::Excluded);
            let bounds = (Bound::Included(lower), upper);
            let range = table.range::<&[u8]>(as_slices(&bounds)).map_err(|error| read_error(error.into()))?;
            range
                .map(|row| {
                    let (key, stored) = row.map_err(|error| read_error(error.into()))?;
                    let (version, value) = split_mark(key.value(), stored.value())?;
                    Ok((inner_key(&partition, key.value()), version, value))
                })
                .collect()
        })
        .await
    }

    async fn put_all(&self, rows: Vec<(Partition, Put)>) -> Result<(), Error> {
        for (partition, put) in &rows {
            check_key(partition, &put.row.key)?;
            check_value(&put.row.value)?;
        }
        self.write(rows, |rows, reply| Call::PutAll { rows, reply }).await
    }
}

fn find(table: &Table, now: Ms, partition: &Partition, key: &[u8]) -> Result<Option<Bytes>, Error> {
    let key = rows::key(Kind::Row, partition, key);
    let Some(stored) = table.get(&key[..]).map_err(|error| read_error(error.into()))? else {
        return Ok(None);
    };
    let (envelope, value) = Envelope::split(&key, stored.value())?;
    Ok((!envelope.ended(now)).then(|| Bytes::copy_from_slice(value)))
}

fn split_mark(key: &[u8], stored: &[u8]) -> Result<(u64, Bytes), Error> {
    match Envelope::split(key, stored)? {
        (Envelope::Mark(version), value) => Ok((version, Bytes::copy_from_slice(value))),
        _ => Err(Error::Corrupt(format!("a row stands for the mark under {}", key.escape_ascii()))),
    }
}

fn inner_key(partition: &Partition, key: &[u8]) -> Bytes {
    Bytes::copy_from_slice(&key[2 + partition.name.len()..])
}

fn as_slices(bounds: &rows::Bounds) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (bounds.0.as_ref().map(Vec::as_slice), bounds.1.as_ref().map(Vec::as_slice))
}

fn check_partition(partition: &Partition) -> Result<(), Error> {
    check_bytes("a partition's name", &partition.name, 1, PARTITION_BYTES_MAX)
}

fn check_key(partition: &Partition, key: &[u8]) -> Result<(), Error> {
    check_partition(partition)?;
    check_bytes("a key", key, 1, KEY_BYTES_MAX)
}

fn check_value(value: &[u8]) -> Result<(), Error> {
    check_bytes("a value", value, 0, VALUE_BYTES_MAX)
}

fn check_bytes(what: &str, bytes: &[u8], min: usize, max: usize) -> Result<(), Error> {
    if (min..=max).contains(&bytes.len()) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{what} of {} bytes, the limits are {min} and {max}", bytes.len())))
}

fn check_batch(batch: &Batch) -> Result<(), Error> {
    check_partition(&batch.partition)?;
    for check in &batch.checks {
        let (Check::Absent(key) | Check::Equals(Row { key, .. })) = check;
        check_key(&batch.partition, key)?;
    }
    for put in &batch.puts {
        check_key(&batch.partition, &put.row.key)?;
        check_value(&put.row.value)?;
    }
    batch.deletes.iter().try_for_each(|key| check_key(&batch.partition, key))
}

/// Runs what blocks where it may; a panic there (redb checks its pages by assertions) is the read's error.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => Err(Error::Corrupt(format!("a read of the file broke: {error}"))),
        Err(error) => Err(Error::Unavailable(format!("the runtime is stopping: {error}"))),
    }
}

fn read_error(error: ::redb::Error) -> Error {
    match error {
        ::redb::Error::Corrupted(what) => Error::Corrupt(what),
        error => Error::Unavailable(error.to_string()),
    }
}

fn unavailable(why: &str) -> Error {
    Error::Unavailable(why.into())
}

/// What these locks guard is whole between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
