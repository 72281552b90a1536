//! Symbolic links in the image, at each place where the runtime makes or mounts something.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::attacker::{Outside, mount, with_own_dev};
use crate::common::{Container, Test};

#[test]
fn mounts_on_links_land_in_the_root_filesystem() {
    let Some(test) = Test::new() else { return };
    let outside = Outside::new(&test);
    for target in outside.forms() {
        let script = "cat /link/file-mount /link/sub/dir-mount/inner; grep -c outside /proc/self/mountinfo";
        let c = test.script_with(script, |config| config["root"]["readonly"] = json!(false));
        symlink(&target, c.rootfs().join("link")).expect("link");
        fs::create_dir(c.bundle.join("data")).expect("mkdir");
        fs::write(c.bundle.join("data/inner"), "inner\n").expect("file");
        mount(&c, "/link/file-mount", "bind", "data/inner", &["bind"]);
        mount(&c, "/link/sub/dir-mount", "bind", "data", &["rbind"]);
        mount(&c, "/link/tmp", "tmpfs", "tmpfs", &[]);
        c.run().ok().prints("inner\ninner\n3");
        outside.untouched("a mount point");
        let inside = c.rootfs().join(outside.0.strip_prefix("/").expect("absolute"));
        assert!(
            inside.join("file-mount").is_file(),
            "the mount point is in the root filesystem"
        );
    }
    test.nothing_left();
}

#[test]
fn a_dangling_link_is_followed_within_the_root_filesystem() {
    let Some(test) = Test::new() else { return };
    let outside = Outside::new(&test);
    let c = test.script("cat /dangling /also/inner");
    // One to a file, one to a directory, neither of which exists anywhere.
    symlink(outside.0.join("new/file"), c.rootfs().join("dangling")).expect("link");
    symlink("../../../no/where", c.rootfs().join("also")).expect("link");
    fs::create_dir(c.bundle.join("data")).expect("mkdir");
    fs::write(c.bundle.join("data/inner"), "inner\n").expect("file");
    mount(&c, "/dangling", "bind", "data/inner", &["bind"]);
    mount(&c, "/also", "bind", "data", &["bind"]);
    c.run().ok().prints("inner\ninner");
    outside.untouched("the target of a dangling link");
    assert!(!std::path::Path::new("/no/where").exists());
}

#[test]
fn a_loop_of_links_is_an_error() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    symlink("b", c.rootfs().join("a")).expect("link");
    symlink("a", c.rootfs().join("b")).expect("link");
    mount(&c, "/a/x", "tmpfs", "tmpfs", &[]);
    c.create().exits(1);
    test.nothing_left();
}

#[test]
fn proc_and_sys_are_mounted_on_directories() {
    let Some(test) = Test::new() else { return };
    for (name, fstype) in [("proc", "proc"), ("sys", "sysfs")] {
        for target in ["/tmp", "tmp", "/bin/../proc2"] {
            let c = test.script("true");
            fs::remove_dir(c.rootfs().join(name)).expect("rmdir");
            fs::create_dir(c.rootfs().join("proc2")).expect("mkdir");
            symlink(target, c.rootfs().join(name)).expect("link");
            let out = c.create().fails("must be mounted on ordinary directory");
            assert!(out.stderr.contains(fstype), "{out}");
            test.nothing_left();
        }
    }
}

#[test]
fn nothing_is_mounted_below_proc() {
    let Some(test) = Test::new() else { return };
    for destination in [
        "/proc/sys/kernel",
        "/proc/self/attr",
        "/proc/1",
        "/proc/../proc/sys",
        "/inner/link",
    ] {
        let c = test.script("true");
        fs::create_dir(c.rootfs().join("inner")).expect("mkdir");
        symlink("/proc/sys", c.rootfs().join("inner/link")).expect("link");
        fs::create_dir(c.bundle.join("data")).expect("mkdir");
        mount(&c, destination, "bind", "data", &["bind"]);
        let out = c.create().exits(1);
        assert!(out.stderr.contains("proc"), "{destination}: {out}");
        test.nothing_left();
    }
    // What LXCFS gives instead of some of its files is allowed.
    let c = test.script("cat /proc/uptime");
    fs::write(c.bundle.join("uptime"), "1.00 1.00\n").expect("file");
    mount(&c, "/proc/uptime", "bind", "uptime", &["bind"]);
    c.run().ok().prints("1.00 1.00");
}

