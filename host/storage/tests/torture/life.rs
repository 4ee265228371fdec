//! A run: a few lives of a store on one disk, each with a workload, a fault, and an end.
//!
//! It owns the random choices and compares the store with the model after every life and every recovery. One call is
//! under way at a time, so that the disk sees the same operations whenever the seed is the same; what many callers at
//! once mean is the contract's to test (`tests/conformance`).

use crate::{
    disk::{Disk, Fault},
    model::{Call, Model},
};
use bytes::Bytes;
use godwit_conformance::TestClock;
use godwit_domain::{
    time::Ms,
    waist::{
        Batch, Check, Consistency, Direction, Error, Outcome, Partition, Put, Raise, Row, Scan, Space, Store,
    },
};
use godwit_storage::redb::{Backend, Metrics, Options};
use std::{ops::Bound, sync::Arc};

const NOW: Ms = Ms(1_800_000_000_000);
/// How many conversations, and as many users.
const PLACES: u8 = 4;

/// What runs met.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub seeds: u64,
    pub applied: u64,
    pub conflicts: u64,
    pub crashes: u64,
    pub crashes_in_recovery: u64,
    pub failed_openings: u64,
    pub unknown_kept: u64,
    pub unknown_lost: u64,
    pub refused: u64,
    pub reads_while_read_only: u64,
    pub failed_reads: u64,
    pub reopened: u64,
    pub failed_reopenings: u64,
    pub growths: u64,
    pub operations: u64,
    /// Of the operations on the disk.
    pub trace: u64,
}

impl Counts {
    pub fn all(&self) -> [(&'static str, u64); 15] {
        [
            ("seeds", self.seeds),
            ("applied", self.applied),
            ("conflicts", self.conflicts),
            ("crashes", self.crashes),
            ("crashes in recovery", self.crashes_in_recovery),
            ("failed openings", self.failed_openings),
            ("unknown kept", self.unknown_kept),
            ("unknown lost", self.unknown_lost),
            ("refused", self.refused),
            ("reads while read-only", self.reads_while_read_only),
            ("failed reads", self.failed_reads),
            ("reopened", self.reopened),
            ("failed reopenings", self.failed_reopenings),
            ("growths", self.growths),
            ("operations", self.operations),
        ]
    }

    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.applied += other.applied;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.crashes_in_recovery += other.crashes_in_recovery;
        self.failed_openings += other.failed_openings;
        self.unknown_kept += other.unknown_kept;
        self.unknown_lost += other.unknown_lost;
        self.refused += other.refused;
        self.reads_while_read_only += other.reads_while_read_only;
        self.failed_reads += other.failed_reads;
        self.reopened += other.reopened;
        self.failed_reopenings += other.failed_reopenings;
        self.growths += other.growths;
        self.operations += other.operations;
        self.trace ^= other.trace;
    }
}

/// Runs a seed; panics where the store breaks a promise.
pub fn run(seed: u64) -> Counts {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut run = Run {
        random: fastrand::Rng::with_seed(seed),
        disk: Disk::new(seed),
        model: Model::default(),
        unknown: None,
        reads_may_fail: false,
        stamp: 0,
        counts: Counts { seeds: 1, ..Counts::default() },
    };
    runtime.block_on(run.lives());
    let (operations, growths, trace) = run.disk.trace();
    Counts { operations, growths, trace, ..run.counts }
}

/// Settings under which nothing happens by itself: a run would not be the same twice.
pub fn options(random: &mut fastrand::Rng) -> Options {
    Options {
        // A small cache writes pages before their commit.
        cache_bytes: [64 << 10, 512 << 10, 16 << 20][random.usize(..3)],
        // A small journal makes many checkpoints, and has no room for some groups.
        journal_bytes: [0, 32 << 10, 512 << 10, 64 << 20][random.usize(..4)],
        checkpoint_ms: u64::MAX,
        check_bytes_max: if random.bool() { u64::MAX } else { 0 },
        sweep_interval_ms: u64::MAX,
        reopen_after_ms: u64::MAX,
        ..Options::default()
    }
}

pub fn open(disk: &Disk, options: &Options) -> Result<Arc<Backend>, Error> {
    let [file, journal] = disk.open();
    Backend::open_on(file, journal, "torture", options, TestClock::at(NOW), Metrics::default())
}

struct Run {
    random: fastrand::Rng,
    disk: Disk,
    /// What was acknowledged.
    model: Model,
    /// What stands instead if the one call without an outcome took effect.
    unknown: Option<Model>,
    /// The disk was told to fail a read.
    reads_may_fail: bool,
    stamp: u64,
    counts: Counts,
}

