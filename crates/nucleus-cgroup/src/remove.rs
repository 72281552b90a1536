//! Removing cgroups: rmdir, deepest first, with patience for processes that are about to be gone.
//!
//! A process that was killed stays in its cgroup until it is reaped or at least past its exit, so that EBUSY is
//! answered by short, growing sleeps, within a bound.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;

use crate::error::Error;
use crate::pids::children;

/// How long the processes of a cgroup may take to be gone.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_SLEEP: Duration = Duration::from_micros(200);
const LONGEST_SLEEP: Duration = Duration::from_millis(20);

/// Removes the cgroup at `path` and all below it. One that is gone is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    remove_until(path, Instant::now() + PATIENCE)
}

fn remove_until(path: &Path, deadline: Instant) -> Result<(), Error> {
    let mut sleep = FIRST_SLEEP;
    loop {
        // Nearly always empty and without children: one call.
        match rmdir(path) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) if Instant::now() < deadline => {}
            Err(errno) => return Err(Error::file("remove cgroup", path)(errno)),
        }
        let children = children(path)?;
        for name in &children {
            remove_until(&path.join(name), deadline)?;
        }
        if children.is_empty() {
            std::thread::sleep(sleep);
            sleep = (sleep * 2).min(LONGEST_SLEEP);
        }
    }
}

/// One rmdir(2); a directory that is gone is fine.
pub(crate) fn rmdir(path: &Path) -> Result<(), Errno> {
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        other => other,
    }
}