#[test]
fn a_dev_that_is_a_link() {
    let Some(test) = Test::new() else { return };
    let outside = Outside::new(&test);
    for target in outside.forms() {
        for with_tmpfs in [true, false] {
            let c = test.script("echo x >/dev/null && echo wrote");
            fs::remove_dir(c.rootfs().join("dev")).expect("rmdir");
            symlink(&target, c.rootfs().join("dev")).expect("link");
            if !with_tmpfs {
                c.edit(|config| {
                    config["mounts"]
                        .as_array_mut()
                        .expect("mounts")
                        .retain(|m| !m["destination"].as_str().expect("destination").starts_with("/dev"));
                });
            }
            // It may be refused, or followed within the root filesystem.
            let out = c.run();
            outside.untouched("a device");
            assert!(out.stdout == "wrote\n" || out.code() == 1, "{out}");
            test.nothing_left();
        }
    }
}

#[test]
fn devices_below_links() {
    let Some(test) = Test::new() else { return };
    let outside = Outside::new(&test);
    let c = test.script("true");
    symlink(outside.0.join("dir"), c.rootfs().join("link")).expect("link");
    c.edit(|config| {
        config["linux"]["devices"] = json!([
            { "path": "/link/device", "type": "c", "major": 1, "minor": 3, "fileMode": 438 },
            { "path": "/link/deeper/device", "type": "c", "major": 1, "minor": 3, "fileMode": 438 },
        ]);
        config["root"]["readonly"] = json!(false);
    });
    let out = c.run();
    outside.untouched("a device");
    assert!(out.code() == 0 || out.code() == 1, "{out}");
    test.nothing_left();
}

#[test]
fn devices_below_a_link_into_a_volume_leave_nothing_there() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    let volume = c.bundle.join("volume");
    fs::create_dir(&volume).expect("mkdir");
    mount(&c, "/volume", "bind", &volume.display().to_string(), &["bind", "rw"]);
    symlink("/volume/new", c.rootfs().join("link")).expect("link");
    c.edit(|config| {
        let device = |path: &str| json!({ "path": path, "type": "c", "major": 1, "minor": 3, "fileMode": 438 });
        config["linux"]["devices"] = json!([device("/link/deeper/device")]);
    });
    c.run()
        .fails("linux.devices: cannot make /link/deeper/device: a link of the image leads to another mount");
    assert_eq!(fs::read_dir(&volume).expect("volume").count(), 0);
    test.nothing_left();
}

#[test]
fn masks_follow_links_within_the_root_filesystem() {
    let Some(test) = Test::new() else { return };
    let outside = Outside::new(&test);
    let c = test.script("cat /real 2>/dev/null; cat /free; ls -A /real-dir");
    fs::write(c.rootfs().join("real"), "secret\n").expect("file");
    fs::write(c.rootfs().join("free"), "free\n").expect("file");
    fs::create_dir(c.rootfs().join("real-dir")).expect("mkdir");
    fs::write(c.rootfs().join("real-dir/inner"), "").expect("file");
    symlink("/real", c.rootfs().join("masked")).expect("link");
    symlink("real-dir", c.rootfs().join("masked-dir")).expect("link");
    symlink(outside.0.join("file"), c.rootfs().join("far")).expect("link");
    c.edit(|config| {
        config["linux"]["maskedPaths"] = json!(["/masked", "/masked-dir", "/far"]);
        config["linux"]["readonlyPaths"] = json!(["/far"]);
    });
    c.run().ok().prints("free");
    outside.untouched("a mask");
}

/// A container whose /dev is the image's own, with one link more.
fn linked_in_dev<'t>(test: &'t Test, script: &str, name: &str, target: &str) -> Container<'t> {
    let c = with_own_dev(test, &["sh", "-c", script]);
    symlink(target, c.rootfs().join("dev").join(name)).expect("link");
    c
}

