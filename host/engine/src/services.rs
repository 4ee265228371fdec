//! What the host does for one plugin across its instances and versions: its log and its counters.
//!
//! It owns the ring of log lines and the sliding counters, both bounded, and refuses to know who calls.
//! Start with [`Private`]: what is one plugin's and no one else's.

use crate::{
    actor::copy::Copy,
    faults::{self, Fault},
    options::Options,
};
use godwit_domain::{
    plugin::LogLine,
    time::{Clock, Ms},
};
use lru::LruCache;
use parking_lot::Mutex;
use std::{
    collections::{VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
};

/// The longest window of a counter.
const WINDOW_MS_MAX: u32 = 3_600_000;

/// What belongs to one plugin: kept when its version changes, forgotten when it is removed.
pub(crate) struct Private {
    id: String,
    clock: Arc<dyn Clock>,
    log: Arc<Mutex<Log>>,
    rate: Mutex<Rate>,
    /// What filters see of its `kv`.
    pub(crate) kv: Arc<Copy>,
    /// The same for its actors.
    actors: OnceLock<Arc<Private>>,
}

impl Private {
    pub(crate) fn new(id: &str, options: &Options, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            clock,
            log: Arc::new(Mutex::new(Log::new(options))),
            rate: Mutex::new(Rate::new(options.rate_keys_max)),
            kv: Arc::default(),
            actors: OnceLock::new(),
        })
    }

    /// The same plugin for a version that only looks on: it writes into the same log, and counts for itself.
    pub(crate) fn aside(&self, options: &Options) -> Arc<Self> {
        Arc::new(Self {
            id: self.id.clone(),
            clock: self.clock.clone(),
            log: self.log.clone(),
            rate: Mutex::new(Rate::new(options.rate_keys_max)),
            kv: self.kv.clone(),
            actors: OnceLock::new(),
        })
    }

    /// The same plugin's for its actors: one log and one copy of its `kv`, and counters of their own, so that what
    /// filters are shown cannot leak through them.
    pub(crate) fn of_actors(self: &Arc<Self>, options: &Options) -> Arc<Self> {
        if faults::on(Fault::RateShared) {
            return self.clone();
        }
        let make = || {
            Arc::new(Self {
                id: self.id.clone(),
                clock: self.clock.clone(),
                log: self.log.clone(),
                rate: Mutex::new(Rate::new(options.rate_keys_max)),
                kv: self.kv.clone(),
                actors: OnceLock::new(),
            })
        };
        self.actors.get_or_init(make).clone()
    }

    /// Writes a line on behalf of `version`.
    pub(crate) fn log(&self, level: &'static str, version: &str, text: &str) {
        if self.log.lock().write(self.clock.now(), level, version, text) {
            tracing::debug!(target: "godwit::plugin", plugin = %self.id, version, level, "{text}");
        }
    }

    /// The lines after the `after`th that are still kept, oldest first.
    pub(crate) fn lines(&self, after: u64) -> Vec<LogLine> {
        let log = self.log.lock();
        log.lines.iter().filter(|line| line.n > after).cloned().collect()
    }

    pub(crate) fn hit(&self, key: &str, window_ms: u32) -> u32 {
        self.rate.lock().count(self.clock.now(), key, window_ms, 1)
    }

    pub(crate) fn peek(&self, key: &str, window_ms: u32) -> u32 {
        self.rate.lock().count(self.clock.now(), key, window_ms, 0)
    }

    pub(crate) fn now(&self) -> Ms {
        self.clock.now()
    }
}

/// The newest lines of a plugin. A flood costs the plugin its own lines, never memory.
struct Log {
    lines: VecDeque<LogLine>,
    written: u64,
    second: u64,
    in_second: u32,
    dropped: u64,
    lines_per_s: u32,
    line_bytes_max: usize,
    lines_kept: usize,
}

impl Log {
    fn new(options: &Options) -> Self {
        Self {
            lines: VecDeque::new(),
            written: 0,
            second: 0,
            in_second: 0,
            dropped: 0,
            lines_per_s: options.log_lines_per_s,
            line_bytes_max: options.log_line_bytes_max as usize,
            lines_kept: options.log_lines_kept as usize,
        }
    }

    /// Says whether the line was taken.
    fn write(&mut self, at: Ms, level: &'static str, version: &str, text: &str) -> bool {
        let second = at.0 / 1_000;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
            if self.dropped > 0 {
                let text =
                    format!("{} lines dropped, more than {} in a second", self.dropped, self.lines_per_s);
                self.dropped = 0;
                self.push(at, "warn", version, &text);
            }
        }
        if self.in_second == self.lines_per_s && !faults::on(Fault::LogUnbounded) {
            self.dropped += 1;
            return false;
        }
        self.in_second += 1;
        self.push(at, level, version, text);
        true
    }

    fn push(&mut self, at: Ms, level: &'static str, version: &str, text: &str) {
        self.written += 1;
        if self.lines.len() >= self.lines_kept {
            self.lines.pop_front();
        }
        let text = text[..text.floor_char_boundary(self.line_bytes_max)].to_owned();
        self.lines.push_back(LogLine { n: self.written, at, level, version: version.to_owned(), text });
    }
}

