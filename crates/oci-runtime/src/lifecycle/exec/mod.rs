//! `exec`: a further process in a living container.
//!
//! The container is not locked: an exec into a paused container waits for the one who resumes it. What could change
//! under our hands is held by descriptors (init's pidfd, the control groups), so that a container which dies meanwhile
//! makes exec fail, and nothing else. What the new process shares with init (system call filter, score, keyring) comes
//! from the state directory; the bundle is only needed for what the caller leaves out.

mod affinity;
mod defaults;
mod hold;
pub(super) mod target;

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::sched::CloneFlags;
use nix::sys::signalfd::SignalFd;
use nucleus_cgroup::Joiner;
use nucleus_core::{ContainerId, Operation, Process, Status, Store};

use super::host::{Host, in_user_namespace, oom_score_for_init};
use super::pid_file::PidFile;
use super::pidfd_socket::PidfdSocket;
use super::spawn::{Child, CloneSpec, spawn};
use super::terminal::Terminal;
use super::{
    Container, Error, Result, Warn, apply_rlimits_and_scheduler, cgroup_of, foreground, hook_state, listener, resctrl,
};
use crate::channel::{self, HostEnd, ToHost};
use crate::init::FinalStage;
use crate::init::exec_child::{ExecContext, JoinTarget};
use crate::init::failure::{Explain, Failure};
use crate::plan::exec::Changes;
use crate::plan::{self, CpuAffinity, Namespaces, Plan};
use crate::security::lsm;
use crate::spec;
pub use defaults::record;

/// What the command line says about the process to be added.
#[derive(Debug)]
pub struct Options {
    /// The container.
    pub id: ContainerId,
    /// The file of the process; `-` is standard input. Without it the process is the container's own, as its bundle
    /// describes it now.
    pub process: Option<PathBuf>,
    /// What replaces parts of it.
    pub changes: Changes,
    /// Where the pid is written.
    pub pid_file: Option<PathBuf>,
    /// Where the terminal is sent.
    pub console_socket: Option<PathBuf>,
    /// Where a pidfd of the process is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// Inherited descriptors that the process gets, by number.
    pub preserve_fds: Vec<i32>,
    /// The log's descriptor.
    pub log_fd: Option<i32>,
    /// Return as soon as the program runs, or waits for `wait_fifo`.
    pub detach: bool,
    /// A FIFO: the program is executed once somebody has opened it for reading.
    pub wait_fifo: Option<PathBuf>,
    /// Also in a paused container, where the process waits to be resumed.
    pub ignore_paused: bool,
    /// Control groups below the container's.
    pub cgroups: Vec<String>,
}

/// A process that was added.
struct Added {
    process: Process,
    terminal: Option<OwnedFd>,
    /// What to forward, unless detached.
    signals: Option<SignalFd>,
}

/// Runs a program in a container; returns its exit code (128 + signal for one that was killed), 0 at once when
/// detached.
///
/// # Errors
/// The refusal in runc's words when the status does not allow it; else what was attempted. No process is left then.
pub fn exec(store: &Store, options: &Options, warn: Warn<'_>) -> Result<i32> {
    crate::step("exec:1", "look up");
    let mut container = Container::open(store, &options.id)?;
    container.check(match options.ignore_paused {
        true => Operation::ExecIgnorePaused,
        false => Operation::Exec,
    })?;
    let Some(init) = container.seen.init.take() else {
        return Ok(Status::Stopped.check(Operation::Exec).map(|()| 0)?);
    };
    let outcome = exec_beside(&init, &container, options, warn);
    // Whatever has failed: when init is gone, that is why.
    match outcome {
        Err(Error::Start(_)) if init.wait_exit(Some(std::time::Duration::ZERO)).unwrap_or(false) => {
            Ok(Status::Stopped.check(Operation::Exec).map(|()| 0)?)
        }
        other => other,
    }
}

fn exec_beside(init: &Process, container: &Container, options: &Options, warn: Warn<'_>) -> Result<i32> {
    crate::step("exec:2", "compile");
    let namespaces = target::namespaces(init).map_err(Error::Start)?;
    let plan = compile(container, namespaces, options, warn)?;
    let added = add(init, container, &plan, options)?;
    match &added.signals {
        Some(signals) => foreground::wait(&added.process, added.terminal.as_ref(), signals, None, warn),
        None => Ok(0),
    }
}

