//! Runs of several users with several devices against the real core and the real storage, beside a sequential model.
//!
//! [`op`] says what may happen, [`world`] lets it happen, [`rules`] and [`reads`] say what the protocol makes of it,
//! and [`device`] is a client that keeps what it is told. A run fails where a reply cannot be explained by any order
//! of what was asked, where a device is told what it may not be told, or where it ends with anything but what the
//! model says.
//!
//! `GODWIT_MODEL_CASES` asks for more runs than the short form (10,000 is the long form), `GODWIT_SEED` for
//! another first one. The same seed is the same run. A failure is printed with its seed, shrunk; it is kept as a case
//! of its own in [`regressions`], not as a seed, which would be another run as soon as the strategy changes.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod op;
mod request;
mod same;
mod state;
mod rules;
mod reads;
mod device;
mod host;
mod line;
mod world;
mod resolve;
mod regressions;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Runs of the short form.
const CASES: u64 = 200;
/// Steps of a run, at most.
const STEPS_MAX: usize = 60;
/// How often progress is told.
const PROGRESS_EVERY: u64 = 500;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}: {value}")))
}

#[test]
fn every_run_is_explained_by_the_model() {
    let (first, cases) = (setting("GODWIT_SEED", 1), setting("GODWIT_MODEL_CASES", CASES));
    for (done, seed) in (first..first + cases).enumerate() {
        if done > 0 && (done as u64).is_multiple_of(PROGRESS_EVERY) {
            eprintln!("{done} of {cases} runs");
        }
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config =
            Config { cases: 1, failure_persistence: None, max_shrink_iters: 3_000, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let ran = runner
            .run(&op::runs(STEPS_MAX), |ops| world::World::new().run(&ops).map_err(TestCaseError::fail));
        match ran {
            Ok(()) => {}
            Err(TestError::Fail(why, ops)) => panic!(
                "seed {seed}: {why}\n--- the run, shrunk:\n{ops:#?}\nGODWIT_SEED={seed} GODWIT_MODEL_CASES=1 repeats it"
            ),
            Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
        }
    }
}