impl Run {
    async fn lives(&mut self) {
        // A new file is made beside its place, and put there when it is whole: see `Backend::open`.
        open(&self.disk, &options(&mut self.random)).unwrap().close().await.unwrap();
        for _ in 0..self.random.u32(2..6) {
            let store = self.open().await;
            self.plan();
            let calls = self.random.u32(1..30);
            for _ in 0..calls {
                self.call(&*store).await;
                if store.health().is_err() && !self.disk.crashed() {
                    self.read_only(&store).await;
                }
                if self.disk.crashed() {
                    break;
                }
            }
            self.end(store).await;
        }
        self.disk.heal();
        let store = self.open().await;
        store.close().await.unwrap();
    }

    /// Something goes wrong in most lives.
    fn plan(&mut self) {
        let count = self.random.u32(1..40);
        let fault = match self.random.u32(..10) {
            0..=3 => Fault::Crash,
            4..=5 => Fault::WritesFail(count),
            6 => Fault::Full,
            7 => Fault::ReadFails,
            _ => return,
        };
        self.reads_may_fail |= fault == Fault::ReadFails;
        self.disk.plan(self.random.u32(..500), fault);
    }

    /// Opens the store, which may take several crashes, and finds what must be there.
    async fn open(&mut self) -> Arc<Backend> {
        for attempt in 0.. {
            // In the end it is left in peace.
            if attempt < 4 && self.random.bool() {
                let after = self.random.u32(..60);
                let fault = if self.random.bool() { Fault::Crash } else { Fault::WritesFail(after) };
                self.disk.plan(after, fault);
            }
            match open(&self.disk, &options(&mut self.random)) {
                Ok(store) if !self.disk.crashed() => {
                    self.disk.heal();
                    self.settle(&*store).await;
                    return store;
                }
                Ok(store) => drop(store),
                Err(Error::Unavailable(why)) => assert!(attempt < 20, "a healed disk is not opened: {why}"),
                Err(error) => panic!("a crash is no damage: {error}"),
            }
            if self.disk.crashed() {
                self.counts.crashes_in_recovery += 1;
            } else {
                self.counts.failed_openings += 1;
            }
            let power_went = self.disk.crashed() && self.random.u32(..4) > 0;
            self.disk.restart(power_went);
        }
        unreachable!("nothing goes wrong after four attempts")
    }

    async fn end(&mut self, store: Arc<Backend>) {
        if !self.disk.crashed() {
            match self.random.u32(..3) {
                // It ends well, unless something is wrong by now.
                0 => drop(store.close().await),
                1 => {
                    self.disk.plan(self.random.u32(..30), Fault::Crash);
                    drop(store.close().await);
                }
                _ => {}
            }
        }
        self.counts.crashes += 1;
        self.reads_may_fail = false;
        let power_went = self.random.u32(..4) > 0;
        self.disk.restart(power_went);
    }

    /// Finds what must be there; what was unknown is one or the other from now on.
    async fn settle(&mut self, store: &dyn Store) {
        let found = self.read(store, Consistency::Serial).await.expect("a healthy disk is read");
        if self.unknown.as_ref() == Some(&found) {
            self.kept();
        } else if self.unknown.take().is_some() {
            self.counts.unknown_lost += 1;
        }
        self.same(&found);
    }

    fn kept(&mut self) {
        if let Some(unknown) = self.unknown.take().filter(|unknown| *unknown != self.model) {
            self.counts.unknown_kept += 1;
            self.model = unknown;
        }
    }

    /// Whether that is what was acknowledged, said so that a difference can be read.
    fn same(&self, found: &Model) {
        for (at, value) in &self.model.rows {
            assert_eq!(found.rows.get(at).map(Bytes::len), Some(value.len()), "the row {at:?}");
        }
        for (at, mark) in &self.model.marks {
            assert_eq!(found.marks.get(at), Some(mark), "the mark {at:?}");
        }
        assert!(*found == self.model, "a row that was not acknowledged is there, or another value");
    }

    async fn read(&self, store: &dyn Store, consistency: Consistency) -> Result<Model, Error> {
        read(store, consistency).await
    }

