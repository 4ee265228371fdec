//! Storage torture: the backend on a disk that tears, reorders and drops what was not synced, fails, and crashes.
//!
//! A seed makes the disk's moods and the workload, and the same seed makes the same run. What was acknowledged must be
//! there after any number of crashes, also in the midst of recovery or growth; what was refused must not; what was
//! unknown is settled one way or the other; batches are whole or absent; marks never go back.
//!
//! The short form runs with all other tests. The long form, with progress on standard error:
//! `GODWIT_TORTURE=10000 cargo test --release -p godwit-storage --test torture -- --nocapture`.
//! `GODWIT_SEED=n` begins with that seed instead of 0, so that a seed that failed is run alone with `GODWIT_TORTURE=1`.
//!
//! Start with [`life`] for a run, [`disk`] for what the disk does, [`flips`] for bits that change in a closed file.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod disk;
mod flips;
mod life;
mod model;

use std::time::Instant;

/// How many seeds the short form takes.
const SEEDS: u64 = 300;

/// Runs `one` for each seed of the form that was asked for.
fn each_seed(what: &str, short: u64, mut one: impl FnMut(u64)) {
    let number =
        |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("it is a number"));
    let (first, count) = (number("GODWIT_SEED").unwrap_or(0), number("GODWIT_TORTURE").unwrap_or(short));
    let began = Instant::now();
    for seed in first..first + count {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| one(seed)));
        assert!(run.is_ok(), "{what}: seed {seed} failed; GODWIT_SEED={seed} GODWIT_TORTURE=1 repeats it");
        let done = seed + 1 - first;
        if done % 500 == 0 {
            eprintln!("{what}: {done} of {count} seeds in {} s", began.elapsed().as_secs());
        }
    }
}

#[test]
fn what_was_acknowledged_survives_every_disk() {
    let mut sum = life::Counts::default();
    each_seed("torture", SEEDS, |seed| sum.add(&life::run(seed)));
    eprintln!("torture: {sum:?}");
    // A form of many seeds meets everything that this test is about.
    if sum.seeds >= SEEDS {
        for (name, count) in sum.all() {
            assert!(count > 0, "no run had any of: {name}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        let (first, second) = (life::run(seed), life::run(seed));
        assert_eq!(first.trace, second.trace, "the operations on the disk of seed {seed}");
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn a_bit_that_flips_in_a_closed_file_is_noticed_or_harmless() {
    let mut sum = flips::Counts::default();
    each_seed("flips", SEEDS, |seed| sum.add(flips::checked(seed)));
    eprintln!("flips in checked files: {sum:?}");
    assert_eq!(sum.missing, 0, "a checked file never lacks a row");
}

#[test]
fn a_bit_that_flips_in_a_file_too_large_to_check_shows_no_wrong_value() {
    let mut sum = flips::Counts::default();
    each_seed("flips, unchecked", SEEDS, |seed| sum.add(flips::unchecked(seed)));
    eprintln!("flips in unchecked files: {sum:?}");
}
