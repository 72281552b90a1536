//! From `create` to `delete`: the verbs, the states between them, and what they say when the state is the wrong one.

mod common;

use std::fs;
use std::time::Duration;

use common::{Container, Test, alive, eventually, wait_for};
use serde_json::json;

/// A container that sleeps for a time longer than any test.
fn sleeper(test: &Test) -> Container<'_> {
    test.container(&["sleep", "1000"])
}

/// A shell that prints `ready`, then the name of each signal that it gets, until one of them is TERM.
const TRAPS: &str = "trap 'echo got-usr1' USR1; trap 'echo got-40' 40; trap 'echo got-term; exit 0' TERM; \
                     echo ready; while :; do sleep 0.02; done";

/// Waits until a created or detached container has printed `text`.
#[track_caller]
fn wait_output(out: &common::Out, text: &str) {
    wait_for(&format!("\"{text}\" in the container's output"), || {
        out.stdout_now().contains(text).then_some(())
    });
}

/// A moment as RFC 3339 writes it: `2026-01-31T12:34:56.789Z`.
fn is_rfc3339(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = |i: usize, c: u8| {
        bytes
            .get(i)
            .is_some_and(|b| if c == b'0' { b.is_ascii_digit() } else { *b == c })
    };
    let start = b"0000-00-00T00:00:00".iter().enumerate().all(|(i, c)| shape(i, *c));
    start && (text.ends_with('Z') || text[19..].contains(['+', '-']))
}

#[test]
fn create_start_kill_delete() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["sh", "-c", TRAPS], |config| {
        config["annotations"] = json!({ "org.example.key": "a value" });
    });

    let create = c.create().ok().silent();
    assert_eq!(
        create.stdout, "",
        "create prints nothing, and the program has not run yet"
    );
    let state = c.state();
    assert_eq!(state["id"], json!(c.id));
    assert_eq!(state["status"], "created");
    assert!(
        state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")),
        "{state}"
    );
    assert_eq!(state["bundle"], json!(c.bundle));
    assert_eq!(state["rootfs"], json!(c.rootfs()));
    assert_eq!(state["annotations"], json!({ "org.example.key": "a value" }));
    // runc differs: it leaves the owner out here and names it in `list` alone.
    assert_eq!(state["owner"], "root");
    assert!(state["created"].as_str().is_some_and(is_rfc3339), "{state}");
    let pid = c.pid();
    assert!(pid > 1 && alive(pid), "{state}");

    c.start().ok().silent().prints("");
    wait_output(&create, "ready");
    let running = c.state();
    assert_eq!(running["status"], "running");
    assert_eq!(running["pid"], json!(pid), "the process keeps its id");
    assert_eq!(running["created"], state["created"]);

    c.kill("TERM").ok().silent().prints("");
    c.wait_status("stopped");
    assert_eq!(c.state()["pid"], 0);
    assert!(create.stdout_now().contains("got-term"));
    c.delete().ok().silent().prints("");
    c.verb("state", &[]).run().fails("does not exist");
    test.nothing_left();
}

#[test]
fn kill_takes_numbers_and_names() {
    let Some(test) = Test::new() else { return };
    let c = test.script(TRAPS);
    let out = c.run_detached().ok();
    wait_output(&out, "ready");
    for (n, signal) in ["USR1", "SIGUSR1", "10", "usr1"].into_iter().enumerate() {
        c.kill(signal).ok();
        wait_for(signal, || {
            (out.stdout_now().matches("got-usr1").count() == n + 1).then_some(())
        });
    }
    c.kill("40").ok();
    wait_output(&out, "got-40");
    // Without a signal it is TERM.
    c.verb("kill", &[]).run().ok();
    c.wait_status("stopped");
    assert!(out.stdout_now().contains("got-term"));
    c.delete().ok();
}

#[test]
fn kill_signal_nine_in_every_form() {
    let Some(test) = Test::new() else { return };
    for signal in ["9", "KILL", "SIGKILL"] {
        let c = sleeper(&test);
        c.run_detached().ok();
        let pid = c.pid();
        c.kill(signal).ok();
        wait_for("the end of the process", || (!alive(pid)).then_some(()));
        c.wait_status("stopped");
        c.delete().ok();
    }
}