    async fn call(&mut self, store: &dyn Store) {
        let call = self.make();
        let was_well = !self.disk.crashed() && self.unknown.is_none();
        let mut after = self.model.clone();
        let expected = after.apply(&call);
        let answer = match call {
            Call::Commit(batches) => {
                let outcomes = store.commit(batches).await;
                let unavailable = |outcome: &_| matches!(outcome, Outcome::Refused(Error::Unavailable(_)));
                if outcomes == expected {
                    let conflicts =
                        outcomes.iter().filter(|outcome| **outcome != Outcome::Applied).count() as u64;
                    self.counts.conflicts += conflicts;
                    self.counts.applied += outcomes.len() as u64 - conflicts;
                    Answer::Done
                } else if outcomes.iter().all(|outcome| matches!(outcome, Outcome::Unknown(_))) {
                    Answer::Unknown
                } else {
                    assert!(outcomes.iter().all(unavailable), "{outcomes:?} instead of {expected:?}");
                    Answer::Refused
                }
            }
            Call::Raise(raises) => Answer::of(store.raise(raises).await),
            Call::PutAll(rows) => Answer::of(store.put_all(rows).await),
        };
        match answer {
            Answer::Done => {
                assert!(was_well, "nothing is acknowledged while an outcome is unknown");
                self.model = after;
            }
            Answer::Unknown if was_well => self.unknown = Some(after),
            Answer::Unknown | Answer::Refused => self.counts.refused += 1,
        }
    }

    /// The store writes no more: reads go on and show what was acknowledged, writes are refused, and it comes back.
    async fn read_only(&mut self, store: &Arc<Backend>) {
        for attempt in 0.. {
            match self.read(&**store, Consistency::Committed).await {
                Ok(found) => {
                    // A commit may have failed at what comes after its last sync: then it is shown, and stays.
                    if self.unknown.as_ref() == Some(&found) {
                        self.kept();
                    }
                    self.same(&found);
                    self.counts.reads_while_read_only += 1;
                }
                Err(_) if self.reads_may_fail || self.disk.crashed() => self.counts.failed_reads += 1,
                Err(error) => panic!("reads go on without writes: {error}"),
            }
            if self.disk.crashed() {
                return;
            }
            let put = put(b"refused", Bytes::from_static(b"never"));
            let batch =
                Batch { partition: place(Space::State, 0), checks: vec![], puts: vec![put], deletes: vec![] };
            let outcomes = store.commit(vec![batch]).await;
            assert!(matches!(outcomes[..], [Outcome::Refused(Error::Unavailable(_))]), "{outcomes:?}");
            self.counts.refused += 1;

            if attempt > 3 || self.random.bool() {
                self.disk.heal();
                self.reads_may_fail = false;
            } else if self.random.bool() {
                let after = self.random.u32(..80);
                self.disk
                    .plan(after, if self.random.bool() { Fault::Crash } else { Fault::WritesFail(after) });
            }
            match store.reopen().await {
                Ok(()) if self.disk.crashed() => return,
                Ok(()) => {
                    self.disk.heal();
                    self.reads_may_fail = false;
                    self.counts.reopened += 1;
                    return self.settle(&**store).await;
                }
                Err(Error::Unavailable(why)) => {
                    assert!(attempt < 20, "a healed disk is not opened anew: {why}");
                    self.counts.failed_reopenings += 1;
                }
                Err(error) => panic!("a disk that fails is no damage: {error}"),
            }
        }
    }

    fn make(&mut self) -> Call {
        match self.random.u32(..10) {
            0..=5 => {
                let count = self.random.usize(1..4);
                let mut places: Vec<u8> = (0..PLACES).collect();
                self.random.shuffle(&mut places);
                Call::Commit(places[..count].iter().map(|at| self.append(*at)).collect())
            }
            6 => Call::Commit(vec![self.removal()]),
            7..=8 => {
                let count = self.random.usize(1..5);
                Call::Raise((0..count).map(|_| self.rise()).collect())
            }
            _ => {
                let count = self.random.usize(1..6);
                let row = |run: &mut Self| {
                    let key = vec![b't', run.random.u8(..20)];
                    (place(Space::Ephemeral, run.random.u8(..PLACES)), put(&key, run.value(&key)))
                };
                Call::PutAll((0..count).map(|_| row(self)).collect())
            }
        }
    }

    /// As the typed tables append: conditional on the head, which is put together with the entries and client ids.
    fn append(&mut self, at: u8) -> Batch {
        let partition = place(Space::Log, at);
        let head = self.model.rows.get(&(partition.clone(), Bytes::from_static(b"h"))).cloned();
        let next = head.as_deref().map_or(1, |head| u64::from_be_bytes(head[4..12].try_into().unwrap()));
        let mut check = match head {
            Some(value) => Check::Equals(Row { key: Bytes::from_static(b"h"), value }),
            None => Check::Absent(Bytes::from_static(b"h")),
        };
        if self.random.u32(..12) == 0 {
            // From a shard that does not know of the last append.
            check = Check::Equals(Row { key: Bytes::from_static(b"h"), value: Bytes::from_static(b"stale") });
        }
        let count = self.random.u64(1..5);
        let mut puts = Vec::new();
        for seq in next..next + count {
            let entry = [&b"e"[..], &seq.to_be_bytes()].concat();
            puts.push(put(&entry, self.value(&entry)));
            let client = [&b"s"[..], &self.random.u128(..).to_be_bytes()].concat();
            puts.push(put(&client, sealed(&client, &seq.to_be_bytes())));
        }
        puts.push(put(b"h", sealed(b"h", &(next + count).to_be_bytes())));
        Batch { partition, checks: vec![check], puts, deletes: vec![] }
    }

