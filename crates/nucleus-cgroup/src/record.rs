//! What a state file keeps of a cgroup, and the operations that later verbs do with it.
//!
//! Called by delete, kill, pause, ps and friends, in other processes than the one that made the cgroup. A record
//! comes from a file, so that every path is checked to be a cgroup, and none a hierarchy's root, before anything is
//! done to it.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{lstat, statfs};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::dir::Dir;
use crate::error::Error;
use crate::join::Joiner;
use crate::layout::{CGROUP1_MAGIC, CGROUP2_MAGIC, Layout, Version};
use crate::path::clean;
use crate::plan::{Directory, Plan};
use crate::remove::{remove_tree, rmdir};

/// How long a killed runtime's init may take to follow it.
const MOMENT: Duration = Duration::from_secs(1);

/// Where a container's cgroups are.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// "cgroupfs"; "systemd", or "systemd-user" for that of the user, who then is the only one to find the unit.
    pub driver: String,
    /// v1 controller (or `name=…`), or "unified" for v2 → absolute path of the directory.
    pub paths: BTreeMap<String, PathBuf>,
    /// The transient unit that systemd has made, which goes together with the cgroups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

impl Plan {
    /// Where the cgroups will be, for a state file that is written before they are made.
    pub fn record(&self) -> Record {
        let directories = self.directories.iter();
        self.record_of(directories.map(|directory| (directory, directory.path.clone())))
    }

    pub(crate) fn record_of<'a>(&self, directories: impl Iterator<Item = (&'a Directory, PathBuf)>) -> Record {
        let record = Record::of(directories);
        match &self.unit {
            None => record,
            Some(unit) => Record {
                driver: unit.driver().to_owned(),
                unit: Some(unit.name.clone()),
                ..record
            },
        }
    }
}

