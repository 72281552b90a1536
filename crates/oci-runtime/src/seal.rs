//! Step 1 of every verb that enters a container: run from a copy of our own binary that nobody can write.
//!
//! A process of the container can reach the file that its runtime runs from through `/proc/PID/exe`
//! (CVE-2019-5736). So we run from a read-only, detached clone of the mount that holds the binary: a write
//! through it fails with EROFS, and there is no path to the clone. Where the kernel refuses the clone, a sealed
//! memfd takes its place. A binary that already lies on a read-only mount is left where it is. The entry point has
//! usually done it already (`nucleus_sys::early`); this is for where it could not.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt;

use nucleus_sys::early::is_sealed;
use nucleus_sys::mount::{Attributes, attr, set_attributes};
use nucleus_sys::process::{execveat, raised_by_execve};
use rustix::fs::{MemfdFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

const SELF: &str = "/proc/self/exe";

/// Returns at once when the running binary cannot be written through `/proc/PID/exe`; otherwise starts over from a
/// sealed copy and does not return.
///
/// # Errors
/// The kernel's reason when neither kind of copy can be made or executed.
pub fn ensure_sealed() -> io::Result<()> {
    if is_sealed() || rustix::fs::statvfs(SELF)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(());
    }
    let copy = match read_only_clone() {
        Ok(clone) => clone,
        Err(Errno::PERM | Errno::NOSYS | Errno::INVAL) => {
            let file = File::open(SELF)?;
            if rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::WRITE)) {
                return Ok(());
            }
            sealed_memfd(file)?
        }
        Err(error) => return Err(error.into()),
    };
    // Neither comes from a command line, so neither can hold a NUL byte.
    let to_c = |value: std::ffi::OsString| CString::new(value.into_vec()).map_err(io::Error::other);
    let args = std::env::args_os().map(to_c).collect::<io::Result<Vec<_>>>()?;
    let env = std::env::vars_os()
        .map(|(mut key, value)| {
            key.push("=");
            key.push(value);
            to_c(key)
        })
        .collect::<io::Result<Vec<_>>>()?;
    match execveat(copy, &args, &env) {
        Ok(never) => match never {},
        Err(error) => Err(error.into()),
    }
}

/// True when the binary has lent its rights to who started it: set-user-id, set-group-id, file capabilities.
pub fn raises_rights() -> bool {
    const SET_ID: u32 = 0o6000;
    if !raised_by_execve() {
        return false;
    }
    // A security module raises rights as well, as it has been told to.
    let set_id = rustix::fs::stat(SELF).is_ok_and(|stat| stat.st_mode & SET_ID != 0);
    set_id || rustix::fs::getxattr(SELF, "security.capability", &mut [0u8; 0]).is_ok()
}

fn read_only_clone() -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = open_tree(rustix::fs::CWD, SELF, flags)?;
    set_attributes(
        &clone,
        Attributes {
            set: attr::RDONLY | attr::NOSUID | attr::NODEV,
            ..Attributes::default()
        },
        false,
    )?;
    Ok(clone)
}

fn sealed_memfd(mut binary: File) -> io::Result<std::os::fd::OwnedFd> {
    let memfd = rustix::fs::memfd_create("nucleus", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut copy = File::from(memfd);
    io::copy(&mut binary, &mut copy)?;
    rustix::fs::fchmod(&copy, rustix::fs::Mode::from_raw_mode(0o555))?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}
