//! The mounts that `mounts add` brings into a container, and the way in which `mounts remove` takes them away.
//!
//! Called by `init::mounts_child`, inside the container's namespaces. The rule: [`Added`] owns every mount, and every
//! directory and file made for one, until [`Added::commit`]; dropped before, it takes all of them back.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::copy_up;
use super::mounts::{apply_attributes, bind_target, describe, explain_target, with_mode_of};
use super::root::{Root, attach, is_dir, mount_on};
use crate::init::failure::{Explain, Failure};
use crate::plan::{Links, Mount, MountKind, mounts_change};

/// What was added so far.
#[derive(Debug)]
pub struct Added<'a> {
    root: Root,
    /// The host's /proc.
    procfs: &'a OwnedFd,
    mounts: Vec<OwnedFd>,
}

impl<'a> Added<'a> {
    /// Nothing yet, below `root`. `procfs` is the host's.
    pub fn new(mut root: Root, procfs: &'a OwnedFd) -> Self {
        root.remember_made();
        Self {
            root,
            procfs,
            mounts: Vec::new(),
        }
    }

    /// Mounts `tree`, which is complete, or a new tmpfs if there is none.
    ///
    /// # Errors
    /// Named by a field of `mounts[index]`, with the path.
    pub fn mount(&mut self, index: usize, mount: &Mount, tree: Option<OwnedFd>) -> Result<(), Failure> {
        let field = |name: &str| format!("mounts[{index}].{name}: cannot mount {}", describe(mount));
        let at_destination = |error| explain_target(error, field("destination"));
        let (target, is_new) = self.target(mount, tree.as_ref()).map_err(at_destination)?;
        if let Some(why) = refusal_of(&target, self.procfs).map_err(at_destination)? {
            return Err(Failure::new(format!("{}: {why}", field("destination"))));
        }
        let tree = match tree {
            Some(tree) => tree,
            None => tmpfs(mount, &target, is_new).explain(|| field("options"))?,
        };
        attach(&tree, &target).map_err(at_destination)?;
        self.mounts.push(tree);
        Ok(())
    }

    /// What is mounted over, made if it is missing; true for a new one.
    fn target(&self, mount: &Mount, tree: Option<&OwnedFd>) -> Result<(OwnedFd, bool), Errno> {
        let links = match &mount.kind {
            MountKind::Bind { links, .. } => *links,
            _ => Links::default(),
        };
        bind_target(&self.root, &mount.destination, tree.map_or(Ok(true), is_dir)?, links)
    }

    /// Lets all of them stay.
    pub fn commit(mut self) {
        self.mounts.clear();
        self.root.forget_made();
    }
}

impl Drop for Added<'_> {
    fn drop(&mut self) {
        for mount in self.mounts.iter().rev() {
            if let Err(error) = detach(mount, self.procfs) {
                tracing::warn!("mounts: cannot take back a mount: {}", nucleus_core::ErrnoText(error));
            }
        }
        self.root.remove_made();
    }
}

fn tmpfs(mount: &Mount, target: &OwnedFd, is_new: bool) -> Result<OwnedFd, Errno> {
    let data = if is_new {
        mount.data.to_bytes().to_vec()
    } else {
        with_mode_of(target, mount)?
    };
    let flags = MountFlags::from_bits_retain(mount.flags as u32);
    let made = copy_up::detached(flags, &data, None)?;
    apply_attributes(&made, mount)?;
    Ok(made)
}

/// Fails if nothing that `mounts add` could have added is mounted at a destination.
///
/// # Errors
/// Named by `mounts[index].destination`, with the path.
pub fn check_removal(root: &Root, procfs: &OwnedFd, index: usize, destination: &Path) -> Result<(), Failure> {
    find(root, procfs, index, destination).map(drop)
}

/// Unmounts what is on top at a destination, with all that is mounted below it. It disappears at once; what still uses it
/// can go on.
///
/// # Errors
/// As [`check_removal`].
pub fn remove(root: &Root, procfs: &OwnedFd, index: usize, destination: &Path) -> Result<(), Failure> {
    let found = find(root, procfs, index, destination)?;
    detach(&found, procfs).explain(|| cannot_remove(index, destination))
}

fn find(root: &Root, procfs: &OwnedFd, index: usize, destination: &Path) -> Result<OwnedFd, Failure> {
    let what = || cannot_remove(index, destination);
    let found = root.resolve(destination, OFlags::PATH).explain(what)?;
    let stat = rustix::fs::statx(&found, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE).explain(what)?;
    if !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(Failure::new(format!("{}: nothing is mounted there", what())));
    }
    match refusal_of(&found, procfs).explain(what)? {
        Some(why) => Err(Failure::new(format!("{}: {why}", what()))),
        None => Ok(found),
    }
}

fn cannot_remove(index: usize, destination: &Path) -> String {
    format!("mounts[{index}].destination: cannot unmount {}", destination.display())
}

/// Unmounts by descriptor: no name is looked up again.
fn detach(mount: &OwnedFd, procfs: &OwnedFd) -> Result<(), Errno> {
    mount_on(mount, procfs, |path| rustix::mount::unmount(path, UnmountFlags::DETACH))
}

/// Why the place that a destination has led to, perhaps through links of the image, must stay as it is. The plan has
/// checked the destination by its name only.
fn refusal_of(place: &OwnedFd, procfs: &OwnedFd) -> Result<Option<String>, Errno> {
    let link = format!("self/fd/{}", place.as_raw_fd());
    let path = rustix::fs::readlinkat(procfs, link, Vec::new())?;
    let path = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
    let why = if path.is_absolute() {
        mounts_change::refusal_of(path)
    } else {
        Some("it is outside of the container")
    };
    Ok(why.map(|why| format!("it leads to {}: {why}", path.display())))
}
