//! From a plan to a living init: one clone3 where the kernel allows it, a middle process where it does not.
//!
//! Joining a PID namespace concerns only children, joining a user namespace takes the rights over the others away, and
//! a new user namespace has none over namespaces that are older. In these cases a middle process joins, makes init as
//! a sibling (CLONE_PARENT) and ends; init is the runtime's child either way. All else is one clone.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use nucleus_sys::process::{Clone, Forked, clone3};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::channel::{HostEnd, ToHost};
use crate::init::failure::{Explain, Failure};
use crate::init::{self, Inputs, TIME_NAMESPACE};
use crate::plan::Plan;

const NEW_USER: u64 = CloneFlags::CLONE_NEWUSER.bits() as u64;
const NEW_PID: u64 = CloneFlags::CLONE_NEWPID.bits() as u64;
/// Made by init itself: a cgroup namespace once it is in its group, a time namespace once its offsets are set.
const LATER: u64 = CloneFlags::CLONE_NEWCGROUP.bits() as u64 | TIME_NAMESPACE;

/// The container's first process while it is ours: killed and reaped when dropped.
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

/// Clones init, into `cgroup` where that is a v2 directory. Returns in the runtime only.
///
/// # Errors
/// As clone3(2), or what the middle process reports.
pub fn spawn(plan: &Plan, inputs: Inputs, cgroup: Option<BorrowedFd<'_>>, channel: &HostEnd) -> Result<Init, Failure> {
    if needs_middle(plan) {
        return through_middle(plan, inputs, cgroup, channel);
    }
    let what = Clone {
        flags: plan.namespaces.new & !LATER,
        cgroup,
    };
    match clone3(&what).explain(|| "linux.namespaces: clone3")? {
        Forked::Child => {
            inputs.close_all_others();
            std::process::exit(init::run(plan, inputs))
        }
        Forked::Parent(pid, pidfd) => Ok(Init {
            pid,
            pidfd: Some(pidfd),
        }),
    }
}

fn needs_middle(plan: &Plan) -> bool {
    let joins = |bit: u64| plan.namespaces.join.iter().any(|(join, _)| *join == bit);
    joins(NEW_USER) || joins(NEW_PID) || (plan.namespaces.creates(NEW_USER) && !plan.namespaces.join.is_empty())
}

fn through_middle(
    plan: &Plan,
    inputs: Inputs,
    cgroup: Option<BorrowedFd<'_>>,
    channel: &HostEnd,
) -> Result<Init, Failure> {
    let middle = match clone3(&Clone { flags: 0, cgroup }).explain(|| "clone3")? {
        Forked::Child => {
            inputs.close_all_others();
            std::process::exit(be_middle(plan, inputs))
        }
        Forked::Parent(pid, pidfd) => Init {
            pid,
            pidfd: Some(pidfd),
        },
    };
    let told = channel.receive().explain(|| "cannot hear the middle process")?;
    let pid = match told {
        Some(ToHost::InitPid(pid)) => Pid::from_raw(pid),
        Some(ToHost::Failed(text)) => return Err(Failure::new(text)),
        _ => None,
    };
    let pid = pid.ok_or_else(|| Failure::new("the process that joins namespaces ended without a word"))?;
    // Init is our child and nobody else reaps it, so the pid is still its own.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).explain(|| "pidfd_open")?;
    drop(middle);
    Ok(Init {
        pid,
        pidfd: Some(pidfd),
    })
}

fn be_middle(plan: &Plan, mut inputs: Inputs) -> i32 {
    let made = init::enter_as_middle(plan, &mut inputs).and_then(|()| {
        let flags = plan.namespaces.new & !LATER | CloneFlags::CLONE_PARENT.bits() as u64;
        clone3(&Clone { flags, cgroup: None }).explain(|| "linux.namespaces: clone3")
    });
    match made {
        Ok(Forked::Child) => init::run(plan, inputs),
        Ok(Forked::Parent(pid, _)) => {
            inputs.channel.tell(&ToHost::InitPid(pid.as_raw_nonzero().get()));
            0
        }
        Err(failure) => {
            inputs.channel.tell(&ToHost::Failed(failure.to_string()));
            255
        }
    }
}