    /// Removes some rows of a conversation, the newest included: its pages are free for others.
    fn removal(&mut self) -> Batch {
        let partition = place(Space::Log, self.random.u8(..PLACES));
        let keys = self.model.rows.keys().filter(|(at, key)| *at == partition && key[0] == b's');
        let deletes = keys.map(|(_, key)| key.clone()).filter(|_| self.random.bool()).collect();
        let note = put(b"note", self.value(b"note"));
        Batch { partition, checks: vec![], puts: vec![note], deletes }
    }

    fn rise(&mut self) -> Raise {
        let key = vec![b'k', self.random.u8(..4)];
        let version = self.random.u64(1..200);
        let value = sealed(&key, &version.to_be_bytes());
        Raise { partition: place(Space::State, self.random.u8(..PLACES)), key: key.into(), version, value }
    }

    fn value(&mut self, key: &[u8]) -> Bytes {
        self.stamp += 1;
        let length = match self.random.u32(..40) {
            0 => self.random.usize(100_000..400_000),
            1..=4 => self.random.usize(3_000..30_000),
            _ => self.random.usize(8..300),
        };
        let mut payload = vec![self.random.u8(..); length];
        payload[..8].copy_from_slice(&self.stamp.to_be_bytes());
        sealed(key, &payload)
    }
}

enum Answer {
    Done,
    Unknown,
    Refused,
}

impl Answer {
    /// What may be repeated is not told apart: it was refused, or its fate is not known.
    fn of(result: Result<(), Error>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(Error::Unavailable(_)) => Self::Unknown,
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn place(space: Space, number: u8) -> Partition {
    Partition { space, name: Bytes::from(vec![b'p', number]) }
}

fn put(key: &[u8], value: Bytes) -> Put {
    Put { row: Row { key: Bytes::copy_from_slice(key), value }, expires_at: None }
}

/// A value that tells whether it is one, and stands where it was put: as records do.
fn sealed(key: &[u8], payload: &[u8]) -> Bytes {
    let sum = crc32c::crc32c_append(crc32c::crc32c(key), payload);
    Bytes::from([&sum.to_be_bytes()[..], payload].concat())
}

/// Whether the value is one that was put under that key.
pub fn is_sealed(key: &[u8], value: &[u8]) -> bool {
    value.split_first_chunk().is_some_and(|(sum, payload)| {
        u32::from_be_bytes(*sum) == crc32c::crc32c_append(crc32c::crc32c(key), payload)
    })
}

/// Everything that the store shows.
pub async fn read(store: &dyn Store, consistency: Consistency) -> Result<Model, Error> {
    let mut found = Model::default();
    for space in [Space::Log, Space::State, Space::Ephemeral] {
        for number in 0..PLACES {
            let partition = place(space, number);
            let scan = Scan {
                partition: partition.clone(),
                from: Bound::Unbounded,
                to: Bound::Unbounded,
                direction: if number % 2 == 0 { Direction::Forward } else { Direction::Backward },
                limit: usize::MAX,
                consistency,
            };
            for row in store.scan(scan).await? {
                found.rows.insert((partition.clone(), row.key), row.value);
            }
            for (key, version, value) in store.marks(partition.clone(), Bytes::new()).await? {
                found.marks.insert((partition.clone(), key), (version, value));
            }
        }
    }
    Ok(found)
}

/// A workload on a disk that does nothing wrong: what is stored, and the bytes of file and journal, closed.
pub fn closed_file(seed: u64, options: &Options) -> (Model, [Vec<u8>; 2]) {
    let mut run = Run {
        random: fastrand::Rng::with_seed(seed),
        disk: Disk::new(seed),
        model: Model::default(),
        unknown: None,
        reads_may_fail: false,
        stamp: 0,
        counts: Counts::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = open(&run.disk, options).unwrap();
        for _ in 0..40 {
            run.call(&*store).await;
        }
        store.close().await.unwrap();
    });
    (run.model, run.disk.bytes())
}
