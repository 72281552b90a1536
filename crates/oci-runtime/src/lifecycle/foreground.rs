//! `run`: create, let go, and with a foreground container stay until it ends; `exec` waits here, too.
//!
//! Signals are blocked before the container exists, so that none is lost, not even the SIGCHLD of a program that ends
//! at once; they are then read from a descriptor beside the terminal's.

use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nucleus_core::{Durability, Observation, Process, Status, Store};
use rustix::event::{PollFd, PollFlags};
use rustix::process::WaitOptions;

use super::create::{Made, Options, StartMode, create};
use super::notify::Notify;
use super::relay::Relay;
use super::start::{discard, run_poststart};
use super::{Container, Error, Result, Warn, delete, pid_file};
use crate::channel::ToHost;
use crate::init::failure::{Explain, Failure};

/// What the command line says about `run` besides what `create` takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Keep the container after it has ended.
    pub keep: bool,
    /// Do not adopt orphans of the container.
    pub no_subreaper: bool,
}

/// Runs a container; returns its exit code (128 + signal for one that was killed), 0 at once when detached.
///
/// # Errors
/// As `create`; nothing is left behind.
pub fn run(store: &Store, options: &Options, run: RunOptions, warn: Warn<'_>) -> Result<i32> {
    let signals = if options.detach { None } else { Some(block_signals()?) };
    if !options.detach && !run.no_subreaper {
        nix::sys::prctl::set_child_subreaper(true).explain(|| "prctl PR_SET_CHILD_SUBREAPER")?;
    }
    let made = create(store, options, StartMode::Immediately, warn)?;
    // Who waits for the end anyway hears then whether there was a beginning, and need not be woken up twice.
    let at_the_end = signals.is_some() && made.poststart.is_empty();
    let started = |made: &Made| {
        let outcome = started(made, warn);
        if let (Err(_), Some(path)) = (&outcome, &options.pid_file) {
            pid_file::remove(path);
        }
        outcome
    };
    if !at_the_end {
        started(&made)?;
    }
    let Some(signals) = signals else {
        if let Some(Err(error)) = made.notify.map(|notify| notify.wait(&made.init)) {
            warn(&error.to_string());
        }
        return Ok(0);
    };
    let outcome = wait(&made.init, made.terminal.as_ref(), &signals, made.notify.as_ref(), warn);
    if at_the_end {
        started(&made)?;
    }
    if run.keep && outcome.is_ok() {
        return outcome;
    }
    let Made { dir, state, init, .. } = made;
    let lock = match dir.lock() {
        // Another `delete` was quicker, and has done all that is left to do.
        Err(nucleus_core::Error::NotFound { .. }) if outcome.is_ok() => return outcome,
        other => other?,
    };
    // Whatever kept us from waiting: a container in the foreground does not outlive its runtime.
    let (status, init) = match &outcome {
        Ok(_) => (Status::Stopped, None),
        Err(_) => (Status::Running, Some(init)),
    };
    let seen = Observation { status, init };
    let container = Container {
        dir,
        state,
        seen,
        own: true,
    };
    delete::destroy(container, Some(lock), Durability::Passing, warn)?;
    outcome
}

/// Waits until init has executed the program or could not, and runs the poststart hooks. Nothing of a container that could not
/// be started stays behind.
fn started(made: &Made, warn: Warn<'_>) -> Result<()> {
    let outcome = match made.channel.receive().explain(|| "cannot hear init")? {
        Some(ToHost::Failed(text)) => Err(Error::Start(Failure::new(text))),
        _ => run_poststart(&made.state, &made.poststart),
    };
    outcome.inspect_err(|_| discard(made.dir.clone(), Durability::Passing, warn))
}

/// Blocks all signals but those that say that this very program went wrong: from here on they are read.
///
/// # Errors
/// As signalfd(2).
pub fn block_signals() -> Result<SignalFd> {
    let mut signals = SigSet::all();
    for fault in [
        Signal::SIGSEGV,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGABRT,
        Signal::SIGTRAP,
    ] {
        signals.remove(fault);
    }
    signals.thread_block().explain(|| "cannot block signals")?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).explain(|| "signalfd")?)
}

/// Forwards signals, the terminal and the word that it is ready until `process`, a child, ends; its exit code (128 + signal for one that was
/// killed).
///
/// # Errors
/// When the terminal or the signals cannot be read.
pub fn wait(
    process: &Process,
    terminal: Option<&OwnedFd>,
    signals: &SignalFd,
    mut notify: Option<&Notify>,
    warn: Warn<'_>,
) -> Result<i32> {
    let mut relay = match terminal {
        Some(master) => Some(Relay::start(master, warn)?),
        None => None,
    };
    // One that ended before signals were blocked will not be told by one.
    let mut ended = reap(process)?;
    let code = loop {
        if let Some(code) = ended {
            break code;
        }
        let mut watched = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        watched.extend(
            notify
                .iter()
                .map(|notify| PollFd::from_borrowed_fd(notify.as_fd(), PollFlags::IN)),
        );
        let ours = watched.len();
        relay.iter().for_each(|relay| relay.watch(&mut watched));
        match rustix::event::poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).explain(|| "poll").map_err(Into::into),
        }
        let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(watched);
        if let Some(relay) = &mut relay {
            relay.pump()?;
        }
        // The process for the manager to watch is this one, which ends as the container does. That the manager has gone
        // is no reason to end both.
        if ready[1..ours].contains(&true)
            && let Some(told) = notify
            && told.forward(rustix::process::getpid()).unwrap_or(true)
        {
            notify = None;
        }
        if ready[0] {
            ended = take_signals(signals, process, relay.as_ref())?;
        }
    };
    if let Some(relay) = relay {
        relay.finish(signals)?;
    }
    Ok(code)
}

/// Handles what has arrived; the exit code once init has ended, whom no further signal can be for.
fn take_signals(signals: &SignalFd, init: &Process, relay: Option<&Relay>) -> Result<Option<i32>> {
    let mut code = None;
    while code.is_none()
        && let Some(info) = signals.read_signal().explain(|| "signalfd")?
    {
        match Signal::try_from(info.ssi_signo as i32) {
            Ok(Signal::SIGCHLD) => code = reap(init)?.or(code),
            Ok(Signal::SIGWINCH) if relay.is_some() => relay.into_iter().try_for_each(Relay::resize)?,
            // Ours: a write to a terminal that went away, a stop typed by the user.
            Ok(Signal::SIGPIPE) => {}
            // Init may have ended; its SIGCHLD is on the way.
            _ => drop(init.send_signal(info.ssi_signo as i32)),
        }
    }
    Ok(code)
}

/// Reaps children that have ended, adopted ones too, until init is among them: with it ends our work.
fn reap(init: &Process) -> Result<Option<i32>> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == init.pid() => {
                let killed = || status.terminating_signal().map(|signal| 128 + signal);
                return Ok(status.exit_status().or_else(killed));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).explain(|| "wait").map_err(Into::into),
        }
    }
}
