//! `linux.resources.memory` (cgroup-v1/memory.rst, cgroup-v2.rst "Memory"). Bytes everywhere; -1 is no limit, 0 and
//! false are "do not touch".
//!
//! The spec's `swap` is v1's: memory and swap together. v2 counts swap by itself, so that it becomes swap - limit.

use oci_spec::runtime::LinuxMemory;

use super::{Compiler, MemoryCheck, Target, WriteRule, limit};
use crate::error::PlanError;
use crate::layout::Version;

const LIMIT: &str = "linux.resources.memory.limit";
const SWAP: &str = "linux.resources.memory.swap";
const SWAPPINESS: &str = "linux.resources.memory.swappiness";
const OOM: &str = "linux.resources.memory.disableOOMKiller";
const KERNEL_TCP: &str = "linux.resources.memory.kernelTCP";
const RESERVATION: &str = "linux.resources.memory.reservation";

pub(crate) fn compile(out: &mut Compiler<'_>, memory: &LinuxMemory) -> Result<(), PlanError> {
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    let fields = [
        (given(memory.limit()), LIMIT),
        (given(memory.swap()), SWAP),
        (given(memory.reservation()), RESERVATION),
    ];
    knobs(out, memory)?;
    let Some((_, field)) = fields.iter().find(|(value, _)| value.is_some()) else {
        return Ok(());
    };
    let target = out.target("memory", *field)?;
    let (limit, swap) = (given(memory.limit()), given(memory.swap()));
    for (value, field) in fields {
        if value.is_some_and(|value| value < -1) {
            return Err(PlanError::new(field, "must be -1 or more"));
        }
    }
    match target.version {
        Version::V1 => v1(out, target, limit, swap),
        Version::V2 => v2(out, target, limit, swap)?,
    }
    let bytes = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    // v1's kernel refuses a limit below the usage by itself.
    if memory.check_before_update() == Some(true) && target.version == Version::V2 {
        out.plan.memory_check = Some(MemoryCheck {
            directory: target.directory,
            limit: bytes(limit),
            swap: bytes(swap),
        });
    }
    if let Some(value) = given(memory.reservation()) {
        match target.version {
            Version::V1 => out.write(
                target,
                "memory.soft_limit_in_bytes",
                value,
                RESERVATION,
                WriteRule::Strict,
            ),
            Version::V2 => out.write(
                target,
                "memory.low",
                super::limit(value),
                RESERVATION,
                WriteRule::Strict,
            ),
        }
    }
    Ok(())
}

/// v1 keeps memory.limit_in_bytes <= memory.memsw.limit_in_bytes at all times. A new cgroup has no limit, so that the
/// smaller one goes first; when the kernel refuses that (an update that raises both), the other one does.
fn v1(out: &mut Compiler<'_>, target: Target, limit: Option<i64>, swap: Option<i64>) {
    let paired = if swap.is_some() {
        WriteRule::AfterNext
    } else {
        WriteRule::Strict
    };
    if limit == Some(-1) && swap.is_none() {
        // Without a limit on memory one on memory and swap makes no sense; kernels without swap accounting lack it.
        out.write(target, "memory.memsw.limit_in_bytes", -1, LIMIT, WriteRule::MayLack);
    }
    if let Some(limit) = limit {
        out.write(target, "memory.limit_in_bytes", limit, LIMIT, paired);
    }
    if let Some(swap) = swap {
        out.write(target, "memory.memsw.limit_in_bytes", swap, SWAP, WriteRule::Strict);
    }
}

fn v2(out: &mut Compiler<'_>, target: Target, memory: Option<i64>, swap: Option<i64>) -> Result<(), PlanError> {
    if let Some(swap) = swap_v2(memory, swap)? {
        // A kernel without swap lacks the file; forbidding or freeing what is not there is no failure.
        let rule = if swap <= 0 {
            WriteRule::MayLack
        } else {
            WriteRule::Strict
        };
        out.write(target, "memory.swap.max", limit(swap), SWAP, rule);
    }
    if let Some(memory) = memory {
        out.write(target, "memory.max", limit(memory), LIMIT, WriteRule::Strict);
    }
    Ok(())
}

/// memory.swap.max from the spec's pair; -1 is no limit, `None` leaves it alone.
fn swap_v2(memory: Option<i64>, swap: Option<i64>) -> Result<Option<i64>, PlanError> {
    match (memory, swap) {
        // Unlimited memory alone frees swap too, as on v1.
        (Some(-1), None) | (_, Some(-1)) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (Some(-1), Some(swap)) => Ok(Some(swap)),
        (None, Some(_)) => Err(PlanError::new(SWAP, "cannot be set without memory.limit on cgroup v2")),
        (Some(memory), Some(swap)) if swap < memory => Err(PlanError::new(
            SWAP,
            "includes memory: must not be less than memory.limit",
        )),
        (Some(memory), Some(swap)) => Ok(Some(swap - memory)),
    }
}

/// What is no limit: v1's alone, and merely said where it does not exist, as runc leaves it out silently.
fn knobs(out: &mut Compiler<'_>, memory: &LinuxMemory) -> Result<(), PlanError> {
    if memory.use_hierarchy() == Some(false) {
        out.ignored(
            "linux.resources.memory.useHierarchy",
            "since Linux 5.11 memory is always counted along the hierarchy",
        );
    }
    if memory.kernel().unwrap_or(0) != 0 {
        out.ignored(
            "linux.resources.memory.kernel",
            "Linux 5.16 and later have no limit for kernel memory alone",
        );
    }
    if let Some(limit) = memory.kernel_tcp().filter(|limit| *limit != 0) {
        let target = out.target("memory", KERNEL_TCP)?;
        match target.version {
            Version::V1 => {
                let rule = if limit < 0 {
                    WriteRule::MayLack
                } else {
                    WriteRule::Strict
                };
                out.write(target, "memory.kmem.tcp.limit_in_bytes", limit, KERNEL_TCP, rule);
            }
            Version::V2 => out.ignored(KERNEL_TCP, "TCP buffers count as memory"),
        }
    }
    // -1 as an unsigned number is what clients of old pass for "no opinion".
    let swappiness = memory.swappiness().filter(|value| *value != u64::MAX);
    if swappiness.is_some_and(|value| value > 100) {
        return Err(PlanError::new(SWAPPINESS, "must be between 0 and 100"));
    }
    let oom = memory.disable_oom_killer().filter(|disable| *disable).map(|_| 1);
    let writes = [
        (swappiness, "memory.swappiness", SWAPPINESS),
        (oom, "memory.oom_control", OOM),
    ];
    for (value, file, field) in writes {
        let Some(value) = value else { continue };
        let target = out.target("memory", field)?;
        match target.version {
            Version::V1 => out.write(target, file, value, field, WriteRule::Strict),
            Version::V2 => out.ignored(field, "cgroup v2 has no such file"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_counted_by_itself_on_v2() {
        let convert = |memory, swap| swap_v2(memory, swap).map_err(|error| error.problem);
        assert_eq!(convert(Some(100), Some(300)), Ok(Some(200)));
        assert_eq!(convert(Some(100), Some(100)), Ok(Some(0)));
        assert_eq!(convert(Some(100), Some(-1)), Ok(Some(-1)));
        assert_eq!(convert(Some(100), None), Ok(None));
        assert_eq!(convert(Some(-1), None), Ok(Some(-1)));
        assert_eq!(convert(Some(-1), Some(50)), Ok(Some(50)));
        assert_eq!(convert(None, None), Ok(None));
        assert!(convert(None, Some(50)).is_err());
        assert!(convert(Some(100), Some(50)).is_err());
    }
}
