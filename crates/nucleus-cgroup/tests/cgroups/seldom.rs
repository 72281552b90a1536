//! Limits that few hosts can carry out: huge pages, packets, RDMA devices, and what the kernel has dropped.
//!
//! They are read back from whichever hierarchy has the controller. A legacy host seldom has any of these; the virtual
//! machine mounts v1's for itself and makes the RDMA device.

use std::fs::read_dir;

use nucleus_cgroup::Version;

use crate::rig::{Rig, read};

pub(crate) fn hugepages_read_back(rig: &Rig) {
    rig.require("hugetlb");
    let cgroup = rig.create(r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#);
    let files = match rig.version("hugetlb") {
        Version::V1 => ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"],
        Version::V2 => ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"],
    };
    for file in files {
        assert_eq!(read(rig.directory("hugetlb").join(file)), "4194304", "{file}");
    }
    drop(cgroup);
    let error = rig.refused(r#"{"hugepageLimits": [{"pageSize": "3MB", "limit": 1}]}"#);
    let expected = "linux.resources.hugepageLimits[0].limit: cannot write \"1\" to ";
    assert!(error.starts_with(expected), "{error}");
}

/// The class of the packets, and their priority on an interface.
pub(crate) fn network_reads_back(rig: &Rig) {
    rig.require("net_cls");
    rig.require("net_prio");
    let cgroup = rig.create(r#"{"network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]}}"#);
    assert_eq!(read(rig.directory("net_cls").join("net_cls.classid")), "1048577");
    let map = read(rig.directory("net_prio").join("net_prio.ifpriomap"));
    assert!(map.lines().any(|line| line == "lo 5"), "{map}");
    drop(cgroup);
    let error = rig.refused(r#"{"network": {"priorities": [{"name": "no-such-device", "priority": 5}]}}"#);
    let expected = "linux.resources.network.priorities[0]: cannot write \"no-such-device 5\" to ";
    assert!(
        error.starts_with(expected) && error.ends_with("no such device"),
        "{error}"
    );
}

pub(crate) fn rdma_reads_back(rig: &Rig) {
    rig.require("rdma");
    let devices = read_dir("/sys/class/infiniband").into_iter().flatten().flatten();
    let Some(device) = devices.map(|entry| entry.file_name()).next() else {
        rig.skip("this host has no RDMA device");
    };
    let device = device.to_str().expect("UTF-8");
    let file = |what: &str| {
        let text = read(rig.directory("rdma").join(what));
        let line = text.lines().find(|line| line.starts_with(&format!("{device} ")));
        line.unwrap_or_else(|| panic!("{text}")).trim().to_owned()
    };
    let cgroup = rig.create(&format!(
        r#"{{"rdma": {{"{device}": {{"hcaHandles": 2, "hcaObjects": 100}}}}}}"#
    ));
    assert_eq!(file("rdma.max"), format!("{device} hca_handle=2 hca_object=100"));
    drop(cgroup);
    let cgroup = rig.create(&format!(r#"{{"rdma": {{"{device}": {{"hcaObjects": 7}}}}}}"#));
    assert_eq!(file("rdma.max"), format!("{device} hca_handle=max hca_object=7"));
    drop(cgroup);
    let error = rig.refused(r#"{"rdma": {"no-such-device": {"hcaHandles": 2}}}"#);
    let expected = "linux.resources.rdma.no-such-device: cannot write \"no-such-device hca_handle=2\" to ";
    assert!(error.starts_with(expected), "{error}");
}

/// Realtime bandwidth (`CONFIG_RT_GROUP_SCHED`, rare) and leaf weights (gone with Linux 5.0): set where the kernel has
/// them, elsewhere an error that names the field and the file.
pub(crate) fn rare_limits_are_set_or_refused(rig: &Rig) {
    let cases = [
        (
            "cpu",
            "cpu.rt_runtime_us",
            r#"{"cpu": {"realtimeRuntime": 1000}}"#,
            "linux.resources.cpu.realtimeRuntime",
            "1000",
        ),
        (
            "blkio",
            "blkio.leaf_weight",
            r#"{"blockIO": {"leafWeight": 300}}"#,
            "linux.resources.blockIO.leafWeight",
            "300",
        ),
    ];
    for (controller, file, resources, field, value) in cases {
        rig.require(controller);
        if rig.version(controller) == Version::V2 {
            rig.skip("cgroup v1 only");
        }
        let hierarchy = rig.layout.find(controller).expect("required");
        if hierarchy.mount.join(file).exists() {
            let cgroup = rig.create(resources);
            assert_eq!(read(rig.directory(controller).join(file)), value, "{file}");
            drop(cgroup);
            continue;
        }
        let error = rig.refused(resources);
        let expected = format!(
            "{field}: cannot write \"{value}\" to {}/{file}: no such file or directory",
            rig.directory(controller).display()
        );
        assert_eq!(error, expected);
        assert!(rig.directories().iter().all(|path| !path.exists()));
    }
}
