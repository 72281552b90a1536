//! `linux.sysctl`: which kernel parameters may be set, and where they lie below `/proc/sys`.
//!
//! Only parameters that belong to a namespace which the container has: anything else would change the host. Both
//! notations of sysctl(8) are understood: `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxNamespaceType as Kind;

use super::{Namespaces, PlanError};

/// The parameters below `kernel/` that belong to the IPC namespace.
const IPC: [&str; 8] = [
    "msgmax",
    "msgmnb",
    "msgmni",
    "sem",
    "shmall",
    "shmmax",
    "shmmni",
    "shm_rmid_forced",
];

/// Compiles the map, sorted by path, so that a config gives the same plan each time.
pub(crate) fn compile(
    map: Option<&HashMap<String, String>>,
    namespaces: &Namespaces,
) -> Result<Vec<(PathBuf, String)>, PlanError> {
    let mut writes = Vec::with_capacity(map.map_or(0, HashMap::len));
    for (key, value) in map.into_iter().flatten() {
        let refuse =
            |why: &str| PlanError::new(format_args!("linux.sysctl.{key}"), format_args!("sysctl {key:?} {why}"));
        let path = path(key);
        if path.contains('\0') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse("is not a valid name"));
        }
        allowed(&path, namespaces).map_err(refuse)?;
        writes.push((PathBuf::from(path), value.clone()));
    }
    writes.sort_unstable();
    if let Some([(path, _), ..]) = writes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(PlanError::new(
            "linux.sysctl",
            format_args!("{path:?} is given twice, in two notations"),
        ));
    }
    Ok(writes)
}

/// The path below `/proc/sys`: the first separator tells which of the two notations this is.
fn path(key: &str) -> String {
    let slashes = key.find(['.', '/']).is_some_and(|at| key.as_bytes()[at] == b'/');
    if slashes {
        return key.to_owned();
    }
    swap(key)
}

/// The other notation.
fn swap(name: &str) -> String {
    let swapped = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    name.chars().map(swapped).collect()
}

/// The kind of namespace that a path below `/proc/sys` belongs to; `None` for a parameter of the whole machine.
fn kind(path: &str) -> Option<Kind> {
    match path.split_once('/')? {
        ("fs", rest) if rest.starts_with("mqueue/") => Some(Kind::Ipc),
        ("kernel", name) if IPC.contains(&name) => Some(Kind::Ipc),
        ("net", _) => Some(Kind::Network),
        ("user", _) => Some(Kind::User),
        ("kernel", "domainname" | "hostname") => Some(Kind::Uts),
        _ => None,
    }
}

/// Says why a parameter may not be set, if it may not.
fn allowed(path: &str, namespaces: &Namespaces) -> Result<(), &'static str> {
    let kind = kind(path);
    if kind.is_some_and(|kind| namespaces.has(kind as u64)) {
        return match path {
            "kernel/hostname" => Err("is not allowed as it conflicts with the OCI \"hostname\" field"),
            _ => Ok(()),
        };
    }
    Err(match kind {
        Some(Kind::Ipc) => "is not allowed in the hosts ipc namespace",
        Some(Kind::Network) => "not allowed in host network namespace",
        Some(Kind::User) => "not allowed in host user namespace",
        _ => "is not in a separate kernel namespace",
    })
}

/// Refuses parameters of a namespace (a `CLONE_NEW*` bit) that is given by path and is the runtime's own.
///
/// # Errors
/// Named by the parameter, in runc's words.
pub(crate) fn refuse_in_own(writes: &[(PathBuf, String)], bit: u64) -> Result<(), PlanError> {
    let within = |(path, _): &&(PathBuf, String)| path.to_str().and_then(kind).is_some_and(|kind| kind as u64 == bit);
    let Some((path, _)) = writes.iter().find(within) else {
        return Ok(());
    };
    let kind = match bit {
        bit if bit == Kind::Ipc as u64 => "ipc",
        bit if bit == Kind::Network as u64 => "network",
        bit if bit == Kind::User as u64 => "user",
        _ => "uts",
    };
    let name = key(path);
    Err(PlanError::new(
        format_args!("linux.sysctl.{name}"),
        format_args!("sysctl {name:?} is not allowed in the hosts {kind} namespace"),
    ))
}

/// A path below `/proc/sys` in the notation with dots.
fn key(path: &Path) -> String {
    swap(&path.to_string_lossy())
}
