//! How the kernel schedules a process: `sched_setattr(2)`, `ioprio_set(2)`, `personality(2)`, `set_mempolicy(2)`.
//!
//! Plain numbers in, no judgement: what a policy, a class or a mode may be combined with is the caller's business, and
//! the kernel's.

use std::ffi::{c_int, c_ulong};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::check;

/// `SCHED_FLAG_*` words of `sched_setattr(2)` that are named in `linux/sched.h`.
pub mod flag {
    /// Children start with the default policy.
    pub const RESET_ON_FORK: u64 = 0x01;
    /// Take bandwidth that other deadline processes leave.
    pub const RECLAIM: u64 = 0x02;
    /// SIGXCPU at an overrun.
    pub const DL_OVERRUN: u64 = 0x04;
    /// Leave the policy alone.
    pub const KEEP_POLICY: u64 = 0x08;
    /// Leave nice value and priority alone.
    pub const KEEP_PARAMS: u64 = 0x10;
    /// A lower bound of the utilization is given.
    pub const UTIL_CLAMP_MIN: u64 = 0x20;
    /// An upper bound of the utilization is given.
    pub const UTIL_CLAMP_MAX: u64 = 0x40;
}

/// What [`set_scheduler`] sets; the fields of `struct sched_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// [`flag`] words.
    pub flags: u64,
    /// -20 to 19, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// 1 to 99, for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`, as the two below.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds; 0 means as long as the deadline.
    pub period: u64,
}

/// `struct sched_attr` of `linux/sched/types.h`, first version and the utilization bounds.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

/// Sets policy and parameters of a process; the calling one when `pid` is `None`.
///
/// # Errors
/// As `sched_setattr(2)`: `EPERM` without `CAP_SYS_NICE`, `EBUSY` when the bandwidth of a deadline process is not to
/// be had.
pub fn set_scheduler(pid: Option<Pid>, scheduler: &Scheduler) -> Result<(), Errno> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: scheduler.policy,
        flags: scheduler.flags,
        nice: scheduler.nice,
        priority: scheduler.priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
        util_min: 0,
        util_max: 0,
    };
    // SAFETY: the kernel reads `size` bytes of `attr`, which outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, number(pid), &raw const attr, 0) };
    check(result).map(drop)
}

/// Sets the I/O class (1 real-time, 2 best effort, 3 idle) and the priority within it (0 highest to 7) of a process;
/// of the calling one when `pid` is `None`.
///
/// # Errors
/// As `ioprio_set(2)`: `EPERM` for the real-time class without `CAP_SYS_ADMIN` or `CAP_SYS_NICE`.
pub fn set_io_priority(pid: Option<Pid>, class: u16, priority: u16) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    const IOPRIO_CLASS_SHIFT: u16 = 13;
    let value = c_int::from(class << IOPRIO_CLASS_SHIFT | priority);
    // SAFETY: takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, number(pid), value) };
    check(result).map(drop)
}

/// Sets the execution domain of the calling process, `PER_*` of `sys/personality.h`.
///
/// # Errors
/// As `personality(2)`: `EINVAL` when the kernel cannot change it.
pub fn set_personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: takes an integer only, and changes how later system calls answer, no memory.
    let result = unsafe { libc::personality(c_ulong::from(domain)) };
    check(result.into()).map(drop)
}

/// Sets the NUMA memory policy of the calling thread: `mode` is an `MPOL_*` mode with its `MPOL_F_*` flags, bit n of
/// `nodes` is node n.
///
/// # Errors
/// As `set_mempolicy(2)`: `EINVAL` when the nodes do not fit the mode or none of them is allowed, `ENOSYS` without
/// NUMA in the kernel.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel reads one bit less than it is told (get_nodes in mm/mempolicy.c).
    let bits = match nodes.len() {
        0 => 0,
        words => words * 64 + 1,
    };
    let mask = if nodes.is_empty() {
        std::ptr::null()
    } else {
        nodes.as_ptr()
    };
    // SAFETY: the kernel reads `bits - 1` bits from `mask`, all of them inside `nodes`, or nothing.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    check(result).map(drop)
}

/// Sets the CPUs that a process may run on, bit n % 64 of word n / 64 for CPU n; those of the calling thread when `pid`
/// is `None`. Bits of CPUs that the machine lacks or the process' cpuset forbids are ignored.
///
/// # Errors
/// As `sched_setaffinity(2)`: `EINVAL` when no bit is left, `EPERM` for a process of another user.
pub fn set_affinity(pid: Option<Pid>, mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: the kernel reads at most `size_of_val(mask)` bytes from `mask`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            number(pid),
            size_of_val(mask),
            mask.as_ptr(),
        )
    };
    check(result).map(drop)
}

