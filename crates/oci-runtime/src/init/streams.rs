//! Standard input, output and error of the user's program.
//!
//! Called at step 8, by init and by exec's process, while their rights last and in the container's root. Two rules: nothing
//! of the host's /dev is handed over, and the program's user may open its streams again by name (/dev/stderr).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::failure::{Explain, Failure};
use crate::rootfs::copy_up;

const NULL: &str = "/dev/null";

/// The call that puts a descriptor in the place of one of the standard streams.
type Replace = fn(&OwnedFd) -> Result<(), Errno>;

/// Replaces a stream that is the null device by the container's own, and gives the others to `uid`. A container without one
/// gets a device that nobody else has.
///
/// # Errors
/// When the null device cannot be opened or made.
pub fn hand_over(uid: u32, in_user_namespace: bool) -> Result<(), Failure> {
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
            replace(replace_by, &mut null, in_user_namespace)
                .explain(|| "cannot open a null device of the container for a standard stream")?;
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
fn replace(replace_by: Replace, null: &mut Option<OwnedFd>, in_user_namespace: bool) -> Result<(), Errno> {
    if null.is_none() {
        *null = match open_null()? {
            // No id of the namespace owns the host's node, so that nobody in it can change the node.
            None if in_user_namespace => return Ok(()),
            None => Some(make_null()?),
            found => found,
        };
    }
    null.as_ref().map_or(Ok(()), replace_by)
}

/// The container's null device; `None` when its /dev has none, but something else or nothing. What has that name is looked at
/// before it is opened: opening a device of the image acts on the device. A program that exchanges it in between makes us open
/// only what it can open itself, as we are in its root and its control groups; that is closed again.
fn open_null() -> Result<Option<OwnedFd>, Errno> {
    if !rustix::fs::lstat(NULL).is_ok_and(|stat| is_null(&stat)) {
        return Ok(None);
    }
    // No flag that the program would find on its stream.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(NULL, flags, Mode::empty()) {
        Ok(file) if is_null(&rustix::fs::fstat(&file)?) => Ok(Some(file)),
        Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A null device that is nobody else's, in a filesystem that is mounted nowhere.
fn make_null() -> Result<OwnedFd, Errno> {
    let place = copy_up::detached(MountFlags::NOSUID | MountFlags::NOEXEC, b"mode=755", None)?;
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(&place, "null", FileType::CharacterDevice, mode, makedev(1, 3))?;
    rustix::fs::chmodat(&place, "null", mode, AtFlags::empty())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(&place, "null", flags, Mode::empty())
}

/// As runc: what cannot be given (an owner whom the user namespace does not know, a read-only filesystem) stays as it is.
fn give(stream: impl AsFd, uid: u32) -> Result<(), Errno> {
    match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None) {
        Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::NOSYS) => Ok(()),
        other => other,
    }
}
