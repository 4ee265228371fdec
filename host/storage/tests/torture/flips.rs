//! Bits that flip in a file that was closed.
//!
//! A file that is checked when it is opened is refused, or shows all that was put and nothing else. One that is too
//! large to be checked shows no value that its seal (the checksum of a record) does not give away; rows may be
//! missing from it, which the tables notice where a stream has a hole. Neither ends the process or hangs.

use crate::{
    disk::Disk,
    life::{self, is_sealed},
    model::Model,
};
use bytes::Bytes;
use godwit_domain::waist::{Batch, Consistency, Error, Outcome, Put, Row, Space, Store};
use godwit_storage::redb::Options;
use std::sync::OnceLock;

/// How many files are flipped in turn.
const FILES: usize = 8;
/// The header, where a bit means most, and what comes after it.
const HEAD_BYTES: usize = 8_192;

#[derive(Debug, Default)]
pub struct Counts {
    /// The file was refused.
    pub refused: u64,
    /// It was opened, and a read or write was not answered.
    pub unreadable: u64,
    /// Values that their seals gave away.
    pub given_away: u64,
    /// Rows and marks that were not there.
    pub missing: u64,
    /// Everything was there.
    pub harmless: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.refused += other.refused;
        self.unreadable += other.unreadable;
        self.given_away += other.given_away;
        self.missing += other.missing;
        self.harmless += other.harmless;
    }
}

fn options(check_bytes_max: u64) -> Options {
    Options {
        cache_bytes: 1 << 20,
        check_bytes_max,
        sweep_interval_ms: u64::MAX,
        reopen_after_ms: u64::MAX,
        ..Options::default()
    }
}

fn file(seed: u64) -> &'static (Model, [Vec<u8>; 2]) {
    static MADE: [OnceLock<(Model, [Vec<u8>; 2])>; FILES] = [const { OnceLock::new() }; FILES];
    let index = seed as usize % FILES;
    MADE[index].get_or_init(|| life::closed_file(index as u64, &options(0)))
}

/// Of a file that is checked when it is opened.
pub fn checked(seed: u64) -> Counts {
    let (model, found, mut counts) = flip(seed, u64::MAX);
    if let Some(found) = found {
        compare(model, &found, &mut counts);
        assert_eq!((counts.given_away, counts.missing), (0, 0), "a checked file is whole");
    }
    counts
}

/// Of a file that is trusted.
pub fn unchecked(seed: u64) -> Counts {
    let (model, found, mut counts) = flip(seed, 0);
    if let Some(found) = found {
        compare(model, &found, &mut counts);
    }
    counts
}

fn compare(model: &Model, found: &Model, counts: &mut Counts) {
    if found == model {
        counts.harmless += 1;
    }
    for ((partition, key), value) in &found.rows {
        if !is_sealed(key, value) {
            counts.given_away += 1;
        } else if model.rows.get(&(partition.clone(), key.clone())) != Some(value) {
            panic!("{partition:?} {key:?} has a value that is whole and wrong");
        }
    }
    for ((_, key), (_, value)) in &found.marks {
        counts.given_away += u64::from(!is_sealed(key, value));
    }
    counts.missing += model.rows.keys().filter(|at| !found.rows.contains_key(at)).count() as u64;
    counts.missing += model.marks.keys().filter(|at| !found.marks.contains_key(at)).count() as u64;
}

/// Flips a few bits, opens the file, reads all of it, and writes.
fn flip(seed: u64, check_bytes_max: u64) -> (&'static Model, Option<Model>, Counts) {
    let (model, bytes) = file(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = bytes.clone();
    // The journal of a closed file is empty.
    let reach = if random.u32(..3) == 0 { HEAD_BYTES } else { bytes[0].len() };
    for _ in 0..random.u32(1..4) {
        bytes[0][random.usize(..reach)] ^= 1 << random.u32(..8);
    }
    let mut counts = Counts::default();
    let store = match life::open(&Disk::of(bytes), &options(check_bytes_max)) {
        Ok(store) => store,
        Err(Error::Corrupt(_) | Error::Unavailable(_)) => {
            counts.refused += 1;
            return (model, None, counts);
        }
        Err(error) => panic!("{error}"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let found = runtime.block_on(async {
        let found = life::read(&*store, Consistency::Committed).await;
        let row = Row { key: Bytes::from_static(b"written"), value: Bytes::from_static(b"after") };
        let puts = vec![Put { row, expires_at: None }];
        let batch = Batch { partition: life::place(Space::Log, 0), checks: vec![], puts, deletes: vec![] };
        let outcomes = store.commit(vec![batch]).await;
        let answered = matches!(outcomes[..], [Outcome::Applied]);
        // Whatever became of it, the store ends like any other.
        let _ = store.reopen().await;
        let _ = store.close().await;
        counts.unreadable += u64::from(found.is_err() || !answered);
        found
    });
    (model, found.ok(), counts)
}
