//! `SCMP_ACT_NOTIFY`: the listener of a container's filter goes to the agent that config.json names.
//!
//! One connection for one container process state (config-linux.md): a JSON document with the descriptor beside it.
//! Whatever fails here fails the container, which could not run without its agent.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, PidfdGetfdFlags};

use crate::hooks;
use crate::init::failure::{Explain, Failure};
use crate::plan::Listener;

/// The container as the agent is told of it.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// What does not change.
    pub state: &'a hooks::State,
    /// Its status.
    pub status: &'a str,
    /// Its init, which need not be the process that loads the filter.
    pub init: Pid,
}

/// Takes descriptor `number` out of the process behind `pidfd` and sends it to the agent.
///
/// # Errors
/// Named by `linux.seccomp.listenerPath`.
pub fn hand_over(to: &Listener, pid: Pid, pidfd: &OwnedFd, number: i32, container: Seen<'_>) -> Result<(), Failure> {
    let listener = rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty())
        .explain(|| "linux.seccomp.listenerPath: cannot take the listener from the container's process")?;
    let send = || {
        let socket = super::socket::connect(&to.path)?;
        send_with(&socket, document(to, pid, container).as_bytes(), &listener)
    };
    send().explain(|| {
        format!(
            "linux.seccomp.listenerPath: cannot send the listener to {}",
            to.path.display()
        )
    })
}

/// The container process state of config-linux.md.
fn document(to: &Listener, pid: Pid, container: Seen<'_>) -> String {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct ProcessState<'a> {
        oci_version: &'a str,
        fds: [&'a str; 1],
        pid: i32,
        #[serde(skip_serializing_if = "Option::is_none")]
        metadata: Option<&'a str>,
        state: hooks::Document<'a>,
    }
    let document = ProcessState {
        oci_version: &container.state.oci_version,
        fds: ["seccompFd"],
        pid: pid.as_raw_nonzero().get(),
        metadata: to.metadata.as_deref(),
        state: container.state.with(container.status, Some(container.init)),
    };
    // Strings, a map of strings and numbers always have a JSON form.
    serde_json::to_string(&document).unwrap_or_default()
}

/// Sends all of `text`; the descriptor goes with its first byte.
fn send_with(socket: &OwnedFd, text: &[u8], listener: &OwnedFd) -> rustix::io::Result<()> {
    let fds = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let mut sent = rustix::net::sendmsg(socket, &[IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    while sent < text.len() {
        sent += rustix::net::send(socket, &text[sent..], SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_a_container_process_state() {
        let state = hooks::State {
            oci_version: "1.3.0".into(),
            id: "c1".into(),
            bundle: "/b".into(),
            annotations: [("a".to_owned(), "1".to_owned())].into(),
        };
        let to = Listener {
            path: "/s".into(),
            metadata: Some("m".into()),
        };
        let text = document(
            &to,
            Pid::from_raw(7).unwrap(),
            Seen {
                state: &state,
                status: "creating",
                init: Pid::from_raw(6).unwrap(),
            },
        );
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let wanted = serde_json::json!({
            "ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 7, "metadata": "m",
            "state": {
                "ociVersion": "1.3.0", "id": "c1", "status": "creating", "pid": 6, "bundle": "/b",
                "annotations": {"a": "1"}
            }
        });
        assert_eq!(read, wanted);
    }
}
