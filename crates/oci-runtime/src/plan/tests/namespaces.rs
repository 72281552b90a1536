//! Namespaces, id maps, time offsets, and the fields that need a namespace.

use std::path::PathBuf;

use nix::sched::CloneFlags;
use oci_spec::runtime::LinuxNamespaceType as Kind;
use serde_json::{Value, json};

use super::{HOST, compile_with, merge, options, plan, refused};
use crate::plan::{Host, IdMapping};

fn with_namespaces(list: Value) -> Value {
    json!({"linux": {"namespaces": list}})
}

fn with_map(field: &str, lines: Value) -> Value {
    let mut config = json!({"linux": {
        "namespaces": [{"type": "mount"}, {"type": "user"}],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
    }});
    config["linux"][field] = lines;
    config
}

#[test]
fn new_and_joined() {
    let plan = plan(with_namespaces(json!([
        {"type": "mount", "path": "/ns/mnt"},
        {"type": "pid", "path": ""},
        {"type": "time", "path": "/ns/time"},
        {"type": "cgroup", "path": "/ns/cgroup"},
        {"type": "network", "path": "/ns/net"},
        {"type": "uts", "path": "/ns/uts"},
        {"type": "ipc", "path": "/ns/ipc"},
        {"type": "user", "path": "/ns/user"},
    ])));
    assert_eq!(plan.namespaces.new, Kind::Pid as u64);
    let order: Vec<&str> = plan
        .namespaces
        .join
        .iter()
        .map(|(_, path)| path.to_str().unwrap())
        .collect();
    assert_eq!(
        order,
        [
            "/ns/user",
            "/ns/ipc",
            "/ns/uts",
            "/ns/net",
            "/ns/cgroup",
            "/ns/time",
            "/ns/mnt"
        ]
    );
    assert_eq!(plan.namespaces.join[0], (0x1000_0000, PathBuf::from("/ns/user")));
}

#[test]
fn refused_namespaces() {
    refused([
        (
            with_namespaces(json!([{"type": "mount"}, {"type": "ipc"}, {"type": "mount"}])),
            "linux.namespaces[2].type: duplicated namespace \"mount\"",
        ),
        (
            with_namespaces(json!([{"type": "ipc"}, {"type": "ipc", "path": "/ns/ipc"}])),
            "linux.namespaces[1].type: duplicated namespace \"ipc\"",
        ),
        (
            with_namespaces(json!([{"type": "pid", "path": "ns/pid"}])),
            "linux.namespaces[0].path: \"ns/pid\" must be an absolute path",
        ),
        (
            with_namespaces(json!([{"type": "pid", "path": "/ns\u{0}"}])),
            "linux.namespaces[0].path: must not contain a NUL byte",
        ),
    ]);
}

#[test]
fn without_a_mount_namespace() {
    let without = |field: &str, value: Value| json!({"linux": {"namespaces": [{"type": "pid"}], field: value}});
    refused([
        (
            without("maskedPaths", json!(["/proc/kcore"])),
            "linux.maskedPaths: unable to restrict sys entries without a private MNT namespace",
        ),
        (
            without("readonlyPaths", json!(["/proc/sys"])),
            "linux.readonlyPaths: unable to restrict sys entries without a private MNT namespace",
        ),
        (
            without("rootfsPropagation", json!("rslave")),
            "linux.rootfsPropagation: would change the host's mounts without a private MNT namespace",
        ),
    ]);
    let mut config = without("maskedPaths", json!([]));
    merge(
        &mut config,
        json!({"mounts": [{"destination": "/tmp", "type": "tmpfs"}]}),
    );
    assert_eq!(
        plan(config).warnings,
        ["mounts: none is made, as linux.namespaces has no mount namespace and each would stay on the host"]
    );
    let why = "needs a mount namespace, and linux.namespaces has none";
    let (devices, readonly) = (format!("linux.devices: {why}"), format!("root.readonly: {why}"));
    let with = |change: serde_json::Value| {
        let mut config = without("maskedPaths", json!([]));
        merge(&mut config, change);
        config
    };
    refused([
        (
            without(
                "devices",
                json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]),
            ),
            devices.as_str(),
        ),
        (with(json!({"root": {"readonly": true}})), readonly.as_str()),
    ]);
}

