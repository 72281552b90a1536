//! `process.scheduler`, `process.ioPriority`, `process.execCPUAffinity` and `linux.personality`.
//!
//! What sched_setattr(2) would refuse without saying why is refused here, by field; what depends on the host (rights,
//! bandwidth) is left to the kernel.

use nucleus_sys::sched::{self, flag};
use oci_spec::runtime::{
    ExecCPUAffinity, IOPriorityClass, LinuxIOPriority, LinuxPersonality, LinuxPersonalityDomain,
    LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy, Scheduler,
};

use super::{CpuAffinity, PlanError, Process, StageCpus, lists};
use crate::spec;

/// More than any kernel is built for (`NR_CPUS` is at most 8192 today).
const HIGHEST_CPU: usize = sched::MAX_CPUS - 1;

/// The kernel counts a deadline's runtime in units of 1024 nanoseconds (`DL_SCALE`).
const SHORTEST_RUNTIME: u64 = 1024;

/// Compiles `process.scheduler` for sched_setattr(2).
pub(crate) fn scheduler(scheduler: &Scheduler) -> Result<sched::Scheduler, PlanError> {
    let policy = *scheduler.policy();
    let realtime = matches!(policy, Policy::SchedFifo | Policy::SchedRr);
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(PlanError::new(
            "process.scheduler.nice",
            format_args!("{nice} must be between -20 and 19"),
        ));
    }
    let priority = scheduler.priority().unwrap_or(0);
    if !realtime && priority != 0 {
        return Err(PlanError::new(
            "process.scheduler.priority",
            format_args!("can only be specified for SCHED_FIFO and SCHED_RR, not for {policy}"),
        ));
    }
    if realtime && !(1..=99).contains(&priority) {
        return Err(PlanError::new(
            "process.scheduler.priority",
            format_args!("{priority} must be between 1 and 99 for {policy}"),
        ));
    }
    let (runtime, deadline, period) = deadline(scheduler, policy)?;
    Ok(sched::Scheduler {
        policy: number(policy)?,
        flags: scheduler
            .flags()
            .iter()
            .flatten()
            .fold(0, |word, flag| word | bit(*flag)),
        nice,
        priority: priority.unsigned_abs(),
        runtime,
        deadline,
        period,
    })
}

/// Runtime, deadline and period: each fits into the next, and only one policy has them (sched(7)).
fn deadline(scheduler: &Scheduler, policy: Policy) -> Result<(u64, u64, u64), PlanError> {
    let [runtime, deadline, period] =
        [scheduler.runtime(), scheduler.deadline(), scheduler.period()].map(|value| value.unwrap_or(0));
    let named = [("runtime", runtime), ("deadline", deadline), ("period", period)];
    if policy != Policy::SchedDeadline {
        return match named.iter().find(|(_, value)| *value != 0) {
            Some((name, _)) => Err(PlanError::new(
                format_args!("process.scheduler.{name}"),
                format_args!("can only be specified for SCHED_DEADLINE, not for {policy}"),
            )),
            None => Ok((0, 0, 0)),
        };
    }
    // The topmost bit tells the kernel that time has wrapped around.
    if let Some((name, value)) = named.iter().find(|(_, value)| value >> 63 != 0) {
        return Err(PlanError::new(
            format_args!("process.scheduler.{name}"),
            format_args!("{value} must be below 2^63"),
        ));
    }
    if runtime < SHORTEST_RUNTIME {
        return Err(PlanError::new(
            "process.scheduler.runtime",
            format_args!("{runtime} must be at least {SHORTEST_RUNTIME} nanoseconds"),
        ));
    }
    if deadline < runtime {
        return Err(PlanError::new(
            "process.scheduler.deadline",
            format_args!("{deadline} must not be shorter than the runtime, {runtime}"),
        ));
    }
    if period != 0 && period < deadline {
        return Err(PlanError::new(
            "process.scheduler.period",
            format_args!("{period} must not be shorter than the deadline, {deadline}"),
        ));
    }
    Ok((runtime, deadline, period))
}

