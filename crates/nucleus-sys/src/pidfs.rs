//! Process descriptors beyond rustix: pidfs file handles (`name_to_handle_at(2)`, `open_by_handle_at(2)`) and
//! `pidfd_send_signal(2)` with any signal number.
//!
//! A pidfs handle names one process of one boot: unlike a pid it is never used again, and it can be written to a file
//! and opened by a later program. Called by `nucleus-core`, which adds the boot id that the handle itself lacks.
//! The rule kept here: a handle is exactly what the kernel gave, any other shape is `EOPNOTSUPP`, never a guess.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::check;

/// `FILEID_KERNFS`: the handle type of pidfs, the 64-bit inode number (`include/linux/exportfs.h`).
pub const HANDLE_TYPE: i32 = 254;
/// Bytes of a pidfs handle.
pub const HANDLE_BYTES: usize = 8;
/// `FD_PIDFS_ROOT` (`include/uapi/linux/fcntl.h`): stands for the root of pidfs where a mount is asked for.
const FD_PIDFS_ROOT: RawFd = -10002;

/// The file handle of a process in pidfs (Linux 6.14 makes them, the opening below needs 6.17).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub [u8; HANDLE_BYTES]);

/// `struct file_handle` with room for one pidfs handle.
#[repr(C)]
struct RawHandle {
    length: u32,
    kind: i32,
    bytes: [u8; HANDLE_BYTES],
}

impl Handle {
    /// The handle of the process behind `pidfd`, which may be a zombie.
    ///
    /// # Errors
    /// `EOPNOTSUPP` when this kernel's process descriptors have none; else as `name_to_handle_at(2)`.
    pub fn of(pidfd: impl AsFd) -> Result<Self, Errno> {
        let mut handle = RawHandle {
            length: HANDLE_BYTES as u32,
            kind: 0,
            bytes: [0; HANDLE_BYTES],
        };
        let mut mount_id: libc::c_int = 0;
        // SAFETY: the path is a NUL-terminated literal; `handle` and `mount_id` outlive the call, which writes at most
        // the `length` bytes that `handle` announces.
        let result = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                pidfd.as_fd().as_raw_fd(),
                c"".as_ptr(),
                &raw mut handle,
                &raw mut mount_id,
                libc::AT_EMPTY_PATH,
            )
        };
        match check(result) {
            // A longer handle is of a file system that is not pidfs as it is known here.
            Err(Errno::OVERFLOW) => Err(Errno::OPNOTSUPP),
            Err(error) => Err(error),
            Ok(_) if handle.kind == HANDLE_TYPE && handle.length as usize == HANDLE_BYTES => Ok(Self(handle.bytes)),
            Ok(_) => Err(Errno::OPNOTSUPP),
        }
    }

    /// A new process descriptor of the process that has this handle. A zombie can still be opened.
    ///
    /// # Errors
    /// `ESTALE` when the process has been reaped, or is not visible from the caller's PID namespace; `EBADF` when the
    /// kernel does not know `FD_PIDFS_ROOT`; else as `open_by_handle_at(2)`.
    pub fn open(&self) -> Result<OwnedFd, Errno> {
        let mut handle = RawHandle {
            length: HANDLE_BYTES as u32,
            kind: HANDLE_TYPE,
            bytes: self.0,
        };
        // SAFETY: `handle` outlives the call and announces its exact size; the other arguments are integers.
        let result = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                FD_PIDFS_ROOT,
                &raw mut handle,
                libc::O_RDWR | libc::O_CLOEXEC,
            )
        };
        let fd = check(result)? as RawFd;
        // SAFETY: the kernel returned a fresh close-on-exec descriptor that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// Sends signal number `signal` to a process: real-time signals too, and 0, which only asks whether it could be done.
///
/// # Errors
/// `ESRCH` when the process has been reaped, `EINVAL` for a number that is no signal, `EPERM` as `kill(2)`.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes integers and a null pointer, for which the kernel fills in the siginfo of kill(2).
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(result).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use rustix::fs::fstat;
    use rustix::io::{Errno, FdFlags, fcntl_getfd};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::{Handle, send_signal};

    #[test]
    fn a_handle_leads_to_the_same_process_until_it_is_reaped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let handle = match Handle::of(&pidfd) {
            // An older kernel.
            Err(Errno::OPNOTSUPP) => None,
            handle => Some(handle.unwrap()),
        };
        if let Some(handle) = handle {
            match handle.open() {
                Ok(opened) => {
                    assert_ne!(opened.as_raw_fd(), pidfd.as_raw_fd());
                    assert_eq!(fstat(&opened).unwrap().st_ino, fstat(&pidfd).unwrap().st_ino);
                    assert!(fcntl_getfd(&opened).unwrap().contains(FdFlags::CLOEXEC));
                }
                Err(errno) => assert_eq!(errno, Errno::BADF),
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(handle) = handle {
            assert!(matches!(handle.open(), Err(Errno::STALE | Errno::BADF)));
        }
    }

    #[test]
    fn other_files_have_no_process_handle() {
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(Handle::of(&file).is_err());
        assert!(Handle::of(std::fs::File::open("/").unwrap()).is_err());
    }

    #[test]
    fn signals_go_by_number() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        send_signal(pidfd.as_fd(), 0).unwrap();
        assert_eq!(send_signal(pidfd.as_fd(), 65), Err(Errno::INVAL));
        send_signal(pidfd.as_fd(), 40).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(40));
        assert_eq!(send_signal(pidfd.as_fd(), 0), Err(Errno::SRCH));
    }
}
