//! Connecting to a unix socket of the caller, however long its path is.
//!
//! Called for the console, pidfd, and listener sockets. An address holds 107 bytes of path (unix(7)); a longer one is reached
//! through a descriptor of its directory.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// A stream connected to the socket at `path`.
///
/// # Errors
/// As connect(2); `ENAMETOOLONG` when the name of the socket alone is too long.
pub fn connect(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match SocketAddrUnix::new(path) {
        Ok(address) => rustix::net::connect(&socket, &address)?,
        Err(Errno::NAMETOOLONG) => {
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(Errno::INVAL);
            };
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::open(parent, flags, Mode::empty())?;
            let short = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
            rustix::net::connect(&socket, &SocketAddrUnix::new(&short)?)?;
        }
        Err(error) => return Err(error),
    }
    Ok(socket)
}
