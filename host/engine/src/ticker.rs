//! The clock that cuts long calls: a thread that advances the epoch at which running guests look up.
//!
//! A wake of that thread costs as much as several calls, and nearly every call is over in microseconds. So it only
//! glances now and then, and goes on by the millisecond for as long as it finds guests running. It owns when ticks
//! come; what a tick means to a guest is [`crate::state::Budget`]'s to say.

use parking_lot::{Condvar, Mutex};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use wasmtime::Engine;

/// Between two ticks while guests are found running.
const TICK_MS: u32 = 1;
/// Between two ticks else: a call may run for that much longer before its first.
const GLANCE_MS: u32 = 4;
/// After how many glances without a new call it sleeps: longer than any call may take.
const IDLE_GLANCES_MAX: u32 = 5_000;

/// Advances the engine's epoch while there are calls, until it is dropped.
pub(crate) struct Ticker(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Set by calls and cleared with each tick. While there are calls they read it, and write nothing that other
    /// cores would have to fetch.
    called: AtomicBool,
    /// How long the time was that the present tick ended.
    elapsed_ms: AtomicU32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The thread waits for a call.
    asleep: bool,
    /// The last tick found a guest running.
    met: bool,
    stopped: bool,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let engine = engine.clone();
        Self::spawn(move || engine.increment_epoch())
    }

    fn spawn(tick: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let run = shared.clone();
        std::thread::Builder::new().name("plugin-ticker".to_owned()).spawn(move || run.run(tick))?;
        Ok(Self(shared))
    }

    /// A call or an `init` begins: from now on the epoch advances.
    pub(crate) fn call_begins(&self) {
        let Shared { called, state, changed, .. } = &*self.0;
        // Found set, it was set after the last tick, and the thread goes on for longer than this call may take.
        if called.load(SeqCst) {
            return;
        }
        called.store(true, SeqCst);
        if state.lock().asleep {
            changed.notify_one();
        }
    }

    /// A tick found a guest running; for how many milliseconds that tick stands.
    pub(crate) fn met(&self) -> u32 {
        let mut state = self.0.state.lock();
        if !state.met {
            state.met = true;
            self.0.changed.notify_one();
        }
        self.0.elapsed_ms.load(SeqCst)
    }
}

impl Shared {
    fn run(&self, tick: impl Fn()) {
        let wait = |ms: u32| Duration::from_millis(ms.into());
        let mut state = self.state.lock();
        // Nothing runs before the first call.
        let mut idle_glances = IDLE_GLANCES_MAX;
        while !state.stopped {
            if idle_glances >= IDLE_GLANCES_MAX {
                state.asleep = true;
                // Asked with the lock held: a call that comes later finds it asleep.
                self.changed.wait_while(&mut state, |state| !state.stopped && !self.called.load(SeqCst));
                state.asleep = false;
            }
            self.changed.wait_while_for(&mut state, |state| !state.stopped && !state.met, wait(GLANCE_MS));
            let met = std::mem::take(&mut state.met);
            if met {
                // Whom the last tick met hears the next one a millisecond later.
                self.changed.wait_while_for(&mut state, |state| !state.stopped, wait(TICK_MS));
            }
            self.elapsed_ms.store(if met { TICK_MS } else { GLANCE_MS }, SeqCst);
            tick();
            let called = self.called.swap(false, SeqCst);
            idle_glances = if called || met { 0 } else { idle_glances + 1 };
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.state.lock().stopped = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn it_goes_on_by_the_millisecond_while_it_finds_somebody_running_and_glances_else() {
        let (tick, ticks) = mpsc::channel();
        let ticker = Ticker::spawn(move || {
            let _ = tick.send(());
        })
        .unwrap();
        let next = || ticks.recv_timeout(Duration::from_secs(10)).unwrap();
        ticker.call_begins();
        for _ in 0..3 {
            next();
            assert_eq!(
                ticker.met(),
                GLANCE_MS,
                "of the first that it meets it does not know for how long it ran"
            );
            // The one that was under way may have come by a glance still.
            let met = (0..1_000).find(|_| {
                next();
                ticker.met() == TICK_MS
            });
            assert!(met.is_some(), "it goes on by the millisecond");
            // The last of them follows who was met last, the others nobody. Those that came before are all seen.
            while ticks.try_recv().is_ok() {}
            (0..3).for_each(|_| next());
        }
    }

    #[test]
    fn it_sleeps_until_a_call_begins() {
        let (tick, ticks) = mpsc::channel();
        let ticker = Ticker::spawn(move || {
            let _ = tick.send(());
        })
        .unwrap();
        assert!(ticks.recv_timeout(Duration::from_millis(30)).is_err(), "nothing was called");
        ticker.call_begins();
        assert!(ticks.recv_timeout(Duration::from_secs(10)).is_ok());
        drop(ticker);
        while ticks.recv_timeout(Duration::from_secs(10)).is_ok() {}
        assert!(matches!(ticks.try_recv(), Err(mpsc::TryRecvError::Disconnected)), "its thread ends with it");
    }
}
