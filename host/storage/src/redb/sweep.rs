//! The sweeper: removes rows that have ended, long after no read shows them.
//!
//! It owns the walk. Rows carry their end in the envelope, and no index of ends is kept, because that would be one
//! more row for every message; instead the whole file is walked in small paced steps, over and over.
//! It refuses to write: the keys that it finds go through the write thread, which looks again.

use super::{
    Options,
    current::Current,
    rows::{Envelope, ROWS},
    writer::{Call, Calls},
};
use ::redb::{Database, ReadableDatabase};
use godwit_domain::{time::Clock, waist::Error};
use std::{
    ops::Bound,
    sync::{Arc, mpsc::RecvTimeoutError},
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

/// Stops the sweeper when it is dropped.
pub(super) struct Handle {
    stop: std::sync::mpsc::SyncSender<()>,
    thread: thread::JoinHandle<()>,
}

impl Handle {
    /// Waits until the step at work has ended. Blocks.
    pub(super) fn join(self) {
        drop(self.stop);
        // A sweeper that broke leaves rows behind that no read shows; the next opening begins anew.
        let _ = self.thread.join();
    }
}

/// Starts walking.
pub(super) fn start(
    current: Arc<Current>,
    calls: Calls,
    clock: Arc<dyn Clock>,
    options: &Options,
) -> std::io::Result<Handle> {
    // Nothing is ever sent: the channel's end is the signal.
    let (stop, stopped) = std::sync::mpsc::sync_channel(1);
    let (rows_max, pause, rest) = (
        options.sweep_rows_max,
        Duration::from_millis(options.sweep_interval_ms),
        Duration::from_secs(options.sweep_rest_s),
    );
    let walk = move || {
        let mut after = None;
        let mut wait = pause;
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(wait) {
            let stepped = current
                .database()
                .and_then(|database| step(&database, &calls, &*clock, after.take(), rows_max));
            match stepped {
                Ok(next) => {
                    wait = if next.is_some() { pause } else { rest };
                    after = next;
                }
                Err(error) => {
                    tracing::warn!(%error, "rows that ended could not be swept");
                    wait = rest;
                }
            }
        }
    };
    let thread = thread::Builder::new().name("storage-sweep".into()).spawn(walk)?;
    Ok(Handle { stop, thread })
}

/// Looks at the next rows after the key `after` and has those removed that have ended. Returns the last key that it
/// looked at, `None` at the end of the file. Blocks.
pub(super) fn step(
    database: &Database,
    calls: &Calls,
    clock: &dyn Clock,
    after: Option<Vec<u8>>,
    rows_max: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let (keys, last) = ended(database, clock, after, rows_max).map_err(super::read_error)?;
    if !keys.is_empty() {
        let (reply, done) = oneshot::channel();
        calls.send_blocking(Call::Sweep { keys, reply });
        done.blocking_recv().unwrap_or_else(|_| Err(super::unavailable("the store is closed")))?;
    }
    Ok(last)
}

type Keys = Vec<Vec<u8>>;

fn ended(
    database: &Database,
    clock: &dyn Clock,
    after: Option<Vec<u8>>,
    rows_max: usize,
) -> Result<(Keys, Option<Vec<u8>>), ::redb::Error> {
    let now = clock.now();
    let lower = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let table = database.begin_read()?.open_table(ROWS)?;
    let mut keys = Vec::new();
    let mut rows = table.range::<&[u8]>((lower, Bound::Unbounded))?;
    for looked_at in 1.. {
        let Some(row) = rows.next() else { break };
        let (key, stored) = row?;
        if Envelope::split(key.value(), stored.value()).is_ok_and(|(envelope, _)| envelope.ended(now)) {
            keys.push(key.value().to_vec());
        }
        if looked_at == rows_max {
            return Ok((keys, Some(key.value().to_vec())));
        }
    }
    Ok((keys, None))
}
