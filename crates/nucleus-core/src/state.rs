//! What is written down about a container, and what is shown of it.
//!
//! [`ContainerState`] is made by `create`, saved in the container's directory, and read by every other verb; `delete`
//! must be able to do its work with it alone. Shown to engines as [`OciState`] (the specification's state, hooks get
//! it too) and [`StateOutput`] (with what runc adds). Rules: fields of newer versions are ignored, missing ones have
//! defaults, and no secret is stored (the environment of the process is not here).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::id::ContainerId;
use crate::identity::ProcessIdentity;
use crate::status::{Phase, Status};

/// The version of the record that this program writes.
pub const SCHEMA_VERSION: u32 = 1;

/// The record of one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    /// The version of this record; greater ones are read as far as they are understood.
    #[serde(default)]
    pub schema: u32,
    /// The id, which is also the name of the directory.
    pub id: ContainerId,
    /// Whether `create` has finished.
    #[serde(default, rename = "status")]
    pub phase: Phase,
    /// The container's first process, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<ProcessIdentity>,
    /// The process that ran `create`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<ProcessIdentity>,
    /// The specification version of the bundle.
    #[serde(default)]
    pub oci_version: String,
    /// The absolute path of the bundle.
    #[serde(default)]
    pub bundle: PathBuf,
    /// The absolute path of the root file system.
    #[serde(default)]
    pub rootfs: PathBuf,
    /// The arguments of the container's process.
    #[serde(default)]
    pub command: Vec<String>,
    /// When it was created: RFC 3339 with nanoseconds, UTC (see [`timestamp`]).
    #[serde(default)]
    pub created: String,
    /// The uid that owns the container.
    #[serde(default)]
    pub owner: u32,
    /// The annotations of the configuration.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What runs it.
    #[serde(default)]
    pub driver: Driver,
    /// Its control group.
    #[serde(default)]
    pub cgroup: CgroupRecord,
    /// The SHA-256 of config.json in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<String>,
    /// The namespaces it lives in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<NamespaceRecord>,
    /// What `start` has to run once the user's program runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<HookRecord>,
    /// What `delete` has to run, even when the bundle is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<HookRecord>,
    /// Made without privileges on the host.
    #[serde(default)]
    pub rootless: bool,
    /// Directories of the resctrl filesystem that were made for it, in the order of their removal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resctrl: Vec<PathBuf>,
    /// What a further process of the container gets, whatever it asks for.
    #[serde(default, skip_serializing_if = "ExecRecord::is_default")]
    pub exec: ExecRecord,
}

/// What belongs to every process of a container, also to one that `exec` adds: the part of the configuration that is
/// not the process' own, so that `exec` needs no bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRecord {
    /// The score of a process that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Processes keep the session keyring of their caller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_new_keyring: bool,
    /// The flags of the system call filter, whose program is in a file beside the state; none when there is no filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_flags: Option<u64>,
    /// The agent that the filter asks, if it asks one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp_agent: Option<SeccompAgent>,
    /// The execution domain (personality(2)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub personality: Option<u32>,
    /// Mode and nodes of the memory policy (set_mempolicy(2)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<(u32, Vec<u64>)>,
    /// The I/O priority of a process that names none: class and level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<(u16, u16)>,
    /// The scheduling of a process that names none: the words of `struct sched_attr` in their order (policy, flags, nice,
    /// priority, runtime, deadline, period).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<(u32, u64, i32, u32, u64, u64, u64)>,
    /// The limits of a process that names none: `RLIMIT_*` number, soft, hard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rlimits: Vec<(u32, u64, u64)>,
    /// The groups of the resctrl filesystem that all processes are in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resctrl: Vec<PathBuf>,
    /// The AppArmor profile of a process that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apparmor_profile: Option<String>,
    /// The SELinux label of a process that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux_label: Option<String>,
    /// The CPUs, as a bit mask, of a process that names none until it enters the control groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_cpus: Option<Vec<u64>>,
    /// Those after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_cpus: Option<Vec<u64>>,
    /// The SELinux context of a filesystem that is made for the container (`linux.mountLabel`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_label: Option<String>,
    /// All processes have the core scheduling cookie of init.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub core_scheduling: bool,
}

