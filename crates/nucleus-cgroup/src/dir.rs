//! Small-file work: control files are opened below a directory descriptor, written by one write(2), read by few.
//!
//! Called by everything here that touches the kernel. The rule that it keeps: one open, one write, one close for each
//! value, and an error that names the whole path although only the last part of it was handed to the kernel.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Dir as ReadDir, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::error::Error;

/// An open cgroup directory.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) fd: OwnedFd,
    pub(crate) path: PathBuf,
}

impl Dir {
    /// Opens a directory for `*at()` calls and as the target of `CLONE_INTO_CGROUP`.
    pub(crate) fn open(path: &Path) -> Result<Dir, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty())?;
        Ok(Dir {
            fd,
            path: path.to_path_buf(),
        })
    }

    /// Opens a control file for writing.
    pub(crate) fn writer(&self, file: &str) -> Result<OwnedFd, Errno> {
        openat(&self.fd, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Writes one value to a control file.
    pub(crate) fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        write_value(&self.writer(file)?, value)
    }

    /// Reads a control file.
    pub(crate) fn read(&self, file: &str) -> Result<String, Errno> {
        read_all(&openat(
            &self.fd,
            file,
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    /// The path of a control file, for messages.
    pub(crate) fn file(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }
}

/// One write(2): the kernel takes each as one complete value.
pub(crate) fn write_value(fd: &OwnedFd, value: &str) -> Result<(), Errno> {
    retry_on_intr(|| rustix::io::write(fd, value.as_bytes())).map(drop)
}

/// Reads a whole file by its path.
pub(crate) fn read_path(path: &Path) -> Result<String, Error> {
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|fd| read_all(&fd))
        .map_err(Error::file("read", path))
}

/// Reads to the end; what is not UTF-8 (a cgroup's name may be anything) is replaced.
pub(crate) fn read_all(fd: &OwnedFd) -> Result<String, Errno> {
    let mut content = vec![0_u8; 4096];
    let mut length = 0;
    loop {
        match retry_on_intr(|| rustix::io::read(fd, &mut content[length..]))? {
            0 => break,
            count => length += count,
        }
        if length == content.len() {
            content.resize(length * 2, 0);
        }
    }
    content.truncate(length);
    Ok(String::from_utf8(content).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// The names of all files in a directory; none when it is gone.
pub(crate) fn names(path: &Path) -> Result<Vec<String>, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entries = match openat(CWD, path, flags, Mode::empty()).and_then(ReadDir::new) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(Vec::new()),
        result => result.map_err(Error::file("read", path))?,
    };
    let name = |entry: Result<rustix::fs::DirEntry, Errno>| Some(entry.ok()?.file_name().to_str().ok()?.to_owned());
    Ok(entries.filter_map(name).collect())
}
