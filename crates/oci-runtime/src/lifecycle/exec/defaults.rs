//! What a further process shares with its container: written down by `create`, read back by `exec`.
//!
//! The rule: what protects is never left out in silence. A container that was made with a filter lets nobody in
//! without it. What a process section may say itself counts only where the section is silent.

use nucleus_core::{ExecRecord, SeccompAgent};
use nucleus_sys::sched::Scheduler;

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
        scheduler: process
            .and_then(|process| process.scheduler)
            .map(|s| (s.policy, s.flags, s.nice, s.priority, s.runtime, s.deadline, s.period)),
        rlimits: process.map(|process| process.rlimits.clone()).unwrap_or_default(),
        resctrl: Vec::new(),
        apparmor_profile: process.and_then(|process| process.apparmor_profile.clone()),
        selinux_label: process.and_then(|process| process.selinux_label.clone()),
        initial_cpus: cpus.and_then(|cpus| cpus.initial.clone()),
        final_cpus: cpus.and_then(|cpus| cpus.final_.clone()),
        mount_label: plan.mount_label.clone(),
        core_scheduling: plan.core_scheduling,
    }
}

/// Gives the process what its section leaves to the container.
pub fn fill_in(process: &mut Process, record: &ExecRecord) {
    process.oom_score_adj = process.oom_score_adj.or(record.oom_score_adj);
    process.io_priority = process.io_priority.or(record.io_priority);
    process.scheduler = process.scheduler.or_else(|| scheduler(record));
    if process.rlimits.is_empty() {
        process.rlimits.clone_from(&record.rlimits);
    }
    let or = |own: &mut Option<String>, containers: &Option<String>| *own = own.take().or_else(|| containers.clone());
    or(&mut process.apparmor_profile, &record.apparmor_profile);
    or(&mut process.selinux_label, &record.selinux_label);
    process.exec_cpu_affinity.get_or_insert_with(|| CpuAffinity {
        initial: record.initial_cpus.clone(),
        final_: record.final_cpus.clone(),
    });
}

fn scheduler(record: &ExecRecord) -> Option<Scheduler> {
    let (policy, flags, nice, priority, runtime, deadline, period) = record.scheduler?;
    Some(Scheduler {
        policy,
        flags,
        nice,
        priority,
        runtime,
        deadline,
        period,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_section_gets_what_is_the_containers_and_another_keeps_its_own() {
        let process = Process {
            oom_score_adj: Some(5),
            io_priority: Some((2, 3)),
            scheduler: Some(Scheduler {
                policy: 6,
                flags: 1,
                nice: -2,
                priority: 3,
                runtime: 4,
                deadline: 5,
                period: 6,
            }),
            rlimits: vec![(7, 100, 200)],
            apparmor_profile: Some("profile".to_owned()),
            selinux_label: Some("label".to_owned()),
            exec_cpu_affinity: Some(CpuAffinity {
                initial: Some(vec![1]),
                final_: Some(vec![2]),
            }),
            ..Process::default()
        };
        let plan = Plan {
            process: Some(process.clone()),
            personality: Some(8),
            ..Plan::default()
        };
        let record = record(&plan, true);
        assert!(record.no_new_keyring && record.seccomp_flags.is_none());
        assert_eq!(domain(&record).personality, Some(8));
        let mut silent = Process::default();
        fill_in(&mut silent, &record);
        assert_eq!(silent.oom_score_adj, process.oom_score_adj);
        assert_eq!(silent.io_priority, process.io_priority);
        assert_eq!(silent.scheduler, process.scheduler);
        assert_eq!(silent.rlimits, process.rlimits);
        assert_eq!(silent.apparmor_profile, process.apparmor_profile);
        assert_eq!(silent.selinux_label, process.selinux_label);
        assert_eq!(silent.exec_cpu_affinity, process.exec_cpu_affinity);
        let mut own = Process {
            oom_score_adj: Some(6),
            rlimits: vec![(4, 0, 0)],
            scheduler: Some(Scheduler::default()),
            apparmor_profile: Some("other".to_owned()),
            ..Process::default()
        };
        fill_in(&mut own, &record);
        assert_eq!(own.oom_score_adj, Some(6));
        assert_eq!(own.rlimits, [(4, 0, 0)]);
        assert_eq!(own.scheduler, Some(Scheduler::default()));
        assert_eq!(own.apparmor_profile.as_deref(), Some("other"));
        assert_eq!(own.selinux_label.as_deref(), Some("label"));
    }
}
