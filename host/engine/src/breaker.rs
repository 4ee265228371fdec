//! The circuit breaker of one hook of a version: when it is asked no more, and when it is tried again.
//!
//! It owns the counting and refuses to know what a call is. What counts is people: a sender whose last call failed is
//! one, however often they try, so that nobody can open the breaker for everybody else. It opens when several senders
//! fail who are at least half of those seen lately, stays open for a pause, then lets one call at a time through, of
//! somebody whose own calls did not fail; the first that succeeds closes it. One that opens again and again is not
//! tried any more: that is for an operator to end.
//!
//! While nothing fails, a call costs one atomic load: [`Breaker::is_calm`].

use crate::{
    faults::{self, Fault},
    options,
};
use godwit_domain::{id::UserId, plugin::Circuit, time::Ms};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

/// Senders that are remembered at once. Past them nobody new is counted until some are forgotten.
const SENDERS_KEPT: usize = 4_096;

/// One hook's breaker.
pub(crate) struct Breaker {
    settings: options::Breaker,
    /// Nothing failed lately and nothing is open: nothing needs to be counted.
    calm: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    phase: Phase,
    /// How each sender's last call went, while something is amiss.
    senders: HashMap<UserId, Last>,
    /// Of those, the ones that failed.
    failing: usize,
    /// When those that lie too far back were forgotten last.
    swept: Ms,
    /// When it opened.
    trips: VecDeque<Ms>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Closed,
    Open {
        until: Ms,
    },
    HalfOpen {
        /// One call is under way.
        probing: bool,
    },
}

struct Last {
    succeeded: bool,
    at: Ms,
}

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It runs like any other.
    Free,
    /// It runs to see how it goes.
    Probe,
    /// It does not run.
    Refused,
}

/// What a failure led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trip {
    /// Nothing.
    None,
    /// The breaker is open now.
    Opened,
    /// The breaker is open, and was so often that it should not be tried again.
    Repeated,
}

impl Breaker {
    pub(crate) fn new(settings: options::Breaker) -> Self {
        Self { settings, calm: AtomicBool::new(true), inner: Mutex::default() }
    }

