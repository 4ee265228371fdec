//! Fuzzing on the stable toolchain: inputs made from valid ones by small changes, within a bound of memory.
//!
//! It owns the loop: which inputs are tried, for how long, how one that fails is made smaller and kept. It refuses to
//! know any format; a [`Target`] names valid inputs and checks one. To add a target, write one file beside those in
//! `tests/all/` and name it in `main.rs`.
//!
//! Each target runs for [`SECONDS`], or for `GODWIT_FUZZ_S` seconds. What failed is written to
//! `corpus/TARGET/HASH` and tried first from then on; commit it with the mend.
//!
//! Start with [`run`].

pub mod memory;
mod mutate;

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a target runs in the short form.
const SECONDS: u64 = 10;
/// How many inputs are tried between two looks at the clock.
const CASES: u32 = 512;
/// What a reader may allocate whatever the input, in bytes.
const MEMORY_MIN: usize = 64 << 10;
/// What it may allocate for each byte of the input.
const MEMORY_PER_BYTE: usize = 256;

/// Something that reads bytes from outside.
pub trait Target {
    /// What its corpus is called.
    const NAME: &'static str;

    /// Valid inputs, as different as there are, from which others are made.
    fn valid(&self) -> Vec<Vec<u8>>;

    /// Words that mean something in the format: mutations put them in.
    fn words(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Reads an input; a panic says that a promise was broken.
    fn check(&self, input: &[u8]);
}

/// Tries the corpus, the valid inputs, and then changed ones until the time is over.
///
/// # Panics
/// An input breaks a promise; the smallest one that was found is kept in the corpus.
pub fn run<T: Target>(target: &T) {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(T::NAME);
    let mut seeds = kept(&corpus);
    seeds.extend(target.valid());
    assert!(!seeds.is_empty(), "a target has valid inputs");
    for seed in &seeds {
        if let Err(why) = try_one(target, seed) {
            panic!("{}: an input that was known breaks a promise: {why}", T::NAME);
        }
    }
    let seconds =
        std::env::var("GODWIT_FUZZ_S").ok().map(|text| text.parse().expect("GODWIT_FUZZ_S is a number"));
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(SECONDS));
    let inputs = mutate::inputs(seeds, target.words());
    let mut tried = 0u64;
    for round in 0.. {
        if Instant::now() >= end {
            break;
        }
        let config = Config {
            cases: CASES,
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(round),
            ..Config::default()
        };
        let check = |input: Vec<u8>| try_one(target, &input).map_err(TestCaseError::fail);
        match TestRunner::new(config).run(&inputs, check) {
            Ok(()) => tried += u64::from(CASES),
            Err(TestError::Fail(why, input)) => {
                let path = keep(&corpus, &input);
                panic!("{}: {} breaks a promise: {why}", T::NAME, path.display());
            }
            Err(TestError::Abort(why)) => panic!("{}: {why}", T::NAME),
        }
    }
    eprintln!("{}: {tried} inputs", T::NAME);
}

/// Why an input breaks a promise, if it does.
fn try_one(target: &impl Target, input: &[u8]) -> Result<(), String> {
    let checked = memory::peak(|| catch_unwind(AssertUnwindSafe(|| target.check(input))));
    let (result, peak) = checked;
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        return Err(text
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it panicked")
            .to_owned());
    }
    let max = MEMORY_MIN + MEMORY_PER_BYTE * input.len();
    if peak > max {
        return Err(format!("{peak} bytes were allocated for {} of input, the limit is {max}", input.len()));
    }
    Ok(())
}

fn kept(corpus: &Path) -> Vec<Vec<u8>> {
    let Ok(files) = std::fs::read_dir(corpus) else { return Vec::new() };
    let mut paths: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

fn keep(corpus: &Path, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = corpus.join(format!("{:016x}", hasher.finish()));
    let written = std::fs::create_dir_all(corpus).and_then(|()| std::fs::write(&path, input));
    if let Err(error) = written {
        eprintln!("the input cannot be kept in {}: {error}; it is {}", path.display(), input.escape_ascii());
    }
    path
}
