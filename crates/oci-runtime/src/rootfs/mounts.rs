//! `mounts`, in the order of config.json.
//!
//! A new filesystem costs one mount(2) onto the descriptor of its destination; a bind is cloned (by the host side when
//! its owners are mapped), given its attributes and attached, so that it is never visible without them. Destinations
//! are resolved inside the root only.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nucleus_sys::mount::set_attributes;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::root::{Names, PROC_MAGIC, Root, attach, clone_mount_at, is_dir, mount_on, mounted_on};
use super::{cgroup_mount, copy_up};
use crate::init::failure::{Explain, Failure};
use crate::plan::{Links, Mount, MountKind};

/// Makes every mount of the plan below `root`. The working directory is another one after that; `procfs` is the host's.
///
/// # Errors
/// The first failure, named by `mounts[i]` and its destination.
pub fn mount_all(
    root: &mut Root,
    mounts: &[Mount],
    cgroups: &cgroup_mount::View,
    idmap_mounts: &[(usize, OwnedFd)],
    procfs: &OwnedFd,
) -> Result<(), Failure> {
    for (index, mount) in mounts.iter().enumerate() {
        let name = || format!("mounts[{index}]: cannot mount {}", describe(mount));
        match &mount.kind {
            MountKind::Filesystem { fstype, source } => {
                new_filesystem(root, mount, fstype, source, procfs).map_err(|error| explain_target(error, name()))?;
            }
            MountKind::Bind {
                source,
                recursive,
                links,
            } => {
                let made = idmap_mounts.iter().find(|(i, _)| *i == index);
                match made {
                    Some((_, tree)) => bind(root, mount, tree, *links),
                    None if links.copy && source.is_symlink() => copy_link(root, mount, source),
                    None => {
                        let tree = clone_mount_at(source, *recursive, links.bind_source)
                            .explain(|| format!("mounts[{index}].source: cannot bind {}", source.display()))?;
                        bind(root, mount, &tree, *links)
                    }
                }
                .map_err(|error| explain_target(error, name()))?;
            }
            MountKind::Cgroup | MountKind::Cgroup2 => {
                cgroup_mount::mount(root, mount, cgroups, procfs).map_err(|error| explain_target(error, name()))?;
            }
            MountKind::Remount { bind } => remount(root, mount, *bind, procfs).explain(name)?,
        }
    }
    Ok(())
}

/// What stands before the reason in an error, in the words that runc's users know.
pub(super) fn describe(mount: &Mount) -> String {
    let destination = mount.destination.display();
    match &mount.kind {
        MountKind::Filesystem { fstype, .. } => format!("{} at {destination}", fstype.to_string_lossy()),
        MountKind::Bind { source, .. } => format!("{} at {destination}", source.display()),
        MountKind::Cgroup => format!("cgroup at {destination}"),
        MountKind::Cgroup2 => format!("cgroup2 at {destination}"),
        MountKind::Remount { .. } => format!("{destination} again"),
    }
}

pub(super) fn explain_target(error: Errno, what: String) -> Failure {
    match error {
        Errno::LOOP => Failure::new(format!("{what}: must be mounted on ordinary directory")),
        Errno::XDEV => Failure::new(format!("{what}: a link of the image leads inside /proc")),
        error => Failure::from_errno(what, error),
    }
}

