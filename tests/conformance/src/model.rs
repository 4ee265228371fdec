//! Random calls against a map in memory that does the same.

use crate::{NOW, Subject, TestClock, bytes, partition, whole};
use bytes::Bytes;
use godwit_domain::{
    time::{Clock, Ms},
    waist::{Batch, Check, Direction, Outcome, Partition, Put, Raise, Row, Scan, Space, Store},
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::{cell::RefCell, collections::BTreeMap, ops::Bound};
use tokio::{runtime::Handle, task::block_in_place};

#[derive(Debug, Clone)]
enum Call {
    Commit(Vec<Batch>),
    PutAll(Vec<(Partition, Put)>),
    Raise(Vec<Raise>),
    Scan(Scan),
    Advance(u64),
}

/// What a store is, without a disk.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(Partition, Bytes), (Bytes, Option<Ms>)>,
    marks: BTreeMap<(Partition, Bytes), (u64, Bytes)>,
}

impl Model {
    fn find(&self, partition: &Partition, key: &Bytes, now: Ms) -> Option<&Bytes> {
        let (value, expires_at) = self.rows.get(&(partition.clone(), key.clone()))?;
        expires_at.is_none_or(|at| at > now).then_some(value)
    }

    fn put(&mut self, partition: &Partition, put: Put) {
        self.rows.insert((partition.clone(), put.row.key), (put.row.value, put.expires_at));
    }

    fn commit(&mut self, batch: Batch, now: Ms) -> Outcome {
        let at = &batch.partition;
        let mut conflict = None;
        for check in &batch.checks {
            let (key, expected) = match check {
                Check::Absent(key) => (key, None),
                Check::Equals(row) => (&row.key, Some(&row.value)),
            };
            let found = self.find(at, key, now);
            if found != expected {
                let row = found.map(|value| Row { key: key.clone(), value: value.clone() });
                conflict.get_or_insert_with(Vec::new).extend(row);
            }
        }
        if let Some(rows) = conflict {
            return Outcome::Conflict(rows);
        }
        batch.puts.into_iter().for_each(|put| self.put(at, put));
        for key in batch.deletes {
            self.rows.remove(&(at.clone(), key));
        }
        Outcome::Applied
    }

    fn raise(&mut self, raise: Raise) {
        let mark =
            self.marks.entry((raise.partition, raise.key)).or_insert((raise.version, raise.value.clone()));
        if raise.version > mark.0 {
            *mark = (raise.version, raise.value);
        }
    }

    fn scan(&self, scan: &Scan, now: Ms) -> Vec<Row> {
        let inside = |key: &Bytes| {
            let above = match &scan.from {
                Bound::Included(from) => key >= from,
                Bound::Excluded(from) => key > from,
                Bound::Unbounded => true,
            };
            let below = match &scan.to {
                Bound::Included(to) => key <= to,
                Bound::Excluded(to) => key < to,
                Bound::Unbounded => true,
            };
            above && below
        };
        let live = |((at, key), (value, expires_at)): (&(Partition, Bytes), &(Bytes, Option<Ms>))| {
            let shown = *at == scan.partition && inside(key) && expires_at.is_none_or(|at| at > now);
            shown.then(|| Row { key: key.clone(), value: value.clone() })
        };
        let mut rows: Vec<_> = self.rows.iter().filter_map(live).collect();
        if scan.direction == Direction::Backward {
            rows.reverse();
        }
        rows.truncate(scan.limit);
        rows
    }
}

const PLACES: [(Space, &str); 4] =
    [(Space::Log, "p"), (Space::State, "p"), (Space::State, "pp"), (Space::Ephemeral, "p")];

fn places() -> impl Strategy<Value = Partition> {
    (0..PLACES.len()).prop_map(|index| partition(PLACES[index].0, PLACES[index].1))
}

fn keys() -> impl Strategy<Value = Bytes> {
    vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 1..3).prop_map(Bytes::from)
}

fn values() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just("").boxed(), Just("1").boxed(), Just("2").boxed()].prop_map(bytes)
}

fn puts() -> impl Strategy<Value = Put> {
    let ends = proptest::option::weighted(0.3, (0..40_u64).prop_map(Ms));
    (keys(), values(), ends).prop_map(|(key, value, expires_at)| Put { row: Row { key, value }, expires_at })
}

/// A put and a delete of the same key in one batch have no order, so that batches with both are left out.
fn batches() -> impl Strategy<Value = Batch> {
    let check = prop_oneof![
        keys().prop_map(Check::Absent),
        (keys(), values()).prop_map(|(key, value)| Check::Equals(Row { key, value })),
    ];
    (places(), vec(check, 0..3), vec(puts(), 0..4), vec(keys(), 0..3)).prop_map(
        |(partition, checks, puts, mut deletes)| {
            deletes.retain(|key| puts.iter().all(|put| put.row.key != *key));
            Batch { partition, checks, puts, deletes }
        },
    )
}

