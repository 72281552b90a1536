//! v2: controllers reach a cgroup only when every ancestor hands them down through `cgroup.subtree_control`.
//!
//! Called when the v2 directory is made. All controllers that the hierarchy has are handed down, because engines read
//! statistics also of containers without limits; only one that a limit needs is an error when it cannot be. The other
//! way to delegate, handing the directory itself to a user, is here too.

use std::path::Path;

use rustix::fs::{AtFlags, Uid, chownat};
use rustix::io::Errno;

use crate::dir::{Dir, read_path};
use crate::error::Error;
use crate::plan::Directory;

/// Enables the hierarchy's controllers for `directory`, from the mount point down to its parent.
pub(crate) fn enable(directory: &Directory, dir: &Dir) -> Result<(), Error> {
    // What has arrived was handed down on every level above.
    if directory.controllers.is_empty() || missing(directory, dir, "cgroup.controllers")?.is_empty() {
        return Ok(());
    }
    let needed = |name: &str| directory.needed.iter().find(|(needed, _)| needed == name);
    for level in levels(directory, 1) {
        let dir = Dir::at(level.to_owned());
        let file = "cgroup.subtree_control";
        let mut missing = missing(directory, &dir, file)?;
        if missing.is_empty() {
            continue;
        }
        // All at once is one migration of the whole sub-tree; when one of them is refused, each on its own.
        match dir.write(file, &format!("+{}", missing.join(" +"))) {
            Ok(()) => continue,
            // ENOENT: the group above could hand down no more than the threaded ones.
            Err(Errno::OPNOTSUPP | Errno::NOENT) => drop(make_threaded(directory)),
            Err(_) => {}
        }
        // If a group holds processes, each threaded controller makes it a threaded one, and no other is possible then.
        missing.sort_by_key(|name| needed(name).is_none());
        for name in missing {
            let Err(errno) = dir.write(file, &format!("+{name}")) else {
                continue;
            };
            if let Some((_, field)) = needed(name) {
                return Err(Error::Limit {
                    field: field.clone(),
                    value: format!("+{name}"),
                    path: dir.file(file),
                    errno,
                    hint: hint(errno).to_owned(),
                });
            }
            tracing::debug!(
                "{name} stays disabled below {}: {}",
                level.display(),
                crate::error::reason(errno)
            );
        }
    }
    Ok(())
}

/// The control groups from the mount point down to that of the container, without the last `but` ones.
fn levels(directory: &Directory, but: usize) -> Vec<&Path> {
    let levels = directory.path.ancestors().skip(but);
    let mut levels: Vec<_> = levels.take_while(|level| level.starts_with(&directory.mount)).collect();
    levels.reverse();
    levels
}

/// What to do about a controller that the kernel does not hand down.
fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::BUSY => " (the control group holds processes: move them into a group below it)",
        Errno::OPNOTSUPP => " (the control group is threaded, or holds processes: move these into a group below it)",
        _ => "",
    }
}

/// Makes a container's directory, and those above it, threaded where they cannot hold processes otherwise: below a group
/// that holds processes or threaded groups (cgroup-v2.rst, "Threads"). runc and crun do the same. False when there was
/// nothing to do.
///
/// # Errors
/// As write(2) to `cgroup.type`.
pub(crate) fn make_threaded(directory: &Directory) -> Result<bool, Errno> {
    let mut changed = false;
    for level in levels(directory, 0) {
        let dir = Dir::at(level.to_owned());
        // The root of the hierarchy has no such file.
        if dir
            .read("cgroup.type")
            .is_ok_and(|kind| kind.trim() == "domain invalid")
        {
            dir.write("cgroup.type", "threaded")?;
            changed = true;
        }
    }
    Ok(changed)
}

/// Those of the hierarchy's controllers that a file of `dir` does not list.
fn missing<'a>(directory: &'a Directory, dir: &Dir, file: &str) -> Result<Vec<&'a str>, Error> {
    let listed = dir.read(file).map_err(Error::file("read", dir.file(file)))?;
    let has = |name: &&str| listed.split_whitespace().any(|other| other == *name);
    let all = directory.controllers.iter().map(String::as_str);
    Ok(all.filter(|name| !has(name)).collect())
}

/// Gives a v2 directory, and the files in it that /sys/kernel/cgroup/delegate lists, to a user.
pub(crate) fn chown(dir: &Dir, uid: u32) -> Result<(), Error> {
    let owner = Some(Uid::from_raw(uid));
    let group = dir.fd().map_err(Error::file("chown", &dir.path))?;
    chownat(group, "", owner, None, AtFlags::EMPTY_PATH).map_err(Error::file("chown", &dir.path))?;
    let list = read_path(Path::new("/sys/kernel/cgroup/delegate"));
    // Linux before 4.15 has no list.
    let list = list.unwrap_or("cgroup.procs cgroup.subtree_control cgroup.threads".to_owned());
    for file in list.split_whitespace() {
        match chownat(group, file, owner, None, AtFlags::SYMLINK_NOFOLLOW) {
            // The list has files of all controllers, also of those that are not enabled.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::file("chown", dir.file(file))(errno)),
        }
    }
    Ok(())
}
