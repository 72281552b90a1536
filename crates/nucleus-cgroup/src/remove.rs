//! Removing cgroups: rmdir, deepest first, with patience for processes that are about to be gone.
//!
//! A process that was killed stays in its cgroup until it is reaped or at least past its exit, so that EBUSY is
//! answered by short, growing sleeps, within a bound.

use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;

use crate::error::Error;
use crate::pids::children;

/// Sleeps between attempts: 1, 2, 4, … ms, about two seconds in all.
const FIRST_SLEEP: Duration = Duration::from_millis(1);
const ATTEMPTS: u32 = 11;

/// Removes the cgroup at `path` and all below it. One that is gone is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), Error> {
    // Nearly always empty and without children: one call.
    match rmdir(path) {
        Ok(()) => return Ok(()),
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        Err(errno) => return Err(Error::file("remove cgroup", path)(errno)),
    }
    let mut sleep = FIRST_SLEEP;
    for attempt in 0.. {
        for name in children(path)? {
            remove_tree(&path.join(name))?;
        }
        match rmdir(path) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) if attempt < ATTEMPTS => {
                std::thread::sleep(sleep);
                sleep *= 2;
            }
            Err(errno) => return Err(Error::file("remove cgroup", path)(errno)),
        }
    }
    Ok(())
}

fn rmdir(path: &Path) -> Result<(), Errno> {
    match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        other => other,
    }
}
