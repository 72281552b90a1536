//! Mounts as the program sees them in its own mountinfo: the default ones, binds, tmpfs, propagation.

use std::fs;

use serde_json::json;

use super::inside::{MountLine, add_mount, mount_at};
use crate::common::{Container, Test, shell};

/// Runs a container that prints its mountinfo, and gives the topmost mount at `point`.
#[track_caller]
fn mounted(c: &Container<'_>, point: &str) -> MountLine {
    c.edit(|config| config["process"]["args"] = json!(["cat", "/proc/self/mountinfo"]));
    mount_at(&c.run().ok().stdout, point)
}

/// A container with the directory `data` (of the bundle) bind-mounted at /data with these options.
fn bound<'t>(test: &'t Test, script: &str, options: &[&str]) -> Container<'t> {
    let c = test.script_with(script, |config| add_mount(config, "/data", "bind", "data", options));
    fs::create_dir(c.bundle.join("data")).expect("mkdir");
    fs::write(c.bundle.join("data/file"), "data\n").expect("file");
    c
}

#[test]
fn the_default_mounts() {
    let Some(test) = Test::new() else { return };
    let out = test.container(&["cat", "/proc/self/mountinfo"]).run().ok().stdout;
    let root = mount_at(&out, "/");
    assert!(root.has("ro"), "root.readonly: {:?}", root.options);
    let expected: [(&str, &str, &[&str], &[&str]); 6] = [
        ("/proc", "proc", &["rw"], &[]),
        ("/dev", "tmpfs", &["nosuid"], &["mode=755", "size=65536k"]),
        (
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec"],
            &["gid=5", "mode=620", "ptmxmode=666"],
        ),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev"], &["size=65536k"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"], &[]),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"], &[]),
    ];
    for (point, fstype, options, super_options) in expected {
        let mount = mount_at(&out, point);
        assert_eq!(mount.fstype, fstype, "{point}");
        for option in options {
            assert!(mount.has(option), "{point} should be {option}: {:?}", mount.options);
        }
        for option in super_options {
            assert!(
                mount.super_has(option),
                "{point} should have {option}: {:?}",
                mount.super_options
            );
        }
        assert!(
            mount.propagation.is_empty(),
            "{point} should be private: {:?}",
            mount.propagation
        );
    }
    assert!(!mount_at(&out, "/dev").has("relatime"), "strictatime");
    assert!(
        !out.contains("/.old") && !out.contains("old_root"),
        "the host's root is gone:\n{out}"
    );
}

#[test]
fn nothing_of_the_host_is_mounted_inside() {
    let Some(test) = Test::new() else { return };
    let out = test.container(&["cat", "/proc/self/mountinfo"]).run().ok().stdout;
    let points: Vec<String> = super::inside::mountinfo(&out).into_iter().map(|m| m.point).collect();
    let known = ["/", "/proc", "/dev", "/sys"];
    for point in &points {
        let below = known[1..].iter().any(|k| point.starts_with(&format!("{k}/")));
        assert!(
            known.contains(&point.as_str()) || below,
            "{point} is from where?\n{out}"
        );
    }
    assert_eq!(
        points.iter().filter(|p| *p == "/").count(),
        1,
        "one root and no other below it:\n{out}"
    );
}

#[test]
fn bind_options() {
    let Some(test) = Test::new() else { return };
    let cases: [(&[&str], &[&str], &[&str]); 8] = [
        (&["bind"], &["rw"], &["ro"]),
        (&["rbind", "rw"], &["rw"], &["ro"]),
        (&["bind", "ro"], &["ro"], &["rw"]),
        (&["rbind", "ro"], &["ro"], &["rw"]),
        (
            &["bind", "nosuid", "nodev", "noexec"],
            &["rw", "nosuid", "nodev", "noexec"],
            &[],
        ),
        (
            &["rbind", "rprivate", "nosuid", "noexec", "nodev", "ro"],
            &["ro", "nosuid", "noexec", "nodev"],
            &[],
        ),
        (&["bind", "noatime"], &["noatime"], &["relatime"]),
        (&["bind", "nodiratime"], &["nodiratime"], &[]),
    ];
    for (options, with, without) in cases {
        let mount = mounted(&bound(&test, "", options), "/data");
        for option in with {
            assert!(
                mount.has(option),
                "{options:?} should give {option}: {:?}",
                mount.options
            );
        }
        for option in without {
            assert!(
                !mount.has(option),
                "{options:?} should not give {option}: {:?}",
                mount.options
            );
        }
        assert!(mount.root.ends_with("/data"), "{}", mount.root);
    }
    test.nothing_left();
}

