//! `exec`: a further process in a living container.
//!
//! The container is not locked: an exec into a paused container waits for the one who resumes it. What could change
//! under our hands is held by descriptors (init's pidfd, the control groups), so that a container which dies meanwhile
//! makes exec fail, and nothing else. What the new process shares with init (system call filter, score, keyring) comes
//! from the state directory; the bundle is only needed for what the caller leaves out.

mod target;

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nucleus_core::{ContainerId, Operation, Process, Status, Store};

use super::host::{Host, in_user_namespace};
use super::spawn::{Birth, Init, spawn};
use super::terminal::Terminal;
use super::{Container, Error, Result, SECCOMP_FILE, Warn, cgroup_of, foreground, hook_state, pid_file, set_rlimits};
use crate::channel::{self, HostEnd, ToHost};
use crate::init::Last;
use crate::init::failure::{Explain, Failure};
use crate::init::joined::{Guest, Way};
use crate::init::scheduling;
use crate::plan::exec::Changes;
use crate::plan::{self, Namespaces, Plan, Seccomp};
use crate::rootfs::console;
use crate::security::lsm;
use crate::spec;

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
    /// Return as soon as the program runs.
    pub detach: bool,
    /// Also in a paused container, where the process waits to be resumed.
    pub ignore_paused: bool,
    /// Control groups below the container's.
    pub cgroups: Vec<String>,
}

/// A process that was added.
struct Added {
    process: Process,
    terminal: Option<OwnedFd>,
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
        return Ok(Status::Stopped.check(Operation::Exec).map(|_| 0)?);
    };
    let outcome = exec_beside(&init, &container, options, warn);
    // Whatever has failed: when init is gone, that is why.
    match outcome {
        Err(Error::Start(_)) if init.wait_exit(Some(std::time::Duration::ZERO)).unwrap_or(false) => {
            Ok(Status::Stopped.check(Operation::Exec).map(|_| 0)?)
        }
        other => other,
    }
}

fn exec_beside(init: &Process, container: &Container, options: &Options, warn: Warn<'_>) -> Result<i32> {
    crate::step("exec:2", "compile");
    let namespaces = target::namespaces(init).map_err(Error::Start)?;
    let plan = compile(container, namespaces, options, warn)?;
    let signals = match options.detach {
        true => None,
        false => Some(foreground::block_signals()?),
    };
    let Added { process, terminal } = add(init, container, &plan, options)?;
    match signals {
        Some(signals) => foreground::wait(&process, terminal.as_ref(), &signals),
        None => Ok(0),
    }
}

/// Step 2: the process, and what the container gives to it.
fn compile(container: &Container, namespaces: Namespaces, options: &Options, warn: Warn<'_>) -> Result<Plan> {
    let (process, mut warnings) = match &options.process {
        Some(file) => spec::load_process(file)?,
        None => of_bundle(container)?,
    };
    let facts = plan::Host {
        euid: rustix::process::geteuid().as_raw(),
        last_cap: Host::last_capability()?,
    };
    let plan_options = plan::Options {
        detach: options.detach,
        console_socket: options.console_socket.is_some(),
        ..plan::Options::default()
    };
    let mut process = plan::exec::compile(process, &options.changes, &plan_options, &facts, &mut warnings)?;
    let record = &container.state.exec;
    process.oom_score_adj = process.oom_score_adj.or(record.oom_score_adj);
    let seccomp = match record.seccomp_flags {
        Some(flags) if flags & nucleus_sys::seccomp::FLAG_NEW_LISTENER != 0 => {
            let text = "linux.seccomp.listenerPath: a further process in such a container is not supported yet";
            return Err(Failure::new(text).into());
        }
        Some(flags) => Some(Seccomp {
            program: container.dir.read_blob(SECCOMP_FILE)?,
            flags,
            listener: None,
        }),
        None => None,
    };
    warnings.iter().for_each(|warning| warn(warning));
    let plan = Plan {
        process: Some(process),
        seccomp,
        namespaces,
        ..Plan::default()
    };
    lsm::check(&plan)?;
    Ok(plan)
}

/// The container's own process, from config.json as it is now: that is what runc does, and the way to change what a
/// bare `exec ID CMD` gets. Who has changed it since the container was made should know that it counts.
fn of_bundle(container: &Container) -> Result<(oci_spec::runtime::Process, Vec<String>)> {
    let loaded = spec::load(&container.state.bundle).map_err(|error| {
        Failure::new(format!(
            "the process of the container is taken from its bundle (use --process without one): {error}"
        ))
    })?;
    let mut warnings = loaded.warnings;
    if container.state.config_hash.as_ref() != Some(&loaded.sha256) {
        warnings.push("config.json has changed since the container was created".to_owned());
    }
    let process = loaded.spec.process().clone().ok_or(Error::NoProcess)?;
    Ok((process, warnings))
}

