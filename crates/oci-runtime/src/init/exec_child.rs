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
use super::{
    ChildProcess, FinalStage, be_unreadable, join_cgroups_and_set_oom_score, join_keyring, process, scheduling,
    tie_to_runtime,
};
use crate::channel::{InitEnd, ToHost};
use crate::plan::Plan;
use crate::rootfs::console;
use crate::security::lsm;

/// What leads into the container.
#[derive(Debug)]
pub struct JoinTarget {
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
pub struct ExecContext {
    /// What the last steps need.
    pub stage: FinalStage,
    /// The way in; `None` once it was gone.
    pub target: Option<JoinTarget>,
    /// What joins [`JoinTarget::late`], once the way was gone.
    pub late_joiner: Joiner,
    /// Name of the session keyring; `None` to keep the caller's.
    pub keyring: Option<CString>,
    /// Where the terminal is sent.
    pub console_socket: Option<OwnedFd>,
    /// The host's /proc, for labels; `None` without any.
    pub procfs: Option<OwnedFd>,
}

impl ChildProcess for ExecContext {
    fn channel(&self) -> &InitEnd {
        &self.stage.channel
    }

    fn close_all_others(&self) {
        let target = self.target.iter().flat_map(|target| {
            let groups = target.joiner.fds();
            groups
                .chain(target.root.iter().map(AsFd::as_fd))
                .chain([target.init.as_fd()])
        });
        self.stage
            .close_all_others(target.chain(self.console_socket.iter().chain(&self.procfs).map(AsFd::as_fd)));
    }

    fn enter_as_middle(&mut self) -> Result<(), Failure> {
        match self.target.take() {
            Some(mut target) => {
                if let Some(late) = &target.late {
                    self.late_joiner = target.joiner.split_off(late);
                }
                enter(&self.stage, target)
            }
            None => Ok(()),
        }
    }

    fn join_by(&mut self, joiner: Joiner) {
        if let Some(target) = &mut self.target {
            target.joiner = joiner;
        }
    }

    fn run(mut self, plan: &Plan) -> i32 {
        let set_up = set_up(plan, &mut self);
        let stage = self.into_final_stage();
        match set_up.and_then(|()| process::become_user_program(plan, &stage)) {
            Ok(never) => match never {},
            Err(failure) => {
                if stage.started.get() {
                    let text = format!("exec failed: {failure}\n");
                    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
                } else {
                    // One that cannot be sent is reported as the end of this process.
                    let _ = stage.channel.tell(&ToHost::Failed(failure.to_string()));
                }
                255
            }
        }
    }
}

impl ExecContext {
    /// What the last steps need; every other descriptor is closed.
    fn into_final_stage(self) -> FinalStage {
        let mut stage = self.stage;
        // Closed all at once below, not each by its owner.
        std::mem::forget((self.target, self.console_socket, self.procfs));
        stage.close_what_the_program_does_not_get();
        stage
    }
}

/// Steps 1 and 2.
fn enter(stage: &FinalStage, target: JoinTarget) -> Result<(), Failure> {
    crate::step("exec-child:1", "tie to the runtime, control groups");
    tie_to_runtime()?;
    join_cgroups_and_set_oom_score(stage, Some(&target.joiner))?;
    if let Some(init) = target.core_cookie_of {
        match sched::join_core_cookie(init) {
            // Where no core has two threads there are no cookies.
            Ok(()) | Err(Errno::NODEV) => {}
            other => other.explain(|| "core scheduling: cannot join the container's cookie")?,
        }
    }
    crate::step("exec-child:2", "namespaces");
    be_unreadable()?;
    let kinds = CloneFlags::from_bits_retain(target.namespaces as i32);
    join(&target.init, kinds).explain(|| "cannot join the container's namespaces")?;
    if kinds.contains(CloneFlags::CLONE_NEWUSER) {
        process::become_namespace_root()?;
    }
    match &target.root {
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
fn set_final_affinity(plan: &Plan) -> Result<(), Failure> {
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
fn set_up(plan: &Plan, context: &mut ExecContext) -> Result<(), Failure> {
    context.enter_as_middle()?;
    let late = std::mem::take(&mut context.late_joiner);
    late.join_self().map_err(|error| Failure::new(error.to_string()))?;
    set_final_affinity(plan)?;
    // The tie of a middle process is not inherited, and a change of user has cut our own.
    tie_to_runtime()?;
    crate::step("exec-child:3", "session, keyring, terminal");
    rustix::process::setsid().explain(|| "setsid")?;
    if let Some(name) = &context.keyring {
        if let (Some(procfs), Some(process)) = (&context.procfs, &plan.process) {
            lsm::set_key_create(process, procfs)?;
        }
        join_keyring(name)?;
    }
    if let (Some(socket), Some(process)) = (context.console_socket.take(), &plan.process) {
        let terminal = console::set_up_for_exec(&socket, process.console_size, process.uid)?;
        console::become_terminal(&terminal)?;
    }
    if let (Some(procfs), Some(process)) = (&context.procfs, &plan.process) {
        lsm::set_exec(process, procfs)?;
    }
    crate::step("exec-child:4", "rights");
    scheduling::set_domain(plan)
}