#[test]
fn id_maps() {
    let plan = plan(with_map(
        "uidMappings",
        json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}, {"containerID": 65_536, "hostID": 1, "size": 1}]),
    ));
    assert_eq!(
        plan.uid_map,
        [
            IdMapping {
                container_id: 0,
                host_id: 100_000,
                size: 65_536
            },
            IdMapping {
                container_id: 65_536,
                host_id: 1,
                size: 1
            }
        ]
    );
    assert_eq!(plan.gid_map.len(), 1);
}

#[test]
fn refused_id_maps() {
    let line = |container: u32, host: u32, size: u32| json!({"containerID": container, "hostID": host, "size": size});
    let many: Vec<Value> = (0..341).map(|i| line(i, i, 1)).collect();
    refused([
        (
            with_map("uidMappings", json!([])),
            "linux.uidMappings: a new user namespace needs at least one mapping",
        ),
        (
            with_map("gidMappings", Value::Null),
            "linux.gidMappings: a new user namespace needs at least one mapping",
        ),
        (
            json!({"linux": {"uidMappings": [line(0, 0, 1)]}}),
            "linux.uidMappings: mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            json!({"linux": {"gidMappings": [line(0, 0, 1)]}}),
            "linux.gidMappings: mappings specified, but user namespace isn't enabled in the config",
        ),
        (
            with_map("uidMappings", json!([line(0, 0, 1), line(1, 1, 0)])),
            "linux.uidMappings[1]: size must be greater than zero",
        ),
        (
            with_map("uidMappings", json!([line(1, 0, u32::MAX)])),
            "linux.uidMappings[0]: reaches beyond the last id",
        ),
        (
            with_map("gidMappings", json!([line(0, u32::MAX, 1)])),
            "linux.gidMappings[0]: reaches beyond the last id",
        ),
        (
            with_map("uidMappings", json!([line(0, 1000, 10), line(9, 5000, 10)])),
            "linux.uidMappings[1]: overlaps an earlier mapping",
        ),
        (
            with_map("uidMappings", json!([line(0, 1000, 10), line(10, 1009, 10)])),
            "linux.uidMappings[1]: overlaps an earlier mapping",
        ),
        (
            with_map("uidMappings", json!(many)),
            "linux.uidMappings: 341 mappings are more than the kernel's 340",
        ),
    ]);
}

#[test]
fn maps_of_a_joined_user_namespace_are_ignored_with_a_warning() {
    let line = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let plan = plan(json!({"linux": {
        "namespaces": [{"type": "mount"}, {"type": "user", "path": "/ns/user"}],
        "uidMappings": line, "gidMappings": line,
    }}));
    assert!(plan.uid_map.is_empty() && plan.gid_map.is_empty());
    assert_eq!(
        plan.warnings,
        [
            "linux.uidMappings: ignored, as the user namespace is given by path",
            "linux.gidMappings: ignored, as the user namespace is given by path"
        ]
    );
}

#[test]
fn without_root_a_user_namespace_is_needed() {
    let user = Host { euid: 1000, ..HOST };
    let refused = compile_with(json!({}), &options(), &user).unwrap_err().to_string();
    assert_eq!(refused, "linux.namespaces: rootless container requires user namespaces");
    compile_with(
        with_map("uidMappings", json!([{"containerID": 0, "hostID": 1000, "size": 1}])),
        &options(),
        &user,
    )
    .unwrap();
}

