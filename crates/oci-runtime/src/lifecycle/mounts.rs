//! `mounts add` and `mounts remove`: mounts of a container that exists.
//!
//! The sources are opened, given their options and mapped here, in the caller's own namespaces and with its rights. A
//! child then enters the container's user and mount namespaces and attaches them, so that no mount is ever seen without
//! its options. The container is not locked: a program inside can delay the child, by a filesystem of its own, and
//! `delete --force` must not wait for it. The rule is that of `exec`: init is held by its pidfd from the start.

use std::path::Path;
use std::time::Duration;

use nix::sched::CloneFlags;
use nucleus_core::{ContainerId, Operation, Process, Status, Store};
use oci_spec::runtime as oci;
use rustix::mount::MountPropagationFlags;

use super::exec::target;
use super::{Container, Error, Result, Warn, host, idmap_mounts, spawn};
use crate::channel::{self, ToHost};
use crate::init::failure::{Explain, Failure};
use crate::init::mounts_child::{Change, MountsContext};
use crate::plan::mounts::Surroundings;
use crate::plan::{Mount, Namespaces, mounts_change};
use crate::rootfs::mounts::apply_attributes;
use crate::spec;

/// What is done with the mounts of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// They are mounted.
    Add,
    /// What is mounted at their destinations is unmounted.
    Remove,
}

/// What the command line says.
#[derive(Debug)]
pub struct Options<'a> {
    /// The container.
    pub id: &'a ContainerId,
    /// What to do.
    pub action: Action,
    /// The file with the mounts; `-` is standard input.
    pub file: &'a Path,
    /// The log's descriptor.
    pub log_fd: Option<i32>,
}

/// Changes the mounts of a container that is created, running or paused.
///
/// # Errors
/// `container not running` for a stopped one; else the field of `mounts[i]` with the path, and the reason. When adding
/// fails, nothing of the list stays.
pub fn change(store: &Store, options: &Options<'_>, warn: Warn<'_>) -> Result<()> {
    crate::step("mounts:1", "look up");
    let list = spec::load_mounts(options.file)?;
    let mut container = Container::open(store, options.id)?;
    container.check(Operation::Mounts)?;
    let Some(init) = container.seen.init.take() else {
        return not_running();
    };
    let outcome = change_beside(&init, &container, options, &list, warn);
    // Whatever has failed: when init is gone, that is why.
    match outcome {
        Err(Error::Host(_)) if init.wait_exit(Some(Duration::ZERO)).unwrap_or(false) => not_running(),
        other => other,
    }
}

fn not_running() -> Result<()> {
    Status::Stopped.check(Operation::Mounts)?;
    Ok(())
}

fn change_beside(
    init: &Process,
    container: &Container,
    options: &Options<'_>,
    list: &[oci::Mount],
    warn: Warn<'_>,
) -> Result<()> {
    crate::step("mounts:2", "compile");
    let namespaces = target::namespaces(init)?;
    if !namespaces.has(CloneFlags::CLONE_NEWNS.bits() as u64) {
        let why = "the container has no mount namespace of its own, so its mounts are the host's";
        return Err(Failure::new(why).into());
    }
    let mut warnings = Vec::new();
    let change = match options.action {
        Action::Remove => Change::Remove(mounts_change::to_remove(list, &mut warnings)?),
        Action::Add => {
            let around = Surroundings {
                bundle: &container.state.bundle,
                namespaces: &namespaces,
                label: container.state.exec.mount_label.as_deref(),
                maps: (&[], &[]),
            };
            let mounts = mounts_change::to_add(list, &around, &mut warnings)?;
            crate::step("mounts:3", "open the sources");
            Change::Add(with_trees(mounts)?)
        }
    };
    warnings.iter().for_each(|warning| warn(warning));
    enter(init, &namespaces, change, options.log_fd)
}

/// Each mount with its tree, for a bind mount.
fn with_trees(mounts: Vec<Mount>) -> std::result::Result<Vec<(Mount, Option<std::os::fd::OwnedFd>)>, Failure> {
    let one = |(i, mount): (usize, Mount)| {
        let Some(from) = idmap_mounts::Source::of(&mount) else {
            return Ok((mount, None));
        };
        // A slave of its source, as a bind mount of `create` is without an option for that.
        let propagation = MountPropagationFlags::DOWNSTREAM;
        let tree = idmap_mounts::tree(&from, propagation, i)?;
        apply_attributes(&tree, &mount)
            .explain(|| format!("mounts[{i}].options: cannot apply to {}", from.path.display()))?;
        Ok((mount, Some(tree)))
    };
    mounts.into_iter().enumerate().map(one).collect()
}

/// Steps 4 and 5: a child does it inside.
fn enter(init: &Process, namespaces: &Namespaces, change: Change, log_fd: Option<i32>) -> Result<()> {
    // The mapping of a tree may have been read from /proc by the number of init: only a living one proves that it was init's.
    if !matches!(init.wait_exit(Some(Duration::ZERO)), Ok(false)) {
        return not_running();
    }
    crate::step("mounts:4", "clone3");
    let (channel, child_end) = channel::pair().explain(|| "cannot make a socket pair")?;
    let context = MountsContext {
        channel: child_end,
        init: init.pidfd().try_clone_to_owned().explain(|| "init")?,
        joins_user: namespaces.has(CloneFlags::CLONE_NEWUSER.bits() as u64),
        procfs: host::open_procfs()?,
        log_fd,
        change,
    };
    // Killed and reaped at the end of this function.
    let _child = spawn::child(context, MountsContext::run)?;
    crate::step("mounts:5", "wait");
    match channel
        .receive()
        .explain(|| "cannot hear the process in the container")?
    {
        Some(ToHost::Ready) => Ok(()),
        Some(ToHost::Failed(text)) => Err(Failure::new(text).into()),
        Some(_) => Err(Failure::new("the process in the container: unexpected message").into()),
        None => Err(Failure::new("the process in the container ended without a report").into()),
    }
}
