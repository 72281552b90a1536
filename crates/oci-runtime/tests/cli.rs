//! What the command line prints: `list`, `--version`, `spec`, `features`, help, and complaints about its arguments.

mod common;

use std::fs;

use common::{Kind, Test, kind};
use serde_json::{Value, json};

#[test]
fn list_as_a_table() {
    let Some(test) = Test::new() else { return };
    let header = |text: &str| {
        text.lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    // runc differs: from 1.2 on it wants the root directory to exist.
    let empty = test.runtime().arg("list").run().ok().silent();
    assert_eq!(
        header(&empty.stdout),
        "ID PID STATUS BUNDLE CREATED OWNER",
        "without any container: {empty}"
    );
    let a = test.named("aaa", &["sleep", "1000"], |_| ());
    let b = test.named("bbb", &["sleep", "1000"], |_| ());
    a.create().ok();
    b.run_detached().ok();
    let out = test.runtime().arg("list").run().ok().silent();
    assert_eq!(header(&out.stdout), "ID PID STATUS BUNDLE CREATED OWNER", "{out}");
    let rows: Vec<Vec<&str>> = out
        .stdout
        .lines()
        .skip(1)
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 2, "{out}");
    for (row, (c, status)) in rows.iter().zip([(&a, "created"), (&b, "running")]) {
        let state = c.state();
        assert_eq!(row[0], c.id);
        assert_eq!(row[1], c.pid().to_string());
        assert_eq!(row[2], status);
        assert_eq!(row[3], c.bundle.to_string_lossy());
        assert_eq!(row[4], state["created"].as_str().expect("created"));
        assert_eq!(row[5], "root");
    }
}

#[test]
fn list_as_json_and_quiet() {
    let Some(test) = Test::new() else { return };
    let list = |flags: &[&str]| test.runtime().arg("list").args(flags).run().ok().silent();
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let none = parse(&list(&["--format", "json"]).stdout);
    assert!(none.is_null() || none == json!([]), "{none}");
    assert_eq!(list(&["-q"]).stdout, "");
    let a = test.named("aaa", &["sleep", "1000"], |c| c["annotations"] = json!({ "k": "v" }));
    let b = test.named("bbb", &["true"], |_| ());
    a.create().ok();
    b.run_detached().ok();
    b.wait_status("stopped");
    let all = parse(&list(&["--format=json"]).stdout);
    let all = all.as_array().expect("an array");
    assert_eq!(all.len(), 2);
    for (entry, c) in all.iter().zip([&a, &b]) {
        let state = c.state();
        for field in [
            "id",
            "pid",
            "status",
            "bundle",
            "rootfs",
            "created",
            "ociVersion",
            "annotations",
        ] {
            assert_eq!(entry[field], state[field], "{field} of {}", c.id);
        }
        assert_eq!(entry["owner"], "root");
    }
    assert_eq!(list(&["-q"]).stdout, "aaa\nbbb\n");
    assert_eq!(list(&["--quiet", "-f", "json"]).stdout, "aaa\nbbb\n");
    let bad = test.runtime().args(["list", "--format", "yaml"]).run().exits(1);
    assert!(!bad.stderr.is_empty());
}

#[test]
fn a_corrupt_state_is_shown_and_can_be_deleted() {
    let Some(test) = Test::new() else { return };
    let good = test.named("good", &["sleep", "1000"], |_| ());
    good.create().ok();
    for (id, content) in [
        ("empty", None),
        ("garbage", Some("{ not json")),
        ("wrong", Some("[1, 2]")),
    ] {
        let dir = test.root().join(id);
        fs::create_dir(&dir).expect("mkdir");
        if let Some(text) = content {
            fs::write(dir.join("state.json"), text).expect("state.json");
        }
        let out = test.runtime().arg("list").run().ok();
        assert!(out.stdout.contains("good"), "the others are still listed: {out}");
        if content.is_some() {
            assert!(
                format!("{}{}", out.stdout, out.stderr).contains(id),
                "it should be named: {out}"
            );
        }
        test.runtime().args(["state", id]).run().exits(1);
        test.runtime().args(["kill", id, "9"]).run().exits(1);
        // runc differs: it cannot delete a container whose state.json it cannot read.
        test.runtime().args(["delete", "--force", id]).run().ok();
        assert!(!dir.exists(), "{id} is still there");
    }
    good.delete().ok();
    test.nothing_left();
}

#[test]
fn a_state_file_that_is_no_file_does_not_hang() {
    let Some(test) = Test::new() else { return };
    let dir = test.root().join("fifo");
    fs::create_dir_all(&dir).expect("mkdir");
    common::shell(&format!(
        "chmod 700 {}; mkfifo {}",
        test.root().display(),
        dir.join("state.json").display()
    ));
    // runc differs: it opens the FIFO and waits for a writer.
    test.runtime().arg("list").run().ok();
    test.runtime().args(["state", "fifo"]).run().exits(1);
    test.runtime().args(["delete", "--force", "fifo"]).run().ok();
    assert!(!dir.exists());
}

#[test]
fn version_as_dockerd_parses_it() {
    let Some(test) = Test::new() else { return };
    for flag in ["--version", "-v"] {
        let out = test.bare_runtime().arg(flag).run().ok().silent();
        let lines: Vec<&str> = out.stdout.lines().collect();
        assert!(lines[0].contains(" version "), "{out}");
        assert!(
            lines.iter().any(|l| l.starts_with("commit: ")) || kind() == Kind::Crun,
            "{out}"
        );
        assert!(lines.iter().any(|l| l.starts_with("spec: 1.")), "{out}");
    }
}

