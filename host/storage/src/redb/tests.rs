//! The backend against the waist's contract, and against disks that fail.

use super::*;
use ::redb::{ReadableTableMetadata, backends::InMemoryBackend};
use godwit_conformance::{Subject, TestClock};
use godwit_domain::waist::Space;
use std::{
    io,
    sync::{
        Condvar,
        atomic::{AtomicBool, Ordering},
    },
};

const NOW: Ms = Ms(1_800_000_000_000);

/// A data folder and what is open in it.
struct Folder {
    folder: tempfile::TempDir,
    open: Option<Arc<Backend>>,
}

impl Folder {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), open: None }
    }
}

#[async_trait]
impl Subject for Folder {
    async fn open(&mut self, clock: Arc<TestClock>) -> Arc<dyn Store> {
        if let Some(open) = self.open.take() {
            open.close().await.unwrap();
        }
        let backend = open_folder(&self.folder, clock).unwrap();
        self.open = Some(backend.clone());
        backend
    }
}

fn open_folder(folder: &tempfile::TempDir, clock: Arc<dyn Clock>) -> Result<Arc<Backend>, Error> {
    Backend::open(folder.path(), &Options::default(), clock, Metrics::default())
}

mod contract {
    godwit_conformance::tests!(super::Folder::new());
}

/// Bytes in memory that outlive the store, its file (0) and its journal (1), on a disk that can be made to stand still
/// or to fail.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<DiskState>, usize);

#[derive(Debug, Default)]
struct DiskState {
    bytes: [InMemoryBackend; 2],
    fails: AtomicBool,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    waiting: usize,
}

impl Disk {
    fn fail(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::SeqCst);
    }

    /// Lets no sync through from now on.
    fn hold(&self) {
        lock(&self.0.gate).closed = true;
    }

    /// Waits until a sync stands at the gate. Blocks.
    fn wait_for_sync(&self) {
        let gate = lock(&self.0.gate);
        drop(self.0.moved.wait_while(gate, |gate| gate.waiting == 0).unwrap());
    }

    fn release(&self) {
        lock(&self.0.gate).closed = false;
        self.0.moved.notify_all();
    }

    fn check(&self) -> io::Result<()> {
        if self.0.fails.load(Ordering::SeqCst) { Err(io::Error::other("the disk is full")) } else { Ok(()) }
    }

    fn open(&self) -> Result<Arc<Backend>, Error> {
        self.open_with(&Options::default(), TestClock::at(NOW), Metrics::default())
    }

    fn open_with(
        &self,
        options: &Options,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Arc<Backend>, Error> {
        Backend::open_on(self.clone(), Self(self.0.clone(), 1), "memory", options, clock, metrics)
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.0.bytes[self.1].len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.bytes[self.1].read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.0.bytes[self.1].set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check()?;
        let mut gate = lock(&self.0.gate);
        gate.waiting += 1;
        self.0.moved.notify_all();
        gate = self.0.moved.wait_while(gate, |gate| gate.closed).unwrap();
        gate.waiting -= 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.0.bytes[self.1].write(offset, data)
    }
}

fn here() -> Partition {
    Partition { space: Space::State, name: Bytes::from_static(b"here") }
}

fn put(key: &'static str, expires_at: Option<Ms>) -> Put {
    Put { row: Row { key: Bytes::from_static(key.as_bytes()), value: Bytes::from_static(b"v") }, expires_at }
}

fn batch(key: &'static str) -> Batch {
    Batch { partition: here(), checks: vec![], puts: vec![put(key, None)], deletes: vec![] }
}

async fn stands(store: &dyn Store, key: &'static str) -> bool {
    let found = store.get(here(), Bytes::from_static(key.as_bytes()), Consistency::Committed).await;
    found.unwrap().is_some()
}

#[tokio::test]
async fn a_second_opener_is_refused_by_the_name_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = open_folder(&folder, TestClock::at(NOW)).unwrap();
    let error = open_folder(&folder, TestClock::at(NOW)).err().unwrap().to_string();
    let named = folder.path().display().to_string();
    assert!(error.contains("in use by another process") && error.contains(&named), "{error}");
    first.close().await.unwrap();
    open_folder(&folder, TestClock::at(NOW)).unwrap().close().await.unwrap();
}

#[tokio::test]
async fn a_file_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::create(folder.path().join(FILE)).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(rows::FORMAT).unwrap().insert("format", 99).unwrap();
    transaction.commit().unwrap();
    database.close().unwrap();
    let error = open_folder(&folder, TestClock::at(NOW)).err().unwrap();
    assert!(matches!(&error, Error::Corrupt(text) if text.contains("format 99")), "{error}");
}

#[test]
fn bytes_that_are_no_store_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), [7; 5_000]).unwrap();
    let error = open_folder(&folder, TestClock::at(NOW)).err().unwrap().to_string();
    assert!(error.contains(&folder.path().display().to_string()), "{error}");
}

