//! `mounts add` and `mounts remove`: which mounts a container that exists can get and lose.
//!
//! The list is compiled as `mounts` of config.json is, and has the same meaning. What only `create` can do is refused, by
//! its field. Masks, read-only paths and the kernel's own filesystems stay as `create` has left them: nothing is added
//! over them, and so there is nothing to remove there.

use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;

use super::mounts::{self, PROC_FILES, Surroundings};
use super::{Mount, MountKind, PlanError};

/// The mounts to add.
pub(crate) fn to_add(
    list: &[oci::Mount],
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>, PlanError> {
    let compiled = mounts::compile(list, around, warnings)?;
    for (i, mount) in compiled.iter().enumerate() {
        check_kind(&mount.kind, i)?;
        if mount.copy_up {
            return Err(not_here(i, "options", "\"tmpcopyup\""));
        }
        check_destination(&mount.destination, i)?;
    }
    Ok(compiled)
}

/// The destinations to unmount. The other fields of a mount do not count, so that the file of `mounts add` serves.
pub(crate) fn to_remove(list: &[oci::Mount], warnings: &mut Vec<String>) -> Result<Vec<PathBuf>, PlanError> {
    let one = |(i, mount)| {
        let destination = mounts::destination(mount, i, warnings)?;
        check_destination(&destination, i)?;
        Ok(destination)
    };
    list.iter().enumerate().map(one).collect()
}

fn check_kind(kind: &MountKind, i: usize) -> Result<(), PlanError> {
    let refuse = |field: &str, what: String| Err(not_here(i, field, &what));
    match kind {
        MountKind::Bind { links, .. } if links.copy => refuse("options", "\"copy-symlink\"".to_owned()),
        MountKind::Bind { .. } => Ok(()),
        MountKind::Filesystem { fstype, .. } if fstype.as_c_str() == c"tmpfs" => Ok(()),
        MountKind::Filesystem { fstype, .. } => refuse("type", format!("{fstype:?}")),
        MountKind::Cgroup => refuse("type", "\"cgroup\"".to_owned()),
        MountKind::Cgroup2 => refuse("type", "\"cgroup2\"".to_owned()),
        MountKind::Remount { .. } => refuse("options", "\"remount\"".to_owned()),
    }
}

fn not_here(i: usize, field: &str, what: &str) -> PlanError {
    PlanError::new(
        format_args!("mounts[{i}].{field}"),
        format_args!("{what} is not supported in a container that exists: bind mounts and tmpfs are"),
    )
}

fn check_destination(destination: &Path, i: usize) -> Result<(), PlanError> {
    match refusal_of(destination) {
        None => Ok(()),
        Some(why) => Err(PlanError::new(
            format_args!("mounts[{i}].destination"),
            format_args!("{destination:?} cannot be changed: {why}"),
        )),
    }
}

/// Why no mount is added or removed at this absolute path inside of a container; `None` where it can be.
pub(crate) fn refusal_of(path: &Path) -> Option<&'static str> {
    if PROC_FILES.iter().any(|file| path == Path::new(file)) {
        return None;
    }
    if path == Path::new("/") {
        Some("it is the root of the container")
    } else if path == Path::new("/dev") {
        Some("it holds the devices of the container")
    } else if path.starts_with("/proc") {
        Some("it is inside /proc")
    } else if path.starts_with("/sys") {
        Some("it is inside /sys")
    } else {
        None
    }
}
