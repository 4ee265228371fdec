//! How long an event that fails is tried, and how often.
//!
//! Pure: it counts; what is stored and when it is tried is the lane's to arrange.

use crate::faults::{self, Fault};
use godwit_domain::{tables::Failing, time::Ms};

/// How often a plugin may break on one event.
const TRAPS_MAX: u32 = 3;
/// After how many milliseconds an event that failed is tried again at first; it doubles with each failure.
const RETRY_MS: u64 = 1_000;
/// And at the latest.
const RETRY_MS_MAX: u64 = 5 * 60 * 1_000;
/// For how many milliseconds an event is tried.
const TRY_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// In what way an event failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// It is to be tried again.
    Retry,
    /// It is not to be tried again.
    Drop,
    /// The plugin broke or was cut.
    Trap,
}

/// Counts a failure; when the event is tried again, unless it is given up.
pub fn failed(before: Failing, how: How, now: Ms) -> (Failing, Option<Ms>) {
    let wait_ms = |attempts: u32| RETRY_MS_MAX.min(RETRY_MS << attempts.min(16));
    let waited_ms = match before.attempts {
        0 => 0,
        // What is more was time in which nobody tried.
        attempts => before.waited_ms + now.since(before.last_at).min(2 * wait_ms(attempts - 1)),
    };
    let failing = Failing {
        attempts: before.attempts + 1,
        traps: before.traps + u32::from(how == How::Trap),
        waited_ms,
        last_at: now,
    };
    let is_over = how == How::Drop || failing.traps >= TRAPS_MAX || waited_ms >= TRY_MS_MAX;
    let is_over = is_over && !faults::on(Fault::GivenUpNever);
    (failing, (!is_over).then(|| now.plus(wait_ms(before.attempts))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_backs_off_up_to_five_minutes_and_ends_after_a_day() {
        let (mut failing, mut now, mut waits) = (Failing::default(), Ms(1), Vec::new());
        loop {
            let (after, at) = failed(failing, How::Retry, now);
            failing = after;
            let Some(at) = at else { break };
            waits.push(at.since(now) / 1_000);
            now = at;
        }
        assert_eq!(waits[..10], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        let day: u64 = waits.iter().sum();
        assert!((24 * 3_600..24 * 3_600 + 300).contains(&day), "{day} s");
    }

    #[test]
    fn time_in_which_nobody_tried_does_not_count() {
        let (failing, at) = failed(Failing::default(), How::Retry, Ms(1));
        assert_eq!(at, Some(Ms(1_001)));
        let (failing, at) = failed(failing, How::Retry, Ms(1).plus(3 * TRY_MS_MAX));
        assert!(at.is_some() && failing.waited_ms == 2_000, "{failing:?}");
    }

    #[test]
    fn three_traps_and_one_drop_are_the_end() {
        let (one, at) = failed(Failing::default(), How::Trap, Ms(1));
        let (two, then) = failed(one, How::Trap, Ms(2));
        assert!(at.is_some() && then.is_some());
        assert_eq!(failed(two, How::Trap, Ms(3)).1, None);
        assert_eq!(failed(Failing::default(), How::Drop, Ms(1)).1, None);
        assert!(failed(two, How::Retry, Ms(3)).1.is_some(), "what it asks for is no trap");
    }
}
