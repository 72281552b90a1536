//! What init and a process of `exec` have in common when their last steps begin, and which descriptors are still open then.
//!
//! Called by `init` and `init::exec_child`. The rule: when a path of the image is looked up, only what the program gets is open,
//! and what leads nowhere.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::hold::Hold;
use crate::channel::{InitEnd, ToHost};
use crate::hooks;

/// What the last steps need besides the plan: the same for init and for a process that `exec` adds.
#[derive(Debug)]
pub struct FinalStage {
    /// The way to the host side.
    pub channel: InitEnd,
    /// The exec FIFO, open for reading and writing; `None` for `run` and `exec`.
    pub exec_fifo: Option<OwnedFd>,
    /// What a process of `exec` waits for before it executes its program.
    pub hold: Option<Hold>,
    /// `start` has let init go on, or `exec` the process that is about to wait: the host side does not listen any more.
    pub started: Cell<bool>,
    /// Inherited descriptors that are the container's, by number.
    pub preserve_fds: Vec<i32>,
    /// The log's descriptor, until the program's descriptors alone are kept.
    pub log_fd: Option<i32>,
    /// `--log` names a file.
    pub logs_to_file: bool,
    /// The caller itself runs in a user namespace.
    pub in_user_namespace: bool,
    /// The score of the OOM killer that is wanted, where it is not the one that we have from the caller.
    pub oom_score_adj: Option<i32>,
    /// The maker of the container may look into the process before it executes the program, see [`may_be_readable`](super::may_be_readable).
    pub is_readable: bool,
    /// The container's state, for the hooks that run inside the container.
    pub hook_state: hooks::State,
}

impl FinalStage {
    /// Closes all descriptors but these, `more`, and the standard streams.
    pub(super) fn close_all_others<'a>(&'a self, more: impl Iterator<Item = BorrowedFd<'a>>) {
        let mut keep = vec![self.channel.as_fd()];
        keep.extend(self.exec_fifo.iter().map(AsFd::as_fd));
        keep.extend(self.hold.iter().flat_map(Hold::fds));
        keep.extend(more);
        let numbers: Vec<i32> = self.preserve_fds.iter().copied().chain(self.log_fd).collect();
        nucleus_sys::process::close_all_but(&keep, &numbers);
    }

    /// Closes every descriptor but those that the program gets, the channel, and what it is going to wait on.
    ///
    /// The working directory, the program, and its interpreter are paths of the image: each may lead through
    /// /proc/self/fd to whatever this process holds open. Close-on-exec comes too late, because execve(2) resolves the
    /// path first (CVE-2024-21626). What stays leads nowhere: a socket and a FIFO have nothing below them, and neither
    /// can be executed.
    pub(super) fn close_what_the_program_does_not_get(&mut self) {
        self.log_fd = None;
        self.close_all_others(std::iter::empty());
    }

    /// Logs a step of the last ones. The log file is closed by then, so its line goes through the host side while
    /// that listens: until `start` when there is an exec FIFO, until execve otherwise.
    pub fn step(&self, number: &str, name: &str) {
        crate::test_point(number);
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        if !self.logs_to_file {
            tracing::debug!("{number} {name}");
        } else if !self.started.get() {
            let _ = self.channel.tell(&ToHost::Step(format!("{number} {name}")));
        }
    }
}