fn new_filesystem(
    root: &mut Root,
    mount: &Mount,
    fstype: &std::ffi::CStr,
    source: &std::ffi::CStr,
    procfs: &OwnedFd,
) -> Result<(), Errno> {
    let of_the_kernel = fstype == c"proc" || fstype == c"sysfs";
    let (target, is_new) = directory(root, &mount.destination, of_the_kernel)?;
    let mut flags = MountFlags::from_bits_retain(mount.flags as u32);
    if is_dev(mount) {
        // The devices are still to be made; `seal_dev` makes it read-only after that.
        flags -= MountFlags::RDONLY;
    }
    let data = if fstype == c"tmpfs" && !is_new {
        with_mode_of(&target, mount)?
    } else {
        mount.data.to_bytes().to_vec()
    };
    if mount.copy_up {
        copy_up::mount(&target, flags, &data)?;
    } else {
        let data = std::ffi::CString::new(data).map_err(|_| Errno::INVAL)?;
        let new = |path: &str| rustix::mount::mount(source, path, fstype, flags, data.as_c_str());
        match mount_on(&target, procfs, new) {
            Err(Errno::PERM) if fstype == c"sysfs" => bind_sysfs(&target, flags)?,
            other => other?,
        }
    }
    let plain = mount.attributes.is_empty() && mount.recursive.is_empty() && mount.more_propagation.is_empty();
    let is_anchor = Root::is_anchor(&mount.destination);
    if plain && !is_anchor {
        return Ok(());
    }
    let made = mounted_on(&target)?;
    apply_attributes(&made, mount)?;
    if is_anchor {
        let names = if of_the_kernel {
            Names::OfTheKernel
        } else {
            Names::OfAnyone
        };
        root.anchor(&mount.destination, made, names);
    }
    Ok(())
}

/// The data of a tmpfs that covers a directory of the image. As runc: without `mode` it gets the mode of the directory. On
/// one that was missing it keeps the kernel's 1777.
pub(super) fn with_mode_of(covered: &OwnedFd, mount: &Mount) -> Result<Vec<u8>, Errno> {
    let mut data = mount.data.to_bytes().to_vec();
    let mut options = data.split(|byte| *byte == b',');
    if !options.any(|option| option.starts_with(b"mode=")) {
        let mode = rustix::fs::fstat(covered)?.st_mode & 0o7777;
        let comma = if data.is_empty() { "" } else { "," };
        data.extend(format!("{comma}mode={mode:o}").into_bytes());
    }
    Ok(data)
}

/// The host's sysfs, with the mounts below it, in place of a new one: the kernel makes one only for the user namespace that
/// owns the network namespace, and with the host's network that is the host's.
fn bind_sysfs(target: &OwnedFd, flags: MountFlags) -> Result<(), Errno> {
    tracing::debug!("mounts: the network namespace belongs to another user namespace, so /sys is the host's");
    let tree = clone_mount_at(Path::new("/sys"), true, false)?;
    set_attributes(&tree, copy_up::attributes_of(flags), true)?;
    attach(tree, target)
}

/// The directory that a mount covers. proc and sysfs are mounted on an `ordinary` one only: through a link of the image
/// they would appear elsewhere than masks and later checks look (CVE-2019-19921, CVE-2023-27561). True for a directory
/// that the image lacks, and that was made for the mount.
pub(super) fn directory(root: &Root, destination: &Path, ordinary: bool) -> Result<(OwnedFd, bool), Errno> {
    if let Some(new) = root.make_new_dir(destination) {
        return Ok((new, true));
    }
    let found = if ordinary {
        root.resolve_ordinary_dir(destination)
    } else {
        root.resolve(destination, OFlags::PATH | OFlags::DIRECTORY)
    };
    let (target, is_new) = match found {
        Err(Errno::NOENT) => (root.make_dir(destination)?, true),
        other => (other?, false),
    };
    refuse_hidden_proc(&target, destination)?;
    Ok((target, is_new))
}

/// `copy-symlink`: the destination becomes the link that the source is.
fn copy_link(root: &Root, mount: &Mount, source: &Path) -> Result<(), Errno> {
    root.make_link(&mount.destination, &rustix::fs::readlink(source, Vec::new())?)
}

fn bind(root: &mut Root, mount: &Mount, tree: &OwnedFd, links: Links) -> Result<(), Errno> {
    apply_attributes(tree, mount)?;
    let is_dir = is_dir(tree)?;
    attach(tree, bind_target(root, &mount.destination, is_dir, links)?.0)?;
    if is_dir && Root::is_anchor(&mount.destination) {
        let directory = rustix::io::fcntl_dupfd_cloexec(tree, 0)?;
        root.anchor(&mount.destination, directory, Names::OfAnyone);
    }
    Ok(())
}

