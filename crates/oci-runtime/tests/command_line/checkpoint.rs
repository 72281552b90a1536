//! `checkpoint` and `restore` before they are there: all flags are read, one clear error, nothing is touched.

use std::fs;

use serde_json::Value;

use crate::common::{Kind, Test, kind, skip};

const CHECKPOINT: [&str; 21] = [
    "--image-path=/nosuch/image",
    "--work-path",
    "/nosuch/work",
    "--parent-path=../before",
    "--leave-running",
    "--tcp-established",
    "--tcp-skip-in-flight",
    "--ext-unix-sk",
    "--shell-job",
    "--lazy-pages",
    "--status-fd",
    "5",
    "--page-server=127.0.0.1:99",
    "--file-locks",
    "--pre-dump",
    "--manage-cgroups-mode=ignore",
    "--empty-ns",
    "network",
    "--empty-ns=network",
    "--auto-dedup",
    "-link-remap",
];

const RESTORE: [&str; 24] = [
    "--image-path=/nosuch/image",
    "--work-path=/nosuch/work",
    "--console-socket=/nosuch/socket",
    "-d",
    "--detach",
    "--pid-file",
    "/nosuch/pid",
    "-no-subreaper",
    "--no-pivot",
    "--tcp-established",
    "--ext-unix-sk",
    "--shell-job",
    "--file-locks",
    "--manage-cgroups-mode",
    "soft",
    "--empty-ns=network",
    "--auto-dedup",
    "--lazy-pages",
    "--lsm-profile=apparmor:x",
    "--lsm-mount-context",
    "x",
    "--link-remap",
    "-b",
    "/nosuch/bundle",
];

#[test]
fn all_flags_are_read_and_nothing_is_touched() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return skip("others can make checkpoints");
    }
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let before = c.state();
    for (verb, flags, text) in [
        (
            "checkpoint",
            &CHECKPOINT[..],
            "checkpoint is not supported yet: the container was left as it is",
        ),
        ("restore", &RESTORE, "restore is not supported yet: nothing was created"),
    ] {
        let out = c.verb(verb, flags).run().fails(text);
        assert_eq!(out.stderr.lines().count(), 1, "{out}");
        let log = test.dir().join(format!("{verb}.json"));
        let command = test
            .runtime()
            .arg("--log")
            .arg(&log)
            .args(["--log-format", "json", verb, &c.id]);
        command.run().exits(1);
        let line: Value = serde_json::from_slice(&fs::read(&log).expect("log")).expect("one object");
        assert_eq!(line["msg"], text);
    }
    assert_eq!(c.state(), before);
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn mistakes_are_told_as_such() {
    let Some(test) = Test::new() else { return };
    // Podman looks for this text, too.
    test.runtime()
        .args(["restore", "--lsm-mount-context"])
        .run()
        .fails("flag needs an argument");
    for verb in ["checkpoint", "restore"] {
        test.runtime()
            .args([verb, "--nosuch", "x"])
            .run()
            .fails("flag provided but not defined: -nosuch");
        test.runtime()
            .args([verb, "--shell-job=maybe", "x"])
            .run()
            .fails("invalid boolean value");
        test.runtime().arg(verb).run().exits(1);
        test.runtime().args([verb, "one", "two"]).run().exits(1);
    }
    test.nothing_left();
}