/// Sliding counters by key and window, each in [`SLOTS`] parts of its window.
///
/// Keys are held as keyed hashes, so that a counter costs the same whatever its key; that two keys of one plugin
/// meet in 64 bits is possible and harmless: the counters are approximate anyway.
struct Rate {
    counters: LruCache<u64, Counter>,
    hasher: RandomState,
}

/// Parts of a window: a count is right to one part of it.
const SLOTS: usize = 8;

#[derive(Default)]
struct Counter {
    /// Which part of time `counts` ends with.
    newest: u64,
    /// By part of time, modulo the number of slots.
    counts: [u32; SLOTS],
}

impl Rate {
    fn new(keys_max: u32) -> Self {
        let keys_max = NonZeroUsize::new(keys_max as usize).unwrap_or(NonZeroUsize::MIN);
        // Not allocated ahead: most plugins count by few keys.
        let mut counters = LruCache::unbounded();
        counters.resize(keys_max);
        Self { counters, hasher: RandomState::new() }
    }

    fn count(&mut self, now: Ms, key: &str, window_ms: u32, hits: u32) -> u32 {
        let window_ms = window_ms.clamp(1, WINDOW_MS_MAX);
        let hash = self.hasher.hash_one((key, window_ms));
        // In eighths of milliseconds, so that the shortest window has parts as well.
        let part = now.0 * SLOTS as u64 / u64::from(window_ms);
        let counter = match hits {
            0 => match self.counters.peek_mut(&hash) {
                Some(counter) => counter,
                None => return 0,
            },
            _ => self.counters.get_or_insert_mut(hash, Counter::default),
        };
        counter.turn(part);
        let slot = &mut counter.counts[(counter.newest % SLOTS as u64) as usize];
        *slot = slot.saturating_add(hits);
        counter.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

impl Counter {
    /// Forgets what lies a whole window before `part`. Time that went back counts as the newest part.
    fn turn(&mut self, part: u64) {
        let passed = part.saturating_sub(self.newest).min(SLOTS as u64);
        for step in 1..=passed {
            self.counts[((part - passed + step) % SLOTS as u64) as usize] = 0;
        }
        self.newest = self.newest.max(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log) -> Vec<&str> {
        log.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_flood_of_lines_is_dropped_and_told_of_once_it_ends() {
        let mut log = Log::new(&Options { log_lines_per_s: 2, ..Options::default() });
        for text in ["a", "b", "c", "d"] {
            log.write(Ms(1_000), "info", "1", text);
        }
        assert_eq!(texts(&log), ["a", "b"]);
        log.write(Ms(2_000), "info", "1", "e");
        assert_eq!(texts(&log), ["a", "b", "2 lines dropped, more than 2 in a second", "e"]);
    }

    #[test]
    fn the_ring_keeps_the_newest_lines_and_their_numbers() {
        let mut log = Log::new(&Options { log_lines_kept: 2, ..Options::default() });
        for text in ["a", "b", "c"] {
            log.write(Ms(1_000), "info", "1", text);
        }
        assert_eq!(texts(&log), ["b", "c"]);
        assert_eq!(log.lines.back().unwrap().n, 3);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let mut log = Log::new(&Options { log_line_bytes_max: 3, ..Options::default() });
        log.write(Ms(1_000), "info", "1", "aäö");
        assert_eq!(texts(&log), ["aä"]);
    }

    #[test]
    fn hits_are_counted_within_their_window_and_forgotten_after_it() {
        let mut rate = Rate::new(10);
        assert_eq!(rate.count(Ms(10_000), "a", 1_000, 1), 1);
        assert_eq!(rate.count(Ms(10_500), "a", 1_000, 1), 2);
        assert_eq!(rate.count(Ms(10_600), "a", 1_000, 0), 2, "a peek does not count");
        assert_eq!(rate.count(Ms(11_200), "a", 1_000, 1), 2, "the first is more than a window ago");
        assert_eq!(rate.count(Ms(20_000), "a", 1_000, 0), 0);
    }

    #[test]
    fn keys_and_windows_are_counted_apart() {
        let mut rate = Rate::new(10);
        rate.count(Ms(10_000), "a", 1_000, 1);
        assert_eq!(rate.count(Ms(10_000), "b", 1_000, 1), 1);
        assert_eq!(rate.count(Ms(10_000), "a", 2_000, 1), 1);
    }

    #[test]
    fn the_least_recently_counted_key_makes_room() {
        let mut rate = Rate::new(2);
        for key in ["a", "b", "a", "c"] {
            rate.count(Ms(10_000), key, 1_000, 1);
        }
        assert_eq!(rate.count(Ms(10_000), "a", 1_000, 0), 2);
        assert_eq!(rate.count(Ms(10_000), "b", 1_000, 0), 0);
    }

    #[test]
    fn a_clock_that_goes_back_loses_no_hits() {
        let mut rate = Rate::new(2);
        rate.count(Ms(10_000), "a", 1_000, 1);
        assert_eq!(rate.count(Ms(9_000), "a", 1_000, 1), 2);
    }
}
