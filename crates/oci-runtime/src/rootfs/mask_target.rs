//! Places of the container that get covered: by masks, and by read-only copies of themselves.
//!
//! The names right below a procfs or sysfs are the kernel's alone. Whatever is done there may be told by name, each time
//! anew, which spares a descriptor; anywhere else a name is looked up once.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;
use rustix::mount::MoveMountFlags;

use super::root::{Names, Root, attach, clone_flags, clone_mount, is_dir, is_dir_mode};

/// Something in the root that is going to be mounted on.
#[derive(Debug)]
pub enum Place<'a> {
    /// A name of the kernel's, which means the same each time.
    Name(BorrowedFd<'a>, &'a OsStr),
    /// What a look-up has found.
    Found(OwnedFd),
}

impl<'a> Place<'a> {
    /// What is at `path`, to be mounted on. That nothing is there may only show in what is done with it.
    ///
    /// # Errors
    /// As openat2(2).
    pub fn of(root: &'a Root, path: &'a Path) -> Result<Self, Errno> {
        match root.anchored(path) {
            Some((anchor, name)) if anchor.names == Names::OfTheKernel && is_name(name) => {
                Ok(Self::Name(anchor.fd.as_fd(), name))
            }
            _ => root.resolve(path, OFlags::PATH).map(Self::Found),
        }
    }

    /// True for a directory.
    ///
    /// # Errors
    /// As stat(2).
    pub fn is_dir(&self) -> Result<bool, Errno> {
        match self {
            Self::Name(dir, name) => Ok(is_dir_mode(&rustix::fs::statat(dir, *name, AtFlags::empty())?)),
            Self::Found(fd) => is_dir(fd),
        }
    }

    /// A detached copy of it, with the mounts below.
    ///
    /// # Errors
    /// As open_tree(2).
    pub fn clone_mounts(&self) -> Result<OwnedFd, Errno> {
        match self {
            Self::Name(dir, name) => rustix::mount::open_tree(dir, *name, clone_flags(true)),
            Self::Found(fd) => clone_mount(fd, true),
        }
    }

    /// Attaches the detached mount `tree` on top of it.
    ///
    /// # Errors
    /// As move_mount(2).
    pub fn attach(&self, tree: impl AsFd) -> Result<(), Errno> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        match self {
            Self::Name(dir, name) => rustix::mount::move_mount(tree, c"", dir, *name, flags),
            Self::Found(fd) => attach(tree, fd),
        }
    }
}

/// Whether this is one component, and not the way up.
fn is_name(name: &OsStr) -> bool {
    !matches!(name.as_bytes(), b"" | b"..") && !name.as_bytes().contains(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kernels_names_are_told_by_name() {
        let mut root = Root::open(Path::new("/")).unwrap();
        let by_name = |root: &Root, path: &str| matches!(Place::of(root, Path::new(path)), Ok(Place::Name(..)));
        assert!(!by_name(&root, "/proc/sys"));
        for (names, expected) in [(Names::OfAnyone, false), (Names::OfTheKernel, true)] {
            let proc = root.resolve(Path::new("/proc"), OFlags::PATH).unwrap();
            root.anchor(Path::new("/proc"), proc, names);
            for path in [
                "/proc/sys",
                "//proc/./sys",
                "/proc/uptime",
                "/proc/self",
                "/proc/missing",
            ] {
                assert_eq!(by_name(&root, path), expected, "{path}");
            }
            for path in ["/proc", "/proc/", "/proc/..", "/proc/sys/kernel", "/proc/sys/", "/etc"] {
                assert!(!by_name(&root, path), "{path}");
            }
        }
    }

    #[test]
    fn both_kinds_of_places_answer_alike() {
        let mut root = Root::open(Path::new("/")).unwrap();
        for names in [Names::OfAnyone, Names::OfTheKernel] {
            let proc = root.resolve(Path::new("/proc"), OFlags::PATH).unwrap();
            root.anchor(Path::new("/proc"), proc, names);
            let is_dir = |path: &str| Place::of(&root, Path::new(path)).and_then(|place| place.is_dir());
            assert_eq!(is_dir("/proc/sys"), Ok(true));
            assert_eq!(is_dir("/proc/self"), Ok(true));
            assert_eq!(is_dir("/proc/uptime"), Ok(false));
            assert_eq!(is_dir("/proc/missing"), Err(Errno::NOENT));
        }
    }
}
