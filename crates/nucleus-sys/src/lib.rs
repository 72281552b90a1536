//! The ground floor: safe wrappers for the Linux system calls that rustix and nix lack.
//!
//! The only crate of Nucleus that may say `unsafe`. Each module wraps one family of calls, names its man page or
//! kernel document, returns `rustix::io::Errno` for failures and `OwnedFd` for every descriptor that it makes
//! (close-on-exec from the first instant).

pub mod arena;
pub mod bpf;
pub mod early;
pub mod entry;
pub mod mount;
pub mod net;
pub mod pidfs;
pub mod process;
pub mod sched;
pub mod seccomp;
pub mod spawn;
pub mod usage;

use rustix::io::Errno;

/// Turns the C convention (-1 and errno) into a `Result`.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result != -1 {
        return Ok(result);
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}
