//! The container's terminal: where its master end is sent, and the size that it has from the caller's own.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::{OptionalActions, OutputModes};

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
                let socket = super::socket::connect(path).explain(|| format!("--console-socket {}", path.display()))?;
                Ok(Self {
                    socket: Some(socket),
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

    /// The master end that was sent, if we asked for it. It has the size of our own terminal from now on, before any
    /// program can ask.
    ///
    /// # Errors
    /// As recvmsg(2) and ioctl_tty(2).
    pub fn master(&self) -> Result<Option<OwnedFd>, Failure> {
        let Some(receiver) = &self.receiver else {
            return Ok(None);
        };
        let master = receive(receiver).explain(|| "cannot receive the terminal")?;
        keep_newlines(&master).explain(|| "cannot change the mode of the terminal")?;
        pass_size_on(&master)?;
        Ok(Some(master))
    }
}

/// Output as the program writes it: no carriage return before a newline, as with runc. The caller's terminal adds its own.
fn keep_newlines(master: &OwnedFd) -> Result<(), Errno> {
    let mut mode = rustix::termios::tcgetattr(master)?;
    mode.output_modes.remove(OutputModes::ONLCR);
    rustix::termios::tcsetattr(master, OptionalActions::Now, &mode)
}

/// Gives the container's terminal the size of ours, if we have one.
pub(super) fn pass_size_on(master: &OwnedFd) -> Result<(), Failure> {
    let size = match rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        Err(Errno::NOTTY | Errno::INVAL | Errno::BADF) => return Ok(()),
        other => other.explain(|| "cannot read the terminal's size")?,
    };
    rustix::termios::tcsetwinsize(master, size).explain(|| "cannot set the container's terminal size")
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
