//! `--pid-file`: the pid that an engine waits for, in decimal without a newline, never seen half written.
//!
//! Called by `create`, `run` and `exec` once the process is there and before its program runs. The directory may belong to
//! another user, so nothing in it is followed: the temporary file is always a new one, and the final name is replaced.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nucleus_core::ErrnoText;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::{Error, Result};
use crate::init::failure::Failure;

/// How many names of others in the way are removed before the write is given up.
const TRIES: u32 = 3;

/// A file that was written. Dropped, it is removed again: no engine may read the pid of a process that is gone.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file that is asked for, in place of an older one.
    ///
    /// # Errors
    /// Named by the path.
    pub fn write(path: Option<&Path>, pid: Pid) -> Result<Option<Self>> {
        let write = |path: &Path| {
            write(path, pid.as_raw_nonzero().get())?;
            Ok(Self(path.to_owned()))
        };
        path.map(write).transpose()
    }

    /// Lets it stay.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn write(path: &Path, pid: i32) -> Result<()> {
    let Some(name) = path.file_name() else {
        return Err(Failure::new(format!("--pid-file {}: not the path of a file", path.display())).into());
    };
    let write = || {
        let dir = directory_of(path)?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{pid}"));
        let written = new_file(&dir, &temporary)
            .and_then(|file| rustix::io::write(file, pid.to_string().as_bytes()))
            .and_then(|_| rustix::fs::renameat(&dir, &temporary, &dir, name));
        written.inspect_err(|_| {
            let _ = rustix::fs::unlinkat(&dir, &temporary, AtFlags::empty());
        })
    };
    write().map_err(|error| Error::File {
        path: path.to_owned(),
        reason: ErrnoText(error),
    })
}

/// Removes the file of a process that could not execute its program.
pub fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

fn directory_of(path: &Path) -> std::result::Result<OwnedFd, Errno> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())
}

/// A new file. One that has its name already is removed: a killed runtime has left it, or another user has planted it.
fn new_file(dir: impl AsFd, name: &OsStr) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut tries = 0;
    loop {
        match rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o666)) {
            Err(Errno::EXIST) if tries < TRIES => {
                tries += 1;
                rustix::fs::unlinkat(&dir, name, AtFlags::empty())?;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_in_the_way_are_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "of somebody else").unwrap();
        let path = dir.path().join("pid");
        for planted in [".pid.4711", "pid"] {
            std::os::unix::fs::symlink(&victim, dir.path().join(planted)).unwrap();
        }
        write(&path, 4711).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "of somebody else");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4711");
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file());
        assert!(!dir.path().join(".pid.4711").exists());
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        std::fs::create_dir_all(path.join("full")).unwrap();
        assert!(write(&path, 1).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
