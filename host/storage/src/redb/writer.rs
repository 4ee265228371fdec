//! The write thread: the only place that changes the file.
//!
//! It owns group commit. It takes all calls that wait, applies them in one transaction, and answers each when that is
//! durable; the next group gathers in the channel meanwhile. It refuses to know what rows mean.
//!
//! Start with [`Writer::run`], then [`Writer::write`].

use super::{
    Metrics, Options,
    current::Current,
    file::{self, File},
    journal::Record,
    recover::Alarm,
    rows::{self, Envelope, Kind, ROWS},
    unavailable,
};
use ::redb::{Database, Durability, ReadableTable, Table};
use bytes::Bytes;
use godwit_domain::{
    time::{Clock, Ms},
    waist::{Batch, Check, Error, Outcome, Partition, Put, Raise, Row},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// The answer to a call that has no outcome per row.
pub(super) type Done = oneshot::Sender<Result<(), Error>>;

/// What the write thread is asked. Everything in it keeps the waist's limits.
pub(super) enum Call {
    Commit {
        batches: Vec<Batch>,
        reply: oneshot::Sender<Vec<Outcome>>,
    },
    Raise {
        raises: Vec<Raise>,
        reply: Done,
    },
    PutAll {
        rows: Vec<(Partition, Put)>,
        reply: Done,
    },
    /// Removes the rows under these outer keys, those that have ended by now.
    Sweep {
        keys: Vec<Vec<u8>>,
        reply: Done,
    },
    /// Open the file anew, if a failure stands.
    Reopen {
        reply: Done,
    },
    /// Work off what waits, let go of the file, answer.
    Close {
        reply: Done,
    },
}

impl Call {
    /// How many changes it asks for, and about how many bytes.
    fn weight(&self) -> (usize, usize) {
        let puts = |puts: &[Put]| puts.iter().map(|put| put.row.value.len()).sum::<usize>();
        match self {
            Self::Commit { batches, .. } => {
                (batches.len(), batches.iter().map(|batch| puts(&batch.puts)).sum())
            }
            Self::Raise { raises, .. } => (raises.len(), raises.iter().map(|raise| raise.value.len()).sum()),
            Self::PutAll { rows, .. } => (rows.len(), rows.iter().map(|(_, put)| put.row.value.len()).sum()),
            Self::Sweep { keys, .. } => (keys.len(), 0),
            Self::Reopen { .. } | Self::Close { .. } => (0, 0),
        }
    }

    /// Answers without doing anything. A caller that is gone needs no answer, here and below.
    fn refuse(self, error: &Error) {
        match self {
            Self::Commit { batches, reply } => {
                let _ = reply.send(vec![Outcome::Refused(error.clone()); batches.len()]);
            }
            Self::Raise { reply, .. }
            | Self::PutAll { reply, .. }
            | Self::Sweep { reply, .. }
            | Self::Reopen { reply }
            | Self::Close { reply } => {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

/// The state of the write thread.
pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) options: Options,
    /// Opens the file anew.
    pub(super) file: File,
    /// Says whether a failure stands: what the file holds is not known until it is opened anew.
    pub(super) current: Arc<Current>,
    pub(super) alarm: Alarm,
    /// How much the group had that failed, in bytes.
    pub(super) trial_bytes: usize,
}

fn read_only(error: &dyn std::fmt::Display) -> String {
    format!("a write failed, the store is read-only until its file can be written again: {error}")
}

/// Sets the failure if the thread ends by a panic, so that readiness shows it.
struct Sentinel(Arc<Current>);

impl Drop for Sentinel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the write thread broke; restart the host".into(), []);
        }
    }
}

impl Writer {
    /// Works until it is closed or nobody can call any more.
    pub(super) fn run(mut self) {
        let _sentinel = Sentinel(self.current.clone());
        let mut closers = Vec::new();
        let mut group = Vec::new();
        while let Some(first) = self.calls.blocking_recv() {
            self.gather(first, &mut group);
            for call in group.extract_if(.., |call| matches!(call, Call::Reopen { .. } | Call::Close { .. }))
            {
                match call {
                    Call::Reopen { reply } => drop(reply.send(self.reopen())),
                    Call::Close { reply } => {
                        // What was sent before is still received; what comes later is refused by the channel.
                        self.calls.close();
                        closers.push(reply);
                    }
                    _ => {}
                }
            }
            self.commit(std::mem::take(&mut group));
        }
        if self.current.failure().is_none()
            && let Err(error) = self.file.close(&self.database)
        {
            tracing::error!(%error, "the file could not be closed cleanly: its journal is read back on the next start");
        }
        drop(self);
        closers.into_iter().for_each(|reply| drop(reply.send(Ok(()))));
    }

