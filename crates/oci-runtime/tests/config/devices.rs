//! Device nodes and links in /dev.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use serde_json::json;

use super::inside::push;
use crate::common::{Test, shell};

#[test]
fn the_default_devices() {
    let Some(test) = Test::new() else { return };
    let names = "null zero full random urandom tty";
    let c = test.script(&format!(
        "cd /dev; for d in {names}; do stat -c '%n %F %a %t:%T %u:%g' $d; done"
    ));
    let expected = "null character special file 666 1:3 0:0\nzero character special file 666 1:5 0:0\n\
                    full character special file 666 1:7 0:0\nrandom character special file 666 1:8 0:0\n\
                    urandom character special file 666 1:9 0:0\ntty character special file 666 5:0 0:0";
    c.run().ok().prints(expected);
}

#[test]
fn the_default_devices_work() {
    let Some(test) = Test::new() else { return };
    let script = "echo x >/dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c && \
                  head -c 4 /dev/random | wc -c; echo x 2>/dev/null >/dev/full || echo full; ls /dev/pts; \
                  stat -c %a:%t:%T -L /dev/ptmx";
    test.script(script).run().ok().prints("4\n4\n4\nfull\nptmx\n666:5:2");
}

#[test]
fn the_default_links() {
    let Some(test) = Test::new() else { return };
    let c = test.script("for l in fd stdin stdout stderr ptmx core; do echo $l $(readlink /dev/$l); done");
    let core = if fs::exists("/proc/kcore").unwrap_or(false) {
        "core /proc/kcore"
    } else {
        "core"
    };
    let links =
        "fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\nptmx pts/ptmx";
    c.run().ok().prints(&format!("{links}\n{core}"));
}

#[test]
fn nothing_else_is_in_dev() {
    let Some(test) = Test::new() else { return };
    let out = test.container(&["ls", "/dev"]).run().ok();
    let known = [
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    ];
    let found: Vec<&str> = out.stdout.lines().filter(|l| *l != "core").collect();
    let known: Vec<&str> = known.into_iter().filter(|l| *l != "core").collect();
    assert_eq!(found, known, "{out}");
}

#[test]
fn further_devices() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cd /dev; stat -c '%n %F %a %t:%T %u:%g' fuse block dir/char pipe default; umask");
    c.edit(|config| {
        for device in [
            json!({ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 384, "uid": 11, "gid": 12 }),
            json!({ "path": "/dev/block", "type": "b", "major": 7, "minor": 300, "fileMode": 438, "uid": 0, "gid": 6 }),
            json!({ "path": "/dev/dir/char", "type": "u", "major": 1, "minor": 3, "fileMode": 511 }),
            json!({ "path": "/dev/pipe", "type": "p", "fileMode": 420, "uid": 1, "gid": 1 }),
            json!({ "path": "/dev/default", "type": "c", "major": 1, "minor": 5, "fileMode": 438 }),
        ] {
            push(config, "/linux/devices", device);
        }
    });
    let expected = "fuse character special file 600 a:e5 11:12\nblock block special file 666 7:12c 0:6\n\
                    dir/char character special file 777 1:3 0:0\npipe fifo 644 0:0 1:1\n\
                    default character special file 666 1:5 0:0\n0022";
    c.run().ok().prints(expected);
}

#[test]
fn a_device_may_replace_a_default_one() {
    let Some(test) = Test::new() else { return };
    let c = test.script("stat -c '%a %t:%T %u' /dev/null; echo x >/dev/null && echo wrote");
    c.edit(|config| {
        let device =
            json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 7, "gid": 0 });
        push(config, "/linux/devices", device);
        let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" });
        push(config, "/linux/resources/devices", rule);
    });
    c.run().ok().prints("666 1:3 7\nwrote");
}

/// As in `docker run -v /dev/urandom:/dev/random`.
#[test]
fn a_mount_takes_the_place_of_a_default_device() {
    let Some(test) = Test::new() else { return };
    let c = test.script("stat -c %t:%T /dev/random; echo x >/dev/full && echo wrote; cat /dev/tty");
    let file = test.dir().join("file");
    fs::write(&file, "a file\n").expect("file");
    c.edit(|config| {
        for (source, target) in [
            (json!("/dev/urandom"), "/dev/random"),
            (json!("/dev/null"), "/dev/full"),
            (json!(file), "/dev/tty"),
        ] {
            let mount = json!({ "destination": target, "type": "bind", "source": source, "options": ["bind"] });
            push(config, "/mounts", mount);
        }
    });
    c.run().ok().prints("1:9\nwrote\na file");
}

#[test]
fn devices_are_made_where_dev_is_part_of_the_image() {
    let Some(test) = Test::new() else { return };
    let c = test.script("echo x >/dev/null && echo wrote");
    c.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|m| !m["destination"].as_str().expect("destination").starts_with("/dev"));
    });
    c.run().ok().prints("wrote");
    let null = fs::metadata(c.rootfs().join("dev/null")).expect("the device in the root filesystem");
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), fs::metadata("/dev/null").expect("/dev/null").rdev());
    // A second container on the same root filesystem finds them there.
    // runc differs: from 1.2 on it stumbles over its own links.
    c.run().ok().prints("wrote");
}

#[test]
fn impossible_devices_are_refused() {
    let Some(test) = Test::new() else { return };
    for device in [
        json!({ "path": "/dev/x", "type": "q", "major": 1, "minor": 3 }),
        json!({ "path": "/dev/x", "type": "", "major": 1, "minor": 3 }),
        // runc differs: it takes a device without a path and makes none.
        json!({ "type": "c", "major": 1, "minor": 3 }),
    ] {
        let c = test.script_with("true", |config| push(config, "/linux/devices", device));
        let out = c.create().exits(1);
        assert!(!out.stderr.is_empty(), "should have said something: {out}");
        test.nothing_left();
    }
}

