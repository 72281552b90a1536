//! `process.capabilities`: five lists of names become five masks.
//!
//! What cannot be granted is dropped with a warning, as the specification demands: names that this kernel does not
//! have, those that the runtime does not have itself, and members of a set that the kernel would refuse because another set lacks them.

use caps::Capability as Kernel;
use oci_spec::runtime::{Capability, LinuxCapabilities};

use super::{Capabilities, Host};

/// Compiles the five sets for this host.
pub(crate) fn compile(sets: &LinuxCapabilities, host: &Host, warnings: &mut Vec<String>) -> Capabilities {
    let mut unavailable = 0;
    let available = host.capabilities & (u64::MAX >> (63 - host.last_cap.min(63)));
    let mut mask = |set: &Option<oci_spec::runtime::Capabilities>| {
        let wanted: u64 = set.iter().flatten().map(|name| 1 << number(*name)).sum();
        unavailable |= wanted & !available;
        wanted & available
    };
    let mut masks = Capabilities {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        inheritable: mask(sets.inheritable()),
        permitted: mask(sets.permitted()),
        ambient: mask(sets.ambient()),
    };
    if unavailable != 0 {
        warnings.push(format!(
            "ignoring unknown or unavailable capabilities: [{}]",
            names(unavailable)
        ));
    }
    // What capset(2) and prctl(2) would refuse; the specification wants a warning for what cannot be granted.
    let Capabilities {
        bounding, permitted, ..
    } = masks;
    limit(
        &mut masks.effective,
        permitted,
        "effective: ignoring what is not permitted",
        warnings,
    );
    limit(
        &mut masks.inheritable,
        bounding,
        "inheritable: ignoring what is not bounding",
        warnings,
    );
    let raisable = permitted & masks.inheritable;
    limit(
        &mut masks.ambient,
        raisable,
        "ambient: ignoring what is not permitted and inheritable",
        warnings,
    );
    masks
}

/// Takes out of `set` what lies outside `limit`.
fn limit(set: &mut u64, limit: u64, why: &str, warnings: &mut Vec<String>) {
    let excess = *set & !limit;
    if excess != 0 {
        warnings.push(format!("process.capabilities.{why}: [{}]", names(excess)));
        *set &= limit;
    }
}

/// The names in a mask, for messages.
fn names(mask: u64) -> String {
    let mut all: Vec<Kernel> = caps::all().into_iter().collect();
    all.sort_unstable_by_key(Kernel::index);
    let names: Vec<String> = all
        .iter()
        .filter(|cap| mask & cap.bitmask() != 0)
        .map(Kernel::to_string)
        .collect();
    names.join(" ")
}

/// The kernel's number of a capability.
fn number(name: Capability) -> u8 {
    let kernel = match name {
        Capability::AuditControl => Kernel::CAP_AUDIT_CONTROL,
        Capability::AuditRead => Kernel::CAP_AUDIT_READ,
        Capability::AuditWrite => Kernel::CAP_AUDIT_WRITE,
        Capability::BlockSuspend => Kernel::CAP_BLOCK_SUSPEND,
        Capability::Bpf => Kernel::CAP_BPF,
        Capability::CheckpointRestore => Kernel::CAP_CHECKPOINT_RESTORE,
        Capability::Chown => Kernel::CAP_CHOWN,
        Capability::DacOverride => Kernel::CAP_DAC_OVERRIDE,
        Capability::DacReadSearch => Kernel::CAP_DAC_READ_SEARCH,
        Capability::Fowner => Kernel::CAP_FOWNER,
        Capability::Fsetid => Kernel::CAP_FSETID,
        Capability::IpcLock => Kernel::CAP_IPC_LOCK,
        Capability::IpcOwner => Kernel::CAP_IPC_OWNER,
        Capability::Kill => Kernel::CAP_KILL,
        Capability::Lease => Kernel::CAP_LEASE,
        Capability::LinuxImmutable => Kernel::CAP_LINUX_IMMUTABLE,
        Capability::MacAdmin => Kernel::CAP_MAC_ADMIN,
        Capability::MacOverride => Kernel::CAP_MAC_OVERRIDE,
        Capability::Mknod => Kernel::CAP_MKNOD,
        Capability::NetAdmin => Kernel::CAP_NET_ADMIN,
        Capability::NetBindService => Kernel::CAP_NET_BIND_SERVICE,
        Capability::NetBroadcast => Kernel::CAP_NET_BROADCAST,
        Capability::NetRaw => Kernel::CAP_NET_RAW,
        Capability::Perfmon => Kernel::CAP_PERFMON,
        Capability::Setgid => Kernel::CAP_SETGID,
        Capability::Setfcap => Kernel::CAP_SETFCAP,
        Capability::Setpcap => Kernel::CAP_SETPCAP,
        Capability::Setuid => Kernel::CAP_SETUID,
        Capability::SysAdmin => Kernel::CAP_SYS_ADMIN,
        Capability::SysBoot => Kernel::CAP_SYS_BOOT,
        Capability::SysChroot => Kernel::CAP_SYS_CHROOT,
        Capability::SysModule => Kernel::CAP_SYS_MODULE,
        Capability::SysNice => Kernel::CAP_SYS_NICE,
        Capability::SysPacct => Kernel::CAP_SYS_PACCT,
        Capability::SysPtrace => Kernel::CAP_SYS_PTRACE,
        Capability::SysRawio => Kernel::CAP_SYS_RAWIO,
        Capability::SysResource => Kernel::CAP_SYS_RESOURCE,
        Capability::SysTime => Kernel::CAP_SYS_TIME,
        Capability::SysTtyConfig => Kernel::CAP_SYS_TTY_CONFIG,
        Capability::Syslog => Kernel::CAP_SYSLOG,
        Capability::WakeAlarm => Kernel::CAP_WAKE_ALARM,
    };
    kernel.index()
}
