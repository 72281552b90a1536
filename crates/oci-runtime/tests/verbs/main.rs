//! The verbs that live on a container's control groups: pause and resume, ps, update, events.

#[path = "../common/mod.rs"]
mod common;

mod delete;
mod events;
mod mounts;
mod mounts_refused;
mod pause;
mod ps;
mod update;

use std::fs;
use std::path::PathBuf;

use common::{Container, skip};

/// The directory of the container's cgroup under a controller, v1's or v2's, and whether it is v2's. None, after
/// saying SKIP, where the machine lacks the controller.
fn controller(c: &Container<'_>, name: &str) -> Option<(PathBuf, bool)> {
    let listed = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    // The freezer is no controller on v2 but always there.
    let v2 = listed.split_whitespace().any(|word| word == name) || (name == "freezer" && !listed.is_empty());
    let found = if v2 { c.cgroup("cgroup") } else { c.cgroup(name) };
    if found.is_none() {
        skip(&format!("no cgroup controller {name}"));
    }
    found.map(|dir| (dir, v2))
}

/// A control file's trimmed text.
#[track_caller]
fn read(path: PathBuf) -> String {
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}
