//! Hearing of processes that were killed for want of memory.
//!
//! Called by `events`. v1 signals an eventfd that is registered through `cgroup.event_control`
//! (cgroup-v1/memory.rst, "OOM Control"); v2 makes `memory.events` poll as changed (cgroup-v2.rst). Either descriptor
//! goes into a poll(2) of the caller's own, who then asks [`OomWatch::occurred`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::{CWD, Mode, OFlags, SeekFrom, openat, seek};
use rustix::io::Errno;

use crate::dir::{Dir, Records, read_all};
use crate::error::Error;
use crate::record::{Record, check};

/// A watch over one container's memory.
#[derive(Debug)]
pub struct OomWatch {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The event, and a file that is gone when the cgroup is: then the kernel signals the event, too.
    V1 { event: OwnedFd, witness: PathBuf },
    /// `memory.events`, and how many processes it told of last.
    V2 { file: OwnedFd, path: PathBuf, killed: u64 },
}

impl Record {
    /// Begins to watch. Kills that happened before are not told.
    ///
    /// # Errors
    /// [`Error::Without`] when the container has no memory cgroup; else the file that could not be opened or written.
    pub fn oom_watch(&self) -> Result<OomWatch, Error> {
        let v1 = self.paths.get("memory");
        let missing = Error::Without {
            action: "watch memory",
            needs: "memory",
        };
        let Some(path) = v1.map(PathBuf::as_path).or(self.unified()) else {
            return Err(missing);
        };
        if check(path)?.is_none() {
            return Err(missing);
        }
        let dir = Dir::open(path).map_err(Error::file("open", path))?;
        let kind = if v1.is_some() {
            watch_v1(&dir)?
        } else {
            watch_v2(&dir, missing)?
        };
        Ok(OomWatch { kind })
    }
}

fn watch_v1(dir: &Dir) -> Result<Kind, Error> {
    let witness = dir.file("memory.oom_control");
    let control = dir
        .reader("memory.oom_control")
        .map_err(Error::file("open", &witness))?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(Error::file("watch", &witness))?;
    let pair = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    let file = "cgroup.event_control";
    dir.write(file, &pair)
        .map_err(Error::file("write to", dir.file(file)))?;
    Ok(Kind::V1 { event, witness })
}

fn watch_v2(dir: &Dir, missing: Error) -> Result<Kind, Error> {
    let path = dir.file("memory.events");
    let file = match openat(CWD, &path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Err(missing),
        result => result.map_err(Error::file("open", &path))?,
    };
    // Reading it also tells the kernel what the next poll is to be compared with.
    let killed = count(&file).map_err(Error::file("read", &path))?;
    Ok(Kind::V2 { file, path, killed })
}

fn count(file: &OwnedFd) -> Result<u64, Errno> {
    seek(file, SeekFrom::Start(0))?;
    let text = read_all(file, Records::One)?;
    let value = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    Ok(value.and_then(|value| value.parse().ok()).unwrap_or(0))
}

impl OomWatch {
    /// What to poll, and for which events.
    pub fn poll(&self) -> (BorrowedFd<'_>, PollFlags) {
        match &self.kind {
            Kind::V1 { event, .. } => (event.as_fd(), PollFlags::IN),
            Kind::V2 { file, .. } => (file.as_fd(), PollFlags::PRI),
        }
    }

    /// True when the kernel has run out of memory here since the last call. Does not wait.
    ///
    /// # Errors
    /// When the descriptor cannot be read; a cgroup that is gone is none.
    pub fn occurred(&mut self) -> Result<bool, Error> {
        match &mut self.kind {
            Kind::V1 { event, witness } => match rustix::io::read(&*event, &mut [0_u8; 8]) {
                Ok(_) => Ok(witness.exists()),
                Err(Errno::AGAIN) => Ok(false),
                Err(errno) => Err(Error::file("watch", &*witness)(errno)),
            },
            Kind::V2 { file, path, killed } => match count(file) {
                Ok(now) => Ok(std::mem::replace(killed, now) < now),
                Err(Errno::NODEV) => Ok(false),
                Err(errno) => Err(Error::file("read", &*path)(errno)),
            },
        }
    }
}
