//! `spec`: an example config.json to start from.
//!
//! The same container as that of runc's example: a shell on a terminal, five or six namespaces, three capabilities,
//! the usual file systems. Own types, because people edit this file: the order of its lines is fixed, and nothing is
//! in it that says nothing. The text always parses as config.json.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::process::{getegid, geteuid};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{Outcome, version};
use nucleus_core::reason;

/// Flags of `spec`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory that config.json is written into
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Write a config.json for an ordinary user
    #[arg(long)]
    rootless: bool,
}

/// Writes a config.json.
pub fn main(args: &Args) -> Outcome {
    write(&args.bundle, args.rootless)?;
    Ok(0)
}

/// Why no config.json was written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there; it may be somebody's work. The text is runc's.
    #[error("File config.json exists. Remove it first")]
    Exists,
    /// The file could not be made.
    #[error("create {}: {}", path.display(), reason(source))]
    Create {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The file could not be written to its end.
    #[error("write {}: {}", path.display(), reason(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
}

/// What the example depends on.
#[derive(Debug, Default, Clone, Copy)]
pub struct Facts {
    /// For a container without privileges on the host: the user and group that become root inside.
    pub rootless: Option<(u32, u32)>,
    /// The host has the unified hierarchy (cgroup v2), which a cgroup namespace makes safe to show.
    pub unified_cgroup: bool,
}

/// Writes `bundle`/config.json for the caller on this host.
///
/// # Errors
/// [`Error::Exists`] leaves the existing file as it is.
fn write(bundle: &Path, rootless: bool) -> Result<(), Error> {
    let facts = Facts {
        rootless: rootless.then(|| (geteuid().as_raw(), getegid().as_raw())),
        unified_cgroup: is_cgroup2(Path::new("/sys/fs/cgroup")),
    };
    let path = bundle.join("config.json");
    // Mode 0666 less the umask. O_EXCL: neither an existing file nor what a symlink points to is touched.
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(Error::Exists),
        Err(source) => return Err(Error::Create { path, source }),
    };
    document(&facts)
        .and_then(|text| file.write_all(text.as_bytes()))
        .map_err(|source| Error::Write { path, source })
}

fn is_cgroup2(path: &Path) -> bool {
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == CGROUP2_SUPER_MAGIC)
}

/// The text of config.json, indented by tabs, newline at the end.
///
/// # Errors
/// None that is known: serialising plain data into memory.
pub fn document(facts: &Facts) -> io::Result<String> {
    let mut text = Vec::with_capacity(4096);
    let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
    example(facts).serialize(&mut serializer)?;
    text.push(b'\n');
    String::from_utf8(text).map_err(io::Error::other)
}

const CAPABILITIES: &[&str] = &["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
];

const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn example(facts: &Facts) -> Spec {
    Spec {
        oci_version: version::SPEC,
        process: Process {
            terminal: true,
            user: User { uid: 0, gid: 0 },
            args: &["sh"],
            env: &[
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
            ],
            cwd: "/",
            // Neither inheritable nor ambient: no capability outlives the change to another user.
            capabilities: Capabilities {
                bounding: CAPABILITIES,
                effective: CAPABILITIES,
                permitted: CAPABILITIES,
            },
            rlimits: [Rlimit {
                kind: "RLIMIT_NOFILE",
                hard: 1024,
                soft: 1024,
            }],
            no_new_privileges: true,
        },
        root: Root {
            path: "rootfs",
            readonly: true,
        },
        hostname: "nucleus",
        mounts: mounts(facts.rootless.is_some()),
        linux: Linux {
            uid_mappings: facts.rootless.map(|(uid, _)| [map_root_to(uid)]),
            gid_mappings: facts.rootless.map(|(_, gid)| [map_root_to(gid)]),
            // Who has no privileges on the host can limit nothing there, as a rule.
            resources: facts.rootless.is_none().then_some(Resources {
                devices: [DeviceRule {
                    allow: false,
                    access: "rwm",
                }],
            }),
            namespaces: namespaces(facts),
            masked_paths: MASKED_PATHS,
            readonly_paths: READONLY_PATHS,
        },
    }
}

fn map_root_to(id: u32) -> IdMapping {
    IdMapping {
        container_id: 0,
        host_id: id,
        size: 1,
    }
}

fn namespaces(facts: &Facts) -> Vec<Namespace> {
    let rootless = facts.rootless.is_some();
    let all = [
        ("pid", true),
        // A new network would be without any connection, and only root could connect it.
        ("network", !rootless),
        ("ipc", true),
        ("uts", true),
        ("mount", true),
        ("cgroup", facts.unified_cgroup),
        ("user", rootless),
    ];
    all.into_iter()
        .filter(|(_, wanted)| *wanted)
        .map(|(kind, _)| Namespace { kind })
        .collect()
}

fn mounts(rootless: bool) -> Vec<Mount> {
    let mount = |destination, kind, source, options| Mount {
        destination,
        kind,
        source,
        options,
    };
    // Group 5 (tty) is not mapped in a rootless container. Nor may it mount a sysfs while it shares the host's network.
    const DEVPTS: &[&str] = &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    let devpts = if rootless { &DEVPTS[..5] } else { DEVPTS };
    let sys = match rootless {
        true => mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
        false => mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    };
    vec![
        mount("/proc", "proc", "proc", &[]),
        mount(
            "/dev",
            "tmpfs",
            "tmpfs",
            &["nosuid", "strictatime", "mode=755", "size=65536k"],
        ),
        mount("/dev/pts", "devpts", "devpts", devpts),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        sys,
        mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", "ro"],
        ),
    ]
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    oci_version: &'static str,
    process: Process,
    root: Root,
    hostname: &'static str,
    mounts: Vec<Mount>,
    linux: Linux,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Process {
    terminal: bool,
    user: User,
    args: &'static [&'static str],
    env: &'static [&'static str],
    cwd: &'static str,
    capabilities: Capabilities,
    rlimits: [Rlimit; 1],
    no_new_privileges: bool,
}

#[derive(Serialize)]
struct User {
    uid: u32,
    gid: u32,
}

#[derive(Serialize)]
struct Capabilities {
    bounding: &'static [&'static str],
    effective: &'static [&'static str],
    permitted: &'static [&'static str],
}

#[derive(Serialize)]
struct Rlimit {
    #[serde(rename = "type")]
    kind: &'static str,
    hard: u64,
    soft: u64,
}

#[derive(Serialize)]
struct Root {
    path: &'static str,
    readonly: bool,
}

#[derive(Serialize)]
struct Mount {
    destination: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    options: &'static [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid_mappings: Option<[IdMapping; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid_mappings: Option<[IdMapping; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Resources>,
    namespaces: Vec<Namespace>,
    masked_paths: &'static [&'static str],
    readonly_paths: &'static [&'static str],
}

#[derive(Serialize)]
struct IdMapping {
    #[serde(rename = "containerID")]
    container_id: u32,
    #[serde(rename = "hostID")]
    host_id: u32,
    size: u32,
}

#[derive(Serialize)]
struct Resources {
    devices: [DeviceRule; 1],
}

#[derive(Serialize)]
struct DeviceRule {
    allow: bool,
    access: &'static str,
}

#[derive(Serialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
