//! Which control group hierarchies this host has and where: v1, v2, both, or none.
//!
//! Probed once by the caller and passed down. [`Layout::probe`] does the reading (statfs, /proc/self/cgroup, and
//! /proc/self/mountinfo only when v1 is involved), [`Layout::parse`] the deciding, so that every layout is testable
//! from text. Only mounts below /sys/fs/cgroup count: others belong to some container's root filesystem.

use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::io::Errno;

use crate::dir::{read_list, read_path};
use crate::error::Error;
use crate::path::clean;

const ROOT: &str = "/sys/fs/cgroup";
const MOUNTS: &str = "/proc/self/mountinfo";
const UNIFIED: &str = "/sys/fs/cgroup/unified";
pub(crate) const CGROUP2_MAGIC: u64 = 0x6367_7270;
pub(crate) const CGROUP1_MAGIC: u64 = 0x0027_e0eb;

/// The kernel interface of a hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// cgroup-v1 (Documentation/admin-guide/cgroup-v1).
    V1,
    /// cgroup-v2 (Documentation/admin-guide/cgroup-v2.rst).
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// v1 or v2.
    pub version: Version,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The controllers on it, as the kernel names them; a named v1 hierarchy has the one entry `name=NAME`.
    pub controllers: Vec<String>,
    /// The runtime's own cgroup, relative to `mount`.
    pub own: PathBuf,
}

impl Hierarchy {
    /// True when this hierarchy carries the controller.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// The kind of [`Layout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// No hierarchy is mounted.
    None,
    /// v1 hierarchies only.
    Legacy,
    /// v1 hierarchies, and v2 at /sys/fs/cgroup/unified.
    Hybrid,
    /// v2 only.
    Unified,
}

/// The host's hierarchies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Which kind it is.
    pub mode: Mode,
    /// All of them; the v2 hierarchy, where there is one, comes last.
    pub hierarchies: Vec<Hierarchy>,
}

/// What [`Layout::probe`] reads from the kernel.
#[derive(Debug, Default, Clone, Copy)]
pub struct Facts<'a> {
    /// Where cgroup2 is mounted.
    pub v2_mount: Option<&'a str>,
    /// `cgroup.controllers` of that mount.
    pub v2_controllers: &'a str,
    /// /proc/self/cgroup.
    pub own: &'a str,
    /// /proc/self/mountinfo; empty on a pure v2 host.
    pub mountinfo: &'a str,
}

impl Layout {
    /// A host without control groups.
    pub fn none() -> Layout {
        Layout {
            mode: Mode::None,
            hierarchies: Vec::new(),
        }
    }

    /// Asks the kernel.
    ///
    /// # Errors
    /// When one of the files in /proc or `cgroup.controllers` cannot be read. A missing /sys/fs/cgroup is no error
    /// but [`Layout::none`].
    pub fn probe() -> Result<Layout, Error> {
        let (v2_mount, v1) = match magic(ROOT)? {
            None => return Ok(Layout::none()),
            Some(CGROUP2_MAGIC) => (Some(ROOT), false),
            Some(_) if magic(UNIFIED)? == Some(CGROUP2_MAGIC) => (Some(UNIFIED), true),
            Some(_) => (None, true),
        };
        let v2_controllers = match v2_mount {
            Some(mount) => read_path(&Path::new(mount).join("cgroup.controllers"))?,
            None => String::new(),
        };
        let own = read_path(Path::new("/proc/self/cgroup"))?;
        let mountinfo = if v1 {
            read_list(Path::new(MOUNTS)).map_err(Error::file("read", MOUNTS))?
        } else {
            String::new()
        };
        Ok(Layout::parse(&Facts {
            v2_mount,
            v2_controllers: &v2_controllers,
            own: &own,
            mountinfo: &mountinfo,
        }))
    }

