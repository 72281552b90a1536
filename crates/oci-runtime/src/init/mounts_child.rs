//! The container side of `mounts`: a copy of the runtime that enters a container, changes its mounts and ends.
//!
//! | step | what | why here |
//! |---|---|---|
//! | 1 | die with the runtime; non-dumpable; the namespaces of init, by its pidfd; uid 0 of a user namespace | nothing of the container is looked at before, no path of the host after |
//! | 2 | the mounts, in order, or their removal, the last one first | |
//!
//! It stays in the other namespaces and in the control groups of its caller, so that a frozen container does not stop it.
//! While it resolves paths of the container it holds open nothing of the host but the trees to mount, /proc, and the log.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use rustix::fs::Mode;

use super::failure::{Explain, Failure};
use super::{be_unreadable, exec_child, process, tie_to_runtime};
use crate::channel::{InitEnd, ToHost};
use crate::plan::Mount;
use crate::rootfs::added::{self, Added};
use crate::rootfs::root::Root;

/// What the process needs.
#[derive(Debug)]
pub struct MountsContext {
    /// Where the outcome is sent.
    pub channel: InitEnd,
    /// A pidfd of the container's init.
    pub init: OwnedFd,
    /// The container has another user namespace.
    pub joins_user: bool,
    /// The host's /proc.
    pub procfs: OwnedFd,
    /// The log's descriptor.
    pub log_fd: Option<i32>,
    /// What to do.
    pub change: Change,
}

/// What to do with a container's mounts.
#[derive(Debug)]
pub enum Change {
    /// Adds these. A bind mount comes with its tree.
    Add(Vec<(Mount, Option<OwnedFd>)>),
    /// Unmounts what is at these places.
    Remove(Vec<PathBuf>),
}

impl MountsContext {
    /// Does it, sends `Ready` or `Failed`, and gives the exit code.
    pub fn run(self) -> i32 {
        self.close_all_others();
        let Self {
            channel,
            init,
            joins_user,
            procfs,
            change,
            ..
        } = self;
        let outcome = enter(init, joins_user).and_then(|root| apply(change, root, &procfs));
        let (message, code) = match outcome {
            Ok(()) => (ToHost::Ready, 0),
            Err(failure) => (ToHost::Failed(failure.to_string()), 255),
        };
        // One that cannot be sent is reported as the end of this process.
        let _ = channel.tell(&message);
        code
    }

    fn close_all_others(&self) {
        let mut keep = vec![self.channel.as_fd(), self.init.as_fd(), self.procfs.as_fd()];
        if let Change::Add(mounts) = &self.change {
            keep.extend(mounts.iter().filter_map(|(_, tree)| tree.as_ref()).map(AsFd::as_fd));
        }
        nucleus_sys::process::close_all_but(&keep, self.log_fd.as_slice());
    }
}

/// Step 1. Gives the container's root, which setns(2) has made the process's own.
fn enter(init: OwnedFd, joins_user: bool) -> Result<Root, Failure> {
    crate::step("mounts-child:1", "namespaces");
    tie_to_runtime()?;
    be_unreadable()?;
    let mut kinds = CloneFlags::CLONE_NEWNS;
    kinds.set(CloneFlags::CLONE_NEWUSER, joins_user);
    exec_child::join(&init, kinds).explain(|| "cannot join the container's namespaces")?;
    if joins_user {
        process::become_namespace_root()?;
        // The change of user has cut the tie.
        tie_to_runtime()?;
    }
    rustix::process::umask(Mode::empty());
    Root::open(Path::new("/")).explain(|| "cannot open the container's root")
}

/// Step 2. A mount that fails takes those before it back. What is removed stays so: each removal is checked before the first
/// one is done.
fn apply(change: Change, root: Root, procfs: &OwnedFd) -> Result<(), Failure> {
    crate::step("mounts-child:2", "mounts");
    match change {
        Change::Add(mounts) => {
            let mut added = Added::new(root, procfs);
            for (i, (mount, tree)) in mounts.into_iter().enumerate() {
                added.mount(i, &mount, tree)?;
            }
            added.commit();
        }
        Change::Remove(destinations) => {
            for (i, destination) in destinations.iter().enumerate() {
                added::check_removal(&root, procfs, i, destination)?;
            }
            // What was added later can be mounted on what was added before.
            for (i, destination) in destinations.iter().enumerate().rev() {
                added::remove(&root, procfs, i, destination)?;
            }
        }
    }
    Ok(())
}
