//! v1's cpuset: a new cgroup has no CPUs and no memory nodes, and nothing can join it before it has.
//!
//! Called when directories are made. Every new level gets what its parent has; a level that has values keeps them.

use std::path::Path;

use rustix::io::Errno;

use crate::dir::Dir;
use crate::error::Error;

/// Gives every level below `mount` down to `path` its parent's CPUs and memory nodes where it has none.
pub(crate) fn inherit(mount: &Path, path: &Path) -> Result<(), Error> {
    let mut levels: Vec<&Path> = path.ancestors().take_while(|level| *level != mount).collect();
    levels.reverse();
    let mut parent = Dir::open(mount).map_err(Error::file("open", mount))?;
    for level in levels {
        let dir = Dir::open(level).map_err(Error::file("open", level))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let read = |dir: &Dir| dir.read(file).map_err(Error::file("read", dir.file(file)));
            if !read(&dir)?.trim().is_empty() {
                continue;
            }
            let value = read(&parent)?;
            match dir.write(file, value.trim()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::file("write to", dir.file(file))(errno)),
            }
        }
        parent = dir;
    }
    Ok(())
}
