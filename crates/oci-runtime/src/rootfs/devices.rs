//! Device nodes and the links of /dev.
//!
//! Every node is made relative to the descriptor of its directory, resolved once inside the root (CVE-2026-41579). In
//! a user namespace, where mknod(2) is refused, the host's node is bound instead, or one that the host side has made.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nucleus_sys::mount::{Attributes, attr, set_attributes};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::root::{Names, Root, attach, clone_mount_at, mount_point};
use crate::init::failure::{Explain, Failure};
use crate::plan::Device;

/// The links that config-linux.md asks for: (target, name in /dev).
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Makes the nodes and the links; directories that were made for one that fails are taken back. With `bind`, nodes are bound from the host without trying mknod(2), but for those that the
/// host side has `made` (index into `devices`, mount).
///
/// # Errors
/// The first failure, named by the path of the device.
pub fn make_all(root: &mut Root, devices: &[Device], bind: bool, made: &[(usize, OwnedFd)]) -> Result<(), Failure> {
    root.remember_made();
    let outcome = make_each(root, devices, bind, made);
    match outcome {
        Ok(()) => root.forget_made(),
        Err(_) => root.remove_made(),
    }
    outcome
}

fn make_each(root: &mut Root, devices: &[Device], bind: bool, made: &[(usize, OwnedFd)]) -> Result<(), Failure> {
    let dev = Path::new("/dev");
    if !root.is_anchored(dev) {
        // As long as nothing is mounted there it may be exchanged at any time: it is resolved once.
        let fd = root
            .make_device_dir(dev)
            .explain(|| "cannot make devices in /dev of the container")?;
        root.anchor(dev, fd, Names::OfAnyone);
    }
    for (i, device) in devices.iter().enumerate() {
        let tree = made.iter().find(|(at, _)| *at == i).map(|(_, tree)| tree);
        let what = || format!("linux.devices: cannot make {}", device.path.display());
        let (Some(dir), Some(name)) = (device.path.parent(), device.path.file_name()) else {
            return Err(Failure::new(format!("{}: not a path of a device", what())));
        };
        let make = |dir: BorrowedFd<'_>| match tree {
            Some(tree) => attach(tree, mount_point(dir, name, 0o644)?),
            None => make(dir, name, device, bind),
        };
        let made = if Root::is_anchor(dir) {
            root.in_dir(dir, make)
        } else {
            root.make_device_dir(dir).and_then(|dir| make(dir.as_fd()))
        };
        made.map_err(|error| explain(error, device, what()))?;
    }
    for (target, name) in LINKS {
        root.in_dir(dev, |dev| link(dev, target, name))
            .explain(|| format!("cannot make the link /dev/{name}"))?;
    }
    if rustix::fs::access("/proc/kcore", rustix::fs::Access::EXISTS).is_ok() {
        root.in_dir(dev, |dev| link(dev, "/proc/kcore", "core"))
            .explain(|| "cannot make the link /dev/core")?;
    }
    Ok(())
}

/// What is there already, for a name that is taken by something else.
fn explain(error: Errno, device: &Device, what: String) -> Failure {
    let (major, minor) = device.rdev;
    match error {
        Errno::EXIST => Failure::new(format!(
            "{what}: the image has something else there than the device {major}:{minor}"
        )),
        Errno::XDEV => Failure::new(format!("{what}: a link of the image leads to another mount")),
        error => Failure::from_errno(what, error),
    }
}

fn link(dev: BorrowedFd<'_>, target: &str, name: &str) -> Result<(), Errno> {
    match rustix::fs::symlinkat(target, dev, name) {
        // The image may bring its own; ptmx must be the container's.
        Err(Errno::EXIST) if name == "ptmx" => {
            rustix::fs::unlinkat(dev, name, AtFlags::empty())?;
            rustix::fs::symlinkat(target, dev, name)
        }
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

fn make(dir: BorrowedFd<'_>, name: &OsStr, device: &Device, bind: bool) -> Result<(), Errno> {
    if bind {
        return bind_from_host(dir, name, device);
    }
    let kind = FileType::from_raw_mode(device.mode);
    let rdev = rustix::fs::makedev(device.rdev.0, device.rdev.1);
    match rustix::fs::mknodat(dir, name, kind, Mode::from_raw_mode(device.mode & 0o7777), rdev) {
        Ok(()) => {}
        Err(Errno::EXIST) => return check_existing(dir, name, device),
        // The host's node has the owner that nearly every device has; another one could not be given to it.
        Err(Errno::PERM) if (device.uid, device.gid) == (0, 0) => return bind_from_host(dir, name, device),
        Err(error) => return Err(error),
    }
    if device.uid == 0 && device.gid == 0 {
        return Ok(());
    }
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(device.uid),
        rustix::fs::Gid::from_raw(device.gid),
    );
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// A node that is already there will do if it is the very device that was asked for.
fn check_existing(dir: BorrowedFd<'_>, name: &OsStr, device: &Device) -> Result<(), Errno> {
    check_same(&rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?, device)
}

/// Whether the host has this very device under the same name.
pub fn host_has(device: &Device) -> bool {
    let found = rustix::fs::statat(rustix::fs::CWD, &device.path, AtFlags::empty());
    found.is_ok_and(|found| check_same(&found, device).is_ok())
}

fn check_same(found: &rustix::fs::Stat, device: &Device) -> Result<(), Errno> {
    let kind = FileType::from_raw_mode(device.mode);
    let rdev = rustix::fs::makedev(device.rdev.0, device.rdev.1);
    let same = FileType::from_raw_mode(found.st_mode) == kind && (kind == FileType::Fifo || found.st_rdev == rdev);
    if same { Ok(()) } else { Err(Errno::EXIST) }
}

fn bind_from_host(dir: BorrowedFd<'_>, name: &OsStr, device: &Device) -> Result<(), Errno> {
    let tree = clone_mount_at(&device.path, false, false)?;
    check_same(&rustix::fs::fstat(&tree)?, device)?;
    let plain = Attributes {
        set: attr::NOSUID | attr::NOEXEC,
        ..Attributes::default()
    };
    set_attributes(&tree, plain, false)?;
    attach(tree, mount_point(dir, name, 0o644)?)
}
