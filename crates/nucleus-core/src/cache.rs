//! `ROOT/.cache/`: what can be computed again at any time, kept because computing it is dear.
//!
//! For compiled seccomp profiles. A cache never fails: what cannot be read was not there, what cannot be written is
//! computed again next time. It bounds itself. The caller checks that what it gets back is what it once kept.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::store::Store;

/// The directory; its name is no valid container id.
const CACHE_DIR: &str = ".cache";
/// With more entries than this, all are dropped: whoever makes a new profile each time shall not fill a tmpfs.
const MOST_ENTRIES: usize = 64;
/// The greatest entry that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

impl Store {
    /// What was kept under this name, if anything.
    pub fn cached(&self, name: &str) -> Option<Vec<u8>> {
        let dir = self.cache_dir().ok()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, name, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        let size = u64::try_from(stat.st_size).ok()?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size > MAX_BYTES {
            return None;
        }
        let mut bytes = vec![0; size as usize];
        File::from(file).read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    /// Keeps `bytes` under this name, a plain file name.
    pub fn keep(&self, name: &str, bytes: &[u8]) {
        if let Err(error) = self.try_keep(name, bytes) {
            tracing::debug!("cannot keep {name} in the cache: {}", crate::ErrnoText(error));
        }
    }

    fn try_keep(&self, name: &str, bytes: &[u8]) -> Result<(), Errno> {
        match rustix::fs::mkdirat(self.dirfd()?, CACHE_DIR, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let dir = self.cache_dir()?;
        bound(&dir)?;
        // Written under a name of its own and then renamed: a reader sees all of it or nothing.
        let temporary = format!(".{name}.{}", rustix::process::getpid().as_raw_nonzero());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&dir, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
        let written = File::from(file)
            .write_all(bytes)
            .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO));
        let kept = written.and_then(|()| rustix::fs::renameat(&dir, &temporary, &dir, name));
        kept.inspect_err(|_| {
            let _ = rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty());
        })
    }

    fn cache_dir(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.dirfd()?, CACHE_DIR, flags, Mode::empty())
    }
}

/// Empties a directory that has grown too large.
fn bound(dir: &OwnedFd) -> Result<(), Errno> {
    let names: Vec<_> = Dir::read_from(dir)?
        .flatten()
        .map(|entry| entry.file_name().to_owned())
        .collect();
    if names.len() <= MOST_ENTRIES {
        return Ok(());
    }
    for name in names.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
        rustix::fs::unlinkat(dir, name.as_c_str(), AtFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("root"), true).unwrap();
        (dir, store)
    }

    #[test]
    fn what_is_kept_comes_back_and_is_no_container() {
        let (_dir, store) = store();
        assert_eq!(store.cached("abc"), None);
        store.keep("abc", b"program");
        store.keep("abc", b"program 2");
        assert_eq!(store.cached("abc").unwrap(), b"program 2");
        assert!(store.ids().unwrap().is_empty());
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let (dir, store) = store();
        store.keep("abc", b"x");
        let cache = dir.path().join("root").join(CACHE_DIR);
        std::os::unix::fs::symlink("/etc/passwd", cache.join("link")).unwrap();
        std::fs::create_dir(cache.join("dir")).unwrap();
        assert_eq!(store.cached("link"), None);
        assert_eq!(store.cached("dir"), None);
    }

    #[test]
    fn it_does_not_grow_without_end() {
        let (dir, store) = store();
        for number in 0..3 * MOST_ENTRIES {
            store.keep(&number.to_string(), b"x");
        }
        let entries = std::fs::read_dir(dir.path().join("root").join(CACHE_DIR))
            .unwrap()
            .count();
        assert!(entries <= MOST_ENTRIES + 1, "{entries}");
        assert!(store.cached(&(3 * MOST_ENTRIES - 1).to_string()).is_some());
    }

    #[test]
    fn a_missing_root_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("none"), false).unwrap();
        store.keep("abc", b"x");
        assert_eq!(store.cached("abc"), None);
    }
}
