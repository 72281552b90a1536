//! All scenarios, and those of making, joining and undoing. One function for each promise; see `main.rs` for how they
//! are run.

use std::fs::{create_dir, write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nucleus_cgroup::{Error, Layout, Plan, Record};
use rustix::process::Signal;

use crate::rig::{Rig, Shell, read};
use crate::{counters, limits, seldom, verbs};

type Scenario = fn(&Rig);

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("joins-and-removes", joins_and_removes),
    ("joins-later", joins_later),
    ("a-bare-cpuset-can-be-joined", a_bare_cpuset_can_be_joined),
    ("undoes-on-drop", undoes_on_drop),
    ("limits-read-back", limits::limits_read_back),
    ("other-resources-read-back", limits::other_resources_read_back),
    ("hugepages-read-back", seldom::hugepages_read_back),
    ("network-reads-back", seldom::network_reads_back),
    ("rdma-reads-back", seldom::rdma_reads_back),
    ("rare-limits-are-set-or-refused", seldom::rare_limits_are_set_or_refused),
    ("unified-files-are-written", limits::unified_files_are_written),
    ("memory-limit-kills", limits::memory_limit_kills),
    ("cpu-quota-throttles", limits::cpu_quota_throttles),
    ("updates-and-turns-back", limits::updates_and_turns_back),
    (
        "controllers-reach-nested-cgroups",
        limits::controllers_reach_nested_cgroups,
    ),
    ("device-programs-are-replaced", limits::device_programs_are_replaced),
    ("hands-over-to-a-user", hands_over_to_a_user),
    ("pids-limit-stops-forks", limits::pids_limit_stops_forks),
    ("devices-are-denied", limits::devices_are_denied),
    ("occupied-and-frozen-are-refused", occupied_and_frozen_are_refused),
    ("kill-all-leaves-none", verbs::kill_all_leaves_none),
    ("killed-and-removed-at-once", verbs::killed_and_removed_at_once),
    ("other-signals-reach-all", verbs::other_signals_reach_all),
    ("freezes-and-thaws", verbs::freezes_and_thaws),
    ("removal-waits-for-the-dying", verbs::removal_waits_for_the_dying),
    ("records-touch-only-cgroups", verbs::records_touch_only_cgroups),
    ("rootless-goes-without", rootless_goes_without),
    ("bad-limits-are-named", limits::bad_limits_are_named),
    ("statistics-are-counted", counters::statistics_are_counted),
    ("disk-reads-are-counted", counters::disk_reads_are_counted),
    ("memory-that-runs-out-is-told", counters::memory_that_runs_out_is_told),
    ("other-resources-read-back-v2", counters::other_resources_read_back_v2),
    ("io-limit-slows", counters::io_limit_slows),
    ("halves-are-completed", counters::halves_are_completed),
];

/// A process is in the container's directory of every hierarchy from its first instruction on.
fn joins_and_removes(rig: &Rig) {
    let cgroup = rig.create("{}");
    let shell = Shell::spawn(&cgroup, "read -r line; exec sleep 100");
    let record = cgroup.record();
    cgroup.commit();
    let own = read(format!("/proc/{}/cgroup", shell.pid.as_raw_nonzero()));
    let expected = rig.layout.hierarchies.len();
    assert_eq!(
        own.lines().filter(|line| line.ends_with(&rig.top)).count(),
        expected,
        "{own}"
    );
    assert_eq!(record.pids(true).expect("pids"), [shell.pid]);
    drop(shell);
    assert!(record.unified_dir().expect("open").is_some() == rig.layout.unified().is_some());
    assert!(record.joiner().expect("joiner").is_empty() == (rig.mode == "v2"));
    record.remove().expect("remove");
    assert!(rig.directories().iter().all(|path| !path.exists()));
    // Removing twice is fine.
    record.remove().expect("remove again");
}

/// As exec does: by the record alone, into a sub-cgroup too.
fn joins_later(rig: &Rig) {
    let cgroup = rig.create("{}");
    let record = cgroup.record();
    for hierarchy in &rig.layout.hierarchies {
        create_dir(hierarchy.mount.join(&rig.top[1..]).join("sub")).expect("make a sub-cgroup");
    }
    let sub = record.sub(Path::new("../sub"), None);
    if let Some(path) = sub.paths.get("cpuset") {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            write(path.join(file), read(path.join("..").join(file))).expect("fill the cpuset");
        }
    }
    for (record, end) in [(&record, rig.top.clone()), (&sub, format!("{}/sub", rig.top))] {
        let shell = Shell::spawn_by(None, &record.full_joiner().expect("joiner"), "exec sleep 100");
        let own = read(format!("/proc/{}/cgroup", shell.pid.as_raw_nonzero()));
        assert_eq!(
            own.lines().filter(|line| line.ends_with(&end)).count(),
            rig.layout.hierarchies.len(),
            "{own}"
        );
    }
    // One hierarchy alone, as `exec --cgroup freezer:sub` asks for.
    let only = record.sub(Path::new("sub"), Some("freezer"));
    assert_eq!(
        only.paths.values().filter(|path| path.ends_with("sub")).count(),
        usize::from(rig.mode != "v2")
    );
}

fn a_bare_cpuset_can_be_joined(rig: &Rig) {
    rig.require("cpuset");
    create_dir(rig.directory("cpuset")).expect("make a cgroup by hand");
    let path = format!("{}/a", rig.top);
    let plan = Plan::compile(None, Some(&path), "unused", &rig.layout, false).expect("plan");
    let cgroup = plan.create().expect("create");
    assert_eq!(Shell::spawn(&cgroup, "exit 0").wait(), 0);
}

