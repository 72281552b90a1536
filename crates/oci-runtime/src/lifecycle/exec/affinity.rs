//! `process.execCPUAffinity`: the CPUs of a further process before it enters the container's control groups.
//!
//! It is born into the v2 group, so that "before" is us: we move to these CPUs, make the process, and move back. The
//! CPUs for the time after are set by the process itself, see `init::exec_child`.

use nucleus_sys::sched;

use crate::init::failure::{Explain, Failure};
use crate::plan::{CpuAffinity, Plan};

/// What the process asks for.
pub fn of(plan: &Plan) -> Option<&CpuAffinity> {
    plan.process
        .as_ref()
        .and_then(|process| process.exec_cpu_affinity.as_ref())
}

/// Does `work` on the initial CPUs.
///
/// # Errors
/// Named by `process.execCPUAffinity.initial`; else those of `work`.
pub fn initially<T>(cpus: Option<&CpuAffinity>, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let Some(initial) = cpus.and_then(|cpus| cpus.initial.as_deref()) else {
        return work();
    };
    let what = || "process.execCPUAffinity.initial: the kernel refuses it";
    let before = sched::affinity().explain(what)?;
    crate::init::exec_child::show_cpus(initial);
    sched::set_affinity(None, initial).explain(what)?;
    let done = work();
    // Where we wait for it matters to nobody but us.
    let _ = sched::set_affinity(None, &before);
    done
}
