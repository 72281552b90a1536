//! The CPUs of a container's processes: those that the cpuset allows, unless config.json says otherwise.
//!
//! The caller's own CPUs (`taskset`, `CPUAffinity=` of a systemd unit) are inherited, and since Linux 6.2 a cpuset does
//! not undo them. So init and each process that `exec` adds get all CPUs that the cpuset allows, as under runc since
//! 1.3.1. `process.cpuAffinity` names others for each stage. All is done by the host side, beside init's own work, so that
//! no system call filter can refuse it.

use rustix::io::Errno;
use rustix::process::Pid;

use crate::init::failure::{Explain, Failure};
use crate::plan::{Plan, StageCpus};

/// `cpuAffinity.createRuntime`: the CPUs of the runtime while it makes the container, and of its hooks.
///
/// # Errors
/// Named by the field.
pub fn of_runtime(plan: &Plan) -> Result<(), Failure> {
    set(
        None,
        stages(plan).and_then(|cpus| cpus.create_runtime.as_deref()),
        "createRuntime",
    )
}

/// `cpuAffinity.createContainer`: the CPUs of init, once it is in its control groups; without it those that they allow.
///
/// # Errors
/// Named by the field.
pub fn of_init(plan: &Plan, pid: Pid) -> Result<(), Failure> {
    match stages(plan).and_then(|cpus| cpus.create_container.as_deref()) {
        None => reset(pid),
        cpus => return set(Some(pid), cpus, "createContainer"),
    }
    Ok(())
}

/// `cpuAffinity.startContainer`: the CPUs of init from the startContainer hooks on, set while it waits for `start`.
///
/// # Errors
/// Named by the field.
pub fn at_start(plan: &Plan, pid: Pid) -> Result<(), Failure> {
    set(
        Some(pid),
        stages(plan).and_then(|cpus| cpus.start_container.as_deref()),
        "startContainer",
    )
}

/// Gives a process all CPUs that its cpuset allows. It is best effort: no config asks for it.
pub fn reset(pid: Pid) {
    if let Err(error) = nucleus_sys::sched::reset_affinity(Some(pid)) {
        tracing::debug!("cannot reset the CPU affinity: {error}");
    }
}

/// Gives init a core scheduling cookie, which its children inherit. No process of another container or of the host runs on
/// the same core at the same time, so none can look at it through what the core's threads share.
///
/// # Errors
/// From a kernel without core scheduling. Where no core has two threads, nothing is shared and nothing is to be done.
pub fn new_core_cookie(pid: Pid) -> Result<(), Failure> {
    match nucleus_sys::sched::new_core_cookie(pid) {
        Err(Errno::NODEV) => {
            tracing::debug!("core scheduling: no core has two threads");
            Ok(())
        }
        other => {
            other.explain(|| "core scheduling (org.nucleus.core-scheduling, --core-sched): the kernel gives no cookie")
        }
    }
}

fn stages(plan: &Plan) -> Option<&StageCpus> {
    plan.process.as_ref().map(|process| &process.stage_cpus)
}

fn set(pid: Option<Pid>, cpus: Option<&[u64]>, stage: &str) -> Result<(), Failure> {
    let Some(cpus) = cpus else { return Ok(()) };
    nucleus_sys::sched::set_affinity(pid, cpus)
        .explain(|| format!("process.cpuAffinity.{stage}: the kernel refuses it"))
}
