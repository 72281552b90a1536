//! What is promised, one function each; see `main.rs` for how they are run.

use std::fs::{create_dir, remove_file, write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use nucleus_cgroup::{Error, Layout, Plan, Record};
use rustix::process::Signal;

use crate::rig::{Rig, Shell, read, until};

type Scenario = fn(&Rig);

pub(crate) const ALL: &[(&str, Scenario)] = &[
    ("joins-and-removes", joins_and_removes),
    ("joins-later", joins_later),
    ("a-bare-cpuset-can-be-joined", a_bare_cpuset_can_be_joined),
    ("undoes-on-drop", undoes_on_drop),
    ("limits-read-back", limits_read_back),
    ("other-resources-read-back", other_resources_read_back),
    ("hugepages-read-back", hugepages_read_back),
    ("unified-files-are-written", unified_files_are_written),
    ("memory-limit-kills", memory_limit_kills),
    ("cpu-quota-throttles", cpu_quota_throttles),
    ("updates-and-turns-back", updates_and_turns_back),
    ("controllers-reach-nested-cgroups", controllers_reach_nested_cgroups),
    ("device-programs-are-replaced", device_programs_are_replaced),
    ("hands-over-to-a-user", hands_over_to_a_user),
    ("pids-limit-stops-forks", pids_limit_stops_forks),
    ("devices-are-denied", devices_are_denied),
    ("occupied-and-frozen-are-refused", occupied_and_frozen_are_refused),
    ("kill-all-leaves-none", kill_all_leaves_none),
    ("other-signals-reach-all", other_signals_reach_all),
    ("freezes-and-thaws", freezes_and_thaws),
    ("removal-waits-for-the-dying", removal_waits_for_the_dying),
    ("records-touch-only-cgroups", records_touch_only_cgroups),
    ("rootless-goes-without", rootless_goes_without),
    ("bad-limits-are-named", bad_limits_are_named),
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

fn limits_read_back(rig: &Rig) {
    for controller in ["memory", "cpu", "pids"] {
        rig.require(controller);
    }
    let cgroup = rig.create(
        r#"{"memory": {"limit": 104857600, "swap": 209715200, "reservation": 52428800},
        "cpu": {"shares": 512, "quota": 50000, "period": 200000}, "pids": {"limit": 77}}"#,
    );
    let v1 = [
        ("memory", "memory.limit_in_bytes", "104857600"),
        ("memory", "memory.soft_limit_in_bytes", "52428800"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_period_us", "200000"),
        ("pids", "pids.max", "77"),
    ];
    let v2 = [
        ("memory", "memory.max", "104857600"),
        ("memory", "memory.swap.max", "104857600"),
        ("memory", "memory.low", "52428800"),
        ("cpu", "cpu.weight", "59"),
        ("cpu", "cpu.max", "50000 200000"),
        ("pids", "pids.max", "77"),
    ];
    for (controller, file, expected) in if rig.mode == "v2" { v2 } else { v1 } {
        assert_eq!(read(rig.directory(controller).join(file)), expected, "{file}");
    }
    drop(cgroup);
}

fn other_resources_read_back(rig: &Rig) {
    for controller in ["memory", "cpu", "cpuset", "blkio"] {
        rig.require(controller);
    }
    let disk = read("/proc/partitions")
        .lines()
        .skip(2)
        .map(|line| line.to_owned())
        .next();
    let Some(disk) = disk else {
        rig.skip("this host has no block device")
    };
    let numbers: Vec<&str> = disk.split_whitespace().take(2).collect();
    let device = format!(
        r#"{{"major": {}, "minor": {}, "rate": 1048576}}"#,
        numbers[0], numbers[1]
    );
    let cgroup = rig.create(&format!(
        r#"{{"memory": {{"swappiness": 7, "disableOOMKiller": true}},
        "cpu": {{"quota": 50000, "period": 100000, "burst": 20000, "cpus": "0", "mems": "0"}},
        "blockIO": {{"weight": 300, "throttleReadBpsDevice": [{device}], "throttleWriteIOPSDevice": [{device}]}}}}"#
    ));
    let throttle = format!("{} 1048576", numbers.join(":"));
    let expected = [
        ("memory", "memory.swappiness", "7"),
        ("cpu", "cpu.cfs_burst_us", "20000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("blkio", "blkio.bfq.weight", "300"),
        ("blkio", "blkio.throttle.read_bps_device", &throttle),
        ("blkio", "blkio.throttle.write_iops_device", &throttle),
    ];
    for (controller, file, expected) in expected {
        assert_eq!(read(rig.directory(controller).join(file)), expected, "{file}");
    }
    assert!(read(rig.directory("memory").join("memory.oom_control")).starts_with("oom_kill_disable 1"));
    drop(cgroup);
    // The kernel takes no weight for an idle group: shares first.
    let cgroup = rig.create(r#"{"cpu": {"shares": 100, "idle": 1}}"#);
    assert_eq!(read(rig.directory("cpu").join("cpu.idle")), "1");
    drop(cgroup);
    let cgroup = rig.create(r#"{"cpu": {"cpus": "0"}}"#);
    let script = "grep -q '^Cpus_allowed_list:.0$' /proc/self/status";
    assert_eq!(Shell::spawn(&cgroup, script).wait(), 0);
}

fn hugepages_read_back(rig: &Rig) {
    rig.require("hugetlb");
    let cgroup = rig.create(r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#);
    for file in ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"] {
        assert_eq!(read(rig.directory("hugetlb").join(file)), "4194304");
    }
    drop(cgroup);
    let plan = rig
        .plan(r#"{"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}"#)
        .expect("plan");
    let error = plan
        .create()
        .expect("create")
        .apply_limits()
        .expect_err("no such page size")
        .to_string();
    assert!(
        error.starts_with("linux.resources.hugepageLimits[0].limit: cannot write \"1\" to "),
        "{error}"
    );
}

fn unified_files_are_written(rig: &Rig) {
    if rig.layout.unified().is_none() {
        rig.skip("cgroup v2 only");
    }
    let cgroup = rig.create(r#"{"unified": {"cgroup.max.depth": "3", "hugetlb.2MB.max": "2097152"}}"#);
    let directory = rig.directory("hugetlb");
    assert_eq!(read(directory.join("cgroup.max.depth")), "3");
    assert_eq!(read(directory.join("hugetlb.2MB.max")), "2097152");
    drop(cgroup);
    let plan = rig.plan(r#"{"unified": {"hugetlb.nonsense": "3"}}"#).expect("plan");
    let error = plan
        .create()
        .expect("create")
        .apply_limits()
        .expect_err("no such file")
        .to_string();
    assert!(error.contains("hugetlb.nonsense: no such file or directory"), "{error}");
}

fn memory_limit_kills(rig: &Rig) {
    rig.require("memory");
    let cgroup = rig.create(r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#);
    // tail keeps all of a line that never ends.
    let shell = Shell::spawn(
        &cgroup,
        "head -c 100000000 /dev/zero | tail -n 1 >/dev/null; test $? = 137",
    );
    assert_eq!(shell.wait(), 0);
    let events = if rig.mode == "v2" {
        "memory.events"
    } else {
        "memory.oom_control"
    };
    let events = read(rig.directory("memory").join(events));
    assert!(
        events
            .lines()
            .any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0"),
        "{events}"
    );
}

fn cpu_quota_throttles(rig: &Rig) {
    rig.require("cpu");
    let cgroup = rig.create(r#"{"cpu": {"quota": 2000, "period": 10000}}"#);
    let shell = Shell::spawn(&cgroup, "while :; do :; done");
    let file = rig.directory("cpu").join("cpu.stat");
    until("throttling", || {
        read(&file)
            .lines()
            .any(|line| line.starts_with("nr_throttled ") && line != "nr_throttled 0")
    });
    drop(shell);
}

/// An update raises both of two values that bound each other; one that fails leaves all as it was.
fn updates_and_turns_back(rig: &Rig) {
    for controller in ["memory", "pids", "cpu"] {
        rig.require(controller);
    }
    let cgroup = rig.create(r#"{"memory": {"limit": 8388608, "swap": 8388608}, "pids": {"limit": 9}}"#);
    let record = cgroup.record();
    let update = |json: &str| {
        let resources = serde_json::from_str(json).expect("resources");
        let plan = Plan::compile_update(&resources, &record, &rig.layout).expect("plan");
        plan.open().expect("open").update_limits()
    };
    let pids = rig.directory("pids").join("pids.max");
    let file = if rig.mode == "v2" {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    let memory = rig.directory("memory").join(file);
    update(r#"{"memory": {"limit": 16777216, "swap": 16777216}, "pids": {"limit": -1}}"#).expect("raise");
    assert_eq!([read(&pids), read(&memory)], ["max", "16777216"]);
    update(r#"{"memory": {"limit": 4194304, "swap": 4194304}, "pids": {"limit": 7}}"#).expect("lower");
    assert_eq!([read(&pids), read(&memory)], ["7", "4194304"]);
    let bad = r#"{"memory": {"limit": 16777216, "swap": 16777216}, "cpu": {"quota": 1, "period": 10000}}"#;
    let error = update(bad).expect_err("a quota of 1 µs").to_string();
    assert!(error.starts_with("linux.resources.cpu.quota: "), "{error}");
    assert_eq!(read(&memory), "4194304");
}

/// hugetlb is the one v2 controller that a host with v1 has left: two levels down it must still be there.
fn controllers_reach_nested_cgroups(rig: &Rig) {
    let Some(unified) = rig.layout.unified().filter(|unified| unified.has("hugetlb")) else {
        rig.skip("no controller on the v2 side")
    };
    let path = format!("{}/a/b", rig.top);
    let json = r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 2097152}]}"#;
    let resources = serde_json::from_str(json).expect("resources");
    let plan = Plan::compile(Some(&resources), Some(&path), "unused", &rig.layout, false).expect("plan");
    let cgroup = plan.create().expect("create");
    cgroup.apply_limits().expect("limits");
    assert_eq!(read(unified.mount.join(&path[1..]).join("hugetlb.2MB.max")), "2097152");
}

/// A cgroup that is used again gets the new rules in the place of the old ones, not beside them.
fn device_programs_are_replaced(rig: &Rig) {
    let node = PathBuf::from(format!("/tmp/nucleus-test-{}-kmsg", std::process::id()));
    let script = format!("test -e {0} || mknod {0} c 1 11; exec 3>{0}", node.display());
    let allow = r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}]}"#;
    let mut results = Vec::new();
    for json in ["{}", allow, "{}"] {
        let cgroup = rig.create(json);
        results.push(Shell::spawn(&cgroup, &script).wait());
        cgroup.commit();
    }
    remove_file(node).expect("remove the node");
    assert_eq!(results, [2, 0, 2]);
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

fn pids_limit_stops_forks(rig: &Rig) {
    rig.require("pids");
    let cgroup = rig.create(r#"{"pids": {"limit": 5}}"#);
    let shell = Shell::spawn(
        &cgroup,
        "for i in 1 2 3 4 5 6 7 8; do sleep 50 & done 2>/dev/null; wait",
    );
    let events = rig.directory("pids").join("pids.events");
    until("a refused fork", || read(&events) != "max 0");
    let pids = cgroup.record().pids(true).expect("pids");
    assert!(pids.len() <= 5, "{pids:?}");
    cgroup.record().kill_all(Signal::KILL).expect("kill");
    drop(shell);
}

/// mknod is allowed, use only by the rules: 1:11 (kmsg) is not among the defaults.
fn devices_are_denied(rig: &Rig) {
    let node = PathBuf::from(format!("/tmp/nucleus-test-{}-kmsg", std::process::id()));
    let script = format!(
        "test -e {0} || mknod {0} c 1 11 || exit 3
         head -c 4 /dev/zero >/dev/null || exit 4
         exec 3>{0} || exit 5",
        node.display()
    );
    let status = |rules: &str| {
        let cgroup = rig.create(&format!(r#"{{"devices": [{rules}]}}"#));
        Shell::spawn(&cgroup, &format!("({script}) 2>/dev/null")).wait()
    };
    let deny = r#"{"allow": false, "access": "rwm"}"#;
    let allow = r#"{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}"#;
    let results = [
        status(""),
        status(deny),
        status(&format!("{deny}, {allow}")),
        status(&format!("{allow}, {deny}")),
        status(r#"{"allow": true, "access": "rwm"}"#),
    ];
    remove_file(node).expect("remove the node");
    // dash ends with 2 when a redirection of exec fails.
    assert_eq!(results, [2, 2, 0, 2, 0]);
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

/// Not even what forks all the time, or sits in a sub-cgroup, or is frozen.
fn kill_all_leaves_none(rig: &Rig) {
    let cgroup = rig.create("{}");
    let record = cgroup.record();
    let sleeper = Shell::spawn(&cgroup, "exec sleep 100");
    record.freeze().expect("freeze");
    record.kill_all(Signal::KILL).expect("kill a frozen one");
    assert_eq!(sleeper.wait(), 128 + 9);
    assert!(!record.is_frozen().expect("state"));
    cgroup.commit();
    // Used again after a kill: the children must live.
    let cgroup = rig.create("{}");
    let fork = "i=0; while [ $i -lt 20000 ]; do sleep 100 & i=$((i+1)); [ $((i % 40)) = 0 ] && kill $!; done";
    let shells = [Shell::spawn(&cgroup, fork), Shell::spawn(&cgroup, fork)];
    let sub = rig.directory("freezer").join("sub");
    create_dir(&sub).expect("make a sub-cgroup");
    let inner = Shell::spawn(&cgroup, "exec sleep 100");
    write(sub.join("cgroup.procs"), inner.pid.as_raw_nonzero().to_string()).expect("move");
    until("forks", || record.pids(true).expect("pids").len() > 10);
    record.kill_all(Signal::KILL).expect("kill");
    assert_eq!(record.pids(true).expect("pids"), []);
    drop((shells, inner));
    record.remove().expect("remove");
    assert!(!sub.exists());
    record.kill_all(Signal::KILL).expect("nothing is left to kill");
}

fn other_signals_reach_all(rig: &Rig) {
    let cgroup = rig.create("{}");
    let shells = [(); 3].map(|()| Shell::spawn(&cgroup, "trap 'exit 9' TERM; while :; do sleep 0.01; done"));
    std::thread::sleep(Duration::from_millis(50));
    cgroup.record().kill_all(Signal::TERM).expect("kill");
    // The sleep may die of it first: the shell's own status counts.
    for shell in shells {
        assert_eq!(shell.wait(), 9);
    }
}

fn freezes_and_thaws(rig: &Rig) {
    let counter = PathBuf::from(format!("/tmp/nucleus-test-{}-count", std::process::id()));
    let cgroup = rig.create("{}");
    let script = format!("i=0; while :; do i=$((i+1)); echo $i >{}; done", counter.display());
    let shells = [
        Shell::spawn(&cgroup, &script),
        Shell::spawn(&cgroup, "while :; do /bin/true; done"),
    ];
    let record = cgroup.record();
    until("the first count", || counter.exists());
    for _ in 0..20 {
        record.freeze().expect("freeze");
        assert!(record.is_frozen().expect("state"));
        let before = read(&counter);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(read(&counter), before);
        record.thaw().expect("thaw");
        assert!(!record.is_frozen().expect("state"));
        until("more counts", || read(&counter) != before);
    }
    drop(shells);
    remove_file(counter).expect("remove the counter");
}

fn removal_waits_for_the_dying(rig: &Rig) {
    let cgroup = rig.create("{}");
    let shell = Shell::spawn(&cgroup, "exec sleep 0.2");
    let record = cgroup.record();
    cgroup.commit();
    let start = Instant::now();
    record.remove().expect("remove");
    assert!(start.elapsed() > Duration::from_millis(50), "{:?}", start.elapsed());
    drop(shell);
}

fn records_touch_only_cgroups(rig: &Rig) {
    let record = |path: &Path| Record {
        driver: "cgroupfs".to_owned(),
        paths: [("freezer".to_owned(), path.to_path_buf())].into(),
    };
    let directory = std::env::temp_dir().join(format!("nucleus-test-{}-plain", std::process::id()));
    create_dir(&directory).expect("make a directory");
    let root = &rig.layout.hierarchies[0].mount;
    for path in [&directory, root, Path::new("relative"), &root.join("a/../..")] {
        let record = record(path);
        for result in [record.remove(), record.freeze(), record.kill_all(Signal::KILL)] {
            assert!(
                matches!(result, Err(Error::Path { .. })),
                "{}: {result:?}",
                path.display()
            );
        }
    }
    std::fs::remove_dir(directory).expect("still there");
    // Where the runtime itself lives nothing is killed.
    let cgroup = rig.create("{}");
    let joined = Shell::spawn(
        &cgroup,
        &format!("{} --role kill-own", std::env::current_exe().expect("self").display()),
    );
    assert_eq!(joined.wait(), 0);
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

/// What the kernel refuses is told with field, file and reason, and nothing is left behind.
fn bad_limits_are_named(rig: &Rig) {
    rig.require("cpu");
    let field = "linux.resources.cpu.";
    let cgroup = rig
        .plan(r#"{"cpu": {"quota": 5000, "period": 1}}"#)
        .expect("plan")
        .create()
        .expect("create");
    let error = cgroup.apply_limits().expect_err("a period of 1 µs").to_string();
    assert!(
        error.starts_with(field) && error.ends_with("invalid argument"),
        "{error}"
    );
    drop(cgroup);
    assert!(rig.directories().iter().all(|path| !path.exists()));
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
                paths: [(key.to_owned(), mount.join(below.trim_start_matches('/')))].into(),
            };
            let error = record
                .kill_all(Signal::KILL)
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
