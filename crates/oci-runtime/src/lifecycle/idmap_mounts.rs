//! Bind mounts that need the host's rights: made by the host side, before there is an init.
//!
//! Mapping the owners of a mount (`idmap`) needs rights over the filesystem itself, and some sources lie where only the
//! host's root comes; init gives up both with a user namespace. So these trees are cloned (and mapped) here; init
//! inherits them as descriptors and attaches them in their turn. The kernel takes the maps from a user namespace only,
//! so a child that does nothing is born into one for as long as that takes. All other binds are init's own: what the
//! host has mounted read-only, say, is locked for it. `mounts add` makes all its binds here: init cannot do it any more.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use nucleus_sys::mount::{Attributes, set_attributes, set_id_map};
use nucleus_sys::process::{Clone, Forked, clone3};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitOptions};

use super::id_maps::lines;
use crate::init::failure::{Explain, Failure};
use crate::plan::{IdMap, IdMapping, Links, MappedBy, Mount, MountKind, Plan};
use crate::rootfs::{pivot, root::clone_mount_at};

/// `CLONE_NEWUSER` as the plan has it.
const NEW_USER: u64 = CloneFlags::CLONE_NEWUSER.bits() as u64;

/// The trees of all mounts with a mapping and of those that init has no way to, each with the index of its mount.
///
/// # Errors
/// Named by `mounts[i]`.
pub fn trees(plan: &Plan) -> Result<Vec<(usize, OwnedFd)>, Failure> {
    let mut trees = Vec::new();
    let image = |path: &Path| Some(Path::new("/").join(path.strip_prefix(&plan.rootfs.path).ok()?));
    let other_root = plan.namespaces.has(NEW_USER) && Uid::effective().is_root();
    for (i, mount) in plan.mounts.iter().enumerate() {
        let Some(from) = Source::of(mount) else { continue };
        let source = from.path;
        if from.links.copy && source.is_symlink() {
            continue;
        }
        let is_made_here = mount.id_map.is_some() || other_root && only_root_reaches(source);
        if let Some(inside) = image(source).filter(|_| is_made_here) {
            let covers = |earlier: &Mount| inside.starts_with(&earlier.destination);
            if let Some(j) = plan.mounts[..i].iter().position(covers) {
                return Err(Failure::new(format!(
                    "mounts[{i}].source: {} is in what mounts[{j}] mounts, and only the host side could bind it, \
                     which comes before: not supported",
                    source.display()
                )));
            }
        }
        if is_made_here || other_root && !from.recursive && has_mounts_below(source) {
            trees.push((i, tree(&from, propagation_of(plan), i)?));
        }
    }
    Ok(trees)
}

/// Whether a directory on the way is closed to others than the host's root, as podman's are below /run/containers.
fn only_root_reaches(source: &Path) -> bool {
    const NOBODY: u32 = 65534;
    let (uid, gid) = (setfsuid(Uid::from_raw(NOBODY)), setfsgid(Gid::from_raw(NOBODY)));
    let opened = rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    setfsuid(uid);
    setfsgid(gid);
    matches!(opened, Err(Errno::ACCESS))
}

/// Whether something is mounted below a directory. A mount namespace of another user namespace holds these mounts together
/// (mount_namespaces(7)): init could not bind the directory without them.
fn has_mounts_below(source: &Path) -> bool {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let below = [source.as_os_str().as_bytes(), b"/"].concat();
    let points = table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.into_iter().any(|point| point.starts_with(&below))
}

/// What a tree must be cut off with: it is made in the host's mount namespace, so without this, what is mounted on it inside
/// would appear on the host.
fn propagation_of(plan: &Plan) -> MountPropagationFlags {
    let propagation = pivot::initial_propagation(&plan.rootfs);
    if propagation.contains(MountPropagationFlags::SHARED) && plan.namespaces.has(NEW_USER) {
        // The kernel makes every mount that init inherits a slave when the user namespace differs from the host's
        // (mount_namespaces(7)); a mount that the host side makes must be no peer of the host's either.
        return MountPropagationFlags::DOWNSTREAM;
    }
    propagation
}

