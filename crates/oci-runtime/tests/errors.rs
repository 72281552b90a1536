//! Bad input: one clear line, exit code 1, and nothing left behind.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use common::{Container, Kind, Out, Test, kind, shell};
use serde_json::{Value, json};

/// `create` must fail, say one line that has `text` in it (in any letter case), and leave nothing.
#[track_caller]
fn refused(c: &Container<'_>, text: &str) -> Out {
    let out = c.create().exits(1);
    let said = out.said().to_lowercase();
    assert!(
        said.contains(&text.to_lowercase()),
        "should have said \"{text}\": {out}"
    );
    assert_eq!(out.stderr.trim_end().lines().count(), 1, "one line: {out}");
    c.test().nothing_left();
    out
}

/// A bundle whose config is changed by `edit` must be refused with `text`.
#[track_caller]
fn edited(test: &Test, edit: impl FnOnce(&mut Value), text: &str) -> Out {
    refused(&test.container_with(&["true"], edit), text)
}

#[test]
fn a_config_that_is_not_there() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    fs::remove_file(c.bundle.join("config.json")).expect("removing");
    let out = refused(&c, "config.json");
    assert!(!out.stderr.contains("os error"), "in plain words: {out}");
    test.runtime()
        .args(["create", "--bundle", "/no/such/bundle", "x"])
        .run()
        .fails("/no/such/bundle");
    test.nothing_left();
}

#[test]
fn a_config_that_is_no_json() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    let long = "[".repeat(100_000);
    // runc differs: 1.1 crashes over `null`.
    for text in [
        "",
        "{",
        "[]",
        "\"text\"",
        "{\"ociVersion\": 1}",
        "\u{0}\u{1}",
        &long,
        "null",
    ] {
        fs::write(c.bundle.join("config.json"), text).expect("writing");
        let out = c.create().exits(1);
        assert!(!out.stderr.is_empty(), "{out}");
        assert!(!out.stderr.contains("panicked"), "{out}");
        test.nothing_left();
    }
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    let Some(test) = Test::new() else { return };
    edited(&test, |c| c["process"]["args"] = json!("true"), "args");
    edited(&test, |c| c["process"]["user"]["uid"] = json!("root"), "uid");
    edited(&test, |c| c["process"]["user"]["uid"] = json!(-1), "uid");
    edited(&test, |c| c["mounts"] = json!({}), "mounts");
    edited(&test, |c| c["linux"]["namespaces"] = json!([1]), "namespaces");
}

#[test]
fn a_word_of_the_config_is_no_command_for_the_terminal() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["true"], |config| {
        config["linux"]["namespaces"] = json!([{ "type": "c\u{1b}[2J\ngroup" }]);
    });
    let out = refused(&c, "linux.namespaces[0].type");
    assert!(out.stderr.contains("c\\u{1b}[2J\\ngroup"), "{out}");
    assert!(!out.stderr.trim_end().chars().any(char::is_control), "{out}");
}

#[test]
fn a_config_that_is_no_file_does_not_hang() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    let file = c.bundle.join("config.json");
    fs::remove_file(&file).expect("removing");
    shell(&format!("mkfifo {}", file.display()));
    // runc differs: it opens the FIFO and waits for a writer.
    refused(&c, "config.json");
    fs::remove_file(&file).expect("removing");
    fs::create_dir(&file).expect("mkdir");
    refused(&c, "config.json");
}

#[test]
fn versions() {
    let Some(test) = Test::new() else { return };
    for version in ["one", "", "1.0.2.3", "0.9.0", "2.0.0"] {
        let c = test.container_with(&["true"], |config| config["ociVersion"] = json!(version));
        // runc differs: it looks at no version.
        let out = c.create().exits(1);
        assert!(
            out.stderr.contains("version") || out.stderr.contains("Version"),
            "{version:?}: {out}"
        );
        test.nothing_left();
    }
}

#[test]
fn versions_that_are_fine() {
    let Some(test) = Test::new() else { return };
    for version in ["1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0"] {
        test.container_with(&["true"], |config| config["ociVersion"] = json!(version))
            .run()
            .ok();
    }
}

