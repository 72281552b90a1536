//! `--pidfd-socket`: a pidfd of the new process for somebody who wants to wait for it without a race.
//!
//! Called by `create`, `run` and `exec` once the process is there and before its program runs.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::spawn::Child;
use crate::init::failure::{Explain, Failure};
use crate::rootfs::console;

/// The other side.
#[derive(Debug)]
pub struct PidfdSocket(Option<OwnedFd>);

impl PidfdSocket {
    /// Connects, before anything is made.
    ///
    /// # Errors
    /// As connect(2).
    pub fn connect(path: Option<&Path>) -> Result<Self, Failure> {
        let connect =
            |path: &Path| super::socket::connect(path).explain(|| format!("--pidfd-socket {}", path.display()));
        path.map(connect).transpose().map(Self)
    }

    /// Sends one message with the pidfd; `kind` says what sort of process it is, in runc's words.
    ///
    /// # Errors
    /// As sendmsg(2).
    pub fn send(&self, kind: &str, process: &Child) -> Result<(), Failure> {
        let Some(socket) = &self.0 else {
            return Ok(());
        };
        let pidfd = process.pidfd().explain(|| "process")?;
        console::send(socket, kind.as_bytes(), pidfd.as_fd()).explain(|| "--pidfd-socket: cannot send")
    }
}
