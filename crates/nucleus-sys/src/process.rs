//! Making, becoming and sealing processes: `clone3(2)`, `execveat(2)`, `close_range(2)`, `keyctl(2)`.

use std::convert::Infallible;
use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::{arena, check};

/// Join the cgroup of [`Clone::cgroup`] at birth (`clone3(2)`, Linux 5.7).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Bytes of a page on the machines that the binary is built for.
pub(crate) const PAGE: usize = 4096;

unsafe extern "C" {
    /// sys/single_threaded.h of glibc 2.32 and later: not 0 while no second thread was ever started.
    static __libc_single_threaded: c_char;
    /// The program's first byte, and the one after its code (ld(1) and lld define both).
    static __executable_start: u8;
    static etext: u8;
}

/// True while the process has never had a second thread.
pub(crate) fn is_alone() -> bool {
    // SAFETY: a plain byte that only glibc writes, and only before the first thread is started.
    unsafe { (&raw const __libc_single_threaded).read_volatile() != 0 }
}

/// Gives the pages of the program's own file back, code and constants; what is touched again comes from the page cache.
/// For a process that is going to wait for long: none of them counts as its own memory then (madvise(2), MADV_DONTNEED).
pub fn release_code() {
    let start = (&raw const __executable_start as usize).next_multiple_of(PAGE);
    let end = (&raw const etext as usize) / PAGE * PAGE;
    // SAFETY: between these addresses lies nothing but the unwritable, private mapping of the file, of which a page that is
    // gone is read again.
    unsafe {
        libc::madvise(
            start as *mut libc::c_void,
            end.saturating_sub(start),
            libc::MADV_DONTNEED,
        )
    };
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
    if !is_alone() {
        return Err(Errno::BUSY);
    }
    arena::share();
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

/// Joins the session keyring of this name, or a new one if there is none that its owner may search
/// (`KEYCTL_JOIN_SESSION_KEYRING`, keyctl(2)). Returns its serial number.
///
/// # Errors
/// As `keyctl(2)`: `ENOSYS` without keyrings in the kernel, `EDQUOT` when the user's quota is used up.
pub fn join_session_keyring(name: &CStr) -> Result<i32, Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;
    // SAFETY: `name` is NUL-terminated and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    // Serial numbers are 32 bits wide.
    check(result).map(|serial| serial as i32)
}

/// Lets other processes of the owner join the session keyring by its name: to the rights that the kernel gives a new one
/// (all to who possesses it; view, read and link to the owner) the owner's to search is added (`KEYCTL_SETPERM`).
///
/// # Errors
/// As `keyctl(2)`.
pub fn share_session_keyring(serial: i32) -> Result<(), Errno> {
    const KEYCTL_SETPERM: c_int = 5;
    const POSSESSOR_ALL: u32 = 0x3f00_0000;
    const OWNER_VIEW_READ_SEARCH_LINK: u32 = 0x001b_0000;
    let rights = POSSESSOR_ALL | OWNER_VIEW_READ_SEARCH_LINK;
    // SAFETY: takes integers only.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, serial, rights) };
    check(result).map(drop)
}

/// Gives every signal its default action, except those of `ending`: they end the process with exit code 128 + signal.
///
/// For a process that is about to execute another program: an ignored signal would stay ignored (execve(2)), while a handler
/// goes with the program. The handler is for the first process of a PID namespace, which the kernel keeps from signals
/// without one (pid_namespaces(7)).
pub fn reset_signals(ending: &[c_int]) {
    /// `_NSIG` of the kernel: signals are numbered from 1 to this.
    const LAST: c_int = 64;
    // `struct sigaction` as rt_sigaction(2) takes it, with SIG_DFL (0), no flags and an empty mask. The C library's own
    // function refuses the two signals that it uses itself.
    let default = [0u64; 4];
    for signal in (1..=LAST).filter(|signal| !ending.contains(signal)) {
        // SAFETY: the kernel reads one structure of integers, which outlives the call; no handler is installed. A signal that
        // cannot be changed (SIGKILL) is an error and stays.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null::<u8>(),
                size_of::<u64>(),
            )
        };
    }
    for signal in ending {
        // SAFETY: the handler calls nothing but _exit(2), which is safe in a signal handler.
        unsafe { libc::signal(*signal, end_by as extern "C" fn(c_int) as libc::sighandler_t) };
    }
}

