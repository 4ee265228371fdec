//! What a process costs, read from outside.
//!
//! It owns the reading of `/proc`; it refuses to know whose process it is. Start with [`Cpu::of`].

use anyhow::{Context, Result};
use std::time::Duration;

/// Processor time that a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu(Duration);

impl Cpu {
    /// What the process has used so far, in user and kernel mode, all threads together.
    ///
    /// # Errors
    /// There is no such process, or it is another's.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        let ticks = ticks(&stat).with_context(|| format!("{path} reads `{stat}`"))?;
        let per_s = rustix::param::clock_ticks_per_second();
        Ok(Self(Duration::from_micros(ticks * 1_000_000 / per_s)))
    }

    /// What was used since then.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Fields 14 and 15, counted behind the name, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, kernel): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + kernel)
}

/// How many bytes of memory a process holds.
///
/// # Errors
/// There is no such process, or it is another's.
pub fn memory_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    resident_kib(&rollup).map(|kib| kib * 1024).with_context(|| format!("{path} reads `{rollup}`"))
}

fn resident_kib(rollup: &str) -> Option<u64> {
    rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?.split_whitespace().next()?.parse().ok()
}

/// The processor time of this thread.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // The clock of a thread is never negative.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Raises the limit of open files to what the system allows.
///
/// # Errors
/// It still is below `needed`.
pub fn allow_files(needed: u64) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    anyhow::ensure!(allowed >= needed, "{needed} open files are needed, this process may open {allowed}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticks_are_found_behind_any_name() {
        let stat = "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 111 222 0 0 20";
        assert_eq!(ticks(stat), Some(333));
        assert_eq!(ticks("42 (short) S 1"), None);
    }

    #[test]
    fn the_resident_size_is_found() {
        assert_eq!(resident_kib("00400000-7ffe\nRss:    1234 kB\nPss: 1 kB\n"), Some(1234));
        assert_eq!(resident_kib("Pss: 1 kB\n"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let pid = std::process::id();
        assert!(memory_bytes(pid).unwrap() > 0);
        let earlier = Cpu::of(pid).unwrap();
        assert!(Cpu::of(pid).unwrap() >= earlier);
    }
}
