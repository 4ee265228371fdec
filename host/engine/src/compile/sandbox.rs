//! The walls around the compiling process: CPU time, memory, niceness, and a list of system calls.
//!
//! What is on the list is what computing needs: memory, signals of its own, the pipes that are open already.
//! Everything else (files, sockets, other processes) is answered with "not permitted".

use crate::options::{Compile, mib};
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use std::io;

/// Gives up for good what compiling does not need.
pub fn enter(limits: &Compile) -> io::Result<()> {
    let at = |limit: u64| Rlimit { current: Some(limit), maximum: Some(limit) };
    let cpu_s = u64::from(limits.cpu_s);
    setrlimit(Resource::Cpu, Rlimit { current: Some(cpu_s), maximum: Some(cpu_s + 1) })?;
    setrlimit(Resource::As, at(mib(limits.memory_mib) as u64))?;
    setrlimit(Resource::Core, at(0))?;
    setrlimit(Resource::Fsize, at(0))?;
    nice(limits.nice.min(19) as i32)?;
    filter()
}

#[cfg(target_os = "linux")]
fn filter() -> io::Result<()> {
    use seccompiler::{SeccompAction, SeccompFilter};
    let allowed = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_brk,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_getrandom,
        libc::SYS_clock_gettime,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_tgkill,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    let other = |error: seccompiler::BackendError| io::Error::other(error);
    let filter = SeccompFilter::new(
        allowed.into_iter().map(|call| (call, Vec::new())).collect(),
        SeccompAction::Errno(libc::EPERM as u32),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into().map_err(other)?,
    )
    .map_err(other)?;
    let program: seccompiler::BpfProgram = filter.try_into().map_err(other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

/// Elsewhere the limits above are the walls.
#[cfg(not(target_os = "linux"))]
fn filter() -> io::Result<()> {
    Ok(())
}
