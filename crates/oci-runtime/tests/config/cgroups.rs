//! The container's cgroup: limits as the kernel has them, devices that are denied, what is mounted inside.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::inside::{add_mount, mountinfo, push};
use crate::common::{Container, Test, cgroup_dirs, skip};

/// The directory of the container's cgroup under a controller: of its own hierarchy (v1) or of the one of v2.
/// None, after saying SKIP, where the machine does not have the controller.
fn controller(c: &Container<'_>, name: &str) -> Option<PathBuf> {
    let listed = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let v2 = listed.split_whitespace().any(|w| w == name);
    let found = if v2 { c.cgroup("cgroup") } else { c.cgroup(name) };
    if found.is_none() {
        skip(&format!("no cgroup controller {name}"));
    }
    found
}

/// Creates a container with these resources and gives the values of files in its cgroup, v1's or v2's.
#[track_caller]
fn limited(test: &Test, name: &str, resources: Value, v1: &[(&str, &str)], v2: &[(&str, &str)]) {
    let c = test.script_with("true", |config| {
        let all = config["linux"]["resources"].as_object_mut().expect("resources");
        all.extend(resources.as_object().expect("resources").clone());
    });
    let Some(dir) = controller(&c, name) else { return };
    let create = c.create();
    if create.code() == 1 && create.said().contains("not supported yet") {
        test.nothing_left();
        return skip(&format!("not implemented yet, and said so: {resources}"));
    }
    create.ok().silent();
    let files = if dir.join("cgroup.controllers").exists() {
        v2
    } else {
        v1
    };
    for (file, expected) in files {
        let value = fs::read_to_string(dir.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(value.trim(), *expected, "{file} for {resources}");
    }
    c.delete().ok();
    test.nothing_left();
}

/// The kernel's memory killer takes init before it can say anything.
#[test]
fn a_memory_limit_below_the_need_of_the_set_up() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    c.edit(|config| config["linux"]["resources"]["memory"] = json!({ "limit": 4096 }));
    c.run().fails_with_any(&[
        "killed by signal 9; a memory limit must leave room",
        "needs the memory controller",
    ]);
    test.nothing_left();
}

#[test]
fn memory() {
    let Some(test) = Test::new() else { return };
    let megabytes = |n: i64| n * 1024 * 1024;
    let mut limits = json!({ "limit": megabytes(64), "reservation": megabytes(32) });
    // v2 counts these buffers as memory, and says that it ignores the field.
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        limits["kernelTCP"] = json!(megabytes(4));
    }
    limited(
        &test,
        "memory",
        json!({ "memory": limits }),
        &[
            ("memory.kmem.tcp.limit_in_bytes", "4194304"),
            ("memory.limit_in_bytes", "67108864"),
            ("memory.soft_limit_in_bytes", "33554432"),
        ],
        &[("memory.max", "67108864"), ("memory.low", "33554432")],
    );
    // 0 and false mean: as it is.
    let c = test.script("true");
    let Some(dir) = controller(&c, "memory") else { return };
    c.create().ok();
    let file = if dir.join("memory.max").exists() {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    let unlimited = fs::read_to_string(dir.join(file)).expect("the limit");
    c.delete().ok();
    c.edit(|config| config["linux"]["resources"]["memory"] = json!({ "limit": 0, "disableOOMKiller": false }));
    c.create().ok();
    assert_eq!(fs::read_to_string(dir.join(file)).expect("the limit"), unlimited);
    c.delete().ok();
}

#[test]
fn a_program_that_takes_too_much_memory_is_killed() {
    let Some(test) = Test::new() else { return };
    // `tail` of a file without a line end keeps it all.
    let c = test.container_with(&["tail", "/dev/zero"], |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 16 * 1024 * 1024, "swap": 16 * 1024 * 1024 });
    });
    let swap = fs::exists("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").unwrap_or(false);
    if !swap {
        c.edit(|config| config["linux"]["resources"]["memory"] = json!({ "limit": 16 * 1024 * 1024 }));
    }
    if controller(&c, "memory").is_none() {
        return;
    }
    c.run().exits(137);
    test.nothing_left();
}

#[test]
fn cpu() {
    let Some(test) = Test::new() else { return };
    limited(
        &test,
        "cpu",
        json!({ "cpu": { "shares": 512, "quota": 25000, "period": 50000 } }),
        &[
            ("cpu.shares", "512"),
            ("cpu.cfs_quota_us", "25000"),
            ("cpu.cfs_period_us", "50000"),
        ],
        &[("cpu.max", "25000 50000")],
    );
}

