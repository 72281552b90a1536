//! Making, becoming and sealing processes: `clone3(2)`, `execveat(2)`, `close_range(2)`, `keyctl(2)`.

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::check;

/// Join the cgroup of [`Clone::cgroup`] at birth (`clone3(2)`, Linux 5.7).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

unsafe extern "C" {
    /// glibc's own record of whether a second thread was ever started (glibc 2.32).
    static __libc_single_threaded: c_char;
}

/// What `clone3` makes.
#[derive(Debug, Default)]
pub struct Clone<'a> {
    /// `CLONE_NEW*` flags, `CLONE_PARENT`.
    pub flags: u64,
    /// A directory of the cgroup v2 hierarchy that the child is born into.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// The two sides of a [`clone3`].
#[derive(Debug)]
pub enum Forked {
    /// This is the new process.
    Child,
    /// This is the caller: the child's pid in the caller's PID namespace and a pidfd of it.
    Parent(Pid, OwnedFd),
}

/// Forks a copy of the calling process with `clone3(2)`, into new namespaces and a cgroup at once.
///
/// # Errors
/// `EBUSY` when the process has ever had a second thread: its locks could be held for ever in the copy.
/// Otherwise as `clone3(2)`.
pub fn clone3(what: &Clone<'_>) -> Result<Forked, Errno> {
    // SAFETY: a plain byte that only glibc writes, and only before the first thread is started.
    if unsafe { __libc_single_threaded } == 0 {
        return Err(Errno::BUSY);
    }
    let mut pidfd: c_int = -1;
    // SAFETY: `clone_args` is a structure of integers for which all-zero is the documented "nothing".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = what.flags | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    // With CLONE_PARENT the kernel takes the exit signal from the caller and refuses one here.
    if what.flags & libc::CLONE_PARENT as u64 == 0 {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if let Some(cgroup) = what.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of all memory and goes on from here as after fork(2); the
    // process is single-threaded (checked above), so that no lock of another thread is lost. `pidfd` outlives it.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match check(result)? {
        0 => Ok(Forked::Child),
        pid => {
            let pid = Pid::from_raw(pid as i32).ok_or(Errno::SRCH)?;
            // SAFETY: with CLONE_PIDFD the kernel stored a fresh close-on-exec descriptor that is now ours.
            Ok(Forked::Parent(pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
    }
}

/// Replaces the program by the file behind `fd` (`execveat(2)` with `AT_EMPTY_PATH`). Returns only on failure.
///
/// # Errors
/// As `execve(2)`; `ENOENT` for a script behind a close-on-exec descriptor.
pub fn execveat(fd: impl AsFd, args: &[CString], env: &[CString]) -> Result<Infallible, Errno> {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: both arrays end in NULL and point into strings that outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(check(result).err().unwrap_or(Errno::IO))
}

/// Marks every descriptor from `first` on close-on-exec (`close_range(2)`, Linux 5.11).
///
/// # Errors
/// As `close_range(2)`.
pub fn cloexec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: takes integers only; marking descriptors close-on-exec invalidates none of them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    check(result).map(drop)
}

/// Joins a new session keyring of this name (`KEYCTL_JOIN_SESSION_KEYRING`, keyctl(2)).
///
/// # Errors
/// As `keyctl(2)`: `ENOSYS` without keyrings in the kernel, `EDQUOT` when the user's quota is used up.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: `name` is NUL-terminated and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    check(result).map(drop)
}
