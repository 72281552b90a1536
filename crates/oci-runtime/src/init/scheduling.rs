//! How the kernel is to treat the container's processes: scheduler, I/O priority, execution domain, memory policy.
//!
//! A policy that needs CAP_SYS_NICE needs it over the host's first user namespace, so with a new user namespace the
//! host side sets scheduler and I/O priority, as it does with limits; otherwise init does, late, so that the set-up
//! itself runs as the runtime does. Execution domain and memory policy belong to the calling process and need no right.

use rustix::process::Pid;

use super::failure::{Explain, Failure};
use crate::plan::{Plan, Process};

/// Sets what `process` says about scheduling; of the calling process when `pid` is `None`.
///
/// # Errors
/// Named by `process.scheduler` or `process.ioPriority`.
pub fn schedule(process: &Process, pid: Option<Pid>) -> Result<(), Failure> {
    if let Some(scheduler) = &process.scheduler {
        nucleus_sys::sched::set_scheduler(pid, scheduler).explain(|| "process.scheduler: the kernel refuses it")?;
    }
    if let Some((class, priority)) = process.io_priority {
        nucleus_sys::sched::set_io_priority(pid, class, priority)
            .explain(|| "process.ioPriority: the kernel refuses it")?;
    }
    Ok(())
}

/// Bounds a process of `exec` to CPUs (`process.execCPUAffinity`, of which `which` is the field); of the calling
/// process when `pid` is `None`. Without a list they stay as they are.
///
/// # Errors
/// Named by the field.
pub fn bound(which: &str, cpus: Option<&[u64]>, pid: Option<Pid>) -> Result<(), Failure> {
    let Some(cpus) = cpus else { return Ok(()) };
    let words = cpus.iter().rev().skip_while(|word| **word == 0);
    let mask: String = words.map(|word| format!("{word:016x}")).collect();
    tracing::debug!("{which} CPUs affinity: 0x{}", mask.trim_start_matches('0'));
    nucleus_sys::sched::set_affinity(pid, cpus)
        .explain(|| format!("process.execCPUAffinity.{which}: the kernel refuses it"))
}

/// Sets execution domain and memory policy of the calling process.
///
/// # Errors
/// Named by `linux.personality` or `linux.memoryPolicy`.
pub fn set_domain(plan: &Plan) -> Result<(), Failure> {
    if let Some(domain) = plan.personality {
        nucleus_sys::sched::set_personality(domain).explain(|| "linux.personality: the kernel refuses it")?;
    }
    if let Some(policy) = &plan.memory_policy {
        nucleus_sys::sched::set_memory_policy(policy.mode, &policy.nodes)
            .explain(|| "linux.memoryPolicy: the kernel refuses it")?;
    }
    Ok(())
}
