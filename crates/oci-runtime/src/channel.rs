//! The typed messages that the host side and the container side exchange over one SOCK_SEQPACKET pair.
//!
//! Each end offers only what is legal for it. One message is one packet, so that nothing is ever half read; the end
//! of file means that the other side is gone. Texts are cut at [`MAX`], lengths are never taken from the wire
//! (CVE-2021-43784). The `ready` and `await_go` of init use plain write(2) and read(2): with seccomp loaded, a profile
//! needs to allow no more than that.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nucleus_sys::seccomp::Call;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// Longest packet in bytes.
const MAX: usize = 4096;

/// What init tells the host side.
#[derive(Debug, PartialEq, Eq)]
pub enum ToHost {
    /// A process that was cloned into its control group lives: the kernel kills some at their birth.
    Started,
    /// The middle process made init: its pid in the host side's PID namespace.
    InitPid(i32),
    /// The middle process may not make another one: its control group, a user's limit or the host holds no more.
    NoRoom,
    /// An empty time namespace waits for its offsets.
    TimeNamespaceMade,
    /// Namespaces and mounts are there, the root is not yet changed: host-side hooks are due.
    HooksDue,
    /// The filter is loaded and asks: init's number of the listener. Init waits for `go` or `send_listener`.
    Listener(i32),
    /// All is set up; init waits for `go`.
    Ready,
    /// A line of `--debug` from the steps after init has closed the log file.
    Step(String),
    /// Set-up failed; the text is for the person at the terminal. Init is exiting.
    Failed(String),
}

impl ToHost {
    /// What a packet says; `None` for the empty one that stands for the end.
    ///
    /// # Errors
    /// `EPROTO` for a packet that init never sends.
    pub fn parse(packet: &[u8]) -> Result<Option<Self>, Errno> {
        let number = |bytes: &[u8]| bytes.try_into().map(i32::from_ne_bytes).map_err(|_| Errno::PROTO);
        Ok(Some(match packet {
            [] => return Ok(None),
            [b'p', pid @ ..] => Self::InitPid(number(pid)?),
            [b'l', fd @ ..] => Self::Listener(number(fd)?),
            [b'b'] => Self::Started,
            [b'n'] => Self::NoRoom,
            [b't'] => Self::TimeNamespaceMade,
            [b'h'] => Self::HooksDue,
            [b'r'] => Self::Ready,
            [b's', text @ ..] => Self::Step(String::from_utf8_lossy(text).into_owned()),
            [b'f', text @ ..] => Self::Failed(String::from_utf8_lossy(text).into_owned()),
            _ => return Err(Errno::PROTO),
        }))
    }

    /// The packet that says it.
    pub fn packet(&self) -> Vec<u8> {
        let with = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
        match self {
            Self::InitPid(pid) => with(b'p', &pid.to_ne_bytes()),
            Self::Listener(fd) => with(b'l', &fd.to_ne_bytes()),
            Self::Started => with(b'b', &[]),
            Self::NoRoom => with(b'n', &[]),
            Self::TimeNamespaceMade => with(b't', &[]),
            Self::HooksDue => with(b'h', &[]),
            Self::Ready => with(b'r', &[]),
            Self::Step(text) => with(b's', &text.as_bytes()[..text.len().min(MAX - 1)]),
            Self::Failed(text) => with(b'f', &text.as_bytes()[..text.len().min(MAX - 1)]),
        }
    }
}

/// Why there is no pid.
#[derive(Debug, PartialEq, Eq)]
pub enum PidReport {
    /// The other side says why.
    Failed(String),
    /// As [`ToHost::NoRoom`].
    NoRoom,
    /// The channel cannot be read.
    Unheard(Errno),
}

/// The host's end.
#[derive(Debug)]
pub struct HostEnd {
    socket: OwnedFd,
    /// What came before the pid that was waited for.
    early: RefCell<VecDeque<ToHost>>,
}

/// Init's end.
#[derive(Debug)]
pub struct InitEnd(OwnedFd);

/// Makes a connected pair; both ends are close-on-exec.
///
/// # Errors
/// As socketpair(2).
pub fn pair() -> Result<(HostEnd, InitEnd), Errno> {
    let (host, init) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let host = HostEnd {
        socket: host,
        early: RefCell::default(),
    };
    Ok((host, InitEnd(init)))
}

impl HostEnd {
    /// Lets init go on.
    ///
    /// # Errors
    /// `EPIPE` when init is gone.
    pub fn go(&self) -> Result<(), Errno> {
        rustix::net::send(&self.socket, b"g", SendFlags::NOSIGNAL).map(drop)
    }

    /// The next message; `None` when init is gone without a word (or has executed the user's program).
    ///
    /// # Errors
    /// As recvmsg(2); `EPROTO` for a packet that init never sends.
    pub fn receive(&self) -> Result<Option<ToHost>, Errno> {
        match self.early.borrow_mut().pop_front() {
            Some(message) => Ok(Some(message)),
            None => loop {
                match self.receive_new()? {
                    Some(ToHost::Step(line)) => tracing::debug!("{line}"),
                    message => return Ok(message),
                }
            },
        }
    }

