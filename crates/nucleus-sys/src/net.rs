//! netdevice(7): the one ioctl that a fresh network namespace needs.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::check;

/// Brings the loopback interface of the calling thread's network namespace up; it then owns 127.0.0.1 and ::1.
///
/// `socket` is any socket of that namespace.
///
/// # Errors
/// As `SIOCSIFFLAGS` of netdevice(7): `EPERM` without `CAP_NET_ADMIN` over the namespace.
pub fn loopback_up(socket: impl AsFd) -> Result<(), Errno> {
    // SAFETY: `ifreq` is plain data for which all-zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo\0") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result.into()).map(drop)
}
