//! Waiting for processes together with what they have used: `wait4(2)`, `getrusage(2)`.

use std::time::Duration;

use rustix::io::Errno;

use crate::check;

/// A child that has ended, and what it and all its own reaped children have used.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Its pid, free to be used again.
    pub pid: i32,
    /// As in `wait(2)`; 0 is exit code 0.
    pub status: i32,
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// The greatest resident set of any one of these processes, KiB. The kernel counts what a process had before its
    /// `execve` too: with `vfork` that is the caller's own.
    pub peak_rss: u64,
    /// Page faults, with and without I/O.
    pub faults: u64,
}

/// Waits for any child: blocks until one has ended, or with `block` false returns `None` when none has.
///
/// # Errors
/// `ECHILD` without any child; `EINTR`.
pub fn wait_any(block: bool) -> Result<Option<Ended>, Errno> {
    let mut status = 0;
    let flags = if block { 0 } else { libc::WNOHANG };
    // SAFETY: `rusage` is a structure of integers for which all-zero is valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to places of the right types that outlive the call.
    let pid = unsafe { libc::wait4(-1, &raw mut status, flags, &raw mut usage) };
    let pid = check(pid.into())? as i32;
    Ok((pid != 0).then(|| Ended {
        pid,
        status,
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
        peak_rss: unsigned(usage.ru_maxrss),
        faults: unsigned(usage.ru_minflt) + unsigned(usage.ru_majflt),
    }))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(unsigned(time.tv_sec)) + Duration::from_micros(unsigned(time.tv_usec))
}

/// The kernel's counters are never negative.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
