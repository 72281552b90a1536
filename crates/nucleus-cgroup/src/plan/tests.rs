//! Golden plans: config.json and a layout in, directories and writes out.

use super::*;
use crate::layout::Facts;

fn layout(mode: Mode) -> Layout {
    let v1 = "\
31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
36 30 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
37 30 0:33 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
38 30 0:34 / /sys/fs/cgroup/net_cls,net_prio rw - cgroup cgroup rw,net_cls,net_prio
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
35 30 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
";
    let own = "8:net_cls,net_prio:/\n7:blkio:/\n6:cpuset:/\n5:name=systemd:/\n4:devices:/\n3:pids:/own\n2:memory:/\n1:cpu:/\n0::/user/session\n";
    let facts = |v2_mount, v2_controllers, mountinfo| Facts {
        v2_mount,
        v2_controllers,
        own,
        mountinfo,
    };
    Layout::parse(&match mode {
        Mode::None => Facts::default(),
        Mode::Legacy => facts(None, "", v1),
        Mode::Hybrid => facts(Some("/sys/fs/cgroup/unified"), "hugetlb", v1),
        Mode::Unified => facts(Some("/sys/fs/cgroup"), "cpuset cpu io memory hugetlb pids rdma", ""),
    })
}

fn compile(mode: Mode, json: &str) -> Result<Plan, PlanError> {
    let resources: LinuxResources = serde_json::from_str(json).unwrap();
    Plan::compile(Some(&resources), Some("/box"), "id", &layout(mode), false)
}

/// Each write as "directory/file=value".
fn writes(mode: Mode, json: &str) -> Vec<String> {
    let plan = compile(mode, json).unwrap();
    let show = |write: &Write| {
        let directory = &plan.directories[write.directory];
        format!("{}={}", directory.path.join(&*write.file).display(), write.value)
    };
    plan.writes.iter().map(show).collect()
}

fn problem(mode: Mode, json: &str) -> String {
    compile(mode, json).unwrap_err().to_string()
}

const LIMITS: &str = r#"{"memory": {"limit": 1000, "swap": 3000, "reservation": 500},
    "cpu": {"shares": 1024, "quota": 5000, "period": 10000}, "pids": {"limit": 7}}"#;

#[test]
fn limits_on_v1() {
    let expected = [
        "/sys/fs/cgroup/memory/box/memory.limit_in_bytes=1000",
        "/sys/fs/cgroup/memory/box/memory.memsw.limit_in_bytes=3000",
        "/sys/fs/cgroup/memory/box/memory.soft_limit_in_bytes=500",
        "/sys/fs/cgroup/cpu/box/cpu.shares=1024",
        "/sys/fs/cgroup/cpu/box/cpu.cfs_period_us=10000",
        "/sys/fs/cgroup/cpu/box/cpu.cfs_quota_us=5000",
        "/sys/fs/cgroup/pids/box/pids.max=7",
    ];
    assert_eq!(writes(Mode::Legacy, LIMITS), expected);
    assert_eq!(writes(Mode::Hybrid, LIMITS), expected);
}

#[test]
fn limits_on_v2() {
    let expected = [
        "/sys/fs/cgroup/box/memory.swap.max=2000",
        "/sys/fs/cgroup/box/memory.max=1000",
        "/sys/fs/cgroup/box/memory.low=500",
        "/sys/fs/cgroup/box/cpu.weight=100",
        "/sys/fs/cgroup/box/cpu.max=5000 10000",
        "/sys/fs/cgroup/box/pids.max=7",
    ];
    assert_eq!(writes(Mode::Unified, LIMITS), expected);
    let plan = compile(Mode::Unified, LIMITS).unwrap();
    let needed: Vec<&str> = plan.directories[0]
        .needed
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(needed, ["memory", "cpu", "pids"]);
}

#[test]
fn what_engines_pass_for_nothing_is_nothing() {
    let docker = r#"{"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": false},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}, "pids": {"limit": 0},
        "blockIO": {"weight": 0}, "hugepageLimits": [], "rdma": {}, "unified": {}}"#;
    for mode in [Mode::None, Mode::Legacy, Mode::Hybrid, Mode::Unified] {
        assert_eq!(writes(mode, docker), [""; 0], "{mode:?}");
    }
}

