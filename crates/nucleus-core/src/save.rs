//! Replacing the state file as a whole or not at all.
//!
//! Called by every verb that changes what is written down, with the container's lock held. The rules: a new file under
//! a name of its own, which is never an existing one; renamed over the old one when it is complete and on disk; taken
//! away again on every error. What a killed writer leaves is removed with the directory.

use std::fs::File;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::dir::{ContainerDir, STATE_FILE, is_lasting};
use crate::errno::ErrnoText;
use crate::error::{Error, Result};
use crate::state::ContainerState;

/// How often a name that is taken is replaced by another one.
const ATTEMPTS: usize = 16;

/// What a change of the store is to survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of the machine: for what others rely on after this process has ended.
    Lasting,
    /// The death of this process only: for what it will replace or remove itself before it ends.
    Passing,
}

impl ContainerDir {
    /// Replaces the state: readers see the old one or the new one, also when this process dies; and when the machine
    /// dies, if `durability` asks for it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the container was removed meanwhile; [`Error::WriteState`], [`Error::EncodeState`], and
    /// the old state is untouched then.
    pub fn save(&self, state: &ContainerState, durability: Durability) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(state).map_err(Error::EncodeState)?;
        self.replace_state(&bytes, durability).map_err(|source| match source {
            // Neither a directory nor the new file in it goes away by itself.
            ErrnoText(Errno::NOENT) => Error::NotFound { id: self.id().clone() },
            source => Error::WriteState {
                path: self.path_of(STATE_FILE),
                source,
            },
        })
    }

    fn replace_state(&self, bytes: &[u8], durability: Durability) -> Result<(), ErrnoText> {
        let mut temporary = Temporary::make(self.dirfd())?;
        temporary
            .file
            .write_all(bytes)
            .map_err(|error| ErrnoText::from(&error))?;
        // A tmpfs does not survive what fsync is for.
        let lasting = durability == Durability::Lasting && is_lasting(self.dirfd())?;
        if lasting {
            rustix::fs::fsync(&temporary.file)?;
        }
        temporary.rename_to(STATE_FILE)?;
        if lasting {
            rustix::fs::fsync(self.dirfd())?;
        }
        Ok(())
    }
}

/// A new file that is unlinked unless it is renamed.
struct Temporary<'a> {
    dir: BorrowedFd<'a>,
    name: String,
    file: File,
}

impl<'a> Temporary<'a> {
    fn make(dir: BorrowedFd<'a>) -> Result<Self, Errno> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pid = std::process::id();
        for _ in 0..ATTEMPTS {
            // The same pid in another PID namespace, or one that was killed, may have left this very name: O_EXCL tells.
            let clock = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .subsec_nanos();
            let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!(".state.{pid}.{clock:x}.{counter}");
            match rustix::fs::openat(dir, name.as_str(), flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => {
                    return Ok(Self {
                        dir,
                        name,
                        file: fd.into(),
                    });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        Err(Errno::EXIST)
    }

    fn rename_to(&mut self, name: &str) -> Result<(), Errno> {
        rustix::fs::renameat(self.dir, self.name.as_str(), self.dir, name)?;
        self.name.clear();
        Ok(())
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // What cannot be unlinked is left to the removal of the directory.
            let _ = rustix::fs::unlinkat(self.dir, self.name.as_str(), AtFlags::empty());
        }
    }
}
