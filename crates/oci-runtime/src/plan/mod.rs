//! config.json + options + host facts → [`Plan`].
//!
//! Pure: compiling makes no kernel object, and its unit tests need no root. Everything that can be known to be wrong
//! is reported here, with the JSON path of the field. What the plan holds is ready for the kernel: flag words, C
//! strings, (file, bytes) writes; the container side reads it and decides nothing.

pub(crate) mod annotations;
mod capabilities;
mod compile;
mod devices;
mod error;
pub(crate) mod exec;
mod foreign;
mod hooks;
mod id_maps;
pub(crate) mod intel_rdt;
mod lists;
mod memory_policy;
mod mount_options;
pub(crate) mod mounts;
pub(crate) mod mounts_change;
mod namespaces;
mod net_devices;
pub(crate) mod paths;
mod process;
pub(crate) mod scheduling;
pub(crate) mod sysctl;

use std::ffi::CString;
use std::path::PathBuf;

pub(crate) use compile::{Host, Options, host_id};
pub(crate) use error::PlanError;
pub(crate) use intel_rdt::check_class;
use nucleus_sys::mount::Attributes;
use nucleus_sys::sched;
pub(crate) use process::rlimit_name;

/// Everything `create`, `run` and init need to know about one container.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// `root`.
    pub rootfs: Rootfs,
    /// `linux.namespaces`.
    pub namespaces: Namespaces,
    /// `linux.uidMappings`, only with a new user namespace.
    pub uid_map: Vec<IdMapping>,
    /// `linux.gidMappings`, only with a new user namespace.
    pub gid_map: Vec<IdMapping>,
    /// `linux.timeOffsets` as lines for `/proc/PID/timens_offsets` (time_namespaces(7)).
    pub time_offsets: Option<String>,
    /// `mounts`, in the order of config.json.
    pub mounts: Vec<Mount>,
    /// The default devices and `linux.devices`; a listed device or a mount replaces a default one of the same path.
    /// Empty when `dev_is_bound`.
    pub devices: Vec<Device>,
    /// `/dev` is a bind mount: it is used as it is, without device nodes, symlinks and `ptmx` of ours.
    pub dev_is_bound: bool,
    /// `linux.maskedPaths`, each once.
    pub masked_paths: Vec<PathBuf>,
    /// `linux.readonlyPaths`, each once.
    pub readonly_paths: Vec<PathBuf>,
    /// `linux.sysctl`: (path below `/proc/sys`, value).
    pub sysctl: Vec<(PathBuf, String)>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `domainname`.
    pub domainname: Option<String>,
    /// `process`; a container without one can be created but not started.
    pub process: Option<Process>,
    /// `linux.seccomp`, compiled.
    pub seccomp: Option<Seccomp>,
    /// `linux.netDevices`, sorted by the name on the host.
    pub net_devices: Vec<NetDevice>,
    /// `linux.intelRdt`.
    pub intel_rdt: Option<IntelRdt>,
    /// `linux.mountLabel`; it is also in the data of the mounts that take it.
    pub mount_label: Option<String>,
    /// `linux.personality`, for personality(2).
    pub personality: Option<u32>,
    /// `linux.memoryPolicy`.
    pub memory_policy: Option<MemoryPolicy>,
    /// A core scheduling cookie for the container's processes: annotation `org.nucleus.core-scheduling` or `--core-sched`.
    pub core_scheduling: bool,
    /// The user of the host who gets the container's control group, on cgroup v2 (config-linux.md, "Cgroup ownership").
    pub cgroup_owner: Option<u32>,
    /// `hooks`.
    pub hooks: Hooks,
    /// `annotations`, sorted by key.
    pub annotations: Vec<(String, String)>,
    /// `ociVersion` as config.json gives it.
    pub oci_version: String,
    /// Things that are not errors but that a person should know; shown by `--debug` and `check`.
    pub warnings: Vec<String>,
}

/// `root` and `linux.rootfsPropagation`.
#[derive(Debug, Default, Clone)]
pub(crate) struct Rootfs {
    /// Absolute path on the host.
    pub path: PathBuf,
    /// `root.readonly`.
    pub readonly: bool,
    /// `MS_*` propagation of the container's root mount, `MS_REC` included where asked; 0 when config is silent.
    pub propagation: u64,
}

/// `linux.namespaces`, by what the kernel must be asked.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// `CLONE_NEW*` bits of the namespaces to make.
    pub new: u64,
    /// Namespaces to join: one `CLONE_NEW*` bit and the path, in the order in which they must be entered (user first).
    pub join: Vec<(u64, PathBuf)>,
}

impl Namespaces {
    /// True when the container gets this namespace (a `CLONE_NEW*` bit) of its own or by path.
    pub(crate) fn has(&self, bit: u64) -> bool {
        self.creates(bit) || self.join.iter().any(|(join, _)| *join == bit)
    }

