//! Walking the cgroups below a cgroup by descriptors: whole paths there may be longer than the kernel accepts.
//!
//! Called to list, kill, thaw and remove. A container with a writable cgroup mount nests cgroups as deeply as it likes.
//! The rules: one descriptor is open at a time however deep it goes, no path below the top is resolved, and a cgroup that
//! vanishes meanwhile is skipped. `..` is safe: a cgroup never moves to another parent.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir as ReadDir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::dir::Dir;
use crate::error::Error;

/// Calls `visit` for the cgroup at `path` and for all below it, parents first. One that is gone has none.
pub(crate) fn walk(path: &Path, mut visit: impl FnMut(&Dir) -> Result<(), Error>) -> Result<(), Error> {
    let mut dir = match Dir::open(path) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        opened => opened.map_err(Error::file("open", path))?,
    };
    visit(&dir)?;
    let mut levels = vec![children(&dir)?];
    while let Some(pending) = levels.last_mut() {
        match pending.pop() {
            Some(name) => {
                if enter(&mut dir, &name)? {
                    visit(&dir)?;
                    levels.push(children(&dir)?);
                }
            }
            None => {
                levels.pop();
                if !levels.is_empty() {
                    leave(&mut dir)?;
                }
            }
        }
    }
    Ok(())
}

/// Removes the cgroup at `path` and all below it, the deepest first. `busy` is called for one that cannot be removed
/// though it has no cgroups below it: `Ok` tries it again.
pub(crate) fn remove(path: &Path, mut busy: impl FnMut(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let (Some(parent), Some(top)) = (path.parent(), path.file_name()) else {
        return Err(Error::Path {
            path: path.to_path_buf(),
            problem: "is the root of a hierarchy",
        });
    };
    let mut dir = match Dir::open(parent) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
        opened => opened.map_err(Error::file("open", parent))?,
    };
    let mut levels = vec![vec![top.to_os_string()]];
    while let Some(pending) = levels.last_mut() {
        let Some(name) = pending.last() else {
            levels.pop();
            if !levels.is_empty() {
                leave(&mut dir)?;
            }
            continue;
        };
        match unlinkat(
            dir.fd().map_err(Error::file("open", &dir.path))?,
            name,
            AtFlags::REMOVEDIR,
        ) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => drop(pending.pop()),
            // The name stays pending: it is tried again once what is below it is gone.
            Err(Errno::BUSY | Errno::NOTEMPTY) => {
                let name = name.clone();
                if !enter(&mut dir, &name)? {
                    continue;
                }
                let below = children(&dir)?;
                if below.is_empty() {
                    busy(&dir.path)?;
                }
                levels.push(below);
            }
            Err(errno) => return Err(Error::file("remove cgroup", dir.path.join(name))(errno)),
        }
    }
    Ok(())
}

/// Goes down; false when the cgroup is gone.
fn enter(dir: &mut Dir, name: &OsStr) -> Result<bool, Error> {
    match step(dir, name) {
        Ok(()) => {
            dir.path.push(name);
            Ok(true)
        }
        Err(Errno::NOENT | Errno::NODEV) => Ok(false),
        Err(errno) => Err(Error::file("open", dir.path.join(name))(errno)),
    }
}

/// Goes up.
fn leave(dir: &mut Dir) -> Result<(), Error> {
    step(dir, OsStr::new("..")).map_err(Error::file("leave", &dir.path))?;
    dir.path.pop();
    Ok(())
}

fn step(dir: &mut Dir, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    dir.fd = Some(openat(dir.fd()?, name, flags, Mode::empty())?);
    Ok(())
}

/// The names of the cgroups right below; none when the directory is gone.
fn children(dir: &Dir) -> Result<Vec<OsString>, Error> {
    let failed = |errno| Error::file("read", &dir.path)(errno);
    let mut names = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = dir.fd().and_then(|fd| openat(fd, ".", flags, Mode::empty()));
    let entries = match opened.and_then(ReadDir::new) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(names),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let entry = match entry {
            Err(Errno::NOENT | Errno::NODEV) => break,
            entry => entry.map_err(failed)?,
        };
        let name = entry.file_name().to_bytes();
        if entry.file_type() == FileType::Directory && name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_os_string());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of plain directories, deeper than a path may be long; the kernel's files are not needed for walking.
    fn deep(top: &Path, depth: usize) {
        let mut dir = Dir::open(top).unwrap();
        for _ in 0..depth {
            for name in ["a".repeat(200), "b".to_owned()] {
                rustix::fs::mkdirat(dir.fd().unwrap(), name.as_str(), Mode::RWXU).unwrap();
            }
            assert!(enter(&mut dir, OsStr::new(&"a".repeat(200))).unwrap());
        }
    }

    #[test]
    fn trees_deeper_than_a_path_is_long_are_walked_and_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("top");
        std::fs::create_dir(&top).unwrap();
        deep(&top, 50);
        let mut seen = 0;
        let mut longest = 0;
        walk(&top, |dir| {
            seen += 1;
            longest = longest.max(dir.path.as_os_str().len());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, 101);
        assert!(
            longest > 4096,
            "the tree must be deeper than a path may be long: {longest}"
        );
        // The control: by its path the deepest one cannot be reached.
        let whole = (0..50).fold(top.clone(), |path, _| path.join("a".repeat(200)));
        assert_eq!(Dir::open(&whole).unwrap_err(), Errno::NAMETOOLONG);
        remove(&top, |path| panic!("{} is busy", path.display())).unwrap();
        assert!(!top.exists());
    }

    #[test]
    fn what_does_not_become_free_ends_the_removal() {
        let scratch = tempfile::tempdir().unwrap();
        let top = scratch.path().join("top");
        std::fs::create_dir_all(top.join("below")).unwrap();
        std::fs::write(top.join("below/file"), "").unwrap();
        let mut tries = 0;
        let result = remove(&top, |path| {
            tries += 1;
            match tries {
                3 => Err(Error::file("remove cgroup", path)(Errno::BUSY)),
                _ => Ok(()),
            }
        });
        assert!(result.unwrap_err().to_string().contains("top/below"));
        assert_eq!(tries, 3);
    }
}