#[test]
fn a_bind_mount_is_writable_or_not() {
    let Some(test) = Test::new() else { return };
    let script = "cat /data/file; echo new >/data/new 2>/dev/null && echo wrote || echo refused";
    let c = bound(&test, script, &["bind"]);
    c.run().ok().prints("data\nwrote");
    assert_eq!(fs::read_to_string(c.bundle.join("data/new")).expect("new"), "new\n");
    bound(&test, script, &["bind", "ro"]).run().ok().prints("data\nrefused");
    let noexec = bound(
        &test,
        "cp /bin/busybox /data/b; /data/b true 2>/dev/null || echo noexec",
        &["bind", "noexec"],
    );
    noexec.run().ok().prints("noexec");
}

#[test]
fn the_type_of_a_bind_mount_does_not_matter() {
    let Some(test) = Test::new() else { return };
    for fstype in [json!("none"), json!("bind"), json!(null)] {
        let c = bound(&test, "cat /data/file", &["rbind"]);
        c.edit(|config| {
            let mount = config["mounts"]
                .as_array_mut()
                .expect("mounts")
                .last_mut()
                .expect("a mount");
            if fstype.is_null() {
                mount.as_object_mut().expect("mount").remove("type");
            } else {
                mount["type"] = fstype.clone();
            }
        });
        c.run().ok().prints("data");
    }
}

#[test]
fn a_file_is_mounted_on_a_file_that_is_made_for_it() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat /etc/hosts /new/dir/file; echo x 2>/dev/null >/new/dir/file || echo refused");
    let hosts = c.bundle.join("my-hosts");
    fs::write(&hosts, "my hosts\n").expect("file");
    c.edit(|config| {
        let source = hosts.to_str().expect("path");
        add_mount(config, "/etc/hosts", "bind", source, &["bind", "ro"]);
        add_mount(config, "/new/dir/file", "bind", source, &["rbind", "ro"]);
    });
    c.run().ok().prints("my hosts\nmy hosts\nrefused");
    let made = c.rootfs().join("new/dir/file");
    assert_eq!(fs::read(&made).expect("the mount point").len(), 0, "an empty file");
    assert_eq!(
        fs::read_to_string(c.rootfs().join("etc/hosts")).expect("hosts"),
        "127.0.0.1 localhost\n"
    );
}

#[test]
fn a_directory_is_made_for_a_mount() {
    let Some(test) = Test::new() else { return };
    let c = bound(&test, "cat /a/b/c/file; stat -c %a /a /a/b", &["bind"]);
    c.edit(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .last_mut()
            .expect("a mount")["destination"] = json!("/a/b/c")
    });
    c.run().ok().prints("data\n755\n755");
    assert!(c.rootfs().join("a/b/c").is_dir());
}

#[test]
fn a_missing_source_is_an_error_that_names_it() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("true", |config| {
        add_mount(config, "/data", "bind", "/no/such/source", &["rbind"])
    });
    let out = c.create().exits(1);
    assert!(out.stderr.contains("/no/such/source"), "it should be named: {out}");
    assert!(
        out.stderr.contains("no such file or directory"),
        "in these words: {out}"
    );
    test.nothing_left();
}

#[test]
fn an_impossible_mount_is_an_error_that_names_it() {
    let Some(test) = Test::new() else { return };
    for (fstype, options) in [
        ("nosuchfs", &[][..]),
        ("tmpfs", &["nosuchoption=1"]),
        ("tmpfs", &["size=cake"]),
    ] {
        let c = test.script_with("true", |config| add_mount(config, "/impossible", fstype, "x", options));
        let out = c.create().exits(1);
        assert!(out.stderr.contains("/impossible"), "it should be named: {out}");
        test.nothing_left();
    }
}

