//! `events`: what a container uses, once or again and again, and when the kernel kills for want of memory.
//!
//! One thread waits in one poll(2) for the end of init, for the kernel's word of memory, and for the next moment to
//! count. Nothing here changes the container, so that no lock is taken.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nucleus_cgroup::{OomWatch, Record, Stats};
use nucleus_core::{ContainerId, Operation, Process, Store};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::{Container, Result, cgroup_of};
use crate::init::failure::{Explain, Failure};

/// One line of the output: `types/events.go` of runc.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// "stats" or "oom".
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The container.
    pub id: &'a str,
    /// The counters; none for "oom".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
}

/// All that is counted.
#[derive(Debug, Serialize)]
pub struct Data {
    /// By control groups.
    #[serde(flatten)]
    cgroup: Stats,
    /// Nothing, while there is no group of resctrl for the container.
    intel_rdt: Empty,
    /// Those of the container's network namespace; null if it shares the host's.
    network_interfaces: Option<Vec<Interface>>,
}

#[derive(Debug, Serialize)]
struct Empty {}

/// One network interface (proc_pid_net(5), "dev"); runc spells these with a capital.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Interface {
    name: String,
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

/// Who hears of an event; false means that nobody does any more.
pub type Emit<'a> = &'a mut dyn FnMut(&Event<'_>) -> Result<bool>;

/// Tells the counters of a container once.
///
/// # Errors
/// `container not running`; a counter that cannot be read.
pub fn once(store: &Store, id: &ContainerId, emit: Emit<'_>) -> Result<()> {
    let container = Container::open(store, id)?;
    container.check(Operation::Events)?;
    emit(&stats(&container)?).map(drop)
}

/// Tells the counters every `interval`, the first time after one, and each out-of-memory kill when it happens.
/// Returns when the container has ended.
///
/// # Errors
/// As [`once`].
pub fn stream(store: &Store, id: &ContainerId, interval: Duration, emit: Emit<'_>) -> Result<()> {
    let container = Container::open(store, id)?;
    container.check(Operation::Events)?;
    let Some(init) = &container.seen.init else {
        return Ok(());
    };
    let mut watch = oom_watch(&cgroup_of(&container.state.cgroup))?;
    // An interval beyond what the clock can express never ends.
    let after = |moment: Instant| moment.checked_add(interval);
    let mut next = after(Instant::now());
    loop {
        let ended = wait(init, watch.as_ref(), next)?;
        let killed = watch.as_mut().map_or(Ok(false), OomWatch::occurred)?;
        let oom = Event {
            kind: "oom",
            id: id.as_str(),
            data: None,
        };
        if (killed && !emit(&oom)?) || ended {
            return Ok(());
        }
        if next.is_some_and(|moment| moment <= Instant::now()) {
            if !emit(&stats(&container)?)? {
                return Ok(());
            }
            next = after(Instant::now());
        }
    }
}

/// None where there is no memory to watch.
fn oom_watch(cgroup: &Record) -> Result<Option<OomWatch>> {
    match cgroup.oom_watch() {
        Err(nucleus_cgroup::Error::Without { .. }) => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// Waits for the end of init (then true), for memory, or for a moment.
fn wait(init: &Process, watch: Option<&OomWatch>, until: Option<Instant>) -> Result<bool> {
    let mut fds = vec![PollFd::from_borrowed_fd(init.as_fd(), PollFlags::IN)];
    fds.extend(
        watch
            .map(OomWatch::poll)
            .map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)),
    );
    let left = until.map(|moment| moment.saturating_duration_since(Instant::now()));
    let left = left.map(|left| Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    });
    match poll(&mut fds, left.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(!fds[0].revents().is_empty()),
        Err(errno) => Err(Failure::from_errno("cannot wait for events", errno).into()),
    }
}

fn stats(container: &Container) -> Result<Event<'_>> {
    Ok(Event {
        kind: "stats",
        id: container.state.id.as_str(),
        data: Some(Data {
            cgroup: cgroup_of(&container.state.cgroup).stats()?,
            intel_rdt: Empty {},
            network_interfaces: interfaces(container)?,
        }),
    })
}

/// The interfaces of init's network namespace, unless it is its caller's.
fn interfaces(container: &Container) -> Result<Option<Vec<Interface>>> {
    let Some(init) = &container.seen.init else {
        return Ok(None);
    };
    if !container.state.namespaces.iter().any(|record| record.kind == "network") {
        return Ok(None);
    }
    let path = format!("/proc/{}/net/dev", init.pid().as_raw_nonzero());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // A process that ends has no network any more.
        Err(error) if matches!(error.raw_os_error(), Some(nix::libc::EINVAL | nix::libc::ENOENT)) => return Ok(None),
        error => error.explain(|| format!("cannot read {path}"))?,
    };
    // The pid was init's when the file was read if init lives now.
    let lives = !init.wait_exit(Some(Duration::ZERO))?;
    Ok(lives.then(|| text.lines().filter_map(interface).collect()))
}

/// `NAME: 8 numbers received, 8 numbers sent`; the heading has no colon.
fn interface(line: &str) -> Option<Interface> {
    let (name, numbers) = line.split_once(':')?;
    let numbers: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        _,
        _,
        _,
        _,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
        ..,
    ] = numbers[..]
    else {
        return None;
    };
    Some(Interface {
        name: name.trim().to_owned(),
        rx_bytes,
        rx_packets,
        rx_errors,
        rx_dropped,
        tx_bytes,
        tx_packets,
        tx_errors,
        tx_dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_lines_with_sixteen_numbers() {
        let found = interface("  eth0: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16").expect("an interface");
        assert_eq!(found.name, "eth0");
        assert_eq!(
            (found.rx_bytes, found.rx_dropped, found.tx_bytes, found.tx_dropped),
            (1, 4, 9, 12)
        );
        let json = serde_json::to_value(&found).expect("json");
        assert_eq!(
            (&json["Name"], &json["RxBytes"], &json["TxErrors"]),
            (&"eth0".into(), &1.into(), &11.into())
        );
        assert_eq!(
            interface("Inter-|   Receive                          |  Transmit"),
            None
        );
        assert_eq!(interface("lo: 1 2 3"), None);
    }

    #[test]
    fn an_oom_event_has_no_data() {
        let event = Event {
            kind: "oom",
            id: "box",
            data: None,
        };
        assert_eq!(
            serde_json::to_string(&event).expect("json"),
            r#"{"type":"oom","id":"box"}"#
        );
    }
}