#[test]
fn ids() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    let long = "x".repeat(300);
    // runc differs: it takes a dot at the beginning.
    let bad = [
        "",
        "..",
        "a/b",
        "/etc",
        "../escape",
        "a b",
        "a\nb",
        "ü",
        "a:b",
        "a*",
        "$x",
        &long,
        ".",
        ".hidden",
    ];
    for id in bad {
        let out = test
            .runtime()
            .arg("create")
            .arg("--bundle")
            .arg(&c.bundle)
            .arg("--")
            .arg(id)
            .run()
            .exits(1);
        assert!(!out.stderr.is_empty(), "{out}");
        for verb in ["state", "start", "delete"] {
            test.runtime().args([verb, "--", id]).run().exits(1);
        }
        test.nothing_left();
    }
    assert!(test.dir().join("bundles").exists());
    for id in ["a", "0", "A-b_c.d+e", &"y".repeat(200)] {
        test.named(id, &["true"], |config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{}/id", test.mark()))
        })
        .run()
        .ok();
    }
}

#[test]
fn a_root_filesystem_that_is_not_there() {
    let Some(test) = Test::new() else { return };
    edited(&test, |c| c["root"]["path"] = json!("nowhere"), "nowhere");
    edited(
        &test,
        |c| c["root"]["path"] = json!("/no/such/rootfs"),
        "/no/such/rootfs",
    );
    edited(&test, |c| c["root"]["path"] = json!("config.json"), "not a directory");
    edited(&test, |c| drop(c.as_object_mut().map(|c| c.remove("root"))), "root");
}

#[test]
fn programs_that_cannot_run() {
    let Some(test) = Test::new() else { return };
    let args = |args: Value, text: &str| drop(edited(&test, |c| c["process"]["args"] = args, text));
    args(
        json!(["nosuchprogram"]),
        "exec: \"nosuchprogram\": executable file not found in $PATH",
    );
    args(
        json!(["/no/such"]),
        "exec: \"/no/such\": stat /no/such: no such file or directory",
    );
    args(json!(["/etc/passwd"]), "exec: \"/etc/passwd\": permission denied");
    args(json!(["./etc/nothing"]), "no such file or directory");
    args(json!([]), "args");
    edited(
        &test,
        |c| drop(c["process"].as_object_mut().map(|p| p.remove("args"))),
        "args",
    );
    args(json!([""]), "exec: \"\"");
    // Docker looks for "is a directory" or "permission denied".
    let out = test.container_with(&["/bin"], |_| ()).create().exits(1);
    assert!(
        out.stderr.contains("is a directory") || out.stderr.contains("permission denied"),
        "{out}"
    );
    test.nothing_left();
}

#[test]
fn programs_that_cannot_run_for_this_user() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["/root/private"], |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let file = c.rootfs().join("root/private");
    fs::copy(c.rootfs().join("bin/busybox"), &file).expect("copy");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700)).expect("chmod");
    refused(&c, "permission denied");
}

#[test]
fn a_file_that_is_no_program() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["/garbage"]);
    fs::write(c.rootfs().join("garbage"), "neither ELF nor script").expect("file");
    fs::set_permissions(c.rootfs().join("garbage"), fs::Permissions::from_mode(0o755)).expect("chmod");
    // Only the exec can tell.
    let out = c.run();
    assert_ne!(out.code(), 0, "{out}");
    assert!(out.stderr.contains("exec format error"), "{out}");
    test.nothing_left();
    fs::write(c.rootfs().join("garbage"), "#!/no/such/interpreter\n").expect("file");
    let out = c.run();
    assert_ne!(out.code(), 0, "{out}");
    assert!(out.stderr.contains("no such file or directory"), "{out}");
    test.nothing_left();
}

#[test]
fn other_fields_of_the_process() {
    let Some(test) = Test::new() else { return };
    edited(&test, |c| c["process"]["cwd"] = json!("relative"), "absolute");
    edited(&test, |c| c["process"]["cwd"] = json!(""), "cwd");
    edited(
        &test,
        |c| drop(c.as_object_mut().map(|c| c.remove("ociVersion"))),
        "ociVersion",
    );
    // A string with a zero byte ends there for the kernel.
    edited(&test, |c| c["process"]["args"] = json!(["tr\u{0}ue"]), "args");
    // runc differs: it drops the variable.
    edited(&test, |c| c["process"]["env"] = json!(["PATH=/bin", "A=\u{0}"]), "env");
    // runc differs: it says so in two lines, neither of which names the field.
    edited(&test, |c| c["process"]["oomScoreAdj"] = json!(1001), "oomScoreAdj");
}