#[test]
fn a_file_is_no_place_for_a_directory() {
    let Some(test) = Test::new() else { return };
    let c = bound(&test, "true", &["bind"]);
    c.edit(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .last_mut()
            .expect("a mount")["destination"] = json!("/etc/hosts");
    });
    // Docker shows a hint for this text.
    c.create().fails("not a directory");
    test.nothing_left();
}

#[test]
fn a_tmpfs_has_its_size_and_mode() {
    let Some(test) = Test::new() else { return };
    let script = "stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'; \
                  dd if=/dev/zero of=/t/big bs=1k count=2000 2>/dev/null || echo full; touch /t/x && echo made";
    let c = test.script_with(script, |config| {
        add_mount(config, "/t", "tmpfs", "tmpfs", &["nosuid", "size=1024k", "mode=0710"]);
    });
    c.run().ok().prints("710\n1024\nfull\nmade");
}

#[test]
fn a_tmpfs_takes_the_mode_of_its_mount_point() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("stat -c %a /tmp /root", |config| {
        add_mount(config, "/tmp", "tmpfs", "tmpfs", &[]);
        add_mount(config, "/root", "tmpfs", "tmpfs", &["mode=0711"]);
    });
    // runc differs: before 1.1.13 the mount point's mode wins over `mode=`.
    c.run().ok().prints("1777\n711");
}

#[test]
fn tmpcopyup_copies_what_was_there() {
    let Some(test) = Test::new() else { return };
    let script = "cat /seed/file /seed/dir/inner; readlink /seed/link; stat -c '%a %u' /seed/file; \
                  echo changed >/seed/dir/inner && cat /seed/dir/inner; grep -c ' /seed .*tmpfs' /proc/self/mountinfo";
    let c = test.script_with(script, |config| {
        add_mount(
            config,
            "/seed",
            "tmpfs",
            "tmpfs",
            &["tmpcopyup", "nosuid", "nodev", "size=1m"],
        );
    });
    let seed = c.rootfs().join("seed");
    fs::create_dir_all(seed.join("dir")).expect("mkdir");
    fs::write(seed.join("file"), "original\n").expect("file");
    fs::write(seed.join("dir/inner"), "inner\n").expect("file");
    std::os::unix::fs::symlink("/etc/passwd", seed.join("link")).expect("link");
    shell(&format!("chmod 640 {0}/file; chown 1000 {0}/file", seed.display()));
    c.run()
        .ok()
        .prints("original\ninner\n/etc/passwd\n640 1000\nchanged\n1");
    assert_eq!(
        fs::read_to_string(seed.join("dir/inner")).expect("file"),
        "inner\n",
        "the image is untouched"
    );
}

#[test]
fn the_propagation_of_a_mount() {
    let Some(test) = Test::new() else { return };
    for option in ["shared", "rshared"] {
        let mount = mounted(&bound(&test, "", &["rbind", option]), "/data");
        assert!(
            mount.propagation.iter().any(|p| p.starts_with("shared:")),
            "{option}: {:?}",
            mount.propagation
        );
    }
    for option in ["unbindable", "runbindable"] {
        let mount = mounted(&bound(&test, "", &["rbind", option]), "/data");
        assert_eq!(mount.propagation, ["unbindable"], "{option}");
    }
    for option in ["private", "rprivate"] {
        let mount = mounted(&bound(&test, "", &["rbind", option]), "/data");
        assert!(mount.propagation.is_empty(), "{option}: {:?}", mount.propagation);
    }
}