    /// Takes what waits, up to the bounds of a group; the call that crosses a bound still goes in.
    fn gather(&mut self, first: Call, group: &mut Vec<Call>) {
        let (mut changes, mut bytes) = (0, 0);
        let mut next = Some(first);
        while let Some(call) = next {
            self.metrics.queue_depth.dec();
            let weight = call.weight();
            (changes, bytes) = (changes + weight.0, bytes + weight.1);
            group.push(call);
            let full = changes >= self.options.group_changes_max || bytes >= self.options.group_bytes_max;
            next = if full { None } else { self.calls.try_recv().ok() };
        }
    }

    /// Makes a group durable and answers it.
    fn commit(&mut self, group: Vec<Call>) {
        if group.is_empty() {
            return;
        }
        if let Some(failure) = self.current.failure() {
            let error = Error::Unavailable(failure);
            return group.into_iter().for_each(|call| call.refuse(&error));
        }
        let result = match file::contain(|| self.write(&group)) {
            Ok(result) => result.map_err(|error| error.to_string()),
            Err(broke) => Err(format!("redb broke: {broke}")),
        };
        if let Err(error) = &result {
            self.fail(error, &group);
        }
        let mut outcomes = result.map(Vec::into_iter);
        for call in group {
            let done = outcomes.as_ref().map(drop).map_err(|error| Error::Unavailable(error.clone()));
            match call {
                Call::Commit { batches, reply } => {
                    let outcomes = match &mut outcomes {
                        Ok(outcomes) => outcomes.by_ref().take(batches.len()).collect(),
                        Err(error) => vec![Outcome::Unknown(error.clone()); batches.len()],
                    };
                    let _ = reply.send(outcomes);
                }
                Call::Raise { reply, .. }
                | Call::PutAll { reply, .. }
                | Call::Sweep { reply, .. }
                | Call::Reopen { reply }
                | Call::Close { reply } => drop(reply.send(done)),
            }
        }
    }

    /// A group could not be written: from here on there are only reads, and the recovery is told.
    fn fail(&mut self, error: &str, group: &[Call]) {
        self.metrics.commit_errors.inc();
        tracing::error!(
            %error,
            "a write failed: the store is read-only until the file can be opened anew, which is tried by itself; \
             see that its disk has room and is well"
        );
        let batches = group.iter().filter_map(|call| match call {
            Call::Commit { batches, .. } => Some(batches),
            _ => None,
        });
        let unsettled = batches.flatten().map(|batch| batch.partition.clone());
        self.current.fail(read_only(&error), unsettled);
        self.trial_bytes = group.iter().map(|call| call.weight().1).sum();
        self.show_view();
        self.alarm.raise();
    }

    /// Opens the file anew, if a failure stands.
    fn reopen(&mut self) -> Result<(), Error> {
        if self.current.failure().is_none() {
            return Ok(());
        }
        let reopened = self.file.reopen().and_then(|(database, before)| {
            // What was unknown is settled and durable: from now on reads show that.
            self.database = database.clone();
            self.current.show(database);
            before.close();
            self.file.try_out(&self.database, self.trial_bytes)
        });
        match reopened {
            Ok(()) => {
                self.current.recover();
                self.metrics.reopened.inc();
                self.metrics.read_only.set(0);
                tracing::info!("the file was opened anew: the store writes again");
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the store stays read-only: the file could not be opened anew");
                self.current.fail(read_only(&error), []);
                self.show_view();
                Err(error)
            }
        }
    }

    /// Lets reads go on without a file that can be written. Where not even that works, they go on from memory.
    fn show_view(&mut self) {
        match self.file.view() {
            Ok(view) => {
                self.database = view.clone();
                self.current.show(view);
            }
            Err(error) => tracing::error!(%error, "what was stored cannot be read at present"),
        }
    }