    /// Whether there is nothing to ask and nothing to tell of a success.
    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Relaxed)
    }

    /// Asks for a call of that sender.
    pub(crate) fn admit(&self, sender: UserId, now: Ms) -> Admission {
        let mut inner = self.inner.lock();
        if let Phase::Open { until } = inner.phase
            && until <= now
        {
            inner.phase = Phase::HalfOpen { probing: false };
        }
        match inner.phase {
            Phase::Closed => Admission::Free,
            // Whoever failed last is no measure of the others.
            Phase::HalfOpen { probing: false }
                if inner.senders.get(&sender).is_none_or(|last| last.succeeded) =>
            {
                inner.phase = Phase::HalfOpen { probing: true };
                Admission::Probe
            }
            Phase::HalfOpen { .. } | Phase::Open { .. } => Admission::Refused,
        }
    }

    /// A call was given up, or says nothing about the plugin.
    pub(crate) fn abandoned(&self, admission: Admission) {
        let mut inner = self.inner.lock();
        if let (Admission::Probe, Phase::HalfOpen { .. }) = (admission, inner.phase) {
            inner.phase = Phase::HalfOpen { probing: false };
        }
    }

    /// A call was answered.
    pub(crate) fn succeeded(&self, admission: Admission, sender: UserId, now: Ms) {
        let mut inner = self.inner.lock();
        if admission == Admission::Probe {
            inner.phase = Phase::Closed;
            inner.clear();
        } else {
            inner.note(sender, true, now);
        }
        if inner.phase != Phase::Closed {
            return;
        }
        // Not at each call: it is a walk over all senders.
        if inner.failing > 0 && now >= inner.swept.plus(1_000) {
            self.forget_old(&mut inner, now);
        }
        if inner.failing == 0 {
            inner.clear();
            self.calm.store(true, Relaxed);
        }
    }

    /// A call broke or was cut.
    pub(crate) fn failed(&self, admission: Admission, sender: UserId, now: Ms) -> Trip {
        let mut inner = self.inner.lock();
        self.calm.store(false, Relaxed);
        self.forget_old(&mut inner, now);
        inner.note(sender, false, now);
        let trips = match (inner.phase, admission) {
            (Phase::HalfOpen { .. }, Admission::Probe) => true,
            (Phase::Closed, _) => {
                let failing = inner.failing;
                failing >= self.settings.senders.max(1) as usize && 2 * failing >= inner.senders.len()
            }
            // A call from before it opened.
            _ => false,
        };
        let trips = trips || faults::on(Fault::BreakerCountsCalls);
        if !trips || faults::on(Fault::BreakerNever) {
            return Trip::None;
        }
        inner.phase = Phase::Open { until: now.plus(self.settings.pause_ms.into()) };
        inner.trips.push_back(now);
        self.forget_old(&mut inner, now);
        match inner.trips.len() >= self.settings.trips.max(1) as usize {
            true => Trip::Repeated,
            false => Trip::Opened,
        }
    }

    /// Where it stands, and how often it opened lately.
    pub(crate) fn state(&self, now: Ms) -> (Circuit, u32) {
        let mut inner = self.inner.lock();
        self.forget_old(&mut inner, now);
        let circuit = match inner.phase {
            Phase::Closed => Circuit::Closed,
            Phase::Open { until } if until > now => Circuit::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => Circuit::HalfOpen,
        };
        (circuit, u32::try_from(inner.trips.len()).unwrap_or(u32::MAX))
    }

    fn forget_old(&self, inner: &mut Inner, now: Ms) {
        let since = |seconds: u32| Ms(now.0.saturating_sub(u64::from(seconds) * 1_000));
        let (seen, tripped) = (since(self.settings.window_s), since(self.settings.trips_window_s));
        inner.senders.retain(|_, last| last.at >= seen);
        inner.failing = inner.senders.values().filter(|last| !last.succeeded).count();
        inner.swept = now;
        while inner.trips.front().is_some_and(|trip| *trip < tripped) {
            inner.trips.pop_front();
        }
    }
}

impl Inner {
    fn note(&mut self, sender: UserId, succeeded: bool, at: Ms) {
        let known = self.senders.get(&sender).map(|last| last.succeeded);
        if known.is_some() || self.senders.len() < SENDERS_KEPT {
            self.failing -= usize::from(known == Some(false));
            self.failing += usize::from(!succeeded);
            self.senders.insert(sender, Last { succeeded, at });
        }
    }

