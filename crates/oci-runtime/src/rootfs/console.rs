//! The container's terminal: a pty of its own devpts, handed to whoever asked for it.
//!
//! The pair is opened by descriptor (TIOCGPTPEER), proven to come from devpts, and mounted on /dev/console by
//! descriptor, so that no path of the image decides what the console is (CVE-2025-52565).

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::root::{Root, attach, clone_mount, mount_point};
use crate::init::failure::{Explain, Failure};

/// `DEVPTS_SUPER_MAGIC` of statfs(2).
const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Opens a pty inside the container, mounts its terminal end on /dev/console, sends its master end over `socket`,
/// and returns the terminal end.
///
/// # Errors
/// Named by `process.terminal`.
pub fn set_up(root: &Root, socket: &OwnedFd, size: Option<(u16, u16)>, uid: u32) -> Result<OwnedFd, Failure> {
    let (multiplexer, terminal) = open(root, size, uid)?;
    mount_console(root, &terminal)?;
    hand_over(socket, &multiplexer)?;
    Ok(terminal)
}

/// As [`set_up`], for a further process: /dev/console is init's and stays so.
///
/// # Errors
/// Named by `process.terminal`.
pub fn set_up_for_exec(socket: &OwnedFd, size: Option<(u16, u16)>, uid: u32) -> Result<OwnedFd, Failure> {
    let root = Root::open(Path::new("/")).explain(|| "cannot open the container's root")?;
    let (multiplexer, terminal) = open(&root, size, uid)?;
    hand_over(socket, &multiplexer)?;
    Ok(terminal)
}

/// Both ends of a new pty: the master, then the terminal.
fn open(root: &Root, size: Option<(u16, u16)>, uid: u32) -> Result<(OwnedFd, OwnedFd), Failure> {
    let what = || "process.terminal: cannot open a pty in the container's /dev/pts";
    // The filesystem is proven before anything in it is opened: opening a device node of the image acts on the device.
    let devpts = root
        .resolve(Path::new("/dev/pts"), OFlags::PATH | OFlags::DIRECTORY)
        .explain(what)?;
    if rustix::fs::fstatfs(&devpts).explain(what)?.f_type as u64 != DEVPTS_MAGIC {
        return Err(Failure::new(
            "process.terminal: /dev/pts of the container is not a devpts filesystem",
        ));
    }
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let multiplexer = rustix::fs::openat2(&devpts, "ptmx", flags, Mode::empty(), resolve).explain(what)?;
    rustix::pty::unlockpt(&multiplexer).explain(what)?;
    let terminal = rustix::pty::ioctl_tiocgptpeer(
        &multiplexer,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .explain(what)?;
    if let Some((rows, columns)) = size {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&multiplexer, size).explain(|| "process.consoleSize")?;
    }
    if uid != 0 {
        let uid = rustix::fs::Uid::from_raw(uid);
        rustix::fs::fchown(&terminal, Some(uid), None)
            .explain(|| "process.terminal: cannot give the pty to the user")?;
    }
    Ok((multiplexer, terminal))
}

fn hand_over(socket: &OwnedFd, multiplexer: &OwnedFd) -> Result<(), Failure> {
    send(socket, b"/dev/ptmx", multiplexer.as_fd()).explain(|| "cannot send the terminal to the console socket")
}

fn mount_console(root: &Root, terminal: &OwnedFd) -> Result<(), Failure> {
    let mount = || {
        let target = root.in_dir(Path::new("/dev"), |dev| mount_point(dev, "console", 0o600))?;
        attach(clone_mount(terminal, false)?, target)
    };
    mount().explain(|| "process.terminal: cannot mount the pty on /dev/console")
}

/// One message with one descriptor, as conmon and containerd expect.
///
/// # Errors
/// As sendmsg(2).
pub fn send(socket: impl AsFd, name: &[u8], fd: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(socket, &[IoSlice::new(name)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Makes `terminal` the controlling terminal and standard input, output and error of this process.
///
/// # Errors
/// As setsid(2) and ioctl_tty(2).
pub fn become_terminal(terminal: &OwnedFd) -> Result<(), Failure> {
    rustix::process::ioctl_tiocsctty(terminal).explain(|| "process.terminal: cannot take the controlling terminal")?;
    let dup = || {
        rustix::stdio::dup2_stdin(terminal)?;
        rustix::stdio::dup2_stdout(terminal)?;
        rustix::stdio::dup2_stderr(terminal)
    };
    dup().explain(|| "process.terminal: cannot make it the standard streams")
}
