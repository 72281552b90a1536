//! The container's root directory as a descriptor, and path look-ups that cannot leave it.
//!
//! `openat2(2)` with RESOLVE_IN_ROOT treats absolute links and `..` as the container will see them, and refuses magic
//! links; missing components are made one by one relative to the descriptor of their parent (CVE-2024-45310).
//!
//! Who else can write to the image may exchange names in it at any time, mount points included. Hence what is below
//! /proc, /sys and /dev is looked up from the mount itself: masks land on the container's procfs, wherever its
//! mount point has been moved to (CVE-2019-19921, CVE-2025-31133).

use std::cell::RefCell;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags};

use super::made::Made;

/// `PROC_SUPER_MAGIC` of statfs(2).
pub const PROC_MAGIC: u64 = 0x9fa0;
/// How often a look-up is repeated that the kernel could not finish safely beside a concurrent rename (`EAGAIN`).
const RETRIES: u32 = 64;

/// How many dangling links are followed for one path, as the kernel does for others (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// What later steps work in: a directory of these names in the root is remembered once it is mounted or made.
const ANCHORS: [&[u8]; 3] = [b"proc", b"sys", b"dev"];

/// The container's root directory.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// Those of [`ANCHORS`] that are known by now.
    anchors: [Option<Anchor>; ANCHORS.len()],
    /// What look-ups have made, in order; `None` where it is never taken back.
    made: Option<RefCell<Vec<Made>>>,
}

/// A directory that look-ups begin at.
#[derive(Debug)]
pub(super) struct Anchor {
    pub(super) fd: OwnedFd,
    pub(super) names: Names,
}

