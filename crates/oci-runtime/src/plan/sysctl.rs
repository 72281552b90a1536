//! `linux.sysctl`: which kernel parameters may be set, and where they lie below `/proc/sys`.
//!
//! Only parameters that belong to a namespace which the container has: anything else would change the host. Both
//! notations of sysctl(8) are understood: `net.ipv4.conf.eth0/1.forwarding` and `net/ipv4/conf/eth0.1/forwarding`.

use std::collections::HashMap;
use std::path::PathBuf;

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
    hostname_is_set: bool,
) -> Result<Vec<(PathBuf, String)>, PlanError> {
    let mut writes = Vec::with_capacity(map.map_or(0, HashMap::len));
    for (key, value) in map.into_iter().flatten() {
        let refuse =
            |why: &str| PlanError::new(format_args!("linux.sysctl.{key}"), format_args!("sysctl {key:?} {why}"));
        let path = path(key);
        if path.contains('\0') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refuse("is not a valid name"));
        }
        allowed(&path, namespaces, hostname_is_set).map_err(refuse)?;
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
    let swap = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    key.chars().map(swap).collect()
}

/// Says why a parameter may not be set, if it may not.
fn allowed(path: &str, namespaces: &Namespaces, hostname_is_set: bool) -> Result<(), &'static str> {
    let has = |kind: Kind| namespaces.has(kind as u64);
    let (top, rest) = path.split_once('/').unwrap_or((path, ""));
    match (top, rest) {
        ("fs", rest) if rest.starts_with("mqueue/") => has(Kind::Ipc)
            .then_some(())
            .ok_or("is not allowed in the hosts ipc namespace"),
        ("kernel", name) if IPC.contains(&name) => has(Kind::Ipc)
            .then_some(())
            .ok_or("is not allowed in the hosts ipc namespace"),
        ("net", _) => has(Kind::Network)
            .then_some(())
            .ok_or("not allowed in host network namespace"),
        ("user", _) => has(Kind::User)
            .then_some(())
            .ok_or("not allowed in host user namespace"),
        ("kernel", "hostname") if hostname_is_set => {
            Err("is not allowed as it conflicts with the OCI \"hostname\" field")
        }
        ("kernel", "domainname" | "hostname") if has(Kind::Uts) => Ok(()),
        _ => Err("is not in a separate kernel namespace"),
    }
}
