//! `ROOT/ID/node.N`: device nodes that a container's init has no right to make. Init gets a mount of each.
//!
//! The lifecycle's `create` calls this. The rule: a node stays until `delete` removes the directory, because move_mount(2) fails
//! for a mount whose file was removed. Only the owner of the store can enter the directory.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dev, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use crate::dir::ContainerDir;
use crate::error::{Error, Result};

/// A node to be made.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// Kind of file and permissions.
    pub mode: u32,
    /// Which device it is.
    pub device: Dev,
    /// Owner, by the host's numbers.
    pub owner: (Uid, Gid),
}

impl ContainerDir {
    /// Makes a node, and opens it to name it (`O_PATH`). `number` tells it from the others of the container.
    ///
    /// # Errors
    /// [`Error::Node`], also when there is one of this number already.
    pub fn make_node(&self, number: usize, node: Node) -> Result<OwnedFd> {
        let name = format!("node.{number}");
        let failed = |errno: Errno| Error::Node {
            path: self.path_of(&name),
            source: errno.into(),
        };
        self.make_named(&name, node).map_err(failed)
    }

    fn make_named(&self, name: &str, node: Node) -> Result<OwnedFd, Errno> {
        let kind = FileType::from_raw_mode(node.mode);
        rustix::fs::mknodat(self.dirfd(), name, kind, Mode::empty(), node.device)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(self.dirfd(), name, flags, Mode::empty())?;
        let (uid, gid) = node.owner;
        rustix::fs::chownat(&made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
        // By name, as chmod(2) takes no such descriptor.
        rustix::fs::chmodat(
            self.dirfd(),
            name,
            Mode::from_raw_mode(node.mode & 0o7777),
            AtFlags::empty(),
        )?;
        Ok(made)
    }
}
