//! What a further process joins: the namespaces, the root and the control groups of a living container.
//!
//! The rule: init is held by a pidfd from the start. Files in /proc are named by its number, and a number may be given
//! to another process; but setns(2) goes through the pidfd and fails when init is gone, so that what was read about a
//! stranger is never used.

use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use nix::sched::CloneFlags;
use nucleus_cgroup::Joiner;
use nucleus_core::Process;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::super::NAMESPACES;
use crate::init::failure::{Explain, Failure};
use crate::plan::Namespaces;

/// The namespaces in which init is and we are not. What the record says is not asked: one of them may be joined by a
/// path that leads to our own, and setns(2) refuses our own user namespace.
///
/// # Errors
/// Named by the file; `ENOENT` when init is gone.
pub fn namespaces(init: &Process) -> Result<Namespaces, Failure> {
    let pid = init.pid().as_raw_nonzero();
    let mut join = Vec::with_capacity(NAMESPACES.len());
    for (kind, name) in NAMESPACES {
        let ours = match rustix::fs::stat(format!("/proc/self/ns/{name}")) {
            // A kernel without namespaces of this kind.
            Err(Errno::NOENT) => continue,
            other => other.explain(|| format!("/proc/self/ns/{name}"))?,
        };
        let path = format!("/proc/{pid}/ns/{name}");
        let theirs = rustix::fs::stat(&path).explain(|| path.clone())?;
        if (ours.st_dev, ours.st_ino) != (theirs.st_dev, theirs.st_ino) {
            join.push((kind.bits() as u64, path.into()));
        }
    }
    Ok(Namespaces { new: 0, join })
}

/// Init's root directory, for a container that has no mount namespace of its own.
///
/// # Errors
/// Named by the file.
pub fn root(init: &Process, namespaces: &Namespaces) -> Result<Option<OwnedFd>, Failure> {
    if namespaces.has(CloneFlags::CLONE_NEWNS.bits() as u64) {
        return Ok(None);
    }
    let path = format!("/proc/{}/root", init.pid().as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).explain(|| path.clone())?;
    // Opened by number: only a living init proves that it is init's.
    match init.wait_exit(Some(std::time::Duration::ZERO)) {
        Ok(false) => Ok(Some(root)),
        _ => Err(Failure::from_errno(path, Errno::SRCH)),
    }
}

/// The container's control groups, or those below it that `--cgroup` names: `PATH` for all hierarchies,
/// `CONTROLLER[,CONTROLLER…]:PATH` for some of v1.
///
/// # Errors
/// Named by the flag.
pub fn cgroups(container: nucleus_cgroup::Record, wanted: &[String]) -> Result<nucleus_cgroup::Record, Failure> {
    let mut record = container.clone();
    for argument in wanted {
        let refuse = |why: &str| Failure::new(format!("invalid --cgroup argument: {argument}: {why}"));
        let Some((controllers, path)) = argument.split_once(':') else {
            if wanted.len() > 1 {
                return Err(refuse("missing <controller>: prefix"));
            }
            return Ok(container.sub(Path::new(argument), None));
        };
        if path.contains(':') {
            return Err(refuse("more than one colon"));
        }
        for controller in controllers.split(',') {
            let Some(own) = container.paths.get(controller) else {
                return Err(refuse(&format!("unknown controller {controller:?}")));
            };
            let below = container
                .sub(Path::new(path), Some(controller))
                .paths
                .remove(controller);
            record
                .paths
                .insert(controller.to_owned(), below.unwrap_or_else(|| own.clone()));
        }
    }
    Ok(record)
}

/// The control groups that `--cgroup` names, what a process needs to join those of v1, and that of v2. Init may have left the
/// container's own, which anybody may then remove: in the place of one that is gone, the one that init is in serves.
///
/// # Errors
/// Named by the flag, or by the file.
pub fn open_cgroups(
    init: &Process,
    container: nucleus_cgroup::Record,
    wanted: &[String],
) -> Result<(nucleus_cgroup::Record, Joiner, Option<OwnedFd>), super::Error> {
    let cgroups = cgroups(container, wanted)?;
    let gone = |error: &nucleus_cgroup::Error| {
        matches!(
            error,
            nucleus_cgroup::Error::File {
                errno: Errno::NOENT,
                ..
            }
        )
    };
    let open = |cgroups: &nucleus_cgroup::Record| Ok((cgroups.joiner()?, cgroups.unified_dir()?));
    let (cgroups, (joiner, unified)) = match open(&cgroups) {
        Err(error) if wanted.is_empty() && gone(&error) => {
            let places = std::fs::read_to_string(format!("/proc/{}/cgroup", init.pid().as_raw_nonzero()));
            let cgroups = cgroups.or_place_of_process(&places.map_err(|_| error)?)?;
            let opened = open(&cgroups)?;
            (cgroups, opened)
        }
        opened => (cgroups, opened?),
    };
    Ok((cgroups, joiner, unified))
}

/// The v2 control group that init is in, if it is the container's own at `container` or one below it.
pub fn cgroup_of(init: &Process, container: &Path) -> Option<OwnedFd> {
    let layout = nucleus_cgroup::Layout::probe().ok()?;
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", init.pid().as_raw_nonzero())).ok()?;
    let below = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = layout.unified()?.mount.join(below);
    if !path.starts_with(container) || path.components().any(|part| part == Component::ParentDir) {
        return None;
    }
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> nucleus_cgroup::Record {
        let path = |name: &str| (name.to_owned(), format!("/sys/fs/cgroup/{name}/box").into());
        nucleus_cgroup::Record {
            driver: "cgroupfs".to_owned(),
            unit: None,
            paths: ["cpu", "memory", "pids"].iter().map(|name| path(name)).collect(),
        }
    }

    fn choose(arguments: &[&str]) -> Result<Vec<String>, String> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let record = cgroups(record(), &arguments).map_err(|failure| failure.to_string())?;
        Ok(record.paths.values().map(|path| path.display().to_string()).collect())
    }

    #[test]
    fn the_containers_own_groups_unless_told() {
        let own = [
            "/sys/fs/cgroup/cpu/box",
            "/sys/fs/cgroup/memory/box",
            "/sys/fs/cgroup/pids/box",
        ];
        assert_eq!(choose(&[]).unwrap(), own);
        assert_eq!(choose(&["/"]).unwrap(), own);
        assert_eq!(choose(&["../.."]).unwrap(), own);
        let below = own.map(|path| format!("{path}/a/b"));
        assert_eq!(choose(&["a/b"]).unwrap(), below);
    }

    #[test]
    fn some_hierarchies_only() {
        let chosen = choose(&["cpu,pids:a", "memory:b"]).unwrap();
        assert_eq!(
            chosen,
            [
                "/sys/fs/cgroup/cpu/box/a",
                "/sys/fs/cgroup/memory/box/b",
                "/sys/fs/cgroup/pids/box/a"
            ]
        );
        for wrong in [&["a", "cpu:b"][..], &["cpu:a:b"], &["nosuch:a"], &[":a"]] {
            assert!(
                choose(wrong).unwrap_err().starts_with("invalid --cgroup argument"),
                "{wrong:?}"
            );
        }
    }
}