#[test]
fn cpuset() {
    let Some(test) = Test::new() else { return };
    limited(
        &test,
        "cpuset",
        json!({ "cpu": { "cpus": "0", "mems": "0" } }),
        &[("cpuset.cpus", "0"), ("cpuset.mems", "0")],
        &[("cpuset.cpus", "0"), ("cpuset.mems", "0")],
    );
}

#[test]
fn pids() {
    let Some(test) = Test::new() else { return };
    limited(
        &test,
        "pids",
        json!({ "pids": { "limit": 17 } }),
        &[("pids.max", "17")],
        &[("pids.max", "17")],
    );
    limited(
        &test,
        "pids",
        json!({ "pids": { "limit": -1 } }),
        &[("pids.max", "max")],
        &[("pids.max", "max")],
    );
    let script = "for n in 1 2 3 4 5 6 7 8; do sleep 1 & done 2>/dev/null; echo all";
    let c = test.script_with(script, |config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 6 })
    });
    let out = c.run();
    assert!(
        !out.stdout.contains("all"),
        "more processes than the limit allows: {out}"
    );
    test.nothing_left();
}

#[test]
fn a_limit_that_cannot_be_is_an_error() {
    let Some(test) = Test::new() else { return };
    let cases = [
        json!({ "cpu": { "cpus": "4095" } }),
        json!({ "memory": { "limit": 1 } }),
        json!({ "cpu": { "quota": 1, "period": 50000 } }),
    ];
    for resources in cases {
        let c = test.script_with("true", |config| {
            let all = config["linux"]["resources"].as_object_mut().expect("resources");
            all.extend(resources.as_object().expect("resources").clone());
        });
        let out = c.create();
        assert_eq!(out.code(), 1, "{resources}: {out}");
        assert!(!out.stderr.is_empty());
        test.nothing_left();
    }
}

#[test]
fn the_process_is_in_its_cgroup_everywhere() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.create().ok();
    let path = format!("/{}/{}", test.mark(), c.id);
    let own = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("cgroup");
    for name in ["memory", "cpu", "pids", "devices", "freezer"] {
        let line = own
            .lines()
            .find(|l| l.split(':').nth(1).is_some_and(|n| n.split(',').any(|n| n == name)));
        if let Some(line) = line {
            assert!(line.ends_with(&path), "{line}");
        }
    }
    assert!(own.lines().any(|l| l.ends_with(&path)), "{own}");
    c.delete().ok();
    for (name, dir) in cgroup_dirs(&path) {
        assert!(!dir.exists(), "{name}: {} is left", dir.display());
    }
}

#[test]
fn without_a_cgroups_path_the_id_is_the_name() {
    let Some(test) = Test::new() else { return };
    let id = format!("{}-default", test.mark());
    let c = test.named(&id, &["sleep", "1000"], |config| {
        super::inside::remove(config, "/linux", "cgroupsPath")
    });
    // A runtime may make it below its caller's own: let that be one of the test's.
    let enter: String = cgroup_dirs(&format!("{}/caller", test.mark()))
        .into_iter()
        .filter(|(name, _)| name == "memory" || name == "pids")
        .map(|(_, dir)| format!("mkdir -p {0}; echo $$ >{0}/cgroup.procs; ", dir.display()))
        .collect();
    let script = format!("{enter} exec \"$@\"");
    c.with_bundle("create", &[])
        .wrapped(["sh", "-ec", &script, "sh"])
        .run()
        .ok();
    let own = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("cgroup");
    let paths: Vec<&str> = own
        .lines()
        .filter_map(|l| l.splitn(3, ':').nth(2))
        .filter(|p| p.ends_with(&id))
        .collect();
    assert!(!paths.is_empty(), "{own}");
    c.delete().ok();
    for (name, dir) in paths.iter().flat_map(|path| cgroup_dirs(path)) {
        assert!(!dir.exists(), "{name}: {} is left", dir.display());
    }
    for (_, dir) in cgroup_dirs(&format!("{}/caller", test.mark())) {
        let _ = fs::remove_dir(dir);
    }
}

