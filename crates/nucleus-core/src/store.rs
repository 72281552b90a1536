//! The directory of all containers, opened once: `ROOT/ID/` for each of them.
//!
//! Every verb opens a [`Store`] and goes on with the descriptor; the path is never resolved again. The rules: a root
//! that exists is never changed, one that belongs to somebody else or that others may write to is refused; the id that
//! a verb is given is exact, prefixes are for people's tools only; one broken container never hides the others.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::dir::ContainerDir;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::lock::Reservation;
use crate::state::ContainerState;

/// The opened root, shared with the containers' directories.
#[derive(Debug)]
pub(crate) struct Root {
    /// None when there is no such directory and nobody asked to make it: there are no containers.
    fd: Option<OwnedFd>,
    path: PathBuf,
}

impl Root {
    /// The directory, or ENOENT.
    pub(crate) fn dirfd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.fd.as_ref().map(OwnedFd::as_fd).ok_or(Errno::NOENT)
    }

    /// Its path, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// All containers of one state directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: Arc<Root>,
}

impl Store {
    /// Opens the state directory. One that is missing is made (mode 0700) if `create`; otherwise it holds no container.
    ///
    /// # Errors
    /// [`Error::SymlinkRoot`], [`Error::ForeignRoot`], [`Error::WritableRoot`] for a directory that is not safely
    /// ours; [`Error::OpenRoot`], [`Error::CreateRoot`].
    pub fn open(path: &Path, create: bool) -> Result<Self> {
        // Without a trailing "/" or "/.", behind which the kernel would follow a link at the end.
        let path: PathBuf = path.components().collect();
        let fd = match open_root(&path) {
            Err(Errno::NOENT) if create => {
                create_root(&path).map_err(|errno| Error::CreateRoot {
                    path: path.clone(),
                    source: errno.into(),
                })?;
                open_root(&path).map(Some)
            }
            Err(Errno::NOENT) => Ok(None),
            other => other.map(Some),
        };
        match fd {
            Ok(Some(fd)) => {
                check_root(&fd, &path)?;
                Ok(Self {
                    root: Arc::new(Root { fd: Some(fd), path }),
                })
            }
            Ok(None) => Ok(Self {
                root: Arc::new(Root { fd: None, path }),
            }),
            Err(errno) => Err(open_error(path, errno)),
        }
    }

    /// The descriptor, or ENOENT.
    pub(crate) fn dirfd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.root.dirfd()
    }

    /// The path of the state directory, for messages.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Takes an id: makes its directory and locks it. Dropped without [`Reservation::commit`], all of it goes away.
    ///
    /// # Errors
    /// [`Error::Exists`] when the id is taken; [`Error::Reserve`], [`Error::Lock`].
    pub fn reserve(&self, id: &ContainerId) -> Result<Reservation> {
        Reservation::make(&self.root, id)
    }

    /// The container with exactly this id.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::OpenContainer`].
    pub fn get(&self, id: &ContainerId) -> Result<ContainerDir> {
        ContainerDir::open(&self.root, id)
    }

    /// All containers, sorted by id. A broken one is an error of its own; one that is removed meanwhile is left out.
    ///
    /// # Errors
    /// [`Error::List`] when the state directory itself cannot be read.
    pub fn list(
        &self,
    ) -> Result<impl Iterator<Item = (ContainerId, Result<(ContainerDir, ContainerState)>)> + use<'_>> {
        let ids = self.ids()?;
        Ok(ids.into_iter().filter_map(|id| {
            let loaded = self.get(&id).and_then(|dir| dir.load().map(|state| (dir, state)));
            match loaded {
                Err(error) if error.is_not_found() => None,
                loaded => Some((id, loaded)),
            }
        }))
    }

    /// The ids of all containers, sorted; nothing is opened or parsed.
    ///
    /// # Errors
    /// [`Error::List`].
    pub fn ids(&self) -> Result<Vec<ContainerId>> {
        let Ok(root) = self.root.dirfd() else {
            return Ok(Vec::new());
        };
        let mut ids = Vec::new();
        let failed = |errno: Errno| Error::List {
            path: self.path().to_owned(),
            source: errno.into(),
        };
        for entry in Dir::read_from(root).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_str().ok();
            let Some(id) = name.and_then(|name| ContainerId::parse(name).ok()) else {
                continue;
            };
            let kind = match entry.file_type() {
                FileType::Unknown => file_type(root, id.as_str()),
                known => known,
            };
            if kind == FileType::Directory {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

fn open_root(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
}

/// Makes the directory for us alone, and what is missing above it as any directory is made.
fn create_root(path: &Path) -> Result<(), Errno> {
    let tolerant = |path: &Path, mode| match rustix::fs::mkdirat(CWD, path, mode) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    };
    let leaf = Mode::RWXU;
    match tolerant(path, leaf) {
        Err(Errno::NOENT) => {}
        done => return done,
    }
    let mut parent = PathBuf::new();
    for component in path.parent().unwrap_or(path).components() {
        parent.push(component);
        if matches!(component, Component::Normal(_)) {
            tolerant(&parent, leaf | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH)?;
        }
    }
    tolerant(path, leaf)
}

fn check_root(fd: &OwnedFd, path: &Path) -> Result<()> {
    let stat = rustix::fs::fstat(fd).map_err(|errno| open_error(path.to_owned(), errno))?;
    let euid = rustix::process::geteuid().as_raw();
    if stat.st_uid != euid {
        return Err(Error::ForeignRoot {
            path: path.to_owned(),
            owner: stat.st_uid,
            euid,
        });
    }
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.intersects(Mode::WGRP | Mode::WOTH) {
        return Err(Error::WritableRoot {
            path: path.to_owned(),
            mode: mode.bits() & 0o7777,
        });
    }
    Ok(())
}

/// A link at the end shows as ENOTDIR or ELOOP; it is worth a clearer word.
fn open_error(path: PathBuf, errno: Errno) -> Error {
    let link = matches!(errno, Errno::NOTDIR | Errno::LOOP) && file_type(CWD, &path) == FileType::Symlink;
    if link {
        return Error::SymlinkRoot { path };
    }
    Error::OpenRoot {
        path,
        source: errno.into(),
    }
}

fn file_type(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> FileType {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(_) => FileType::Unknown,
    }
}
