//! A terminal in the foreground: what the user types goes to the container's pty, what it prints comes back.
//!
//! The caller's terminal is put into raw mode for as long as the relay lives and put back when it is dropped, on every
//! way out.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::{OptionalActions, Termios};

use crate::init::failure::{Explain, Failure};

/// Who gets the terminal.
#[derive(Debug, Default)]
pub struct Terminal {
    /// Init's end: it sends the master end here.
    pub socket: Option<OwnedFd>,
    /// Our end, for a terminal in the foreground.
    receiver: Option<OwnedFd>,
}

impl Terminal {
    /// Connects to the console socket, or makes a pair of our own for a terminal in the foreground.
    ///
    /// # Errors
    /// As connect(2) and socketpair(2).
    pub fn ask(wanted: bool, console_socket: Option<&Path>) -> Result<Self, Failure> {
        if !wanted {
            return Ok(Self::default());
        }
        match console_socket {
            Some(path) => {
                let stream = UnixStream::connect(path).explain(|| format!("--console-socket {}", path.display()))?;
                Ok(Self {
                    socket: Some(stream.into()),
                    receiver: None,
                })
            }
            None => {
                let (ours, theirs) = UnixStream::pair().explain(|| "cannot make a socket pair for the terminal")?;
                Ok(Self {
                    socket: Some(theirs.into()),
                    receiver: Some(ours.into()),
                })
            }
        }
    }

    /// The master end that was sent, if we asked for it.
    ///
    /// # Errors
    /// As recvmsg(2).
    pub fn master(&self) -> Result<Option<OwnedFd>, Failure> {
        let receiver = self.receiver.as_ref();
        receiver
            .map(receive)
            .transpose()
            .explain(|| "cannot receive the terminal")
    }
}

/// Receives the master end that init sends.
///
/// # Errors
/// `EPROTO` when the message holds no descriptor.
fn receive(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0u8; 64];
    rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut name)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.last().ok_or(Errno::PROTO)
}

/// Copies between our standard streams and the master end of the container's pty.
#[derive(Debug)]
pub struct Relay<'a> {
    master: &'a OwnedFd,
    /// The mode to go back to; `None` when our standard input is no terminal.
    before: Option<Termios>,
    input_open: bool,
    output_open: bool,
}

impl<'a> Relay<'a> {
    /// Puts our terminal into raw mode and gives the container its size.
    ///
    /// # Errors
    /// As termios(3).
    pub fn start(master: &'a OwnedFd) -> Result<Self, Failure> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok();
        if let Some(mode) = &before {
            let mut raw = mode.clone();
            raw.make_raw();
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)
                .explain(|| "cannot put the terminal into raw mode")?;
        }
        let relay = Self {
            master,
            before,
            input_open: true,
            output_open: true,
        };
        relay.resize()?;
        Ok(relay)
    }

    /// Gives the container's terminal the size of ours.
    ///
    /// # Errors
    /// As ioctl_tty(2).
    pub fn resize(&self) -> Result<(), Failure> {
        if self.before.is_none() {
            return Ok(());
        }
        let size =
            rustix::termios::tcgetwinsize(rustix::stdio::stdin()).explain(|| "cannot read the terminal's size")?;
        rustix::termios::tcsetwinsize(self.master, size).explain(|| "cannot set the container's terminal size")
    }

    /// Adds what is to be polled: the master end, then our input.
    pub fn watch<'f>(&'f self, watched: &mut Vec<PollFd<'f>>) {
        if self.output_open {
            watched.push(PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN));
        }
        if self.input_open {
            watched.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
        }
    }

    /// Copies what is ready; `ready` is in the order of [`Relay::watch`].
    ///
    /// # Errors
    /// As read(2) and write(2).
    pub fn pump(&mut self, ready: &[bool]) -> Result<(), Failure> {
        let mut ready = ready.iter().copied();
        if self.output_open && ready.next().unwrap_or(false) {
            self.output_open = copy(self.master.as_fd(), rustix::stdio::stdout())?;
        }
        if self.input_open && ready.next().unwrap_or(false) {
            self.input_open = copy(rustix::stdio::stdin(), self.master.as_fd())?;
        }
        Ok(())
    }

    /// The program has ended: copies what it printed last.
    ///
    /// # Errors
    /// As read(2) and write(2).
    pub fn finish(mut self) -> Result<(), Failure> {
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        while self.output_open {
            let mut watched = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
            match rustix::event::poll(&mut watched, Some(&now)) {
                Ok(0) => break,
                Ok(_) => self.output_open = copy(self.master.as_fd(), rustix::stdio::stdout())?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).explain(|| "poll"),
            }
        }
        Ok(())
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        if let Some(mode) = &self.before {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, mode);
        }
    }
}

/// Copies one buffer; false at the end of `from`. A pty whose last terminal end is closed reads as EIO.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<bool, Failure> {
    let mut buffer = [0u8; 4096];
    let length = match rustix::io::read(from, &mut buffer) {
        Ok(0) | Err(Errno::IO) => return Ok(false),
        Err(Errno::INTR | Errno::AGAIN) => return Ok(true),
        other => other.explain(|| "cannot read from the terminal")?,
    };
    let mut rest = &buffer[..length];
    while !rest.is_empty() {
        match rustix::io::write(to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(Errno::IO | Errno::PIPE) => return Ok(false),
            Err(error) => return Err(error).explain(|| "cannot write to the terminal"),
        }
    }
    Ok(true)
}
