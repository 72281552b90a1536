//! Mounts whose owners are mapped, remounts, and mounts with two kinds of propagation.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::inside::{add_mount, mount_at};
use crate::common::map_ids;
use crate::common::{Container, Test, shell};

/// A container with the directory `data` of the bundle at /data; its files belong to 0 and 1000.
fn bound<'t>(test: &'t Test, script: &str, options: &[&str], edit: impl FnOnce(&mut Value)) -> Container<'t> {
    let c = test.script_with(script, |config| {
        add_mount(config, "/data", "bind", "data", options);
        edit(config);
    });
    shell(&format!(
        "mkdir -p {0}/sub; touch {0}/roots {0}/users; chown 1000:1001 {0}/users; chmod 777 {0}",
        c.bundle.join("data").display()
    ));
    c
}

fn last_mount(config: &mut Value) -> &mut Value {
    config["mounts"]
        .as_array_mut()
        .expect("mounts")
        .last_mut()
        .expect("mount")
}

fn own_maps(config: &mut Value) {
    let mount = last_mount(config);
    mount["uidMappings"] = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
    mount["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
}

const OWNERS: &str = "stat -c %u:%g /data/roots /data/users";

#[test]
fn owners_are_mapped() {
    let Some(test) = Test::new() else { return };
    for options in [&["bind"][..], &["bind", "idmap"], &["rbind", "ridmap", "ro", "nosuid"]] {
        let c = bound(&test, OWNERS, options, own_maps);
        c.run().ok().prints("100000:200000\n101000:201001");
    }
    let c = bound(&test, "id -u; touch /data/new", &["bind", "idmap"], |config| {
        own_maps(config);
        config["process"]["user"] = json!({"uid": 100_007, "gid": 200_008});
    });
    c.run().ok().prints("100007");
    let made = fs::metadata(c.bundle.join("data/new")).expect("new");
    assert_eq!((made.uid(), made.gid()), (7, 8), "on the disk");
    test.nothing_left();
}

#[test]
fn the_containers_own_mapping() {
    let Some(test) = Test::new() else { return };
    let script = format!("{OWNERS}; touch /data/new");
    let c = bound(&test, &script, &["bind", "idmap"], map_ids);
    shell(&format!("chown -Rh 100000:100000 {}", c.rootfs().display()));
    c.run().ok().prints("0:0\n1000:1001");
    let made = fs::metadata(c.bundle.join("data/new")).expect("new");
    assert_eq!((made.uid(), made.gid()), (0, 0), "on the disk");
    let plain = bound(&test, OWNERS, &["bind"], map_ids);
    shell(&format!("chown -Rh 100000:100000 {}", plain.rootfs().display()));
    plain.run().ok().prints("65534:65534\n65534:65534");
    test.nothing_left();
}

/// As podman with `--userns=auto` has it: /etc/hosts lies in a directory of the host's root, mode 0700.
#[test]
fn a_source_that_only_the_hosts_root_reaches() {
    let Some(test) = Test::new() else { return };
    let c = bound(
        &test,
        "cat /data/word; touch /data/word || echo no",
        &["bind", "ro"],
        |config| {
            map_ids(config);
            last_mount(config)["source"] = json!("closed/data");
        },
    );
    let closed = c.bundle.join("closed").display().to_string();
    shell(&format!(
        "mkdir -p {closed}/data; echo inside >{closed}/data/word; chmod 666 {closed}/data/word; chmod 700 {closed};
         chown -Rh 100000:100000 {}",
        c.rootfs().display()
    ));
    c.run().ok().prints("inside\nno");
    test.nothing_left();
}

#[test]
fn the_mapping_of_a_joined_namespace() {
    let Some(test) = Test::new() else { return };
    let holder = test.container_with(&["sleep", "1000"], map_ids);
    shell(&format!("chown -Rh 100000:100000 {}", holder.rootfs().display()));
    holder.create().ok();
    let path = format!("/proc/{}/ns/user", holder.pid());
    let c = bound(&test, OWNERS, &["bind", "idmap"], |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.push(json!({"type": "user", "path": path}));
    });
    shell(&format!("chown -Rh 100000:100000 {}", c.rootfs().display()));
    c.run().ok().prints("0:0\n1000:1001");
    holder.force_delete().ok();
    test.nothing_left();
}

