//! Where `linux.netDevices` go: the network namespace of init, or the one that it joins.
//!
//! Called by `create` only. A plan without devices opens nothing and asks nothing.

use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};

use super::spawn::Child;
use crate::init::failure::{Explain, Failure};
use crate::network::devices::{Moved, move_all};
use crate::plan::Plan;

/// The network namespace that is joined, if there are devices to move there.
///
/// # Errors
/// As dup(2).
pub fn joined_network(plan: &Plan, join: &[(u64, OwnedFd, String)]) -> Result<Option<OwnedFd>, Failure> {
    if plan.net_devices.is_empty() {
        return Ok(None);
    }
    let network = CloneFlags::CLONE_NEWNET.bits() as u64;
    let joined = join.iter().find(|(bit, _, _)| *bit == network);
    joined
        .map(|(_, namespace, path)| namespace.try_clone().explain(|| format!("linux.netDevices: {path}")))
        .transpose()
}

/// Moves the devices into the container's network namespace: the joined one, else init's.
///
/// # Errors
/// Named by `linux.netDevices`.
pub fn move_in(plan: &Plan, joined: Option<OwnedFd>, init: &Child) -> Result<Option<Moved>, Failure> {
    if plan.net_devices.is_empty() {
        return Ok(None);
    }
    let namespace = match joined {
        Some(namespace) => namespace,
        None => {
            let path = format!("/proc/{}/ns/net", init.pid().as_raw_nonzero());
            rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .explain(|| format!("linux.netDevices: cannot open {path}"))?
        }
    };
    move_all(&plan.net_devices, &namespace).map(Some)
}