/// What a bind mount is a copy of.
#[derive(Debug)]
pub struct Source<'a> {
    /// The host path.
    pub path: &'a Path,
    /// The mounts below it, too.
    recursive: bool,
    links: Links,
    id_map: Option<&'a IdMap>,
}

impl<'a> Source<'a> {
    /// `None` for a mount of another kind.
    pub fn of(mount: &'a Mount) -> Option<Self> {
        let MountKind::Bind {
            source,
            recursive,
            links,
        } = &mount.kind
        else {
            return None;
        };
        Some(Self {
            path: source,
            recursive: *recursive,
            links: *links,
            id_map: mount.id_map.as_deref(),
        })
    }
}

/// A detached copy of the source of a bind mount, with the owners that the mount asks for. The whole tree gets this
/// propagation.
///
/// # Errors
/// Named by `mounts[i]`.
pub fn tree(from: &Source<'_>, propagation: MountPropagationFlags, i: usize) -> Result<OwnedFd, Failure> {
    let source = from.path;
    let tree = clone_mount_at(source, from.recursive, from.links.bind_source)
        .explain(|| format!("mounts[{i}].source: cannot bind {}", source.display()))?;
    let cut_off = Attributes {
        propagation: u64::from(propagation.bits()) & !nix::libc::MS_REC,
        ..Attributes::default()
    };
    set_attributes(&tree, cut_off, true)
        .explain(|| format!("mounts[{i}]: cannot change the propagation of {}", source.display()))?;
    if let Some(id_map) = from.id_map {
        map_owners(&tree, source, id_map, i)?;
    }
    Ok(tree)
}

fn map_owners(tree: &OwnedFd, source: &Path, id_map: &IdMap, i: usize) -> Result<(), Failure> {
    let namespace = match &id_map.by {
        MappedBy::Maps { uid, gid } => user_namespace(uid, gid)
            .map_err(|failure| Failure::new(format!("mounts[{i}]: cannot make the id mapping: {failure}")))?,
        MappedBy::Namespace(path) => rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .explain(|| format!("mounts[{i}]: cannot open {}", path.display()))?,
    };
    set_id_map(tree, namespace, id_map.recursive).explain(|| {
        format!(
            "mounts[{i}].options: cannot map the owners of {} (not every filesystem can)",
            source.display()
        )
    })
}

/// A user namespace with these maps and nobody in it.
fn user_namespace(uid: &[IdMapping], gid: &[IdMapping]) -> Result<OwnedFd, Failure> {
    let (end, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).explain(|| "pipe")?;
    let what = Clone {
        flags: CloneFlags::CLONE_NEWUSER.bits() as u64,
        cgroup: None,
    };
    match clone3(&what).explain(|| "clone3")? {
        Forked::Child => {
            drop(ours);
            // The end of file comes with our maker's end, whichever way that comes about.
            let mut byte = [0u8; 1];
            while let Err(rustix::io::Errno::INTR) = rustix::io::read(&end, &mut byte) {}
            std::process::exit(0)
        }
        Forked::Parent(pid, pidfd) => {
            let namespace = map(pid, uid, gid);
            let _ = rustix::process::pidfd_send_signal(pidfd.as_fd(), Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
            namespace
        }
    }
}

fn map(pid: Pid, uid: &[IdMapping], gid: &[IdMapping]) -> Result<OwnedFd, Failure> {
    let pid = pid.as_raw_nonzero();
    for (file, map) in [("uid_map", uid), ("gid_map", gid)] {
        let path = format!("/proc/{pid}/{file}");
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(lines(map).as_bytes()))
            .explain(|| format!("cannot write {path}"))?;
    }
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::open(Path::new(&path), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .explain(|| format!("cannot open {path}"))
}
