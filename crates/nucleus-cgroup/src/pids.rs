//! Which processes live in a cgroup and its sub-cgroups.

use std::path::Path;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::dir::{Dir, Records, read_all};
use crate::error::Error;
use crate::tree;

/// The processes of the cgroup at `path`, with those of all cgroups below when `recursive`. A cgroup that is gone, or
/// goes while we look, has none.
pub(crate) fn read(path: &Path, recursive: bool) -> Result<Vec<Pid>, Error> {
    let mut found = Vec::new();
    if recursive {
        tree::walk(path, |dir| collect(dir, &mut found))?;
    } else {
        collect(&Dir::at(path.to_path_buf()), &mut found)?;
    }
    Ok(found)
}

fn collect(dir: &Dir, found: &mut Vec<Pid>) -> Result<(), Error> {
    for file in ["cgroup.procs", "cgroup.threads"] {
        match dir.reader(file).and_then(|fd| read_all(&fd, Records::Many)) {
            Ok(text) => {
                found.extend(text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)));
                break;
            }
            Err(Errno::NOENT | Errno::NODEV) => break,
            // A threaded cgroup of v2 lists threads only (cgroup-v2.rst, "Threads").
            Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(Error::file("read", dir.file(file))(errno)),
        }
    }
    Ok(())
}
