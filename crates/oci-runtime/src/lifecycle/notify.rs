//! NOTIFY_SOCKET: a service manager's socket (sd_notify(3)), for the container as well.
//!
//! Whoever starts a container as a service of its own (systemd's `Type=notify`) wants to hear when the program is ready.
//! The manager's socket itself is never shown to the container, which could say anything there: it gets a socket of ours
//! at /run/notify, and of what it says only the line `READY=` goes on, with the pid that the manager is to watch. As runc
//! does it. Without the variable nothing of this is done.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use nucleus_core::{ContainerDir, NOTIFY_DIR, NOTIFY_SOCKET, Process};
use nucleus_sys::mount::{Attributes, attr, set_attributes};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;

use super::Result;
use crate::init::failure::{Explain, Failure};
use crate::plan::{Links, Mount, MountKind, Plan};
use crate::rootfs::console;

/// Where the container finds it.
const INSIDE: &str = "/run/notify";
/// How long a manager may take to have read all (runc's figure). One that knows no barrier never answers.
const BARRIER: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

/// The way from a container to the service manager.
#[derive(Debug)]
pub struct Notify {
    /// Where the container writes to.
    inside: UnixDatagram,
    /// The manager.
    manager: UnixDatagram,
}

/// Adds the socket to a container that is being made, unless its config has something of its own there: an engine that
/// listens itself.
///
/// Returns whether it was added: as the last mount of the plan.
pub fn offer(plan: &mut Plan) -> bool {
    let set = |entry: &CString| entry.as_bytes().starts_with(b"NOTIFY_SOCKET=");
    let told = plan.process.iter().flat_map(|process| &process.env).any(set);
    if told || plan.mounts.iter().any(|mount| mount.destination == Path::new(INSIDE)) {
        return false;
    }
    plan.mounts.push(Mount {
        destination: PathBuf::from(INSIDE),
        kind: MountKind::Bind {
            source: PathBuf::from(NOTIFY_DIR),
            recursive: false,
            links: Links::default(),
        },
        flags: 0,
        attributes: Attributes {
            set: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
            ..Attributes::default()
        },
        recursive: Attributes::default(),
        data: CString::default(),
        more_propagation: Vec::new(),
        copy_up: false,
        unasked: 0,
        id_map: None,
    });
    let told = CString::new(format!("NOTIFY_SOCKET={INSIDE}/{NOTIFY_SOCKET}")).ok();
    if let Some(process) = &mut plan.process {
        process.env.extend(told);
    }
    true
}

/// Makes the container's directory for it. Its tree is cloned here, because init may have no way to it: the state
/// directory is root's alone.
///
/// # Errors
/// When the directory cannot be made or cloned.
pub fn prepare(dir: &ContainerDir) -> Result<OwnedFd> {
    dir.make_notify_dir()?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let what = || "NOTIFY_SOCKET: cannot bind the directory of the socket";
    let tree = rustix::mount::open_tree(dir.dirfd(), NOTIFY_DIR, flags).explain(what)?;
    // The host's mount must not hear of what is mounted below it inside.
    let private = Attributes {
        propagation: nix::libc::MS_PRIVATE,
        ..Attributes::default()
    };
    set_attributes(&tree, private, false).explain(what)?;
    Ok(tree)
}

impl Notify {
    /// Listens for the container, which has not been started yet. None if it was created without: then there is nothing
    /// that it could write to.
    ///
    /// # Errors
    /// When the manager cannot be reached at `socket`, or the container's socket not be made.
    pub fn listen(socket: &OsStr, dir: &ContainerDir) -> Result<Option<Self>> {
        let name = || format!("NOTIFY_SOCKET {}", socket.display());
        let manager =
            connect(socket).map_err(|error| Failure::new(format!("{}: {}", name(), nucleus_core::reason(&error))))?;
        let inside = dir.bind_notify_socket()?;
        Ok(inside.map(|inside| Self { inside, manager }))
    }

    /// Waits until the container is ready or has ended, and tells the manager to watch `init`.
    ///
    /// # Errors
    /// When the manager cannot be told.
    pub fn wait(self, init: &Process) -> Result<()> {
        loop {
            let mut watched = [
                PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(init.pidfd(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut watched, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).explain(|| "poll").map_err(Into::into),
            }
            let said = watched.each_ref().map(|fd| !fd.revents().is_empty());
            if said[0] && self.forward(init.pid())? {
                return self.barrier();
            }
            if !said[0] && said[1] {
                return Ok(());
            }
        }
    }

    /// Reads what the container has said. True if it was that it is ready: then the manager knows, too, and that `main`
    /// is the process to watch.
    ///
    /// # Errors
    /// When the manager cannot be told.
    pub fn forward(&self, main: Pid) -> Result<bool> {
        let mut said = [0u8; 4096];
        // Descriptors that come along are closed by the kernel, as nobody asks for them.
        let length = match self.inside.recv(&mut said) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(error) => {
                return Err(error)
                    .explain(|| "NOTIFY_SOCKET: cannot hear the container")
                    .map_err(Into::into);
            }
        };
        let Some(mut text) = readiness(&said[..length]) else {
            return Ok(false);
        };
        text.extend(format!("\nMAINPID={}\n", main.as_raw_nonzero()).into_bytes());
        self.manager
            .send(&text)
            .explain(|| "NOTIFY_SOCKET: cannot tell the service manager")?;
        Ok(true)
    }

    /// Waits until the manager has read all that was sent (sd_notify_barrier(3)): it asks the kernel who the sender
    /// was, and must do so before we are gone.
    fn barrier(&self) -> Result<()> {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).explain(|| "pipe")?;
        console::send(&self.manager, b"BARRIER=1", theirs.as_fd())
            .explain(|| "NOTIFY_SOCKET: cannot tell the service manager")?;
        drop(theirs);
        let mut watched = [PollFd::from_borrowed_fd(ours.as_fd(), PollFlags::empty())];
        while let Err(Errno::INTR) = rustix::event::poll(&mut watched, Some(&BARRIER)) {}
        Ok(())
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inside.as_fd()
    }
}

/// The line that says "ready", if there is one.
fn readiness(said: &[u8]) -> Option<Vec<u8>> {
    let mut lines = said.split(|byte| *byte == b'\n');
    lines.find(|line| line.starts_with(b"READY=")).map(<[u8]>::to_vec)
}

/// `/path` or, in the abstract namespace, `@name`.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match address.as_bytes() {
        [b'@', name @ ..] => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        [b'/', ..] => socket.connect(address)?,
        _ => return Err(io::Error::other("neither an absolute path nor @name")),
    }
    Ok(socket)
}

/// The manager's address, if we were started by one.
pub fn manager() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_readiness_goes_on() {
        let heard = |said: &str| readiness(said.as_bytes()).map(|line| String::from_utf8(line).expect("text"));
        assert_eq!(heard("READY=1").as_deref(), Some("READY=1"));
        assert_eq!(heard("STATUS=up\nREADY=1\nMAINPID=1").as_deref(), Some("READY=1"));
        for said in ["", "STATUS=READY=1", "MAINPID=1", "FDSTORE=1\nERRNO=2", "ready=1"] {
            assert_eq!(heard(said), None, "{said}");
        }
    }
}