/// Step 2: the process, and what the container gives to it.
fn compile(container: &Container, namespaces: Namespaces, options: &Options, warn: Warn<'_>) -> Result<Plan> {
    let mut warnings = Vec::new();
    let loaded = match &options.process {
        Some(file) => spec::load_process(file)?,
        None => of_bundle(container, &mut warnings)?,
    };
    let facts = plan::Host {
        euid: rustix::process::geteuid().as_raw(),
        last_cap: Host::last_capability()?,
        capabilities: Host::capabilities()?,
    }
    .within(&namespaces);
    let plan_options = plan::Options {
        detach: options.detach,
        console_socket: options.console_socket.is_some(),
        ..plan::Options::default()
    };
    let mut quiet = loaded.warnings;
    let mut process = plan::exec::compile(
        loaded.process,
        &options.changes,
        &plan_options,
        &facts,
        (&mut warnings, &mut quiet),
    )?;
    plan::scheduling::stage_cpus(loaded.cpu_affinity.as_ref(), &mut process)?;
    let annotations = &container.state.annotations;
    process.keep_groups = annotations.contains_key(plan::annotations::KEEP_GROUPS);
    defaults::fill_in(&mut process, &container.state.exec);
    let seccomp = defaults::filter(container)?;
    warnings.iter().for_each(|warning| warn(warning));
    // Each exec would repeat on the program's own stderr what `create` has reported.
    quiet.iter().for_each(|warning| tracing::debug!("{warning}"));
    let plan = Plan {
        process: Some(process),
        seccomp,
        namespaces,
        ..defaults::domain(&container.state.exec)
    };
    lsm::check(&plan)?;
    Ok(plan)
}

/// The container's own process, from config.json as it is now: that is what runc does, and the way to change what a
/// bare `exec ID CMD` gets. Who has changed it since the container was made should know that it counts.
fn of_bundle(container: &Container, warnings: &mut Vec<String>) -> Result<spec::LoadedProcess> {
    let loaded = spec::load(&container.state.bundle, None).map_err(|error| {
        Failure::new(format!(
            "the process of the container is taken from its bundle (use --process without one): {error}"
        ))
    })?;
    if container.state.config_hash.as_ref() != Some(&loaded.sha256) {
        warnings.push("config.json has changed since the container was created".to_owned());
    }
    let process = loaded.spec.process().clone().ok_or(Error::NoProcess)?;
    Ok(spec::LoadedProcess {
        process,
        cpu_affinity: loaded.cpu_affinity,
        warnings: loaded.warnings,
    })
}

/// Steps 3 to 5: from here on there is a process, which is killed when anything fails.
fn add(init: &Process, container: &Container, plan: &Plan, options: &Options) -> Result<Added> {
    crate::step("exec:3", "open what is joined");
    let wanted = plan.process.as_ref().is_some_and(|process| process.terminal);
    let mut terminal = Terminal::ask(wanted, options.console_socket.as_deref())?;
    let pidfd_socket = PidfdSocket::connect(options.pidfd_socket.as_deref())?;
    let (cgroups, joiner, unified) = target::open_cgroups(init, cgroup_of(&container.state.cgroup), &options.cgroups)?;
    let unreachable = cgroups.is_out_of_reach()?;
    let unified = unified.filter(|_| !unreachable);
    let (channel, guest_end) = channel::pair().explain(|| "cannot make a socket pair")?;
    let joins = plan.namespaces.join.iter().fold(0, |bits, (bit, _)| bits | bit);
    let child = ExecContext {
        stage: FinalStage {
            channel: guest_end,
            exec_fifo: None,
            hold: options.wait_fifo.as_deref().map(hold::open).transpose()?,
            started: Cell::new(false),
            preserve_fds: options.preserve_fds.clone(),
            log_fd: options.log_fd,
            logs_to_file: options.log_fd.is_some(),
            in_user_namespace: in_user_namespace(),
            oom_score_adj: oom_score_for_init(plan),
            is_readable: false,
            hook_state: hook_state(&container.state),
        },
        target: Some(JoinTarget {
            init: init.pidfd().try_clone_to_owned().explain(|| "init")?,
            core_cookie_of: container.state.exec.core_scheduling.then(|| init.pid()),
            namespaces: joins,
            root: target::root(init, &plan.namespaces).map_err(Error::Start)?,
            joiner,
            late: late_group(&cgroups, joins),
        }),
        late_joiner: Joiner::default(),
        keyring: (!container.state.exec.no_new_keyring)
            .then(|| super::keyring_of(&options.id))
            .transpose()?,
        console_socket: terminal.socket.take(),
        procfs: lsm::asked(plan).then(super::host::open_procfs).transpose()?,
    };
    crate::step("exec:4", "clone3");
    let beside_init = || target::cgroup_of(init, cgroups.unified()?);
    let by_writing = || cgroups.full_joiner();
    let clone_spec = CloneSpec::of_exec(joins, unified.as_ref().map(AsFd::as_fd), &beside_init, &by_writing);
    let born = || spawn(plan, child, &clone_spec)?.wait_for_clone(plan, &clone_spec, &channel);
    let cpus = affinity::of(plan);
    let mut child = affinity::initially(cpus, born).map_err(Error::Start)?;
    if cpus.is_none_or(|cpus| *cpus == CpuAffinity::default()) {
        super::affinity::reset(child.pid());
    }
    if unreachable {
        cgroups.attach(child.pid())?;
    }
    crate::step("exec:5", "serve");
    resctrl::join(&container.state.exec.resctrl, child.pid()).map_err(Error::Start)?;
    await_ready(plan, &mut child, &channel, (init, container)).map_err(Error::Start)?;
    let master = terminal.master()?;
    pidfd_socket.send("setns", &child)?;
    // Only now: a process in a paused container waits, and until then a signal ends us, and with us the process. From
    // here on every signal is for the program.
    let signals = (!options.detach).then(foreground::block_signals).transpose()?;
    Ok(Added {
        process: let_go(child, &channel, options)?,
        terminal: master,
        signals,
    })
}

