//! Device nodes that the host's root makes for a container with a user namespace, where init may make none.
//!
//! A node of the host is bound by init itself. One that the host lacks, or has as another device, is made here, in the
//! container's directory, and handed to init as a mount. Called by `create` before there is an init.

use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use nix::unistd::Uid;
use nucleus_core::{ContainerDir, Node};
use nucleus_sys::mount::{Attributes, attr, set_attributes};

use super::host;
use crate::init::failure::{Explain, Failure};
use crate::plan::{IdMapping, Plan, host_id};
use crate::rootfs::{devices, root::clone_mount};

/// The mounts of all devices that init cannot bind from the host, each with the index of its device.
///
/// # Errors
/// Named by the path of the device.
pub fn trees(plan: &Plan, dir: &ContainerDir) -> Result<Vec<(usize, OwnedFd)>, Failure> {
    let by_init = !plan.namespaces.has(CloneFlags::CLONE_NEWUSER.bits() as u64);
    if by_init || plan.dev_is_bound || !Uid::effective().is_root() || host::in_user_namespace() {
        return Ok(Vec::new());
    }
    let missing = plan
        .devices
        .iter()
        .enumerate()
        .filter(|(_, device)| !devices::host_has(device));
    missing.map(|(i, _)| Ok((i, tree(plan, dir, i)?))).collect()
}

fn tree(plan: &Plan, dir: &ContainerDir, i: usize) -> Result<OwnedFd, Failure> {
    let device = &plan.devices[i];
    let what = || format!("linux.devices: cannot make {}", device.path.display());
    let on_host = |id: u32, map: &[IdMapping]| match host_id(id, map) {
        Some(id) => Ok(id),
        // The map of a namespace that is joined by path is not in the configuration.
        None if id == 0 && map.is_empty() => Ok(0),
        None => Err(Failure::new(format!("{}: the container has no id {id}", what()))),
    };
    let node = Node {
        mode: device.mode,
        device: rustix::fs::makedev(device.rdev.0, device.rdev.1),
        owner: (
            rustix::fs::Uid::from_raw(on_host(device.uid, &plan.uid_map)?),
            rustix::fs::Gid::from_raw(on_host(device.gid, &plan.gid_map)?),
        ),
    };
    // The container's directory may lie in a filesystem that is mounted nodev, as /run is.
    let usable = Attributes {
        set: attr::NOSUID | attr::NOEXEC,
        clear: attr::NODEV,
        propagation: nix::libc::MS_PRIVATE,
    };
    let node = dir
        .make_node(i, node)
        .map_err(|error| Failure::new(format!("{}: {error}", what())))?;
    let tree = clone_mount(node, false).explain(what)?;
    set_attributes(&tree, usable, false).explain(what)?;
    Ok(tree)
}
