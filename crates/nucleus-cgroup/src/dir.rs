//! Small-file work: control files are opened below a directory descriptor or by their paths, written by one write(2), read
//! by few.
//!
//! Called by everything here that touches the kernel. The rule that it keeps: one open, one write, one close for each
//! value, and an error that names the whole path although perhaps only the last part of it was handed to the kernel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, Dir as ReadDir, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};

use crate::error::Error;

/// A cgroup directory.
#[derive(Debug)]
pub(crate) struct Dir {
    /// `None`: its few files are opened by their whole paths, which costs less than an open and a close of it.
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) path: PathBuf,
}

impl Dir {
    /// Opens a directory for `*at()` calls and as the target of `CLONE_INTO_CGROUP`.
    pub(crate) fn open(path: &Path) -> Result<Dir, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty())?;
        Ok(Dir {
            fd: Some(fd),
            path: path.to_path_buf(),
        })
    }

    /// A directory of which a file or two are wanted.
    pub(crate) fn at(path: PathBuf) -> Dir {
        Dir { fd: None, path }
    }

    /// The descriptor; `EBADF` when there is none.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.fd.as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn open_file(&self, file: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        match &self.fd {
            Some(fd) => openat(fd, file, flags | OFlags::CLOEXEC, Mode::empty()),
            None => openat(CWD, self.file(file), flags | OFlags::CLOEXEC, Mode::empty()),
        }
    }

    /// Opens a control file for reading.
    pub(crate) fn reader(&self, file: &str) -> Result<OwnedFd, Errno> {
        self.open_file(file, OFlags::RDONLY)
    }

    /// Opens a control file for writing.
    pub(crate) fn writer(&self, file: &str) -> Result<OwnedFd, Errno> {
        self.open_file(file, OFlags::WRONLY)
    }

    /// Writes one value to a control file.
    pub(crate) fn write(&self, file: &str, value: &str) -> Result<(), Errno> {
        write_value(&self.writer(file)?, value)
    }

    /// Reads a control file that holds values; not one that lists processes.
    pub(crate) fn read(&self, file: &str) -> Result<String, Errno> {
        read_all(&self.reader(file)?, Records::One)
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

/// How the kernel makes up the text of a file (Documentation/filesystems/seq_file.rst).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Records {
    /// In one piece: /proc/PID/cgroup, and all control files but those that list processes. A read gives what there is
    /// room for, so that one which leaves room was the last.
    One,
    /// One by one: /proc/PID/mountinfo, `tasks`, `cgroup.procs`. A read stops short of a record that does not fit into the
    /// kernel's own buffer, which says nothing of the end: that is an empty read.
    Many,
}

/// Reads a file of one record by its path.
pub(crate) fn read_path(path: &Path) -> Result<String, Error> {
    read_file(path, Records::One).map_err(Error::file("read", path))
}

/// Reads a file of many records by its path.
pub(crate) fn read_list(path: &Path) -> Result<String, Errno> {
    read_file(path, Records::Many)
}

fn read_file(path: &Path, records: Records) -> Result<String, Errno> {
    let fd = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    read_all(&fd, records)
}

/// Reads to the end; what is not UTF-8 (a cgroup's name may be anything) is replaced.
pub(crate) fn read_all(fd: &OwnedFd, records: Records) -> Result<String, Errno> {
    let mut content = Vec::new();
    let step = match records {
        Records::One => 1024,
        Records::Many => 4096,
    };
    loop {
        // Most files end in the first step, and a read of nothing needs no further one.
        if content.capacity() - content.len() < step / 2 {
            content.reserve(step);
        }
        let room = content.capacity() - content.len();
        let count = retry_on_intr(|| rustix::io::read(fd, spare_capacity(&mut content)))?;
        if count == 0 || (count < room && records == Records::One) {
            break;
        }
    }
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// A datagram is a read, and an empty one the end.
    fn read_of(reads: &[&[u8]], records: Records) -> String {
        let (kernel, ours) = UnixDatagram::pair().unwrap();
        for read in reads.iter().chain([&b"".as_slice()]) {
            kernel.send(read).unwrap();
        }
        read_all(&ours.into(), records).unwrap()
    }

    #[test]
    fn a_short_read_ends_one_record_and_no_list() {
        let reads = [b"1\n".as_slice(), b"2\n"];
        assert_eq!(read_of(&reads, Records::One), "1\n");
        assert_eq!(read_of(&reads, Records::Many), "1\n2\n");
    }

    #[test]
    fn a_read_that_fills_the_room_ends_neither() {
        let long = [b'x'; 1024];
        let reads = [long.as_slice(), b"y"];
        for records in [Records::One, Records::Many] {
            assert_eq!(read_of(&reads, records).len(), 1025);
        }
    }
}