#[test]
fn kill_of_unknown_signals() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    c.run_detached().ok();
    // runc differs: it keeps the lower 32 bits of 4294967305, which are 9.
    for signal in ["NOSUCH", "SIG", "-1", "9999", "9x", "4294967305"] {
        let out = c.kill(signal).exits(1);
        assert!(!out.stderr.is_empty(), "should have said something: {out}");
        assert_eq!(c.status(), "running", "after signal {signal:?}");
    }
    c.kill_and_delete();
}

#[test]
fn kill_of_a_stopped_container() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    c.run_detached().ok();
    c.wait_status("stopped");
    c.kill("TERM").fails("container not running");
    c.kill("KILL").fails("container not running");
    test.runtime().args(["kill", "--all", &c.id, "9"]).run().ok();
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

#[test]
fn kill_all_reaches_every_process() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("sleep 1000 & sleep 1000 & echo ready; exec sleep 1000", |config| {
        // Without a PID namespace nothing but the runtime ends the other processes.
        config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "uts" }]);
        config["mounts"] = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
    });
    let out = c.run_detached().ok();
    wait_output(&out, "ready");
    let dir = c.cgroup("pids").or_else(|| c.cgroup("cgroup")).expect("a cgroup");
    let count = || {
        fs::read_to_string(dir.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    wait_for("three processes", || (count() == 3).then_some(()));
    test.runtime().args(["kill", "--all", &c.id, "KILL"]).run().ok();
    wait_for("the end of all processes", || (count() == 0).then_some(()));
    c.wait_status("stopped");
    c.delete().ok();
}

#[test]
fn kill_of_a_created_container() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    c.create().ok();
    c.kill("KILL").ok();
    c.wait_status("stopped");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn a_signal_does_not_change_the_state_of_a_created_container() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    c.create().ok();
    c.kill("CONT").ok();
    assert_eq!(c.status(), "created");
    c.start().ok();
    assert_eq!(c.status(), "running");
    c.kill_and_delete();
}

#[test]
fn start_when_it_cannot() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    c.start().fails("does not exist");
    c.create().ok();
    c.start().ok();
    let out = c.start().exits(1);
    assert!(!out.stderr.is_empty(), "should have said something: {out}");
    assert_eq!(c.status(), "running", "a second start changes nothing");
    c.kill("KILL").ok();
    c.wait_status("stopped");
    c.start().fails("cannot start a container that has stopped");
    c.delete().ok();
}

#[test]
fn start_after_init_was_killed_fails_at_once() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    c.create().ok();
    let pid = nix::unistd::Pid::from_raw(c.pid());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("kill");
    // No wait in between: `start` may come before or after the death.
    let out = c.start();
    if out.success() {
        panic!("started a dead container: {out}");
    }
    assert!(out.took < Duration::from_secs(5), "took too long: {out}");
    assert!(!out.stderr.is_empty(), "should have said something: {out}");
    c.wait_status("stopped");
    c.start().fails("cannot start a container that has stopped");
    c.delete().ok();
}

#[test]
fn ids_are_taken_once() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    c.create().ok();
    let pid = c.pid();
    c.create().fails("container with given ID already exists");
    c.run().fails("container with given ID already exists");
    assert_eq!(c.status(), "created", "the first one is untouched");
    assert!(alive(pid));
    c.delete().ok();
    // And after the deletion it is free again.
    c.create().ok();
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn creates_of_one_id_at_the_same_time() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    let both: Vec<_> = (0..4).map(|_| c.with_bundle("create", &[]).spawn()).collect();
    let outs: Vec<_> = both.into_iter().map(common::Running::wait).collect();
    let winners = outs.iter().filter(|o| o.success()).count();
    let said: String = outs.iter().map(|o| format!("{o}\n")).collect();
    assert_eq!(winners, 1, "{said}");
    assert_eq!(c.status(), "created");
    c.start().ok();
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn starts_at_the_same_time() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    c.create().ok();
    let all: Vec<_> = (0..3).map(|_| c.verb("start", &[]).spawn()).collect();
    let outs: Vec<_> = all.into_iter().map(common::Running::wait).collect();
    let said: String = outs.iter().map(|o| format!("{o}\n")).collect();
    // runc differs: it has no lock, so that more than one may think that it has started the container.
    assert_eq!(outs.iter().filter(|o| o.success()).count(), 1, "{said}");
    assert_eq!(c.status(), "running");
    c.kill_and_delete();
}