    fn clear(&mut self) {
        self.senders.clear();
        self.failing = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> options::Breaker {
        options::Breaker {
            senders: 3,
            window_s: 60,
            pause_ms: 10_000,
            trips: 3,
            trips_window_s: 600,
            ..options::Breaker::default()
        }
    }

    fn user(id: u128) -> UserId {
        UserId::from_u128(id)
    }

    /// A call of that sender at that second, which goes so.
    fn call(breaker: &Breaker, sender: u128, second: u64, succeeds: bool) -> (Admission, Trip) {
        let (sender, now) = (user(sender), Ms(second * 1_000));
        let admission = breaker.admit(sender, now);
        let trip = match (admission, succeeds) {
            (Admission::Refused, _) => Trip::None,
            (_, true) => {
                breaker.succeeded(admission, sender, now);
                Trip::None
            }
            (_, false) => breaker.failed(admission, sender, now),
        };
        (admission, trip)
    }

    fn opened() -> Breaker {
        let breaker = Breaker::new(settings());
        let trips: Vec<_> = (1..=3).map(|sender| call(&breaker, sender, 100, false).1).collect();
        assert_eq!(trips, [Trip::None, Trip::None, Trip::Opened]);
        breaker
    }

    #[test]
    fn one_sender_never_opens_it() {
        let breaker = Breaker::new(settings());
        for _ in 0..1_000 {
            assert_eq!(call(&breaker, 1, 100, false), (Admission::Free, Trip::None));
        }
        assert_eq!(breaker.state(Ms(100_000)), (Circuit::Closed, 0));
    }

    #[test]
    fn several_senders_open_it_and_it_stays_open_for_its_pause() {
        let breaker = opened();
        assert_eq!(breaker.state(Ms(100_000)), (Circuit::Open, 1));
        assert_eq!(call(&breaker, 9, 109, true).0, Admission::Refused);
        assert_eq!(breaker.state(Ms(110_000)).0, Circuit::HalfOpen);
    }

    #[test]
    fn senders_who_fail_on_purpose_do_not_open_it_for_the_many_who_are_served() {
        let breaker = Breaker::new(settings());
        call(&breaker, 1, 100, false);
        for sender in 10..20 {
            call(&breaker, sender, 100, true);
        }
        for sender in 2..=8 {
            assert_eq!(call(&breaker, sender, 101, false).1, Trip::None, "{sender} of ten who are served");
        }
    }

    #[test]
    fn failures_apart_do_not_add_up() {
        let breaker = Breaker::new(settings());
        for sender in 1..=9 {
            assert_eq!(call(&breaker, sender, u64::from(sender as u32) * 61, false).1, Trip::None);
        }
    }

    #[test]
    fn half_open_lets_one_call_at_a_time_through_of_somebody_else_and_its_success_closes_it() {
        let breaker = opened();
        assert_eq!(call(&breaker, 1, 111, true).0, Admission::Refused, "its own calls failed");
        let probe = breaker.admit(user(7), Ms(111_000));
        assert_eq!(probe, Admission::Probe);
        assert_eq!(breaker.admit(user(8), Ms(111_000)), Admission::Refused);
        breaker.abandoned(probe);
        assert_eq!(call(&breaker, 8, 111, true).0, Admission::Probe);
        assert_eq!(breaker.state(Ms(111_000)).0, Circuit::Closed);
        assert!(breaker.is_calm());
        assert_eq!(call(&breaker, 1, 111, true).0, Admission::Free);
    }

    #[test]
    fn a_probe_that_fails_opens_it_again_and_at_last_for_good() {
        let breaker = opened();
        assert_eq!(call(&breaker, 7, 111, false), (Admission::Probe, Trip::Opened));
        assert_eq!(call(&breaker, 8, 112, true).0, Admission::Refused);
        assert_eq!(call(&breaker, 8, 122, false), (Admission::Probe, Trip::Repeated));
        assert_eq!(breaker.state(Ms(122_000)), (Circuit::Open, 3));
        // Trips that lie long back do not count.
        assert_eq!(breaker.state(Ms(1_000_000)).1, 0);
    }

    #[test]
    fn calm_returns_when_who_failed_is_served_or_forgotten() {
        let breaker = Breaker::new(settings());
        assert!(breaker.is_calm());
        call(&breaker, 1, 100, false);
        assert!(!breaker.is_calm());
        call(&breaker, 2, 100, true);
        assert!(!breaker.is_calm());
        call(&breaker, 1, 100, true);
        assert!(breaker.is_calm());
        call(&breaker, 1, 200, false);
        call(&breaker, 2, 261, true);
        assert!(breaker.is_calm());
    }

    #[test]
    fn a_call_from_before_it_opened_changes_nothing() {
        let breaker = opened();
        assert_eq!(breaker.failed(Admission::Free, user(5), Ms(101_000)), Trip::None);
        breaker.succeeded(Admission::Free, user(6), Ms(101_000));
        assert_eq!(breaker.state(Ms(101_000)), (Circuit::Open, 1));
    }
}