#[test]
fn options_of_zero_are_refused_by_name() {
    let options = Options { group_changes_max: 0, ..Options::default() };
    let error = Disk::default().open_with(&options, TestClock::at(NOW), Metrics::default()).err().unwrap();
    assert!(matches!(&error, Error::Invalid(text) if text.contains("group_changes_max is 0")), "{error}");
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_file_before_it_is_closed() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open_folder(&folder, TestClock::at(NOW)).unwrap();
    assert_eq!(store.commit(vec![batch("a")]).await, [Outcome::Applied]);
    // What a kill at this moment would leave.
    std::fs::copy(folder.path().join(FILE), copy.path().join(FILE)).unwrap();
    let without = open_folder(&copy, TestClock::at(NOW)).err();
    assert!(
        matches!(&without, Some(Error::Corrupt(why)) if why.contains("godwit.journal is missing")),
        "{without:?}"
    );
    std::fs::copy(folder.path().join(JOURNAL_FILE), copy.path().join(JOURNAL_FILE)).unwrap();
    let left = open_folder(&copy, TestClock::at(NOW)).unwrap();
    assert!(stands(&*left, "a").await);
    left.close().await.unwrap();
    store.close().await.unwrap();
}

/// Settings under which the file is opened anew only when it is asked for.
fn by_hand() -> Options {
    Options { reopen_after_ms: u64::MAX, ..Options::default() }
}

fn elsewhere() -> Partition {
    Partition { space: Space::State, name: Bytes::from_static(b"elsewhere") }
}