#[test]
fn delete_of_a_running_container_needs_force() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    c.run_detached().ok();
    let pid = c.pid();
    c.delete().fails_with_any(&["not stopped", "is running"]);
    assert_eq!(c.status(), "running");
    assert!(alive(pid));
    c.force_delete().ok().silent();
    assert!(eventually(|| !alive(pid)));
    c.verb("state", &[]).run().fails("does not exist");
    test.nothing_left();
}

#[test]
fn delete_of_a_created_container_needs_none() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    c.create().ok();
    let pid = c.pid();
    c.delete().ok().silent();
    assert!(eventually(|| !alive(pid)));
    test.nothing_left();
}

#[test]
fn verbs_on_an_unknown_container() {
    let Some(test) = Test::new() else { return };
    let unknown = |args: &[&str]| test.runtime().args(args).run();
    for verb in ["state", "start", "kill", "delete"] {
        unknown(&[verb, "nobody"]).fails("does not exist");
    }
    unknown(&["delete", "--force", "nobody"]).ok();
    unknown(&["kill", "--all", "nobody", "9"]).fails("does not exist");
    // No verb may take a part of an id for the id, or an empty one for any.
    let c = test.named("abcdef", &["sleep", "1000"], |_| ());
    c.run_detached().ok();
    for id in ["abc", "abcde", "ABCDEF", ""] {
        let out = unknown(&["kill", id, "KILL"]).exits(1);
        assert!(!out.stderr.is_empty(), "should have said something: {out}");
        unknown(&["delete", "--force", id]);
        assert_eq!(c.status(), "running", "after the id {id:?}");
    }
    c.kill_and_delete();
}

#[test]
fn a_later_change_of_the_bundle_changes_nothing() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["echo", "as created"]);
    let out = c.create().ok();
    c.edit(|config| config["process"]["args"] = json!(["echo", "edited"]));
    c.start().ok();
    wait_output(&out, "as created");
    c.wait_status("stopped");
    fs::remove_file(c.bundle.join("config.json")).expect("removing config.json");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn verbs_need_no_environment() {
    let Some(test) = Test::new() else { return };
    // Podman calls kill and delete without PATH and HOME.
    let c = sleeper(&test);
    c.with_bundle("create", &[]).no_env().run().ok();
    c.verb("start", &[]).no_env().run().ok();
    c.verb("state", &[]).no_env().run().ok();
    test.runtime().no_env().args(["kill", &c.id, "9"]).run().ok();
    c.wait_status("stopped");
    c.verb("delete", &[]).no_env().run().ok();
    test.nothing_left();
}

#[test]
fn the_bundle_may_be_relative_or_the_working_directory() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test);
    let parent = c.bundle.parent().expect("parent");
    let name = c.bundle.file_name().expect("name");
    test.runtime()
        .arg("create")
        .arg("-b")
        .arg(name)
        .arg(&c.id)
        .dir(parent)
        .run()
        .ok();
    assert_eq!(c.state()["bundle"], json!(c.bundle), "the state has the absolute path");
    c.delete().ok();
    test.runtime().arg("create").arg(&c.id).dir(&c.bundle).run().ok();
    assert_eq!(c.state()["bundle"], json!(c.bundle));
    c.delete().ok();
}