    /// Applies a group in one transaction; the outcomes are those of its batches, in order.
    ///
    /// Nothing of one partition is seen by another, so the changes are put in order of partition: neighbours in the
    /// file follow each other, and a page is rewritten once. The sort is stable, so changes of one partition keep
    /// their order, and each batch's checks see what the batches before it wrote.
    fn write(&mut self, group: &[Call]) -> Result<Vec<Outcome>, ::redb::Error> {
        let (started, now) = (Instant::now(), self.clock.now());
        let mut changes = Vec::new();
        let mut batch_count = 0;
        let mut sweeps = Vec::new();
        for call in group {
            match call {
                Call::Commit { batches, .. } => {
                    for batch in batches {
                        changes.push(Change::Batch(batch, batch_count));
                        batch_count += 1;
                    }
                }
                Call::Raise { raises, .. } => changes.extend(raises.iter().map(Change::Raise)),
                Call::PutAll { rows, .. } => {
                    changes.extend(rows.iter().map(|(at, put)| Change::Put(at, put)))
                }
                Call::Sweep { keys, .. } => sweeps.extend(keys),
                Call::Reopen { .. } | Call::Close { .. } => {}
            }
        }
        changes.sort_by(|a, b| rows::order(a.partition()).cmp(&rows::order(b.partition())));

        let mut outcomes = vec![Outcome::Applied; batch_count];
        let mut transaction = self.database.begin_write()?;
        // What makes it durable is the journal, or a checkpoint.
        transaction.set_durability(Durability::None)?;
        let table = transaction.open_table(ROWS)?;
        let record = Record::new();
        let mut page = Page { table, record, key: Vec::new(), stored: Vec::new(), now, rows: 0 };
        for change in &changes {
            match change {
                Change::Batch(batch, index) => outcomes[*index] = page.batch(batch)?,
                Change::Raise(raise) => page.raise(raise)?,
                Change::Put(partition, put) => page.put(partition, put)?,
            }
        }
        let before_sweep = page.rows;
        for key in sweeps {
            page.sweep(key)?;
        }
        let (rows, record) = page.end();
        // Where nothing was written, every refusal rests on what was durable before.
        if rows == 0 {
            transaction.abort()?;
            return Ok(outcomes);
        }
        let due = |since: Instant| since.elapsed() >= Duration::from_millis(self.options.checkpoint_ms);
        if self.file.journal.since().is_some_and(due) || !self.file.journal.takes(&record) {
            let began = Instant::now();
            self.file.checkpoint(transaction)?;
            self.metrics.checkpoint_seconds.observe(began.elapsed().as_secs_f64());
        } else {
            self.file.journal.append(record)?;
            transaction.commit()?;
        }
        self.metrics.journal_bytes.set(self.file.journal.written() as i64);
        self.metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.commit_rows.observe(rows as f64);
        self.metrics.swept_rows.inc_by(rows - before_sweep);
        self.metrics.commits.inc();
        if batch_count > 0 {
            self.metrics.commit_batches.observe(batch_count as f64);
        }
        Ok(outcomes)
    }
}

/// One change of a group.
enum Change<'a> {
    /// With its place among the outcomes.
    Batch(&'a Batch, usize),
    Raise(&'a Raise),
    Put(&'a Partition, &'a Put),
}

impl Change<'_> {
    fn partition(&self) -> &Partition {
        match self {
            Self::Batch(batch, _) => &batch.partition,
            Self::Raise(raise) => &raise.partition,
            Self::Put(partition, _) => partition,
        }
    }
}

/// The open table of a transaction.
struct Page<'a> {
    table: Table<'a, &'static [u8], &'static [u8]>,
    /// All that is changed, for the journal.
    record: Record,
    /// The outer key at work, and what is stored under it, kept for their room.
    key: Vec<u8>,
    stored: Vec<u8>,
    now: Ms,
    /// Rows written or removed so far.
    rows: u64,
}

