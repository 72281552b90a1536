//! `ROOT/ID/`: the directory of one container, its lock and its state file.
//!
//! Reserved by `create` (see `lock`), got by every other verb, always through the store's descriptor and never by path again.
//! The rules: a state file is replaced as a whole or not at all; what is read back must be a regular file of sane
//! size that carries the directory's own id; removal takes the state file last, so that a removal that was cut off can
//! be finished; nothing is ever followed out of the directory.

use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat};
use rustix::io::Errno;

use crate::errno::ErrnoText;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::notify::NOTIFY_DIR;
use crate::save::Durability;
use crate::state::ContainerState;
use crate::store::Root;

/// The name of the state file in the container's directory.
pub const STATE_FILE: &str = "state.json";
/// The file that is locked.
pub(crate) const LOCK_FILE: &str = "lock";
/// The greatest state file that is read, in bytes.
const MAX_STATE_BYTES: u64 = 4 << 20;
/// How often a directory that others still fill is emptied again.
const ATTEMPTS: usize = 16;
/// Room for the entries of the directory, in bytes: one of the longest name at least, all of them as a rule.
const LISTING_BYTES: usize = 1024;

/// The open directory of one container.
#[derive(Clone, Debug)]
pub struct ContainerDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Arc<Root>,
    id: ContainerId,
    fd: OwnedFd,
}

