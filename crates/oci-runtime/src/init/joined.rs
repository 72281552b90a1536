//! The container side of `exec`: from a copy of the runtime to a further process of a container.
//!
//! | step | what | why here |
//! |---|---|---|
//! | 1 | die with the runtime; control groups; oom score | the host's /proc still serves, its rights still hold |
//! | 2 | non-dumpable; all namespaces by one setns; uid 0 of a user namespace; the root | nothing of the container is looked at before, nothing of the host after |
//! | 3 | session, keyring, terminal | need the namespaces of 2 |
//! | 4 | as steps 8 to 11 of init | shared with it |
//!
//! With a PID namespace, steps 1 and 2 are the middle process's: only its children are in the namespace.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::CloneFlags;
use nucleus_cgroup::Joiner;
use nucleus_sys::sched;
use rustix::io::Errno;
use rustix::process::Pid;

use super::failure::{Explain, Failure};
use super::{Last, Newborn, be_unreadable, join_keyring, process, scheduling, take_place, tie_to_runtime};
use crate::channel::{InitEnd, ToHost};
use crate::plan::Plan;
use crate::rootfs::console;
use crate::security::lsm;

/// What leads into the container.
#[derive(Debug)]
pub struct Way {
    /// A pidfd of the container's init.
    pub init: OwnedFd,
    /// The init whose core scheduling cookie the process gets.
    pub core_cookie_of: Option<Pid>,
    /// The namespaces to join (`CLONE_NEW*` bits).
    pub namespaces: u64,
    /// The root to change to, for a container that shares our mount namespace.
    pub root: Option<OwnedFd>,
    /// Control groups to enter: v1's; v2 is entered at birth where that works.
    pub joiner: Joiner,
    /// The one of them that is entered after the last clone, because its limit on processes must not refuse that clone. All
    /// others are entered before the process can be seen in the container.
    pub late: Option<PathBuf>,
}

/// What a further process gets besides the plan.
#[derive(Debug)]
pub struct Guest {
    /// What the last steps need.
    pub last: Last,
    /// The way in; `None` once it was gone.
    pub way: Option<Way>,
    /// What joins [`Way::late`], once the way was gone.
    pub late_joiner: Joiner,
    /// Name of the session keyring; `None` to keep the caller's.
    pub keyring: Option<CString>,
    /// Where the terminal is sent.
    pub console_socket: Option<OwnedFd>,
    /// The host's /proc, for labels; `None` without any.
    pub procfs: Option<OwnedFd>,
}

impl Newborn for Guest {
    fn channel(&self) -> &InitEnd {
        &self.last.channel
    }

    fn close_all_others(&self) {
        let way = self.way.iter().flat_map(|way| {
            let groups = way.joiner.fds();
            groups.chain(way.root.iter().map(AsFd::as_fd)).chain([way.init.as_fd()])
        });
        self.last
            .close_all_others(way.chain(self.console_socket.iter().chain(&self.procfs).map(AsFd::as_fd)));
    }

    fn enter_as_middle(&mut self) -> Result<(), Failure> {
        match self.way.take() {
            Some(mut way) => {
                if let Some(late) = &way.late {
                    self.late_joiner = way.joiner.split_off(late);
                }
                enter(&self.last, way)
            }
            None => Ok(()),
        }
    }

    fn join_by(&mut self, joiner: Joiner) {
        if let Some(way) = &mut self.way {
            way.joiner = joiner;
        }
    }

    fn run(mut self, plan: &Plan) -> i32 {
        let set_up = set_up(plan, &mut self);
        let last = self.into_last();
        match set_up.and_then(|()| process::become_user_program(plan, &last)) {
            Ok(never) => match never {},
            Err(failure) => {
                if last.started.get() {
                    let text = format!("exec failed: {failure}\n");
                    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
                } else {
                    // One that cannot be sent is reported as the end of this process.
                    let _ = last.channel.tell(&ToHost::Failed(failure.to_string()));
                }
                255
            }
        }
    }
}

impl Guest {
    /// What the last steps need; every other descriptor is closed.
    fn into_last(self) -> Last {
        let mut last = self.last;
        // Closed all at once below, not each by its owner.
        std::mem::forget((self.way, self.console_socket, self.procfs));
        last.close_what_the_program_does_not_get();
        last
    }
}