/// The numbers of `linux/sched.h`.
fn number(policy: Policy) -> Result<u32, PlanError> {
    Ok(match policy {
        Policy::SchedOther => 0,
        Policy::SchedFifo => 1,
        Policy::SchedRr => 2,
        Policy::SchedBatch => 3,
        Policy::SchedIdle => 5,
        Policy::SchedDeadline => 6,
        Policy::SchedIso => {
            return Err(PlanError::new(
                "process.scheduler.policy",
                "SCHED_ISO is reserved by Linux and not implemented in any kernel",
            ));
        }
    })
}

fn bit(flag: Flag) -> u64 {
    match flag {
        Flag::SchedResetOnFork => flag::RESET_ON_FORK,
        Flag::SchedFlagReclaim => flag::RECLAIM,
        Flag::SchedFlagDLOverrun => flag::DL_OVERRUN,
        Flag::SchedFlagKeepPolicy => flag::KEEP_POLICY,
        Flag::SchedFlagKeepParams => flag::KEEP_PARAMS,
        Flag::SchedFlagUtilClampMin => flag::UTIL_CLAMP_MIN,
        Flag::SchedFlagUtilClampMax => flag::UTIL_CLAMP_MAX,
    }
}

/// Compiles `process.ioPriority`: class and level for ioprio_set(2).
pub(crate) fn io_priority(priority: &LinuxIOPriority) -> Result<(u16, u16), PlanError> {
    let class = match priority.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u16::try_from(priority.priority()) {
        Ok(level @ 0..=7) => Ok((class, level)),
        _ => Err(PlanError::new(
            "process.ioPriority.priority",
            format_args!("{} must be between 0 and 7", priority.priority()),
        )),
    }
}

/// Compiles `process.execCPUAffinity`; an empty list leaves the CPUs alone.
pub(crate) fn cpu_affinity(affinity: &ExecCPUAffinity) -> Result<CpuAffinity, PlanError> {
    let mask = |list: &Option<String>, name: &str| {
        list.as_deref()
            .filter(|list| !list.is_empty())
            .map(|list| lists::mask(list, HIGHEST_CPU, format_args!("process.execCPUAffinity.{name}")))
            .transpose()
    };
    Ok(CpuAffinity {
        initial: mask(affinity.initial(), "initial")?,
        final_: mask(affinity.cpu_affinity_final(), "final")?,
    })
}

/// Compiles the draft field `process.cpuAffinity` into the process. An empty list leaves the CPUs alone, `all` stands for
/// all CPUs of the machine.
pub(crate) fn stage_cpus(draft: Option<&spec::CpuAffinity>, process: &mut Process) -> Result<(), PlanError> {
    let Some(draft) = draft else { return Ok(()) };
    if process.exec_cpu_affinity.is_some() {
        return Err(PlanError::new(
            "process.cpuAffinity",
            "cannot be set together with execCPUAffinity",
        ));
    }
    let mask = |list: &Option<String>, name: &str| match list.as_deref() {
        None | Some("") => Ok(None),
        Some("all") => Ok(Some(vec![u64::MAX; sched::MAX_CPUS / 64])),
        Some(list) => lists::mask(list, HIGHEST_CPU, format_args!("process.cpuAffinity.{name}")).map(Some),
    };
    process.stage_cpus = StageCpus {
        create_runtime: mask(&draft.create_runtime, "createRuntime")?,
        create_container: mask(&draft.create_container, "createContainer")?,
        start_container: mask(&draft.start_container, "startContainer")?,
    };
    let exec = CpuAffinity {
        initial: mask(&draft.exec_runtime, "execRuntime")?,
        final_: mask(&draft.exec_container, "execContainer")?,
    };
    process.exec_cpu_affinity = (exec != CpuAffinity::default()).then_some(exec);
    Ok(())
}

/// Compiles `linux.personality`: the domain for personality(2). The spec knows no flag as yet.
pub(crate) fn personality(personality: &LinuxPersonality) -> Result<u32, PlanError> {
    if let Some([flag, ..]) = personality.flags().as_deref() {
        return Err(PlanError::new(
            "linux.personality.flags[0]",
            format_args!("{flag:?} is not a flag that the specification knows"),
        ));
    }
    Ok(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0x0000,
        LinuxPersonalityDomain::PerLinux32 => 0x0008,
    })
}