#[test]
fn time_offsets() {
    let with = |namespaces: Value, offsets: Value| json!({"linux": {"namespaces": namespaces, "timeOffsets": offsets}});
    let time = json!([{"type": "mount"}, {"type": "time"}]);
    let offsets = json!({"boottime": {"secs": 7881, "nanosecs": 5}, "monotonic": {"secs": -3}});
    assert_eq!(
        plan(with(time.clone(), offsets.clone())).time_offsets.as_deref(),
        Some("monotonic -3 0\nboottime 7881 5\n")
    );
    assert_eq!(plan(with(json!([]), json!({}))).time_offsets, None);
    refused([
        (
            with(json!([{"type": "mount"}]), offsets.clone()),
            "linux.timeOffsets: time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        (
            with(json!([{"type": "time", "path": "/ns/time"}]), offsets),
            "linux.timeOffsets: the offsets of a time namespace given by path cannot be changed",
        ),
        (
            with(time.clone(), json!({"realtime": {"secs": 1}})),
            "linux.timeOffsets.realtime: unknown clock (only monotonic and boottime have offsets)",
        ),
        (
            with(time, json!({"boottime": {"nanosecs": 1_000_000_000}})),
            "linux.timeOffsets.boottime.nanosecs: 1000000000 must be below 1000000000",
        ),
    ]);
}

#[test]
fn names_need_a_uts_namespace() {
    let named = plan(json!({"hostname": "box", "domainname": "example.org"}));
    assert_eq!(named.hostname.as_deref(), Some("box"));
    assert_eq!(named.domainname.as_deref(), Some("example.org"));
    assert_eq!(plan(json!({"hostname": ""})).hostname, None);
    let joined = json!({"hostname": "box", "linux": {"namespaces": [{"type": "uts", "path": "/ns/uts"}]}});
    assert_eq!(plan(joined).hostname.as_deref(), Some("box"));
    refused([
        (
            json!({"hostname": "box", "linux": {"namespaces": []}}),
            "hostname: unable to set hostname without a private UTS namespace",
        ),
        (
            json!({"domainname": "box", "linux": null}),
            "domainname: unable to set domainname without a private UTS namespace",
        ),
        (
            json!({"hostname": "x".repeat(65)}),
            "hostname: 65 bytes are more than the kernel's 64",
        ),
    ]);
}

#[test]
fn sysctls_need_their_namespace() {
    let list = json!({"linux": {"sysctl": {
        "net.ipv4.conf.eno2/100.rp_filter": "1",
        "net/ipv4/ip_forward": "1",
        "kernel.shmmax": "65536",
        "fs.mqueue.msg_max": "10",
        "kernel.domainname": "d",
    }}});
    let paths: Vec<String> = plan(list)
        .sysctl
        .iter()
        .map(|(path, value)| format!("{}={value}", path.display()))
        .collect();
    assert_eq!(
        paths,
        [
            "fs/mqueue/msg_max=10",
            "kernel/domainname=d",
            "kernel/shmmax=65536",
            "net/ipv4/conf/eno2.100/rp_filter=1",
            "net/ipv4/ip_forward=1"
        ]
    );
}

#[test]
fn refused_sysctls() {
    let bare = |key: &str| json!({"linux": {"namespaces": [{"type": "mount"}], "sysctl": {key: "1"}}});
    let full = |key: &str| json!({"linux": {"sysctl": {key: "1"}}});
    refused([
        (
            bare("kernel.msgmax"),
            "linux.sysctl.kernel.msgmax: sysctl \"kernel.msgmax\" is not allowed in the hosts ipc namespace",
        ),
        (
            bare("fs.mqueue.msg_max"),
            "linux.sysctl.fs.mqueue.msg_max: sysctl \"fs.mqueue.msg_max\" is not allowed in the hosts ipc namespace",
        ),
        (
            bare("net.core.somaxconn"),
            "linux.sysctl.net.core.somaxconn: sysctl \"net.core.somaxconn\" not allowed in host network namespace",
        ),
        (
            bare("kernel.domainname"),
            "linux.sysctl.kernel.domainname: sysctl \"kernel.domainname\" is not in a separate kernel namespace",
        ),
        (
            full("user.max_user_namespaces"),
            "linux.sysctl.user.max_user_namespaces: sysctl \"user.max_user_namespaces\" not allowed in host user namespace",
        ),
        (
            full("kernel.core_pattern"),
            "linux.sysctl.kernel.core_pattern: sysctl \"kernel.core_pattern\" is not in a separate kernel namespace",
        ),
        (
            full("vm.swappiness"),
            "linux.sysctl.vm.swappiness: sysctl \"vm.swappiness\" is not in a separate kernel namespace",
        ),
        (
            full("net/../kernel/core_pattern"),
            "linux.sysctl.net/../kernel/core_pattern: sysctl \"net/../kernel/core_pattern\" is not a valid name",
        ),
        (full(""), "linux.sysctl.: sysctl \"\" is not a valid name"),
        (
            json!({"hostname": "a", "linux": {"sysctl": {"kernel.hostname": "b"}}}),
            "linux.sysctl.kernel.hostname: sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \
             \"hostname\" field",
        ),
        (
            full("kernel.hostname"),
            "linux.sysctl.kernel.hostname: sysctl \"kernel.hostname\" is not allowed as it conflicts with the OCI \
             \"hostname\" field",
        ),
        (
            json!({"linux": {"sysctl": {"net.core.somaxconn": "1", "net/core/somaxconn": "2"}}}),
            "linux.sysctl: \"net/core/somaxconn\" is given twice, in two notations",
        ),
    ]);
}

