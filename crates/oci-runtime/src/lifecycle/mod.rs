//! The verbs on the host side: create, start, run, kill, delete, and what they share.
//!
//! Called by `cli` only. The rule: whatever makes a kernel object owns its removal. A verb that fails leaves the host
//! as it was; a runtime that is killed leaves a state from which `delete --force` removes everything.

pub mod check;
pub mod create;
pub mod delete;
pub mod error;
pub mod foreground;
mod host;
mod id_mapped;
mod id_maps;
pub mod kill;
mod listener;
mod net_devices;
mod resctrl;
mod spawn;
pub mod start;
mod terminal;

use nucleus_core::{CgroupRecord, ContainerDir, ContainerId, ContainerState, Observation, Operation, Store};

use crate::hooks;
pub use error::{Error, Result};
pub use host::in_user_namespace;

/// Where a verb tells what a person should know though it is no error.
pub type Warn<'a> = &'a dyn Fn(&str);

/// A container that exists, as it is now.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub dir: ContainerDir,
    /// Its record.
    pub state: ContainerState,
    /// Its status and its init.
    pub seen: Observation,
}

impl Container {
    /// Looks the container up by its exact id.
    ///
    /// # Errors
    /// `container does not exist`, or what makes its state unreadable.
    pub fn open(store: &Store, id: &ContainerId) -> Result<Self> {
        let dir = store.get(id)?;
        Self::observe(dir)
    }

    /// Reads state and status of an opened container.
    ///
    /// # Errors
    /// What makes the state unreadable.
    pub fn observe(dir: ContainerDir) -> Result<Self> {
        let state = dir.load()?;
        let seen = dir.observe(&state, || frozen(&state.cgroup))?;
        Ok(Self { dir, state, seen })
    }

    /// Refuses an operation that the status does not allow.
    ///
    /// # Errors
    /// The refusal, in runc's words.
    pub fn check(&self, operation: Operation) -> Result<()> {
        self.seen.status.check(operation)?;
        Ok(())
    }
}

fn frozen(record: &CgroupRecord) -> Result<bool> {
    Ok(cgroup_of(record).is_frozen()?)
}

/// The control groups of a record, for operations on them.
pub fn cgroup_of(record: &CgroupRecord) -> nucleus_cgroup::Record {
    nucleus_cgroup::Record {
        driver: record.driver.clone(),
        paths: record.paths.clone(),
    }
}

/// What hooks are told about a container.
fn hook_state(state: &ContainerState) -> hooks::State {
    hooks::State {
        oci_version: state.oci_version.clone(),
        id: state.id.to_string(),
        bundle: state.bundle.clone(),
        annotations: state.annotations.clone(),
    }
}
