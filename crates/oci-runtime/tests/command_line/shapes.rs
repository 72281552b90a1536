//! Flags as runc takes them: one dash or two, switches with a value, before and after the names.

use std::fs;

use crate::common::{Kind, Test, kind};

#[test]
fn global_flags_with_one_dash_or_two() {
    let Some(test) = Test::new() else { return };
    let root = test.root();
    let root = root.to_str().expect("path");
    let c = test.container(&["true"]);
    c.create().ok();
    for flags in [
        &["--root", root, "--log-format", "json"][..],
        &["-root", root, "-debug=false"],
        &[&format!("-root={root}"), "--debug=0"],
        &["--root", "/nosuch", "--root", root],
        &["--root", root, "--log="],
        &["--root", root, "--"],
    ] {
        let out = test.bare_runtime().args(flags).args(["list", "-q"]).run().ok();
        assert_eq!(out.stdout, format!("{}\n", c.id), "{out}");
    }
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn flags_of_a_verb_with_one_dash_or_two() {
    let Some(test) = Test::new() else { return };
    let c = test.script("exit 3");
    let bundle = c.bundle.to_str().expect("path");
    let file = c.bundle.join("pid");
    let pid_file = format!("-pid-file={}", file.display());
    for flags in [
        &["--bundle", bundle][..],
        &["-bundle", bundle],
        &["-b", bundle],
        &["--b", bundle],
        &["-b=x", &format!("--b={bundle}")],
        &["-b", bundle, "-no-pivot=false", "--detach=false", &pid_file],
        &["-b", bundle, "-no-subreaper", "-d", "-d=false", "--console-socket="],
    ] {
        test.runtime().arg("run").args(flags).arg(&c.id).run().exits(3);
    }
    assert!(!fs::read_to_string(&file).expect("pid file").is_empty());
    test.nothing_left();
}

#[test]
fn flags_after_the_name() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    test.runtime().args(["kill", &c.id, "KILL", "--all"]).run().ok();
    c.wait_status("stopped");
    test.runtime().args(["delete", &c.id, "-force"]).run().ok();
    test.runtime().args(["delete", "--force=true", &c.id]).run().ok();
    // What follows two dashes is no flag.
    let out = test.runtime().args(["delete", "--", "--force"]).run().exits(1);
    assert!(!out.stderr.contains("not defined"), "{out}");
    test.nothing_left();
}

#[test]
fn the_words_after_the_name_are_not_ours() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let echo = |words: &[&str]| {
        test.runtime()
            .args(["exec", &c.id, "echo"])
            .args(words)
            .run()
            .ok()
            .stdout
    };
    assert_eq!(echo(&["-l", "--tty=maybe", "-e"]), "-l --tty=maybe -e\n");
    assert_eq!(echo(&["--", "-h"]), "-- -h\n");
    let out = test.runtime().args(["exec", "--", &c.id, "echo", "--help"]).run().ok();
    assert_eq!(out.stdout, "--help\n");
    let out = test
        .runtime()
        .args(["exec", "-e", "A=1", "-e=B=2", "-e", "C=-d", &c.id, "env"])
        .run()
        .ok();
    for line in ["A=1", "B=2", "C=-d"] {
        assert!(out.stdout.lines().any(|l| l == line), "{line}: {out}");
    }
    let ps = test.runtime().args(["ps", &c.id, "-o", "pid,comm"]).run().ok();
    assert!(ps.stdout.contains("sleep") && ps.stdout.contains("COMMAND"), "{ps}");
    c.kill_and_delete();
}

#[test]
fn a_value_may_look_like_a_flag() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    test.runtime()
        .args(["update", "--memory-swap", "-1", "--pids-limit", "-1", &c.id])
        .run()
        .ok();
    if kind() == Kind::Nucleus {
        // "-q" is the format that was asked for, not a flag.
        let out = test.runtime().args(["list", "--format", "-q"]).run().exits(1);
        assert!(out.stderr.contains("-q"), "{out}");
    }
    c.kill_and_delete();
}