#[test]
fn a_device_that_is_not_allowed_cannot_be_opened() {
    let Some(test) = Test::new() else { return };
    let script = "head -c 1 /dev/kmsg-node >/dev/null 2>&1 || echo denied; head -c 1 /dev/zero2 | wc -c; \
                  echo x 2>/dev/null >/dev/zero2 || echo denied; echo x >/dev/null && echo wrote";
    let c = test.script(script);
    c.edit(|config| {
        for (path, minor) in [("/dev/kmsg-node", 11), ("/dev/zero2", 5)] {
            let node = json!({ "path": path, "type": "c", "major": 1, "minor": minor, "fileMode": 438 });
            push(config, "/linux/devices", node);
        }
    });
    // Zero is one of the default devices, so by its numbers it is allowed under any name.
    c.run().ok().prints("denied\n1\nwrote");
    // A rule allows what it names.
    c.edit(|config| {
        let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" });
        push(config, "/linux/resources/devices", rule);
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "exec 3</dev/kmsg-node && echo opened; exec 4>/dev/kmsg-node"
        ]);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYSLOG"]);
        }
    });
    let out = c.run();
    assert_eq!(out.stdout, "opened\n", "{out}");
    assert_ne!(out.code(), 0, "reading is allowed and writing is not: {out}");
}

#[test]
fn rules_count_in_their_order() {
    let Some(test) = Test::new() else { return };
    let script = "for d in a b; do exec 3</dev/$d && echo $d; done";
    let c = test.script(script);
    c.edit(|config| {
        push(
            config,
            "/linux/devices",
            json!({ "path": "/dev/a", "type": "c", "major": 10, "minor": 229, "fileMode": 438 }),
        );
        push(
            config,
            "/linux/devices",
            json!({ "path": "/dev/b", "type": "c", "major": 1, "minor": 5, "fileMode": 438 }),
        );
        config["linux"]["resources"]["devices"] = json!([
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" },
            { "allow": false, "access": "rwm" },
        ]);
        config["process"]["args"] = json!([
            "sh",
            "-c",
            "(exec 3</dev/b) && echo b; (exec 3</dev/a) 2>/dev/null || echo a denied"
        ]);
    });
    c.run().ok().prints("b\na denied");
}

#[test]
fn an_empty_rule_list_allows_no_more_than_the_defaults() {
    let Some(test) = Test::new() else { return };
    for resources in [json!({ "devices": [] }), json!({})] {
        let c = test.script("(exec 3</dev/loop-node) 2>/dev/null || echo denied; echo x >/dev/null && echo wrote");
        c.edit(|config| {
            let node = json!({ "path": "/dev/loop-node", "type": "b", "major": 7, "minor": 0, "fileMode": 438 });
            push(config, "/linux/devices", node);
            config["linux"]["resources"] = resources.clone();
        });
        c.run().ok().prints("denied\nwrote");
    }
}

#[test]
fn a_cgroup2_mount_shows_version_2_on_every_host() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("cat /proc/self/mountinfo; cat /cg/cgroup.procs", |config| {
        own_view(config);
        add_mount(config, "/cg", "cgroup2", "cgroup2", &["ro"]);
    });
    let out = c.run().ok();
    let mounts = mountinfo(&out.stdout);
    let shown: Vec<_> = mounts.iter().filter(|mount| mount.point == "/cg").collect();
    assert_eq!(shown.len(), 1, "{out}");
    assert_eq!(shown[0].fstype, "cgroup2", "{out}");
    // Where the container has a group of version 2, it is that one.
    let has_own = c.config()["linux"]["cgroupsPath"].is_string() && Path::new("/sys/fs/cgroup/unified").exists();
    assert!(!has_own || out.stdout.lines().any(|line| line == "1"), "{out}");
    test.nothing_left();
}

#[test]
fn the_cgroup_mount_shows_the_containers_own() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("cat /proc/self/mountinfo; ls /sys/fs/cgroup", |config| {
        own_view(config);
        config["linux"]["resources"]["pids"] = json!({ "limit": 23 });
    });
    if controller(&c, "pids").is_none() {
        return;
    }
    let out = c.run().ok();
    let own: Vec<_> = mountinfo(&out.stdout)
        .into_iter()
        .filter(|m| m.point.starts_with("/sys/fs/cgroup"))
        .collect();
    assert!(!own.is_empty(), "{out}");
    for mount in &own {
        // runc differs: 1.1 leaves the tmpfs that holds v1's mounts writable.
        for option in ["nosuid", "noexec", "nodev", "ro"] {
            assert!(
                mount.has(option),
                "{} should be {option}: {:?}",
                mount.point,
                mount.options
            );
        }
    }
    let file = if own[0].fstype == "cgroup2" {
        "/sys/fs/cgroup/pids.max"
    } else {
        "/sys/fs/cgroup/pids/pids.max"
    };
    c.edit(|config| config["process"]["args"] = json!(["cat", file]));
    c.run().ok().prints("23");
}

