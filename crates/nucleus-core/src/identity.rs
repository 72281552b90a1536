//! Which process a record means, for ever: a pid alone is given to another process sooner or later.
//!
//! Taken by the creating parent while the child is unreaped, stored with the state, opened by later programs. The
//! proof, strongest first: the pidfs handle (never used twice within a boot) with the boot id, opened, or compared with
//! that of the process which has the pid now; else the start time of that process with the boot id. The rule: `None`
//! is only said of a process that is known to be dead; whatever leaves a doubt is an error, because "dead" leads to
//! removal.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nucleus_sys::pidfs::Handle;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::boot::{BootId, pid_namespace, read_small};
use crate::errno::ErrnoText;
use crate::error::{Error, Result};
use crate::process::{Process, has_exited};

/// The lasting name of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    #[serde(with = "pid_number")]
    pid: Pid,
    boot_id: BootId,
    /// Clock ticks after boot, field 22 of `/proc/PID/stat`. Taken when there is no handle; older versions always did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_ticks: Option<u64>,
    /// Missing on kernels without pidfs handles.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "handle_text")]
    handle: Option<Handle>,
    /// Inode number of the PID namespace that `pid` belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid_namespace: Option<u64>,
}

impl ProcessIdentity {
    /// The identity of a child. Only its parent may ask, before it reaps the child: until then the pid is the child's.
    ///
    /// # Errors
    /// [`Error::ReservedPid`] for pid 1, [`Error::Identify`] when neither a handle nor the start time can be had.
    pub fn of(pid: Pid, pidfd: impl AsFd) -> Result<Self> {
        if pid.is_init() {
            return Err(Error::ReservedPid { pid: 1 });
        }
        Self::take(pid, pidfd.as_fd())
    }

    /// The identity of the calling process. It may be pid 1 of a PID namespace: it is looked at, never signalled.
    ///
    /// # Errors
    /// As [`ProcessIdentity::of`].
    pub fn current() -> Result<Self> {
        let pid = rustix::process::getpid();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| Error::Identify {
            pid: raw(pid),
            source: errno.into(),
        })?;
        Self::take(pid, pidfd.as_fd())
    }

    fn take(pid: Pid, pidfd: BorrowedFd<'_>) -> Result<Self> {
        // Without a handle (an older kernel, a seccomp filter around us) the start time has to do.
        let handle = Handle::of(pidfd).ok();
        let start_ticks = match handle {
            Some(_) => None,
            None => Some(start_ticks(pid).map_err(|errno| Error::Identify {
                pid: raw(pid),
                source: errno.into(),
            })?),
        };
        let (boot_id, pid_namespace) = (BootId::current()?, Some(pid_namespace()?));
        Ok(Self {
            pid,
            boot_id,
            start_ticks,
            handle,
            pid_namespace,
        })
    }

    /// The pid, in the PID namespace of the program that took the identity. For showing, never for signalling.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The process, if it lives: `None` when it has exited (a zombie has), or belonged to another boot.
    ///
    /// # Errors
    /// [`Error::OtherPidNamespace`] when it was recorded in another PID namespace and cannot be reached from this one;
    /// [`Error::Liveness`], [`Error::BootId`] when it cannot be told.
    pub fn open(&self) -> Result<Option<Process>> {
        if let Some(handle) = self.handle {
            match handle.open() {
                // A number of an earlier boot may by chance be one of this boot.
                Ok(_) if self.boot_id != BootId::current()? => return Ok(None),
                Ok(pidfd) => return self.unless_exited(pidfd),
                Err(Errno::STALE) => return self.reaped_here(),
                // Old kernel, or a filter that forbids the call.
                Err(_) => {}
            }
        }
        self.open_by_pid()
    }

    /// The kernel says ESTALE for a process of another PID namespace, too.
    fn reaped_here(&self) -> Result<Option<Process>> {
        if self.boot_id == BootId::current()? {
            self.check_namespace()?;
        }
        Ok(None)
    }

    fn open_by_pid(&self) -> Result<Option<Process>> {
        if self.boot_id != BootId::current()? {
            return Ok(None);
        }
        self.check_namespace()?;
        let pidfd = match pidfd_open(self.pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // The last two: the number is now that of a mere thread (the kernel has changed its word for that).
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.doubt(ErrnoText(errno))),
        };
        // Kernels from 6.14 to 6.16, and many a filter, let handles be taken and not opened.
        let is_it = self.is_behind(self.pid, &pidfd);
        // Only after this poll it is sure that a start time was that of the process behind the descriptor: had the
        // number gone to somebody else, that process would have exited.
        match self.unless_exited(pidfd)? {
            Some(process) => Ok(is_it?.then_some(process)),
            None => Ok(None),
        }
    }

    /// The recorded process, if it is the one that has `pid` in the PID namespace of this program: for a process that
    /// was recorded in another one, whose numbers mean nothing here.
    ///
    /// # Errors
    /// As [`ProcessIdentity::open`].
    pub fn open_as(&self, pid: Pid) -> Result<Option<Process>> {
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.doubt(ErrnoText(errno))),
        };
        let is_it = self.is_behind(pid, &pidfd);
        if has_exited(pidfd.as_fd(), Some(Duration::ZERO)).map_err(|errno| self.doubt(ErrnoText(errno)))? || !is_it? {
            return Ok(None);
        }
        // A start time counts hundredths of a second: several processes of one container share it.
        if self.handle.is_none() && !numbers_in_namespaces(pid).contains(&raw(self.pid)) {
            return Ok(None);
        }
        Ok(Some(Process::new(pid, pidfd)))
    }

    fn is_behind(&self, pid: Pid, pidfd: &OwnedFd) -> Result<bool> {
        match (self.handle, Handle::of(pidfd)) {
            (Some(recorded), Ok(seen)) => Ok(seen == recorded),
            _ => self.started_then(pid),
        }
    }

    /// Whether the process that has the pid now started when the recorded one did.
    fn started_then(&self, pid: Pid) -> Result<bool> {
        let recorded = self
            .start_ticks
            .ok_or_else(|| self.doubt("its handle cannot be used here and no start time was recorded"))?;
        let seen = start_ticks(pid)
            .map_err(|errno| self.doubt(format_args!("/proc/{}/stat: {}", raw(pid), ErrnoText(errno))))?;
        Ok(seen == recorded)
    }

    fn unless_exited(&self, pidfd: OwnedFd) -> Result<Option<Process>> {
        match has_exited(pidfd.as_fd(), Some(Duration::ZERO)) {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(Process::new(self.pid, pidfd))),
            Err(errno) => Err(self.doubt(ErrnoText(errno))),
        }
    }

    fn check_namespace(&self) -> Result<()> {
        match self.pid_namespace {
            Some(recorded) if recorded != pid_namespace()? => Err(Error::OtherPidNamespace { pid: raw(self.pid) }),
            _ => Ok(()),
        }
    }

    fn doubt(&self, what: impl ToString) -> Error {
        Error::Liveness {
            pid: raw(self.pid),
            what: what.to_string(),
        }
    }
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// Field 22 of `/proc/PID/stat` (`proc_pid_stat(5)`): the start in clock ticks after boot.
fn start_ticks(pid: Pid) -> Result<u64, Errno> {
    let mut buffer = [0; 1024];
    let stat = read_small(format!("/proc/{}/stat", raw(pid)), &mut buffer)?;
    parse_start_ticks(stat).ok_or(Errno::ILSEQ)
}

