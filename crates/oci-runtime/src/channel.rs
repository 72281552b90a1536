//! The typed messages that the host side and the container side exchange over one SOCK_SEQPACKET pair.
//!
//! Each end offers only what is legal for it. One message is one packet, so that nothing is ever half read; the end
//! of file means that the other side is gone. Texts are cut at [`MAX`], lengths are never taken from the wire
//! (CVE-2021-43784). The `ready` and `await_go` of init use plain write(2) and read(2): with seccomp loaded, a profile
//! needs to allow no more than that.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Longest packet in bytes.
const MAX: usize = 4096;

/// What init tells the host side.
#[derive(Debug, PartialEq, Eq)]
pub enum ToHost {
    /// The middle process made init: its pid in the host side's PID namespace.
    InitPid(i32),
    /// An empty time namespace waits for its offsets.
    TimeNamespaceMade,
    /// Namespaces and mounts are there, the root is not yet changed: host-side hooks are due.
    HooksDue,
    /// The filter is loaded and asks: init's number of the listener. Init waits for `go` or `send_listener`.
    Listener(i32),
    /// All is set up; init waits for `go`.
    Ready,
    /// Set-up failed; the text is for the person at the terminal. Init is exiting.
    Failed(String),
}

/// The host's end.
#[derive(Debug)]
pub struct HostEnd(OwnedFd);

/// Init's end.
#[derive(Debug)]
pub struct InitEnd(OwnedFd);

/// Makes a connected pair; both ends are close-on-exec.
///
/// # Errors
/// As socketpair(2).
pub fn pair() -> Result<(HostEnd, InitEnd), Errno> {
    let (host, init) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((HostEnd(host), InitEnd(init)))
}

impl HostEnd {
    /// Lets init go on.
    ///
    /// # Errors
    /// `EPIPE` when init is gone.
    pub fn go(&self) -> Result<(), Errno> {
        rustix::net::send(&self.0, b"g", SendFlags::NOSIGNAL).map(drop)
    }

    /// The next message; `None` when init is gone without a word (or has executed the user's program).
    ///
    /// # Errors
    /// As recvmsg(2); `EPROTO` for a packet that init never sends.
    pub fn receive(&self) -> Result<Option<ToHost>, Errno> {
        let mut buffer = [0u8; MAX];
        let length = loop {
            match rustix::net::recv(&self.0, &mut buffer, RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                // A peer that died with our message unread resets the connection.
                Err(Errno::CONNRESET) => return Ok(None),
                other => break other?.0,
            }
        };
        match &buffer[..length] {
            [] => Ok(None),
            [b'p', pid @ ..] => {
                let pid = pid.try_into().map_err(|_| Errno::PROTO)?;
                Ok(Some(ToHost::InitPid(i32::from_ne_bytes(pid))))
            }
            [b'l', fd @ ..] => {
                let fd = fd.try_into().map_err(|_| Errno::PROTO)?;
                Ok(Some(ToHost::Listener(i32::from_ne_bytes(fd))))
            }
            [b't'] => Ok(Some(ToHost::TimeNamespaceMade)),
            [b'h'] => Ok(Some(ToHost::HooksDue)),
            [b'r'] => Ok(Some(ToHost::Ready)),
            [b'f', text @ ..] => Ok(Some(ToHost::Failed(String::from_utf8_lossy(text).into_owned()))),
            _ => Err(Errno::PROTO),
        }
    }
}

impl AsFd for InitEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl InitEnd {
    /// Sends a message. Failures are not reported: the host side is gone, and [`InitEnd::await_go`] will notice.
    pub fn tell(&self, message: &ToHost) {
        let mut packet = Vec::new();
        match message {
            ToHost::InitPid(pid) => {
                packet.push(b'p');
                packet.extend(pid.to_ne_bytes());
            }
            ToHost::Listener(fd) => {
                packet.push(b'l');
                packet.extend(fd.to_ne_bytes());
            }
            ToHost::TimeNamespaceMade => packet.push(b't'),
            ToHost::HooksDue => packet.push(b'h'),
            ToHost::Ready => packet.push(b'r'),
            ToHost::Failed(text) => {
                packet.push(b'f');
                packet.extend(text.as_bytes().iter().take(MAX - 1));
            }
        }
        // SIGPIPE is ignored in this process until the last moment before execve.
        let _ = rustix::io::write(&self.0, &packet);
    }

    /// Blocks until the host side lets init go on; false when the host side is gone.
    pub fn await_go(&self) -> bool {
        let mut byte = [0u8; 1];
        loop {
            match rustix::io::read(&self.0, &mut byte) {
                Err(Errno::INTR) => {}
                Ok(1) => return true,
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let (host, init) = pair().unwrap();
        for message in [
            ToHost::InitPid(4711),
            ToHost::Listener(42),
            ToHost::TimeNamespaceMade,
            ToHost::HooksDue,
            ToHost::Ready,
            ToHost::Failed("mounts[3]: no".to_string()),
        ] {
            init.tell(&message);
            assert_eq!(host.receive().unwrap(), Some(message));
        }
    }

    #[test]
    fn a_text_longer_than_a_packet_is_cut_not_lost() {
        let (host, init) = pair().unwrap();
        init.tell(&ToHost::Failed("x".repeat(70_000)));
        assert_eq!(host.receive().unwrap(), Some(ToHost::Failed("x".repeat(MAX - 1))));
    }

    #[test]
    fn each_side_notices_that_the_other_is_gone() {
        let (host, init) = pair().unwrap();
        drop(init);
        assert_eq!(host.receive().unwrap(), None);
        assert!(host.go().is_err());
        let (host, init) = pair().unwrap();
        host.go().unwrap();
        drop(host);
        assert!(init.await_go());
        assert!(!init.await_go());
    }

    #[test]
    fn a_foreign_packet_is_refused() {
        let (host, init) = pair().unwrap();
        for packet in [b"?".as_slice(), b"p12", b"l", b"rr"] {
            rustix::io::write(&init.0, packet).unwrap();
            assert_eq!(host.receive(), Err(Errno::PROTO));
        }
    }
}
