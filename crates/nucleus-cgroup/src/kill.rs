//! Signals for every process of a cgroup, such that none escapes by forking and no stranger is hit.
//!
//! Called by `kill --all`, `delete --force` and clean-up. v2 kills atomically (`cgroup.kill`, Linux 5.14). On v1 the
//! cgroup is frozen, signalled and thawed until it is empty. A pid that was read is only a number: it is signalled
//! through a pidfd, and only when it is still listed after that was opened.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open};

use crate::dir::Dir;
use crate::error::Error;
use crate::record::{Record, check};

/// How long killed processes may take to leave the cgroup.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_SLEEP: Duration = Duration::from_millis(10);

impl Record {
    /// Sends `signal` to every process of the container, those in sub-cgroups included.
    ///
    /// SIGKILL is repeated until the cgroup is empty, and thaws a frozen container: else it would not die. Any other
    /// signal is sent once to those who are there. A container without processes or without a cgroup is fine.
    ///
    /// # Errors
    /// [`Error::Path`] when the caller itself lives in the cgroup, [`Error::Timeout`] naming it when processes
    /// outlive SIGKILL for five seconds (uninterruptible sleep); else the call that failed.
    pub fn kill_all(&self, signal: i32) -> Result<(), Error> {
        let mut paths = Vec::new();
        for path in [self.unified(), self.principal()].into_iter().flatten() {
            if check(path)?.is_some() && !paths.contains(&path) {
                paths.push(path);
            }
        }
        for path in &paths {
            if crate::pids::read(path, true)?.contains(&getpid()) {
                return Err(Error::Path {
                    path: path.to_path_buf(),
                    problem: "holds the runtime itself: not killing it",
                });
            }
        }
        if signal != Signal::KILL.as_raw() {
            // The last one knows them all: on a hybrid host it is v1's.
            return paths.last().map_or(Ok(()), |path| signal_all(path, signal));
        }
        let start = Instant::now();
        let mut sleep = Duration::from_micros(100);
        for path in paths {
            while !crate::pids::read(path, true)?.is_empty() {
                if start.elapsed() > PATIENCE {
                    return Err(Error::Timeout {
                        action: "kill all processes of",
                        path: path.to_path_buf(),
                        seconds: PATIENCE.as_secs(),
                        hint: String::new(),
                    });
                }
                self.kill_once(path)?;
                std::thread::sleep(sleep);
                sleep = (sleep * 2).min(LONGEST_SLEEP);
            }
        }
        Ok(())
    }

    /// Whoever waits for init (`run` in the foreground) removes the cgroups as soon as they are empty: what vanishes while
    /// we look has nobody left to kill.
    fn kill_once(&self, path: &Path) -> Result<(), Error> {
        if self.unified() == Some(path) {
            let dir = match Dir::open(path) {
                Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
                dir => dir.map_err(Error::file("open", path))?,
            };
            match dir.write("cgroup.kill", "1") {
                Ok(()) => return self.thaw_if_frozen(),
                Err(Errno::NODEV) => return Ok(()),
                // Before Linux 5.14, in a threaded cgroup, or in one that is gone.
                Err(Errno::NOENT | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(Error::file("write to", dir.file("cgroup.kill"))(errno)),
            }
        }
        // Frozen processes cannot fork. Where freezing fails, walking again catches up with the forks.
        let frozen = self.freeze();
        let signalled = signal_all(path, Signal::KILL.as_raw());
        if frozen.is_ok() {
            self.thaw_if_frozen()?;
        }
        signalled
    }
}

fn signal_all(path: &Path, signal: i32) -> Result<(), Error> {
    let open = |pid: Pid| pidfd_open(pid, PidfdFlags::empty()).ok().map(|fd| (pid, fd));
    let handles: Vec<(Pid, OwnedFd)> = crate::pids::read(path, true)?.into_iter().filter_map(open).collect();
    let still = crate::pids::read(path, true)?;
    for (pid, fd) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
        match nucleus_sys::pidfs::send_signal(fd.as_fd(), signal) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => {
                tracing::debug!("signal to {}: {}", pid.as_raw_nonzero(), crate::error::reason(errno));
                return Err(Error::file("signal the processes of", path)(errno));
            }
        }
    }
    Ok(())
}
