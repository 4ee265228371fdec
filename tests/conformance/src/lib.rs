//! The contract of the storage waist: every sentence of [`godwit_domain::waist`] as a check.
//!
//! It owns what a backend must do; it refuses to know any backend. A backend's own tests name a [`Subject`] and run
//! all checks with [`tests!`]; a backend that passes may stand under `godwit-storage`'s tables.
//!
//! Start with [`tests!`], which lists the checks, and [`Subject`], which is all that they ask.
//!
//! A backend writes `godwit_conformance::tests!(MySubject::new());` in a test module of its own. Time stands still in
//! the checks, until they move it:
//!
//! ```
//! use godwit_conformance::TestClock;
//! use godwit_domain::time::{Clock, Ms};
//!
//! let clock = TestClock::at(Ms(1_000));
//! clock.advance(5);
//! assert_eq!(clock.now(), Ms(1_005));
//! ```

pub mod commits;
pub mod durability;
pub mod expiry;
pub mod limits;
pub mod marks;
pub mod model;
pub mod reads;

use async_trait::async_trait;
use bytes::Bytes;
use godwit_domain::{
    time::{Clock, Ms},
    waist::{Batch, Check, Consistency, Direction, Outcome, Partition, Put, Row, Scan, Space, Store},
};
use std::{
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A backend under test, with storage of its own that begins empty.
#[async_trait]
pub trait Subject: Send {
    /// Opens the store; where it is open already, closes it first and opens what it left.
    async fn open(&mut self, clock: Arc<TestClock>) -> Arc<dyn Store>;
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct TestClock(AtomicU64);

impl TestClock {
    /// A clock that shows `now`.
    pub fn at(now: Ms) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(now.0)))
    }

    /// Moves it forward.
    pub fn advance(&self, ms: u64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Ms {
        Ms(self.0.load(Ordering::SeqCst))
    }
}

/// Makes one test of every check, each with a subject of its own: `tests!(expression that makes a subject)`.
#[macro_export]
macro_rules! tests {
    ($subject:expr) => {
        $crate::tests! { $subject =>
            reads::what_was_put_is_read_back
            reads::a_row_that_was_never_put_is_none
            reads::many_reads_answer_in_the_order_asked
            reads::rows_sort_by_key_bytewise
            reads::a_scan_keeps_its_bounds_both_ways
            reads::a_scan_stops_at_its_limit
            reads::a_scan_with_crossed_bounds_is_empty
            reads::partitions_and_spaces_do_not_mix
            commits::a_batch_is_applied_whole
            commits::a_conflict_writes_nothing_and_shows_what_stands
            commits::a_conflict_leaves_out_rows_that_do_not_exist
            commits::every_check_must_hold
            commits::checks_may_be_on_keys_that_are_not_written
            commits::equals_compares_the_whole_value
            commits::batches_of_a_call_are_applied_by_themselves
            commits::batches_of_one_partition_see_those_before_them
            commits::a_conflict_beside_what_is_applied_leaves_its_row_as_it_stood
            commits::a_call_without_batches_has_no_outcomes
            commits::a_large_call_keeps_its_order
            commits::concurrent_commits_lose_no_update
            commits::of_concurrent_claims_one_wins
            commits::a_delete_of_nothing_is_applied
            commits::put_all_writes_without_a_check_and_may_be_repeated
            expiry::a_row_is_hidden_from_its_end_on
            expiry::a_row_that_ended_is_absent_to_checks
            expiry::a_row_that_ended_is_not_counted_by_a_limit
            expiry::a_new_row_replaces_the_end_of_the_old_one
            marks::a_mark_keeps_its_highest_version
            marks::an_equal_version_does_not_replace_a_mark
            marks::marks_of_a_prefix_come_in_order
            marks::marks_and_rows_do_not_meet
            marks::concurrent_raises_end_at_the_highest
            limits::sizes_at_the_limit_are_stored
            limits::sizes_over_the_limit_are_refused_and_named
            limits::a_refused_batch_does_not_touch_the_others
            durability::what_was_acknowledged_survives_reopening
            durability::ends_and_versions_survive_reopening
            model::random_calls_do_what_a_map_would_do
        }
    };
    ($subject:expr => $($module:ident::$check:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                $crate::$module::$check(&mut $subject).await
            }
        )*
    };
}

/// When the checks take place.
const NOW: Ms = Ms(1_800_000_000_000);

async fn open(subject: &mut impl Subject) -> Arc<dyn Store> {
    subject.open(TestClock::at(NOW)).await
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn partition(space: Space, name: &str) -> Partition {
    Partition { space, name: bytes(name) }
}

fn here() -> Partition {
    partition(Space::State, "here")
}

fn row(key: &str, value: &str) -> Row {
    Row { key: bytes(key), value: bytes(value) }
}

fn put(key: &str, value: &str) -> Put {
    Put { row: row(key, value), expires_at: None }
}

fn put_until(key: &str, value: &str, expires_at: Ms) -> Put {
    Put { row: row(key, value), expires_at: Some(expires_at) }
}

fn absent(key: &str) -> Check {
    Check::Absent(bytes(key))
}

fn equals(key: &str, value: &str) -> Check {
    Check::Equals(row(key, value))
}

fn batch(partition: &Partition, checks: Vec<Check>, puts: Vec<Put>) -> Batch {
    Batch { partition: partition.clone(), checks, puts, deletes: vec![] }
}

async fn commit_one(store: &dyn Store, batch: Batch) -> Outcome {
    let outcomes = store.commit(vec![batch]).await;
    let [outcome] = <[Outcome; 1]>::try_from(outcomes).expect("one batch has one outcome");
    outcome
}

/// Writes rows without conditions, and expects that to work.
async fn fill(store: &dyn Store, partition: &Partition, rows: &[(&str, &str)]) {
    let puts = rows.iter().map(|(key, value)| put(key, value)).collect();
    assert_eq!(commit_one(store, batch(partition, vec![], puts)).await, Outcome::Applied);
}

async fn get(store: &dyn Store, partition: &Partition, key: &str) -> Option<String> {
    let found = store.get(partition.clone(), bytes(key), Consistency::Committed).await;
    let serial = store.get(partition.clone(), bytes(key), Consistency::Serial).await;
    assert_eq!(found, serial, "both consistencies see what was acknowledged");
    found.expect("the read is answered").map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn whole(partition: &Partition) -> Scan {
    Scan {
        partition: partition.clone(),
        from: Bound::Unbounded,
        to: Bound::Unbounded,
        direction: Direction::Forward,
        limit: usize::MAX,
        consistency: Consistency::Committed,
    }
}

async fn keys(store: &dyn Store, scan: Scan) -> Vec<String> {
    let rows = store.scan(scan).await.expect("the scan is answered");
    rows.iter().map(|row| String::from_utf8_lossy(&row.key).into_owned()).collect()
}