    /// The pid that the middle process tells. Init lives before it is told, and what init says may come first: that is
    /// kept for [`HostEnd::receive`]. `None` when the middle process, whose pidfd is given, is gone without a word.
    ///
    /// # Errors
    /// The text of a failure; else as [`HostEnd::receive`].
    pub fn receive_pid(&self, middle: BorrowedFd<'_>) -> Result<Option<i32>, PidReport> {
        loop {
            // Init holds the channel open too, so that the end of the middle process must be seen for itself.
            if !self.speaks_before_the_end(middle).map_err(PidReport::Unheard)? {
                return Ok(None);
            }
            match self.receive_new().map_err(PidReport::Unheard)? {
                Some(ToHost::InitPid(pid)) => return Ok(Some(pid)),
                Some(ToHost::Failed(text)) => return Err(PidReport::Failed(text)),
                Some(ToHost::NoRoom) => return Err(PidReport::NoRoom),
                Some(message) => self.early.borrow_mut().push_back(message),
                None => return Ok(None),
            }
        }
    }

    /// Whether the process of this pidfd says that it is born. While the caller holds the other end of the channel too,
    /// only the pidfd tells of its death.
    ///
    /// # Errors
    /// As [`HostEnd::receive`].
    pub fn hears_start(&self, process: BorrowedFd<'_>) -> Result<bool, Errno> {
        if !self.speaks_before_the_end(process)? {
            return Ok(false);
        }
        match self.receive_new()? {
            Some(ToHost::Started) => Ok(true),
            _ => Err(Errno::PROTO),
        }
    }

    /// Waits for a message, or for the end of a process; true for a message.
    fn speaks_before_the_end(&self, process: BorrowedFd<'_>) -> Result<bool, Errno> {
        loop {
            let mut watched = [
                PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(process, PollFlags::IN),
            ];
            match rustix::event::poll(&mut watched, None) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => return Ok(!watched[0].revents().is_empty()),
            }
        }
    }

    fn receive_new(&self) -> Result<Option<ToHost>, Errno> {
        // Not an array: a packet is a byte nearly always, and the stack below init is copied page by page.
        let mut packet = Vec::with_capacity(MAX);
        loop {
            match rustix::net::recv(&self.socket, spare_capacity(&mut packet), RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                // A peer that died with our message unread resets the connection.
                Err(Errno::CONNRESET) => return Ok(None),
                other => {
                    other?;
                    break;
                }
            }
        }
        ToHost::parse(&packet)
    }
}

impl AsFd for InitEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl InitEnd {
    /// Sends a message after which the host side acts.
    ///
    /// # Errors
    /// As write(2): the host side is gone, or a seccomp profile refuses the call; `EIO` when it answers in the kernel's place.
    /// The host side then learns of the failure by the end of this process, which must not wait for an answer.
    pub fn tell(&self, message: &ToHost) -> Result<(), Errno> {
        let packet = message.packet();
        // SIGPIPE is ignored in this process until the last moment before execve.
        match rustix::io::write(&self.0, &packet) {
            Ok(written) if written == packet.len() => Ok(()),
            Ok(_) => Err(Errno::IO),
            Err(error) => Err(error),
        }
    }

    /// Whether read(2) works, without reading anything: a seccomp profile that refuses it keeps the process from ever
    /// hearing `go`.
    ///
    /// # Errors
    /// As read(2); `EIO` when a profile answers in the kernel's place.
    pub fn try_read(&self) -> Result<(), Errno> {
        rustix::io::read(&self.0, &mut [0u8; 0])?;
        match nucleus_sys::seccomp::reaches_kernel(Call::Read) {
            true => Ok(()),
            false => Err(Errno::IO),
        }
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
            ToHost::Started,
            ToHost::InitPid(4711),
            ToHost::Listener(42),
            ToHost::TimeNamespaceMade,
            ToHost::HooksDue,
            ToHost::Ready,
            ToHost::Failed("mounts[3]: no".to_string()),
        ] {
            init.tell(&message).unwrap();
            assert_eq!(host.receive().unwrap(), Some(message));
        }
    }

    #[test]
    fn a_text_longer_than_a_packet_is_cut_not_lost() {
        let (host, init) = pair().unwrap();
        init.tell(&ToHost::Failed("x".repeat(70_000))).unwrap();
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
    fn the_pid_may_come_after_what_init_says() {
        let (host, init) = pair().unwrap();
        let living = rustix::process::pidfd_open(rustix::process::getpid(), rustix::process::PidfdFlags::empty());
        let living = living.unwrap();
        init.tell(&ToHost::HooksDue).unwrap();
        init.tell(&ToHost::InitPid(7)).unwrap();
        init.tell(&ToHost::Ready).unwrap();
        assert_eq!(host.receive_pid(living.as_fd()), Ok(Some(7)));
        assert_eq!(host.receive().unwrap(), Some(ToHost::HooksDue));
        assert_eq!(host.receive().unwrap(), Some(ToHost::Ready));
        init.tell(&ToHost::Failed("no".to_string())).unwrap();
        assert_eq!(
            host.receive_pid(living.as_fd()),
            Err(PidReport::Failed("no".to_string()))
        );
        drop(init);
        assert_eq!(host.receive_pid(living.as_fd()), Ok(None));
    }

    #[test]
    fn a_middle_process_that_is_gone_is_noticed_while_init_lives() {
        let (host, _init) = pair().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let gone = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        child.wait().unwrap();
        assert_eq!(host.receive_pid(gone.as_fd()), Ok(None));
    }

    #[test]
    fn a_birth_is_heard_and_a_death_seen_while_both_ends_are_open() {
        let (host, init) = pair().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        init.tell(&ToHost::Started).unwrap();
        assert_eq!(host.hears_start(pidfd.as_fd()), Ok(true));
        child.wait().unwrap();
        assert_eq!(host.hears_start(pidfd.as_fd()), Ok(false));
        init.tell(&ToHost::Ready).unwrap();
        assert_eq!(host.hears_start(pidfd.as_fd()), Err(Errno::PROTO));
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
