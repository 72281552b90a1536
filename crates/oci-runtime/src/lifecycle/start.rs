//! `start`: lets init execute the user's program, and tells whether it did.
//!
//! The exec FIFO is opened without waiting: when nobody reads it, init is dead or was started already. The byte is
//! written before the FIFO is removed, so that a `start` that is killed in between has either not started the
//! container or has started it for good. Then we watch init let go of its end, which execve closes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};

use nucleus_core::{
    ContainerDir, ContainerId, ContainerState, Durability, Error as CoreError, HookRecord, Operation, Status, Store,
};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::delete::destroy;
use super::notify::Notify;
use super::{Container, Error, Result, Warn, hook_state};
use crate::hooks;
use crate::init::ACKNOWLEDGE;
use crate::init::failure::{Explain, Failure};
use crate::plan::Hook;
use crate::plan::annotations::hook_output;

/// What lets init go on.
const GO: &[u8] = b"s";

/// Starts a created container; with a service manager at `notify_socket`, waits until the program says that it is ready.
///
/// # Errors
/// The refusal in runc's words when the status does not allow it; what kept init from executing the program, or a failing
/// poststart hook, after which the container is removed and its poststop hooks have run (runtime.md, lifecycle).
pub fn start(store: &Store, id: &ContainerId, notify_socket: Option<&OsStr>, warn: Warn<'_>) -> Result<()> {
    let dir = store.get(id)?;
    let lock = dir.lock()?;
    let container = Container::observe(dir)?;
    container.check(Operation::Start)?;
    if container.state.command.is_empty() {
        return Err(Error::NoProcess);
    }
    let fifo = match container.dir.open_fifo_for_start() {
        // Init died, or lost the FIFO by executing, since we looked.
        Err(CoreError::NoFifoReader) => {
            Container::open(store, id)?.seen.status.check(Operation::Start)?;
            return Err(CoreError::NoFifoReader.into());
        }
        other => other?,
    };
    let watch = container.dir.open_fifo_for_watch()?;
    let notify = match notify_socket {
        Some(socket) => Notify::listen(socket, &container.dir)?,
        None => None,
    };
    crate::step("1", "let init go on");
    rustix::io::write(&fifo, GO).explain(|| "cannot write to the exec FIFO")?;
    crate::step("2", "remove the exec FIFO");
    // The program runs by now, and the status shows it even if the FIFO stays: init does not read it any more.
    if let Err(error) = container.dir.unlink_fifo() {
        warn(&error.to_string());
    }
    crate::step("3", "watch init execute");
    drop(lock);
    drop(fifo);
    let hooks: Vec<Hook> = container
        .state
        .poststart
        .iter()
        .map(|record| hook_of(record, &container.state.annotations))
        .collect();
    let outcome = match await_execution(&watch) {
        // Init was killed: its container is stopped, as one is whose program was killed.
        Err(error @ Error::Host(_)) => return Err(error),
        Ok(()) => run_poststart(&container.state, &hooks),
        failed => failed,
    };
    if let Err(error) = outcome {
        discard(container.dir, Durability::Lasting, warn);
        return Err(error);
    }
    match (notify, &container.seen.init) {
        (Some(notify), Some(init)) => notify.wait(init),
        _ => Ok(()),
    }
}

/// Removes a container that could not be started, waits for init's end, and runs the poststop hooks (runtime.md, lifecycle
/// steps 7, 9, 12 and 13). What fails here is a warning: the error to report is the one that prevented the start.
pub fn discard(dir: ContainerDir, durability: Durability, warn: Warn<'_>) {
    let locked = dir.lock().map_err(Error::from);
    let outcome = locked.and_then(|lock| destroy(Container::observe(dir)?, Some(lock), durability, warn));
    match outcome {
        // Another process has removed it meanwhile. A container that has its id by now is not this one.
        Ok(()) | Err(Error::Core(CoreError::NotFound { .. })) => {}
        Err(error) => warn(&error.to_string()),
    }
}

/// Waits until init has let go of the FIFO: by executing the program, or by dying.
fn await_execution(watch: &OwnedFd) -> Result<()> {
    let mut watched = [PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::empty())];
    while let Err(Errno::INTR) = rustix::event::poll(&mut watched, None) {}
    let mut left = [0u8; 4096];
    let length = rustix::io::read(watch, &mut left).explain(|| "cannot read from the exec FIFO")?;
    let said = &left[..length];
    match said.strip_prefix(ACKNOWLEDGE).unwrap_or(said) {
        [] if length > 0 => Ok(()),
        [] | GO => Err(Failure::new("the container's init has died before it was started").into()),
        said => Err(Error::Start(Failure::new(String::from_utf8_lossy(said)))),
    }
}

/// Runs poststart hooks; the caller removes the container when one fails.
///
/// # Errors
/// The failing hook's.
pub fn run_poststart(container: &ContainerState, hooks: &[Hook]) -> Result<()> {
    // By the record: a program may have done its work and ended by now.
    let Some(init) = container.init.as_ref().filter(|_| !hooks.is_empty()) else {
        return Ok(());
    };
    let state = hook_state(container).json(Status::Running.as_str(), init.pid());
    let side = hooks::Side::Host {
        bundle: &container.bundle,
    };
    Ok(hooks::run_all("poststart", hooks, &state, side)?)
}

/// A hook as the state file keeps it.
pub fn hook_of(record: &HookRecord, annotations: &BTreeMap<String, String>) -> Hook {
    Hook {
        path: record.path.clone(),
        args: record.args.clone(),
        env: record.env.clone(),
        inherits_env: record.inherits_env,
        timeout: record.timeout.and_then(|seconds| u32::try_from(seconds).ok()),
        output: hook_output(|key| annotations.get(key)),
    }
}