#[test]
fn help_succeeds() {
    let Some(test) = Test::new() else { return };
    for args in [
        &["--help"][..],
        &["-h"],
        &["create", "--help"],
        &["run", "-h"],
        &["kill", "--help"],
    ] {
        let out = test.bare_runtime().args(args).run().ok();
        assert!(out.stdout.to_lowercase().contains("usage"), "{out}");
    }
}

#[test]
fn wrong_arguments_are_an_error() {
    let Some(test) = Test::new() else { return };
    let wrong: [&[&str]; 12] = [
        &["nosuchverb"],
        &["--nosuchflag", "list"],
        &["list", "--nosuchflag"],
        &["create", "--nosuchflag", "x"],
        &["create"],
        &["start"],
        &["state"],
        &["kill"],
        &["delete"],
        &["state", "one", "two"],
        &["delete", "one", "two"],
        &["kill", "one", "KILL", "three"],
    ];
    for args in wrong {
        let out = test.runtime().args(args).run();
        assert_ne!(out.code(), 0, "{out}");
        assert!(
            !out.stdout.is_empty() || !out.stderr.is_empty(),
            "should have said something: {out}"
        );
    }
    test.nothing_left();
}

#[test]
fn spec_writes_a_config_that_runs() {
    let Some(test) = Test::new() else { return };
    let c = test.script("");
    let file = c.bundle.join("config.json");
    fs::remove_file(&file).expect("removing");
    test.bare_runtime().arg("spec").dir(&c.bundle).run().ok().silent();
    let config = c.config();
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    assert_eq!(config["root"], json!({ "path": "rootfs", "readonly": true }));
    // It never writes over a file.
    let again = test
        .bare_runtime()
        .args(["spec", "--bundle", c.bundle.to_str().expect("path")])
        .run()
        .exits(1);
    assert!(again.stderr.contains("exists"), "{again}");
    c.edit(|config| {
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["echo", "from spec"]);
        config["linux"]["cgroupsPath"] = json!(format!("/{}/spec", test.mark()));
    });
    c.run().ok().prints("from spec");
    test.nothing_left();
}

#[test]
fn spec_rootless_maps_the_caller() {
    let Some(test) = Test::new() else { return };
    let dir = test.dir().join("rootless");
    fs::create_dir(&dir).expect("mkdir");
    let flag = format!("--bundle={}", dir.display());
    test.bare_runtime().args(["spec", "--rootless", &flag]).run().ok();
    let config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).expect("read")).expect("json");
    let namespaces = config["linux"]["namespaces"].as_array().expect("namespaces");
    assert!(namespaces.iter().any(|n| n["type"] == "user"), "{config}");
    assert!(!namespaces.iter().any(|n| n["type"] == "network"), "{config}");
    for map in ["uidMappings", "gidMappings"] {
        assert_eq!(
            config["linux"][map],
            json!([{ "containerID": 0, "hostID": 0, "size": 1 }])
        );
    }
}

#[test]
fn features_in_the_form_of_the_spec() {
    let Some(test) = Test::new() else { return };
    let out = test.bare_runtime().arg("features").run().ok().silent();
    let features: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out}"));
    assert!(
        features["ociVersionMin"].as_str().is_some_and(|v| v.starts_with("1.")),
        "{features}"
    );
    assert!(
        features["ociVersionMax"].as_str().is_some_and(|v| v.starts_with("1.")),
        "{features}"
    );
    let has = |list: &Value, word: &str| list.as_array().is_some_and(|l| l.contains(&json!(word)));
    for hook in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        assert!(has(&features["hooks"], hook), "{hook}");
    }
    for option in [
        "bind",
        "rbind",
        "ro",
        "nosuid",
        "noexec",
        "nodev",
        "rprivate",
        "tmpcopyup",
        "rslave",
        "shared",
    ] {
        assert!(has(&features["mountOptions"], option), "{option}");
    }
    let linux = &features["linux"];
    for namespace in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(has(&linux["namespaces"], namespace), "{namespace}");
    }
    assert!(has(&linux["capabilities"], "CAP_SYS_ADMIN"));
    assert_eq!(linux["cgroup"]["v1"], true);
    assert_eq!(linux["cgroup"]["v2"], true);
    assert_eq!(linux["seccomp"]["enabled"], true);
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        assert!(has(&linux["seccomp"]["actions"], action), "{action}");
    }
    if kind() == Kind::Nucleus {
        // The shape of runtime-spec 1.3; runc 1.1 has that of 1.0.
        assert!(features["ociVersionMax"].as_str() >= Some("1.3"), "{features}");
        assert!(has(&linux["namespaces"], "time"));
        assert!(features["potentiallyUnsafeConfigAnnotations"].is_array(), "{features}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error_and_no_panic() {
    let Some(test) = Test::new() else { return };
    for verb in ["list", "features", "--version", "--help"] {
        let out = test.runtime().arg(verb).redirected(">/dev/full").run();
        let out = out.fails("cannot write to standard output");
        assert_eq!(out.stderr.trim_end().lines().count(), 1, "one line: {out}");
    }
}