/// Who makes the names right below an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// The kernel alone: the root of a procfs or sysfs, where no name can be exchanged between two look-ups.
    OfTheKernel,
    /// Whoever can write there.
    OfAnyone,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Root {
    /// Opens the directory at this host path.
    ///
    /// # Errors
    /// As open(2); `ENOTDIR` when it is something else.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self {
            fd,
            anchors: Default::default(),
            made: None,
        })
    }

    /// From now on every directory and file that [`Root::make_dir`] and [`Root::make_file`] make is remembered.
    pub fn remember_made(&mut self) {
        self.made = Some(RefCell::default());
    }

    /// Lets stay what was made since [`Root::remember_made`].
    pub fn forget_made(&mut self) {
        self.made = None;
    }

    /// Removes what was made since [`Root::remember_made`], the last one first.
    pub fn remove_made(&mut self) {
        let made = self.made.take().map(RefCell::into_inner).unwrap_or_default();
        made.iter().rev().for_each(Made::remove);
    }

    /// Whether what is at this path must be handed to [`Root::anchor`].
    pub fn is_anchor(path: &Path) -> bool {
        nearest(path).is_some_and(|(_, rest)| rest.is_empty())
    }

    /// From now on what is below `path`, for which [`Root::is_anchor`] holds, is looked up from `directory`.
    pub fn anchor(&mut self, path: &Path, directory: OwnedFd, names: Names) {
        if let Some((at, _)) = nearest(path) {
            self.anchors[at] = Some(Anchor { fd: directory, names });
        }
    }

    /// Whether the directory at or above `path` is known.
    pub fn is_anchored(&self, path: &Path) -> bool {
        self.anchored(path).is_some()
    }

    /// The known anchor that `path` is at or below, and what is left of `path` there.
    pub(super) fn anchored<'a>(&self, path: &'a Path) -> Option<(&Anchor, &'a OsStr)> {
        let (at, rest) = nearest(path)?;
        Some((self.anchors[at].as_ref()?, rest))
    }

    /// Calls `work` with the directory at `path`, which is made if it is missing ([`Root::make_dir`]).
    ///
    /// # Errors
    /// As [`Root::make_dir`] and `work`.
    pub fn in_dir<T>(&self, path: &Path, work: impl FnOnce(BorrowedFd<'_>) -> Result<T, Errno>) -> Result<T, Errno> {
        match self.anchored(path) {
            Some((anchor, rest)) if rest.is_empty() => work(anchor.fd.as_fd()),
            _ => work(self.make_dir(path)?.as_fd()),
        }
    }

    /// Opens `path` inside the root; links are followed, but never out of it.
    ///
    /// # Errors
    /// As openat2(2).
    pub fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.resolve_with(path, flags, ResolveFlags::empty())
    }

    /// Opens the directory at `path` only if no component of it is a symbolic link.
    ///
    /// # Errors
    /// `ELOOP` for a link, `ENOTDIR` for anything but a directory.
    pub fn resolve_ordinary_dir(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.resolve_with(path, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::NO_SYMLINKS)
    }

    fn resolve_with(&self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
        let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
        if let Some((anchor, rest)) = self.anchored(path) {
            let rest = if rest.is_empty() { OsStr::new(".") } else { rest };
            match open_in(anchor.fd.as_fd(), rest, flags, resolve | ResolveFlags::BENEATH) {
                // A link leads out of it, such as /dev/fd.
                Err(Errno::XDEV) => {}
                other => return other,
            }
        }
        open_in(self.as_fd(), path.as_os_str(), flags, resolve | ResolveFlags::IN_ROOT)
    }

    /// Makes and opens a directory that is missing right below an anchor, as the mount points in a fresh /dev are. It is
    /// in the filesystem of the anchor, and that is not procfs, which takes no directories.
    pub fn make_new_dir(&self, path: &Path) -> Option<OwnedFd> {
        let (anchor, name) = self.anchored(path)?;
        if name.as_bytes().contains(&b'/') {
            // The way there may lead through a link.
            return None;
        }
        rustix::fs::mkdirat(&anchor.fd, name, Mode::from_raw_mode(0o755)).ok()?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        open_in(anchor.fd.as_fd(), name, OFlags::PATH | OFlags::DIRECTORY, resolve).ok()
    }

    /// Opens the directory at `path`, making what is missing of it (mode 0755), also behind a dangling link.
    ///
    /// # Errors
    /// As openat2(2) and mkdirat(2); `ELOOP` for links that lead nowhere.
    pub fn make_dir(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.make(path, Kind::Directory, MOST_LINKS)
    }

    /// As [`Root::make_dir`], for a directory in which device nodes are made. A link of the image must not lead to
    /// another mount: a volume of the host would get the nodes (CVE-2026-41579).
    ///
    /// # Errors
    /// `EXDEV` for a link that leads to another mount; else as [`Root::make_dir`].
    pub fn make_device_dir(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let made = self.make_dir(path)?;
        match self.resolve_ordinary_dir(path) {
            Err(Errno::LOOP) if mount_of(&made)? != mount_of(&self.fd)? => Err(Errno::XDEV),
            Err(Errno::LOOP) => Ok(made),
            found => found,
        }
    }

    /// Opens the file at `path` (whatever it is, but no directory), making an empty one when nothing is there.
    ///
    /// # Errors
    /// `EISDIR` for a directory; else as openat2(2) and openat(2).
    pub fn make_file(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.make(path, Kind::File, MOST_LINKS)
    }

    /// Makes a symbolic link to `target` at `path`, and the directories that lead there. One that is there already serves.
    ///
    /// # Errors
    /// `EEXIST` for anything else that is there, `EXDEV` inside of /proc; else as symlinkat(2).
    pub fn make_link(&self, path: &Path, target: &CStr) -> Result<(), Errno> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL);
        };
        let parent = self.make_dir(parent)?;
        if rustix::fs::fstatfs(&parent)?.f_type as u64 == PROC_MAGIC {
            return Err(Errno::XDEV);
        }
        match rustix::fs::symlinkat(target, &parent, name) {
            Err(Errno::EXIST) => match rustix::fs::readlinkat(&parent, name, Vec::new()) {
                Ok(found) if found.as_c_str() == target => Ok(()),
                _ => Err(Errno::EXIST),
            },
            other => other,
        }
    }

    /// The symbolic link at `path`, opened itself; `None` where something else is, or nothing.
    ///
    /// # Errors
    /// As openat2(2).
    pub fn link(&self, path: &Path) -> Result<Option<OwnedFd>, Errno> {
        match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            found => {
                let found = found?;
                let mode = rustix::fs::fstat(&found)?.st_mode;
                Ok(rustix::fs::FileType::from_raw_mode(mode).is_symlink().then_some(found))
            }
        }
    }

    fn make(&self, path: &Path, kind: Kind, links: u32) -> Result<OwnedFd, Errno> {
        let flags = if kind == Kind::Directory {
            OFlags::PATH | OFlags::DIRECTORY
        } else {
            OFlags::PATH
        };
        match self.resolve(path, flags) {
            Err(Errno::NOENT) => {}
            Ok(found) if kind == Kind::File && is_dir(&found)? => return Err(Errno::ISDIR),
            other => return other,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::INVAL);
        };
        let parent_fd = self.make(parent, Kind::Directory, links)?;
        match kind.make(&parent_fd, name) {
            // Something is there that the look-up did not find: a dangling link.
            Err(Errno::EXIST | Errno::LOOP | Errno::NOTDIR) if links > 0 => {
                let target = rustix::fs::readlinkat(&parent_fd, name, Vec::new())?;
                let target = parent.join(OsStr::from_bytes(target.as_bytes()));
                self.make(&target, kind, links - 1)
            }
            Err(Errno::EXIST) => Err(Errno::LOOP),
            Ok((made, is_new)) => {
                if let (true, Some(all)) = (is_new, &self.made) {
                    all.borrow_mut().push(Made::new(parent_fd, name, &made)?);
                }
                Ok(made)
            }
            Err(error) => Err(error),
        }
    }
}

/// Which of [`ANCHORS`] `path` is at or below, and what is left of it there.
fn nearest(path: &Path) -> Option<(usize, &OsStr)> {
    let mut all = ANCHORS.iter().enumerate();
    all.find_map(|(at, name)| Some((at, below(name, path)?)))
}

