//! Scenarios of what is read and not written: statistics, and the kernel's word of memory that ran out; and of v2
//! resources whose v1 sisters are in `limits.rs`.

use std::fs::File;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, Timespec, poll};

use crate::rig::{Rig, Shell, read, until};

pub(crate) fn statistics_are_counted(rig: &Rig) {
    rig.require("memory");
    rig.require("pids");
    let json = r#"{"memory": {"limit": 67108864}, "pids": {"limit": 7}, "cpu": {"quota": 5000, "period": 10000}}"#;
    let cgroup = rig.create(json);
    let shell = Shell::spawn(&cgroup, "while :; do :; done");
    let record = cgroup.record();
    let stats = || record.stats().expect("stats");
    // The time is only counted when the tasks may run again.
    until("throttling", || stats().cpu.throttling.throttled_time > 0);
    let found = stats();
    assert_eq!((found.pids.current, found.pids.limit), (1, 7));
    assert_eq!(found.memory.usage.limit, 67_108_864);
    assert!(
        found.memory.usage.usage > 0 && found.memory.raw.contains_key("pgfault"),
        "{found:?}"
    );
    let usage = &found.cpu.usage;
    assert!(usage.total > 1_000_000, "{usage:?}");
    let throttling = &found.cpu.throttling;
    assert!(
        throttling.periods > 0 && throttling.throttled_periods > 0,
        "{throttling:?}"
    );
    if rig.mode == "v2" {
        assert!(usage.user + usage.kernel <= usage.total + 1_000_000, "{usage:?}");
        assert!(found.memory.event_count.contains_key("oom_kill"));
    } else {
        // v1 alone tells processors apart.
        assert_eq!(
            usage.percpu.iter().sum::<u64>() / 100_000_000,
            usage.total / 100_000_000
        );
        assert!(!found.cpuset.cpus.is_empty());
    }
    assert!(rig.layout.find("hugetlb").is_none() || !found.hugetlb.is_empty());
    drop(shell);
    drop(cgroup);
    // Gone is no error: a container may end while it is counted.
    assert_eq!(stats().pids.current, 0);
}

/// Reading from a disk is counted for it. Only a disk that is not mounted can be read past the page cache of others.
pub(crate) fn disk_reads_are_counted(rig: &Rig) {
    let name = if rig.mode == "v2" { "io" } else { "blkio" };
    rig.require(name);
    let Some((path, numbers)) = disk(rig) else { return };
    let cgroup = rig.create(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#);
    let script = format!("dd if={path} of=/dev/null bs=64k count=16 iflag=direct");
    if Shell::spawn(&cgroup, &script).wait() != 0 {
        rig.skip("the disk cannot be read directly");
    }
    let stats = cgroup.record().stats().expect("stats");
    let bytes: u64 = stats
        .blkio
        .io_service_bytes_recursive
        .iter()
        .filter(|entry| (entry.major, entry.minor) == numbers && entry.op == "Read")
        .map(|entry| entry.value)
        .sum();
    assert!(bytes >= 16 << 16, "{:?}", stats.blkio);
}

/// The first disk: its path and its numbers.
fn disk(rig: &Rig) -> Option<(String, (u64, u64))> {
    let partitions = read("/proc/partitions");
    let words: Vec<&str> = partitions.lines().nth(2)?.split_whitespace().collect();
    let path = format!("/dev/{}", words.get(3)?);
    let Ok(numbers) = (|| Ok::<_, std::num::ParseIntError>((words[0].parse()?, words[1].parse()?)))() else {
        rig.skip("/proc/partitions cannot be understood");
    };
    if File::open(&path).is_err() {
        rig.skip("this host has no block device that can be read");
    }
    Some((path, numbers))
}

pub(crate) fn memory_that_runs_out_is_told(rig: &Rig) {
    rig.require("memory");
    let cgroup = rig.create(r#"{"memory": {"limit": 8388608, "swap": 8388608}}"#);
    let mut watch = cgroup.record().oom_watch().expect("watch");
    assert!(!watch.occurred().expect("nothing yet"));
    let waits = |watch: &nucleus_cgroup::OomWatch, seconds: i64| {
        let (fd, flags) = watch.poll();
        let timeout = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&timeout)).expect("poll") > 0
    };
    assert!(!waits(&watch, 0), "a word without a reason");
    for _ in 0..2 {
        let greedy = "head -c 100000000 /dev/zero | tail -n 1 >/dev/null";
        let shell = Shell::spawn(&cgroup, greedy);
        assert!(waits(&watch, 10), "no word within ten seconds");
        until("the kill", || watch.occurred().expect("read"));
        shell.wait();
        // What v1 tells is that memory was short, perhaps more than once for one kill.
        while watch.occurred().expect("read") {}
    }
    drop(cgroup);
    // The end of the cgroup is no such word.
    assert!(!watch.occurred().expect("read"));
}