/// Steps 3 to 5: from here on there is a process, which is killed when anything fails.
fn add(init: &Process, container: &Container, plan: &Plan, options: &Options) -> Result<Added> {
    crate::step("exec:3", "open what is joined");
    let wanted = plan.process.as_ref().is_some_and(|process| process.terminal);
    let mut terminal = Terminal::ask(wanted, options.console_socket.as_deref())?;
    let pidfd_socket = match &options.pidfd_socket {
        Some(path) => Some(UnixStream::connect(path).explain(|| format!("--pidfd-socket {}", path.display()))?),
        None => None,
    };
    let cgroups = target::cgroups(cgroup_of(&container.state.cgroup), &options.cgroups)?;
    let joiner = cgroups.joiner()?;
    let unified = cgroups.unified_dir()?;
    let (channel, guest_end) = channel::pair().explain(|| "cannot make a socket pair")?;
    let joins = plan.namespaces.join.iter().fold(0, |bits, (bit, _)| bits | bit);
    let guest = Guest {
        last: Last {
            channel: guest_end,
            exec_fifo: None,
            started: Cell::new(false),
            preserve_fds: options.preserve_fds.clone(),
            log_fd: options.log_fd,
            in_user_namespace: in_user_namespace(),
            hook_state: hook_state(&container.state),
        },
        way: Some(Way {
            init: init.pidfd().try_clone_to_owned().explain(|| "init")?,
            namespaces: joins,
            root: target::root(init, &plan.namespaces).map_err(Error::Start)?,
            joiner: (!joiner.is_empty()).then_some(joiner),
        }),
        keyring: (!container.state.exec.no_new_keyring)
            .then(|| super::keyring_of(&options.id))
            .transpose()?,
        console_socket: terminal.socket.take(),
        procfs: lsm::asked(plan).then(super::host::open_procfs).transpose()?,
    };
    let affinity = plan
        .process
        .as_ref()
        .and_then(|process| process.exec_cpu_affinity.as_ref());
    // Inherited: the process is born on these CPUs, before it comes to the container's control group.
    scheduling::bound("initial", affinity.and_then(|cpus| cpus.initial.as_deref()), None).map_err(Error::Start)?;
    crate::step("exec:4", "clone3");
    let birth = Birth::of_guest(joins, unified.as_ref().map(AsFd::as_fd));
    let mut guest = spawn(plan, guest, &birth, &channel).map_err(Error::Start)?;
    crate::step("exec:5", "serve");
    await_ready(plan, &mut guest, &channel).map_err(Error::Start)?;
    let last_cpus = affinity.and_then(|cpus| cpus.final_.as_deref());
    scheduling::bound("final", last_cpus, Some(guest.pid())).map_err(Error::Start)?;
    let master = terminal.master()?;
    if let Some(socket) = &pidfd_socket {
        let pidfd = guest.pidfd().explain(|| "process")?;
        console::send(socket, b"setns", pidfd.as_fd()).explain(|| "--pidfd-socket: cannot send")?;
    }
    let_go(guest, &channel, options).map(|process| Added {
        process,
        terminal: master,
    })
}

/// Waits until the process stands before its execve, and does what it cannot do itself.
fn await_ready(plan: &Plan, guest: &mut Init, channel: &HostEnd) -> std::result::Result<(), Failure> {
    match channel.receive().explain(|| "cannot hear the process")? {
        Some(ToHost::Ready) => set_rlimits(plan, guest.pid()),
        Some(ToHost::Failed(text)) => Err(Failure::new(text)),
        Some(_) => Err(Failure::new("the process: unexpected message")),
        None => Err(Failure::new(format!(
            "the process ended while it was set up ({}); a seccomp profile must allow read and write",
            guest.epitaph()
        ))),
    }
}

/// Writes the pid file, lets the process execute the program, and hears whether it did.
fn let_go(guest: Init, channel: &HostEnd, options: &Options) -> Result<Process> {
    let pid = guest.pid();
    if let Some(path) = &options.pid_file {
        pid_file::write(path, pid.as_raw_nonzero().get())?;
    }
    // One that has died since is reported by its exit code.
    let _ = channel.go();
    if let Some(ToHost::Failed(text)) = channel.receive().explain(|| "cannot hear the process")? {
        if let Some(path) = &options.pid_file {
            let _ = std::fs::remove_file(path);
        }
        return Err(Error::Start(Failure::new(text)));
    }
    let pidfd = guest.release().ok_or(rustix::io::Errno::SRCH).explain(|| "process")?;
    Ok(Process::new(pid, pidfd))
}
