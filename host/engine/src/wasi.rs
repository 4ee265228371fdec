//! WASI without effects: no files, environment, arguments or sockets; output goes to the plugin's log.
//!
//! Guests import it whether they use it or not, so it is always linked. Clocks follow the host's. In filters nothing
//! waits: every pollable is ready at once, because a filter that sleeps holds up a message. An actor that sleeps holds
//! up itself, within its wall-clock time.

use crate::{
    faults::{self, Fault},
    services::Private,
    state::State,
};
use parking_lot::Mutex;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::AsyncWrite;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::{
    HostMonotonicClock, HostWallClock, WasiCtx,
    cli::{IsTerminal, StdoutStream},
    p2::{DynPollable, OutputStream, Pollable, StreamResult},
};

/// The interface whose functions would wait.
const POLL: &str = "wasi:io/poll@0.2.12";
/// Random bytes in one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Output that a guest may hand over at once.
const WRITE_BYTES_MAX: usize = 4 << 10;

/// Links WASI, with pollables that are waited for or not.
pub(crate) fn link(linker: &mut Linker<State>, waits: bool) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    if waits || faults::on(Fault::PollablesWait) {
        return Ok(());
    }
    linker.allow_shadowing(true);
    let mut poll = linker.instance(POLL)?;
    poll.func_wrap("[method]pollable.ready", |_, (_,): (Resource<DynPollable>,)| Ok((true,)))?;
    poll.func_wrap("[method]pollable.block", |_, (_,): (Resource<DynPollable>,)| Ok(()))?;
    poll.func_wrap("poll", |_, (pollables,): (Vec<Resource<DynPollable>>,)| {
        match u32::try_from(pollables.len()) {
            Ok(0) | Err(_) => wasmtime::bail!("poll of {} pollables", pollables.len()),
            Ok(count) => Ok(((0..count).collect::<Vec<u32>>(),)),
        }
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// What an instance sees of the world.
pub(crate) fn context(private: &Arc<Private>, version: &Arc<str>) -> WasiCtx {
    let output = |level| {
        let (private, version) = (private.clone(), version.clone());
        Output(Arc::new(Mutex::new(Lines { private, version, level, partial: Vec::new() })))
    };
    let mut builder = WasiCtx::builder();
    if faults::on(Fault::WasiOpen) {
        builder.arg("godwit").env("HOME", "/");
    }
    builder
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .stdout(output("info"))
        .stderr(output("warn"))
        .wall_clock(Wall(private.clone()))
        .monotonic_clock(Monotonic { private: private.clone(), newest: AtomicU64::new(0) })
        .max_random_size(RANDOM_BYTES_MAX)
        .build()
}

struct Wall(Arc<Private>);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now().0)
    }
}

/// The host's clock, kept from going back.
struct Monotonic {
    private: Arc<Private>,
    newest: AtomicU64,
}

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        let now = self.private.now().0.saturating_mul(1_000_000);
        self.newest.fetch_max(now, Ordering::Relaxed).max(now)
    }
}

/// Standard output or error: each line a line of the log.
#[derive(Clone)]
struct Output(Arc<Mutex<Lines>>);

/// Output up to its next end of line; guests write a line in pieces.
struct Lines {
    private: Arc<Private>,
    version: Arc<str>,
    level: &'static str,
    partial: Vec<u8>,
}

impl Lines {
    fn write(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= WRITE_BYTES_MAX {
                self.end();
            }
        }
    }

    fn end(&mut self) {
        let line = String::from_utf8_lossy(&self.partial);
        if !line.trim_end().is_empty() {
            self.private.log(self.level, &self.version, line.trim_end());
        }
        self.partial.clear();
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.end();
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.0.lock().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for Output {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.0.lock().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
