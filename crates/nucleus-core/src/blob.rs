//! Further files of a container, beside its state: bytes under a name, written once and read whole.
//!
//! For what is too large for the state file, or no text. Written while the container is reserved, read by later verbs,
//! removed with the directory. The rules: an existing file is never written to; what is read back must be a regular
//! file of sane size; nothing is followed.

use std::fs::File;
use std::io::{Read, Write};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::dir::ContainerDir;
use crate::errno::ErrnoText;
use crate::error::{Error, Result};

/// The greatest file that is read, in bytes. The kernel's longest filter has half of it.
const MAX_BYTES: u64 = 1 << 20;

impl ContainerDir {
    /// Writes a new file. A machine that dies takes the container with it, so that nothing is synced.
    ///
    /// # Errors
    /// [`Error::WriteState`], also when the name is taken.
    pub fn write_blob(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let write = || -> Result<(), ErrnoText> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(self.dirfd(), name, flags, Mode::RUSR | Mode::WUSR)?;
            File::from(fd).write_all(bytes).map_err(|error| ErrnoText::from(&error))
        };
        write().map_err(|source| Error::WriteState {
            path: self.path_of(name),
            source,
        })
    }

    /// Reads a file that [`ContainerDir::write_blob`] has written.
    ///
    /// # Errors
    /// [`Error::ReadState`] when it is missing or cannot be read, [`Error::CorruptState`] for what is no such file.
    pub fn read_blob(&self, name: &str) -> Result<Vec<u8>> {
        let failed = |source: ErrnoText| Error::ReadState {
            path: self.path_of(name),
            source,
        };
        let errno = |errno: Errno| failed(errno.into());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(self.dirfd(), name, flags, Mode::empty()).map_err(errno)?;
        let stat = rustix::fs::fstat(&fd).map_err(errno)?;
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size > MAX_BYTES {
            return Err(Error::CorruptState {
                path: self.path_of(name),
                what: format!("it is not a regular file of at most {MAX_BYTES} bytes"),
            });
        }
        let mut bytes = vec![0; size as usize];
        let read = File::from(fd).read_exact(&mut bytes);
        read.map_err(|error| failed((&error).into()))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use crate::{ContainerId, Error, Store};

    #[test]
    fn what_was_written_is_read_back_and_never_overwritten() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("root"), true).unwrap();
        let dir = store.reserve(&ContainerId::parse("c").unwrap()).unwrap();
        assert!(matches!(dir.read_blob("b"), Err(Error::ReadState { .. })));
        dir.write_blob("b", b"one").unwrap();
        assert!(matches!(dir.write_blob("b", b"two"), Err(Error::WriteState { .. })));
        assert_eq!(dir.read_blob("b").unwrap(), b"one");
    }

    #[test]
    fn a_link_is_not_followed_and_a_directory_is_no_file() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("root"), true).unwrap();
        let dir = store.reserve(&ContainerId::parse("c").unwrap()).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        assert!(matches!(dir.read_blob("link"), Err(Error::ReadState { .. })));
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        assert!(matches!(dir.read_blob("dir"), Err(Error::CorruptState { .. })));
    }
}