impl Record {
    fn of<'a>(directories: impl Iterator<Item = (&'a Directory, PathBuf)>) -> Record {
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

    /// Removes those of the directories that are empty, for a creation that was cut off: whether what lives in the
    /// others is ours is not known. A process that is about to die is given a moment. Returns what was left.
    ///
    /// # Errors
    /// [`Error::Path`] for a path that is no cgroup.
    pub fn remove_unused(&self) -> Result<Vec<PathBuf>, Error> {
        let deadline = Instant::now() + MOMENT;
        if self.unit.is_some() {
            return self.remove_unused_unit(deadline);
        }
        let mut left = Vec::new();
        for path in self.distinct() {
            while check(path)?.is_some() && rmdir(path).is_err() {
                if Instant::now() >= deadline {
                    left.push(path.to_path_buf());
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(left)
    }

    /// A scope without processes is no other container's. It is stopped and not only emptied: systemd, which waits for
    /// the kernel to say that nobody is left, would never hear so of a directory that is gone.
    fn remove_unused_unit(&self, deadline: Instant) -> Result<Vec<PathBuf>, Error> {
        let used = |path: &&Path| {
            let empty = || crate::pids::read(path, true).is_ok_and(|pids| pids.is_empty());
            !matches!(check(path), Ok(None)) && !empty()
        };
        loop {
            let left: Vec<_> = self
                .distinct()
                .into_iter()
                .filter(used)
                .map(Path::to_path_buf)
                .collect();
            if left.is_empty() {
                return self.remove().map(|()| left);
            }
            if Instant::now() >= deadline {
                return Ok(left);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Removes the directories if none of them is in use, in as few calls as that takes. False when one is, or when the
    /// cgroup is a unit of systemd: then what lives there is to be killed before [`Record::remove`].
    ///
    /// # Errors
    /// [`Error::Path`] for a path that is no cgroup; else the directory that cannot be removed.
    pub fn remove_if_unused(&self) -> Result<bool, Error> {
        self.remove_each(remove_empty)
    }

    /// [`Record::remove_if_unused`] for directories that this very process has made: they need not be checked.
    ///
    /// # Errors
    /// The directory that cannot be removed.
    pub fn remove_own_if_unused(&self) -> Result<bool, Error> {
        self.remove_each(remove_known)
    }

    fn remove_each(&self, remove: fn(&Path) -> Result<bool, Error>) -> Result<bool, Error> {
        if self.unit.is_some() {
            return Ok(false);
        }
        let mut unused = true;
        for path in self.distinct() {
            unused &= remove(path)?;
        }
        Ok(unused)
    }

    /// Removes the directories and every cgroup below them that the container made, and systemd's unit. Those that are
    /// gone are fine.
    ///
    /// # Errors
    /// The first directory that cannot be removed; the others are removed all the same.
    pub fn remove(&self) -> Result<(), Error> {
        let mut result = crate::systemd::stop(&self.driver, self.unit.as_deref());
        for path in self.distinct() {
            let removed = remove(path);
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

    /// Whether processes live in the cgroups.
    ///
    /// # Errors
    /// When a cgroup cannot be read.
    pub fn has_processes(&self) -> Result<bool, Error> {
        Ok(!self.pids(true)?.is_empty())
    }

    /// Whether processes live in the cgroups that this PID namespace does not show: v2 says that somebody is there, v1
    /// counts them.
    ///
    /// # Errors
    /// When a cgroup cannot be read.
    pub fn has_hidden_processes(&self) -> Result<bool, Error> {
        let read = |path: &Path, file: &str| match Dir::at(path.to_path_buf()).read(file) {
            Ok(text) => Ok(text),
            Err(Errno::NOENT | Errno::NODEV) => Ok(String::new()),
            Err(errno) => Err(Error::file("read", path.join(file))(errno)),
        };
        let mut populated = false;
        if let Some(path) = self.unified() {
            populated |= read(path, "cgroup.events")?.lines().any(|line| line == "populated 1");
        }
        if let Some(path) = self.paths.get("pids") {
            populated |= !matches!(read(path, "pids.current")?.trim(), "" | "0");
        }
        Ok(populated && self.pids(true)?.is_empty())
    }

    /// These cgroups, or the one that a process is in wherever the recorded one is gone; a hierarchy in whose root the
    /// process is drops out. `places` is the text of its /proc/PID/cgroup.
    ///
    /// # Errors
    /// When the host's hierarchies cannot be read.
    pub fn or_place_of_process(&self, places: &str) -> Result<Record, Error> {
        let layout = Layout::probe()?;
        let mut record = Record {
            paths: BTreeMap::new(),
            ..self.clone()
        };
        for (name, path) in &self.paths {
            if check_kind(path)?.is_some() {
                record.paths.insert(name.clone(), path.clone());
                continue;
            }
            let wanted = if name == "unified" { "" } else { name.as_str() };
            let place = places.lines().find_map(|line| {
                let (controllers, place) = line.split_once(':')?.1.split_once(':')?;
                controllers
                    .split(',')
                    .any(|controller| controller == wanted)
                    .then_some(place)
            });
            let hierarchy = match wanted {
                "" => layout.unified(),
                name => layout.find(name),
            };
            let place = place.map(|place| clean(Path::new(place))).unwrap_or_default();
            if let Some(hierarchy) = hierarchy.filter(|_| !place.as_os_str().is_empty()) {
                record.paths.insert(name.clone(), hierarchy.mount.join(place));
            }
        }
        Ok(record)
    }

    /// The v2 directory, for `CLONE_INTO_CGROUP` of a further process; `None` on a host without v2.
    ///
    /// # Errors
    /// When it is gone or no cgroup.
    pub fn unified_dir(&self) -> Result<Option<OwnedFd>, Error> {
        Ok(self.unified().map(open).transpose()?.and_then(|dir| dir.fd))
    }

    /// What a further process needs to move itself into the v1 hierarchies.
    ///
    /// # Errors
    /// When one of the directories is gone or no cgroup.
    pub fn joiner(&self) -> Result<Joiner, Error> {
        self.open_joiner(false)
    }

    /// As [`Record::joiner`], v2 included: see [`Cgroup::full_joiner`](crate::Cgroup::full_joiner).
    ///
    /// # Errors
    /// As [`Record::joiner`].
    pub fn full_joiner(&self) -> Result<Joiner, Error> {
        self.open_joiner(true)
    }

    fn open_joiner(&self, with_unified: bool) -> Result<Joiner, Error> {
        let v1 = self.distinct().into_iter().filter(|path| Some(*path) != self.unified());
        // One file each: whether it is there shows when that is opened.
        let known = |path: &Path| check(path).map(|_| Dir::at(path.to_path_buf()));
        let dirs = v1.map(known).collect::<Result<Vec<Dir>, _>>()?;
        let unified = self.unified().filter(|_| with_unified).map(known).transpose()?;
        Joiner::open(dirs.iter(), unified.as_ref())
    }

    /// The record of the sub-cgroup at `below` (relative, cleaned as a rooted path), for `exec --cgroup`. With
    /// `only`, the other hierarchies stay as they are: `controller:path` on v1.
    pub fn sub(&self, below: &Path, only: Option<&str>) -> Record {
        let below = clean(below);
        let place = |(name, path): (&String, &PathBuf)| {
            let moves = only.is_none_or(|only| only == name) && !below.as_os_str().is_empty();
            (name.clone(), if moves { path.join(&below) } else { path.clone() })
        };
        Record {
            driver: self.driver.clone(),
            paths: self.paths.iter().map(place).collect(),
            unit: self.unit.clone(),
        }
    }

    /// The path of the v2 directory.
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
    pub(crate) fn distinct(&self) -> Vec<&Path> {
        let mut paths: Vec<&Path> = self.paths.values().map(PathBuf::as_path).collect();
        paths.sort_unstable_by_key(|path| path.as_os_str());
        paths.dedup_by_key(|path| path.as_os_str());
        paths
    }
}

/// Opens a recorded cgroup that must be there.
fn open(path: &Path) -> Result<Dir, Error> {
    check(path)?;
    Dir::open(path).map_err(Error::file("open", path))
}

/// Removes one recorded cgroup and all below it.
fn remove(path: &Path) -> Result<(), Error> {
    match remove_empty(path)? {
        true => Ok(()),
        false => check(path).and_then(|_| remove_tree(path)),
    }
}

/// Removes one recorded cgroup, in two calls; false when it is in use. A hierarchy's root is a mount point and so never
/// goes.
fn remove_empty(path: &Path) -> Result<bool, Error> {
    match check_kind(path)? {
        None => Ok(true),
        Some(()) => remove_known(path),
    }
}

/// Removes one directory that is a cgroup; false when it is in use.
fn remove_known(path: &Path) -> Result<bool, Error> {
    match rmdir(path) {
        Ok(()) => Ok(true),
        Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(false),
        Err(errno) => Err(Error::file("remove cgroup", path)(errno)),
    }
}

/// Checks that `path` is a cgroup other than a hierarchy's root. `None` when it is gone.
pub(crate) fn check(path: &Path) -> Result<Option<()>, Error> {
    if check_kind(path)?.is_none() {
        return Ok(None);
    }
    let device = |path: &Path| match lstat(path) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        other => other.map(|stat| Some(stat.st_dev)).map_err(Error::file("stat", path)),
    };
    let Some(own) = device(path)? else { return Ok(None) };
    if path.parent().map(device).transpose()?.flatten() != Some(own) {
        return Err(Error::Path {
            path: path.to_path_buf(),
            problem: "is the root of a hierarchy",
        });
    }
    Ok(Some(()))
}

/// Checks that `path` is on a cgroup filesystem. `None` when it is gone.
fn check_kind(path: &Path) -> Result<Option<()>, Error> {
    let wrong = |problem| Error::Path {
        path: path.to_path_buf(),
        problem,
    };
    let mut parts = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    if !path.is_absolute() || parts.any(|part| part == b"..") {
        return Err(wrong("is not a clean absolute path"));
    }
    let magic = match statfs(path) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
        other => other.map_err(Error::file("stat", path))?.f_type as u64,
    };
    if magic != CGROUP1_MAGIC && magic != CGROUP2_MAGIC {
        return Err(wrong("is not a cgroup"));
    }
    Ok(Some(()))
}
