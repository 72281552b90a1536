//! Stopping all processes of a cgroup and letting them go on: v1's freezer and v2's `cgroup.freeze`.
//!
//! Called by pause, resume, status, and by killing. Freezing takes effect some time after the write, and on v1 a
//! process that forks at the wrong moment can keep the cgroup FREEZING until it is thawed and frozen once more
//! (cgroup-v1/freezer-subsystem.rst); both are waited for with short sleeps, within a bound.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

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
        Freezer::open(self, "thaw")?.set(false)
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

    fn set(&self, frozen: bool) -> Result<(), Error> {
        let (file, value) = match (self.unified, frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        self.dir
            .write(file, value)
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

    fn freeze(&self) -> Result<(), Error> {
        let start = Instant::now();
        let mut window = FIRST_WINDOW;
        loop {
            self.set(true)?;
            if self.settles_within(window)? {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                self.set(false)?;
                return Err(Error::Timeout {
                    action: "freeze",
                    path: self.dir.path.clone(),
                    seconds: PATIENCE.as_secs(),
                    hint: stuck(&self.dir.path),
                });
            }
            window *= 2;
            if !self.unified {
                // Whoever was born while the freezer walked its list is only found by another walk, and a moment of
                // freedom lets those pass who would not stop where they were.
                self.set(false)?;
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