/// Who decides on system calls in the kernel's stead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompAgent {
    /// Its socket.
    pub path: PathBuf,
    /// What it is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

impl ExecRecord {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What runs a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Driver {
    /// Nucleus itself, with the host's kernel.
    #[default]
    Native,
    /// A driver of a newer version: such a container can be shown, and must otherwise be left alone.
    #[serde(other, skip_serializing)]
    Unknown,
}

/// The control group of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupRecord {
    /// "cgroupfs", "systemd" or "systemd-user", or empty when there is none.
    #[serde(default)]
    pub driver: String,
    /// The directories that were made, as absolute paths of the host: by v1 controller, under "unified" for v2.
    #[serde(default)]
    pub paths: BTreeMap<String, PathBuf>,
    /// The systemd unit, if that driver made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A namespace of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceRecord {
    /// The specification's name: "pid", "network", "mount" …
    #[serde(rename = "type")]
    pub kind: String,
    /// The path that was joined; none when the namespace is the container's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// A hook as the configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookRecord {
    /// The program, absolute.
    pub path: PathBuf,
    /// Its arguments, the zeroth one included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// It inherits the environment of the runtime instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inherits_env: bool,
    /// Seconds until it is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

impl ContainerState {
    /// A record in phase [`Phase::Creating`], created now, with everything else empty.
    pub fn new(id: ContainerId, bundle: PathBuf) -> Self {
        Self {
            schema: SCHEMA_VERSION,
            id,
            phase: Phase::Creating,
            init: None,
            creator: None,
            oci_version: String::new(),
            bundle,
            rootfs: PathBuf::new(),
            command: Vec::new(),
            created: timestamp(SystemTime::now()),
            owner: 0,
            annotations: BTreeMap::new(),
            driver: Driver::Native,
            cgroup: CgroupRecord::default(),
            config_hash: None,
            namespaces: Vec::new(),
            poststart: Vec::new(),
            poststop: Vec::new(),
            rootless: false,
            resctrl: Vec::new(),
            exec: ExecRecord::default(),
        }
    }

    /// How long ago it was created; zero when the clock says otherwise or the record does not say.
    pub fn uptime(&self, now: SystemTime) -> Duration {
        let created = humantime::parse_rfc3339(&self.created).ok();
        created
            .and_then(|created| now.duration_since(created).ok())
            .unwrap_or_default()
    }

    /// What `state` and `list` print, in runc's order. `owner` is the name of the owning user, looked up by the caller.
    pub fn output<'a>(&'a self, status: Status, owner: &'a str) -> StateOutput<'a> {
        StateOutput {
            oci_version: &self.oci_version,
            id: self.id.as_str(),
            pid: self.shown_pid(status),
            status,
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
            owner,
        }
    }

    fn shown_pid(&self, status: Status) -> i32 {
        match &self.init {
            Some(init) if status != Status::Stopped => init.pid().as_raw_nonzero().get(),
            _ => 0,
        }
    }
}

/// The state with what runc's `state` adds to it.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateOutput<'a> {
    /// The specification version of the bundle.
    pub oci_version: &'a str,
    /// The container's id.
    pub id: &'a str,
    /// Init's pid; 0 when stopped.
    pub pid: i32,
    /// The derived status.
    pub status: Status,
    /// The absolute path of the bundle.
    pub bundle: &'a Path,
    /// The absolute path of the root file system.
    pub rootfs: &'a Path,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: &'a str,
    /// Always an object, possibly empty.
    pub annotations: &'a BTreeMap<String, String>,
    /// The name of the owner.
    pub owner: &'a str,
}

/// A time as RFC 3339 with nanoseconds in UTC. A clock before 1970 or after 9999 gives the epoch.
pub fn timestamp(time: SystemTime) -> String {
    use std::fmt::Write as _;

    let mut text = String::with_capacity("2024-01-01T00:00:00.000000000Z".len());
    // Formatting fails for years of five digits and panics for times before the epoch.
    if time < UNIX_EPOCH || write!(text, "{}", humantime::format_rfc3339_nanos(time)).is_err() {
        return "1970-01-01T00:00:00.000000000Z".to_owned();
    }
    text
}