fn calls() -> impl Strategy<Value = Call> {
    let bound = || {
        prop_oneof![
            Just(Bound::Unbounded),
            keys().prop_map(Bound::Included),
            keys().prop_map(Bound::Excluded)
        ]
    };
    let direction = prop_oneof![Just(Direction::Forward), Just(Direction::Backward)];
    let raise = (places(), keys(), 0..9_u64).prop_map(|(partition, key, version)| Raise {
        partition,
        key,
        version,
        value: bytes(&version.to_string()),
    });
    prop_oneof![
        4 => vec(batches(), 1..6).prop_map(Call::Commit),
        1 => vec((places(), puts()), 1..4).prop_map(Call::PutAll),
        1 => vec(raise, 1..4).prop_map(Call::Raise),
        2 => (places(), bound(), bound(), direction, 0..6_usize).prop_map(
            |(at, from, to, direction, limit)| Call::Scan(Scan { from, to, direction, limit, ..whole(&at) })
        ),
        1 => (1..20_u64).prop_map(Call::Advance),
    ]
}

/// After every call the store and the map have answered alike and hold the same.
pub async fn random_calls_do_what_a_map_would_do(subject: &mut impl Subject) {
    let clock = TestClock::at(NOW);
    let store = subject.open(clock.clone()).await;
    let model = RefCell::new(Model::default());
    let config = Config { cases: 32, failure_persistence: None, ..Config::default() };
    let result = block_in_place(|| {
        TestRunner::new(config).run(&vec(calls(), 1..24), |calls| {
            let mut model = model.borrow_mut();
            Handle::current().block_on(async {
                // A case begins with no rows; marks cannot be removed and stay, here and there.
                empty(&*store).await;
                model.rows.clear();
                let start = clock.now();
                for call in calls {
                    run(&*store, &mut model, &clock, start, call).await;
                    compare(&*store, &model, clock.now()).await;
                }
            });
            Ok(())
        })
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

async fn run(store: &dyn Store, model: &mut Model, clock: &TestClock, start: Ms, call: Call) {
    // Ends were made relative to the start of the case.
    let rebase = |put: &mut Put| put.expires_at = put.expires_at.map(|end| start.plus(end.0));
    let now = clock.now();
    match call {
        Call::Commit(mut batches) => {
            batches.iter_mut().flat_map(|batch| &mut batch.puts).for_each(rebase);
            let outcomes = store.commit(batches.clone()).await;
            let expected: Vec<_> = batches.into_iter().map(|batch| model.commit(batch, now)).collect();
            assert_eq!(outcomes, expected);
        }
        Call::PutAll(mut rows) => {
            rows.iter_mut().for_each(|(_, put)| rebase(put));
            assert_eq!(store.put_all(rows.clone()).await, Ok(()));
            rows.into_iter().for_each(|(partition, put)| model.put(&partition, put));
        }
        Call::Raise(raises) => {
            assert_eq!(store.raise(raises.clone()).await, Ok(()));
            raises.into_iter().for_each(|raise| model.raise(raise));
        }
        Call::Scan(scan) => {
            assert_eq!(store.scan(scan.clone()).await, Ok(model.scan(&scan, now)), "{scan:?}");
        }
        Call::Advance(ms) => clock.advance(ms),
    }
}

async fn compare(store: &dyn Store, model: &Model, now: Ms) {
    for (space, name) in PLACES {
        let at = partition(space, name);
        let scan = whole(&at);
        assert_eq!(
            store.scan(scan.clone()).await,
            Ok(model.scan(&scan, now)),
            "the rows of {space:?} {name}"
        );
        let marks = model.marks.iter().filter(|((partition, _), _)| *partition == at);
        let marks: Vec<_> =
            marks.map(|((_, key), (version, value))| (key.clone(), *version, value.clone())).collect();
        assert_eq!(store.marks(at, Bytes::new()).await, Ok(marks), "the marks of {space:?} {name}");
    }
}

async fn empty(store: &dyn Store) {
    let bytes = [0, 1, 255];
    let one = bytes.iter().map(|a| Bytes::from(vec![*a]));
    let two = bytes.iter().flat_map(|a| bytes.map(|b| Bytes::from(vec![*a, b])));
    let deletes: Vec<_> = one.chain(two).collect();
    let batch = |(space, name)| Batch {
        partition: partition(space, name),
        checks: vec![],
        puts: vec![],
        deletes: deletes.clone(),
    };
    let outcomes = store.commit(PLACES.map(batch).to_vec()).await;
    assert_eq!(outcomes, [const { Outcome::Applied }; PLACES.len()]);
}
