//! A directory or file that was made only to mount on it, so that it can be taken back.
//!
//! Called by [`super::root::Root`]. The rule: only what was made is removed, and only while it is empty. Other processes
//! of the container can put something else in its place, or something into it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::AtFlags;
use rustix::io::Errno;

/// Where it is, and which one it is.
#[derive(Debug)]
pub(super) struct Made {
    parent: OwnedFd,
    name: OsString,
    device: u64,
    inode: u64,
}

impl Made {
    /// What `made` is, which has this name in `parent`.
    ///
    /// # Errors
    /// As fstat(2).
    pub(super) fn new(parent: OwnedFd, name: &OsStr, made: impl AsFd) -> Result<Self, Errno> {
        let stat = rustix::fs::fstat(made)?;
        Ok(Self {
            parent,
            name: name.to_owned(),
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    /// Removes it. What cannot be removed stays: it is in use.
    pub(super) fn remove(&self) {
        let name = self.name.as_os_str();
        let Ok(stat) = rustix::fs::statat(&self.parent, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return;
        };
        if (stat.st_dev, stat.st_ino) != (self.device, self.inode) {
            return;
        }
        let is_dir = super::root::is_dir_mode(&stat);
        let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        if is_dir || stat.st_size == 0 {
            let _ = rustix::fs::unlinkat(&self.parent, name, flags);
        }
    }
}