#[test]
fn mounts_are_made_in_their_order() {
    let Some(test) = Test::new() else { return };
    let c = bound(&test, "ls /t /t/data /later", &["bind"]);
    c.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.pop();
        mounts.push(json!({ "destination": "/t", "type": "tmpfs", "source": "tmpfs" }));
        mounts.push(json!({ "destination": "/t/data", "type": "bind", "source": "data", "options": ["bind"] }));
        mounts.push(json!({ "destination": "/later", "type": "bind", "source": "data", "options": ["bind"] }));
        mounts.push(json!({ "destination": "/later", "type": "tmpfs", "source": "tmpfs" }));
    });
    c.run().ok().prints("/later:\n\n/t:\ndata\n\n/t/data:\nfile");
}

#[test]
fn an_overlay_mount() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat /o/file; echo new >/o/file; cat /o/file");
    for dir in ["lower", "upper", "work"] {
        fs::create_dir(c.bundle.join(dir)).expect("mkdir");
    }
    fs::write(c.bundle.join("lower/file"), "lower\n").expect("file");
    let dir = |name: &str| format!("{name}dir={}", c.bundle.join(name).display());
    let options = [dir("lower"), dir("upper"), dir("work")];
    c.edit(|config| {
        add_mount(
            config,
            "/o",
            "overlay",
            "overlay",
            &options.each_ref().map(String::as_str),
        )
    });
    c.run().ok().prints("lower\nnew");
    assert_eq!(
        fs::read_to_string(c.bundle.join("lower/file")).expect("file"),
        "lower\n"
    );
}

#[test]
fn the_root_is_writable_if_it_is_not_readonly() {
    let Some(test) = Test::new() else { return };
    let script = "echo x 2>/dev/null >/written || echo refused";
    test.script(script).run().ok().prints("refused");
    for root in [
        json!({ "path": "rootfs", "readonly": false }),
        json!({ "path": "rootfs" }),
    ] {
        let c = test.script_with(script, |config| config["root"] = root.clone());
        c.run().ok().prints("");
        assert_eq!(fs::read_to_string(c.rootfs().join("written")).expect("written"), "x\n");
    }
    // An absolute path is as good.
    let c = test.script("cat /etc/hosts");
    c.edit(|config| config["root"] = json!({ "path": c.rootfs() }));
    c.run().ok().prints("127.0.0.1 localhost");
}

#[test]
fn options_of_the_filesystem_itself() {
    let Some(test) = Test::new() else { return };
    // The kernel shows these; iversion and silent it keeps to itself.
    let shown = ["sync", "dirsync", "lazytime", "mand"];
    for (options, with) in [
        (&["sync", "iversion", "silent"][..], &["sync"][..]),
        (&["dirsync", "noiversion", "loud"], &["dirsync"]),
        (&["lazytime"], &["lazytime"]),
        (&["mand"], &["mand"]),
        (&["sync", "dirsync", "lazytime", "async", "nolazytime"], &["dirsync"]),
        (&["defaults", "mand", "nomand"], &[]),
    ] {
        let c = test.container_with(&[], |config| add_mount(config, "/t", "tmpfs", "tmpfs", options));
        let mount = mounted(&c, "/t");
        for option in shown {
            let (has, wanted) = (mount.super_has(option), with.contains(&option));
            assert_eq!(has, wanted, "{options:?}, {option}: {:?}", mount.super_options);
        }
    }
    test.nothing_left();
}

#[test]
fn how_access_times_are_kept() {
    let Some(test) = Test::new() else { return };
    // What is neither noatime nor relatime is strictatime; relatime is the kernel's own choice.
    for (options, shown) in [
        (&["noatime"][..], "noatime"),
        (&["noatime", "atime"], "relatime"),
        (&["relatime"], "relatime"),
        (&["norelatime"], "relatime"),
        (&["strictatime"], ""),
        (&["strictatime", "nostrictatime"], "relatime"),
    ] {
        let c = test.container_with(&[], |config| add_mount(config, "/t", "tmpfs", "tmpfs", options));
        let mount = mounted(&c, "/t");
        let found: Vec<&str> = ["noatime", "relatime"].into_iter().filter(|o| mount.has(o)).collect();
        assert_eq!(found.join(" "), shown, "{options:?}: {:?}", mount.options);
    }
    test.nothing_left();
}
