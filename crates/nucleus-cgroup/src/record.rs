//! What a state file keeps of a cgroup, and the operations that later verbs do with it.
//!
//! Called by delete, kill, pause, ps and friends, in other processes than the one that made the cgroup. A record
//! comes from a file, so that every path is checked to be a cgroup, and none a hierarchy's root, before anything is
//! done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{lstat, statfs};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::Error;
use crate::layout::{CGROUP1_MAGIC, CGROUP2_MAGIC, Version};
use crate::plan::{Directory, Plan};
use crate::remove::remove_tree;

/// Where a container's cgroups are.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// "cgroupfs".
    pub driver: String,
    /// v1 controller (or `name=…`), or "unified" for v2 → absolute path of the directory.
    pub paths: BTreeMap<String, PathBuf>,
}

impl Plan {
    /// Where the cgroups will be, for a state file that is written before they are made.
    pub fn record(&self) -> Record {
        Record::of(
            self.directories
                .iter()
                .map(|directory| (directory, directory.mount.join(&directory.relative))),
        )
    }
}

impl Record {
    pub(crate) fn of<'a>(directories: impl Iterator<Item = (&'a Directory, PathBuf)>) -> Record {
        let mut record = Record {
            driver: "cgroupfs".to_owned(),
            ..Record::default()
        };
        for (directory, path) in directories {
            match directory.version {
                Version::V1 => {
                    record
                        .paths
                        .extend(directory.controllers.iter().map(|name| (name.clone(), path.clone())));
                }
                Version::V2 => drop(record.paths.insert("unified".to_owned(), path)),
            }
        }
        record
    }

    /// True when the container runs without a cgroup.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Removes the directories and every cgroup below them that the container made. Those that are gone are fine.
    ///
    /// # Errors
    /// The first directory that cannot be removed; the others are removed all the same.
    pub fn remove(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for path in self.distinct() {
            let removed = match check(path) {
                Ok(Some(_)) => remove_tree(path),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            if result.is_ok() {
                result = removed;
            }
        }
        result
    }

    /// The container's processes, those of its sub-cgroups included when `recursive`.
    ///
    /// # Errors
    /// When a cgroup cannot be read.
    pub fn pids(&self, recursive: bool) -> Result<Vec<Pid>, Error> {
        match self.principal() {
            Some(path) => crate::pids::read(path, recursive),
            None => Ok(Vec::new()),
        }
    }

    /// The v2 directory.
    pub fn unified(&self) -> Option<&Path> {
        self.paths.get("unified").map(PathBuf::as_path)
    }

    /// The directory that is asked about processes: a v1 one where v1 carries controllers, because a process that was
    /// moved by hand (or by an older runtime) need not be on the v2 side of a hybrid host.
    pub(crate) fn principal(&self) -> Option<&Path> {
        let order = ["freezer", "devices", "pids", "unified"];
        let first = order.iter().find_map(|name| self.paths.get(*name));
        first.or_else(|| self.paths.values().next()).map(PathBuf::as_path)
    }

    /// Each directory once: controllers that are mounted together share one.
    pub(crate) fn distinct(&self) -> BTreeSet<&Path> {
        self.paths.values().map(PathBuf::as_path).collect()
    }
}

/// Checks that `path` is a cgroup other than a hierarchy's root. `None` when it is gone; else the filesystem's magic
/// number.
pub(crate) fn check(path: &Path) -> Result<Option<u64>, Error> {
    let wrong = |problem| Error::Path {
        path: path.to_path_buf(),
        problem,
    };
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(wrong("is not a clean absolute path"));
    }
    let magic = match statfs(path) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
        other => other.map_err(Error::file("stat", path))?.f_type as u64,
    };
    if magic != CGROUP1_MAGIC && magic != CGROUP2_MAGIC {
        return Err(wrong("is not a cgroup"));
    }
    let parent = path.parent().ok_or_else(|| wrong("is a root directory"))?;
    let device = |path: &Path| lstat(path).map(|stat| stat.st_dev).map_err(Error::file("stat", path));
    if device(path)? != device(parent)? {
        return Err(wrong("is the root of a hierarchy"));
    }
    Ok(Some(magic))
}