#[test]
fn a_null_device_that_is_a_link_masks_nothing_with_its_target() {
    let Some(test) = Test::new() else { return };
    // CVE-2025-31133: what /dev/null leads to would be mounted over each masked file, writable.
    let c = linked_in_dev(
        &test,
        "cat /masked; echo x 2>/dev/null >/proc/sysrq-trigger && echo wrote",
        "null",
        "/bait",
    );
    fs::write(c.rootfs().join("bait"), "bait\n").expect("file");
    fs::write(c.rootfs().join("masked"), "secret\n").expect("file");
    c.edit(|config| config["linux"]["maskedPaths"] = json!(["/masked"]));
    let out = c.run();
    assert!(!out.stdout.contains("bait") && !out.stdout.contains("secret"), "{out}");
    assert!(!out.stdout.contains("wrote"), "{out}");
    test.nothing_left();
}

#[test]
fn links_in_dev_that_point_outside() {
    let Some(test) = Test::new() else { return };
    let outside = Outside::new(&test);
    for name in ["fd", "stdin", "ptmx", "core", "zero", "console"] {
        let c = linked_in_dev(&test, "true", name, &outside.0.join("made").display().to_string());
        let out = c.run();
        assert!(out.code() == 0 || out.code() == 1, "{out}");
        outside.untouched(name);
        test.nothing_left();
    }
}

#[test]
fn a_cgroup_mount_on_a_link() {
    let Some(test) = Test::new() else { return };
    let outside = Outside::new(&test);
    let c = test.script("true");
    symlink(outside.0.join("dir"), c.rootfs().join("cg")).expect("link");
    c.edit(|config| {
        for mount in config["mounts"].as_array_mut().expect("mounts") {
            if mount["type"] == "cgroup" {
                mount["destination"] = json!("/cg");
            }
        }
    });
    let out = c.run();
    assert!(out.code() == 0 || out.code() == 1, "{out}");
    outside.untouched("a cgroup mount");
    test.nothing_left();
}

#[test]
fn tmpcopyup_copies_links_as_links() {
    let Some(test) = Test::new() else { return };
    let outside = Outside::new(&test);
    let c = test.script("readlink /seed/link; cat /seed/link 2>/dev/null || echo nothing");
    fs::create_dir(c.rootfs().join("seed")).expect("mkdir");
    symlink(outside.0.join("file"), c.rootfs().join("seed/link")).expect("link");
    mount(&c, "/seed", "tmpfs", "tmpfs", &["tmpcopyup"]);
    c.run()
        .ok()
        .prints(&format!("{}\nnothing", outside.0.join("file").display()));
    // A directory that is a link is not copied from the host.
    let c = test.script("ls /seed 2>/dev/null | wc -l");
    symlink(&outside.0, c.rootfs().join("seed")).expect("link");
    mount(&c, "/seed", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let out = c.run();
    assert!(out.code() == 1 || out.stdout == "0\n", "{out}");
    outside.untouched("tmpcopyup");
}

#[test]
fn no_device_is_made_on_a_volume() {
    let Some(test) = Test::new() else { return };
    for device_dir in ["/dev", "/dev/own", "/own"] {
        let c = with_own_dev(&test, &["true"]);
        c.edit(|config| {
            config["linux"]["devices"] = json!([
                { "path": format!("{device_dir}/fuse"), "type": "c", "major": 10, "minor": 229 }
            ]);
            config["root"]["readonly"] = json!(false);
        });
        let volume = c.bundle.join("volume");
        fs::create_dir(&volume).expect("mkdir");
        mount(&c, "/volume", "bind", "volume", &["bind"]);
        let link = c.rootfs().join(device_dir.trim_start_matches('/'));
        let _ = fs::remove_dir(&link);
        fs::create_dir_all(link.parent().expect("parent")).expect("mkdir");
        symlink("/volume", &link).expect("link");
        c.create().exits(1);
        assert_eq!(fs::read_dir(&volume).expect("volume").count(), 0, "{device_dir}");
        // A link that stays in the image is no fault.
        fs::remove_file(&link).expect("rm");
        fs::create_dir_all(c.rootfs().join("within")).expect("mkdir");
        symlink("/within", &link).expect("link");
        c.run().ok();
        assert!(c.rootfs().join("within/fuse").exists(), "{device_dir}");
    }
    test.nothing_left();
}