    /// Decides from what was read.
    pub fn parse(facts: &Facts<'_>) -> Layout {
        let memberships = parse_own(facts.own);
        let mut hierarchies = parse_mounts(facts.mountinfo, &memberships);
        let v1 = !hierarchies.is_empty();
        if let Some(mount) = facts.v2_mount {
            let own = memberships.iter().find(|member| member.controllers.is_empty());
            hierarchies.push(Hierarchy {
                version: Version::V2,
                mount: mount.into(),
                controllers: facts.v2_controllers.split_whitespace().map(str::to_owned).collect(),
                own: own.map(|member| clean(Path::new(member.path))).unwrap_or_default(),
            });
        }
        let mode = match (v1, facts.v2_mount.is_some()) {
            (false, false) => Mode::None,
            (true, false) => Mode::Legacy,
            (true, true) => Mode::Hybrid,
            (false, true) => Mode::Unified,
        };
        Layout { mode, hierarchies }
    }

    /// The hierarchy that carries a controller.
    pub fn find(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|hierarchy| hierarchy.has(controller))
    }

    /// The v2 hierarchy.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|hierarchy| hierarchy.version == Version::V2)
    }
}

/// The filesystem type at `path`, `None` when there is nothing.
fn magic(path: &str) -> Result<Option<u64>, Error> {
    match statfs(path) {
        Ok(stat) => Ok(Some(stat.f_type as u64)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Error::file("stat", path)(errno)),
    }
}

/// A line of /proc/self/cgroup (cgroups(7)).
struct Membership<'a> {
    /// The controllers of a v1 hierarchy, separated by commas, or `name=NAME`; empty for v2.
    controllers: &'a str,
    /// The first of them.
    first: &'a str,
    path: &'a str,
}

fn parse_own(text: &str) -> Vec<Membership<'_>> {
    text.lines()
        .filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let first = controllers.split(',').next()?;
            Some(Membership {
                controllers,
                first,
                path,
            })
        })
        .collect()
}

/// The v1 hierarchies of /proc/self/mountinfo (proc_pid_mountinfo(5)).
fn parse_mounts(mountinfo: &str, memberships: &[Membership<'_>]) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        if mount.point == ROOT.as_bytes() {
            // What lies below an earlier mount of the whole place is out of sight.
            found.clear();
        }
        if mount.fstype != b"cgroup" {
            continue;
        }
        let of = |option: &[u8]| {
            memberships
                .iter()
                .find(|member| member.first.as_bytes() == option && !option.is_empty())
        };
        let Some(member) = mount.options.split(|byte| *byte == b',').find_map(of) else {
            continue;
        };
        let controllers: Vec<String> = member.controllers.split(',').map(str::to_owned).collect();
        let point = unescape(mount.point);
        // A later mount at the same place hides the earlier one; a hierarchy that is mounted twice is used once.
        found.retain(|other| other.mount.as_os_str() != point.as_os_str());
        if found.iter().any(|other| other.controllers == controllers) {
            continue;
        }
        let own = match mount.root {
            b"/" => Path::new(member.path),
            root => Path::new(member.path)
                .strip_prefix(unescape(root))
                .unwrap_or(Path::new("")),
        };
        found.push(Hierarchy {
            version: Version::V1,
            mount: point,
            controllers,
            own: clean(own),
        });
    }
    found
}

/// The fields of a mountinfo line that matter here; names are escaped. Bytes, as to look for characters takes five times as long.
struct Mount<'a> {
    root: &'a [u8],
    point: &'a [u8],
    fstype: &'a [u8],
    options: &'a [u8],
}

impl<'a> Mount<'a> {
    /// `None` for a mount that is not at or below /sys/fs/cgroup, which most are: their lines are not read on.
    fn parse(line: &'a str) -> Option<Mount<'a>> {
        let mut fields = line.as_bytes().split(|byte| *byte == b' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        if !matches!(point.strip_prefix(ROOT.as_bytes())?, [] | [b'/', ..]) {
            return None;
        }
        // Type, source and the file system's own options come last, after a varying number of optional fields.
        Some(Mount {
            root,
            point,
            options: fields.next_back()?,
            fstype: fields.nth_back(1)?,
        })
    }
}

/// Undoes the kernel's `\040` for blanks and the like.
fn unescape(bytes: &[u8]) -> PathBuf {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    if !bytes.contains(&b'\\') {
        return OsStr::from_bytes(bytes).into();
    }
    let mut result = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                result.push(byte);
                rest = &tail[3..];
            }
            None => {
                result.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(result).into()
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
