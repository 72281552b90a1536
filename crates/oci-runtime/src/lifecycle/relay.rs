//! A terminal in the foreground: what the user types goes to the container's pty, what it prints comes back.
//!
//! The caller's terminal is put into raw mode for as long as the relay lives and put back when it is dropped, on every
//! way out.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, Termios};

use super::Warn;
use super::terminal::pass_size_on;
use crate::init::failure::{Explain, Failure};

/// Bytes that are copied at once.
const BUFFER: usize = 4096;

/// More bytes than the kernel keeps of a pty's output (drivers/tty/pty.c: 8192, and N_TTY's 4096).
const KEPT_BY_KERNEL: usize = 64 * 1024;

/// Copies between our standard streams and the master end of the container's pty. No read or write blocks: the relay
/// must pass signals on and notice the container's end even if its output is not read.
pub struct Relay<'a> {
    warn: Warn<'a>,
    master: &'a OwnedFd,
    /// A terminal end of our own. While it is open, the master end does not read as EIO when the container's last terminal end
    /// is closed: a process of the container can open /dev/console again.
    _terminal: Option<OwnedFd>,
    /// The mode to go back to; `None` when our standard input is no terminal.
    before: Option<Termios>,
    input: Flow,
    output: Flow,
    stdout: Sink,
}

impl<'a> Relay<'a> {
    /// Puts our terminal into raw mode.
    ///
    /// # Errors
    /// As termios(3).
    pub fn start(master: &'a OwnedFd, warn: Warn<'a>) -> Result<Self, Failure> {
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
            warn,
            master,
            _terminal: rustix::pty::ioctl_tiocgptpeer(master, flags).ok(),
            before,
            input: Flow::default(),
            output: Flow::default(),
            stdout: Sink::of_stdout(),
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
        for (fd, flags) in [(rustix::stdio::stdin(), stdin), (self.stdout.fd(), stdout)] {
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
        self.write_output()?;
        if self.input.wants_input() && is_ready(rustix::stdio::stdin(), PollFlags::IN)? {
            self.input.read(rustix::stdio::stdin())?;
        }
        let written = self.input.write(|bytes| rustix::io::write(self.master, bytes));
        match written {
            // Nobody reads what is typed any more.
            Err(Errno::IO) => self.input.end(),
            other => other.explain(|| "cannot write to the container's terminal")?,
        }
        Ok(())
    }

    /// Reads from the master end and writes to our standard output. A program does not stop because nobody can read it: when
    /// standard output fails, what the program prints is dropped from then on.
    fn write_output(&mut self) -> Result<(), Failure> {
        if self.output.wants_input() {
            self.output.read(self.master.as_fd())?;
        }
        let Err(error) = self.output.write(|bytes| self.stdout.write(bytes)) else {
            return Ok(());
        };
        if !matches!(self.stdout, Sink::Nowhere) {
            let reason = nucleus_core::ErrnoText(error);
            (self.warn)(&format!(
                "cannot write to standard output, the output of the terminal is lost: {reason}"
            ));
            self.stdout = Sink::Nowhere;
        }
        self.output.drop_output();
        Ok(())
    }

    /// The program has ended: copies what it printed last, for as long as our standard output takes it. A signal ends that, and so
    /// does the bound on what the kernel can have kept: other processes may go on writing to the terminal.
    ///
    /// # Errors
    /// As read(2) and write(2).
    pub fn finish(mut self, signals: &SignalFd) -> Result<(), Failure> {
        let mut rounds = 0..KEPT_BY_KERNEL / BUFFER;
        loop {
            self.write_output()?;
            if self.output.has_output() {
                self.stdout.wait(signals)?;
            } else if self.output.ended || rounds.next().is_none() || !is_ready(self.master.as_fd(), PollFlags::IN)? {
                return Ok(());
            }
            if ends_us(signals)? {
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
    /// Nothing more can be read, or is wanted.
    ended: bool,
}

impl Flow {
    fn wants_input(&self) -> bool {
        !self.ended && !self.has_output()
    }

    fn has_output(&self) -> bool {
        self.written < self.buffer.len()
    }

    fn drop_output(&mut self) {
        self.buffer.clear();
        self.written = 0;
    }

    fn end(&mut self) {
        self.drop_output();
        self.ended = true;
    }

    /// Reads once, into the buffer that is written.
    fn read(&mut self, from: BorrowedFd<'_>) -> Result<(), Failure> {
        self.buffer.resize(BUFFER, 0);
        self.written = 0;
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
        Ok(())
    }

    /// Writes what can be written without blocking.
    fn write(&mut self, mut sink: impl FnMut(&[u8]) -> Result<usize, Errno>) -> Result<(), Errno> {
        while self.has_output() {
            match sink(&self.buffer[self.written..]) {
                Ok(written) => self.written += written,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Our standard output, written to without blocking.
#[derive(Debug)]
enum Sink {
    /// By an open file description of our own: O_NONBLOCK on the caller's would reach every process that shares it.
    Own(OwnedFd),
    /// It cannot be opened again, but each message can say that it must not block.
    Socket,
    /// The terminal or the pipe of another user. It takes a little whenever poll(2) says so.
    Shared,
    /// A file never blocks for long.
    File,
    /// It has failed.
    Nowhere,
}

/// What a pipe or a terminal takes without blocking when poll(2) says that it can be written to (tty(4): `WAKEUP_CHARS`).
const A_LITTLE: usize = 256;

impl Sink {
    fn of_stdout() -> Self {
        let stdout = rustix::stdio::stdout();
        let Ok(stat) = rustix::fs::fstat(stdout) else {
            return Self::Nowhere;
        };
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::APPEND | OFlags::CLOEXEC;
        let path = format!("/proc/self/fd/{}", stdout.as_raw_fd());
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket => Self::Socket,
            FileType::Fifo | FileType::CharacterDevice => {
                rustix::fs::open(path, flags, Mode::empty()).map_or(Self::Shared, Self::Own)
            }
            _ => Self::File,
        }
    }

    /// What is to be polled.
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(file) => file.as_fd(),
            _ => rustix::stdio::stdout(),
        }
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Errno> {
        let stdout = rustix::stdio::stdout();
        match self {
            Self::Own(file) => rustix::io::write(file, bytes),
            Self::File => rustix::io::write(stdout, bytes),
            Self::Socket => rustix::net::send(stdout, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Self::Shared => match poll_now(stdout, PollFlags::OUT)? {
                true => rustix::io::write(stdout, &bytes[..bytes.len().min(A_LITTLE)]),
                false => Err(Errno::AGAIN),
            },
            Self::Nowhere => Ok(bytes.len()),
        }
    }

    /// Waits until it takes more, or a signal has come.
    fn wait(&self, signals: &SignalFd) -> Result<(), Failure> {
        let mut watched = [
            PollFd::from_borrowed_fd(self.fd(), PollFlags::OUT),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match rustix::event::poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error).explain(|| "poll"),
        }
    }
}

fn is_ready(fd: BorrowedFd<'_>, flags: PollFlags) -> Result<bool, Failure> {
    poll_now(fd, flags).explain(|| "poll")
}

fn poll_now(fd: BorrowedFd<'_>, flags: PollFlags) -> Result<bool, Errno> {
    let mut watched = [PollFd::from_borrowed_fd(fd, flags)];
    match rustix::event::poll(&mut watched, Some(&Timespec::default())) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error),
    }
}
