//! `mount_setattr(2)`: attributes of a mount, or of a whole tree, changed in one atomic call.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::check;

/// `MOUNT_ATTR_*` words of `mount_setattr(2)`.
pub mod attr {
    /// Mount read-only.
    pub const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
    /// Ignore set-user-id and set-group-id bits and file capabilities.
    pub const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
    /// Refuse access to device nodes.
    pub const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
    /// Refuse to execute programs.
    pub const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
    /// Mask of the access-time modes; must be in the clear word whenever one of them is in the set word.
    pub const ATIME_MASK: u64 = libc::MOUNT_ATTR__ATIME;
    /// Update access times relative to modification times (the value is 0: clearing the mask asks for it).
    pub const RELATIME: u64 = libc::MOUNT_ATTR_RELATIME;
    /// Never update access times.
    pub const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
    /// Always update access times.
    pub const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
    /// Never update access times of directories.
    pub const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
    /// Do not follow symbolic links on this mount.
    pub const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
}

/// What [`set_attributes`] changes; the fields are those of `struct mount_attr`, 0 means "leave alone".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` bits to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` bits to clear (applied before `set`).
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0.
    pub propagation: u64,
}

impl Attributes {
    /// True when nothing would change, so that the call can be saved.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Changes the attributes of the mount whose root is `mount`, of the whole tree under it when `recursive`.
///
/// # Errors
/// As `mount_setattr(2)`: `EINVAL` when the descriptor is no mount root, `EPERM` for a flag that is locked.
pub fn set_attributes(mount: impl AsFd, attributes: Attributes, recursive: bool) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    change(mount, &attr, recursive)
}

/// Maps the owners of the files of a detached mount (of the whole tree when `recursive`) as `user_namespace` maps
/// ids: what belongs to its id n belongs to the id that n is outside of it (`MOUNT_ATTR_IDMAP`, Linux 5.12).
///
/// # Errors
/// As `mount_setattr(2)`: `EINVAL` when the filesystem cannot do it or the mount is attached, `EPERM` when it is mapped
/// already or the caller has no rights over filesystem or namespace.
pub fn set_id_map(mount: impl AsFd, user_namespace: impl AsFd, recursive: bool) -> Result<(), Errno> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: user_namespace.as_fd().as_raw_fd() as u64,
    };
    change(mount, &attr, recursive)
}

fn change(mount: impl AsFd, attr: &libc::mount_attr, recursive: bool) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal and `attr` outlives the call, which is told its exact size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(drop)
}
