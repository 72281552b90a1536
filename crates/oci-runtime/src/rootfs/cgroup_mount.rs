//! `"type": "cgroup"`: the container's view of the control groups.
//!
//! The host's own cgroup mounts are bound, never mounted afresh: a new cgroup2 mount from the initial cgroup namespace
//! costs milliseconds of RCU, and a bind of the container's own group shows the same tree. On v2 without a cgroup
//! namespace the whole tree is shown, as the paths in /proc/self/cgroup expect. A view that could reach the host's
//! groups is read-only (CVE-2023-25809).

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nucleus_sys::mount::{Attributes, attr, set_attributes};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags};

use super::mounts::directory;
use super::root::{Root, attach, clone_mount_at, mount_on, mounted_on};
use crate::plan::{Mount, MountKind};

/// What the host offers to be shown, by the layout of its control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// cgroup v2: one directory.
    Unified {
        /// Absolute host path.
        source: PathBuf,
        /// The directory reaches beyond the container's own group.
        foreign: bool,
    },
    /// v1 or hybrid: a tmpfs with one directory for each hierarchy.
    Legacy {
        /// (name below the mount, absolute host path).
        hierarchies: Vec<(String, PathBuf)>,
        /// (link name, target) for controllers that share a hierarchy, e.g. `cpu` → `cpu,cpuacct`.
        links: Vec<(String, String)>,
        /// The directories reach beyond the container's own groups.
        foreign: bool,
    },
}

/// The name of cgroup v2's directory beside those of v1.
const UNIFIED: &str = "unified";

/// Mounts `view` at the destination of `mount`. `procfs` is the host's.
///
/// # Errors
/// As open_tree(2), move_mount(2) and mount(2).
pub fn mount(root: &Root, mount: &Mount, view: &View, procfs: &OwnedFd) -> Result<(), Errno> {
    match view {
        View::Unified { source, foreign } => show(root, mount, source, *foreign),
        View::Legacy {
            hierarchies, foreign, ..
        } if mount.kind == MountKind::Cgroup2 => match hierarchies.iter().find(|(name, _)| name == UNIFIED) {
            Some((_, source)) => show(root, mount, source, *foreign),
            None => mount_unified(root, mount, procfs),
        },
        View::Legacy {
            hierarchies,
            links,
            foreign,
        } => {
            let target = directory(root, &mount.destination, false)?.0;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            mount_on(&target, procfs, |path| {
                rustix::mount::mount("tmpfs", path, "tmpfs", flags, c"mode=755")
            })?;
            let tmpfs = mounted_on(&target)?;
            for (name, source) in hierarchies {
                rustix::fs::mkdirat(&tmpfs, name, rustix::fs::Mode::from_raw_mode(0o755))?;
                let tree = clone_mount_at(source, false, false)?;
                set_attributes(&tree, attributes(mount, *foreign), false)?;
                // Were a link put there, it would not be followed: that takes MOVE_MOUNT_T_SYMLINKS.
                rustix::mount::move_mount(tree, c"", &tmpfs, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
            }
            for (name, target) in links {
                rustix::fs::symlinkat(Path::new(target), &tmpfs, name)?;
            }
            if wants_read_only(mount) || *foreign {
                set_attributes(
                    &tmpfs,
                    Attributes {
                        set: attr::RDONLY,
                        ..Attributes::default()
                    },
                    false,
                )?;
            }
            Ok(())
        }
    }
}

/// Shows one directory of the host.
fn show(root: &Root, mount: &Mount, source: &Path, foreign: bool) -> Result<(), Errno> {
    let tree = clone_mount_at(source, false, false)?;
    set_attributes(&tree, attributes(mount, foreign), false)?;
    attach(tree, directory(root, &mount.destination, false)?.0)
}

/// Mounts cgroup v2 where the host does not. The container has no group of its own there, so that others' are shown.
fn mount_unified(root: &Root, mount: &Mount, procfs: &OwnedFd) -> Result<(), Errno> {
    let target = directory(root, &mount.destination, false)?.0;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_on(&target, procfs, |path| {
        rustix::mount::mount("cgroup2", path, "cgroup2", flags, None)
    })?;
    set_attributes(mounted_on(&target)?, attributes(mount, true), false)
}

fn wants_read_only(mount: &Mount) -> bool {
    mount.flags & u64::from(MountFlags::RDONLY.bits()) != 0
}

fn attributes(mount: &Mount, foreign: bool) -> Attributes {
    let read_only = if wants_read_only(mount) || foreign {
        attr::RDONLY
    } else {
        0
    };
    let set = attr::NOSUID | attr::NODEV | attr::NOEXEC | read_only;
    Attributes {
        set,
        clear: 0,
        // One mount has nothing below it, so that `rprivate` says the same as `private`.
        propagation: mount.attributes.propagation | mount.recursive.propagation,
    }
}
