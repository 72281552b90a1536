//! `mounts add` and `mounts remove`: what is refused, by its field, and that nothing of it is left.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::mounts::{bind, data, inside, mounts, sleeper};
use crate::common::{Container, Test};

/// All mounts of the container, and all names below its root filesystem but those of its programs.
fn seen(c: &Container<'_>) -> (String, Vec<String>) {
    let table = fs::read_to_string(format!("/proc/{}/mountinfo", c.pid())).expect("mountinfo");
    let mut names = Vec::new();
    collect(&c.rootfs(), &mut names);
    names.sort();
    (table, names)
}

fn collect(dir: &Path, names: &mut Vec<String>) {
    let entries = fs::read_dir(dir).expect("a directory").flatten();
    for entry in entries.filter(|entry| entry.file_name() != "bin") {
        names.push(entry.path().display().to_string());
        if entry.file_type().expect("type").is_dir() {
            collect(&entry.path(), names);
        }
    }
}

/// `mounts add` of the list fails with this text and leaves no trace.
#[track_caller]
fn refused(c: &Container<'_>, list: &[Value], why: &str) {
    let before = seen(c);
    mounts(c, "add", list).fails(why);
    assert_eq!(seen(c), before, "left behind by {list:?}");
}

#[test]
fn what_fails_leaves_nothing() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    let good = [
        bind("/a/b/c", &[]),
        json!({ "destination": "/file", "type": "bind", "source": "data/file" }),
        json!({ "destination": "/t", "type": "tmpfs" }),
        bind("/t/in/it", &[]),
        bind("/home", &[]),
        bind("/home/sub/deep", &[]),
    ];
    let after = |bad: Value| [&good[..], &[bad]].concat();
    let missing = json!({ "destination": "/x", "type": "bind", "source": "/nosuch/source" });
    refused(
        &c,
        &after(missing),
        "mounts[6].source: cannot bind /nosuch/source: no such file or directory",
    );
    let on_a_file = bind("/etc/passwd", &[]);
    refused(&c, &after(on_a_file), "mounts[6].destination: cannot mount");
    let file_on_dir = json!({ "destination": "/etc", "type": "bind", "source": "data/file" });
    refused(&c, &after(file_on_dir), "at /etc: not a directory");
    let below_a_file = bind("/etc/passwd/x/y", &[]);
    refused(&c, &after(below_a_file), "at /etc/passwd/x/y: not a directory");
    let wrong_option = json!({ "destination": "/made/x", "type": "tmpfs", "options": ["nosuch=1"] });
    refused(
        &c,
        &after(wrong_option),
        "mounts[6].options: cannot mount tmpfs at /made/x: invalid argument",
    );
    assert!(!data(&c).join("sub/deep").exists(), "made in the source");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn what_a_failure_finds_in_use_stays() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    fs::create_dir(c.rootfs().join("own")).expect("own");
    let bad = json!({ "destination": "/etc/passwd/x", "type": "tmpfs" });
    refused(&c, &[bind("/own", &[]), bind("/own/sub", &[]), bad], "not a directory");
    assert!(
        c.rootfs().join("own").is_dir() && data(&c).join("sub").is_dir(),
        "removed too much"
    );
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_read_only_root_has_no_new_directories() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |config| config["root"]["readonly"] = json!(true));
    c.run_detached().ok();
    refused(&c, &[bind("/new", &[])], "mounts[0].destination: cannot mount");
    mounts(&c, "add", &[bind("/home", &[])]).ok();
    inside(&c, "cat /home/file").ok().prints("word");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn what_cannot_be_done_later_is_named() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    let typed = |kind: &str| json!({ "destination": "/x", "type": kind, "source": "x" });
    for kind in ["proc", "sysfs", "overlay", "cgroup", "nosuch"] {
        refused(&c, &[typed(kind)], "mounts[0].type: \"");
    }
    refused(
        &c,
        &[json!({ "destination": "/x" })],
        "mounts[0].type: must name a filesystem",
    );
    refused(
        &c,
        &[bind("/etc", &["remount", "ro"])],
        "mounts[0].options: \"remount\" is not supported",
    );
    refused(
        &c,
        &[bind("/etc", &["copy-symlink"])],
        "mounts[0].options: \"copy-symlink\" is not supported",
    );
    refused(
        &c,
        &[json!({ "destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup"] })],
        "mounts[0].options: \"tmpcopyup\" is not supported",
    );
    refused(
        &c,
        &[bind("/", &[])],
        "mounts[0].destination: \"/\" is the root of the container",
    );
    refused(
        &c,
        &[json!({ "destination": "/x", "type": "bind" })],
        "mounts[0].source: a bind mount needs a source",
    );
    refused(
        &c,
        &[json!({ "destination": "/x", "type": "bind", "source": "data", "optoins": [] })],
        "mounts[0].optoins: ",
    );
    refused(&c, &[json!({ "source": "data" })], "mounts[0]: missing field");
    for text in ["{}", "[", "", "7"] {
        let out = test.runtime().args(["mounts", "add", &c.id, "-"]).stdin(text).run();
        out.fails("mounts: ");
    }
    test.runtime()
        .args(["mounts", "add", &c.id, "/nosuch/file"])
        .run()
        .fails("/nosuch/file");
    test.runtime()
        .args(["mounts", "move", &c.id, "-"])
        .run()
        .fails("[possible values: add, remove]");
    test.runtime().args(["mounts", "add", &c.id]).run().fails("FILE");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn masks_and_the_kernels_filesystems_stay() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |config| {
        let masked = config["linux"]["maskedPaths"].as_array_mut().expect("masked paths");
        masked.push(json!("/sys/kernel"));
    });
    for (name, to) in [
        ("kernel", "/sys/kernel"),
        ("keys", "/proc/keys"),
        ("top", "/"),
        ("dev2", "/dev"),
    ] {
        std::os::unix::fs::symlink(to, c.rootfs().join(name)).expect("link");
    }
    c.run_detached().ok();
    let before = seen(&c);
    for (at, why) in [
        ("/proc", "/proc"),
        ("/proc/keys", "inside /proc"),
        ("/sys/kernel", "inside /sys"),
        ("/sys", "inside /sys"),
        ("/dev", "devices"),
        ("/kernel", "it leads to /sys/kernel: it is inside /sys"),
        ("/dev2", "it leads to /dev: it holds the devices"),
        ("/top", "it leads to /: it is the root"),
    ] {
        refused(&c, &[bind(at, &[])], why);
        mounts(&c, "remove", &[bind(at, &[])])
            .fails("mounts[0].destination: ")
            .fails(why);
    }
    let file = json!({ "destination": "/keys", "type": "bind", "source": "data/file" });
    refused(&c, std::slice::from_ref(&file), "mounts[0].destination: cannot mount");
    mounts(&c, "remove", &[file]).fails("it leads to /proc/keys: it is inside /proc");
    assert_eq!(seen(&c), before);
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn only_what_is_mounted_is_removed() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    mounts(&c, "add", &[bind("/new", &[])]).ok();
    let before = seen(&c);
    // A directory of the image, one below a mount, and nothing at all: what comes before them in the list stays mounted.
    for (at, why) in [
        ("/etc", "cannot unmount /etc: nothing is mounted there"),
        ("/new/sub", "cannot unmount /new/sub: nothing is mounted there"),
        ("/nosuch", "cannot unmount /nosuch: no such file or directory"),
    ] {
        mounts(&c, "remove", &[bind("/new", &[]), bind(at, &[])])
            .fails("mounts[1].destination: ")
            .fails(why);
        assert_eq!(seen(&c), before);
    }
    mounts(&c, "remove", &[bind("/new", &[])]).ok();
    mounts(&c, "remove", &[bind("/new", &[])]).fails("nothing is mounted there");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_container_that_is_not_there() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    for action in ["add", "remove"] {
        mounts(&c, action, &[bind("/new", &[])]).fails("does not exist");
    }
    c.run_detached().ok();
    c.kill("KILL").ok();
    c.wait_status("stopped");
    for action in ["add", "remove"] {
        mounts(&c, action, &[bind("/new", &[])]).fails("container not running");
    }
    c.delete().ok();
    assert!(!c.rootfs().join("new").exists());
    test.nothing_left();
}

#[test]
fn a_container_in_the_hosts_mount_namespace() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |config| {
        config["linux"]["namespaces"] = json!([{ "type": "pid" }, { "type": "uts" }, { "type": "ipc" }]);
        config["mounts"] = json!([]);
        for list in ["maskedPaths", "readonlyPaths"] {
            config["linux"].as_object_mut().expect("linux").remove(list);
        }
    });
    c.run_detached().ok();
    for action in ["add", "remove"] {
        mounts(&c, action, &[bind("/new", &[])]).fails("no mount namespace of its own");
    }
    assert!(!c.rootfs().join("new").exists());
    c.kill_and_delete();
    test.nothing_left();
}