impl ContainerDir {
    pub(crate) fn open(root: &Arc<Root>, id: &ContainerId) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = root
            .dirfd()
            .and_then(|dir| rustix::fs::openat(dir, id.as_str(), flags, Mode::empty()));
        match opened {
            Ok(fd) => Ok(Self(Arc::new(Inner {
                root: Arc::clone(root),
                id: id.clone(),
                fd,
            }))),
            Err(Errno::NOENT) => Err(Error::NotFound { id: id.clone() }),
            Err(errno) => Err(Error::OpenContainer {
                path: root.path().join(id.as_str()),
                source: errno.into(),
            }),
        }
    }

    /// The container's id.
    pub fn id(&self) -> &ContainerId {
        &self.0.id
    }

    /// The descriptor of the directory, for `*at()` calls.
    pub fn dirfd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }

    /// The path of the directory, for messages and for programs that can only be given a path.
    pub fn path(&self) -> PathBuf {
        self.0.root.path().join(self.0.id.as_str())
    }

    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Reads the state. The status in it is not the truth: see [`ContainerDir::observe`].
    ///
    /// # Errors
    /// [`Error::Incomplete`] without a state file, [`Error::ParseState`] and [`Error::CorruptState`] for one that this
    /// program cannot have written, [`Error::ReadState`].
    pub fn load(&self) -> Result<ContainerState> {
        let (mut file, size) = self.open_state()?;
        // It is replaced, never written to: it ends where its size says.
        let mut bytes = vec![0; size as usize];
        file.read_exact(&mut bytes)
            .map_err(|error| self.unreadable((&error).into()))?;
        let state: ContainerState = serde_json::from_slice(&bytes).map_err(|source| Error::ParseState {
            path: self.path_of(STATE_FILE),
            source,
        })?;
        if state.id != self.0.id {
            return Err(self.corrupt(&format!("it is the state of container {}", state.id)));
        }
        match &state.init {
            Some(init) if init.pid().is_init() => Err(self.corrupt("its init has pid 1")),
            _ => Ok(state),
        }
    }

    /// The state file and its size, which is at most [`MAX_STATE_BYTES`].
    fn open_state(&self) -> Result<(File, u64)> {
        let failed = |errno: Errno| self.unreadable(errno.into());
        // NONBLOCK: a FIFO in the place of the file must not hold us up.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(self.dirfd(), STATE_FILE, flags, Mode::empty()) {
            Ok(fd) => fd,
            // The directory itself may be gone by now.
            Err(Errno::NOENT) => {
                let id = self.0.id.clone();
                return match self.is_current().map_err(failed)? {
                    true => Err(Error::Incomplete { id }),
                    false => Err(Error::NotFound { id }),
                };
            }
            Err(Errno::LOOP) => return Err(self.corrupt("it is a symbolic link")),
            // What opening a socket gives.
            Err(Errno::NXIO) => return Err(self.corrupt("it is not a regular file")),
            Err(errno) => return Err(failed(errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(self.corrupt("it is not a regular file"));
        }
        match u64::try_from(stat.st_size) {
            Ok(size) if size <= MAX_STATE_BYTES => Ok((fd.into(), size)),
            _ => Err(self.corrupt(&format!("it has more than {MAX_STATE_BYTES} bytes"))),
        }
    }

    fn unreadable(&self, source: ErrnoText) -> Error {
        Error::ReadState {
            path: self.path_of(STATE_FILE),
            source,
        }
    }

    fn corrupt(&self, what: &str) -> Error {
        Error::CorruptState {
            path: self.path_of(STATE_FILE),
            what: what.to_owned(),
        }
    }

    /// Whether anything has the name of the state file.
    pub(crate) fn has_state(&self) -> Result<bool> {
        match rustix::fs::statat(self.dirfd(), STATE_FILE, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.unreadable(errno.into())),
        }
    }

    /// Removes the directory and the files in it; that it is gone already is no error.
    ///
    /// The caller holds the lock and has undone everything else that the container consists of. Directories in it
    /// are removed if they are empty: what is in them is not the store's. Only the one for sd_notify(3) is.
    ///
    /// # Errors
    /// [`Error::Remove`]; the state file is still there unless only the directory itself was left.
    pub fn remove(&self, durability: Durability) -> Result<()> {
        let failed = |path: PathBuf, errno: Errno| Error::Remove {
            path,
            source: errno.into(),
        };
        for _ in 0..ATTEMPTS {
            self.empty()?;
            for name in [STATE_FILE, LOCK_FILE] {
                unlink(self.dirfd(), name).map_err(|errno| failed(self.path_of(name), errno))?;
            }
            match self.remove_self(durability) {
                Ok(()) => return Ok(()),
                // Somebody opened the lock file, thereby making it, after it was removed.
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(errno) => return Err(failed(self.path(), errno)),
            }
        }
        Err(failed(self.path(), Errno::NOTEMPTY))
    }

    /// Removes everything but the state file and the lock.
    fn empty(&self) -> Result<()> {
        let failed = |path: PathBuf, errno: Errno| Error::Remove {
            path,
            source: errno.into(),
        };
        // By the descriptor that we have, whose position an earlier listing has moved.
        rustix::fs::seek(self.dirfd(), SeekFrom::Start(0)).map_err(|errno| failed(self.path(), errno))?;
        let mut buffer = [MaybeUninit::uninit(); LISTING_BYTES];
        let mut entries = RawDir::new(self.dirfd(), &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(failed(self.path(), errno)),
            };
            let name = entry.file_name();
            if [b".", b"..".as_slice(), STATE_FILE.as_bytes(), LOCK_FILE.as_bytes()].contains(&name.to_bytes()) {
                continue;
            }
            let removed = match name.to_bytes() == NOTIFY_DIR.as_bytes() {
                true => self.remove_notify_dir(),
                false => unlink(self.dirfd(), name),
            };
            removed.map_err(|errno| failed(self.path_of(&name.to_string_lossy()), errno))?;
        }
        Ok(())
    }

    pub(crate) fn remove_self(&self, durability: Durability) -> Result<(), Errno> {
        if !self.is_current()? {
            return Ok(());
        }
        let root = self.0.root.dirfd()?;
        match rustix::fs::unlinkat(root, self.0.id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) if durability == Durability::Lasting && is_lasting(root)? => rustix::fs::fsync(root),
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Whether the name still leads to this directory, and not to nothing or to that of a later container.
    pub(crate) fn is_current(&self) -> Result<bool, Errno> {
        match rustix::fs::statat(self.0.root.dirfd()?, self.0.id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(present) => Ok(same_file(&rustix::fs::fstat(&self.0.fd)?, &present)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}

/// Unlinks whatever has this name; an empty directory, too. That there is nothing is fine.
fn unlink(dir: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy) -> Result<(), Errno> {
    let removed = match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR),
        other => other,
    };
    match removed {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Whether both are the same file. Only sound while one of them is held open: inode numbers are used again.
pub(crate) fn same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// Whether the directory's file system survives the machine, so that fsync has a meaning.
pub(crate) fn is_lasting(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    const RAMFS_MAGIC: u64 = 0x8584_58f6;
    let kind = rustix::fs::fstatfs(dir)?.f_type as u64;
    Ok(kind != TMPFS_MAGIC && kind != RAMFS_MAGIC)
}
