//! `--exec-wait-fifo`, in the process that waits: the last step before execve.
//!
//! `process` calls this. The rule: a system call filter must allow only read(2), write(2) and poll(2), and no path is used.
//! `lifecycle::exec::hold` opens both descriptors.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{ReadFlags, Reader};
use rustix::io::Errno;

use super::failure::{Explain, Failure};

/// A FIFO that is open for writing, and a watch on it.
#[derive(Debug)]
pub struct Hold {
    /// poll(2) reports `POLLERR` as long as no process has it open for reading.
    pub fifo: OwnedFd,
    /// An inotify(7) instance that tells of each open(2), and of each close(2) of a reader.
    pub watch: OwnedFd,
}

impl Hold {
    /// The descriptors that must stay open until the wait ends.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        [self.fifo.as_fd(), self.watch.as_fd()]
    }

    /// Waits until a process has opened the FIFO for reading, then writes one byte to it.
    ///
    /// # Errors
    /// As poll(2), read(2) and write(2), which a seccomp profile can refuse.
    pub fn wait(&self) -> Result<(), Failure> {
        let what = || "--exec-wait-fifo: cannot wait on the FIFO";
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(&self.watch, &mut buffer);
        while !self.has_reader().explain(what)? {
            match events.next() {
                // A reader that has closed the FIFO again has opened it before.
                Ok(event) if event.events().contains(ReadFlags::CLOSE_NOWRITE) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).explain(what),
            }
        }
        nucleus_sys::process::ignore_broken_pipes(true);
        let told = rustix::io::write(&self.fifo, b"0");
        nucleus_sys::process::ignore_broken_pipes(false);
        match told {
            // The reader has gone. It does not have to read the byte.
            Ok(_) | Err(Errno::PIPE | Errno::AGAIN) => Ok(()),
            Err(error) => Err(error).explain(what),
        }
    }

    fn has_reader(&self) -> Result<bool, Errno> {
        let mut fds = [PollFd::new(&self.fifo, PollFlags::OUT)];
        match rustix::event::poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) => Ok(!fds[0].revents().contains(PollFlags::ERR)),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