/// Ignores SIGPIPE, or gives it its default action. A write to a pipe without a reader then fails with `EPIPE`, or ends the
/// process.
pub fn ignore_broken_pipes(ignore: bool) {
    let action = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: no handler is installed, and SIGPIPE is a signal that can be ignored.
    unsafe { libc::signal(libc::SIGPIPE, action) };
}

extern "C" fn end_by(signal: c_int) {
    // SAFETY: ends the process; safe in a signal handler (signal-safety(7)).
    unsafe { libc::_exit(128 + signal) }
}

/// Overwrites the environment that the process was started with, so that /proc/PID/environ shows nothing of it.
/// For a process fresh from [`clone3`]; the environment is empty for it from then on.
pub fn clear_environment() {
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    if !is_alone() {
        return;
    }
    // SAFETY: the process has one thread (checked above), so that the list does not change meanwhile.
    let mut entry = unsafe { environ };
    while !entry.is_null() {
        // SAFETY: the list ends in NULL, and `entry` has not passed that.
        let text = unsafe { entry.read() };
        if text.is_null() {
            break;
        }
        // SAFETY: an entry is a C string.
        let length = unsafe { libc::strlen(text) };
        // SAFETY: these bytes are the string's, in writable memory of this process alone (the kernel's copy on the stack, or
        // the C library's own); no reference to them lives across the clone.
        unsafe { libc::memset(text.cast(), 0, length) };
        // SAFETY: not past the NULL that ends the list.
        entry = unsafe { entry.add(1) };
    }
    // SAFETY: a list without entries is a valid environment.
    unsafe { environ = std::ptr::null_mut() };
}

/// Whether the execve of this program raised rights: changed an id, added capabilities, or a security module says so
/// (`AT_SECURE`, getauxval(3)).
pub fn raised_by_execve() -> bool {
    // SAFETY: returns a number that the kernel gave to the C library at the start.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Clears the close-on-exec flag of an inherited descriptor, given by number; true when it is open.
pub fn keep_on_exec(fd: c_int) -> bool {
    // SAFETY: F_SETFD with 0 changes one flag of a descriptor, or fails with EBADF; it closes and makes none.
    unsafe { libc::fcntl(fd, libc::F_SETFD, 0) != -1 }
}

/// Sets soft and hard limit of one resource (`prlimit(2)`; `RLIM_INFINITY` is `u64::MAX`), of the calling process
/// when `pid` is `None`.
///
/// # Errors
/// As `prlimit(2)`: `EPERM` when the hard limit would rise without `CAP_SYS_RESOURCE`.
pub fn set_rlimit(pid: Option<Pid>, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
    // SAFETY: the kernel reads one `rlimit64`, which outlives the call, and writes nothing (the old limit is NULL).
    let result = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            std::ptr::null::<u8>(),
        )
    };
    check(result).map(drop)
}

/// Those of the `count` descriptors from 3 on that are open now: what the caller left us.
pub fn inherited(count: u32) -> Vec<c_int> {
    let end = 3_i32.saturating_add_unsigned(count);
    // SAFETY: F_GETFD only reads the flags of a descriptor, or fails with EBADF.
    (3..end)
        .filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } != -1)
        .collect()
}

/// Closes every descriptor from 3 on but those in `keep` and, by number, in `also`.
///
/// For a process fresh from [`clone3`] that goes on with a few of its parent's descriptors only: values that own the
/// others still exist in its copy of the memory, and must not be used or dropped any more.
pub fn close_all_but(keep: &[BorrowedFd<'_>], also: &[c_int]) {
    let mut kept: Vec<c_int> = keep
        .iter()
        .map(|fd| fd.as_raw_fd())
        .chain(also.iter().copied())
        .collect();
    kept.sort_unstable();
    let mut first: u32 = 3;
    for fd in kept.into_iter().chain([c_int::MAX]) {
        let fd = fd as u32;
        if fd > first {
            // SAFETY: by the contract above, nothing in this process uses the descriptors that are closed here.
            unsafe { libc::syscall(libc::SYS_close_range, first, fd - 1, 0) };
        }
        first = first.max(fd + 1);
    }
}
