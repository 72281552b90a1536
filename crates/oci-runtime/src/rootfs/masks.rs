//! `linux.maskedPaths`, `linux.readonlyPaths` and `root.readonly`.
//!
//! Files are covered by /dev/null, directories by an empty read-only tmpfs. What covers is opened once and proven to
//! be what it must be (CVE-2025-31133); both are attached by descriptor, so that no path of the container is looked
//! up twice. Paths that do not exist are left out, as config-linux.md says.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nucleus_sys::mount::{Attributes, attr, set_attributes};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::root::{Root, attach, clone_mount, is_dir};
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
        let Some(found) = find(root, path).explain(|| describe("readonlyPaths", path))? else {
            continue;
        };
        let cover = || {
            let tree = clone_mount(&found, true)?;
            set_attributes(&tree, READ_ONLY, true)?;
            attach(tree, &found)
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
        let Some(found) = find(root, path).explain(|| describe("maskedPaths", path))? else {
            continue;
        };
        cover(&found, null, &mut empty).explain(|| describe("maskedPaths", path))?;
    }
    Ok(())
}

fn cover(found: &OwnedFd, null: &OwnedFd, empty: &mut Option<OwnedFd>) -> Result<(), Errno> {
    if !is_dir(found)? {
        return attach(clone_mount(null, false)?, found);
    }
    match empty {
        Some(tmpfs) => attach(clone_mount(tmpfs, false)?, found),
        None => {
            let tmpfs = empty_tmpfs()?;
            attach(&tmpfs, found)?;
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

fn find(root: &Root, path: &Path) -> Result<Option<OwnedFd>, Errno> {
    match root.resolve(path, OFlags::PATH) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

fn describe(field: &str, path: &Path) -> String {
    format!("linux.{field}: cannot cover {}", path.display())
}