/// What is left of the absolute `path` below `name` in the root. Bytes, as to compare components takes thirty times as long.
fn below<'a>(name: &[u8], path: &'a Path) -> Option<&'a OsStr> {
    let inside = path.as_os_str().as_bytes().strip_prefix(b"/")?;
    match skip_nothing(inside).strip_prefix(name)? {
        rest @ ([] | [b'/', ..]) => Some(OsStr::from_bytes(skip_nothing(rest))),
        _ => None,
    }
}

/// `path` without what leads nowhere at its start: slashes and `.`.
fn skip_nothing(mut path: &[u8]) -> &[u8] {
    loop {
        path = match path {
            b"." => b"",
            [b'/', rest @ ..] | [b'.', b'/', rest @ ..] => rest,
            _ => return path,
        };
    }
}

/// What [`Root::make`] makes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
}

impl Kind {
    /// True beside what is new.
    fn make(self, parent: &OwnedFd, name: &OsStr) -> Result<(OwnedFd, bool), Errno> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match self {
            Self::Directory => {
                let is_new = match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => true,
                    // Another mount's process may have been quicker; a link is told by openat(2).
                    Err(Errno::EXIST) => false,
                    Err(error) => return Err(error),
                };
                let flags = flags | OFlags::PATH | OFlags::DIRECTORY;
                Ok((rustix::fs::openat(parent, name, flags, Mode::empty())?, is_new))
            }
            Self::File => {
                let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY | OFlags::NONBLOCK;
                let made = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644))?;
                Ok((made, true))
            }
        }
    }
}

/// Opens what `name` is in `dir`, only to mount on it; makes an empty file when nothing is there. What the image has
/// there is not opened for reading: opening a device node acts on the device.
///
/// # Errors
/// `ELOOP` for a symbolic link; else as openat(2).
pub fn mount_point(dir: BorrowedFd<'_>, name: impl rustix::path::Arg + Copy, mode: u32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dir, name, flags | OFlags::PATH, Mode::empty()) {
        Err(Errno::NOENT) => {
            let new = flags | OFlags::CREATE | OFlags::EXCL | OFlags::RDONLY;
            rustix::fs::openat(dir, name, new, Mode::from_raw_mode(mode))
        }
        Ok(found) if rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode).is_symlink() => {
            Err(Errno::LOOP)
        }
        found => found,
    }
}

/// The number of the mount that holds `fd` (`stx_mnt_id` of statx(2)).
fn mount_of(fd: impl AsFd) -> Result<u64, Errno> {
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    Ok(rustix::fs::statx(fd, c"", flags, rustix::fs::StatxFlags::MNT_ID)?.stx_mnt_id)
}

/// openat2(2), once more when the kernel asks for it.
fn open_in(dir: BorrowedFd<'_>, path: &OsStr, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries < RETRIES => tries += 1,
            other => return other,
        }
    }
}

/// The mount on top of the directory `target`. No name is looked up: with `target` as the root, `..` is the root itself,
/// and what is mounted on it is entered.
///
/// # Errors
/// As openat2(2).
pub fn mounted_on(target: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    open_in(target.as_fd(), OsStr::new(".."), flags, ResolveFlags::IN_ROOT)
}

/// True when the descriptor is a directory.
///
/// # Errors
/// As fstat(2).
pub fn is_dir(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(is_dir_mode(&rustix::fs::fstat(fd)?))
}

pub(super) fn is_dir_mode(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()
}

/// Calls `mount` with a path that leads to `target`, as mount(2) takes no descriptor. The path is `.`: one below
/// /proc/self/fd costs many times as much, as the kernel makes that directory for the first who asks. It serves where
/// `target` cannot be entered: a file, or a directory of an owner whom our user namespace does not have. `procfs` is the
/// host's, whatever the mount namespace shows at /proc.
///
/// # Errors
/// As `mount`.
pub fn mount_on<T>(
    target: &OwnedFd,
    procfs: &OwnedFd,
    mount: impl FnOnce(&str) -> Result<T, Errno>,
) -> Result<T, Errno> {
    if rustix::process::fchdir(target).is_ok() {
        return mount(".");
    }
    rustix::process::fchdir(procfs)?;
    mount(&format!("self/fd/{}", target.as_raw_fd()))
}

/// A detached copy of the mount (or part of a mount) that `from` stands on; with `recursive`, of the mounts below too.
///
/// # Errors
/// As open_tree(2).
pub fn clone_mount(from: impl AsFd, recursive: bool) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(from, c"", clone_flags(recursive) | OpenTreeFlags::AT_EMPTY_PATH)
}

/// [`clone_mount`] of a host path; with `nofollow`, of the link itself where the path ends in one.
///
/// # Errors
/// As open_tree(2).
pub fn clone_mount_at(path: &Path, recursive: bool, nofollow: bool) -> Result<OwnedFd, Errno> {
    let mut flags = clone_flags(recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, nofollow);
    rustix::mount::open_tree(rustix::fs::CWD, path, flags)
}

pub(super) fn clone_flags(recursive: bool) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if recursive {
        flags | OpenTreeFlags::AT_RECURSIVE
    } else {
        flags
    }
}

/// Attaches the detached mount `tree` on top of `target`.
///
/// # Errors
/// As move_mount(2).
pub fn attach(tree: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
