//! What the process may: capabilities, privileges to gain, system calls.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Container, Test};
use crate::{exec, running, script, section, write_section};

/// The capability sets and the flags of a process, as /proc names them.
const RIGHTS: [&str; 7] = [
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
];

/// The values of [`RIGHTS`] in a process.
fn status(c: &Container<'_>, flags: &[&str]) -> Vec<(String, String)> {
    let out = exec(c, flags, &["cat", "/proc/self/status"]).run().ok();
    parse(&out.stdout)
}

fn parse(status: &str) -> Vec<(String, String)> {
    let fields = status.lines().filter_map(|line| line.split_once(":\t"));
    fields
        .filter(|(name, _)| RIGHTS.contains(name))
        .map(|(name, value)| (name.to_owned(), value.trim_start_matches('0').to_owned()))
        .collect()
}

fn expect(inheritable: &str, permitted: &str, bounding: &str, ambient: &str, rest: [&str; 2]) -> Vec<(String, String)> {
    let values = [inheritable, permitted, permitted, bounding, ambient, rest[0], rest[1]];
    RIGHTS
        .iter()
        .zip(values)
        .map(|(name, value)| ((*name).to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn capabilities() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    // audit_write, kill, net_bind_service; the config's ambient ones are void without inheritable ones.
    assert_eq!(status(&c, &[]), expect("", "20000420", "20000420", "", ["1", ""]));
    let more = status(&c, &["--cap", "CAP_CHOWN", "-c", "CAP_SYS_ADMIN"]);
    assert_eq!(more, expect("", "20200421", "20200421", "", ["1", ""]));
    assert_eq!(
        status(&c, &["--user", "1000", "--cap", "CAP_CHOWN"])[0].1,
        "",
        "never inheritable"
    );
    let out = exec(&c, &["--cap", "CAP_NOSUCH"], &["true"]).run().ok();
    assert!(
        out.stderr
            .contains("ignoring unknown or unavailable capabilities: [CAP_NOSUCH]"),
        "{out}"
    );
}

#[test]
fn create_warns_of_capabilities_that_cannot_be_had_and_exec_does_not_repeat_it() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["sleep", "1000"], |config| {
        config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_TELEPORT"]);
        config["process"]["capabilities"]["permitted"] = json!(["CAP_KILL"]);
        config["process"]["capabilities"]["effective"] = json!(["CAP_KILL"]);
        config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]);
    });
    let out = c.run_detached().ok();
    for warning in [
        "ignoring unknown or unavailable capabilities: [CAP_TELEPORT]",
        "process.capabilities.ambient: ignoring what is not permitted and inheritable: [CAP_KILL]",
    ] {
        assert_eq!(out.stderr.matches(warning).count(), 1, "{out}");
    }
    let mut own = section("true");
    own["capabilities"] = c.config()["process"]["capabilities"].clone();
    let file = write_section(&c, &own);
    for out in [exec(&c, &[], &["true"]), c.verb("exec", &["--process", &file])].map(|exec| exec.run().ok()) {
        assert_eq!(out.stderr, "", "{out}");
    }
}

#[test]
fn ambient_capabilities_are_the_sections_own() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| {
        config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
        config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]);
    });
    let flags = ["--user", "1000", "--cap", "CAP_CHOWN"];
    assert_eq!(status(&c, &flags), expect("20", "20", "20000421", "20", ["1", ""]));
}

#[test]
fn a_section_without_capabilities_has_none() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let file = write_section(&c, &section("cat /proc/self/status"));
    let out = c.verb("exec", &["--process", &file]).run().ok();
    assert_eq!(parse(&out.stdout), expect("", "", "", "", ["", ""]));
    // The container's own word is not the section's.
    let out = c.verb("exec", &["--process", &file, "--no-new-privs"]).run().ok();
    assert_eq!(parse(&out.stdout), expect("", "", "", "", ["1", ""]));
}

#[test]
fn no_new_privileges() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| config["process"]["noNewPrivileges"] = json!(false));
    script(&c, &[], "grep NoNewPrivs /proc/self/status | xargs").prints("NoNewPrivs: 0");
    script(&c, &["--no-new-privs"], "grep NoNewPrivs /proc/self/status | xargs").prints("NoNewPrivs: 1");
}

/// A filter that refuses mkdir.
fn filter(config: &mut Value) {
    config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }],
    });
}

#[test]
fn the_filter_is_the_containers() {
    let Some(test) = Test::new() else { return };
    let text = "mkdir /tmp/x; grep Seccomp: /proc/self/status | xargs";
    for no_new_privileges in [true, false] {
        let c = running(&test, |config| {
            filter(config);
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        });
        let mut process = section(text);
        process["noNewPrivileges"] = json!(no_new_privileges);
        let file = write_section(&c, &process);
        let filtered = |out: crate::common::Out| {
            assert!(out.stderr.contains("No space left on device"), "errno 28: {out}");
            out.prints("Seccomp: 2");
        };
        filtered(script(&c, &[], text));
        filtered(script(&c, &["--user", "1000:1000", "--cap", "CAP_SYS_ADMIN"], text));
        filtered(c.verb("exec", &["--process", &file]).run());
        // Neither a changed config nor one that is gone takes it away.
        c.edit(|config| drop(config["linux"].as_object_mut().expect("linux").remove("seccomp")));
        let out = script(&c, &[], text);
        assert!(out.stderr.contains("No space left on device"), "{out}");
        fs::remove_file(c.bundle.join("config.json")).expect("remove");
        filtered(c.verb("exec", &["--process", &file]).run());
    }
}

#[test]
fn a_filter_that_is_lost_lets_nobody_in() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, filter);
    let program = c.state_dir().join("seccomp.bpf");
    let bytes = fs::read(&program).expect("the compiled filter");
    fs::remove_file(&program).expect("remove");
    let out = script(&c, &[], "echo ran").exits(255);
    assert!(out.said().contains("seccomp.bpf") && out.stdout.is_empty(), "{out}");
    for damaged in [&bytes[..0], &bytes[..bytes.len() - 1], &bytes[..bytes.len() - 8]] {
        fs::write(&program, damaged).expect("write");
        let out = script(&c, &[], "echo ran").exits(255);
        assert!(out.said().contains("linux.seccomp") && out.stdout.is_empty(), "{out}");
    }
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn the_score_is_the_sections_or_the_containers() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| config["process"]["oomScoreAdj"] = json!(321));
    script(&c, &[], "cat /proc/self/oom_score_adj").prints("321");
    let mut process = section("cat /proc/self/oom_score_adj");
    let file = write_section(&c, &process);
    c.verb("exec", &["--process", &file]).run().ok().prints("321");
    process["oomScoreAdj"] = json!(456);
    let file = write_section(&c, &process);
    c.verb("exec", &["--process", &file]).run().ok().prints("456");
}
