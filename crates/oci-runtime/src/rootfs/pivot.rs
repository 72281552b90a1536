//! The root before and after: private mounts first, the change of root last.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::root::Root;
use crate::init::failure::{Explain, Failure};
use crate::plan::Rootfs;

/// Cuts the mount namespace off from the host's and makes the root filesystem a mount of its own.
///
/// # Errors
/// Named by `root.path`.
pub fn prepare(rootfs: &Rootfs) -> Result<Root, Failure> {
    let propagation = initial_propagation(rootfs);
    rustix::mount::mount_change("/", propagation).explain(|| "cannot change the propagation of /")?;
    let path = &rootfs.path;
    let all = propagation.contains(MountPropagationFlags::REC);
    if !all || propagation.contains(MountPropagationFlags::SHARED) {
        // Else no mount is shared any more. A flag for / alone leaves those below as they are.
        unshare_parent(path, propagation)
            .explain(|| format!("root.path: cannot make the mount that holds {} private", path.display()))?;
    }
    rustix::mount::mount_bind_recursive(path, path).explain(|| format!("root.path: cannot bind {}", path.display()))?;
    Root::open(path).explain(|| format!("root.path: cannot open {}", path.display()))
}

/// What the host's mounts become in the container's mount namespace while it is set up.
///
/// An unbindable mount could not be bound any more, and there is a lot to bind until [`propagate`].
pub fn initial_propagation(rootfs: &Rootfs) -> MountPropagationFlags {
    let wanted = match rootfs.propagation {
        0 => return MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
        bits => MountPropagationFlags::from_bits_retain(bits as u32),
    };
    match wanted.contains(MountPropagationFlags::UNBINDABLE) {
        true => MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        false => wanted,
    }
}

/// Makes the mount that holds `path` private, or a slave if that is what config asks for: what is mounted there must not
/// reach the host, and pivot_root(2) refuses a shared parent. The mount point is found by walking up until statx(2) names a mount root.
fn unshare_parent(path: &Path, wanted: MountPropagationFlags) -> Result<(), rustix::io::Errno> {
    for ancestor in path.ancestors() {
        let stat = rustix::fs::statx(
            rustix::fs::CWD,
            ancestor,
            rustix::fs::AtFlags::empty(),
            rustix::fs::StatxFlags::TYPE,
        )?;
        if stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT) {
            // A private mount has no master any more: its copy, the container's root, could not be a slave.
            let kind = match wanted.contains(MountPropagationFlags::DOWNSTREAM) {
                true => MountPropagationFlags::DOWNSTREAM,
                false => MountPropagationFlags::PRIVATE,
            };
            return rustix::mount::mount_change(ancestor, kind);
        }
    }
    Ok(())
}

/// Makes `root` the root and working directory, with `pivot_root(".", ".")`: the old root ends up stacked on the new
/// one and is detached (pivot_root(2), notes).
///
/// # Errors
/// As pivot_root(2) and umount2(2).
pub fn pivot(root: &Root, rootfs: &Rootfs) -> Result<(), Failure> {
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .explain(|| "cannot open the old root")?;
    rustix::process::fchdir(root.as_fd()).explain(|| "cannot enter the root filesystem")?;
    rustix::process::pivot_root(".", ".").explain(|| format!("pivot_root to {}", rootfs.path.display()))?;
    rustix::process::fchdir(&old).explain(|| "cannot enter the old root")?;
    if rootfs.propagation != 0 {
        // Detaching must not reach the host through mounts that config leaves shared.
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        rustix::mount::mount_change(".", slave).explain(|| "cannot cut off the old root")?;
    }
    rustix::mount::unmount(".", UnmountFlags::DETACH).explain(|| "cannot detach the old root")?;
    rustix::process::chdir("/").explain(|| "cannot enter the new root")
}

/// `--no-pivot`: moves `root` over `/`, for hosts whose root is a ramdisk.
///
/// # Errors
/// As mount(2) and chroot(2).
pub fn move_root(root: &Root, rootfs: &Rootfs) -> Result<(), Failure> {
    hide_kernel_filesystems(&rootfs.path)?;
    rustix::process::fchdir(root.as_fd()).explain(|| "cannot enter the root filesystem")?;
    rustix::mount::mount_move(".", "/").explain(|| "--no-pivot: cannot move the root filesystem to /")?;
    rustix::process::chroot(".").explain(|| "--no-pivot: chroot")?;
    rustix::process::chdir("/").explain(|| "cannot enter the new root")
}

/// Gives the new root the propagation that config asks for, last of all that is done to mounts.
///
/// # Errors
/// As mount(2), named by `linux.rootfsPropagation`.
pub fn propagate(rootfs: &Rootfs) -> Result<(), Failure> {
    if rootfs.propagation == 0 {
        return Ok(());
    }
    let flags = MountPropagationFlags::from_bits_retain(rootfs.propagation as u32);
    rustix::mount::mount_change("/", flags).explain(|| "linux.rootfsPropagation: cannot apply")
}

/// The host's proc and sysfs stay reachable below a moved root for whoever may chroot(2) or mount(2): they are
/// unmounted, or covered where the kernel locks them.
fn hide_kernel_filesystems(rootfs: &Path) -> Result<(), Failure> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").explain(|| "cannot read /proc/self/mountinfo")?;
    let points: Vec<&Path> = table
        .lines()
        .filter_map(kernel_filesystem)
        .filter(|at| !at.starts_with(rootfs))
        .collect();
    for point in points.iter().rev() {
        let what = || format!("--no-pivot: cannot hide {}", point.display());
        match rustix::mount::unmount(*point, UnmountFlags::DETACH) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::PERM) => {
                let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
                rustix::mount::mount("tmpfs", *point, "tmpfs", flags, None).explain(what)?;
            }
            Err(error) => return Err(error).explain(what),
        }
    }
    Ok(())
}

/// The mount point of a line of mountinfo (proc(5)) if it is proc or sysfs.
fn kernel_filesystem(line: &str) -> Option<&Path> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let kind = filesystem.split(' ').next()?;
    matches!(kind, "proc" | "sysfs")
        .then(|| mount.split(' ').nth(4).map(Path::new))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_filesystems_are_found_in_mountinfo() {
        let proc = "25 30 0:23 / /proc rw,nosuid shared:14 - proc proc rw";
        assert_eq!(kernel_filesystem(proc), Some(Path::new("/proc")));
        assert_eq!(kernel_filesystem("31 25 8:1 / / rw - ext4 /dev/sda1 rw"), None);
        assert_eq!(kernel_filesystem("garbage"), None);
    }
}
