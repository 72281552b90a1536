//! The verbs on the host side, from create to delete, and what they share.
//!
//! Called by `cli` only. The rule: whatever makes a kernel object owns its removal. A verb that fails leaves the host
//! as it was; a runtime that is killed leaves a state from which `delete --force` removes everything.

mod affinity;
pub mod check;
pub mod create;
pub mod delete;
mod device_nodes;
pub mod error;
pub mod events;
pub mod exec;
pub mod foreground;
pub mod freeze;
mod host;
mod id_maps;
mod idmap_mounts;
pub mod kill;
mod listener;
pub mod mounts;
mod net_devices;
pub mod notify;
mod pid_file;
mod pidfd_socket;
pub mod ps;
mod relay;
mod resctrl;
mod socket;
mod spawn;
pub mod start;
mod terminal;
pub mod update;

use std::ffi::CString;
use std::time::Duration;

use nix::sched::CloneFlags;
use nucleus_core::{
    CgroupRecord, ContainerDir, ContainerId, ContainerState, Driver, Error as CoreError, Observation, Operation,
    Process, ProcessIdentity, Store,
};
use rustix::process::Pid;

use crate::hooks;
use crate::init::failure::{Explain, Failure};
use crate::init::scheduling;
use crate::plan::{Plan, rlimit_name};
pub use error::{Error, Result};
pub use host::in_user_namespace;

/// Where a verb tells what a person should know though it is no error.
pub type Warn<'a> = &'a dyn Fn(&str);

/// How often, and at which distance, a container without state is looked at before it counts as cut off.
const CREATION_LOOKS: u32 = 10;
const CREATION_PAUSE: Duration = Duration::from_millis(5);

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
        match Self::observe(dir.clone()) {
            Err(Error::Core(CoreError::Incomplete { .. })) => Self::observe_creation(dir),
            observed => observed,
        }
    }

    /// A container without state: either `create` is about to write its first state, which takes microseconds, or it was
    /// killed. A creation that is under way and takes longer is not shown yet.
    fn observe_creation(dir: ContainerDir) -> Result<Self> {
        for _ in 0..CREATION_LOOKS {
            std::thread::sleep(CREATION_PAUSE);
            match Self::observe(dir.clone()) {
                Err(Error::Core(CoreError::Incomplete { .. })) => {}
                observed => return observed,
            }
        }
        match Self::observe(dir.clone()) {
            Err(Error::Core(CoreError::Incomplete { id })) if dir.is_locked() => Err(CoreError::NotFound { id }.into()),
            observed => observed,
        }
    }

    /// Reads state and status of an opened container.
    ///
    /// # Errors
    /// What makes the state unreadable.
    pub fn observe(dir: ContainerDir) -> Result<Self> {
        let state = dir.load()?;
        let elsewhere = |process: &ProcessIdentity, error| find_by_cgroup(&state.cgroup, process, error);
        let seen = dir.observe(&state, || frozen(&state.cgroup), elsewhere)?;
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

/// Looks among the processes of the container's control groups for one that was recorded in another PID namespace. If
/// that namespace is gone (a restarted Docker-in-Docker), so is the process, and its control group is empty or gone.
///
/// # Errors
/// `unreachable` if processes live in the control groups that this PID namespace does not show.
fn find_by_cgroup(record: &CgroupRecord, process: &ProcessIdentity, unreachable: CoreError) -> Result<Option<Process>> {
    let cgroup = cgroup_of(record);
    for pid in cgroup.pids(true)? {
        if let Some(found) = process.open_as(pid)? {
            return Ok(Some(found));
        }
    }
    if cgroup.has_hidden_processes()? {
        return Err(unreachable.into());
    }
    Ok(None)
}

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
fn apply_rlimits_and_scheduler(plan: &Plan, pid: Pid) -> std::result::Result<(), Failure> {
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