#[test]
fn the_pid_file_holds_the_number_alone() {
    let Some(test) = Test::new() else { return };
    let file = test.dir().join("pid");
    let flag = format!("--pid-file={}", file.display());
    let c = sleeper(&test);
    c.with_bundle("create", &[&flag]).run().ok();
    assert_eq!(
        fs::read_to_string(&file).expect("pid file"),
        c.pid().to_string(),
        "no newline, no space"
    );
    c.delete().ok();
    c.with_bundle("run", &["--detach", "--pid-file", file.to_str().expect("path")])
        .run()
        .ok();
    assert_eq!(fs::read_to_string(&file).expect("pid file"), c.pid().to_string());
    c.force_delete().ok();
    // A failed create must not leave the pid of nothing.
    fs::remove_file(&file).expect("removing");
    c.edit(|config| config["process"]["args"] = json!(["/no/such/program"]));
    c.with_bundle("create", &[&flag]).run().exits(1);
    assert!(!file.exists(), "a pid file of a container that does not exist");
}

#[test]
fn the_runtime_may_be_replaced_while_containers_live() {
    let Some(test) = Test::new() else { return };
    let own = test.dir().join("runtime");
    let put = || {
        // As a package manager does: a new file takes the name.
        let new = own.with_extension("new");
        fs::copy(common::runtime(), &new).expect("copy");
        fs::rename(&new, &own).expect("rename");
    };
    put();
    test.use_runtime(&own);
    let foreground = test.script("while [ ! -e /proc/self/root/tmp/end ]; do sleep 0.05; done; exit 9");
    foreground.edit(|config| config["root"]["readonly"] = json!(false));
    let run = foreground.with_bundle("run", &[]).spawn();
    wait_for("a running container", || {
        (foreground.has_state() && foreground.verb("state", &[]).run().stdout.contains("\"running\"")).then_some(())
    });
    let created = sleeper(&test);
    created.create().ok();
    put();
    created.start().ok();
    created.verb("exec", &[]).arg("true").run().ok();
    fs::remove_file(&own).expect("rm");
    fs::write(foreground.rootfs().join("tmp/end"), "").expect("end");
    run.wait().exits(9);
    test.use_runtime(&common::runtime());
    created.verb("exec", &[]).arg("true").run().ok();
    created.kill_and_delete();
    test.nothing_left();
}

/// What a runtime needs, of what engines give to a privileged container.
const PRIVILEGED: &str = "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER KILL MKNOD NET_ADMIN NET_BIND_SERVICE SETGID SETPCAP SETUID \
                          SYS_ADMIN SYS_CHROOT SYS_PTRACE";

#[test]
fn a_privileged_container_can_run_the_runtime() {
    let Some(test) = Test::new() else { return };
    let own = common::runtime();
    if !common::shell(&format!("ldd {} 2>&1 || true", own.display())).contains("not a dynamic executable") {
        return common::skip("needs a runtime that is one file");
    }
    let c = test.script_with("cd /inner && /bin/runtime --root /state run inner", |config| {
        let all: Vec<_> = PRIVILEGED.split(' ').map(|name| format!("CAP_{name}")).collect();
        config["process"]["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
        config["process"]["noNewPrivileges"] = json!(false);
        config["root"]["readonly"] = json!(false);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["linux"]["resources"]["devices"] = json!([{ "allow": true, "access": "rwm" }]);
        config["linux"]["namespaces"]
            .as_array_mut()
            .expect("namespaces")
            .push(json!({ "type": "cgroup" }));
        for mount in config["mounts"].as_array_mut().expect("mounts") {
            if ["sysfs", "cgroup"].contains(&mount["type"].as_str().expect("type")) {
                mount["options"] = json!(["nosuid", "noexec", "nodev"]);
            }
        }
    });
    let inner = c.rootfs().join("inner");
    fs::create_dir_all(inner.join("rootfs")).expect("mkdir");
    let copied = format!(
        "cp -a {0}/bin {1}/rootfs/bin && cp {2} {0}/bin/runtime && mkdir -m 700 {0}/state && mkdir {1}/rootfs/dev {1}/rootfs/proc",
        c.rootfs().display(),
        inner.display(),
        own.display()
    );
    common::shell(&copied);
    let mut config = c.config();
    config["process"]["args"] = json!(["/bin/echo", "inner"]);
    config["linux"]["cgroupsPath"] = json!("/inner");
    config["mounts"] = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
    fs::write(inner.join("config.json"), config.to_string()).expect("config.json");
    c.run().ok().prints("inner");
    test.nothing_left();
}
