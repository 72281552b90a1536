//! From a plan to a living process: one clone3 where the kernel allows it, a middle process where it does not.
//!
//! Joining a PID namespace concerns only children, joining a user namespace takes the rights over the others away, and
//! a new user namespace has none over namespaces that are older. In these cases a middle process joins, makes the
//! other as a sibling (CLONE_PARENT) and ends; what is made is the runtime's child either way. All else is one clone.
//! Called by `create` for init and by `exec` for a further process, each with its own [`Newborn`].

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use nucleus_sys::process::{Clone, Forked, clone3};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::channel::{HostEnd, ToHost};
use crate::init::failure::{Explain, Failure};
use crate::init::{Newborn, TIME_NAMESPACE};
use crate::plan::{Namespaces, Plan};

const NEW_USER: u64 = CloneFlags::CLONE_NEWUSER.bits() as u64;
const NEW_PID: u64 = CloneFlags::CLONE_NEWPID.bits() as u64;
/// Made by init itself: a cgroup namespace once it is in its group, a time namespace once its offsets are set.
const LATER: u64 = CloneFlags::CLONE_NEWCGROUP.bits() as u64 | TIME_NAMESPACE;

/// How a process is to be born.
#[derive(Debug)]
pub struct Birth<'a> {
    /// Namespaces that clone3 makes.
    flags: u64,
    /// Through a middle process.
    middle: bool,
    /// The v2 control group that it is born into.
    cgroup: Option<BorrowedFd<'a>>,
    /// The v2 control group to take when that one refuses processes.
    pub otherwise: Option<BorrowedFd<'a>>,
}

impl<'a> Birth<'a> {
    /// As a container's init.
    pub fn of_init(namespaces: &Namespaces, cgroup: Option<BorrowedFd<'a>>) -> Self {
        let joins = |bit: u64| namespaces.join.iter().any(|(join, _)| *join == bit);
        Self {
            flags: namespaces.new & !LATER,
            middle: joins(NEW_USER) || joins(NEW_PID) || (namespaces.creates(NEW_USER) && !namespaces.join.is_empty()),
            cgroup,
            otherwise: None,
        }
    }

    /// As a further process, which joins these namespaces (`CLONE_NEW*` bits) all at once.
    pub fn of_guest(joins: u64, cgroup: Option<BorrowedFd<'a>>) -> Self {
        Self {
            flags: 0,
            middle: joins & NEW_PID != 0,
            cgroup,
            otherwise: None,
        }
    }

    fn clone(&self) -> Result<Forked, Errno> {
        let into = |cgroup| {
            let flags = if self.middle { 0 } else { self.flags };
            clone3(&Clone { flags, cgroup })
        };
        match into(self.cgroup) {
            Err(Errno::BUSY) if self.otherwise.is_some() => into(self.otherwise),
            other => other,
        }
    }
}

/// A process of the container while it is ours: killed and reaped when dropped.
#[derive(Debug)]
pub struct Init {
    pid: Pid,
    pidfd: Option<OwnedFd>,
}

impl Init {
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

    /// What became of it, for an error: reaps it if it has ended.
    pub fn epitaph(&mut self) -> String {
        if let Some(pidfd) = &self.pidfd {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        }
        self.pidfd = None;
        match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (_, Some(signal)) => format!("killed by signal {signal}"),
                _ => "unknown status".to_string(),
            },
            _ => "unknown status".to_string(),
        }
    }
}

impl Drop for Init {
    fn drop(&mut self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
            let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}

/// Makes the process. Returns in the runtime only.
///
/// # Errors
/// As clone3(2), or what the middle process reports.
pub fn spawn(plan: &Plan, newborn: impl Newborn, birth: &Birth<'_>, channel: &HostEnd) -> Result<Init, Failure> {
    let born = match birth.clone().explain(|| "linux.namespaces: clone3")? {
        Forked::Child => {
            newborn.close_all_others();
            std::process::exit(match birth.middle {
                true => be_middle(plan, newborn, birth.flags),
                false => newborn.run(plan),
            })
        }
        Forked::Parent(pid, pidfd) => Init {
            pid,
            pidfd: Some(pidfd),
        },
    };
    match birth.middle {
        true => sibling_of(born, channel),
        false => Ok(born),
    }
}

/// The process that the middle one has made.
fn sibling_of(middle: Init, channel: &HostEnd) -> Result<Init, Failure> {
    let told = channel.receive().explain(|| "cannot hear the middle process")?;
    let pid = match told {
        Some(ToHost::InitPid(pid)) => Pid::from_raw(pid),
        Some(ToHost::Failed(text)) => return Err(Failure::new(text)),
        _ => None,
    };
    let pid = pid.ok_or_else(|| Failure::new("the process that joins namespaces ended without a word"))?;
    // It is our child and nobody else reaps it, so the pid is still its own.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).explain(|| "pidfd_open")?;
    drop(middle);
    // The sibling shares the middle's end of the channel: its first word must not come before the middle's.
    channel.go().explain(|| "init is gone")?;
    Ok(Init {
        pid,
        pidfd: Some(pidfd),
    })
}

fn be_middle(plan: &Plan, mut newborn: impl Newborn, flags: u64) -> i32 {
    let made = newborn.enter_as_middle(plan).and_then(|()| {
        let flags = flags | CloneFlags::CLONE_PARENT.bits() as u64;
        clone3(&Clone { flags, cgroup: None }).explain(|| "linux.namespaces: clone3")
    });
    match made {
        Ok(Forked::Child) if newborn.channel().await_go() => newborn.run(plan),
        Ok(Forked::Child) => 255,
        Ok(Forked::Parent(pid, _)) => {
            newborn.channel().tell(&ToHost::InitPid(pid.as_raw_nonzero().get()));
            0
        }
        Err(failure) => {
            newborn.channel().tell(&ToHost::Failed(failure.to_string()));
            255
        }
    }
}
