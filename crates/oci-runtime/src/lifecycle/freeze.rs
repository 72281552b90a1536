//! `pause` and `resume`: the container's processes stop where they are, and go on.
//!
//! Under the container's lock, so that a status that allows it still holds when it is done. The freezer alone knows
//! whether a container is paused: nothing is written down.

use nucleus_core::{ContainerId, Operation, Store};

use super::{Container, Result, cgroup_of};

/// Freezes every process of the container; returns when all of them stand still.
///
/// # Errors
/// `container not running` unless it is created or running; processes that do not stop within two seconds, which then
/// go on; a container without a freezer (rootless on v1).
pub fn pause(store: &Store, id: &ContainerId) -> Result<()> {
    let dir = store.get(id)?;
    let _lock = dir.lock()?;
    let container = Container::observe(dir)?;
    container.check(Operation::Pause)?;
    crate::step("1", "freeze");
    Ok(cgroup_of(&container.state.cgroup).freeze()?)
}

/// Lets every process of the container go on.
///
/// # Errors
/// `container not paused`.
pub fn resume(store: &Store, id: &ContainerId) -> Result<()> {
    let dir = store.get(id)?;
    let _lock = dir.lock()?;
    let container = Container::observe(dir)?;
    container.check(Operation::Resume)?;
    crate::step("1", "thaw");
    Ok(cgroup_of(&container.state.cgroup).thaw()?)
}