/// On v2 a container sees its own cgroup only in a cgroup namespace; without one the mount shows the whole host's tree.
fn own_view(config: &mut Value) {
    if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false) {
        push(config, "/linux/namespaces", json!({ "type": "cgroup" }));
    }
}

/// Where a container's program can make a cgroup below its own, if the mount is writable.
fn inner_cgroup() -> &'static str {
    if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false) {
        "/sys/fs/cgroup/inner"
    } else {
        "/sys/fs/cgroup/pids/inner"
    }
}

#[test]
fn the_cgroup_mount_may_be_writable() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("", |config| {
        own_view(config);
        for mount in config["mounts"].as_array_mut().expect("mounts") {
            if mount["type"] == "cgroup" {
                mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime", "rw"]);
            }
        }
    });
    if controller(&c, "pids").is_none() {
        return;
    }
    let inside = inner_cgroup();
    let script = format!("mkdir {inside} && ls -d {inside} && rmdir {inside}");
    c.edit(|config| config["process"]["args"] = json!(["sh", "-c", script]));
    c.run().ok().prints(inside);
    test.nothing_left();
}

#[test]
fn cgroups_that_the_program_has_made_are_removed_with_it() {
    let Some(test) = Test::new() else { return };
    let inside = inner_cgroup();
    let c = test.script_with(&format!("mkdir -p {inside}/deeper; sleep 1000 & exit 0"), |config| {
        own_view(config);
        for mount in config["mounts"].as_array_mut().expect("mounts") {
            if mount["type"] == "cgroup" {
                mount["options"] = json!(["nosuid", "noexec", "nodev", "relatime", "rw"]);
            }
        }
    });
    if controller(&c, "pids").is_none() {
        return;
    }
    c.run().ok();
    test.nothing_left();
}

/// A host with nothing but cgroup v2, in a mount namespace of its own.
const UNIFIED: [&str; 5] = [
    "unshare",
    "-m",
    "sh",
    "-c",
    "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec \"$0\" \"$@\"",
];

#[test]
fn the_control_group_of_v2_belongs_to_the_containers_user() {
    let Some(test) = Test::new() else { return };
    let possible = test.command("true").wrapped(UNIFIED).run();
    if !possible.success() {
        return skip("needs a kernel with cgroup v2");
    }
    let look = "cd /sys/fs/cgroup; stat -c %u . cgroup.procs cgroup.subtree_control cgroup.threads cgroup.max.depth";
    let own = |config: &mut Value, options: &[&str]| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        config["linux"]["resources"] = json!({});
        push(config, "/linux/namespaces", json!({ "type": "cgroup" }));
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| mount["type"] != "cgroup");
        add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", options);
    };
    for (options, owners) in [
        (&["nosuid", "noexec", "nodev"][..], "1000\n1000\n1000\n1000\n0"),
        (&["nosuid", "noexec", "nodev", "ro"], "0\n0\n0\n0\n0"),
    ] {
        let c = test.script_with(look, |config| own(config, options));
        c.with_bundle("run", &[]).wrapped(UNIFIED).run().ok().prints(owners);
    }
    test.nothing_left();
}

#[test]
fn class_and_priorities_of_packets() {
    let Some(test) = Test::new() else { return };
    // Seldom mounted: in a mount namespace of the test's own it is the only hierarchy.
    let mount = "umount -R /sys/fs/cgroup && mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir /sys/fs/cgroup/net && \
        mount -t cgroup -o net_cls,net_prio cgroup /sys/fs/cgroup/net && exec \"$0\" \"$@\"";
    let host = ["unshare", "-m", "sh", "-c", mount];
    if !test.command("true").wrapped(host).run().success() {
        return skip("needs the controllers net_cls and net_prio of cgroup v1");
    }
    let look = "cd /sys/fs/cgroup/net; cat net_cls.classid; grep '^lo ' net_prio.ifpriomap";
    let c = test.script_with(look, |config| {
        let network = json!({ "classID": 1_048_577, "priorities": [{ "name": "lo", "priority": 5 }] });
        config["linux"]["resources"] = json!({ "network": network });
        // One directory, which goes with the container: nobody else finds this hierarchy to clean it.
        config["linux"]["cgroupsPath"] = json!(format!("/{}-packets", test.mark()));
        // The priorities are those of the host's devices.
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != "network");
    });
    c.with_bundle("run", &[])
        .wrapped(host)
        .run()
        .ok()
        .prints("1048577\nlo 5");
    test.nothing_left();
}
