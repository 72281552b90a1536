//! The verbs on the host side, from create to delete, and what they share.
//!
//! Called by `cli` only. The rule: whatever makes a kernel object owns its removal. A verb that fails leaves the host
//! as it was; a runtime that is killed leaves a state from which `delete --force` removes everything.

mod affinity;
pub mod check;
pub mod create;
pub mod delete;
pub mod error;
pub mod events;
pub mod exec;
pub mod foreground;
pub mod freeze;
mod host;
mod id_mapped;
mod id_maps;
pub mod kill;
mod listener;
mod net_devices;
pub mod notify;
mod pid_file;
mod pidfd_socket;
pub mod ps;
mod resctrl;
mod socket;
mod spawn;
pub mod start;
mod terminal;
pub mod update;

use std::ffi::CString;

use nix::sched::CloneFlags;
use nucleus_core::{CgroupRecord, ContainerDir, ContainerId, ContainerState, Driver, Observation, Operation, Store};
use rustix::process::Pid;

use crate::hooks;
use crate::init::failure::{Explain, Failure};
use crate::init::scheduling;
use crate::plan::{Plan, rlimit_name};
pub use error::{Error, Result};
pub use host::in_user_namespace;

/// Where a verb tells what a person should know though it is no error.
pub type Warn<'a> = &'a dyn Fn(&str);

/// The compiled system call filter, beside the state: `exec` needs it and the bundle may be gone.
const SECCOMP_FILE: &str = "seccomp.bpf";

/// A container that exists, as it is now.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub dir: ContainerDir,
    /// Its record.
    pub state: ContainerState,
    /// Its status and its init.
    pub seen: Observation,
    /// Whether this very process has made it, so that its record need not be doubted.
    pub own: bool,
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
        Ok(Self {
            dir,
            state,
            seen,
            own: false,
        })
    }

    /// Refuses an operation that the status does not allow.
    ///
    /// # Errors
    /// The refusal, in runc's words.
    pub fn check(&self, operation: Operation) -> Result<()> {
        if self.state.driver != Driver::Native {
            return Err(Failure::new("this container was made by a newer version, which must be used for it").into());
        }
        self.seen.status.check(operation)?;
        Ok(())
    }
}

fn frozen(record: &CgroupRecord) -> Result<bool> {
    Ok(cgroup_of(record).is_frozen()?)
}

/// All kinds of namespaces, as `/proc/PID/ns` names them.
const NAMESPACES: [(CloneFlags, &str); 8] = [
    (CloneFlags::CLONE_NEWUSER, "user"),
    (CloneFlags::CLONE_NEWNS, "mnt"),
    (CloneFlags::CLONE_NEWPID, "pid"),
    (CloneFlags::CLONE_NEWNET, "net"),
    (CloneFlags::CLONE_NEWIPC, "ipc"),
    (CloneFlags::CLONE_NEWUTS, "uts"),
    (CloneFlags::CLONE_NEWCGROUP, "cgroup"),
    (CloneFlags::from_bits_retain(crate::init::TIME_NAMESPACE as i32), "time"),
];

/// The control groups of a record, for operations on them.
pub fn cgroup_of(record: &CgroupRecord) -> nucleus_cgroup::Record {
    nucleus_cgroup::Record {
        driver: record.driver.clone(),
        paths: record.paths.clone(),
        unit: record.unit.clone(),
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

/// The name of the session keyring of a container's processes.
fn keyring_of(id: &ContainerId) -> Result<CString> {
    CString::new(format!("_ses.{id}")).map_err(|_| Failure::new("container id: holds a NUL byte").into())
}

/// Gives a process in a user namespace of its own what it may not take itself: a hard limit that is raised, a scheduling
/// policy that needs CAP_SYS_NICE, a lower score of the OOM killer.
fn grant(plan: &Plan, pid: Pid) -> std::result::Result<(), Failure> {
    if !plan.namespaces.has(CloneFlags::CLONE_NEWUSER.bits() as u64) {
        return Ok(());
    }
    for (resource, soft, hard) in plan.process.iter().flat_map(|process| &process.rlimits) {
        nucleus_sys::process::set_rlimit(Some(pid), *resource, *soft, *hard).explain(|| {
            format!(
                "process.rlimits: cannot set {} to {soft}:{hard}",
                rlimit_name(*resource)
            )
        })?;
    }
    let score = host::sets_oom_score(plan).then(|| host::oom_score_to_set(plan));
    if let Some(score) = score.flatten() {
        let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
        std::fs::write(path, score.to_string()).explain(|| format!("process.oomScoreAdj: cannot set {score}"))?;
    }
    plan.process
        .as_ref()
        .map_or(Ok(()), |process| scheduling::schedule(process, Some(pid)))
}
