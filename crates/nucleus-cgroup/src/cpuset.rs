//! v1's cpuset: a new cgroup has no CPUs and no memory nodes, and nothing can join it before it has.
//!
//! Called when directories are made. Every new level gets what its parent has; a level that was there before keeps
//! what it has, as does one whose parent's `cgroup.clone_children` filled it.

use std::path::{Path, PathBuf};

use crate::dir::Dir;
use crate::error::Error;

const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Gives each level of `made`, parents first, its parent's CPUs and memory nodes.
pub(crate) fn inherit(made: &[PathBuf]) -> Result<(), Error> {
    let Some(top) = made.first().and_then(|first| first.parent()) else {
        return Ok(());
    };
    let open = |path: &Path| Dir::open(path).map_err(Error::file("open", path));
    let parent = open(top)?;
    let read = |file: &str| parent.read(file).map_err(Error::file("read", parent.file(file)));
    let values = [read(FILES[0])?, read(FILES[1])?];
    for level in made {
        let dir = open(level)?;
        for (file, value) in FILES.iter().zip(&values) {
            // One write(2) of an empty value is no write at all: the parent has nothing to give.
            dir.write(file, value.trim())
                .map_err(Error::file("write to", dir.file(file)))?;
        }
    }
    Ok(())
}