/// The control group that limits the number of processes, when a middle process makes the one that executes the program.
fn late_group(cgroups: &nucleus_cgroup::Record, joins: u64) -> Option<PathBuf> {
    let has_middle = joins & CloneFlags::CLONE_NEWPID.bits() as u64 != 0;
    let limiting = cgroups.paths.get("pids").map(PathBuf::as_path).or(cgroups.unified());
    limiting.filter(|_| has_middle).map(PathBuf::from)
}

/// Waits until the process stands before its execve, and does what it cannot do itself.
fn await_ready(
    plan: &Plan,
    child: &mut Child,
    channel: &HostEnd,
    (init, container): (&Process, &Container),
) -> std::result::Result<(), Failure> {
    loop {
        match channel.receive().explain(|| "cannot hear the process")? {
            Some(ToHost::Ready) => return apply_rlimits_and_scheduler(plan, child.pid()),
            Some(ToHost::Listener(number)) => {
                let agent = plan.seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
                let agent = agent.ok_or_else(|| Failure::new("the process: unexpected message"))?;
                let pidfd = child.pidfd().explain(|| "process")?;
                let seen = listener::Seen {
                    state: &hook_state(&container.state),
                    status: container.seen.status.as_str(),
                    init: init.pid(),
                };
                listener::hand_over(agent, child.pid(), pidfd, number, seen)?;
                channel.go().explain(|| "the process")?;
            }
            Some(ToHost::Failed(text)) => return Err(Failure::new(text)),
            Some(_) => return Err(Failure::new("the process: unexpected message")),
            None => {
                return Err(Failure::new(format!(
                    "the process ended while it was set up: {}",
                    child.epitaph()
                )));
            }
        }
    }
}

/// Writes the pid file, lets the process execute the program, and hears whether it did.
fn let_go(child: Child, channel: &HostEnd, options: &Options) -> Result<Process> {
    let pid_file = PidFile::write(options.pid_file.as_deref(), child.pid())?;
    match channel.go() {
        // One that has died since is reported by its exit code.
        Ok(()) | Err(rustix::io::Errno::PIPE) => {}
        Err(error) => {
            return Err(error)
                .explain(|| "cannot let the process go on")
                .map_err(Error::Start);
        }
    }
    // With a FIFO the process may wait for days, and reports a later failure on its own stderr.
    if options.wait_fifo.is_none()
        && let Some(ToHost::Failed(text)) = channel.receive().explain(|| "cannot hear the process")?
    {
        return Err(Error::Start(Failure::new(text)));
    }
    if let Some(file) = pid_file {
        file.keep();
    }
    released(child)
}

/// The process, which is no longer killed when the runtime fails.
fn released(child: Child) -> Result<Process> {
    let pid = child.pid();
    let pidfd = child.release().ok_or(rustix::io::Errno::SRCH).explain(|| "process")?;
    Ok(Process::new(pid, pidfd))
}
