//! The exec FIFO: where init waits between `create` and `start`.
//!
//! `create` makes it and opens init's end before init changes its user, so that its mode can stay 0600; `start` opens
//! the other end. The rules: never by a followed link, never a file that is no FIFO, and never a wait: that nobody
//! reads means that init is dead or was started already.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::dir::ContainerDir;
use crate::error::{Error, Result};

/// The name of the FIFO in the container's directory.
pub const FIFO_FILE: &str = "exec.fifo";

impl ContainerDir {
    /// Makes the FIFO, mode 0600.
    ///
    /// # Errors
    /// [`Error::Fifo`], also when there is one already.
    pub fn make_fifo(&self) -> Result<()> {
        rustix::fs::mknodat(self.dirfd(), FIFO_FILE, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .map_err(|errno| self.fifo_error("create", errno))
    }

    /// Init's end: a blocking read of one byte returns when `start` has written it.
    ///
    /// It is open for writing as well, so that the read waits even while nobody has opened the other end or a `start`
    /// has died with it open. Only init may keep it: as long as any process does, `start` believes init to be waiting.
    ///
    /// # Errors
    /// [`Error::Fifo`], [`Error::NotAFifo`].
    pub fn open_fifo_for_init(&self) -> Result<OwnedFd> {
        self.open_fifo(OFlags::RDWR)
    }

    /// The end of `start`, non-blocking: writing one byte lets init go on.
    ///
    /// # Errors
    /// [`Error::NoFifoReader`] when init is dead or was started already, [`Error::Fifo`], [`Error::NotAFifo`].
    pub fn open_fifo_for_start(&self) -> Result<OwnedFd> {
        self.open_fifo(OFlags::WRONLY | OFlags::NONBLOCK)
    }

    /// The end with which `start` watches init: it hangs up once init has executed the program or died, and holds then
    /// what init did not read, or what it wrote to say why it failed.
    ///
    /// Opened after [`ContainerDir::open_fifo_for_start`] has shown that init reads: this end counts as a reader too.
    ///
    /// # Errors
    /// [`Error::Fifo`], [`Error::NotAFifo`].
    pub fn open_fifo_for_watch(&self) -> Result<OwnedFd> {
        self.open_fifo(OFlags::RDONLY | OFlags::NONBLOCK)
    }

    /// Whether init waits at the FIFO. One that is left behind by a `start` that was killed has no reader: init holds it
    /// until it executes the program.
    ///
    /// # Errors
    /// [`Error::Fifo`] when it cannot be told, [`Error::NotAFifo`].
    pub fn fifo_awaited(&self) -> Result<bool> {
        match self.open_fifo_for_start() {
            Ok(_) => Ok(true),
            Err(Error::NoFifoReader) => Ok(false),
            Err(Error::Fifo { source, .. }) if source.0 == Errno::NOENT => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the FIFO; that there is none is no error.
    ///
    /// # Errors
    /// [`Error::Fifo`].
    pub fn unlink_fifo(&self) -> Result<()> {
        match rustix::fs::unlinkat(self.dirfd(), FIFO_FILE, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.fifo_error("remove", errno)),
        }
    }

    fn open_fifo(&self, flags: OFlags) -> Result<OwnedFd> {
        let not_a_fifo = || Error::NotAFifo {
            path: self.path_of(FIFO_FILE),
        };
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        let fd = match rustix::fs::openat(self.dirfd(), FIFO_FILE, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NXIO) => return Err(Error::NoFifoReader),
            Err(Errno::LOOP | Errno::ISDIR) => return Err(not_a_fifo()),
            Err(errno) => return Err(self.fifo_error("open", errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| self.fifo_error("stat", errno))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Fifo => Ok(fd),
            _ => Err(not_a_fifo()),
        }
    }

    fn fifo_error(&self, action: &'static str, errno: Errno) -> Error {
        Error::Fifo {
            action,
            path: self.path_of(FIFO_FILE),
            source: errno.into(),
        }
    }
}
