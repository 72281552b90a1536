//! A living process held by a descriptor: what a proven [`ProcessIdentity`](crate::ProcessIdentity) opens to.
//!
//! Used by every verb that signals or waits for init. The rule: signals go through the descriptor, never to a number,
//! so that they cannot reach a process that was given the pid later.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nucleus_sys::pidfs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{Error, Result};

/// A process that was alive when this value was made.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Process {
    /// Takes a descriptor that the caller knows to be of process `pid`: fresh from `clone3`, say.
    pub fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd }
    }

    /// The pid in the PID namespace in which the identity was taken. For showing, not for signalling.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The descriptor, for `setns(2)` or a poll of the caller's own.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends signal number `signal` (real-time ones too; 0 sends nothing, but checks that it could be done).
    ///
    /// # Errors
    /// [`Error::Signal`], with "no such process" when the process has been reaped; [`Error::ReservedPid`] for pid 1.
    pub fn send_signal(&self, signal: i32) -> Result<()> {
        let pid = self.pid.as_raw_nonzero().get();
        if pid <= 1 {
            return Err(Error::ReservedPid { pid });
        }
        pidfs::send_signal(self.pidfd(), signal).map_err(|errno| Error::Signal {
            signal,
            pid,
            source: errno.into(),
        })
    }

    /// Waits until the process has exited (a zombie has) or `timeout` is over; for ever without one.
    /// True means exited.
    ///
    /// # Errors
    /// [`Error::Wait`] when the descriptor cannot be polled.
    pub fn wait_exit(&self, timeout: Option<Duration>) -> Result<bool> {
        has_exited(self.pidfd(), timeout).map_err(|errno| Error::Wait {
            pid: self.pid.as_raw_nonzero().get(),
            source: errno.into(),
        })
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd()
    }
}

/// A pidfd polls readable once all threads of its process have exited, reaped or not (`pidfd_open(2)`).
pub(crate) fn has_exited(pidfd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool, Errno> {
    // A deadline beyond what the clock can express is no deadline.
    let deadline = match timeout {
        Some(timeout) if !timeout.is_zero() => Instant::now().checked_add(timeout),
        _ => None,
    };
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    loop {
        let left = match (timeout, deadline) {
            (Some(timeout), _) if timeout.is_zero() => Some(Duration::ZERO),
            (_, Some(deadline)) => Some(deadline.saturating_duration_since(Instant::now())),
            _ => None,
        };
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut fds, left.as_ref()) {
            Err(Errno::INTR) => {}
            Ok(ready) => return Ok(ready > 0),
            Err(errno) => return Err(errno),
        }
    }
}
