//! Standard input, output and error of the user's program.
//!
//! Called at step 8, by init and by exec's process, while their rights last and in the container's root. Two rules: nothing
//! of the host's /dev is handed over, and the program's user may open its streams again by name (/dev/stderr).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, Stat, Uid, makedev};
use rustix::io::Errno;

use super::failure::{Explain, Failure};

const NULL: &str = "/dev/null";

/// The call that puts a descriptor in the place of one of the standard streams.
type Replace = fn(&OwnedFd) -> Result<(), Errno>;

/// Replaces a stream that is the null device by the container's own, and gives the others to `uid`.
///
/// # Errors
/// When the container's null device cannot be opened.
pub fn hand_over(uid: u32) -> Result<(), Failure> {
    use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};
    let streams: [(BorrowedFd<'_>, Replace); 3] = [
        (stdin(), |fd| dup2_stdin(fd)),
        (stdout(), |fd| dup2_stdout(fd)),
        (stderr(), |fd| dup2_stderr(fd)),
    ];
    let mut null = None;
    for (stream, replace_by) in streams {
        let Ok(stat) = rustix::fs::fstat(stream) else { continue };
        if is_null(&stat) {
            replace(replace_by, &mut null).explain(|| "cannot open the container's /dev/null for a standard stream")?;
        } else if stat.st_uid != uid && !is_device(&stat) {
            give(stream, uid).explain(|| format!("cannot give the standard streams to user {uid}"))?;
        }
    }
    Ok(())
}

fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(1, 3)
}

/// A device is the host's, so its owner stays. The container's own terminal belongs to the user already.
fn is_device(stat: &Stat) -> bool {
    matches!(
        FileType::from_raw_mode(stat.st_mode),
        FileType::CharacterDevice | FileType::BlockDevice
    )
}

/// The host's node would let root of the container change its mode and owner for the whole host.
fn replace(replace_by: Replace, null: &mut Option<OwnedFd>) -> Result<(), Errno> {
    if null.is_none() {
        *null = open_null()?;
    }
    null.as_ref().map_or(Ok(()), replace_by)
}

/// The container's null device; `None` when its /dev has none. What has that name is looked at before it is opened: opening
/// a device of the image acts on the device.
fn open_null() -> Result<Option<OwnedFd>, Errno> {
    match rustix::fs::lstat(NULL) {
        Ok(stat) if is_null(&stat) => {}
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Ok(_) => return Err(Errno::NODEV),
        Err(error) => return Err(error),
    }
    // No flag that the program would find on its stream.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(NULL, flags, Mode::empty())?;
    match is_null(&rustix::fs::fstat(&file)?) {
        true => Ok(Some(file)),
        false => Err(Errno::NODEV),
    }
}

/// As runc: what cannot be given (an owner whom the user namespace does not know, a read-only filesystem) stays as it is.
fn give(stream: impl AsFd, uid: u32) -> Result<(), Errno> {
    match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None) {
        Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::NOSYS) => Ok(()),
        other => other,
    }
}
