//! A new user namespace: the container's root is nobody on the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::{Value, json};

use super::inside::{add_mount, push, remove};
use crate::common::{Container, MAPPED_ROOT as BASE, Test, map_ids, shell, uid_of_proc, wait_for};

/// A container with mapped ids whose root filesystem belongs to its root.
fn mapped<'t>(test: &'t Test, script: &str, edit: impl FnOnce(&mut Value)) -> Container<'t> {
    let c = test.script_with(script, |config| {
        map_ids(config);
        edit(config);
    });
    shell(&format!("chown -Rh {BASE}:{BASE} {}", c.rootfs().display()));
    c
}

/// Watches that the host's /dev/null stays as it is: owner, group and mode.
struct DevNull((u32, u32, u32));

impl DevNull {
    /// Remembers what it is now.
    fn look() -> Self {
        Self(Self::now())
    }

    /// What it is now.
    fn now() -> (u32, u32, u32) {
        let meta = fs::metadata("/dev/null").expect("/dev/null");
        (meta.uid(), meta.gid(), meta.mode())
    }
}

impl Drop for DevNull {
    fn drop(&mut self) {
        if Self::now() != self.0 {
            let _ = std::os::unix::fs::chown("/dev/null", Some(self.0.0), Some(self.0.1));
            assert!(
                std::thread::panicking(),
                "the owner of the host's /dev/null has changed"
            );
        }
    }
}

#[test]
fn ids_are_mapped() {
    let Some(test) = Test::new() else { return };
    let _dev_null = DevNull::look();
    let c = mapped(
        &test,
        "cat /proc/self/uid_map /proc/self/gid_map; id -u; exec sleep 1000",
        |_| (),
    );
    let out = c.run_detached().ok();
    wait_for("the output", || (out.stdout_now().lines().count() == 3).then_some(()));
    let map: Vec<String> = out
        .stdout_now()
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(map, ["0 100000 65536", "0 100000 65536", "0"], "{out}");
    assert_eq!(uid_of_proc(c.pid()), BASE);
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn root_inside_owns_what_is_its_own() {
    let Some(test) = Test::new() else { return };
    let _dev_null = DevNull::look();
    let c = mapped(
        &test,
        "stat -c %u:%g /proc/1 /dev /dev/pts /dev/shm /bin/busybox; echo x >/dev/null && echo wrote",
        |_| (),
    );
    c.run().ok().prints("0:0\n0:0\n0:0\n0:0\n0:0\nwrote");
    test.nothing_left();
}

#[test]
fn root_inside_is_nobody_outside() {
    let Some(test) = Test::new() else { return };
    let _dev_null = DevNull::look();
    let script = "chown 70000 /tmp/file 2>/dev/null || echo unmapped; \
                  cat /data/secret 2>/dev/null || echo unreadable; \
                  touch /data/new 2>/dev/null || echo unwritable; stat -c %u:%g /data/secret; \
                  mknod /tmp/null c 1 3 2>/dev/null || echo nodevice; touch /tmp/mine && echo made";
    let c = mapped(&test, script, |config| {
        config["root"]["readonly"] = json!(false);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] =
                json!(["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_MKNOD", "CAP_FOWNER"]);
        }
        super::inside::add_mount(config, "/data", "bind", "data", &["bind"]);
    });
    let data = c.bundle.join("data");
    fs::create_dir(&data).expect("mkdir");
    fs::write(data.join("secret"), "secret\n").expect("secret");
    shell(&format!(
        "chmod 600 {0}/secret; touch {1}/tmp/file",
        data.display(),
        c.rootfs().display()
    ));
    c.run()
        .ok()
        .prints("unmapped\nunreadable\nunwritable\n65534:65534\nnodevice\nmade");
    let made = fs::metadata(c.rootfs().join("tmp/mine")).expect("the file");
    assert_eq!(
        (made.uid(), made.gid()),
        (BASE, BASE),
        "on the host it is the mapped user's"
    );
    test.nothing_left();
}

#[test]
fn directories_that_root_inside_may_not_enter_are_mounted_on_and_masked() {
    let Some(test) = Test::new() else { return };
    let script = "echo inside >/closed/file && cat /closed/file; ls /masked && echo empty; pwd";
    let c = mapped(&test, script, |config| {
        add_mount(config, "/closed", "tmpfs", "tmpfs", &["mode=755"]);
        config["linux"]["maskedPaths"] = json!(["/masked"]);
    });
    for name in ["closed", "masked"] {
        let dir = c.rootfs().join(name);
        fs::create_dir(&dir).expect("mkdir");
        fs::write(dir.join("of the host"), "").expect("write");
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).expect("chmod");
    }
    c.run().ok().prints("inside\nempty\n/");
    let left = fs::read_dir(c.rootfs().join("closed")).expect("the directory").count();
    assert_eq!(left, 1, "the tmpfs covers it");
    test.nothing_left();
}

#[test]
fn another_user_inside() {
    let Some(test) = Test::new() else { return };
    let _dev_null = DevNull::look();
    let c = mapped(&test, "id -u; id -g; exec sleep 1000", |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1001, "additionalGids": [7] });
    });
    let out = c.run_detached().ok();
    wait_for("the output", || (out.stdout_now() == "1000\n1001\n").then_some(()));
    assert_eq!(uid_of_proc(c.pid()), BASE + 1000);
    c.kill_and_delete();
}

#[test]
fn with_every_other_namespace() {
    let Some(test) = Test::new() else { return };
    let _dev_null = DevNull::look();
    let c = mapped(
        &test,
        "hostname; cat /proc/sys/net/ipv4/ip_forward; ls -d /sys/fs/cgroup",
        |config| {
            push(config, "/linux/namespaces", json!({ "type": "cgroup" }));
            config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        },
    );
    c.run().ok().prints("nucleus\n1\n/sys/fs/cgroup");
    test.nothing_left();
}

#[test]
fn with_clocks_set_forward() {
    let Some(test) = Test::new() else { return };
    let _dev_null = DevNull::look();
    // runc differs: before 1.2 it knows no time namespace.
    let c = mapped(&test, "cut -d. -f1 /proc/uptime", |config| {
        push(config, "/linux/namespaces", json!({ "type": "time" }));
        config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 5_000_000 } });
    });
    let out = c.run().ok();
    assert!(out.stdout.trim().parse::<u64>().expect("seconds") > 5_000_000, "{out}");
}

#[test]
fn mappings_that_cannot_be() {
    let Some(test) = Test::new() else { return };
    let refused = |what: &str, edit: &dyn Fn(&mut Value)| {
        let c = mapped(&test, "true", edit);
        let out = c.create();
        assert_eq!(out.code(), 1, "{what}: {out}");
        test.nothing_left();
    };
    refused("a namespace without a map", &|config| {
        remove(config, "/linux", "uidMappings");
        remove(config, "/linux", "gidMappings");
    });
    refused("a user whom the map does not know", &|config| {
        config["process"]["user"] = json!({ "uid": 70000, "gid": 0 });
    });
    refused("ids that are mapped twice", &|config| {
        config["linux"]["uidMappings"] = json!([
            { "containerID": 0, "hostID": BASE, "size": 10 }, { "containerID": 5, "hostID": 200_000, "size": 10 }
        ]);
    });
    // runc differs: it ignores the map.
    refused("a map without a namespace for it", &|config| {
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("namespaces")
            .retain(|n| n["type"] != "user");
    });
}
