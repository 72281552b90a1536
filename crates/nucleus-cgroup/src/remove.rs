//! Removing cgroups: rmdir, deepest first, with patience for processes that are about to be gone.
//!
//! A process that was killed stays in its cgroup until it is reaped or at least past its exit, so that EBUSY is
//! answered by short, growing sleeps, within a bound.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;

use crate::error::Error;
use crate::tree;

/// How long the processes of all cgroups of a tree may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the removal of a tree may take while other processes add to it. What is removed by then stays removed.
const LIMIT: Duration = Duration::from_secs(60);
const FIRST_SLEEP: Duration = Duration::from_micros(200);
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// Removes the cgroup at `path` and all below it. One that is gone is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    let start = Instant::now();
    let mut sleep = FIRST_SLEEP;
    let mut slept = Duration::ZERO;
    tree::remove(path, |busy| {
        if slept > PATIENCE || start.elapsed() > LIMIT {
            return Err(Error::file("remove cgroup", busy)(Errno::BUSY));
        }
        std::thread::sleep(sleep);
        slept += sleep;
        sleep = (sleep * 2).min(LONGEST_SLEEP);
        Ok(())
    })
}

/// One rmdir(2); a directory that is gone is fine.
pub(crate) fn rmdir(path: &Path) -> Result<(), Errno> {
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        other => other,
    }
}
