//! `delete`: removes what a container consists of, in an order that can be taken up again where it was cut off.
//!
//! Processes first, then the control groups, then the directory, whose state file goes last. poststop hooks run when
//! the container is gone; one that fails is a warning, and the rest still run (runtime.md, lifecycle).

use std::time::Duration;

use nix::libc::SIGKILL;
use nucleus_core::{
    ContainerDir, ContainerId, ContainerState, Durability, Error as CoreError, Lock, Operation, Phase, Process, Status,
    Store,
};

use super::start::hook_of;
use super::{Container, Error, Result, Warn, cgroup_of, hook_state};
use crate::hooks;
use crate::init::failure::Failure;

/// How long killed processes may take to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long init may take to end before its control groups are looked at.
const SOON: Duration = Duration::from_millis(500);

/// Removes a container. With `force`, one that runs is killed, one that is broken is cleared away,
/// and one that is not there is no error.
///
/// # Errors
/// The refusal in runc's words; or what could not be removed.
pub fn delete(store: &Store, id: &ContainerId, force: bool, warn: Warn<'_>) -> Result<()> {
    let dir = match store.get(id) {
        Err(CoreError::NotFound { .. }) if force => return Ok(()),
        other => other?,
    };
    let lock = match dir.lock() {
        Err(CoreError::NotFound { .. }) if force => return Ok(()),
        other => other?,
    };
    let container = match Container::observe(dir) {
        Ok(container) => container,
        Err(Error::Core(CoreError::NotFound { .. })) if force => return Ok(()),
        // `create` was killed before it wrote its first state, or the file is damaged: no object is known to exist.
        Err(Error::Core(error)) if force && error.is_broken_state() => {
            store.get(id)?.remove(Durability::Lasting)?;
            warn(&format!(
                "removed a container without a readable state; processes and control groups of it, if any, are not known: \
                 {error}"
            ));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    container.check(if force {
        Operation::DeleteForce
    } else {
        Operation::Delete
    })?;
    destroy(container, Some(lock), Durability::Lasting, warn)
}

/// Kills what runs, removes what was made, gives the lock back, and runs the poststop hooks.
///
/// # Errors
/// What survived or could not be removed; the state file is still there then, and no hook has run.
pub fn destroy(container: Container, lock: Option<Lock>, durability: Durability, warn: Warn<'_>) -> Result<()> {
    crate::step("1", "kill");
    let vacated = kill_everything(&container)?;
    let Container { dir, state, .. } = container;
    clear(&dir, &state, vacated, durability, warn)?;
    drop(lock);
    run_poststop(&state, warn);
    Ok(())
}

/// False for a creation that was cut off before it knew its init: it may not have come to make, or to check, its control
/// groups, so that what lives in them need not be ours. An init that was cloned by then dies with its runtime.
fn knows_its_processes(state: &ContainerState) -> bool {
    state.phase != Phase::Creating || state.init.is_some()
}

/// Kills init and every process of the container's control groups, and waits until init is gone. Control groups that
/// nobody lives in any more may be removed on the way; true when none is left.
///
/// # Errors
/// When init survives SIGKILL for ten seconds.
pub fn kill_everything(container: &Container) -> Result<bool> {
    let mut vacated = false;
    let mut gone = true;
    if let Some(init) = &container.seen.init {
        // It may have ended meanwhile.
        let _ = init.send_signal(SIGKILL);
        // With pid 1 of a PID namespace goes everybody else. One that is frozen does not end before it is thawed: by the
        // runtime, or on v1 by the container itself in a control group below its own.
        gone = container.seen.status != Status::Paused && init.wait_exit(Some(SOON))?;
    }
    if knows_its_processes(&container.state) {
        let cgroup = cgroup_of(&container.state.cgroup);
        // Processes are rarely left: then the control groups are removed as they are, without a search for processes.
        vacated = match (gone, container.own) {
            (false, _) => false,
            (true, true) => cgroup.remove_own_if_unused()?,
            (true, false) => cgroup.remove_if_unused()?,
        };
        if !vacated {
            cgroup.kill_all(SIGKILL)?;
        }
    }
    container.seen.init.as_ref().map_or(Ok(()), wait_until_gone)?;
    Ok(vacated)
}

fn wait_until_gone(init: &Process) -> Result<()> {
    match init.wait_exit(Some(PATIENCE))? {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "pid {} does not end after SIGKILL",
            init.pid().as_raw_nonzero()
        ))
        .into()),
    }
}

/// Removes the directory of a container without processes, and its control groups unless it has `vacated` them.
///
/// # Errors
/// What could not be removed; the state file is still there then.
fn clear(
    dir: &ContainerDir,
    state: &ContainerState,
    vacated: bool,
    durability: Durability,
    warn: Warn<'_>,
) -> Result<()> {
    crate::step("2", "remove control groups");
    match knows_its_processes(state) {
        true if vacated => {}
        true => cgroup_of(&state.cgroup).remove()?,
        false => {
            for path in cgroup_of(&state.cgroup).remove_unused()? {
                warn(&format!(
                    "left {}: what lives there is not known to be the container's",
                    path.display()
                ));
            }
        }
    }
    super::resctrl::remove(&state.resctrl)?;
    crate::step("3", "remove the directory");
    dir.remove(durability)?;
    crate::step("4", "poststop hooks");
    Ok(())
}

/// Runs every poststop hook; one that fails is a warning.
pub fn run_poststop(state: &ContainerState, warn: Warn<'_>) {
    let document = hook_state(state).stopped();
    let side = hooks::Side::Host { bundle: &state.bundle };
    for (index, record) in state.poststop.iter().enumerate() {
        if let Err(failure) = hooks::run_one("poststop", index, &hook_of(record, &state.annotations), &document, side) {
            warn(&failure.to_string());
        }
    }
}
