//! Moving processes into v1 hierarchies (v2 membership comes with `CLONE_INTO_CGROUP` where that works).
//!
//! A process that is its only thread moves itself by writing "0" to `tasks`: the kernel then skips
//! cgroup_threadgroup_rwsem, whose write lock waits for an RCU grace period (kernel/cgroup/cgroup.c,
//! `cgroup_procs_write_start`). Writing a pid to `cgroup.procs` takes that lock, milliseconds for each hierarchy.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::dir::{Dir, write_value};
use crate::error::Error;

/// An open `tasks` file for each v1 hierarchy, `cgroup.procs` for v2. Opened by the host side, whose credentials the kernel then checks, it
/// can be used after a fork, also inside a new user or mount namespace.
#[derive(Debug, Default)]
pub struct Joiner {
    tasks: Vec<(OwnedFd, PathBuf)>,
}

impl Joiner {
    pub(crate) fn open<'a>(v1: impl Iterator<Item = &'a Dir>, v2: Option<&Dir>) -> Result<Joiner, Error> {
        let open = |(dir, file): (&Dir, &str)| match dir.writer(file) {
            Ok(fd) => Ok((fd, dir.file(file))),
            Err(errno) => Err(Error::file("open", dir.file(file))(errno)),
        };
        let files = v1.map(|dir| (dir, "tasks")).chain(v2.map(|dir| (dir, "cgroup.procs")));
        let tasks = files.map(open).collect::<Result<_, _>>()?;
        Ok(Joiner { tasks })
    }

    /// The open files, for a caller that closes all others.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.tasks.iter().map(|(fd, _)| fd.as_fd())
    }

    /// Takes out what joins the group at `dir`.
    pub fn split_off(&mut self, dir: &Path) -> Joiner {
        let is_it = |(_, file): &mut (OwnedFd, PathBuf)| file.parent() == Some(dir);
        let tasks = self.tasks.extract_if(.., is_it).collect();
        Joiner { tasks }
    }

    /// True when there is nothing to join.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Moves the calling thread; the process must have no other one. A new cgroup namespace is unshared after this,
    /// so that it is rooted in the container's cgroups.
    ///
    /// # Errors
    /// The `tasks` file that refused, and why.
    pub fn join_self(&self) -> Result<(), Error> {
        self.join("0")
    }

    /// Moves another process that has a single thread. Slower than [`Joiner::join_self`]: the kernel's global lock is
    /// taken.
    ///
    /// # Errors
    /// The `tasks` file that refused, and why; `ESRCH` when the process is gone.
    pub fn join_pid(&self, pid: Pid) -> Result<(), Error> {
        self.join(&pid.as_raw_nonzero().to_string())
    }

    fn join(&self, value: &str) -> Result<(), Error> {
        for (fd, path) in &self.tasks {
            write_value(fd, value).map_err(|errno: Errno| Error::file("join through", path)(errno))?;
        }
        Ok(())
    }
}