/// The file or directory that a bind mount covers, made if it is missing. True for a directory that is new.
pub(super) fn bind_target(
    root: &Root,
    destination: &Path,
    is_dir: bool,
    links: Links,
) -> Result<(OwnedFd, bool), Errno> {
    if links.cover_destination
        && let Some(link) = root.link(destination)?
    {
        refuse_hidden_proc(&link, destination)?;
        return Ok((link, false));
    }
    if is_dir {
        return directory(root, destination, false);
    }
    // mount(2) calls both mix-ups ENOTDIR, and engines have a hint for its text; to EISDIR they give other exit codes.
    let target = root
        .make_file(destination)
        .map_err(|error| if error == Errno::ISDIR { Errno::NOTDIR } else { error })?;
    refuse_hidden_proc(&target, destination)?;
    Ok((target, false))
}

/// A destination outside of /proc must not lead into it through a link of the image: the plan has checked those below
/// /proc by name (CVE-2019-16884).
fn refuse_hidden_proc(target: &OwnedFd, destination: &Path) -> Result<(), Errno> {
    if destination.starts_with("/proc") || rustix::fs::fstatfs(target)?.f_type as u64 != PROC_MAGIC {
        return Ok(());
    }
    Err(Errno::XDEV)
}

/// New options for what is mounted at the destination: all of them, as mount(2) has it. What it is mounted over is not
/// looked at, so no link may lead to it.
fn remount(root: &Root, mount: &Mount, bind: bool, procfs: &OwnedFd) -> Result<(), Errno> {
    let target = root.resolve(&mount.destination, OFlags::PATH)?;
    refuse_hidden_proc(&target, &mount.destination)?;
    let mut flags = MountFlags::from_bits_retain(mount.flags as u32);
    if bind {
        flags |= MountFlags::BIND;
    }
    if is_dev(mount) {
        flags -= MountFlags::RDONLY;
    }
    mount_on(&target, procfs, |path| {
        rustix::mount::mount_remount(path, flags, mount.data.as_c_str())
    })?;
    apply_attributes(target, mount)
}

/// Gives a mount the attributes and the propagation that its options ask for.
///
/// # Errors
/// As mount_setattr(2).
pub fn apply_attributes(made: impl AsFd, mount: &Mount) -> Result<(), Errno> {
    if !mount.recursive.is_empty() {
        set_attributes(&made, mount.recursive, true)?;
    }
    if mount.unasked != 0 {
        let mut all = mount.attributes;
        all.clear |= mount.unasked;
        match set_attributes(&made, all, false) {
            // Locked by the user namespace that the mount comes from (mount_namespaces(7)): it stays as it is.
            Err(Errno::PERM) => set_attributes(&made, mount.attributes, false)?,
            other => other?,
        }
    } else if !mount.attributes.is_empty() {
        set_attributes(&made, mount.attributes, false)?;
    }
    for word in &mount.more_propagation {
        let kind = nucleus_sys::mount::Attributes {
            propagation: word & !nix::libc::MS_REC,
            ..Default::default()
        };
        set_attributes(&made, kind, word & nix::libc::MS_REC != 0)?;
    }
    Ok(())
}

fn is_dev(mount: &Mount) -> bool {
    mount.destination.as_os_str() == "/dev"
}

/// Makes a `/dev` that config wants read-only so, now that the devices are in it.
///
/// # Errors
/// As mount_setattr(2), named by `mounts[i]`.
pub fn seal_dev(root: &Root, mounts: &[Mount]) -> Result<(), Failure> {
    let of_dev = |mount: &&Mount| {
        is_dev(mount) && matches!(mount.kind, MountKind::Filesystem { .. } | MountKind::Remount { .. })
    };
    let read_only = |mount: &Mount| mount.flags & u64::from(MountFlags::RDONLY.bits()) != 0;
    if !mounts.iter().rfind(of_dev).is_some_and(read_only) {
        return Ok(());
    }
    let seal = || {
        let dev = root.resolve(Path::new("/dev"), OFlags::PATH | OFlags::DIRECTORY)?;
        set_attributes(
            dev,
            nucleus_sys::mount::Attributes {
                set: nucleus_sys::mount::attr::RDONLY,
                ..Default::default()
            },
            false,
        )
    };
    seal().explain(|| "cannot make /dev read-only".to_string())
}
