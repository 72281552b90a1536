//! What a further process shares with its container: written down by `create`, read back by `exec`.
//!
//! The rule: what protects is never left out in silence. A container that was made with a filter lets nobody in
//! without it. What a process section may say itself counts only where the section is silent.

use nucleus_core::{ExecRecord, SeccompAgent};

use super::super::{Container, Result, SECCOMP_FILE};
use crate::plan::{CpuAffinity, Listener, MemoryPolicy, Plan, Process, Seccomp};

/// The record of a container that is being made. The program of its filter goes into a file of its own.
pub fn record(plan: &Plan, no_new_keyring: bool) -> ExecRecord {
    let process = plan.process.as_ref();
    let listener = plan.seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
    let cpus = process.and_then(|process| process.exec_cpu_affinity.as_ref());
    ExecRecord {
        oom_score_adj: process.and_then(|process| process.oom_score_adj),
        no_new_keyring,
        seccomp_flags: plan.seccomp.as_ref().map(|filter| filter.flags),
        seccomp_agent: listener.map(|listener| SeccompAgent {
            path: listener.path.clone(),
            metadata: listener.metadata.clone(),
        }),
        personality: plan.personality,
        memory_policy: plan
            .memory_policy
            .as_ref()
            .map(|policy| (policy.mode, policy.nodes.clone())),
        io_priority: process.and_then(|process| process.io_priority),
        initial_cpus: cpus.and_then(|cpus| cpus.initial.clone()),
        final_cpus: cpus.and_then(|cpus| cpus.final_.clone()),
    }
}

/// Gives the process what its section leaves to the container.
pub fn fill_in(process: &mut Process, record: &ExecRecord) {
    process.oom_score_adj = process.oom_score_adj.or(record.oom_score_adj);
    process.io_priority = process.io_priority.or(record.io_priority);
    process.exec_cpu_affinity.get_or_insert_with(|| CpuAffinity {
        initial: record.initial_cpus.clone(),
        final_: record.final_cpus.clone(),
    });
}

/// A plan with nothing but the container's execution domain and memory policy.
pub fn domain(record: &ExecRecord) -> Plan {
    Plan {
        personality: record.personality,
        memory_policy: record
            .memory_policy
            .clone()
            .map(|(mode, nodes)| MemoryPolicy { mode, nodes }),
        ..Plan::default()
    }
}

/// The container's system call filter, if it was made with one.
///
/// # Errors
/// When the filter cannot be read back.
pub fn filter(container: &Container) -> Result<Option<Seccomp>> {
    let record = &container.state.exec;
    let Some(flags) = record.seccomp_flags else {
        return Ok(None);
    };
    Ok(Some(Seccomp {
        program: container.dir.read_blob(SECCOMP_FILE)?,
        flags,
        listener: record.seccomp_agent.clone().map(|agent| Listener {
            path: agent.path,
            metadata: agent.metadata,
        }),
    }))
}
