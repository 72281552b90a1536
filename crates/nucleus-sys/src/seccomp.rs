//! `seccomp(2)`: loading a compiled filter.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::check;

/// `SECCOMP_FILTER_FLAG_TSYNC`: apply to every thread of the process.
pub const FLAG_TSYNC: u64 = libc::SECCOMP_FILTER_FLAG_TSYNC;
/// `SECCOMP_FILTER_FLAG_LOG`: log every action but allow.
pub const FLAG_LOG: u64 = libc::SECCOMP_FILTER_FLAG_LOG;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: leave the speculative store bypass mitigation off.
pub const FLAG_SPEC_ALLOW: u64 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: return a descriptor that receives notifications.
pub const FLAG_NEW_LISTENER: u64 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: with TSYNC, a thread that cannot follow is an error, not a return value.
pub const FLAG_TSYNC_ESRCH: u64 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: only fatal signals interrupt a received notification (Linux 5.19).
pub const FLAG_WAIT_KILLABLE_RECV: u64 = 1 << 5;

/// linux/ptrace.h
const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;

/// Installs a filter: `program` is an array of `struct sock_filter` (8 bytes each, host byte order).
///
/// Returns the listener descriptor when `flags` has [`FLAG_NEW_LISTENER`].
///
/// # Errors
/// `EINVAL` for a program that is empty, too long, of odd size, or refused by the kernel's checker; else as
/// `seccomp(2)`.
pub fn set_filter(program: &[u8], flags: u64) -> Result<Option<OwnedFd>, Errno> {
    const INSTRUCTION: usize = size_of::<libc::sock_filter>();
    if program.is_empty() || !program.len().is_multiple_of(INSTRUCTION) {
        return Err(Errno::INVAL);
    }
    let count = u16::try_from(program.len() / INSTRUCTION).map_err(|_| Errno::INVAL)?;
    // The kernel only reads the instructions, through copy_from_user, which knows no alignment.
    let fprog = libc::sock_fprog {
        len: count,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `fprog` describes exactly `count` instructions inside `program`, which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const fprog,
        )
    };
    let value = check(result)?;
    if flags & FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with NEW_LISTENER the kernel returns a fresh close-on-exec descriptor that nobody else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(value as i32) }))
}

/// The filter that a process has loaded last, as the kernel keeps it: an array of `struct sock_filter`. The process is
/// stopped for that moment (`ptrace(2)`, `PTRACE_SECCOMP_GET_FILTER`).
///
/// # Errors
/// `ENOENT` when it has none; `EINVAL` for a kernel without checkpoint support; else as `ptrace(2)`.
pub fn filter_of(process: Pid) -> Result<Vec<u8>, Errno> {
    trace(libc::PTRACE_SEIZE, process, 0, std::ptr::null_mut())?;
    // Detaching needs a stopped process; one that is neither is let go when the caller ends.
    trace(libc::PTRACE_INTERRUPT, process, 0, std::ptr::null_mut())?;
    rustix::process::waitpid(Some(process), rustix::process::WaitOptions::UNTRACED)?;
    let filter = trace(PTRACE_SECCOMP_GET_FILTER, process, 0, std::ptr::null_mut()).and_then(|count| {
        let mut filter = vec![0; usize::try_from(count).map_err(|_| Errno::INVAL)? * size_of::<libc::sock_filter>()];
        trace(PTRACE_SECCOMP_GET_FILTER, process, 0, filter.as_mut_ptr())?;
        Ok(filter)
    });
    trace(libc::PTRACE_DETACH, process, 0, std::ptr::null_mut())?;
    filter
}

/// `ptrace(2)`; `data` is NULL or has room for what the request writes.
fn trace(request: libc::c_uint, process: Pid, address: usize, data: *mut u8) -> Result<libc::c_long, Errno> {
    // SAFETY: the requests above change only the tracee's state; GET_FILTER writes the filter whose size it told before,
    // and the tracee, stopped in between, cannot have changed it.
    check(unsafe { libc::ptrace(request, process.as_raw_pid(), address, data) })
}

/// A system call that can be made in a way that the kernel never accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// read(2), of no descriptor.
    Read,
    /// setgroups(2), of more groups than there can be.
    SetGroups,
    /// capset(2), from no memory.
    SetCapabilities,
}

/// False when the filter of this process answers such a call with success, in the kernel's place (`errnoRet: 0`). Changes
/// nothing.
pub fn reaches_kernel(call: Call) -> bool {
    let (number, first) = match call {
        Call::Read => (libc::SYS_read, -1),
        Call::SetGroups => (libc::SYS_setgroups, libc::c_long::from(i32::MAX)),
        Call::SetCapabilities => (libc::SYS_capset, 0),
    };
    // SAFETY: the kernel refuses each of these before it reads or writes memory: there is no descriptor -1, no list of so many
    // groups, and no header at NULL.
    let result = unsafe { libc::syscall(number, first, std::ptr::null_mut::<u8>(), 0) };
    result == -1
}

/// Whether the running kernel knows one `SECCOMP_FILTER_FLAG_*`. Installs nothing, needs no privilege.
pub fn flag_supported(flag: u64) -> bool {
    // The kernel refuses this flag unless it comes with a listener.
    let flags = match flag {
        FLAG_WAIT_KILLABLE_RECV => flag | FLAG_NEW_LISTENER,
        _ => flag,
    };
    // The flags are checked first (EINVAL), then the program is read: EFAULT says that the flags have passed.
    // SAFETY: the kernel reads from the null pointer through copy_from_user, which fails; no memory of ours is touched.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    check(result) == Err(Errno::FAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_this_kernel() {
        for flag in [FLAG_TSYNC, FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_NEW_LISTENER] {
            assert!(flag_supported(flag), "{flag:#x}");
        }
        assert!(!flag_supported(1 << 31));
    }
}
