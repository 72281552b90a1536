//! Stopping all processes of a cgroup and letting them go on: v1's freezer and v2's `cgroup.freeze`.
//!
//! Called by pause, resume, status, and by killing. Freezing takes effect some time after the write, and on v1 a
//! process that forks at the wrong moment can keep the cgroup FREEZING until it is thawed and frozen once more
//! (cgroup-v1/freezer-subsystem.rst); both are waited for with short sleeps, within a bound.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};

use crate::dir::Dir;
use crate::error::Error;
use crate::record::{Record, check};

/// How long a freeze may take: uninterruptible sleepers (a dead NFS server) never freeze.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the first attempt may take; each later one twice as long.
const FIRST_WINDOW: Duration = Duration::from_millis(20);
const LONGEST_SLEEP: Duration = Duration::from_millis(5);
/// How long processes run between two attempts on v1.
const BREATH: Duration = Duration::from_millis(1);

/// The file that freezes, and how to read it back.
struct Freezer {
    dir: Dir,
    unified: bool,
}

impl Record {
    /// Freezes every process of the container. Returns when all of them stand still.
    ///
    /// # Errors
    /// [`Error::Timeout`] when they do not within two seconds; they are thawed again then. [`Error::Without`] when
    /// there is neither a v1 freezer nor a v2 cgroup.
    pub fn freeze(&self) -> Result<(), Error> {
        Freezer::open(self, "freeze")?.freeze()
    }

    /// Lets every process of the container go on.
    ///
    /// # Errors
    /// As [`Record::freeze`], but for the timeout.
    pub fn thaw(&self) -> Result<(), Error> {
        let freezer = Freezer::open(self, "thaw")?;
        freezer.set(&freezer.open_control()?, false)
    }

    /// As [`Record::thaw`], for a container that may not be frozen, or may vanish meanwhile: both are fine.
    ///
    /// # Errors
    /// When it stays frozen.
    pub fn thaw_if_frozen(&self) -> Result<(), Error> {
        if !self.is_frozen()? {
            return Ok(());
        }
        match self.thaw() {
            Err(_) if !self.is_frozen()? => Ok(()),
            thawed => thawed,
        }
    }

    /// As [`Record::thaw_if_frozen`], with what the container itself has frozen below: a process in v1's freezer does not
    /// even die before it is thawed.
    ///
    /// # Errors
    /// When something stays frozen.
    pub fn thaw_all(&self) -> Result<(), Error> {
        self.thaw_if_frozen()?;
        let Some(path) = self.paths.get("freezer") else {
            return Ok(());
        };
        // The kernel counts a directory's entry in its parent, its own ".", and one ".." for each cgroup below.
        match rustix::fs::lstat(path) {
            Err(Errno::NOENT | Errno::NODEV) => return Ok(()),
            Ok(stat) if stat.st_nlink == 2 => return Ok(()),
            _ => {}
        }
        check(path)?;
        crate::tree::walk(path, |dir| match dir.write("freezer.state", "THAWED") {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
            Err(errno) => Err(Error::file("write to", dir.file("freezer.state"))(errno)),
        })
    }

