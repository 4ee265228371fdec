//! The recovery: has a file that could not be written opened anew, by and by.
//!
//! It owns the waits between the tries, and nothing else: the write thread opens the file, so that nobody writes
//! meanwhile. A store that fails again soon after it came back waits longer each time.

use super::{
    Metrics, Options,
    writer::{Call, Calls},
};
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot};

/// Tells the recovery that nothing can be written any more. It ends when all of these are gone.
#[derive(Clone)]
pub(super) struct Alarm {
    raised: SyncSender<()>,
    metrics: Metrics,
}

impl Alarm {
    pub(super) fn raise(&self) {
        self.metrics.read_only.set(1);
        match self.raised.try_send(()) {
            // One that waits already says the same.
            Ok(()) | Err(TrySendError::Full(())) => {}
            Err(TrySendError::Disconnected(())) => {
                tracing::error!("the thread that opens the store again is gone; restart the host");
            }
        }
    }
}

/// Starts waiting for the alarm. `calls` is held weakly: the recovery keeps no store open.
pub(super) fn start(
    calls: mpsc::WeakSender<Call>,
    metrics: Metrics,
    options: &Options,
) -> std::io::Result<Alarm> {
    let (sender, raised) = sync_channel(1);
    let alarm = Alarm { raised: sender, metrics: metrics.clone() };
    let wait_min = Duration::from_millis(options.reopen_after_ms);
    let wait_max = Duration::from_millis(options.reopen_after_ms_max).max(wait_min);
    let recovery = Recovery { calls, metrics, raised, wait_min, wait_max };
    thread::Builder::new().name("storage-recover".into()).spawn(move || recovery.run())?;
    Ok(alarm)
}

struct Recovery {
    calls: mpsc::WeakSender<Call>,
    metrics: Metrics,
    raised: Receiver<()>,
    wait_min: Duration,
    wait_max: Duration,
}

impl Recovery {
    fn run(self) {
        let mut wait = self.wait_min;
        let mut recovered_at: Option<Instant> = None;
        while self.raised.recv().is_ok() {
            let well = recovered_at.is_none_or(|at| at.elapsed() > self.wait_max);
            wait = if well { self.wait_min } else { wait.saturating_mul(2).min(self.wait_max) };
            loop {
                if let Err(RecvTimeoutError::Disconnected) = self.raised.recv_timeout(wait) {
                    return;
                }
                match self.reopen() {
                    Some(true) => break,
                    Some(false) => wait = wait.saturating_mul(2).min(self.wait_max),
                    None => return,
                }
            }
            recovered_at = Some(Instant::now());
        }
    }

    /// Whether it was opened; `None` where the store is closed.
    fn reopen(&self) -> Option<bool> {
        let (reply, done) = oneshot::channel();
        let calls = Calls { sender: self.calls.upgrade()?, metrics: self.metrics.clone() };
        calls.send_blocking(Call::Reopen { reply });
        drop(calls);
        done.blocking_recv().ok().map(|opened| opened.is_ok())
    }
}
