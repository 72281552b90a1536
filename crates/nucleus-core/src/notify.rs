//! `ROOT/ID/notify/`: the directory that a container reports its readiness in (sd_notify(3)), and the socket in it.
//!
//! `create` makes the directory, init shows it in the container, and whoever starts the container makes the socket. The
//! directory is shown read-only, but a container with enough rights can write to it all the same: nothing in it is ever
//! opened, and it is removed whatever it holds.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::dir::ContainerDir;
use crate::errno::ErrnoText;
use crate::error::{Error, Result};

/// The name of the directory in the container's directory.
pub const NOTIFY_DIR: &str = "notify";
/// The name of the socket in it; the one that runc gives it, too.
pub const NOTIFY_SOCKET: &str = "notify.sock";

impl ContainerDir {
    /// Makes the directory, for everybody to enter.
    ///
    /// # Errors
    /// [`Error::Notify`], also when there is one already.
    pub fn make_notify_dir(&self) -> Result<()> {
        let everybody = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
        let made = rustix::fs::mkdirat(self.dirfd(), NOTIFY_DIR, everybody)
            // Whatever the caller's umask.
            .and_then(|()| rustix::fs::chmodat(self.dirfd(), NOTIFY_DIR, everybody, AtFlags::empty()));
        made.map_err(|errno| self.notify_error(errno.into()))
    }

    /// Makes the socket, to which everybody may write; none if the container was created without the directory.
    ///
    /// # Errors
    /// [`Error::Notify`].
    pub fn bind_notify_socket(&self) -> Result<Option<UnixDatagram>> {
        match rustix::fs::statat(self.dirfd(), NOTIFY_DIR, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(None),
            other => drop(other.map_err(|errno| self.notify_error(errno.into()))?),
        }
        // That of a `start` that was cut off.
        match rustix::fs::unlinkat(self.dirfd(), format!("{NOTIFY_DIR}/{NOTIFY_SOCKET}"), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(self.notify_error(errno.into())),
        }
        // Not chmod(2) afterwards: by then the name could lead elsewhere.
        let umask = rustix::process::umask(Mode::empty());
        let socket = UnixDatagram::bind(self.notify_path().join(NOTIFY_SOCKET));
        rustix::process::umask(umask);
        let socket = socket.map_err(|error| self.notify_error((&error).into()))?;
        Ok(Some(socket))
    }

    /// Removes the directory with all that is in it; that there is none is no error.
    pub(crate) fn remove_notify_dir(&self) -> Result<(), Errno> {
        // Follows no links, and is not fooled by directories that are moved meanwhile.
        match std::fs::remove_dir_all(self.notify_path()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ErrnoText::from(&error).0),
            _ => Ok(()),
        }
    }

    /// The directory by our descriptor: never by path again, and short enough for a socket's address.
    fn notify_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{NOTIFY_DIR}", self.dirfd().as_raw_fd()))
    }

    fn notify_error(&self, source: ErrnoText) -> Error {
        Error::Notify {
            path: self.path_of(NOTIFY_DIR),
            source,
        }
    }
}
