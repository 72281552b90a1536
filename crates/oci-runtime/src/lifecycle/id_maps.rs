//! Writing the id maps of a new user namespace (user_namespaces(7)).
//!
//! Root writes them itself. An ordinary user may map nothing but itself, and only after giving up setgroups(2); for
//! more it asks newuidmap(1) and newgidmap(1), which know what /etc/subuid and /etc/subgid grant.

use std::process::{Command, Stdio};

use rustix::process::Pid;

use super::host::Host;
use crate::init::failure::{Explain, Failure};
use crate::plan::{IdMapping, Plan};

/// True when the gid map can only be written without the right to call setgroups(2).
pub fn setgroups_denied(plan: &Plan, host: &Host) -> bool {
    host.euid != 0 && is_self(&plan.gid_map, host.egid)
}

/// Writes both maps for `init`, which waits for them.
///
/// # Errors
/// Named by `linux.uidMappings` or `linux.gidMappings`.
pub fn write(plan: &Plan, host: &Host, init: Pid) -> Result<(), Failure> {
    let pid = init.as_raw_nonzero();
    if setgroups_denied(plan, host) {
        let path = format!("/proc/{pid}/setgroups");
        std::fs::write(&path, "deny").explain(|| format!("linux.gidMappings: cannot write {path}"))?;
    }
    let maps = [
        ("uid", "linux.uidMappings", &plan.uid_map, host.euid),
        ("gid", "linux.gidMappings", &plan.gid_map, host.egid),
    ];
    for (kind, field, map, own) in maps {
        if host.euid == 0 || is_self(map, own) {
            let path = format!("/proc/{pid}/{kind}_map");
            std::fs::write(&path, lines(map)).explain(|| format!("{field}: cannot write {path}"))?;
        } else {
            ask_helper(&format!("new{kind}map"), field, pid.get(), map)?;
        }
    }
    Ok(())
}

fn is_self(map: &[IdMapping], own: u32) -> bool {
    matches!(map, [only] if only.size == 1 && only.host_id == own)
}

/// The text of a map, as `/proc/PID/uid_map` takes it.
pub fn lines(map: &[IdMapping]) -> String {
    map.iter()
        .map(|line| format!("{} {} {}\n", line.container_id, line.host_id, line.size))
        .collect()
}

fn ask_helper(helper: &str, field: &str, pid: i32, map: &[IdMapping]) -> Result<(), Failure> {
    let numbers = map.iter().flat_map(|line| [line.container_id, line.host_id, line.size]);
    let output = Command::new(helper)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null())
        .output()
        .explain(|| format!("{field}: an ordinary user needs {helper} (Debian package uidmap)"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{field}: {helper} failed: {}", said.trim())))
}