    /// True when the container itself was frozen (an ancestor's freeze does not count). False without a freezer, or when
    /// the cgroup goes while we look.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        match Freezer::open(self, "read the state of") {
            Ok(freezer) => freezer.is_frozen(),
            Err(Error::Without { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Freezer {
    fn open(record: &Record, action: &'static str) -> Result<Freezer, Error> {
        let missing = Error::Without {
            action,
            needs: "freezer",
        };
        let (path, unified) = match (record.paths.get("freezer"), record.unified()) {
            (Some(path), _) => (path.as_path(), false),
            (None, Some(path)) => (path, true),
            (None, None) => return Err(missing),
        };
        check(path)?.ok_or(missing)?;
        let dir = Dir::at(path.to_path_buf());
        Ok(Freezer { dir, unified })
    }

    /// The file that freezes, and what is written to it.
    fn control(&self, frozen: bool) -> (&'static str, &'static str) {
        match (self.unified, frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        }
    }

    fn open_control(&self) -> Result<OwnedFd, Error> {
        let file = self.control(true).0;
        self.dir.writer(file).map_err(Error::file("open", self.dir.file(file)))
    }

    fn set(&self, control: &OwnedFd, frozen: bool) -> Result<(), Error> {
        let (file, value) = self.control(frozen);
        retry_on_intr(|| rustix::io::pwrite(control, value.as_bytes(), 0))
            .map(drop)
            .map_err(Error::file("write to", self.dir.file(file)))
    }

    fn read(&self, file: &'static str) -> Result<String, Error> {
        self.dir.read(file).map_err(Error::file("read", self.dir.file(file)))
    }

    fn is_frozen(&self) -> Result<bool, Error> {
        let file = if self.unified {
            "cgroup.freeze"
        } else {
            "freezer.self_freezing"
        };
        match self.dir.read(file) {
            Err(Errno::NOENT | Errno::NODEV) => Ok(false),
            state => Ok(state.map_err(Error::file("read", self.dir.file(file)))?.trim() == "1"),
        }
    }

    /// True when every process stands still.
    fn has_settled(&self) -> Result<bool, Error> {
        if self.unified {
            return Ok(self.read("cgroup.events")?.lines().any(|line| line == "frozen 1"));
        }
        Ok(self.read("freezer.state")?.trim() == "FROZEN")
    }

    /// A failure at any point thaws again, through a descriptor that is open from the start.
    fn freeze(&self) -> Result<(), Error> {
        let control = self.open_control()?;
        let frozen = self.freeze_through(&control);
        if frozen.is_err() {
            self.set(&control, false)?;
        }
        frozen
    }

    fn freeze_through(&self, control: &OwnedFd) -> Result<(), Error> {
        let start = Instant::now();
        let mut window = FIRST_WINDOW;
        loop {
            self.set(control, true)?;
            if self.settles_within(window)? {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::Timeout {
                    action: "freeze",
                    path: self.dir.path.clone(),
                    seconds: PATIENCE.as_secs(),
                    hint: stuck(&self.dir.path),
                });
            }
            window *= 2;
            if !self.unified {
                // Processes that were born while the freezer walked its list are only found by another walk, and processes
                // that could not stop where they were may pass that point meanwhile.
                self.set(control, false)?;
                std::thread::sleep(BREATH);
            }
        }
    }

    fn settles_within(&self, window: Duration) -> Result<bool, Error> {
        let start = Instant::now();
        let mut sleep = Duration::from_micros(50);
        loop {
            if self.has_settled()? {
                return Ok(true);
            }
            if start.elapsed() > window {
                return Ok(false);
            }
            std::thread::sleep(sleep);
            sleep = (sleep * 2).min(LONGEST_SLEEP);
        }
    }
}

/// Names the processes of a cgroup that would not stand still.
fn stuck(path: &Path) -> String {
    let pids = crate::pids::read(path, true).unwrap_or_default();
    let pids: Vec<String> = pids.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
    format!("; its processes: {}", pids.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain files in the place of the kernel's: what is written can be read back.
    fn freezer(unified: bool, files: &[(&str, &str)]) -> (tempfile::TempDir, Freezer) {
        let scratch = tempfile::tempdir().unwrap();
        for (file, content) in files {
            std::fs::write(scratch.path().join(file), content).unwrap();
        }
        let dir = Dir::at(scratch.path().to_path_buf());
        (scratch, Freezer { dir, unified })
    }

    #[test]
    fn a_freeze_that_fails_after_the_write_thaws_again() {
        let (scratch, freezer) = freezer(true, &[("cgroup.freeze", "0")]);
        let error = freezer.freeze().unwrap_err().to_string();
        assert!(error.contains("cgroup.events"), "{error}");
        assert_eq!(
            std::fs::read_to_string(scratch.path().join("cgroup.freeze")).unwrap(),
            "0"
        );
    }

    #[test]
    fn a_freeze_that_succeeds_stays() {
        let files = [("cgroup.freeze", "0"), ("cgroup.events", "populated 1\nfrozen 1\n")];
        let (scratch, freezer) = freezer(true, &files);
        freezer.freeze().unwrap();
        assert_eq!(
            std::fs::read_to_string(scratch.path().join("cgroup.freeze")).unwrap(),
            "1"
        );
    }
}
