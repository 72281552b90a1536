//! What cannot be: one clear line, runc's exit code, nothing left behind.

use crate::common::{Container, Kind, Out, Test, kind};

/// One complaint on one line that holds `text`, and nothing on standard output.
#[track_caller]
fn complains(out: Out, code: i32, text: &str) {
    let out = out.exits(code);
    if kind() != Kind::Nucleus {
        return;
    }
    assert!(out.said().contains(text), "should have said {text:?}: {out}");
    assert_eq!(out.stderr.lines().count(), 1, "one line: {out}");
    assert!(out.stderr.starts_with("error: ") && out.stdout.is_empty(), "{out}");
}

#[test]
fn about_flags_and_their_values() {
    let Some(test) = Test::new() else { return };
    let undefined = "flag provided but not defined: -nosuch";
    let rows: [(&[&str], i32, &str); 27] = [
        (&["--nosuch", "list"], 1, undefined),
        (&["-nosuch=x", "list"], 1, undefined),
        (&["--log"], 1, "flag needs an argument: -log"),
        (
            &["--debug=maybe", "list"],
            1,
            "invalid boolean value \"maybe\" for -debug",
        ),
        (&["--log-format", "xml", "list"], 1, "invalid log-format: \"xml\""),
        (&["---root", "x", "list"], 1, "bad flag syntax: ---root"),
        (&["list", "--nosuch"], 1, undefined),
        (&["list", "-fjson"], 1, "flag provided but not defined: -fjson"),
        (&["list", "--format", "yaml"], 1, "yaml"),
        (&["list", "--quiet=2"], 1, "invalid boolean value \"2\" for -quiet"),
        (&["create", "--nosuch", "x"], 1, undefined),
        (&["create", "--bundle"], 1, "flag needs an argument: -bundle"),
        (&["create", "--preserve-fds", "y", "x"], 1, "--preserve-fds"),
        (&["run", "--kill", "x"], 1, "flag provided but not defined: -kill"),
        (&["start", "--nosuch", "x"], 1, undefined),
        (&["state", "--nosuch", "x"], 1, undefined),
        (&["kill", "--nosuch", "x"], 1, undefined),
        (&["delete", "--nosuch", "x"], 1, undefined),
        (&["pause", "--nosuch", "x"], 1, undefined),
        (&["resume", "--nosuch", "x"], 1, undefined),
        (&["ps", "--format", "yaml", "x"], 1, "yaml"),
        (&["events", "--interval", "x", "y"], 1, "--interval"),
        (&["update", "--nosuch", "x"], 1, undefined),
        (&["spec", "--nosuch"], 1, undefined),
        (&["features", "--nosuch"], 1, undefined),
        // Its own failures are 255, but not a command line that it cannot read.
        (&["exec", "--nosuch", "x", "true"], 1, undefined),
        (
            &["exec", "--no-subreaper", "x", "true"],
            1,
            "flag provided but not defined: -no-subreaper",
        ),
    ];
    for (words, code, text) in rows {
        if kind() == Kind::Runc && (words.contains(&"yaml") || words.contains(&"--no-subreaper")) {
            // runc differs: it looks at the container first; before 1.2 exec took the flag.
            continue;
        }
        complains(test.runtime().args(words).run(), code, text);
    }
    test.nothing_left();
}

#[test]
fn about_names() {
    let Some(test) = Test::new() else { return };
    for verb in [
        "create", "run", "start", "state", "kill", "delete", "pause", "resume", "ps", "events", "update", "exec",
    ] {
        complains(test.runtime().arg(verb).run(), 1, "ID");
    }
    // (`delete` takes several.)
    for verb in ["create", "start", "state", "pause", "resume", "events", "update"] {
        complains(test.runtime().args([verb, "one", "two"]).run(), 1, "two");
    }
    for verb in ["spec", "features", "list"] {
        complains(test.runtime().args([verb, "one"]).run(), 1, "one");
    }
    for verb in [
        "start", "state", "kill", "delete", "pause", "resume", "ps", "events", "update",
    ] {
        complains(
            test.runtime().args([verb, "nobody"]).run(),
            1,
            "container does not exist",
        );
    }
    complains(
        test.runtime().args(["exec", "nobody", "true"]).run(),
        255,
        "container does not exist",
    );
    test.nothing_left();
}

