//! From a plan to a living process: one clone3 where the kernel allows it, a middle process where it does not.
//!
//! Joining a PID namespace concerns only children, joining a user namespace takes the rights over the others away, and
//! a new user namespace has none over namespaces that are older. In these cases a middle process joins, makes the
//! other as a sibling (CLONE_PARENT) and ends; what is made is the runtime's child either way. All else is one clone.
//! Called by `create` for init and by `exec` for a further process, each with its own [`ChildProcess`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use nucleus_cgroup::Joiner;
use nucleus_sys::process::{Clone, Forked, clear_environment, clone3};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::channel::{HostEnd, PidReport, ToHost};
use crate::init::failure::{Explain, Failure};
use crate::init::{ChildProcess, TIME_NAMESPACE};
use crate::plan::{Namespaces, Plan};

const NEW_USER: u64 = CloneFlags::CLONE_NEWUSER.bits() as u64;
const NEW_PID: u64 = CloneFlags::CLONE_NEWPID.bits() as u64;
/// Made by init itself: a cgroup namespace once it is in its group, a time namespace once its offsets are set.
const LATER: u64 = CloneFlags::CLONE_NEWCGROUP.bits() as u64 | TIME_NAMESPACE;

/// How a process is to be born.
#[derive(Clone, Copy)]
pub struct CloneSpec<'a> {
    /// Namespaces that clone3 makes.
    flags: u64,
    /// Through a middle process.
    middle: bool,
    /// The v2 control group that it is born into.
    cgroup: Option<BorrowedFd<'a>>,
    /// Finds the v2 control group to take when that one is busy.
    otherwise: Option<&'a dyn Fn() -> Option<OwnedFd>>,
    /// Makes that group one that can hold processes, if it can; says whether it has.
    make_threaded: Option<&'a dyn Fn() -> bool>,
    /// Gives the way into all control groups for one that could not be born into the v2 one.
    by_writing: OpenJoiner<'a>,
}

type OpenJoiner<'a> = &'a dyn Fn() -> Result<Joiner, nucleus_cgroup::Error>;

impl<'a> CloneSpec<'a> {
    /// As a container's init.
    pub fn of_init(
        namespaces: &Namespaces,
        cgroup: Option<BorrowedFd<'a>>,
        make_threaded: &'a dyn Fn() -> bool,
        by_writing: OpenJoiner<'a>,
    ) -> Self {
        let joins = |bit: u64| namespaces.join.iter().any(|(join, _)| *join == bit);
        Self {
            flags: namespaces.new & !LATER,
            middle: joins(NEW_USER) || joins(NEW_PID) || (namespaces.creates(NEW_USER) && !namespaces.join.is_empty()),
            cgroup,
            otherwise: None,
            make_threaded: Some(make_threaded),
            by_writing,
        }
    }

    /// As a further process, which joins these namespaces (`CLONE_NEW*` bits) all at once. When the program of the
    /// container has spread its processes over groups of its own, its group itself takes no more: `otherwise` does.
    pub fn of_exec(
        joins: u64,
        cgroup: Option<BorrowedFd<'a>>,
        otherwise: &'a dyn Fn() -> Option<OwnedFd>,
        by_writing: OpenJoiner<'a>,
    ) -> Self {
        Self {
            flags: 0,
            middle: joins & NEW_PID != 0,
            cgroup,
            otherwise: Some(otherwise),
            make_threaded: None,
            by_writing,
        }
    }

    /// Whether the process joins its control groups after the last clone if they have no room for a clone: `exec`, which
    /// administrators need above all in a container that has reached its limit. `pids.max` bounds clones, not joins.
    fn enters_late(&self) -> bool {
        self.otherwise.is_some() && self.cgroup.is_some()
    }

    fn all_groups(&self) -> Result<Joiner, Failure> {
        (self.by_writing)().map_err(|error| Failure::new(error.to_string()))
    }

    fn clone_process(&self) -> Result<Forked, Errno> {
        let into = |cgroup| {
            let flags = if self.middle { 0 } else { self.flags };
            clone3(&Clone { flags, cgroup })
        };
        match into(self.cgroup) {
            Err(Errno::BUSY) => match self.otherwise.and_then(|find| find()) {
                Some(other) => into(Some(other.as_fd())),
                None => Err(Errno::BUSY),
            },
            Err(Errno::OPNOTSUPP) if self.make_threaded.is_some_and(|make| make()) => into(self.cgroup),
            made => made,
        }
    }
}

/// What else ends a process that says nothing.
const PROFILE: &str = "a seccomp profile must allow read and write";

