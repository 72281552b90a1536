//! `linux.maskedPaths`, `linux.readonlyPaths` and `root.readonly`.
//!
//! Files are covered by /dev/null, directories by an empty read-only tmpfs. What covers is opened once and proven to
//! be what it must be (CVE-2025-31133); both are attached by descriptor, so that no path of the container is looked
//! up twice, except for names that only the kernel makes. Paths that do not exist are left out, as config-linux.md says.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nucleus_sys::mount::{Attributes, attr, set_attributes};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::mask_target::Place;
use super::root::{Root, clone_mount};
use crate::init::failure::{Explain, Failure};

const READ_ONLY: Attributes = Attributes {
    set: attr::RDONLY,
    clear: 0,
    propagation: 0,
};

/// Makes each path read-only, with all that is mounted below it.
///
/// # Errors
/// The first failure, named by the path.
pub fn make_read_only(root: &Root, paths: &[PathBuf]) -> Result<(), Failure> {
    for path in paths {
        let cover = || {
            let Some(place) = present(Place::of(root, path))? else {
                return Ok(());
            };
            let Some(tree) = present(place.clone_mounts())? else {
                return Ok(());
            };
            set_attributes(&tree, READ_ONLY, true)?;
            place.attach(tree)
        };
        cover().explain(|| describe("readonlyPaths", path))?;
    }
    Ok(())
}

/// Hides each path. `null` must come from [`open_null`].
///
/// # Errors
/// The first failure, named by the path.
pub fn mask(root: &Root, paths: &[PathBuf], null: &OwnedFd) -> Result<(), Failure> {
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        cover(root, path, null, &mut empty).explain(|| describe("maskedPaths", path))?;
    }
    Ok(())
}

fn cover(root: &Root, path: &Path, null: &OwnedFd, empty: &mut Option<OwnedFd>) -> Result<(), Errno> {
    let Some(place) = present(Place::of(root, path))? else {
        return Ok(());
    };
    let Some(is_dir) = present(place.is_dir())? else {
        return Ok(());
    };
    if !is_dir {
        return place.attach(clone_mount(null, false)?);
    }
    match empty {
        Some(tmpfs) => place.attach(clone_mount(tmpfs, false)?),
        None => {
            let tmpfs = empty_tmpfs()?;
            place.attach(&tmpfs)?;
            *empty = Some(tmpfs);
            Ok(())
        }
    }
}

/// One empty, read-only tmpfs serves every masked directory.
/// fsmount(2) gives its descriptor; one that mount(2) makes can be opened only where we may enter what it covers.
fn empty_tmpfs() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_set_string(&context, "source", "tmpfs")?;
    rustix::mount::fsconfig_set_string(&context, "nr_inodes", "1")?;
    rustix::mount::fsconfig_set_flag(&context, "ro")?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// `/dev/null` of the container, proven to be the null device and no file or link of the image.
///
/// # Errors
/// Named by the path; `not the null device` when it is something else.
pub fn open_null(root: &Root) -> Result<OwnedFd, Failure> {
    let path = Path::new("/dev/null");
    let null = root
        .resolve(path, OFlags::PATH | OFlags::NOFOLLOW)
        .explain(|| "cannot open the container's /dev/null")?;
    let stat = rustix::fs::fstat(&null).explain(|| "cannot look at the container's /dev/null")?;
    let genuine =
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
    if genuine {
        Ok(null)
    } else {
        Err(Failure::new("the container's /dev/null is not the null device"))
    }
}

/// Makes the root mount itself read-only (`root.readonly`); mounts below it keep their own flags.
///
/// # Errors
/// As mount_setattr(2).
pub fn make_root_read_only(root: &Root) -> Result<(), Failure> {
    set_attributes(root, READ_ONLY, false).explain(|| "root.readonly: cannot make the root filesystem read-only")
}

/// `None` for what is not there.
fn present<T>(found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        other => other.map(Some),
    }
}

fn describe(field: &str, path: &Path) -> String {
    format!("linux.{field}: cannot cover {}", path.display())
}