#[test]
fn about_signals() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    for signal in [
        "NOPE",
        "SIG",
        "65",
        "4294967305",
        "99999999999999999999",
        "RTMIN+99",
        "KILL ",
        "",
        "9x",
    ] {
        if kind() == Kind::Runc && (signal.starts_with("42949") || signal == "65" || signal.is_empty()) {
            // runc differs: it cuts numbers off, asks the kernel about others, and takes nothing for TERM.
            continue;
        }
        complains(c.kill(signal), 1, "unknown signal");
    }
    complains(test.runtime().args(["kill", &c.id, "--", "-9"]).run(), 1, "-9");
    assert_eq!(c.status(), "running");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn about_users() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let user = |user: &str| {
        let flag = format!("--user={user}");
        test.runtime()
            .args(["exec", &flag, &c.id, "sh", "-c", "echo $(id -u):$(id -g)"])
            .run()
    };
    for (given, got) in [
        ("5", "5:0"),
        ("5:6", "5:6"),
        ("0:7", "0:7"),
        ("007:008", "7:8"),
        ("4294967294", "4294967294:0"),
    ] {
        if kind() != Kind::Runc || given.len() < 10 {
            // runc differs: it takes half of the ids that there are.
            user(given).ok().prints(got);
        }
    }
    // None of them may come to be root (CVE-2026-30892), or anybody else.
    let bad = [
        "root",
        "1:",
        ":1",
        ":",
        "-1",
        "1:-1",
        "+1",
        "1:+1",
        "1:2:3",
        "1:2:",
        "0x1",
        "1e3",
        "1.0",
        " 1",
        "1 ",
        "1,2",
        "1:root",
        "4294967295",
        "1:4294967295",
        "4294967296",
        "18446744073709551616",
        "99999999999999999999",
        "\u{661}",
    ];
    for given in bad {
        if kind() == Kind::Runc
            && (given.contains('+') || given.contains('-') || given.starts_with("42949") || given.ends_with("295"))
        {
            // runc differs: before 1.3 it takes any number that Go can read, and cuts it off.
            continue;
        }
        complains(user(given), 255, "--user");
    }
    for flag in ["--additional-gids=x", "-g=-1", "-g=1:2", "-g=4294967295"] {
        let out = test.runtime().args(["exec", flag, &c.id, "true"]).run();
        if kind() == Kind::Nucleus {
            complains(out, 1, "--additional-gids");
        }
    }
    c.kill_and_delete();
    test.nothing_left();
}

/// `create` and `run` with flags that cannot be.
#[track_caller]
fn refused(c: &Container<'_>, flags: &[&str], text: &str) {
    for verb in ["create", "run"] {
        complains(c.with_bundle(verb, flags).run(), 1, text);
        c.test().nothing_left();
    }
}

#[test]
fn about_files_and_sockets() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    let plain = c.bundle.join("config.json");
    let plain = plain.to_str().expect("path");
    let missing = c.bundle.join("nosuch/pid");
    refused(
        &c,
        &["--pid-file", missing.to_str().expect("path")],
        "no such file or directory",
    );
    refused(&c, &["--pid-file", c.bundle.to_str().expect("path")], "is a directory");
    if kind() == Kind::Nucleus {
        refused(&c, &["--pidfd-socket", plain], "--pidfd-socket");
        refused(&c, &["--pidfd-socket", "/nosuch"], "no such file or directory");
    }
    c.edit(|config| config["process"]["terminal"] = serde_json::json!(true));
    complains(
        c.with_bundle("create", &["--console-socket", plain]).run(),
        1,
        "connection refused",
    );
    complains(
        c.with_bundle("create", &["--console-socket", "/nosuch"]).run(),
        1,
        "no such file or directory",
    );
    let long = format!("/{}", "x".repeat(200));
    complains(
        c.with_bundle("create", &["--console-socket", &long]).run(),
        1,
        "--console-socket",
    );
    test.nothing_left();
}
