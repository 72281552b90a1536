//! Scenarios of limits and device rules: what is written, and what it does.

use std::fs::remove_file;
use std::path::PathBuf;

use nucleus_cgroup::{Plan, Version};
use rustix::process::Signal;

use crate::rig::{Rig, Shell, read, until};

pub(crate) fn limits_read_back(rig: &Rig) {
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

pub(crate) fn other_resources_read_back(rig: &Rig) {
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

pub(crate) fn unified_files_are_written(rig: &Rig) {
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

pub(crate) fn memory_limit_kills(rig: &Rig) {
    rig.require("memory");
    let cgroup = rig.create(r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#);
    // tail keeps all of a line that never ends.
    let shell = Shell::spawn(
        &cgroup,
        "head -c 100000000 /dev/zero | tail -n 1 >/dev/null; test $? = 137",
    );
    assert_eq!(shell.wait(), 0);
    let events = match rig.version("memory") {
        Version::V2 => "memory.events",
        Version::V1 => "memory.oom_control",
    };
    let events = read(rig.directory("memory").join(events));
    assert!(
        events
            .lines()
            .any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0"),
        "{events}"
    );
}

pub(crate) fn cpu_quota_throttles(rig: &Rig) {
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
pub(crate) fn updates_and_turns_back(rig: &Rig) {
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
pub(crate) fn controllers_reach_nested_cgroups(rig: &Rig) {
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
pub(crate) fn device_programs_are_replaced(rig: &Rig) {
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

pub(crate) fn pids_limit_stops_forks(rig: &Rig) {
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
    cgroup.record().kill_all(Signal::KILL.as_raw()).expect("kill");
    drop(shell);
}

/// mknod is allowed, use only by the rules: 1:11 (kmsg) is not among the defaults.
pub(crate) fn devices_are_denied(rig: &Rig) {
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

/// What the kernel refuses is told with field, file and reason, and nothing is left behind.
pub(crate) fn bad_limits_are_named(rig: &Rig) {
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