/// Lets a process run on all CPUs that its cpuset allows, now and after the cpuset changes; the calling thread when `pid`
/// is `None`.
///
/// # Errors
/// As [`set_affinity`].
pub fn reset_affinity(pid: Option<Pid>) -> Result<(), Errno> {
    set_affinity(pid, &[u64::MAX; MAX_CPUS / 64])
}

/// Twice as many as any kernel can be built for.
pub const MAX_CPUS: usize = 16_384;

/// The CPUs that the calling thread may run on, as a mask for [`set_affinity`].
///
/// # Errors
/// As `sched_getaffinity(2)`.
pub fn affinity() -> Result<Vec<u64>, Errno> {
    let mut mask = vec![0u64; MAX_CPUS / 64];
    let size = size_of_val(mask.as_slice());
    // SAFETY: the kernel writes at most `size` bytes to `mask`, which is that long.
    let written = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size, mask.as_mut_ptr()) };
    let written = check(written)?;
    mask.truncate((written as usize).div_ceil(8));
    Ok(mask)
}

const PR_SCHED_CORE: c_int = 62;

/// Gives a process and all its threads a new core scheduling cookie: processes with another one never run on the same core
/// at the same time. Children inherit it.
///
/// # Errors
/// `EINVAL` from a kernel without core scheduling, `ENODEV` where no core has two threads, `EPERM` or `ESRCH` for a
/// process that the caller may not trace.
pub fn new_core_cookie(pid: Pid) -> Result<(), Errno> {
    const CREATE: c_int = 1;
    const THREAD_GROUP: c_int = 1;
    // SAFETY: takes integers only; the last argument must be null.
    let result = unsafe { libc::prctl(PR_SCHED_CORE, CREATE, number(Some(pid)), THREAD_GROUP, 0 as c_ulong) };
    check(result.into()).map(drop)
}

/// Gives the calling thread the core scheduling cookie of another process.
///
/// # Errors
/// As [`new_core_cookie`].
pub fn join_core_cookie(of: Pid) -> Result<(), Errno> {
    const SHARE_FROM: c_int = 3;
    const THREAD: c_int = 0;
    // SAFETY: takes integers only; the last argument must be null.
    let result = unsafe { libc::prctl(PR_SCHED_CORE, SHARE_FROM, number(Some(of)), THREAD, 0 as c_ulong) };
    check(result.into()).map(drop)
}

/// The core scheduling cookie of a process: 0 for one that has none.
///
/// # Errors
/// As [`new_core_cookie`].
pub fn core_cookie(of: Pid) -> Result<u64, Errno> {
    const GET: c_int = 0;
    const THREAD: c_int = 0;
    let mut cookie = 0u64;
    // SAFETY: the kernel writes one u64 to `cookie`, which outlives the call.
    let result = unsafe { libc::prctl(PR_SCHED_CORE, GET, number(Some(of)), THREAD, &raw mut cookie) };
    check(result.into()).map(|_| cookie)
}

fn number(pid: Option<Pid>) -> c_int {
    pid.map_or(0, |pid| pid.as_raw_nonzero().get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_nothing_is_taken() {
        set_io_priority(None, 2, 4).unwrap();
        set_personality(0).unwrap();
        match set_memory_policy(0, &[]) {
            Ok(()) | Err(Errno::NOSYS) => {}
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_affinity_is_set_and_reset() {
        std::thread::spawn(|| {
            let count = |mask: &[u64]| mask.iter().map(|word| word.count_ones()).sum::<u32>();
            let before = affinity().unwrap();
            let word = before.iter().position(|word| *word != 0).unwrap();
            let mut one = vec![0; before.len()];
            one[word] = 1 << before[word].trailing_zeros();
            set_affinity(None, &one).unwrap();
            assert_eq!(affinity().unwrap(), one);
            // A mask that is longer than the kernel's: the rest is ignored.
            one.resize(MAX_CPUS / 64, 0);
            set_affinity(None, &[one.as_slice(), &[u64::MAX; 2000]].concat()).unwrap();
            assert_eq!(count(&affinity().unwrap()), 1);
            reset_affinity(None).unwrap();
            assert!(count(&affinity().unwrap()) >= count(&before));
            assert_eq!(set_affinity(None, &[0; 16]), Err(Errno::INVAL));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let unknown = Scheduler {
            policy: 99,
            ..Scheduler::default()
        };
        assert_eq!(set_scheduler(None, &unknown), Err(Errno::INVAL));
        assert_eq!(set_io_priority(None, 7, 0), Err(Errno::INVAL));
    }

    #[test]
    fn the_lowest_node_is_node_0() {
        const BIND: u32 = 2;
        std::thread::spawn(|| match set_memory_policy(BIND, &[1]) {
            Ok(()) => assert_eq!(set_memory_policy(BIND, &[0]), Err(Errno::INVAL)),
            Err(error) => assert_eq!(error, Errno::NOSYS),
        })
        .join()
        .unwrap();
    }
}