/// The numbers of a process in all PID namespaces that it is in, `NSpid` of `/proc/PID/status`; none when it is gone.
fn numbers_in_namespaces(pid: Pid) -> Vec<i32> {
    let mut buffer = [0; 4096];
    let text = read_small(format!("/proc/{}/status", raw(pid)), &mut buffer).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let numbers = numbers.unwrap_or_default().split_ascii_whitespace();
    numbers.filter_map(|number| number.parse().ok()).collect()
}

/// The program name may hold anything, parentheses and spaces too: fields are counted from its last ')'.
fn parse_start_ticks(stat: &[u8]) -> Option<u64> {
    const FIELDS_AFTER_NAME: usize = 22 - 3;
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let fields = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(FIELDS_AFTER_NAME)?.parse().ok()
}

/// A pid as a JSON number. Zero and negative numbers mean groups of processes to `kill(2)` and are never read back.
mod pid_number {
    use rustix::process::Pid;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(pid: &Pid, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(pid.as_raw_nonzero().get())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pid, D::Error> {
        let number = i64::deserialize(deserializer)?;
        let positive = i32::try_from(number).ok().filter(|number| *number > 0);
        positive
            .and_then(Pid::from_raw)
            .ok_or_else(|| D::Error::custom(format_args!("{number} is no pid")))
    }
}

/// A handle as 16 hexadecimal digits: a JSON number could lose bits in other readers.
mod handle_text {
    use nucleus_sys::pidfs::Handle;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(handle: &Option<Handle>, serializer: S) -> Result<S::Ok, S::Error> {
        match handle {
            Some(handle) => serializer.collect_str(&format_args!("{:016x}", u64::from_be_bytes(handle.0))),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Handle>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        let valid = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = if valid {
            u64::from_str_radix(&text, 16).ok()
        } else {
            None
        };
        let number = number.ok_or_else(|| D::Error::custom("a process handle is 16 hexadecimal digits"))?;
        Ok(Some(Handle(number.to_be_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

    use super::{Handle, ProcessIdentity, parse_start_ticks};

    const AFTER: &str = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 99 98";

    #[test]
    fn start_ticks_are_counted_from_the_last_parenthesis() {
        for name in ["sh", ") ", "a) S 1 2 3", "((", ")) 7"] {
            let stat = format!("77 ({name}) {AFTER}");
            assert_eq!(parse_start_ticks(stat.as_bytes()), Some(4242), "{name}");
        }
    }

    #[test]
    fn names_need_not_be_text() {
        let stat = [b"77 (\xff\xfe) ".as_slice(), AFTER.as_bytes()].concat();
        assert_eq!(parse_start_ticks(&stat), Some(4242));
    }

    #[test]
    fn a_handle_that_cannot_be_opened_is_compared() {
        let mut me = ProcessIdentity::current().unwrap();
        let parent = rustix::process::getppid().and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let others = parent.and_then(|parent| Handle::of(parent).ok());
        if let (Some(_), Some(others)) = (me.handle, others) {
            assert_eq!(me.open_by_pid().unwrap().unwrap().pid(), getpid());
            me.handle = Some(others);
            assert!(me.open_by_pid().unwrap().is_none(), "the pid is another's now");
        }
        me.pid = Pid::from_raw(i32::MAX).unwrap();
        assert!(me.open_by_pid().unwrap().is_none(), "there is no such pid");
    }

    #[test]
    fn a_cut_off_or_empty_file_gives_nothing() {
        assert_eq!(parse_start_ticks(b""), None);
        assert_eq!(parse_start_ticks(b"77 (sh) S 1 2 3"), None);
        assert_eq!(parse_start_ticks(b"77 (sh"), None);
    }
}