/// Steps 1 and 2.
fn enter(last: &Last, way: Way) -> Result<(), Failure> {
    crate::step("guest:1", "tie to the runtime, control groups");
    tie_to_runtime()?;
    take_place(last, Some(&way.joiner))?;
    if let Some(init) = way.core_cookie_of {
        match sched::join_core_cookie(init) {
            // Where no core has two threads there are no cookies.
            Ok(()) | Err(Errno::NODEV) => {}
            other => other.explain(|| "core scheduling: cannot join the container's cookie")?,
        }
    }
    crate::step("guest:2", "namespaces");
    be_unreadable()?;
    let kinds = CloneFlags::from_bits_retain(way.namespaces as i32);
    join(&way.init, kinds).explain(|| "cannot join the container's namespaces")?;
    if kinds.contains(CloneFlags::CLONE_NEWUSER) {
        process::become_namespace_root()?;
    }
    match &way.root {
        Some(root) => {
            rustix::process::fchdir(root).explain(|| "cannot enter the container's root")?;
            rustix::process::chroot(".").explain(|| "chroot")
        }
        None => Ok(()),
    }
}

/// Enters all namespaces at once, which the kernel does by the rights of the user namespace among them. Where that does not own
/// one of the others, those that the caller's rights suffice for are entered before it.
pub fn join(init: &OwnedFd, kinds: CloneFlags) -> Result<(), nix::errno::Errno> {
    if kinds.is_empty() {
        return Ok(());
    }
    match nix::sched::setns(init, kinds) {
        Err(nix::errno::Errno::EPERM) if kinds.contains(CloneFlags::CLONE_NEWUSER) => {}
        other => return other,
    }
    let mut owned = CloneFlags::CLONE_NEWUSER;
    // In any order: the descriptor alone names them, no path does.
    for kind in (kinds - CloneFlags::CLONE_NEWUSER).iter() {
        match nix::sched::setns(init, kind) {
            Err(nix::errno::Errno::EPERM) => owned |= kind,
            other => other?,
        }
    }
    nix::sched::setns(init, owned)
}

/// The CPUs for the time in the control groups, `execCPUAffinity.final`. Without it those of the control groups, in place
/// of the initial ones.
fn settle(plan: &Plan) -> Result<(), Failure> {
    let asked = plan
        .process
        .as_ref()
        .and_then(|process| process.exec_cpu_affinity.as_ref());
    let Some(cpus) = asked else { return Ok(()) };
    let all = [u64::MAX; sched::MAX_CPUS / 64];
    let wanted = match (&cpus.final_, &cpus.initial) {
        (Some(cpus), _) => cpus.as_slice(),
        (None, Some(_)) => &all,
        (None, None) => return Ok(()),
    };
    show_cpus(wanted);
    sched::set_affinity(None, wanted).explain(|| "process.execCPUAffinity.final: the kernel refuses it")
}

/// Shows a mask of CPUs with `--debug`.
pub fn show_cpus(mask: &[u64]) {
    let words = mask.iter().rev().skip_while(|word| **word == 0);
    let digits: String = words.map(|word| format!("{word:016x}")).collect();
    tracing::debug!("affinity: 0x{}", digits.trim_start_matches('0'));
}

/// Steps 1 to 3, and of step 4 what the host's files are needed for.
fn set_up(plan: &Plan, guest: &mut Guest) -> Result<(), Failure> {
    guest.enter_as_middle()?;
    let late = std::mem::take(&mut guest.late_joiner);
    late.join_self().map_err(|error| Failure::new(error.to_string()))?;
    settle(plan)?;
    // The tie of a middle process is not inherited, and a change of user has cut our own.
    tie_to_runtime()?;
    crate::step("guest:3", "session, keyring, terminal");
    rustix::process::setsid().explain(|| "setsid")?;
    if let Some(name) = &guest.keyring {
        if let (Some(procfs), Some(process)) = (&guest.procfs, &plan.process) {
            lsm::set_key_create(process, procfs)?;
        }
        join_keyring(name)?;
    }
    if let (Some(socket), Some(process)) = (guest.console_socket.take(), &plan.process) {
        let terminal = console::set_up_for_guest(&socket, process.console_size, process.uid)?;
        console::become_terminal(&terminal)?;
    }
    if let (Some(procfs), Some(process)) = (&guest.procfs, &plan.process) {
        lsm::set_exec(process, procfs)?;
    }
    crate::step("guest:4", "rights");
    scheduling::set_domain(plan)
}