impl Page<'_> {
    /// Lets go of the transaction: how many rows were changed, and how.
    fn end(self) -> (u64, Record) {
        (self.rows, self.record)
    }

    fn batch(&mut self, batch: &Batch) -> Result<Outcome, ::redb::Error> {
        if let [Check::Equals(standing)] = &batch.checks[..]
            && let [head, rest @ ..] = &batch.puts[..]
            && head.row.key == standing.key
        {
            return self.replace(batch, standing, head, rest);
        }
        let mut standing = Vec::new();
        let mut held = true;
        for check in &batch.checks {
            let (key, expected) = match check {
                Check::Absent(key) => (key, None),
                Check::Equals(row) => (&row.key, Some(&row.value)),
            };
            let found = match self.find(&batch.partition, key)? {
                Ok(found) => found,
                Err(error) => return Ok(Outcome::Refused(error)),
            };
            if found.as_ref() != expected {
                held = false;
                standing.extend(found.map(|value| Row { key: key.clone(), value }));
            }
        }
        if !held {
            return Ok(Outcome::Conflict(standing));
        }
        self.change(&batch.partition, &batch.puts, &batch.deletes)?;
        Ok(Outcome::Applied)
    }

    /// A batch whose one check is on the row that it puts first, as every append's is: the row is replaced at once and
    /// the one before looked at then, which is one way through the tree instead of two. Where it was another, it is
    /// put back.
    fn replace(
        &mut self,
        batch: &Batch,
        standing: &Row,
        head: &Put,
        rest: &[Put],
    ) -> Result<Outcome, ::redb::Error> {
        self.lay_out(&batch.partition, head);
        let held = |key: &[u8], stored: &[u8], now| {
            let split = Envelope::split(key, stored);
            matches!(split, Ok((envelope, value)) if !envelope.ended(now) && value == standing.value)
        };
        let otherwise = match self.table.insert(&self.key[..], &self.stored[..])? {
            Some(before) if held(&self.key, before.value(), self.now) => None,
            before => Some(before.map(|before| before.value().to_vec())),
        };
        let Some(before) = otherwise else {
            self.rows += 1;
            self.record.put(&self.key, &self.stored);
            self.change(&batch.partition, rest, &batch.deletes)?;
            return Ok(Outcome::Applied);
        };
        let Some(before) = before else {
            self.table.remove(&self.key[..])?;
            return Ok(Outcome::Conflict(Vec::new()));
        };
        self.table.insert(&self.key[..], &before[..])?;
        Ok(match Envelope::split(&self.key, &before) {
            Ok((envelope, _)) if envelope.ended(self.now) => Outcome::Conflict(Vec::new()),
            Ok((_, value)) => {
                let value = Bytes::copy_from_slice(value);
                Outcome::Conflict(vec![Row { key: standing.key.clone(), value }])
            }
            Err(error) => Outcome::Refused(error),
        })
    }

    fn change(
        &mut self,
        partition: &Partition,
        puts: &[Put],
        deletes: &[Bytes],
    ) -> Result<(), ::redb::Error> {
        for put in puts {
            self.put(partition, put)?;
        }
        for key in deletes {
            rows::write_key(&mut self.key, Kind::Row, partition, key);
            if self.table.remove(&self.key[..])?.is_some() {
                self.rows += 1;
                self.record.remove(&self.key);
            }
        }
        Ok(())
    }

    /// The value of a row that has not ended.
    fn find(
        &mut self,
        partition: &Partition,
        key: &[u8],
    ) -> Result<Result<Option<Bytes>, Error>, ::redb::Error> {
        rows::write_key(&mut self.key, Kind::Row, partition, key);
        let Some(stored) = self.table.get(&self.key[..])? else { return Ok(Ok(None)) };
        let split = Envelope::split(&self.key, stored.value());
        Ok(split.map(|(envelope, value)| (!envelope.ended(self.now)).then(|| Bytes::copy_from_slice(value))))
    }

    fn put(&mut self, partition: &Partition, put: &Put) -> Result<(), ::redb::Error> {
        self.lay_out(partition, put);
        self.insert()
    }

    /// Makes the outer key of a row, and what is stored under it.
    fn lay_out(&mut self, partition: &Partition, put: &Put) {
        rows::write_key(&mut self.key, Kind::Row, partition, &put.row.key);
        Envelope::row(put.expires_at).write(&put.row.value, &mut self.stored);
    }

    fn raise(&mut self, raise: &Raise) -> Result<(), ::redb::Error> {
        rows::write_key(&mut self.key, Kind::Mark, &raise.partition, &raise.key);
        let stands = match self.table.get(&self.key[..])? {
            // A mark that cannot be read is replaced: the highest version that is known stays.
            Some(stored) => matches!(
                Envelope::split(&self.key, stored.value()),
                Ok((Envelope::Mark(version), _)) if version >= raise.version
            ),
            None => false,
        };
        if stands {
            return Ok(());
        }
        Envelope::Mark(raise.version).write(&raise.value, &mut self.stored);
        self.insert()
    }

    fn sweep(&mut self, key: &[u8]) -> Result<(), ::redb::Error> {
        let ended = match self.table.get(key)? {
            Some(stored) => {
                Envelope::split(key, stored.value()).is_ok_and(|(envelope, _)| envelope.ended(self.now))
            }
            None => false,
        };
        if ended {
            self.table.remove(key)?;
            self.record.remove(key);
            self.rows += 1;
        }
        Ok(())
    }

    /// Writes what was laid out.
    fn insert(&mut self) -> Result<(), ::redb::Error> {
        self.table.insert(&self.key[..], &self.stored[..])?;
        self.record.put(&self.key, &self.stored);
        self.rows += 1;
        Ok(())
    }
}

/// The way to the write thread.
#[derive(Clone)]
pub(super) struct Calls {
    pub(super) sender: mpsc::Sender<Call>,
    pub(super) metrics: Metrics,
}

impl Calls {
    /// Sends a call, waiting for room in the queue; a closed store refuses it at once.
    pub(super) async fn send(&self, call: Call) {
        self.metrics.queue_depth.inc();
        self.settle(self.sender.send(call).await);
    }

    /// The same from a thread that may block.
    pub(super) fn send_blocking(&self, call: Call) {
        self.metrics.queue_depth.inc();
        self.settle(self.sender.blocking_send(call));
    }

    fn settle(&self, sent: Result<(), mpsc::error::SendError<Call>>) {
        if let Err(mpsc::error::SendError(call)) = sent {
            self.metrics.queue_depth.dec();
            call.refuse(&unavailable("the store is closed"));
        }
    }
}