#[test]
fn another_file_in_a_devices_place_is_an_error() {
    let Some(test) = Test::new() else { return };
    let node = json!({ "path": "/opt/null", "type": "c", "major": 1, "minor": 3, "fileMode": 438 });
    for make in [
        "touch PATH",
        "mkdir PATH",
        "mknod -m 666 PATH c 1 5",
        "ln -s /dev/null PATH",
    ] {
        let c = test.script_with("true", |config| push(config, "/linux/devices", node.clone()));
        let path = c.rootfs().join("opt/null");
        fs::create_dir_all(c.rootfs().join("opt")).expect("mkdir");
        shell(&make.replace("PATH", &path.display().to_string()));
        c.create()
            .fails("linux.devices: cannot make /opt/null: the image has something else there than the device 1:3");
        // The device itself will do.
        shell(&format!("rm -r {0}; mknod -m 666 {0} c 1 3", path.display()));
        c.run().ok();
    }
    test.nothing_left();
}

/// A device without a driver: to open it fails.
fn make_node(path: &std::path::Path) {
    let _ = fs::remove_file(path);
    shell(&format!("mknod {} c 240 77", path.display()));
}

#[test]
fn device_nodes_of_the_image_are_not_opened() {
    let Some(test) = Test::new() else { return };
    let own_dev = |with_devpts: bool| {
        let c = test.script_with("stat -c %t:%T /dev/console; ls /dev/pts", |config| {
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts.retain(|mount| {
                let at = mount["destination"].as_str().expect("destination");
                !at.starts_with("/dev") || with_devpts && at == "/dev/pts"
            });
            config["process"]["terminal"] = json!(true);
            config["root"]["readonly"] = json!(false);
        });
        shell(&format!("mkdir -p {}/dev/pts", c.rootfs().display()));
        c
    };
    let c = own_dev(true);
    make_node(&c.rootfs().join("dev/console"));
    let out = c.run().ok();
    assert!(out.stdout.starts_with("88:"), "the pty is there: {out}");
    let c = own_dev(false);
    make_node(&c.rootfs().join("dev/pts/ptmx"));
    c.run().fails("/dev/pts of the container is not a devpts filesystem");
    // A link is refused, wherever it leads.
    let c = own_dev(true);
    std::os::unix::fs::symlink("../bin", c.rootfs().join("dev/console")).expect("link");
    c.run().fails("cannot mount the pty on /dev/console");
    test.nothing_left();
}

#[test]
fn nodes_are_bound_onto_what_the_image_has() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with(
        "stat -c %t:%T /dev/null; grep ' /dev/null ' /proc/self/mountinfo",
        |config| {
            crate::common::map_ids(config);
            let mounts = config["mounts"].as_array_mut().expect("mounts");
            mounts.retain(|mount| !mount["destination"].as_str().expect("destination").starts_with("/dev"));
            config["root"]["readonly"] = json!(false);
        },
    );
    shell(&format!(
        "mkdir -p {0}/dev; chown -Rh 100000:100000 {0}",
        c.rootfs().display()
    ));
    make_node(&c.rootfs().join("dev/null"));
    let out = c.run().ok();
    let mount = super::inside::mount_at(&out.stdout, "/dev/null");
    assert!(out.stdout.starts_with("1:3"), "{out}");
    for option in ["nosuid", "noexec"] {
        assert!(mount.options.iter().any(|found| found == option), "{out}");
    }
    test.nothing_left();
}

#[test]
fn what_is_in_the_place_of_a_device_is_named() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("true", |config| {
        push(
            config,
            "/linux/devices",
            json!({"path": "/own/fuse", "type": "c", "major": 10, "minor": 229}),
        );
        config["root"]["readonly"] = json!(false);
    });
    fs::create_dir(c.rootfs().join("own")).expect("mkdir");
    make_node(&c.rootfs().join("own/fuse"));
    c.run()
        .fails("cannot make /own/fuse: the image has something else there than the device 10:229");
    test.nothing_left();
}

#[test]
fn nodes_that_the_host_lacks_in_a_user_namespace() {
    let Some(test) = Test::new() else { return };
    let c = test.script(
        "cd /dev; stat -c '%n %F %a %t:%T %u:%g' absent other pipe; echo gone >absent && echo written; head -c 1 other | od -An -tx1; \
         grep -E ' /dev/(absent|other) ' /proc/self/mountinfo | cut -d ' ' -f 6",
    );
    c.edit(|config| {
        crate::common::map_ids(config);
        for device in [
            json!({ "path": "/dev/absent", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 11, "gid": 12 }),
            // The host has this name for another device.
            json!({ "path": "/dev/other", "type": "c", "major": 1, "minor": 5, "fileMode": 292 }),
            json!({ "path": "/dev/pipe", "type": "p", "fileMode": 420, "uid": 1, "gid": 1 }),
        ] {
            push(config, "/linux/devices", device);
        }
    });
    let expected = "absent character special file 666 1:3 11:12\nother character special file 444 1:5 0:0\n\
                    pipe fifo 644 0:0 1:1\nwritten\n 00\n";
    let flags = "rw,nosuid,noexec,relatime\nrw,nosuid,noexec,relatime";
    c.run().ok().prints(&format!("{expected}{flags}"));
    // An owner that the container does not have.
    c.edit(|config| {
        let device = json!({ "path": "/dev/third", "type": "c", "major": 1, "minor": 3, "uid": 70_000 });
        push(config, "/linux/devices", device);
    });
    c.run()
        .fails("linux.devices: cannot make /dev/third: the container has no id 70000");
    test.nothing_left();
}
