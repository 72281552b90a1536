//! What a mount looks like inside: flags that a bind takes from its source or not, modes, propagation, and what cannot be
//! mounted at all.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::inside::{add_mount, mount_at, push};
use crate::common::map_ids;
use crate::common::{Container, Test, shell};

/// `script` in a private mount namespace of the host, in which the runtime sees what is mounted.
fn on_host(c: &Container<'_>, prepare: &str, flags: &str) -> crate::common::Out {
    let script = format!("{prepare} && exec \"$0\" \"$@\"");
    let command = c.with_bundle("run", &[]);
    command
        .wrapped(["unshare", "-m", "--propagation", flags, "sh", "-c", &script])
        .run()
}

/// The options of the mount at /data when its source is mounted nosuid,nodev,noexec,ro.
fn options_of(test: &Test, options: &[&str], user_namespace: bool) -> String {
    let c = test.script_with("cat /proc/self/mountinfo", |config| {
        add_mount(config, "/data", "bind", "data", options);
        if user_namespace {
            map_ids(config);
        }
    });
    shell(&format!(
        "mkdir {0}/data; [ {user_namespace} = false ] || chown -Rh 100000:100000 {0}/rootfs",
        c.bundle.display()
    ));
    let data = c.bundle.join("data").display().to_string();
    let prepare = format!("mount -t tmpfs -o nosuid,nodev,noexec,ro,mode=755 t {data}");
    let out = on_host(&c, &prepare, "private").ok();
    let mount = mount_at(&out.stdout, "/data");
    mount.options.join(",")
}

#[test]
fn a_bind_with_options_has_those_flags_and_no_others() {
    let Some(test) = Test::new() else { return };
    // Without any option for a flag the source's stay.
    assert_eq!(
        options_of(&test, &["rbind", "rprivate"], false),
        "ro,nosuid,nodev,noexec,relatime"
    );
    // As containerd's CRI plugin and `docker run -v …:ro` write them.
    assert_eq!(options_of(&test, &["rbind", "rprivate", "rw"], false), "rw,relatime");
    assert_eq!(options_of(&test, &["rbind", "rprivate", "ro"], false), "ro,relatime");
    assert_eq!(options_of(&test, &["bind", "nosuid"], false), "rw,nosuid,relatime");
    assert_eq!(options_of(&test, &["bind", "noatime"], false), "rw,noatime");
    test.nothing_left();
}

#[test]
fn flags_that_a_user_namespace_locks_stay() {
    let Some(test) = Test::new() else { return };
    let kept = "ro,nosuid,nodev,noexec,relatime";
    assert_eq!(options_of(&test, &["rbind", "rprivate", "ro"], true), kept);
    assert_eq!(options_of(&test, &["rbind", "rprivate", "nosuid"], true), kept);
    test.nothing_left();
}

#[test]
fn a_tmpfs_on_a_new_directory_has_the_kernels_mode() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("stat -c '%a %n' /new /deep/new /old /given /dev/new", |config| {
        for (path, options) in [
            ("/new", &[][..]),
            ("/deep/new", &[]),
            ("/old", &[]),
            ("/given", &["mode=700"]),
        ] {
            add_mount(config, path, "tmpfs", "tmpfs", options);
        }
        add_mount(config, "/dev/new", "tmpfs", "tmpfs", &[]);
        config["root"]["readonly"] = json!(false);
    });
    shell(&format!("mkdir -m 2750 {}/old", c.rootfs().display()));
    c.run()
        .ok()
        .prints("1777 /new\n1777 /deep/new\n2750 /old\n700 /given\n1777 /dev/new");
    test.nothing_left();
}

#[test]
fn acl_of_a_tmpfs() {
    let Some(test) = Test::new() else { return };
    for option in ["acl", "noacl"] {
        let c = test.script_with("echo mounted", |config| {
            add_mount(config, "/data", "tmpfs", "tmpfs", &[option]);
        });
        c.run().ok().prints("mounted");
    }
    let c = test.script_with("true", |config| {
        add_mount(config, "/data", "tmpfs", "tmpfs", &["no-such-option"]);
    });
    c.run().exits(1).fails("mounts[");
    test.nothing_left();
}

#[test]
fn options_that_a_cgroup_mount_does_not_know() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("true", |config| {
        add_mount(config, "/cg", "cgroup", "cgroup", &["ro", "nsdelegate"]);
    });
    c.run().fails("\"nsdelegate\" is not an option of a cgroup mount");
    test.nothing_left();
}

#[test]
fn sysfs_with_the_hosts_network() {
    let Some(test) = Test::new() else { return };
    let script = "cat /proc/self/mountinfo; ls /sys/class/net | head -n 1; mkdir /sys/new 2>&1";
    let c = test.script_with(script, |config| {
        map_ids(config);
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != "network");
    });
    shell(&format!("chown -Rh 100000:100000 {}", c.rootfs().display()));
    let out = c.run();
    let mount = mount_at(&out.stdout, "/sys");
    assert_eq!(mount.fstype, "sysfs", "{out}");
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(mount.options.iter().any(|found| found == option), "{option}: {out}");
    }
    test.nothing_left();
}

