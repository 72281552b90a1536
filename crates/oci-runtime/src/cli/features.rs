//! `features`: what this runtime implements, as the features document of runtime-spec 1.3 (features.md).
//!
//! Engines read it before they use a feature, so it tells the truth: one table per feature, and what is refused as yet
//! is not in it. Whoever implements a feature flips its line here. A list that is present is complete; `null`, which
//! would mean "unknown", is never written. Own types, because the order of the lines shall be the specification's.

use std::collections::BTreeMap;
use std::str::FromStr;

use libseccomp::{ScmpAction, ScmpArch, ScmpFilterContext};
use nucleus_sys::seccomp;
use serde::Serialize;

use super::{Outcome, version};
use crate::plan::annotations;

const HOOKS: &[&str] = &[
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "copy-symlink",
    "defaults",
    "dest-nofollow",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "src-nofollow",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

const NAMESPACES: &[&str] = &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"];

/// In the order of their numbers. Names that the running kernel lacks are recognised too: they are warned of.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const CGROUP: Cgroup = Cgroup {
    v1: true,
    v2: true,
    systemd: true,
    systemd_user: true,
    rdma: true,
};

const SECCOMP_ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const SECCOMP_OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

/// Those of them are shown that the libseccomp which is linked in can compile for.
const SECCOMP_ARCHS: &[&str] = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

/// Each flag with its bit.
const SECCOMP_FLAGS: &[(&str, u64)] = &[
    ("SECCOMP_FILTER_FLAG_TSYNC", seccomp::FLAG_TSYNC),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", seccomp::FLAG_SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_LOG", seccomp::FLAG_LOG),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        seccomp::FLAG_WAIT_KILLABLE_RECV,
    ),
];

const APPARMOR: Enabled = Enabled { enabled: true };
const SELINUX: Enabled = Enabled { enabled: true };
const IDMAP: Enabled = Enabled { enabled: true };
const NET_DEVICES: Enabled = Enabled { enabled: true };

const INTEL_RDT: IntelRdt = IntelRdt {
    enabled: true,
    schemata: true,
    monitoring: true,
};

const MEMORY_POLICY: MemoryPolicy = MemoryPolicy {
    modes: &[
        "MPOL_BIND",
        "MPOL_DEFAULT",
        "MPOL_INTERLEAVE",
        "MPOL_LOCAL",
        "MPOL_PREFERRED",
        "MPOL_PREFERRED_MANY",
        "MPOL_WEIGHTED_INTERLEAVE",
    ],
    flags: &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"],
};

/// Annotations of config.json that change what this runtime does; the final dot stands for all that begin so.
const UNSAFE_ANNOTATIONS: &[&str] = &[
    annotations::CORE_SCHEDULING,
    "org.systemd.property.",
    nucleus_cgroup::DELEGATED_ANNOTATION,
    annotations::HOOKS_STDERR,
    annotations::HOOKS_STDOUT,
    annotations::KEEP_GROUPS,
    annotations::FAIL_UNKNOWN_CALLS,
    nucleus_cgroup::SUBGROUP_ANNOTATION,
];

/// Prints the document.
pub fn main() -> Outcome {
    super::print(&document()?)
}

/// The document, pretty-printed, newline at the end.
///
/// # Errors
/// None that is known: serialising plain data into memory.
fn document() -> serde_json::Result<String> {
    let mut text = serde_json::to_string_pretty(&features())?;
    text.push('\n');
    Ok(text)
}

fn features() -> Features {
    Features {
        oci_version_min: "1.0.0",
        oci_version_max: version::SPEC,
        hooks: HOOKS,
        mount_options: MOUNT_OPTIONS,
        linux: Linux {
            namespaces: NAMESPACES,
            capabilities: CAPABILITIES,
            cgroup: CGROUP,
            seccomp: Seccomp {
                enabled: true,
                actions: SECCOMP_ACTIONS,
                operators: SECCOMP_OPERATORS,
                archs: SECCOMP_ARCHS
                    .iter()
                    .copied()
                    .filter(|name| compiles_for(name))
                    .collect(),
                known_flags: SECCOMP_FLAGS.iter().map(|(name, _)| *name).collect(),
                supported_flags: SECCOMP_FLAGS
                    .iter()
                    .filter(|(_, bit)| seccomp::flag_supported(*bit))
                    .map(|(name, _)| *name)
                    .collect(),
            },
            apparmor: APPARMOR,
            selinux: SELINUX,
            intel_rdt: INTEL_RDT,
            memory_policy: MEMORY_POLICY,
            mount_extensions: MountExtensions { idmap: IDMAP },
            net_devices: NET_DEVICES,
        },
        annotations: annotations(),
        potentially_unsafe_config_annotations: UNSAFE_ANNOTATIONS,
    }
}

/// Whether libseccomp can make a filter for this architecture. A filter holds one byte order only, so the native
/// architecture must make room.
fn compiles_for(name: &str) -> bool {
    ScmpArch::from_str(name).is_ok_and(|arch| {
        arch == ScmpArch::native()
            || ScmpFilterContext::new(ScmpAction::Allow)
                .is_ok_and(|mut filter| filter.remove_arch(ScmpArch::native()).is_ok() && filter.add_arch(arch).is_ok())
    })
}

fn annotations() -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([
        ("org.nucleus.commit", version::commit().to_owned()),
        ("org.nucleus.version", version::NUCLEUS.to_owned()),
    ]);
    if let Some(version) = version::libseccomp() {
        annotations.insert("io.github.seccomp.libseccomp.version", version);
    }
    annotations
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: &'static [&'static str],
    mount_options: &'static [&'static str],
    linux: Linux,
    annotations: BTreeMap<&'static str, String>,
    potentially_unsafe_config_annotations: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    namespaces: &'static [&'static str],
    capabilities: &'static [&'static str],
    cgroup: Cgroup,
    seccomp: Seccomp,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: IntelRdt,
    memory_policy: MemoryPolicy,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    enabled: bool,
    actions: &'static [&'static str],
    operators: &'static [&'static str],
    archs: Vec<&'static str>,
    known_flags: Vec<&'static str>,
    supported_flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct IntelRdt {
    enabled: bool,
    schemata: bool,
    monitoring: bool,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: &'static [&'static str],
    flags: &'static [&'static str],
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
