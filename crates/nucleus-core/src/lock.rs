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
                // There is no lock file, and no verb can make one on a full file system: the directory stands in for it.
                Err(Errno::NOSPC | Errno::DQUOT) => return self.lock_itself(operation),
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

    fn lock_itself(&self, operation: FlockOperation) -> Result<Option<Lock>> {
        let fd = self.dirfd().try_clone_to_owned();
        let fd = fd.map_err(|error| self.lock_error(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&fd, operation)) {
            Ok(()) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(self.lock_error(errno)),
        }
        match self.is_current() {
            Ok(true) => Ok(Some(Lock { fd })),
            Ok(false) => Err(Error::NotFound { id: self.id().clone() }),
            Err(errno) => Err(self.lock_error(errno)),
        }
    }

    /// Whether another process holds the lock now. Nothing is made.
    pub fn is_locked(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self.dirfd(), LOCK_FILE, flags, Mode::empty());
        opened.is_ok_and(|fd| rustix::fs::flock(fd, FlockOperation::NonBlockingLockShared) == Err(Errno::AGAIN))
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
        let dir = ContainerDir::open(root, id).inspect_err(|_| {
            // It is empty; a full one is that of a later container.
            let _ = root
                .dirfd()
                .and_then(|dir| rustix::fs::unlinkat(dir, id.as_str(), AtFlags::REMOVEDIR));
        })?;
        Self::take(dir.clone()).inspect_err(|error| {
            if !matches!(error, Error::Exists { .. } | Error::NotFound { .. }) {
                undo(&dir);
            }
        })
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

/// Removes a directory that was made and could not be locked, unless it has become that of another container.
fn undo(dir: &ContainerDir) {
    // Without a lock file, the directory is empty, and this takes no descriptor.
    if dir.remove_self(Durability::Passing).is_ok() {
        return;
    }
    if let (Ok(Some(_lock)), Ok(false)) = (dir.try_lock(), dir.has_state()) {
        let _ = dir.remove(Durability::Passing);
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

    /// Lowers the number of open files to `count` more than are open, for the time of `act`.
    fn with_few_descriptors<T>(count: u64, act: impl FnOnce() -> T) -> T {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let before = getrlimit(Resource::Nofile);
        let next = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap());
        let few = rustix::process::Rlimit {
            current: Some(u64::try_from(next).unwrap() + count),
            ..before
        };
        setrlimit(Resource::Nofile, few).unwrap();
        let result = act();
        setrlimit(Resource::Nofile, before).unwrap();
        result
    }

    #[test]
    fn a_reservation_that_fails_after_its_mkdir_leaves_nothing() {
        // The limit is that of the whole process: in one of its own, so that no other test misses descriptors.
        const INSIDE: &str = "NUCLEUS_TEST_FEW_DESCRIPTORS";
        if std::env::var_os(INSIDE).is_none() {
            let name = "lock::tests::a_reservation_that_fails_after_its_mkdir_leaves_nothing";
            let mut test = std::process::Command::new(std::env::current_exe().unwrap());
            let test = test
                .args(["--exact", name, "--nocapture", "--test-threads=1"])
                .env(INSIDE, "1");
            let output = test.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("root"), true).unwrap();
        let id = ContainerId::parse("c").unwrap();
        for (count, what) in [(0, "cannot open container directory"), (1, "cannot lock")] {
            let error = with_few_descriptors(count, || store.reserve(&id)).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert!(store.ids().unwrap().is_empty(), "{what}: the directory is left");
        }
        // The control: with one descriptor more it succeeds.
        with_few_descriptors(2, || store.reserve(&id)).unwrap();
    }

    #[test]
    fn a_lock_that_is_held_is_seen() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("root"), true).unwrap();
        let id = ContainerId::parse("c").unwrap();
        let reservation = store.reserve(&id).unwrap();
        let dir = store.get(&id).unwrap();
        assert!(dir.is_locked());
        reservation.commit();
        assert!(!dir.is_locked());
    }

    #[test]
    fn the_directory_stands_in_for_a_lock_file_that_cannot_be_made() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("root"), true).unwrap();
        let id = ContainerId::parse("c").unwrap();
        store.reserve(&id).unwrap().commit();
        let (one, other) = (store.get(&id).unwrap(), store.get(&id).unwrap());
        let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        let lock = one.lock_itself(exclusive).unwrap();
        assert!(lock.is_some());
        assert!(other.lock_itself(exclusive).unwrap().is_none());
        drop(lock);
        assert!(other.lock_itself(exclusive).unwrap().is_some());
    }

    #[test]
    fn a_reservation_does_not_take_over_what_another_has_made_meanwhile() {
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