#[test]
fn mounts_below_are_mapped_with_ridmap_only() {
    let Some(test) = Test::new() else { return };
    for (option, owner) in [("ridmap", "100000:200000"), ("idmap", "0:0")] {
        let c = bound(&test, "stat -c %u:%g /data/sub/file", &["rbind", option], own_maps);
        let prepare = format!(
            "mount -t tmpfs tmpfs {0} && touch {0}/file && exec \"$0\" \"$@\"",
            c.bundle.join("data/sub").display()
        );
        let out = c
            .with_bundle("run", &[])
            .wrapped(["unshare", "-m", "--propagation", "private", "sh", "-c", &prepare])
            .run();
        out.ok().prints(owner);
    }
    test.nothing_left();
}

#[test]
fn what_cannot_be_mapped_is_named() {
    let Some(test) = Test::new() else { return };
    let c = bound(&test, "true", &["bind", "idmap"], |config| {
        own_maps(config);
        last_mount(config)["source"] = json!("/sys/kernel");
    });
    c.create().fails("cannot map the owners of /sys/kernel");
    test.nothing_left();
}

#[test]
fn a_mount_of_the_container_does_not_appear_in_the_source() {
    let Some(test) = Test::new() else { return };
    let c = bound(
        &test,
        "grep -c /data/sub /proc/self/mountinfo",
        &["rbind", "idmap"],
        |config| {
            own_maps(config);
            add_mount(config, "/data/sub", "tmpfs", "tmpfs", &[]);
        },
    );
    let prepare = format!(
        "mount --bind {0} {0}; \"$0\" \"$@\"; grep -c {0}/sub /proc/self/mountinfo; true",
        c.bundle.join("data").display()
    );
    let out = c
        .with_bundle("run", &[])
        .wrapped(["unshare", "-m", "--propagation", "shared", "sh", "-c", &prepare])
        .run();
    out.ok().prints("1\n0");
    shell("true");
    test.nothing_left();
}

#[test]
fn a_remount_changes_what_is_there() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["cat", "/proc/self/mountinfo"], |config| {
        add_mount(config, "/t", "tmpfs", "tmpfs", &["size=64k", "nodev"]);
        add_mount(
            config,
            "/t",
            "tmpfs",
            "tmpfs",
            &["remount", "ro", "nosuid", "size=128k"],
        );
        add_mount(config, "/data", "bind", "/usr", &["bind", "noexec"]);
        add_mount(config, "/data", "bind", "/usr", &["bind", "remount", "ro", "nosuid"]);
        add_mount(config, "/file", "bind", "/etc/passwd", &["bind", "noexec"]);
        add_mount(config, "/file", "bind", "/etc/passwd", &["bind", "remount", "ro"]);
    });
    let out = c.run().ok().stdout;
    let tmpfs = mount_at(&out, "/t");
    assert!(tmpfs.super_has("size=128k") && tmpfs.super_has("ro"), "{out}");
    assert!(
        tmpfs.has("nosuid") && !tmpfs.has("nodev"),
        "all options are new ones: {out}"
    );
    let data = mount_at(&out, "/data");
    assert!(data.has("ro") && data.has("nosuid") && !data.has("noexec"), "{out}");
    assert!(!data.super_has("ro"), "the filesystem itself is as it was: {out}");
    let file = mount_at(&out, "/file");
    assert!(file.has("ro") && !file.has("noexec"), "{out}");
    let c = test.script_with("true", |config| {
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .push(json!({"destination": "/etc", "options": ["remount", "ro"]}));
    });
    c.create().fails("cannot mount /etc again: invalid argument");
    test.nothing_left();
}

#[test]
fn two_kinds_of_propagation() {
    let Some(test) = Test::new() else { return };
    let c = bound(
        &test,
        "cat /proc/self/mountinfo",
        &["rbind", "rslave", "rshared"],
        |_| (),
    );
    let out = c
        .with_bundle("run", &[])
        .wrapped(["unshare", "-m", "--propagation", "shared"])
        .run()
        .ok();
    let data = mount_at(&out.stdout, "/data");
    let has = |kind: &str| data.propagation.iter().any(|p| p.starts_with(kind));
    assert!(has("shared:") && has("master:"), "{:?}", data.propagation);
    test.nothing_left();
}