    /// True when a new namespace of this kind (a `CLONE_NEW*` bit) is made.
    pub(crate) fn creates(&self, bit: u64) -> bool {
        self.new & bit != 0
    }
}

/// One line of a uid or gid map (user_namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdMapping {
    /// First id inside.
    pub container_id: u32,
    /// First id outside.
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// One entry of `mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Absolute, cleaned path inside the container.
    pub destination: PathBuf,
    /// What is mounted.
    pub kind: MountKind,
    /// `MS_*` words of a new filesystem or a remount (superblock and mount flags), for mount(2). 0 for binds.
    pub flags: u64,
    /// Attributes of the top mount, applied after it is made: all of them for a bind, for a new filesystem only what
    /// `flags` cannot say. Holds the clearing options (`rw`, `suid`, `dev`, `exec`, …) of a bind as well.
    pub attributes: Attributes,
    /// `MOUNT_ATTR_*` bits that a bind mount with options does not keep of its source, unless a user namespace locks them.
    pub unasked: u64,
    /// Attributes applied to the whole tree (`rro`, `rnosuid`, …, and the recursive propagation flags).
    pub recursive: Attributes,
    /// Filesystem-specific options, comma-separated, for mount(2).
    pub data: CString,
    /// Propagation types to apply after the first one, in their order: `MS_*` words, `MS_REC` included.
    pub more_propagation: Vec<u64>,
    /// `tmpcopyup`: start with a copy of what the destination held.
    pub copy_up: bool,
    /// `idmap`, `ridmap`, `uidMappings`, `gidMappings`; for binds only.
    pub id_map: Option<Box<IdMap>>,
}

/// How the owners of a bind mount's files appear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IdMap {
    /// The user namespace whose maps are used.
    pub by: MappedBy,
    /// `ridmap`: the mounts below it too.
    pub recursive: bool,
}

/// The user namespace of an [`IdMap`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MappedBy {
    /// One that is made for it.
    Maps {
        /// User ids.
        uid: Vec<IdMapping>,
        /// Group ids.
        gid: Vec<IdMapping>,
    },
    /// The container's, given by path.
    Namespace(PathBuf),
}

/// What becomes of a symbolic link that is the last component of a bind mount's path. Without any of these it is followed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Links {
    /// `src-nofollow`: a source that is a link is bound itself.
    pub bind_source: bool,
    /// `dest-nofollow`: a destination that is a link is covered itself.
    pub cover_destination: bool,
    /// `copy-symlink`: a source that is a link is made anew at the destination, and nothing is mounted.
    pub copy: bool,
}

/// The kinds of [`Mount`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MountKind {
    /// A new instance of a filesystem (`type`, `source`).
    Filesystem {
        /// `mounts[].type`, as /proc/filesystems names it.
        fstype: CString,
        /// `mounts[].source`, `none` when absent.
        source: CString,
    },
    /// A bind mount of a host path.
    Bind {
        /// Absolute host path (relative sources are below the bundle).
        source: PathBuf,
        /// `rbind`: take the mounts below it too.
        recursive: bool,
        /// What becomes of links at either end.
        links: Links,
    },
    /// The container's view of the control groups, whatever the host's layout is (`"type": "cgroup"`).
    Cgroup,
    /// The same of cgroup v2 alone (`"type": "cgroup2"`).
    Cgroup2,
    /// `remount`: new options for what is mounted there already.
    Remount {
        /// Those of the mount only (`bind`); otherwise those of the filesystem as well.
        bind: bool,
    },
}

/// `linux.intelRdt`, for the resctrl filesystem.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct IntelRdt {
    /// `closID`; the container's id is used when config is silent.
    pub clos_id: Option<String>,
    /// The lines of `l3CacheSchema` and `memBwSchema`, for the `schemata` file; a class that exists must have them.
    pub schemas: Vec<String>,
    /// The lines of `schemata`, for the same file; they are written last.
    pub schemata: Vec<String>,
    /// `enableMonitoring`.
    pub monitoring: bool,
}

/// One entry of `linux.netDevices`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NetDevice {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container; may be a pattern such as `eth%d`.
    pub inside: String,
}

