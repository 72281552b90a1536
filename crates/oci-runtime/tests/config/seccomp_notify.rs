//! `SCMP_ACT_NOTIFY`: an agent outside answers for system calls of the container.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::map_ids;
use crate::common::{Container, Running, Test, compile_c, shell, wait_for};

/// An agent that listens; its socket and the file that it writes.
pub(super) struct Agent {
    process: Running,
    pub(super) socket: PathBuf,
    pub(super) document: PathBuf,
}

impl Agent {
    /// None (after saying SKIP) where there is no compiler.
    pub(super) fn start(test: &Test, name: &str) -> Option<Self> {
        let program = test.dir().join("agent");
        if !program.exists() && !compile_c(include_str!("agent.c"), &program) {
            return None;
        }
        let (socket, document) = (
            test.dir().join(format!("{name}.sock")),
            test.dir().join(format!("{name}.json")),
        );
        let process = test.command(program.to_str()?).arg(&socket).arg(&document).spawn();
        wait_for("the agent", || socket.exists().then_some(()));
        Some(Self {
            process,
            socket,
            document,
        })
    }
}

/// A profile that asks the agent about these calls.
pub(super) fn profile(agent: &Agent, calls: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent.socket, "listenerMetadata": "some data",
        "syscalls": [{"names": calls, "action": "SCMP_ACT_NOTIFY"}]
    })
}

fn asking<'t>(
    test: &'t Test,
    script: &str,
    agent: &Agent,
    calls: &[&str],
    edit: impl FnOnce(&mut Value),
) -> Container<'t> {
    test.script_with(script, |config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["seccomp"] = profile(agent, calls);
        edit(config);
    })
}

pub(super) const MKDIR: [&str; 2] = ["mkdir", "mkdirat"];

#[test]
fn an_agent_answers() {
    let Some(test) = Test::new() else { return };
    let Some(agent) = Agent::start(&test, "a") else { return };
    let c = asking(&test, "mkdir /tmp/x; echo $?", &agent, &MKDIR, |config| {
        config["annotations"] = json!({"some": "annotation"});
    });
    let out = c.run().ok();
    assert_eq!(out.stdout, "1\n");
    assert!(out.stderr.contains("No space left on device"), "{out}");
    let state: Value = serde_json::from_slice(&fs::read(&agent.document).expect("document")).expect("JSON");
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["metadata"], "some data");
    assert_eq!(state["ociVersion"], c.config()["ociVersion"]);
    assert!(state["pid"].as_i64().is_some_and(|pid| pid > 1), "{state}");
    assert_eq!(
        state["state"],
        json!({
            "ociVersion": c.config()["ociVersion"], "id": "c1", "status": "creating", "pid": state["pid"],
            "bundle": c.bundle, "annotations": {"some": "annotation"}
        })
    );
    drop(agent);
    test.nothing_left();
}

#[test]
fn calls_that_the_runtime_itself_makes() {
    let Some(test) = Test::new() else { return };
    let calls = [
        "execve",
        "openat",
        "open",
        "read",
        "close",
        "capset",
        "setresuid",
        "sendmsg",
        "mkdir",
    ];
    for (n, no_new_privileges) in [false, true].into_iter().enumerate() {
        let Some(agent) = Agent::start(&test, &format!("a{n}")) else {
            return;
        };
        let c = asking(
            &test,
            "mkdir /tmp/x 2>/dev/null || cat /etc/hosts",
            &agent,
            &calls,
            |config| {
                config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            },
        );
        c.create().ok().silent();
        c.start().ok();
        c.wait_status("stopped");
        c.delete().ok();
        assert!(!agent.process.stdout().contains("error"));
    }
    test.nothing_left();
}

#[test]
fn a_further_process_asks_as_well() {
    let Some(test) = Test::new() else { return };
    let Some(agent) = Agent::start(&test, "a") else { return };
    let c = asking(&test, "exec sleep 1000", &agent, &MKDIR, |_| ());
    c.run_detached().ok();
    // An agent of our kind answers one process.
    fs::remove_file(&agent.socket).expect("remove");
    drop(agent);
    let Some(agent) = Agent::start(&test, "a") else { return };
    let out = c.verb("exec", &[]).args(["mkdir", "/tmp/x"]).run().exits(1);
    assert!(out.stderr.contains("No space left on device"), "{out}");
    let state: Value = serde_json::from_slice(&fs::read(&agent.document).expect("document")).expect("JSON");
    assert_eq!(state["state"]["status"], "running");
    assert_eq!(state["state"]["pid"], c.pid());
    assert_ne!(state["pid"], state["state"]["pid"]);
    drop(agent);
    let out = c.verb("exec", &[]).args(["echo", "ran"]).run().exits(255);
    assert!(
        out.said().contains("linux.seccomp.listenerPath") && out.stdout.is_empty(),
        "{out}"
    );
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn in_a_user_namespace() {
    let Some(test) = Test::new() else { return };
    let Some(agent) = Agent::start(&test, "a") else { return };
    let c = asking(&test, "mkdir /tmp/x 2>/dev/null || echo asked", &agent, &MKDIR, map_ids);
    shell(&format!("chown -Rh 100000:100000 {}", c.rootfs().display()));
    c.run().ok().prints("asked");
    drop(agent);
    test.nothing_left();
}

#[test]
fn without_an_agent_there_is_no_container() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("true", |config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/no/such/socket",
            "syscalls": [{"names": MKDIR, "action": "SCMP_ACT_NOTIFY"}]
        });
    });
    c.create()
        .fails("linux.seccomp.listenerPath: cannot send the listener to /no/such/socket: no such file or directory");
    // Nobody is asked, so nobody needs to be there.
    c.edit(|config| config["linux"]["seccomp"]["syscalls"][0]["action"] = json!("SCMP_ACT_ERRNO"));
    c.run().ok();
    test.nothing_left();
}

#[test]
fn an_agent_with_a_long_path() {
    let Some(test) = Test::new() else { return };
    let Some(mut agent) = Agent::start(&test, "a") else {
        return;
    };
    // A socket's address holds 108 bytes.
    let dir = test.dir().join("x".repeat(120));
    fs::create_dir(&dir).expect("mkdir");
    let long = dir.join("a.sock");
    fs::rename(&agent.socket, &long).expect("rename");
    agent.socket = long;
    let c = asking(&test, "mkdir /tmp/x", &agent, &MKDIR, |_| ());
    assert!(c.run().exits(1).stderr.contains("No space left on device"));
    drop(agent);
    test.nothing_left();
}
