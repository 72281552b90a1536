//! A container's life with each of its verbs traced, once for all tests.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::common::{Container, skip};
use crate::trace::{Layout, Trace, place};

/// The traces of one layout, by verb. Beside the verbs there are `run without cgroup namespace`, and `delete --force` of a
/// container that runs.
pub(crate) type Lifecycle = BTreeMap<&'static str, Trace>;

/// The traces of this layout. None (after saying SKIP) where they cannot be had.
pub(crate) fn of(layout: Layout) -> Option<&'static Lifecycle> {
    static TRACES: [OnceLock<Result<Lifecycle, String>>; 2] = [const { OnceLock::new() }; 2];
    match TRACES[usize::from(layout == Layout::V1)].get_or_init(|| record(layout)) {
        Ok(traces) => Some(traces),
        Err(why) => {
            skip(why);
            None
        }
    }
}

/// What `runc spec` prints on a machine with cgroup v2: it has a cgroup namespace.
fn as_on_v2(config: &mut Value) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.push(json!({ "type": "cgroup" }));
}

fn record(layout: Layout) -> Result<Lifecycle, String> {
    // A dead init must be gone before `delete`, on every machine alike; so this program reaps it.
    nix::sys::prctl::set_child_subreaper(true).expect("subreaper");
    let test = place(layout)?;
    let mut traces = Lifecycle::new();
    // The program outlives whatever the parent does between its start and its wait. The first container of a place makes
    // the parent of all control groups.
    let without = test.container(&["sleep", "0.5"]);
    traces.insert("run without cgroup namespace", Trace::of(&without, "run", &[], &[]));
    let short = test.container_with(&["sleep", "0.5"], as_on_v2);
    traces.insert("run", Trace::of(&short, "run", &[], &[]));

    let long = test.container_with(&["sleep", "1000"], as_on_v2);
    traces.insert("create", Trace::of(&long, "create", &[], &[]));
    traces.insert("start", Trace::of(&long, "start", &[], &[]));
    traces.insert("state", Trace::of(&long, "state", &[], &[]));
    traces.insert("exec", Trace::of(&long, "exec", &[], &["sleep", "0.5"]));
    let pid = long.pid();
    traces.insert("kill", Trace::of(&long, "kill", &[], &["KILL"]));
    reap(pid);
    traces.insert("delete", Trace::of(&long, "delete", &[], &[]));

    let forced = test.container_with(&["sleep", "1000"], as_on_v2);
    forced.run_detached().ok();
    let pid = forced.pid();
    traces.insert("delete --force", Trace::of(&forced, "delete", &["--force"], &[]));
    reap(pid);
    test.nothing_left();
    Ok(traces)
}

fn reap(pid: i32) {
    waitpid(Pid::from_raw(pid), None).expect("this program reaps the container's process");
}

/// A container that runs for as long as the test does, for tests that need one of their own.
pub(crate) fn sleeper(test: &crate::common::Test) -> Container<'_> {
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    c
}
