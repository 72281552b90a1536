//! `tmpcopyup`: a tmpfs that starts with a copy of the directory that it covers.
//!
//! The copy is made into the tmpfs before it is attached, so that the source needs no second name and nobody sees a
//! half-filled directory.

use std::os::fd::{AsFd, OwnedFd};

use nucleus_sys::mount::{Attributes, attr};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags};

use super::root::attach;

/// Covers `target` with a tmpfs that holds a copy of it. `data` are tmpfs options, comma-separated.
///
/// # Errors
/// As fsconfig(2), and as the calls that copy.
pub fn mount(target: &OwnedFd, flags: MountFlags, data: &[u8]) -> Result<(), Errno> {
    attach(detached(flags, data, Some(target))?, target)
}

/// A tmpfs that is not attached yet, with a copy of `source` in it if there is one.
///
/// # Errors
/// As [`mount`].
pub(crate) fn detached(flags: MountFlags, data: &[u8], source: Option<&OwnedFd>) -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    configure(&context, flags, data)?;
    rustix::mount::fsconfig_create(&context)?;
    let tmpfs = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    if let Some(source) = source {
        copy_dir(&reopen_dir(source)?, &tmpfs)?;
    }
    let attributes = attributes_of(flags);
    if !attributes.is_empty() {
        nucleus_sys::mount::set_attributes(&tmpfs, attributes, false)?;
    }
    Ok(tmpfs)
}

/// Gives the context of a tmpfs its options.
fn configure(context: &OwnedFd, flags: MountFlags, data: &[u8]) -> Result<(), Errno> {
    rustix::mount::fsconfig_set_string(context, "source", "tmpfs")?;
    for option in options(data).iter().filter(|option| !option.is_empty()) {
        match option.iter().position(|byte| *byte == b'=') {
            Some(at) => rustix::mount::fsconfig_set_string(context, &option[..at], &option[at + 1..])?,
            None => rustix::mount::fsconfig_set_flag(context, option)?,
        }
    }
    let superblock = [
        (MountFlags::SYNCHRONOUS, "sync"),
        (MountFlags::DIRSYNC, "dirsync"),
        (MountFlags::LAZYTIME, "lazytime"),
    ];
    for (_, option) in superblock.iter().filter(|(flag, _)| flags.contains(*flag)) {
        rustix::mount::fsconfig_set_flag(context, *option)?;
    }
    Ok(())
}

/// Splits data at its commas, but for those between quotation marks, as mount(2) does with labels; the marks go.
fn options(data: &[u8]) -> Vec<Vec<u8>> {
    let mut all = vec![Vec::new()];
    let mut quoted = false;
    for byte in data {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => all.push(Vec::new()),
            byte => all.last_mut().into_iter().for_each(|option| option.push(*byte)),
        }
    }
    all
}

/// `MS_*` mount flags as mount_setattr(2) names them.
pub(super) fn attributes_of(flags: MountFlags) -> Attributes {
    let set = [
        (MountFlags::RDONLY, attr::RDONLY),
        (MountFlags::NOSUID, attr::NOSUID),
        (MountFlags::NODEV, attr::NODEV),
        (MountFlags::NOEXEC, attr::NOEXEC),
        (MountFlags::NOATIME, attr::NOATIME),
        (MountFlags::STRICTATIME, attr::STRICTATIME),
        (MountFlags::NODIRATIME, attr::NODIRATIME),
        (MountFlags::NOSYMFOLLOW, attr::NOSYMFOLLOW),
    ]
    .iter()
    .filter(|(flag, _)| flags.contains(*flag))
    .fold(0, |bits, (_, bit)| bits | bit);
    let clear = if set & attr::ATIME_MASK != 0 {
        attr::ATIME_MASK
    } else {
        0
    };
    Attributes {
        set,
        clear,
        propagation: 0,
    }
}

fn reopen_dir(dir: impl AsFd) -> Result<OwnedFd, Errno> {
    open_in(dir, c".", OFlags::DIRECTORY)
}

fn open_in(dir: impl AsFd, name: &std::ffi::CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

fn copy_dir(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    for entry in rustix::fs::Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        copy_entry(from, to, name, &stat)?;
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr, stat: &Stat) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            copy_dir(
                &open_in(from, name, OFlags::DIRECTORY)?,
                &open_in(to, name, OFlags::DIRECTORY)?,
            )?;
        }
        FileType::RegularFile => {
            let source = open_in(from, name, OFlags::empty())?;
            // Another file may have got the name by now: a device of the host, for one.
            let opened = rustix::fs::fstat(&source)?;
            if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
                return Err(Errno::AGAIN);
            }
            let source = std::fs::File::from(source);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let made = std::fs::File::from(rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?);
            std::io::copy(&mut &source, &mut &made).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, to, name)?;
        }
        kind => rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?,
    }
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(stat.st_uid),
        rustix::fs::Gid::from_raw(stat.st_gid),
    );
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode).is_symlink() {
        return Ok(());
    }
    // The owner is changed first: chown(2) clears set-user-id bits.
    rustix::fs::chmodat(to, name, mode, AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_taken_the_name_of_a_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let open = |name: &str| OwnedFd::from(std::fs::File::open(dir.path().join(name)).unwrap());
        for name in ["from", "to"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let (from, to) = (open("from"), open("to"));
        let file = dir.path().join("from/file");
        std::fs::write(&file, "data").unwrap();
        std::fs::write(dir.path().join("from/other"), "of somebody else").unwrap();
        let seen = rustix::fs::statat(&from, c"file", AtFlags::SYMLINK_NOFOLLOW).unwrap();
        copy_entry(&from, &to, c"file", &seen).unwrap();
        assert_eq!(std::fs::read(dir.path().join("to/file")).unwrap(), b"data");
        std::fs::remove_file(dir.path().join("to/file")).unwrap();
        // A FIFO here; a device of the host would be worse.
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(&from, c"file", &from, c"other", flags).unwrap();
        assert_eq!(copy_entry(&from, &to, c"file", &seen), Err(Errno::AGAIN));
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(&from, c"file", FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert_eq!(copy_entry(&from, &to, c"file", &seen), Err(Errno::AGAIN));
        assert_eq!(std::fs::read_dir(dir.path().join("to")).unwrap().count(), 0);
    }

    #[test]
    fn commas_of_a_label_do_not_split_it() {
        assert_eq!(
            options(b"size=1k,context=\"a:b:c1,c2\",noswap"),
            [b"size=1k".to_vec(), b"context=a:b:c1,c2".to_vec(), b"noswap".to_vec()]
        );
        assert_eq!(options(b""), [b""]);
    }
}
