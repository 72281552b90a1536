//! A terminal in the foreground: what the user types goes to the container's pty, what it prints comes back.
//!
//! The caller's terminal is put into raw mode for as long as the relay lives and put back when it is dropped, on every
//! way out.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Termios};

use crate::init::failure::{Explain, Failure};

/// Bytes that are copied at once.
const BUFFER: usize = 4096;

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
fn pass_size_on(master: &OwnedFd) -> Result<(), Failure> {
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

/// Copies between our standard streams and the master end of the container's pty. No read or write blocks: the relay
/// must pass signals on and notice the container's end even if its output is not read.
#[derive(Debug)]
pub struct Relay<'a> {
    master: &'a OwnedFd,
    /// A terminal end of our own. While it is open, the master end does not read as EIO when the container's last terminal end
    /// is closed: a process of the container can open /dev/console again.
    _terminal: Option<OwnedFd>,
    /// The mode to go back to; `None` when our standard input is no terminal.
    before: Option<Termios>,
    input: Flow,
    output: Flow,
    /// Our standard output for writing without blocking.
    stdout: OwnedFd,
}

impl<'a> Relay<'a> {
    /// Puts our terminal into raw mode.
    ///
    /// # Errors
    /// As termios(3).
    pub fn start(master: &'a OwnedFd) -> Result<Self, Failure> {
        let stdin = rustix::stdio::stdin();
        let before = rustix::termios::tcgetattr(stdin).ok();
        if let Some(mode) = &before {
            let mut raw = mode.clone();
            raw.make_raw();
            // The container's terminal adds no carriage returns, so ours goes on to do it.
            raw.output_modes = mode.output_modes;
            rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw)
                .explain(|| "cannot put the terminal into raw mode")?;
        }
        // No other process has the master end, so that the flag changes nothing for others.
        rustix::io::ioctl_fionbio(master, true).explain(|| "cannot change the terminal's master end")?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        Ok(Self {
            master,
            _terminal: rustix::pty::ioctl_tiocgptpeer(master, flags).ok(),
            before,
            input: Flow::default(),
            output: Flow::default(),
            stdout: without_blocking(rustix::stdio::stdout())?,
        })
    }

    /// Gives the container's terminal the size of ours.
    ///
    /// # Errors
    /// As ioctl_tty(2).
    pub fn resize(&self) -> Result<(), Failure> {
        pass_size_on(self.master)
    }

    /// Adds what is to be polled, in a fixed order: master end, standard input, standard output.
    pub fn watch<'f>(&'f self, watched: &mut Vec<PollFd<'f>>) {
        let mut master = PollFlags::empty();
        master.set(PollFlags::IN, self.output.wants_input());
        master.set(PollFlags::OUT, self.input.has_output());
        let wanted = |flag, is_wanted| if is_wanted { flag } else { PollFlags::empty() };
        let stdin = wanted(PollFlags::IN, self.input.wants_input());
        let stdout = wanted(PollFlags::OUT, self.output.has_output());
        watched.push(PollFd::from_borrowed_fd(self.master.as_fd(), master));
        // Without a flag poll(2) still reports a closed pipe, again and again: a descriptor that is not wanted is not polled.
        for (fd, flags) in [(rustix::stdio::stdin(), stdin), (self.stdout.as_fd(), stdout)] {
            if !flags.is_empty() {
                watched.push(PollFd::from_borrowed_fd(fd, flags));
            }
        }
    }

    /// Copies what can be copied without blocking.
    ///
    /// # Errors
    /// As read(2) and write(2).
    pub fn pump(&mut self) -> Result<(), Failure> {
        self.output.copy(self.master.as_fd(), self.stdout.as_fd())?;
        if self.input.wants_input() && !is_readable(rustix::stdio::stdin())? {
            return self.input.write(self.master.as_fd());
        }
        self.input.copy(rustix::stdio::stdin(), self.master.as_fd())
    }

    /// The program has ended: copies what it printed last, for as long as our standard output takes it. A signal ends that.
    ///
    /// # Errors
    /// As read(2) and write(2).
    pub fn finish(mut self, signals: &SignalFd) -> Result<(), Failure> {
        loop {
            self.output.copy(self.master.as_fd(), self.stdout.as_fd())?;
            if !self.output.has_output() {
                if self.output.is_open() && is_readable(self.master.as_fd())? {
                    continue;
                }
                return Ok(());
            }
            let mut watched = [
                PollFd::from_borrowed_fd(self.stdout.as_fd(), PollFlags::OUT),
                PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut watched, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).explain(|| "poll"),
            }
            if !watched[1].revents().is_empty() && ends_us(signals)? {
                return Ok(());
            }
        }
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        if let Some(mode) = &self.before {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, mode);
        }
    }
}

/// Whether a signal has come that a person or a manager sends to end us. Others say nothing about the output.
fn ends_us(signals: &SignalFd) -> Result<bool, Failure> {
    let ending = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].map(|signal| signal as u32);
    while let Some(info) = signals.read_signal().explain(|| "signalfd")? {
        if ending.contains(&info.ssi_signo) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One direction: what was read and is not written yet.
#[derive(Debug, Default)]
struct Flow {
    buffer: Vec<u8>,
    /// How much of the buffer is written.
    written: usize,
    /// Nothing more can be read, or the other side has closed.
    ended: bool,
}

impl Flow {
    fn is_open(&self) -> bool {
        !self.ended
    }

    fn wants_input(&self) -> bool {
        !self.ended && !self.has_output()
    }

    fn has_output(&self) -> bool {
        self.written < self.buffer.len()
    }

    /// Reads once if the buffer is empty, and writes what can be written.
    fn copy(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Failure> {
        if self.wants_input() {
            self.buffer.resize(BUFFER, 0);
            let length = match rustix::io::read(from, self.buffer.as_mut_slice()) {
                // A pty without any terminal end reads as EIO.
                Ok(0) | Err(Errno::IO) => {
                    self.ended = true;
                    0
                }
                Err(Errno::INTR | Errno::AGAIN) => 0,
                other => other.explain(|| "cannot read from the terminal")?,
            };
            self.buffer.truncate(length);
            self.written = 0;
        }
        self.write(to)
    }

    fn write(&mut self, to: BorrowedFd<'_>) -> Result<(), Failure> {
        while self.has_output() {
            match rustix::io::write(to, &self.buffer[self.written..]) {
                Ok(written) => self.written += written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::IO | Errno::PIPE) => {
                    self.ended = true;
                    self.buffer.clear();
                }
                Err(error) => return Err(error).explain(|| "cannot write to the terminal"),
            }
        }
        Ok(())
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> Result<bool, Failure> {
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut watched = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    match rustix::event::poll(&mut watched, Some(&now)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error).explain(|| "poll"),
    }
}

/// The same file or pipe by an open file description of our own: O_NONBLOCK on the caller's would reach every process that
/// shares it. What cannot be opened again (a socket, a terminal of another user) is written to as it is.
fn without_blocking(fd: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::APPEND | OFlags::CLOEXEC;
    let is_stream = rustix::fs::fstat(fd).is_ok_and(|stat| {
        let kind = FileType::from_raw_mode(stat.st_mode);
        kind == FileType::Fifo || kind == FileType::CharacterDevice
    });
    match is_stream.then(|| rustix::fs::open(path, flags, Mode::empty())) {
        Some(Ok(own)) => Ok(own),
        _ => fd.try_clone_to_owned().explain(|| "cannot duplicate standard output"),
    }
}