/// A process of the container while it is ours: killed and reaped when dropped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: Option<OwnedFd>,
}

impl Child {
    /// Its pid, ours until it is reaped.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its pidfd.
    ///
    /// # Errors
    /// `ESRCH` once it was given away.
    pub fn pidfd(&self) -> rustix::io::Result<&OwnedFd> {
        self.pidfd.as_ref().ok_or(rustix::io::Errno::SRCH)
    }

    /// Lets it live on.
    pub fn release(mut self) -> Option<OwnedFd> {
        self.pidfd.take()
    }

    /// What became of it and what may have caused it, for an error: reaps it if it has ended.
    pub fn epitaph(&mut self) -> String {
        if let Some(pidfd) = &self.pidfd {
            // The end of the channel comes a moment before the end of the process, which says why.
            let mut watched = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
            let moment = Timespec { tv_sec: 1, tv_nsec: 0 };
            let _ = rustix::event::poll(&mut watched, Some(&moment));
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
        self.pidfd = None;
        match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                (_, Some(signal)) if signal == Signal::KILL.as_raw() => {
                    format!("killed by signal {signal}; a memory limit must leave room for its own set-up")
                }
                (_, Some(signal)) => format!("killed by signal {signal}; {PROFILE}"),
                (Some(code), _) => format!("exit status {code}; {PROFILE}"),
                _ => "unknown status".to_string(),
            },
            _ => "unknown status".to_string(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
            let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}

/// A process that does one thing and ends: it calls `run`, whose result is its exit code. What `context` owns belongs to that
/// process alone afterwards.
///
/// # Errors
/// As clone3(2).
pub fn child<T>(context: T, run: impl FnOnce(T) -> i32) -> Result<Child, Failure> {
    match clone3(&Clone { flags: 0, cgroup: None }).map_err(|errno| cannot_clone(errno, None))? {
        Forked::Child => {
            clear_environment();
            std::process::exit(run(context))
        }
        Forked::Parent(pid, pidfd) => Ok(Child {
            pid,
            pidfd: Some(pidfd),
        }),
    }
}

/// A process that was cloned, and what it was given: until it is known to live, that may be needed once more.
pub struct Cloned<N> {
    init: Child,
    process: N,
    /// It was cloned into its v2 control group.
    in_group: bool,
}

/// Makes the process. Returns in the runtime only, which has time for other things until it asks for
/// [`Cloned::wait_for_clone`].
///
/// # Errors
/// As clone3(2).
pub fn spawn<N: ChildProcess>(plan: &Plan, mut process: N, clone_spec: &CloneSpec<'_>) -> Result<Cloned<N>, Failure> {
    let mut clone_spec = *clone_spec;
    let forked = match clone_spec.clone_process() {
        Err(Errno::AGAIN) if clone_spec.enters_late() => {
            process.join_by(clone_spec.all_groups()?);
            clone_spec.cgroup = None;
            clone_spec.clone_process()
        }
        forked => forked,
    };
    match forked.map_err(|errno| cannot_clone(errno, clone_spec.cgroup))? {
        Forked::Child => {
            // Before any process of the container can see this one.
            clear_environment();
            if clone_spec.cgroup.is_some() {
                let _ = process.channel().tell(&ToHost::Started);
            }
            process.close_all_others();
            std::process::exit(match clone_spec.middle {
                true => run_middle_process(plan, process, clone_spec.flags),
                false => process.run(plan),
            })
        }
        Forked::Parent(pid, pidfd) => Ok(Cloned {
            init: Child {
                pid,
                pidfd: Some(pidfd),
            },
            process,
            in_group: clone_spec.cgroup.is_some(),
        }),
    }
}

impl<N: ChildProcess> Cloned<N> {
    /// Makes it once more if the kernel has killed it at its birth: `CLONE_INTO_CGROUP` has that mistake when the
    /// runtime's own v2 group or the container's was killed before, see `nucleus_cgroup::Cgroup::unified_dir`. The other
    /// one moves into its groups by itself.
    ///
    /// # Errors
    /// As [`spawn`]; what the middle process reports.
    pub fn wait_for_clone(
        mut self,
        plan: &Plan,
        clone_spec: &CloneSpec<'_>,
        channel: &HostEnd,
    ) -> Result<Child, Failure> {
        let lives = |init: &Child| channel.hears_start(init.pidfd()?.as_fd());
        let without = CloneSpec {
            cgroup: None,
            ..*clone_spec
        };
        if self.in_group && !lives(&self.init).explain(|| "cannot hear the process")? {
            tracing::debug!("killed at its birth in its control group: once more, without");
            self.process.join_by(clone_spec.all_groups()?);
            self = spawn(plan, self.process, &without)?;
        }
        if !clone_spec.middle {
            // Its end of the channel above all: while we hold it open, the death of the other side goes unnoticed.
            drop(self.process);
            return Ok(self.init);
        }
        match sibling_of(self.init, channel)? {
            Some(init) => Ok(init),
            None if self.in_group && clone_spec.enters_late() => {
                tracing::debug!(
                    "no room for the middle process beside another: once more, with the groups joined last"
                );
                self.process.join_by(clone_spec.all_groups()?);
                let again = spawn(plan, self.process, &without)?;
                drop(again.process);
                sibling_of(again.init, channel)?.ok_or_else(|| cannot_clone(Errno::AGAIN, None))
            }
            None => Err(cannot_clone(Errno::AGAIN, None)),
        }
    }
}

/// EAGAIN is a limit on processes: `RLIMIT_NPROC` of the user, `pids.max` of a control group, or the host's. EBUSY,
/// ENODEV and EOPNOTSUPP are about the v2 group that the process was to be cloned into (clone(2)).
// Rare: never inlined, so that its locals do not lie on the stack that init is cloned with.
#[inline(never)]
fn cannot_clone(errno: Errno, group: Option<BorrowedFd<'_>>) -> Failure {
    match (errno, group) {
        (Errno::AGAIN, _) => Failure::from_errno(
            "cannot make a process: a limit on their number is reached: clone3",
            errno,
        ),
        (Errno::BUSY | Errno::NODEV | Errno::OPNOTSUPP, Some(group)) => {
            let path = std::fs::read_link(format!("/proc/self/fd/{}", group.as_raw_fd())).unwrap_or_default();
            let kind = std::fs::read_to_string(path.join("cgroup.type")).unwrap_or_default();
            let why = match kind.trim() {
                "domain invalid" => {
                    " (it is \"domain invalid\": the group above it holds processes or threaded groups)"
                }
                _ => "",
            };
            let what = format!("cannot enter the control group {}{why}: clone3", path.display());
            Failure::from_errno(what, errno)
        }
        _ => Failure::from_errno("linux.namespaces: clone3", errno),
    }
}

/// The process that the middle one has made; `None` when there is no room for it.
// As above.
#[inline(never)]
fn sibling_of(middle: Child, channel: &HostEnd) -> Result<Option<Child>, Failure> {
    let pidfd = middle.pidfd().explain(|| "the process that joins namespaces")?;
    let pid = match channel.receive_pid(pidfd.as_fd()) {
        Ok(pid) => pid,
        Err(PidReport::NoRoom) => return Ok(None),
        Err(PidReport::Failed(text)) => return Err(Failure::new(text)),
        Err(PidReport::Unheard(error)) => {
            return Err(error).explain(|| "cannot hear the process that joins namespaces");
        }
    };
    let pid = pid
        .and_then(Pid::from_raw)
        .ok_or_else(|| Failure::new("the process that joins namespaces ended without a word"))?;
    // It is our child and nobody else reaps it, so the pid is still its own.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).explain(|| "pidfd_open")?;
    drop(middle);
    // The sibling shares the middle's end of the channel: its first word must not come before the middle's.
    channel.go().explain(|| "init is gone")?;
    Ok(Some(Child {
        pid,
        pidfd: Some(pidfd),
    }))
}

// As above.
#[inline(never)]
fn run_middle_process(plan: &Plan, mut process: impl ChildProcess, flags: u64) -> i32 {
    let made = process.enter_as_middle().and_then(|()| {
        let flags = flags | CloneFlags::CLONE_PARENT.bits() as u64;
        match clone3(&Clone { flags, cgroup: None }) {
            Err(Errno::AGAIN) => Ok(None),
            made => made.map(Some).map_err(|errno| cannot_clone(errno, None)),
        }
    });
    let made = match made {
        Ok(Some(forked)) => Ok(forked),
        Ok(None) => {
            let _ = process.channel().tell(&ToHost::NoRoom);
            return 255;
        }
        Err(failure) => Err(failure),
    };
    match made {
        Ok(Forked::Child) if process.channel().await_go() => process.run(plan),
        Ok(Forked::Child) => 255,
        Ok(Forked::Parent(pid, _)) => {
            let _ = process.channel().tell(&ToHost::InitPid(pid.as_raw_nonzero().get()));
            0
        }
        Err(failure) => {
            let _ = process.channel().tell(&ToHost::Failed(failure.to_string()));
            255
        }
    }
}
