//! `kill`: a signal for init, or with `--all` for every process of the container.
//!
//! Init is signalled through a descriptor that is proven to be it; a reused pid is never signalled. SIGKILL is for every
//! process of a container without its own PID namespace: there the others outlive init.

use std::str::FromStr;

use nix::libc::SIGKILL;
use nucleus_core::{ContainerId, NamespaceRecord, Operation, Status, Store};

use super::{Container, Error, Result, cgroup_of};

/// Sends signal number `signal`; 0 only checks.
///
/// # Errors
/// `container not running` for a stopped container, unless `all`.
pub fn kill(store: &Store, id: &ContainerId, signal: i32, all: bool) -> Result<()> {
    let container = Container::open(store, id)?;
    if all {
        container.check(Operation::KillAll)?;
        // Without a PID namespace of its own, processes may outlive init: they are found by their control group.
        if !container.state.cgroup.paths.is_empty() {
            return Ok(cgroup_of(&container.state.cgroup).kill_all(signal)?);
        }
        if container.seen.status == Status::Stopped {
            return Ok(());
        }
    }
    let cgroup = cgroup_of(&container.state.cgroup);
    if signal == SIGKILL && may_outlive_init(&container) {
        let stopped = container.seen.status == Status::Stopped;
        if stopped && !cgroup.has_processes()? {
            container.check(Operation::Kill)?;
        }
        // It may have moved to another control group, and it may have ended since.
        let _ = container.seen.init.as_ref().map(|init| init.send_signal(signal));
        return Ok(cgroup.kill_all(signal)?);
    }
    container.check(Operation::Kill)?;
    match &container.seen.init {
        Some(init) => {
            init.send_signal(signal)?;
            // A process in v1's freezer does not even die before it is thawed.
            if signal == SIGKILL {
                cgroup.thaw_all()?;
            }
            Ok(())
        }
        // Being created still: there is no init to signal yet.
        None => Ok(Status::Stopped.check(Operation::Kill)?),
    }
}

/// Whether the end of init leaves the other processes alive, and a control group to find them by: without a PID namespace
/// of the container's own.
fn may_outlive_init(container: &Container) -> bool {
    let own = |record: &NamespaceRecord| record.kind == "pid" && record.path.is_none();
    let state = &container.state;
    state.init.is_some() && !state.namespaces.iter().any(own) && !state.cgroup.paths.is_empty()
}

/// A signal as people write it: a number, `TERM`, `SIGTERM`, `RTMIN+3`; in any case.
///
/// # Errors
/// [`Error::UnknownSignal`].
pub fn parse_signal(text: &str) -> Result<i32> {
    let unknown = || Error::UnknownSignal(text.to_string());
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) {
            Ok(number)
        } else {
            Err(unknown())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest
            .strip_prefix(sign)?
            .parse::<i32>()
            .ok()
            .filter(|offset| (0..=30).contains(offset)),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest, '+').map(|offset| 34 + offset).ok_or_else(unknown);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest, '-').map(|offset| 64 - offset).ok_or_else(unknown);
    }
    nix::sys::signal::Signal::from_str(&format!("SIG{name}"))
        .map(|signal| signal as i32)
        .map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_numbers_or_names() {
        for (text, number) in [
            ("15", 15),
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("0", 0),
            ("64", 64),
            ("RTMIN", 34),
        ] {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        assert_eq!(parse_signal("SIGRTMIN+3").unwrap(), 37);
        assert_eq!(parse_signal("RTMAX-1").unwrap(), 63);
    }

    #[test]
    fn what_is_no_signal_is_refused_with_its_text() {
        for text in ["", "SIG", "NOPE", "-1", "65", "RTMIN+31", "RTMIN-1", "4294967305"] {
            assert_eq!(
                parse_signal(text).unwrap_err().to_string(),
                format!("unknown signal {text:?}")
            );
        }
    }
}
