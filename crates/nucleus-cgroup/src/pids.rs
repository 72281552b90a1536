//! Which processes live in a cgroup and its sub-cgroups.

use std::path::Path;

use rustix::fs::{CWD, Dir as ReadDir, FileType, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::dir::read_list;
use crate::error::Error;

/// The processes of the cgroup at `path`, with those of all cgroups below when `recursive`. A cgroup that is gone, or
/// goes while we look, has none.
pub(crate) fn read(path: &Path, recursive: bool) -> Result<Vec<Pid>, Error> {
    let mut found = Vec::new();
    collect(path, recursive, &mut found)?;
    Ok(found)
}

fn collect(path: &Path, recursive: bool, found: &mut Vec<Pid>) -> Result<(), Error> {
    for file in ["cgroup.procs", "cgroup.threads"] {
        match read_list(&path.join(file)) {
            Ok(text) => {
                found.extend(text.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)));
                break;
            }
            Err(Errno::NOENT | Errno::NODEV) => break,
            // A threaded cgroup of v2 lists threads only (cgroup-v2.rst, "Threads").
            Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(Error::file("read", path.join(file))(errno)),
        }
    }
    if recursive {
        for name in children(path)? {
            collect(&path.join(name), true, found)?;
        }
    }
    Ok(())
}

/// The names of the sub-cgroups of `path`; none when it is gone.
pub(crate) fn children(path: &Path) -> Result<Vec<std::ffi::OsString>, Error> {
    use std::os::unix::ffi::OsStrExt;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |errno| Error::file("read", path)(errno);
    let fd = match openat(CWD, path, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in ReadDir::new(fd).map_err(failed)? {
        let entry = match entry {
            Err(Errno::NOENT | Errno::NODEV) => break,
            other => other.map_err(failed)?,
        };
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            names.push(std::ffi::OsStr::from_bytes(name).to_os_string());
        }
    }
    Ok(names)
}
