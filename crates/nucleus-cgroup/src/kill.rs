//! Signals for every process of a cgroup, such that none escapes by forking and no stranger is hit.
//!
//! Called by `kill --all`, `delete --force` and clean-up. v2 kills atomically (`cgroup.kill`, Linux 5.14). On v1 the
//! cgroup is frozen, signalled and thawed, with the cgroups below that the container has frozen, until it is empty. A pid that was read is only a number: it is signalled
//! through a pidfd, and only when it is still listed after that was opened.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::dir::Dir;
use crate::error::Error;
use crate::layout::Layout;
use crate::record::{Record, check};

/// How long killed processes may take to leave the cgroup.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_SLEEP: Duration = Duration::from_micros(100);
const LONGEST_SLEEP: Duration = Duration::from_millis(10);
/// How many processes are held by descriptors at a time.
const BATCH: usize = 256;

impl Record {
    /// Sends `signal` to every process of the container, those in sub-cgroups included.
    ///
    /// SIGKILL is repeated until the cgroup is empty, and thaws a frozen container: else it would not die. Any other
    /// signal is sent once to those who are there. A container without processes or without a cgroup is fine.
    ///
    /// # Errors
    /// [`Error::Path`] when the caller itself lives in the cgroup, [`Error::Timeout`] naming it when processes
    /// outlive SIGKILL for ten seconds (uninterruptible sleep); else the call that failed.
    pub fn kill_all(&self, signal: i32) -> Result<(), Error> {
        let mut paths = Vec::new();
        for path in [self.unified(), self.principal()].into_iter().flatten() {
            if check(path)?.is_some() && !paths.contains(&path) {
                paths.push(path);
            }
        }
        refuse_own(&paths)?;
        if signal != Signal::KILL.as_raw() {
            // The last one knows them all: on a hybrid host it is v1's.
            return paths.last().map_or(Ok(()), |path| signal_all(path, signal));
        }
        let start = Instant::now();
        let mut sleep = FIRST_SLEEP;
        for path in paths {
            loop {
                // The kill comes before any walk: until then the container may make cgroups as fast as they are walked.
                self.kill_once(path)?;
                if !self.is_populated(path)? {
                    break;
                }
                if start.elapsed() > PATIENCE {
                    return Err(Error::Timeout {
                        action: "kill all processes of",
                        path: path.to_path_buf(),
                        seconds: PATIENCE.as_secs(),
                        hint: String::new(),
                    });
                }
                std::thread::sleep(sleep);
                sleep = (sleep * 2).min(LONGEST_SLEEP);
            }
        }
        Ok(())
    }

    /// Whether processes live in the cgroup or below it, also those of other PID namespaces where the kernel shows them.
    fn is_populated(&self, path: &Path) -> Result<bool, Error> {
        if self.unified() == Some(path) {
            match Dir::at(path.to_path_buf()).read("cgroup.events") {
                Ok(text) => return Ok(text.lines().any(|line| line == "populated 1")),
                Err(Errno::NOENT | Errno::NODEV) => return Ok(false),
                Err(errno) => return Err(Error::file("read", path.join("cgroup.events"))(errno)),
            }
        }
        Ok(!crate::pids::read(path, true)?.is_empty())
    }

    /// The foreground `run` removes the cgroups as soon as they are empty: one that vanishes meanwhile has no processes.
    fn kill_once(&self, path: &Path) -> Result<(), Error> {
        if self.unified() == Some(path) {
            match Dir::at(path.to_path_buf()).write("cgroup.kill", "1") {
                Ok(()) => return self.thaw_all(),
                Err(Errno::NODEV) => return Ok(()),
                // Before Linux 5.14, in a threaded cgroup, or in one that is gone.
                Err(Errno::NOENT | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(Error::file("write to", path.join("cgroup.kill"))(errno)),
            }
        }
        // Frozen processes cannot fork. Where freezing fails, walking again catches up with the forks.
        let _ = self.freeze();
        let signalled = signal_all(path, Signal::KILL.as_raw());
        self.thaw_all()?;
        signalled
    }
}

/// Refuses to kill the runtime itself. The place is read, not searched for: a search of a tree that grows has no end.
fn refuse_own(paths: &[&Path]) -> Result<(), Error> {
    if paths.is_empty() {
        return Ok(());
    }
    let layout = Layout::probe()?;
    let own: Vec<_> = layout
        .hierarchies
        .iter()
        .map(|found| found.mount.join(&found.own))
        .collect();
    match paths.iter().find(|path| own.iter().any(|own| own.starts_with(path))) {
        Some(path) => Err(Error::Path {
            path: path.to_path_buf(),
            problem: "holds the runtime itself: not killing it",
        }),
        None => Ok(()),
    }
}

/// Signals each process once. Few descriptors are open at a time: a container may have more processes than the runtime
/// may open files.
fn signal_all(path: &Path, signal: i32) -> Result<(), Error> {
    let pids = crate::pids::read(path, true)?;
    for batch in pids.chunks(BATCH) {
        let open = |pid: &Pid| pidfd_open(*pid, PidfdFlags::empty()).ok().map(|fd| (*pid, fd));
        let handles: Vec<(Pid, OwnedFd)> = batch.iter().filter_map(open).collect();
        let still = crate::pids::read(path, true)?;
        for (_, fd) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
            match nucleus_sys::pidfs::send_signal(fd.as_fd(), signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(Error::file("signal the processes of", path)(errno)),
            }
        }
    }
    Ok(())
}