/// What is not committed goes again, parents included; what was there before stays.
fn undoes_on_drop(rig: &Rig) {
    let nested = |below: &str| {
        let path = format!("{}/{below}", rig.top);
        Plan::compile(None, Some(&path), "unused", &rig.layout, false)
            .expect("plan")
            .create()
            .expect("create")
    };
    drop(nested("a/b"));
    assert!(rig.directories().iter().all(|path| !path.exists()));
    // A parent that others use by now stays, and so does what is theirs.
    let failing = nested("a/b");
    let other = nested("a/other");
    drop(failing);
    assert!(
        rig.directories()
            .iter()
            .all(|path| path.join("a/other").exists() && !path.join("a/b").exists())
    );
    drop(other);
    assert!(rig.directories().iter().all(|path| path.join("a").exists()));
    rig.clean();
    nested("a").commit();
    drop(nested("a/b"));
    assert!(
        rig.directories()
            .iter()
            .all(|path| path.join("a").exists() && !path.join("a/b").exists())
    );
}

fn hands_over_to_a_user(rig: &Rig) {
    use std::os::unix::fs::MetadataExt;
    let cgroup = rig.create("{}");
    cgroup.delegate(65534).expect("delegate");
    let Some(unified) = rig.layout.unified() else { return };
    let owner = |file: &str| {
        let path = unified.mount.join(&rig.top[1..]).join(file);
        std::fs::metadata(path).expect("stat").uid()
    };
    assert_eq!(["", "cgroup.procs", "cgroup.subtree_control"].map(owner), [65534; 3]);
    assert_eq!(["cgroup.max.depth", "cgroup.freeze"].map(owner), [0; 2]);
}

fn occupied_and_frozen_are_refused(rig: &Rig) {
    let cgroup = rig.create("{}");
    let again = || rig.plan("{}").expect("plan").create();
    // Empty is fine, and not ours to remove.
    drop(again().expect("an empty one is fine"));
    assert!(rig.directories().iter().all(|path| path.exists()));
    let shell = Shell::spawn(&cgroup, "exec sleep 100");
    match again() {
        Err(Error::NotEmpty { count: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
    drop(shell);
    cgroup.record().freeze().expect("freeze");
    match again() {
        Err(Error::Frozen { .. }) => {}
        other => panic!("{other:?}"),
    }
    cgroup.record().thaw().expect("thaw");
    drop(again().expect("thawed"));
}

/// As a user who may not make cgroups: fine when nothing is asked for, else one clear error.
fn rootless_goes_without(rig: &Rig) {
    let program = std::env::current_exe().expect("self");
    // The build directory may be closed to others: hand the program over as an open file.
    let file = std::fs::File::open(program).expect("open self");
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("keep it open");
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let status = Command::new(path)
        .args(["--role", "rootless"])
        .uid(65534)
        .gid(65534)
        .status()
        .expect("run");
    assert!(status.success(), "{} {status}", rig.name);
}

/// Parts of scenarios that need a process of their own.
pub(crate) fn role(name: &str, _arguments: &[String]) -> ExitCode {
    let layout = Layout::probe().expect("probe");
    match name {
        "kill-own" => {
            let own = read("/proc/self/cgroup");
            let unified = layout.unified();
            let controller = if layout.find("freezer").is_some() {
                ":freezer:"
            } else {
                "0::"
            };
            let below = own
                .lines()
                .find_map(|line| line.split_once(controller))
                .expect("own cgroup")
                .1;
            let mount = &layout.find("freezer").or(unified).expect("a hierarchy").mount;
            let key = if controller == "0::" { "unified" } else { "freezer" };
            let record = Record {
                driver: "cgroupfs".to_owned(),
                unit: None,
                paths: [(key.to_owned(), mount.join(below.trim_start_matches('/')))].into(),
            };
            let error = record
                .kill_all(Signal::KILL.as_raw())
                .expect_err("must not kill itself")
                .to_string();
            assert!(error.contains("holds the runtime itself"), "{error}");
        }
        "rootless" => rootless(&layout),
        _ => panic!("unknown role {name}"),
    }
    ExitCode::SUCCESS
}

fn rootless(layout: &Layout) {
    let create = |path, json: &str| {
        let resources = serde_json::from_str(json).expect("resources");
        Plan::compile(Some(&resources), path, "nucleus-test-rootless", layout, true).map(Plan::create)
    };
    let cgroup = create(None, r#"{"devices": [{"allow": false, "access": "rwm"}]}"#)
        .expect("plan")
        .expect("create");
    cgroup.apply_limits().expect("nothing to apply");
    assert!(cgroup.record().is_empty() && cgroup.unified_dir().is_none());
    assert!(cgroup.joiner().expect("joiner").is_empty());
    let error = create(Some("/nucleus-test-rootless"), "{}")
        .expect("plan")
        .expect_err("a place was asked for");
    assert!(
        error.to_string().starts_with("cannot make cgroup /sys/fs/cgroup/"),
        "{error}"
    );
    assert!(
        error.to_string().ends_with("/nucleus-test-rootless: permission denied"),
        "{error}"
    );
    if layout.find("pids").is_some() {
        let error = create(None, r#"{"pids": {"limit": 5}}"#)
            .expect("plan")
            .expect_err("a limit was asked for");
        assert!(
            error
                .to_string()
                .starts_with("linux.resources.pids.limit: cannot be applied: "),
            "{error}"
        );
    }
}