/// One device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// Absolute, cleaned path inside the container.
    pub path: PathBuf,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO` plus the permission bits.
    pub(crate) mode: u32,
    /// Major and minor number; both 0 for a FIFO.
    pub rdev: (u32, u32),
    /// Owner in the container's terms.
    pub uid: u32,
    /// Group in the container's terms.
    pub gid: u32,
}

/// `process`, ready for the kernel.
#[derive(Debug, Default, Clone)]
pub(crate) struct Process {
    /// `args`, never empty.
    pub args: Vec<CString>,
    /// `env`; what is missing of `HOME` is added by init, which may look into the container's files.
    pub env: Vec<CString>,
    /// `cwd`, absolute.
    pub cwd: CString,
    /// `user.uid`.
    pub uid: u32,
    /// `user.gid`.
    pub gid: u32,
    /// `user.additionalGids`.
    pub additional_gids: Vec<u32>,
    /// Annotation `run.oci.keep_original_groups`: the caller's groups stay, whatever `additional_gids` says.
    pub keep_groups: bool,
    /// `user.umask`; `None` leaves the kernel's 0022.
    pub umask: Option<u32>,
    /// `rlimits`: (`RLIMIT_*` number, soft, hard).
    pub rlimits: Vec<(u32, u64, u64)>,
    /// `capabilities`; `None` when config has no such section: then the process gets none, as with runc.
    pub capabilities: Option<Capabilities>,
    /// `noNewPrivileges`.
    pub no_new_privileges: bool,
    /// `oomScoreAdj`.
    pub oom_score_adj: Option<i32>,
    /// `terminal`.
    pub terminal: bool,
    /// `consoleSize`: (rows, columns).
    pub console_size: Option<(u16, u16)>,
    /// `apparmorProfile`.
    pub apparmor_profile: Option<String>,
    /// `selinuxLabel`.
    pub selinux_label: Option<String>,
    /// `scheduler`, for sched_setattr(2).
    pub scheduler: Option<sched::Scheduler>,
    /// `ioPriority`: class and level for ioprio_set(2).
    pub io_priority: Option<(u16, u16)>,
    /// `execCPUAffinity`: for the processes that `exec` starts, not for the container's first one.
    pub exec_cpu_affinity: Option<CpuAffinity>,
    /// The stages of `cpuAffinity` in the life of the container's first process.
    pub stage_cpus: StageCpus,
}

/// `process.cpuAffinity` but for its stages of `exec`, which are an [`CpuAffinity`]. Masks as there.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct StageCpus {
    /// The runtime while it makes the container, and its hooks.
    pub create_runtime: Option<Vec<u64>>,
    /// Init, in its control groups.
    pub create_container: Option<Vec<u64>>,
    /// Init, once it waits for `start`.
    pub start_container: Option<Vec<u64>>,
}

/// `process.execCPUAffinity`: bit n % 64 of word n / 64 stands for CPU n; `None` leaves the CPUs alone.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct CpuAffinity {
    /// Before the process is moved into the container's control group.
    pub initial: Option<Vec<u64>>,
    /// After that.
    pub final_: Option<Vec<u64>>,
}

/// `linux.memoryPolicy`, for set_mempolicy(2).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct MemoryPolicy {
    /// `MPOL_*` mode with its `MPOL_F_*` flags.
    pub mode: u32,
    /// Bit n % 64 of word n / 64 stands for node n.
    pub nodes: Vec<u64>,
}

/// The five capability sets as bit masks (bit n = capability number n).
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Upper bound over every later execve.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Kept over execve of a file with inheritable capabilities.
    pub inheritable: u64,
    /// May be raised.
    pub permitted: u64,
    /// Kept over execve of an ordinary file.
    pub ambient: u64,
}

/// A compiled `linux.seccomp`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seccomp {
    /// Array of `struct sock_filter`, host byte order.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*` for seccomp(2).
    pub flags: u64,
    /// Who is asked; `Some` only when a rule says `SCMP_ACT_NOTIFY`.
    pub listener: Option<Listener>,
}

/// `linux.seccomp.listenerPath` and `listenerMetadata`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    /// A UNIX stream socket of the host.
    pub path: PathBuf,
    /// For whoever listens there.
    pub metadata: Option<String>,
}

/// The six kinds of hooks, in the order in which runtime.md runs them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Hooks {
    /// Host side, after the namespaces are made (deprecated by the spec, used by Docker).
    pub prestart: Vec<Hook>,
    /// Host side, right after `prestart`.
    pub create_runtime: Vec<Hook>,
    /// Container namespaces, before pivot_root.
    pub create_container: Vec<Hook>,
    /// Container namespaces, before the user's program.
    pub start_container: Vec<Hook>,
    /// Host side, after the user's program was started.
    pub poststart: Vec<Hook>,
    /// Host side, after the container was deleted.
    pub poststop: Vec<Hook>,
}

impl Hooks {
    /// True when hooks run while the container is created, on either side.
    pub fn any_at_create(&self) -> bool {
        [&self.prestart, &self.create_runtime, &self.create_container]
            .iter()
            .any(|hooks| !hooks.is_empty())
    }
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Hook {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// `args` (argv[0] included); the path alone when config gives none.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// `env` is absent: the hook inherits its environment.
    pub inherits_env: bool,
    /// Seconds after which it is killed.
    pub timeout: Option<u32>,
    /// Where its output goes.
    #[serde(default, skip)]
    pub output: HookOutput,
}

/// Files of the host that a hook's output is appended to; without them it is quoted when the hook fails.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct HookOutput {
    /// Annotation `run.oci.hooks.stdout`.
    pub stdout: Option<PathBuf>,
    /// Annotation `run.oci.hooks.stderr`.
    pub stderr: Option<PathBuf>,
}

#[cfg(test)]
mod tests;