#[tokio::test]
async fn after_a_failed_write_reads_go_on_and_writes_are_refused_until_the_file_is_opened_anew() {
    let (disk, metrics) = (Disk::default(), Metrics::default());
    let store = disk.open_with(&by_hand(), TestClock::at(NOW), metrics.clone()).unwrap();
    assert_eq!(store.commit(vec![batch("a")]).await, [Outcome::Applied]);
    assert_eq!((store.health(), metrics.read_only.get()), (Ok(()), 0));

    disk.fail(true);
    let outcomes = store.commit(vec![batch("b"), batch("c")]).await;
    assert!(matches!(&outcomes[..], [Outcome::Unknown(_), Outcome::Unknown(_)]), "{outcomes:?}");
    assert_eq!(metrics.read_only.get(), 1);
    let why = store.health().unwrap_err();
    assert!(why.contains("read-only") && why.contains("disk is full"), "{why}");
    assert!(store.reopen().await.is_err(), "the disk still fails");
    disk.fail(false);

    // The disk is well again, and still nothing is written: what it holds is not known.
    let outcomes = store.commit(vec![batch("d")]).await;
    let [Outcome::Refused(Error::Unavailable(why))] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(why.contains("read-only"), "{why}");
    assert!(matches!(store.put_all(vec![(here(), put("d", None))]).await, Err(Error::Unavailable(_))));
    // What was acknowledged is read; what is unknown is not shown, nor settled.
    assert!(stands(&*store, "a").await && !stands(&*store, "b").await);
    let serial = |at: Partition| store.get(at, Bytes::from_static(b"a"), Consistency::Serial);
    assert!(matches!(serial(here()).await, Err(Error::Unavailable(_))));
    assert_eq!(serial(elsewhere()).await, Ok(None), "nothing is unknown there");

    assert_eq!(store.reopen().await, Ok(()));
    assert_eq!((store.health(), metrics.read_only.get(), metrics.reopened.get()), (Ok(()), 0, 1));
    assert!(serial(here()).await.is_ok());
    assert!(stands(&*store, "a").await && !stands(&*store, "d").await);
    assert_eq!(stands(&*store, "b").await, stands(&*store, "c").await, "one transaction");
    assert_eq!(store.commit(vec![batch("d")]).await, [Outcome::Applied]);
    store.close().await.unwrap();

    let store = disk.open().unwrap();
    assert!(stands(&*store, "a").await && stands(&*store, "d").await);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_comes_back_by_itself_once_the_disk_is_well() {
    let disk = Disk::default();
    let options = Options { reopen_after_ms: 1, reopen_after_ms_max: 4, ..Options::default() };
    let store = disk.open_with(&options, TestClock::at(NOW), Metrics::default()).unwrap();
    disk.fail(true);
    assert!(matches!(store.commit(vec![batch("a")]).await[..], [Outcome::Unknown(_)]));
    disk.fail(false);
    while store.health().is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.commit(vec![batch("b")]).await, [Outcome::Applied]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_store_that_failed_is_closed_like_any_other() {
    let disk = Disk::default();
    let store = disk.open_with(&by_hand(), TestClock::at(NOW), Metrics::default()).unwrap();
    disk.fail(true);
    assert!(matches!(store.commit(vec![batch("a")]).await[..], [Outcome::Unknown(_)]));
    let _ = store.close().await;
    assert!(store.reopen().await.is_err());
    disk.fail(false);
    disk.open().unwrap().close().await.unwrap();
}

/// A host that was killed while it made its file never started again: redb takes what is not whole for damaged.
#[tokio::test]
async fn a_file_whose_making_was_cut_off_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(format!("{FILE}.new")), [0; 5_000]).unwrap();
    open_folder(&folder, TestClock::at(NOW)).unwrap().close().await.unwrap();
    assert!(!folder.path().join(format!("{FILE}.new")).exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_wait_for_a_sync_are_committed_as_one_group() {
    const WAITING: usize = 50;
    let (disk, metrics) = (Disk::default(), Metrics::default());
    let store = disk.open_with(&Options::default(), TestClock::at(NOW), metrics.clone()).unwrap();
    let commit = |key| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(vec![batch(key)]).await })
    };

    disk.hold();
    let first = commit("first");
    let at_the_gate = disk.clone();
    tokio::task::spawn_blocking(move || at_the_gate.wait_for_sync()).await.unwrap();
    let waiting: Vec<_> = (0..WAITING).map(|_| commit("second")).collect();
    while metrics.queue_depth.get() < WAITING as i64 {
        tokio::task::yield_now().await;
    }
    assert!(!first.is_finished(), "nothing is acknowledged before it is durable");
    disk.release();

    assert_eq!(first.await.unwrap(), [Outcome::Applied]);
    for outcomes in waiting {
        assert_eq!(outcomes.await.unwrap(), [Outcome::Applied]);
    }
    assert_eq!(metrics.commits.get(), 2);
    assert_eq!(metrics.queue_depth.get(), 0);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_answers_what_waits_and_refuses_what_comes_later() {
    let (disk, metrics) = (Disk::default(), Metrics::default());
    let store = disk.open_with(&Options::default(), TestClock::at(NOW), metrics.clone()).unwrap();
    disk.hold();
    let commit = |key| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(vec![batch(key)]).await })
    };
    let mut waiting = vec![commit("a")];
    let at_the_gate = disk.clone();
    tokio::task::spawn_blocking(move || at_the_gate.wait_for_sync()).await.unwrap();
    waiting.extend(["b", "c"].map(commit));
    while metrics.queue_depth.get() < 2 {
        tokio::task::yield_now().await;
    }
    let closing = tokio::spawn({
        let store = store.clone();
        async move { store.close().await }
    });
    disk.release();
    for outcomes in waiting {
        assert_eq!(outcomes.await.unwrap(), [Outcome::Applied]);
    }
    closing.await.unwrap().unwrap();

    let outcomes = store.commit(vec![batch("late")]).await;
    assert!(matches!(&outcomes[..], [Outcome::Refused(Error::Unavailable(_))]), "{outcomes:?}");
    let read = store.get(here(), Bytes::from_static(b"a"), Consistency::Committed).await;
    assert!(matches!(read, Err(Error::Unavailable(_))), "{read:?}");
    assert!(store.health().unwrap_err().contains("closed"));
    store.close().await.unwrap();

    let store = disk.open().unwrap();
    assert!(stands(&*store, "a").await && stands(&*store, "c").await && !stands(&*store, "late").await);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sweeper_removes_what_has_ended_and_nothing_else() {
    let (clock, metrics) = (TestClock::at(NOW), Metrics::default());
    let disk = Disk::default();
    // The steps are made by hand.
    let options = Options { sweep_interval_ms: u64::MAX, ..Options::default() };
    let store = disk.open_with(&options, clock.clone(), metrics.clone()).unwrap();
    let ends = Some(NOW.plus(10));
    let rows = [put("a", ends), put("b", None), put("c", ends), put("d", Some(NOW.plus(11)))];
    store.put_all(rows.map(|put| (here(), put)).to_vec()).await.unwrap();
    let mark = Raise { partition: here(), key: Bytes::from_static(b"m"), version: 1, value: Bytes::new() };
    store.raise(vec![mark]).await.unwrap();

    let sweep = |rows_max| {
        let (database, calls, clock) =
            (store.current.database().unwrap(), store.calls.clone(), clock.clone());
        tokio::task::spawn_blocking(move || {
            let (mut after, mut steps) = (None, 0);
            loop {
                steps += 1;
                after = sweep::step(&database, &calls, &*clock, after, rows_max).unwrap();
                if after.is_none() {
                    return steps;
                }
            }
        })
    };
    clock.advance(9);
    sweep(100).await.unwrap();
    assert_eq!(metrics.swept_rows.get(), 0);
    clock.advance(1);
    assert!(sweep(2).await.unwrap() > 1, "a step looks at no more rows than it may");
    assert_eq!(metrics.swept_rows.get(), 2);
    assert!(stands(&*store, "b").await && stands(&*store, "d").await);
    assert!(store.mark(here(), Bytes::from_static(b"m")).await.unwrap().is_some());
    let table = store.current.database().unwrap().begin_read().unwrap().open_table(rows::ROWS).unwrap();
    assert_eq!(table.len().unwrap(), 3, "what has ended is gone from the file");
    drop(table);
    store.close().await.unwrap();
}