#[test]
fn unlimited() {
    let json = r#"{"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}"#;
    let v2 = writes(Mode::Unified, json);
    let expected = ["memory.swap.max=max", "memory.max=max", "cpu.max=max", "pids.max=max"];
    assert_eq!(v2, expected.map(|line| format!("/sys/fs/cgroup/box/{line}")));
    assert_eq!(
        writes(Mode::Legacy, json)[1],
        "/sys/fs/cgroup/memory/box/memory.limit_in_bytes=-1"
    );
}

#[test]
fn a_missing_controller_is_named() {
    assert_eq!(
        problem(Mode::None, r#"{"pids": {"limit": 5}}"#),
        "linux.resources.pids.limit: needs the pids controller, which this host lacks"
    );
    assert_eq!(
        problem(Mode::None, r#"{"devices": [{"allow": false, "access": "rwm"}]}"#),
        "linux.resources.devices: needs a devices cgroup, and none is mounted"
    );
}

#[test]
fn bad_values_are_named() {
    assert_eq!(
        problem(Mode::Unified, r#"{"memory": {"limit": 10, "swap": 5}}"#),
        "linux.resources.memory.swap: includes memory: must not be less than memory.limit"
    );
    assert_eq!(
        problem(Mode::Legacy, r#"{"cpu": {"shares": 1}}"#),
        "linux.resources.cpu.shares: must be between 2 and 262144"
    );
    assert_eq!(
        problem(Mode::Legacy, r#"{"memory": {"limit": -5}}"#),
        "linux.resources.memory.limit: must be -1 or more"
    );
}

#[test]
fn paths_by_hierarchy() {
    let places = |mode, path| -> Vec<String> {
        let plan = Plan::compile(None, path, "id", &layout(mode), false).unwrap();
        plan.directories
            .iter()
            .map(|dir| dir.path.display().to_string())
            .collect()
    };
    let hybrid = places(Mode::Hybrid, None);
    assert!(hybrid.contains(&"/sys/fs/cgroup/pids/own/id".to_owned()));
    assert!(hybrid.contains(&"/sys/fs/cgroup/cpu/id".to_owned()));
    assert_eq!(hybrid.last().unwrap(), "/sys/fs/cgroup/unified/user/session/id");
    assert_eq!(places(Mode::Unified, None), ["/sys/fs/cgroup/user/id"]);
    assert_eq!(places(Mode::Unified, Some("a/../../../b")), ["/sys/fs/cgroup/user/b"]);
    assert_eq!(places(Mode::Unified, Some("/a/b")), ["/sys/fs/cgroup/a/b"]);
    let error = Plan::compile(None, Some("/.."), "id", &layout(Mode::Unified), false).unwrap_err();
    assert_eq!(error.to_string(), "linux.cgroupsPath: names the root of the hierarchy");
}

#[test]
fn devices_go_where_they_are_bounded() {
    assert!(matches!(
        compile(Mode::Hybrid, "{}").unwrap().devices,
        Some(Devices::V1(6, _))
    ));
    assert!(matches!(
        compile(Mode::Unified, "{}").unwrap().devices,
        Some(Devices::V2(0, _))
    ));
    assert_eq!(compile(Mode::None, "{}").unwrap().devices, None);
    let rootless = Plan::compile(None, None, "id", &layout(Mode::Unified), true).unwrap();
    assert_eq!(rootless.devices, None);
    assert!(rootless.can_lack(0));
}

#[test]
fn a_rootless_run_that_asks_for_something_insists_on_it() {
    let resources: LinuxResources = serde_json::from_str(r#"{"pids": {"limit": 5}}"#).unwrap();
    let limited = Plan::compile(Some(&resources), None, "id", &layout(Mode::Unified), true).unwrap();
    assert!(!limited.can_lack(0));
    let placed = Plan::compile(None, Some("/a"), "id", &layout(Mode::Unified), true).unwrap();
    assert!(!placed.can_lack(0));
}

#[test]
fn v2_beside_v1_is_not_asked_of_a_rootless_run() {
    let compile = |resources: &str, rootless| {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        Plan::compile(Some(&resources), Some("/a"), "id", &layout(Mode::Hybrid), rootless).unwrap()
    };
    let of_v2 = |plan: &Plan| {
        plan.directories
            .iter()
            .position(|dir| dir.version == Version::V2)
            .unwrap()
    };
    let plan = compile("{}", true);
    for index in 0..plan.directories.len() {
        assert_eq!(plan.can_lack(index), index == of_v2(&plan));
    }
    let root = compile("{}", false);
    assert!(!root.can_lack(of_v2(&root)));
    let limited = compile(r#"{"unified": {"hugetlb.2MB.max": "5"}}"#, true);
    assert!(!limited.can_lack(of_v2(&limited)));
}

#[test]
fn what_only_v1_has() {
    let json = r#"{"cpu": {"realtimePeriod": 100, "realtimeRuntime": 50},
        "blockIO": {"leafWeight": 20, "weightDevice": [{"major": 8, "minor": 0, "leafWeight": 30}]}}"#;
    let expected = [
        "cpu/box/cpu.rt_period_us=100",
        "cpu/box/cpu.rt_runtime_us=50",
        "blkio/box/blkio.leaf_weight=20",
        "blkio/box/blkio.leaf_weight_device=8:0 30",
    ];
    assert_eq!(
        writes(Mode::Legacy, json),
        expected.map(|line| format!("/sys/fs/cgroup/{line}"))
    );
}

#[test]
fn memory_is_counted_along_the_hierarchy() {
    for mode in [Mode::Legacy, Mode::Unified] {
        for (json, count) in [
            (r#"{"memory": {"useHierarchy": true}}"#, 0),
            (r#"{"memory": {"useHierarchy": false}}"#, 1),
        ] {
            let plan = compile(mode, json).unwrap();
            assert_eq!(plan.warnings().len(), count, "{json}: {:?}", plan.warnings());
        }
    }
}

const ALL_ELSE: &str = r#"{
    "memory": {"swappiness": 10, "disableOOMKiller": true, "kernel": 5, "kernelTCP": 5, "limit": 1, "checkBeforeUpdate": true},
    "cpu": {"quota": 5000, "burst": 1000, "idle": 1, "cpus": "0-1", "mems": "0"},
    "blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#;

#[test]
fn everything_else_on_hybrid() {
    let expected = [
        "memory/box/memory.kmem.tcp.limit_in_bytes=5",
        "memory/box/memory.swappiness=10",
        "memory/box/memory.oom_control=1",
        "memory/box/memory.limit_in_bytes=1",
        "cpu/box/cpu.idle=1",
        "cpu/box/cpu.cfs_quota_us=5000",
        "cpu/box/cpu.cfs_burst_us=1000",
        "cpuset/box/cpuset.cpus=0-1",
        "cpuset/box/cpuset.mems=0",
        "blkio/box/blkio.weight=500",
        "blkio/box/blkio.bfq.weight=500",
        "blkio/box/blkio.weight_device=8:0 10",
        "blkio/box/blkio.bfq.weight_device=8:0 10",
        "blkio/box/blkio.throttle.read_bps_device=8:0 1024",
        "blkio/box/blkio.throttle.write_iops_device=8:0 0",
        "unified/box/hugetlb.2MB.max=4194304",
        "unified/box/hugetlb.2MB.rsvd.max=4194304",
    ];
    assert_eq!(
        writes(Mode::Hybrid, ALL_ELSE),
        expected.map(|line| format!("/sys/fs/cgroup/{line}"))
    );
    assert_eq!(compile(Mode::Hybrid, ALL_ELSE).unwrap().warnings().len(), 1);
}

#[test]
fn everything_else_on_v2() {
    let expected = [
        "memory.max=1",
        "cpu.idle=1",
        "cpu.max=5000",
        "cpu.max.burst=1000",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "io.bfq.weight=500",
        "io.weight=4950",
        "io.bfq.weight=8:0 10",
        "io.weight=8:0 1",
        "io.max=8:0 rbps=1024",
        "io.max=8:0 wiops=max",
        "hugetlb.2MB.max=4194304",
        "hugetlb.2MB.rsvd.max=4194304",
    ];
    assert_eq!(
        writes(Mode::Unified, ALL_ELSE),
        expected.map(|line| format!("/sys/fs/cgroup/box/{line}"))
    );
    let plan = compile(Mode::Unified, ALL_ELSE).unwrap();
    assert_eq!(
        plan.warnings()[2],
        "linux.resources.memory.swappiness is ignored: cgroup v2 has no such file"
    );
    assert!(plan.memory_check.is_some());
}

#[test]
fn network_rdma_and_unified() {
    let network = r#"{"network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 5}]}}"#;
    let expected = ["net_cls.classid=1048577", "net_prio.ifpriomap=eth0 5"];
    assert_eq!(
        writes(Mode::Legacy, network),
        expected.map(|line| format!("/sys/fs/cgroup/net_cls,net_prio/box/{line}"))
    );
    assert_eq!(
        problem(Mode::Unified, network),
        "linux.resources.network.classID: needs the net_cls controller, which this host lacks"
    );
    let rdma = r#"{"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}}}"#;
    let expected = ["/sys/fs/cgroup/box/rdma.max=mlx5_1 hca_handle=3 hca_object=10000"];
    assert_eq!(writes(Mode::Unified, rdma), expected);
    let unified =
        r#"{"unified": {"memory.high": "1000", "io.max": "8:0 rbps=1\n8:16 rbps=2", "cgroup.max.depth": "3"}}"#;
    let expected = [
        "cgroup.max.depth=3",
        "io.max=8:0 rbps=1",
        "io.max=8:16 rbps=2",
        "memory.high=1000",
    ];
    assert_eq!(
        writes(Mode::Unified, unified),
        expected.map(|line| format!("/sys/fs/cgroup/box/{line}"))
    );
}

#[test]
fn more_bad_values_are_named() {
    let cases = [
        (
            Mode::Legacy,
            r#"{"unified": {"memory.high": "1"}}"#,
            "[\"memory.high\"]: needs cgroup v2, which this host lacks",
        ),
        (
            Mode::Hybrid,
            r#"{"unified": {"memory.high": "1"}}"#,
            "[\"memory.high\"]: the memory controller is not available on cgroup v2",
        ),
        (
            Mode::Unified,
            r#"{"unified": {"../x.y": "1"}}"#,
            "[\"../x.y\"]: is not of the form CONTROLLER.FILE",
        ),
        (
            Mode::Unified,
            r#"{"cpu": {"realtimeRuntime": 5}}"#,
            ".cpu.realtimeRuntime: does not exist on cgroup v2",
        ),
        (
            Mode::Unified,
            r#"{"cpu": {"cpus": "all"}}"#,
            ".cpu.cpus: \"all\" is not a list like 0-3,7",
        ),
        (Mode::Unified, r#"{"cpu": {"idle": 2}}"#, ".cpu.idle: must be 0 or 1"),
        (
            Mode::Unified,
            r#"{"blockIO": {"weight": 5}}"#,
            ".blockIO.weight: must be between 10 and 1000",
        ),
        (
            Mode::Unified,
            r#"{"blockIO": {"leafWeight": 50}}"#,
            ".blockIO.leafWeight: does not exist on cgroup v2",
        ),
        (
            Mode::Unified,
            r#"{"rdma": {"x": {}}}"#,
            ".rdma.x: needs hcaHandles or hcaObjects",
        ),
        (
            Mode::Hybrid,
            r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}"#,
            ".blockIO.weightDevice[0]: needs weight or leafWeight",
        ),
        (
            Mode::Unified,
            r#"{"cpu": {"quota": 1000, "burst": 1001}}"#,
            ".cpu.burst: 1001 must not be larger than the quota, 1000",
        ),
        (
            Mode::Legacy,
            r#"{"memory": {"swappiness": 101}}"#,
            ".memory.swappiness: must be between 0 and 100",
        ),
        (
            Mode::Hybrid,
            r#"{"hugepageLimits": [{"pageSize": "2M", "limit": 1}]}"#,
            ".hugepageLimits[0].pageSize: \"2M\" is not like 64KB, 2MB or 1GB",
        ),
    ];
    for (mode, json, expected) in cases {
        let text = problem(mode, json);
        let own = text
            .strip_prefix("linux.resources")
            .and_then(|rest| rest.strip_prefix(".unified").or(Some(rest)));
        assert_eq!(own, Some(expected));
    }
}

#[test]
fn updates_go_where_the_record_says() {
    let resources: LinuxResources = serde_json::from_str(r#"{"pids": {"limit": 5}}"#).unwrap();
    let record = |key: &str| Record {
        driver: "cgroupfs".to_owned(),
        unit: None,
        paths: [(key.to_owned(), "/sys/fs/cgroup/elsewhere".into())].into(),
    };
    for (mode, key) in [(Mode::Hybrid, "pids"), (Mode::Unified, "unified")] {
        let plan = Plan::compile_update(&resources, &record(key), &layout(mode)).unwrap();
        let directory = &plan.directories[plan.writes[0].directory];
        assert_eq!(directory.path.to_str(), Some("/sys/fs/cgroup/elsewhere"));
        assert_eq!(plan.devices, None);
    }
    let error = Plan::compile_update(&resources, &record("memory"), &layout(Mode::Legacy)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "linux.resources.pids.limit: the container has no such cgroup"
    );
}