/// v2's files for what `other-resources-read-back` shows of v1.
pub(crate) fn other_resources_read_back_v2(rig: &Rig) {
    if rig.mode != "v2" {
        rig.skip("cgroup v2 only");
    }
    for controller in ["memory", "cpu", "cpuset", "io"] {
        rig.require(controller);
    }
    let Some((_, (major, minor))) = disk(rig) else { return };
    let device = format!(r#"{{"major": {major}, "minor": {minor}, "rate": 1048576}}"#);
    let cgroup = rig.create(&format!(
        r#"{{"memory": {{"limit": 33554432, "swap": -1, "swappiness": 7, "disableOOMKiller": true}},
        "cpu": {{"quota": 50000, "period": 100000, "burst": 20000, "cpus": "0", "mems": "0"}},
        "blockIO": {{"weight": 300, "throttleReadBpsDevice": [{device}], "throttleWriteIOPSDevice": [{device}]}},
        "unified": {{"memory.high": "30000000", "memory.oom.group": "1"}}}}"#
    ));
    let throttle = format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=1048576");
    let expected = [
        ("memory.max", "33554432"),
        ("memory.swap.max", "max"),
        ("memory.high", "29999104"),
        ("memory.oom.group", "1"),
        ("cpu.max", "50000 100000"),
        ("cpu.max.burst", "20000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("io.max", &throttle),
    ];
    let directory = rig.directory("memory");
    for (file, expected) in expected {
        assert_eq!(read(directory.join(file)), expected, "{file}");
    }
    let weight = if directory.join("io.bfq.weight").exists() {
        ("io.bfq.weight", "default 300")
    } else {
        ("io.weight", "default 2930")
    };
    assert_eq!(read(directory.join(weight.0)), weight.1);
    drop(cgroup);
    let cgroup = rig.create(r#"{"cpu": {"shares": 100, "idle": 1}}"#);
    assert_eq!(read(directory.join("cpu.idle")), "1");
    drop(cgroup);
    let cgroup = rig.create(r#"{"cpu": {"cpus": "0"}}"#);
    let script = "grep -q '^Cpus_allowed_list:.0$' /proc/self/status";
    assert_eq!(Shell::spawn(&cgroup, script).wait(), 0);
}

pub(crate) fn io_limit_slows(rig: &Rig) {
    let name = if rig.mode == "v2" { "io" } else { "blkio" };
    rig.require(name);
    let Some((path, (major, minor))) = disk(rig) else {
        return;
    };
    let device = format!(r#"{{"major": {major}, "minor": {minor}, "rate": 1048576}}"#);
    let cgroup = rig.create(&format!(
        r#"{{"devices": [{{"allow": true, "access": "rwm"}}], "blockIO": {{"throttleReadBpsDevice": [{device}]}}}}"#
    ));
    let start = Instant::now();
    let script = format!("dd if={path} of=/dev/null bs=64k count=32 iflag=direct");
    if Shell::spawn(&cgroup, &script).wait() != 0 {
        rig.skip("the disk cannot be read directly");
    }
    // Two megabytes at one a second; the throttle lets a first slice through at once.
    assert!(start.elapsed() > Duration::from_millis(1200), "{:?}", start.elapsed());
}

/// Half of a pair is filled in from what the kernel has.
pub(crate) fn halves_are_completed(rig: &Rig) {
    rig.require("memory");
    rig.require("cpu");
    let cgroup =
        rig.create(r#"{"memory": {"limit": 16777216, "swap": 33554432}, "cpu": {"quota": 20000, "period": 40000}}"#);
    let record = cgroup.record();
    let update = |json: &str| {
        let mut resources = serde_json::from_str(json).expect("resources");
        record.complete(&mut resources).expect("complete");
        let plan = nucleus_cgroup::Plan::compile_update(&resources, &record, &rig.layout).expect("plan");
        plan.open().expect("open").update_limits().expect("update");
    };
    update(r#"{"memory": {"limit": 8388608}, "cpu": {"period": 80000}}"#);
    let (memory, cpu) = (rig.directory("memory"), rig.directory("cpu"));
    if rig.mode == "v2" {
        assert_eq!(read(memory.join("memory.max")), "8388608");
        assert_eq!(read(memory.join("memory.swap.max")), "25165824");
        assert_eq!(read(cpu.join("cpu.max")), "20000 80000");
        update(r#"{"memory": {"swap": 16777216}}"#);
        assert_eq!(read(memory.join("memory.swap.max")), "8388608");
    } else {
        assert_eq!(read(memory.join("memory.memsw.limit_in_bytes")), "33554432");
        assert_eq!(read(cpu.join("cpu.cfs_quota_us")), "20000");
    }
}