#[test]
fn rootfs_propagation_is_slave_of_the_hosts_mount() {
    let Some(test) = Test::new() else { return };
    for (wanted, slave) in [("slave", true), ("rslave", true), ("private", false)] {
        let c = test.script_with("cat /proc/self/mountinfo", |config| {
            config["linux"]["rootfsPropagation"] = json!(wanted);
        });
        let bundle = c.bundle.display().to_string();
        let out = on_host(
            &c,
            &format!("mount --bind {bundle} {bundle} && mount --make-shared {bundle}"),
            "private",
        )
        .ok();
        let root = out
            .stdout
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"))
            .expect("/");
        assert_eq!(root.contains(" master:"), slave, "{wanted}: {root}");
        assert!(!root.contains(" shared:"), "{wanted}: {root}");
    }
    test.nothing_left();
}

/// What appears at `source` on the host when the container mounts something on /data.
#[test]
fn what_is_mounted_inside_stays_inside() {
    let Some(test) = Test::new() else { return };
    let seen = |user_namespace: bool, options: &[&str], closed: bool| {
        let c = test.script_with("mount -t tmpfs inner /data && echo mounted", |config| {
            add_mount(config, "/data", "bind", "closed/data", options);
            config["linux"]["rootfsPropagation"] = json!("rshared");
            for set in ["bounding", "effective", "permitted"] {
                push(config, &format!("/process/capabilities/{set}"), json!("CAP_SYS_ADMIN"));
            }
            if user_namespace {
                map_ids(config);
            }
        });
        let bundle = c.bundle.display().to_string();
        let mode = if closed { "700" } else { "755" };
        shell(&format!(
            "mkdir -m {mode} {bundle}/closed; mkdir {bundle}/closed/data; [ {user_namespace} = false ] || chown -Rh 100000:100000 {bundle}/rootfs"
        ));
        let prepare = format!(
            "mount -t tmpfs s {bundle}/closed -o mode={mode} && mkdir {bundle}/closed/data && mount --make-rshared /"
        );
        let script = format!("{prepare}; \"$0\" \"$@\"; grep -c ' {bundle}/closed/data ' /proc/self/mountinfo; true");
        let command = c.with_bundle("run", &[]);
        let out = command
            .wrapped(["unshare", "-m", "--propagation", "private", "sh", "-c", &script])
            .run();
        assert!(out.stdout.starts_with("mounted"), "{out}");
        out.stdout.trim().ends_with('1')
    };
    assert!(!seen(true, &["rbind"], true), "a source that only root reaches");
    assert!(!seen(true, &["rbind", "idmap"], false), "a mapped one");
    assert!(!seen(true, &["rbind"], false), "any other");
    // The same without a user namespace is what config asks for, and shows that this test can fail.
    assert!(seen(false, &["rbind"], true));
    test.nothing_left();
}

#[test]
fn fields_that_need_a_mount_namespace() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    c.edit(|config| {
        config["linux"]["namespaces"] = json!([{ "type": "pid" }, { "type": "uts" }]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["root"]["readonly"] = json!(false);
    });
    let why = "needs a mount namespace, and linux.namespaces has none";
    c.edit(|config| config["process"]["args"] = json!(["/bin/true"]));
    let out = c.run().ok();
    assert!(out.stderr.contains("warning: mounts: none is made"), "{out}");
    c.edit(|config| {
        config["mounts"] = json!([]);
        config["process"]["terminal"] = json!(true);
    });
    c.run().fails(&format!("process.terminal: {why}"));
    c.edit(|config| config["process"]["terminal"] = json!(false));
    c.run().ok();
    test.nothing_left();
}

#[test]
fn a_cgroup_mount_does_not_follow_the_image_into_proc() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("true", |config| {
        add_mount(config, "/cg", "cgroup", "cgroup", &["ro"]);
        config["root"]["readonly"] = json!(false);
    });
    symlink("/proc/sys", c.rootfs().join("cg")).expect("link");
    c.run().fails("a link of the image leads inside /proc");
    // The link itself is no fault.
    fs::remove_file(c.rootfs().join("cg")).expect("rm");
    symlink("/elsewhere", c.rootfs().join("cg")).expect("link");
    c.run().ok();
    test.nothing_left();
}

#[test]
fn a_source_inside_the_root_filesystem_sees_what_is_mounted_before() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("cat /again/word", |config| {
        add_mount(config, "/mnt", "bind", "data", &["bind"]);
        add_mount(config, "/again", "bind", "rootfs/mnt/sub", &["bind"]);
    });
    let bundle = c.bundle.display();
    shell(&format!(
        "mkdir -p {bundle}/data/sub {bundle}/rootfs/mnt; echo below >{bundle}/data/sub/word"
    ));
    c.run().ok().prints("below");
    // The host side makes this one before init mounts anything.
    c.edit(|config| {
        let last = config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .last_mut()
            .expect("mount");
        last["options"] = json!(["bind", "idmap"]);
        last["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        last["gidMappings"] = last["uidMappings"].clone();
    });
    c.run().fails("and only the host side could bind it");
    test.nothing_left();
}

#[test]
fn a_directory_without_the_mounts_below_it() {
    let Some(test) = Test::new() else { return };
    for user_namespace in [false, true] {
        let c = test.script_with("ls /data /data/sub", |config| {
            add_mount(config, "/data", "bind", "data", &["bind", "ro"]);
            if user_namespace {
                map_ids(config);
            }
        });
        let bundle = c.bundle.display().to_string();
        shell(&format!(
            "mkdir -p {bundle}/data/sub; [ {user_namespace} = false ] || chown -Rh 100000:100000 {bundle}/rootfs"
        ));
        let prepare = format!("mount -t tmpfs t {bundle}/data/sub && touch {bundle}/data/sub/hidden");
        let out = on_host(&c, &prepare, "private").ok();
        assert!(!out.stdout.contains("hidden"), "{user_namespace}: {out}");
    }
    test.nothing_left();
}