#[test]
fn a_terminal_needs_a_socket_and_a_socket_a_terminal() {
    let Some(test) = Test::new() else { return };
    edited(&test, |c| c["process"]["terminal"] = json!(true), "console");
    let c = test.container(&["true"]);
    c.with_bundle("create", &["--console-socket", "/no/such/socket"])
        .run()
        .exits(1);
    test.nothing_left();
    c.edit(|config| config["process"]["terminal"] = json!(true));
    c.with_bundle("create", &["--console-socket", "/no/such/socket"])
        .run()
        .fails("/no/such/socket");
    test.nothing_left();
}

#[test]
fn what_is_not_implemented_is_named() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return common::skip("what a runtime does not implement is its own matter");
    }
    // Each is either done, or refused by its name; never silently left out.
    type Edit = fn(&mut Value);
    let fields: [(&str, Edit); 7] = [
        ("intelRdt", |c| c["linux"]["intelRdt"] = json!({ "closID": "x" })),
        ("memoryPolicy", |c| {
            c["linux"]["memoryPolicy"] = json!({ "mode": "MPOL_BIND", "nodes": "4095" })
        }),
        ("netDevices", |c| {
            c["linux"]["netDevices"] = json!({ "nosuchdevice0": { "name": "eth7" } })
        }),
        ("apparmorProfile", |c| {
            c["process"]["apparmorProfile"] = json!("no-such-profile")
        }),
        ("selinuxLabel", |c| {
            c["process"]["selinuxLabel"] = json!("system_u:system_r:no_such_t:s0")
        }),
        ("personality", |c| {
            c["linux"]["personality"] = json!({ "domain": "PDP11" })
        }),
        ("scheduler", |c| {
            c["process"]["scheduler"] = json!({ "policy": "SCHED_NONE_SUCH" })
        }),
    ];
    for (field, edit) in fields {
        let c = test.container_with(&["true"], edit);
        let out = c.create().exits(1);
        assert!(
            out.stderr.to_lowercase().contains(&field.to_lowercase()),
            "{field} should be named: {out}"
        );
        test.nothing_left();
    }
}

#[test]
fn a_root_directory_of_another_owner() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    fs::create_dir(test.root()).expect("mkdir");
    shell(&format!("chown 1234 {0}; chmod 700 {0}", test.root().display()));
    // runc differs: it takes any directory.
    c.create().exits(1);
    assert_eq!(fs::read_dir(test.root()).expect("root").count(), 0);
    // One that others may write to is no better; and its mode is not changed.
    shell(&format!("chown 0 {0}; chmod 1777 {0}", test.root().display()));
    c.create().exits(1);
    let mode = fs::metadata(test.root()).expect("root").permissions().mode();
    assert_eq!(mode & 0o7777, 0o1777);
}

#[test]
fn a_root_directory_that_is_a_link() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    let real = test.dir().join("real");
    fs::create_dir(&real).expect("mkdir");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).expect("chmod");
    symlink(&real, test.root()).expect("link");
    // runc differs: it follows the link.
    c.create().exits(1);
    assert_eq!(fs::read_dir(&real).expect("dir").count(), 0);
    fs::remove_file(test.root()).expect("removing");
    fs::write(test.root(), "").expect("file");
    c.create().exits(1);
    fs::remove_file(test.root()).expect("removing");
}

#[test]
fn the_root_directory_is_made_for_its_owner_alone() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    c.with_bundle("create", &[])
        .wrapped(["sh", "-c", "umask 0; exec \"$@\"", "sh"])
        .run()
        .ok();
    for dir in [test.root(), c.state_dir()] {
        let mode = fs::metadata(&dir).expect("dir").permissions().mode();
        assert_eq!(mode & 0o022, 0, "{} has mode {mode:o}", dir.display());
    }
    assert_eq!(
        fs::metadata(test.root()).expect("root").permissions().mode() & 0o777,
        0o700
    );
    c.delete().ok();
}

