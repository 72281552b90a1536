//! `ps`: which processes of the host are the container's, as ids or as the lines of the host's own ps(1).
//!
//! The control group is asked, sub-groups included. A container without one (rootless on v1) is known by its PID
//! namespace. Nothing here changes anything, so that no lock is taken.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;

use nucleus_core::{ContainerId, ErrnoText, Operation, Store};

use super::{Container, Result, cgroup_of};
use crate::init::failure::Failure;

/// What ps(1) is asked for unless the caller says otherwise; runc's choice.
const DEFAULT_ARGUMENTS: &str = "-ef";

/// The ids, in the PID namespace of the caller, of all processes of the container, ascending.
///
/// # Errors
/// When the control group cannot be read; a container that has neither a control group nor a PID namespace.
pub fn pids(store: &Store, id: &ContainerId) -> Result<BTreeSet<i32>> {
    let container = Container::open(store, id)?;
    container.check(Operation::Ps)?;
    let cgroup = cgroup_of(&container.state.cgroup);
    if cgroup.is_empty() {
        return by_namespace(&container);
    }
    let pids = cgroup.pids(true)?;
    Ok(pids.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
}

/// Those that share the PID namespace that was made for init.
fn by_namespace(container: &Container) -> Result<BTreeSet<i32>> {
    let Some(init) = &container.seen.init else {
        return Ok(BTreeSet::new());
    };
    let own = |record: &nucleus_core::NamespaceRecord| record.kind == "pid" && record.path.is_none();
    if !container.state.namespaces.iter().any(own) {
        let text =
            "the container has neither a control group nor a PID namespace of its own: cannot tell its processes";
        return Err(Failure::new(text).into());
    }
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let theirs = namespace(init.pid().as_raw_nonzero().get());
    let entries = std::fs::read_dir("/proc").map_err(|error| failed("cannot read /proc", &error))?;
    let number = |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let inside = |pid: &i32| theirs.is_some() && namespace(*pid) == theirs;
    Ok(entries.filter_map(number).filter(inside).collect())
}

/// Runs the host's ps(1) and keeps the heading and the lines of `pids`.
///
/// # Errors
/// When ps(1) cannot be run or fails (with what it said), or prints no column `PID`.
pub fn table(pids: &BTreeSet<i32>, arguments: &[OsString]) -> Result<String> {
    let mut command = Command::new("ps");
    match arguments {
        [] => command.arg(DEFAULT_ARGUMENTS),
        arguments => command.args(arguments),
    };
    let output = command.output().map_err(|error| failed("cannot run ps", &error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let text = format!("ps: {}: {}", output.status, said.trim().replace('\n', "; "));
        return Err(Failure::new(text).into());
    }
    Ok(filter(&String::from_utf8_lossy(&output.stdout), pids)?)
}

/// The heading, and the lines whose column `PID` is one of `pids`.
fn filter(text: &str, pids: &BTreeSet<i32>) -> std::result::Result<String, Failure> {
    let heading = text.lines().next().unwrap_or_default();
    let column = heading.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| Failure::new("couldn't find PID field in ps output"))?;
    let mut kept = format!("{heading}\n");
    for line in text.lines().skip(1) {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        if pid.is_some_and(|pid: i32| pids.contains(&pid)) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    Ok(kept)
}

fn failed(what: &str, error: &std::io::Error) -> Failure {
    let errno = rustix::io::Errno::from_io_error(error);
    Failure::new(match errno {
        Some(errno) => format!("{what}: {}", ErrnoText(errno)),
        None => format!("{what}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_by_the_column_and_not_by_other_numbers() {
        let text = "UID   PPID    PID CMD\nroot     7      8 sleep 9\nroot     9      7 sh\nroot     1     70 init\n";
        let kept = filter(text, &BTreeSet::from([8, 9])).expect("a table");
        assert_eq!(kept, "UID   PPID    PID CMD\nroot     7      8 sleep 9\n");
        assert_eq!(
            filter(text, &BTreeSet::new()).expect("a table"),
            "UID   PPID    PID CMD\n"
        );
    }

    #[test]
    fn a_table_without_the_column_is_an_error() {
        let error = filter("CMD\nsleep\n", &BTreeSet::new()).expect_err("no column");
        assert_eq!(error.to_string(), "couldn't find PID field in ps output");
    }
}