#[test]
fn a_sysctl_is_known_by_its_namespace() {
    use crate::plan::sysctl::refuse_in_own;
    let writes = plan(json!({"linux": {"sysctl": {
        "net.ipv4.conf.eno2/100.rp_filter": "1", "kernel.shmmax": "1", "kernel.domainname": "d",
    }}}))
    .sysctl;
    let refused = |bit: CloneFlags| refuse_in_own(&writes, bit.bits() as u64).map_err(|error| error.to_string());
    assert_eq!(
        refused(CloneFlags::CLONE_NEWNET).unwrap_err(),
        "linux.sysctl.net.ipv4.conf.eno2/100.rp_filter: sysctl \"net.ipv4.conf.eno2/100.rp_filter\" is not allowed in \
         the hosts network namespace"
    );
    assert!(
        refused(CloneFlags::CLONE_NEWIPC)
            .unwrap_err()
            .ends_with("in the hosts ipc namespace")
    );
    assert!(
        refused(CloneFlags::CLONE_NEWUTS)
            .unwrap_err()
            .ends_with("in the hosts uts namespace")
    );
    assert_eq!(refused(CloneFlags::CLONE_NEWUSER), Ok(()));
    assert_eq!(refused(CloneFlags::CLONE_NEWPID), Ok(()));
}

#[test]
fn the_owner_of_the_control_group() {
    let owner = |patch: Value| {
        let mut config = json!({
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}],
            "process": {"user": {"uid": 5}},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "cgroup"}]}
        });
        for (field, value) in patch.as_object().unwrap() {
            config[field] = value.clone();
        }
        plan(config).cgroup_owner
    };
    let namespaces = |user: Value| json!([{"type": "mount"}, {"type": "cgroup"}, user]);
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 4, "hostID": 9000, "size": 2}]);
    assert_eq!(owner(json!({})), Some(5));
    let mapped = json!({"namespaces": namespaces(json!({"type": "user"})), "uidMappings": maps, "gidMappings": maps});
    assert_eq!(owner(json!({"linux": mapped})), Some(9001));
    // Nobody: without a process, a namespace of its own, or a mount that can be written; with a map that is not ours.
    let mount = |field: &str, value: Value| {
        let mut mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"});
        mount[field] = value;
        json!({"mounts": [mount]})
    };
    for patch in [
        json!({"process": null}),
        json!({"mounts": null}),
        json!({"linux": {"namespaces": [{"type": "mount"}]}}),
        json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "cgroup", "path": "/proc/7/ns/cgroup"}]}}),
        json!({"linux": {"namespaces": namespaces(json!({"type": "user", "path": "/proc/7/ns/user"}))}}),
        mount("options", json!(["nosuid", "ro"])),
        mount("source", json!("none")),
        mount("destination", json!("/cgroup")),
    ] {
        assert_eq!(owner(patch.clone()), None, "{patch}");
    }
}