/// The lines of a log file.
fn log_of(test: &Test, flags: &[&str], verb: &[&str]) -> (Out, String) {
    let log = test.dir().join("the-log");
    let _ = fs::remove_file(&log);
    let out = test.runtime().arg("--log").arg(&log).args(flags).args(verb).run();
    (out, fs::read_to_string(&log).unwrap_or_default())
}

#[test]
fn errors_go_to_the_log_and_to_stderr() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["nosuchprogram"]);
    let bundle = c.bundle.to_str().expect("path");
    let create = ["create", "--bundle", bundle, &c.id];
    let text = "exec: \"nosuchprogram\": executable file not found in $PATH";
    let (out, log) = log_of(&test, &["--log-format", "json"], &create);
    out.fails(text);
    // Podman reads the whole file as one object.
    let object: Value = serde_json::from_str(&log).unwrap_or_else(|e| panic!("{e}: {log}"));
    assert_eq!(object["level"], "error");
    assert!(object["msg"].as_str().is_some_and(|m| m.contains(text)), "{log}");
    let time = object["time"].as_str().expect("time");
    let date = std::process::Command::new("date")
        .args(["-d", time, "+%s"])
        .output()
        .expect("date");
    assert!(
        date.status.success() && time.contains('T') && time.len() >= 20,
        "no RFC 3339: {time}"
    );
    for flags in [&["--log-format", "text"][..], &[]] {
        let (out, log) = log_of(&test, flags, &create);
        out.fails(text);
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(
            log.contains("level=error") && log.contains("nosuchprogram") && log.contains("time="),
            "{log}"
        );
    }
    let (out, log) = log_of(&test, &["--log-format", "json"], &["state", "nobody"]);
    out.fails("does not exist");
    let object: Value = serde_json::from_str(&log).unwrap_or_else(|e| panic!("{e}: {log}"));
    assert!(
        object["msg"].as_str().is_some_and(|m| m.contains("does not exist")),
        "{log}"
    );
    let (out, _) = log_of(&test, &["--log-format", "xml"], &["list"]);
    out.exits(1);
    test.nothing_left();
}

#[test]
fn a_success_logs_nothing() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    let bundle = c.bundle.to_str().expect("path");
    for verb in [
        &["create", "--bundle", bundle, &c.id][..],
        &["start", &c.id],
        &["delete", "--force", &c.id],
    ] {
        let (out, log) = log_of(&test, &["--log-format", "json"], verb);
        out.ok().silent();
        assert_eq!(log, "", "{verb:?}");
    }
}

#[test]
fn the_log_is_added_to() {
    let Some(test) = Test::new() else { return };
    let log = test.dir().join("log.json");
    fs::write(&log, "{\"before\":1}\n").expect("file");
    for _ in 0..2 {
        let run = test
            .runtime()
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json", "state", "nobody"])
            .run();
        run.exits(1);
    }
    let text = fs::read_to_string(&log).expect("log");
    assert_eq!(text.lines().count(), 3, "{text}");
    for line in text.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
}

#[test]
fn a_systemd_that_is_not_there() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return;
    }
    let c = test.container(&["true"]);
    let bundle = c.bundle.to_str().expect("path");
    let annotation = "org.systemd.property.KillMode";
    c.edit(|config| config["annotations"] = json!({ annotation: "'none'" }));
    for verb in [&["create", "--bundle", bundle, &c.id][..], &["check", bundle]] {
        let run = test.runtime().env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/no/such/bus");
        let out = run.arg("--systemd-cgroup").args(verb).run().exits(1);
        let said = "systemd not running on this host, cannot use systemd cgroups manager: cannot reach the system bus at \
                    unix:path=/no/such/bus";
        let out = out.fails(said);
        assert!(
            !out.said().contains("no such file or directory"),
            "engines take that for 127: {out}"
        );
        assert_eq!(out.stderr.trim_end().lines().count(), 1, "one line: {out}");
        test.nothing_left();
    }
    // Without the flag nobody asks, and the annotation only says so with --debug.
    let run = test.runtime().env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/no/such/bus");
    let out = run.args(["--debug", "run", "--bundle", bundle, &c.id]).run().ok();
    assert!(
        out.stderr
            .contains(&format!("annotations.{annotation} is ignored without --systemd-cgroup")),
        "{out}"
    );
    test.nothing_left();
}
