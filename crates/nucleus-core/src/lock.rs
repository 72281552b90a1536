//! One verb at a time: the lock of a container, and the reservation of a new id.
//!
//! `create` reserves; the verbs that change a container lock it. The rules: `mkdir` decides who gets an id; a lock is
//! on the file that is in the directory now, so that a removal by its last holder is noticed; a reservation that is not
//! committed takes its directory with it.

use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::dir::{ContainerDir, LOCK_FILE, same_file};
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::save::Durability;
use crate::store::Root;

impl ContainerDir {
    /// Waits for the container's lock and takes it.
    ///
    /// Held by verbs that change the container, never while they wait for it: `kill` and `state` do without. The
    /// processes that the holder forks must not keep the descriptor, or they keep the lock if the holder is killed.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the container was removed meanwhile, [`Error::Lock`].
    pub fn lock(&self) -> Result<Lock> {
        self.lock_by(FlockOperation::LockExclusive)?
            .ok_or_else(|| self.lock_error(Errno::AGAIN))
    }

    /// Takes the container's lock if nobody holds it.
    ///
    /// # Errors
    /// As [`ContainerDir::lock`].
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        self.lock_by(FlockOperation::NonBlockingLockExclusive)
    }

    fn lock_by(&self, operation: FlockOperation) -> Result<Option<Lock>> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        loop {
            let fd = match rustix::fs::openat(self.dirfd(), LOCK_FILE, flags, Mode::RUSR | Mode::WUSR) {
                Ok(fd) => fd,
                // Files are still created in a directory unless it has been removed.
                Err(Errno::NOENT) => return Err(Error::NotFound { id: self.id().clone() }),
                Err(errno) => return Err(self.lock_error(errno)),
            };
            match rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, operation)) {
                Ok(()) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(self.lock_error(errno)),
            }
            // The holder before us may have removed the file that we now have locked.
            let mine = rustix::fs::fstat(&fd).map_err(|errno| self.lock_error(errno))?;
            match rustix::fs::statat(self.dirfd(), LOCK_FILE, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(present) if same_file(&mine, &present) => return Ok(Some(Lock { fd })),
                Ok(_) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.lock_error(errno)),
            }
        }
    }

    fn lock_error(&self, errno: Errno) -> Error {
        Error::Lock {
            path: self.path_of(LOCK_FILE),
            source: errno.into(),
        }
    }
}

/// The lock of a container, until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it unlocks the container"]
pub struct Lock {
    fd: OwnedFd,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would not do while a forked child holds a copy of the descriptor.
        let _ = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
    }
}

/// The id of a container that is being made: its directory, locked. Removed on drop unless it is committed.
#[derive(Debug)]
pub struct Reservation {
    dir: ContainerDir,
    _lock: Lock,
    committed: bool,
}

impl Reservation {
    pub(crate) fn make(root: &Arc<Root>, id: &ContainerId) -> Result<Self> {
        let made = root
            .dirfd()
            .and_then(|dir| rustix::fs::mkdirat(dir, id.as_str(), Mode::RWXU));
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(Error::Exists { id: id.clone() }),
            Err(errno) => {
                return Err(Error::Reserve {
                    path: root.path().join(id.as_str()),
                    source: errno.into(),
                });
            }
        }
        Self::take(ContainerDir::open(root, id)?)
    }

    /// Until the lock is ours, a `delete --force` may come in between. Then there is nothing left to undo, or there is
    /// the directory of the next one who took the id, which has a state by the time that we have its lock.
    fn take(dir: ContainerDir) -> Result<Self> {
        let lock = dir.lock()?;
        if dir.has_state()? {
            return Err(Error::Exists { id: dir.id().clone() });
        }
        Ok(Self {
            dir,
            _lock: lock,
            committed: false,
        })
    }

    /// Keeps the directory and unlocks it.
    pub fn commit(mut self) -> ContainerDir {
        self.committed = true;
        self.dir.clone()
    }
}

impl Deref for Reservation {
    type Target = ContainerDir;

    fn deref(&self) -> &ContainerDir {
        &self.dir
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        if let Err(error) = self.dir.remove(Durability::Passing) {
            tracing::warn!(id = %self.dir.id(), "cannot undo the reservation: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{ContainerId, ContainerState, Error, Reservation, Store};

    #[test]
    fn w16_a_reservation_does_not_take_over_what_another_has_made_meanwhile() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("root"), true).unwrap();
        let id = ContainerId::parse("c").unwrap();
        let other = store.reserve(&id).unwrap();
        let mine = store.get(&id).unwrap();
        let state = ContainerState::new(id.clone(), "/bundle".into());
        other.save(&state, crate::Durability::Passing).unwrap();
        other.commit();
        assert!(matches!(Reservation::take(mine), Err(Error::Exists { .. })));
        assert!(store.get(&id).unwrap().load().is_ok());
    }
}
