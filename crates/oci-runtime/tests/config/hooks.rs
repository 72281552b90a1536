//! Hooks: when each kind runs and where, what it is told, and what becomes of the container when it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::inside::add_mount;
use crate::common::{Container, Test, alive, eventually, namespace_of, runtime, shell, wait_for};

/// The kinds, in the order in which they run.
pub(super) const KINDS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook that runs a shell script.
pub(super) fn hook(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] })
}

/// Gives a container a directory that hooks can write to: at this path on the host, at /log inside.
pub(super) fn log_dir(c: &Container<'_>) -> PathBuf {
    let dir = c.bundle.join("log");
    fs::create_dir_all(&dir).expect("mkdir");
    c.edit(|config| add_mount(config, "/log", "bind", "log", &["bind", "rw"]));
    dir
}

/// Where a hook of this kind sees that directory.
pub(super) fn seen_by(kind: &str, c: &Container<'_>) -> String {
    if kind == "startContainer" {
        "/log".to_owned()
    } else {
        c.bundle.join("log").display().to_string()
    }
}

/// A container with one hook of each kind, which writes its kind to `order` and its input to `KIND.json`.
fn with_all_kinds<'t>(test: &'t Test, script: &str) -> Container<'t> {
    let c = test.script(script);
    log_dir(&c);
    let hooks: serde_json::Map<String, Value> = KINDS
        .iter()
        .map(|kind| {
            let dir = seen_by(kind, &c);
            (
                (*kind).to_owned(),
                json!([hook(&format!("echo {kind} >>{dir}/order; cat >{dir}/{kind}.json"))]),
            )
        })
        .collect();
    c.edit(|config| {
        config["hooks"] = Value::Object(hooks);
        config["annotations"] = json!({ "org.example": "told to hooks" });
    });
    c
}

/// What the hooks (and the program) have written so far.
fn order(c: &Container<'_>) -> Vec<String> {
    let text = fs::read_to_string(c.bundle.join("log/order")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What a hook was told.
#[track_caller]
fn told(c: &Container<'_>, kind: &str) -> Value {
    let text = fs::read_to_string(c.bundle.join(format!("log/{kind}.json"))).expect("the hook's input");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{kind} was told no JSON ({e}): {text}"))
}

#[test]
fn all_kinds_run_in_their_order() {
    let Some(test) = Test::new() else { return };
    let c = with_all_kinds(&test, "echo program >>/log/order; exec sleep 1000");
    c.create().ok();
    // runc differs: it runs poststart hooks at the end of create.
    assert_eq!(order(&c), KINDS[..3], "after create");
    c.start().ok();
    wait_for("the program", || {
        order(&c).contains(&"program".to_owned()).then_some(())
    });
    let started = order(&c);
    assert_eq!(started[3], "startContainer", "{started:?}");
    assert!(
        started[4..].contains(&"poststart".to_owned()) && started.len() == 6,
        "{started:?}"
    );
    c.kill("KILL").ok();
    c.wait_status("stopped");
    assert_eq!(order(&c).len(), 6, "poststop belongs to delete");
    c.delete().ok();
    assert_eq!(order(&c)[6..], ["poststop"]);
}

#[test]
fn each_kind_is_told_the_state() {
    let Some(test) = Test::new() else { return };
    let c = with_all_kinds(&test, "exec sleep 1000");
    c.create().ok();
    let pid = c.pid();
    c.start().ok();
    let poststart_ran = eventually(|| order(&c).contains(&"poststart".to_owned()));
    c.kill("KILL").ok();
    c.wait_status("stopped");
    c.delete().ok();
    assert!(poststart_ran);
    for kind in KINDS {
        let state = told(&c, kind);
        assert_eq!(state["id"], json!(c.id), "{kind}");
        assert_eq!(state["bundle"], json!(c.bundle), "{kind}");
        assert_eq!(state["annotations"]["org.example"], "told to hooks", "{kind}");
        assert!(
            state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")),
            "{kind}: {state}"
        );
    }
    for kind in ["prestart", "createRuntime", "poststart"] {
        assert_eq!(told(&c, kind)["pid"], json!(pid), "{kind}");
    }
    let status = |kind| told(&c, kind)["status"].as_str().unwrap_or_default().to_owned();
    for kind in &KINDS[..3] {
        assert_eq!(status(kind), "creating", "{kind}");
    }
    assert_eq!(status("startContainer"), "created");
    assert_eq!(status("poststop"), "stopped");
    // runc differs: it tells poststart hooks "created".
    assert_eq!(status("poststart"), "running");
    assert_eq!(
        told(&c, "createContainer")["pid"],
        json!(1),
        "hooks in the container's namespaces get the pid as seen there (runtime.md, state)"
    );
}

#[test]
fn run_runs_all_kinds() {
    let Some(test) = Test::new() else { return };
    let c = with_all_kinds(&test, "echo program >>/log/order");
    c.run().ok().silent();
    let order = order(&c);
    assert_eq!(order[..3], KINDS[..3]);
    assert_eq!(order.last().map(String::as_str), Some("poststop"), "{order:?}");
    assert_eq!(order.len(), 7, "{order:?}");
    test.nothing_left();
}

#[test]
fn the_output_of_hooks_goes_where_annotations_say() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    let file = |name: &str| test.dir().join(name);
    let hooks: serde_json::Map<String, Value> = KINDS
        .iter()
        .map(|kind| {
            let script = format!("cat >/dev/null; echo {kind}; echo {kind} >&2");
            ((*kind).to_owned(), json!([hook(&script)]))
        })
        .collect();
    c.edit(|config| {
        config["hooks"] = Value::Object(hooks);
        config["annotations"] = json!({
            "run.oci.hooks.stdout": file("hooks.out"), "run.oci.hooks.stderr": file("hooks.err"),
        });
    });
    let out = c.create().ok();
    assert!(out.stderr.contains("ignored for hooks.startContainer"), "{out}");
    c.start().ok();
    c.wait_status("stopped");
    c.delete().ok();
    let outside: Vec<&str> = KINDS.into_iter().filter(|kind| *kind != "startContainer").collect();
    for name in ["hooks.out", "hooks.err"] {
        let text = fs::read_to_string(file(name)).expect(name);
        assert_eq!(text.lines().collect::<Vec<_>>(), outside, "{name}");
    }
    c.edit(|config| config["annotations"]["run.oci.hooks.stdout"] = json!("relative"));
    c.create()
        .fails("annotations.run.oci.hooks.stdout: \"relative\" must be an absolute path");
    test.nothing_left();
}

#[test]
fn hooks_of_one_kind_run_one_after_the_other() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    let dir = log_dir(&c);
    let hooks: Vec<Value> = (0..4)
        .map(|n| hook(&format!("sleep 0.0{}; echo {n} >>{}/order", 4 - n, dir.display())))
        .collect();
    c.edit(|config| config["hooks"] = json!({ "createRuntime": hooks }));
    c.run().ok();
    assert_eq!(order(&c), ["0", "1", "2", "3"]);
}

#[test]
fn prestart_finds_the_namespaces_and_runs_on_the_host() {
    let Some(test) = Test::new() else { return };
    for kind in ["prestart", "createRuntime"] {
        let c = test.script("true");
        let dir = log_dir(&c);
        // As Docker's: take the pid from the state, and work on its network namespace.
        let script = format!(
            "pid=$(tr ',{{}}' '\\n' | sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); cd {}; \
             readlink /proc/$pid/ns/net >net; readlink /proc/self/ns/mnt >own; readlink /proc/self/ns/net >own-net; \
             nsenter -t $pid -n ip link add bridge7 type bridge 2>failed || true",
            dir.display()
        );
        c.edit(|config| {
            let key = kind.to_owned();
            config["hooks"] = Value::Object([(key, json!([hook(&script)]))].into_iter().collect());
            config["process"]["args"] = json!(["ls", "/sys/class/net"]);
        });
        let out = c.run().ok();
        let read = |name: &str| fs::read_to_string(dir.join(name)).expect(name).trim().to_owned();
        assert_ne!(
            read("net"),
            namespace_of("self", "net"),
            "{kind} found the container's network"
        );
        assert_eq!(
            read("own"),
            namespace_of("self", "mnt"),
            "{kind} runs in the host's mount namespace"
        );
        assert_eq!(
            read("own-net"),
            namespace_of("self", "net"),
            "{kind} runs in the host's network"
        );
        if read("failed").is_empty() {
            assert!(out.stdout.contains("bridge7"), "what {kind} has made is there: {out}");
        } else {
            crate::common::skip("no bridges in this kernel");
        }
    }
}

#[test]
fn create_container_runs_in_the_containers_namespaces_before_the_pivot() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat /tmp/mounted/by-hook; readlink /proc/self/ns/mnt; readlink /proc/self/ns/uts");
    let dir = log_dir(&c);
    fs::create_dir(c.rootfs().join("tmp/mounted")).expect("mkdir");
    // The host's tree is still there, and what is mounted on the root filesystem now is the container's.
    let script = format!(
        "cat >/dev/null; mount -t tmpfs t {0}/tmp/mounted && echo by-hook >{0}/tmp/mounted/by-hook; \
         readlink /proc/self/ns/mnt >{1}/mnt; readlink /proc/self/ns/uts >>{1}/mnt",
        c.rootfs().display(),
        dir.display()
    );
    c.edit(|config| config["hooks"] = json!({ "createContainer": [hook(&script)] }));
    let out = c.run().ok();
    let own = fs::read_to_string(dir.join("mnt")).expect("mnt");
    assert_eq!(out.stdout, format!("by-hook\n{own}"), "{out}");
    test.nothing_left();
}

#[test]
fn start_container_runs_inside() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat /log/root; hostname");
    log_dir(&c);
    fs::write(c.rootfs().join("etc/only-inside"), "only inside\n").expect("file");
    let script =
        "cat /etc/only-inside >/log/root; hostname >>/log/root; readlink /proc/self/ns/mnt >/log/mnt; cat >/dev/null";
    c.edit(|config| config["hooks"] = json!({ "startContainer": [hook(script)] }));
    c.run().ok().prints("only inside\nnucleus\nnucleus");
    let mnt = fs::read_to_string(c.bundle.join("log/mnt")).expect("mnt");
    assert_ne!(mnt.trim(), namespace_of("self", "mnt"));
}

#[test]
fn a_hook_need_not_read_what_it_is_told() {
    let Some(test) = Test::new() else { return };
    let c = test.script("echo done");
    c.edit(|config| {
        let silent = json!([{ "path": "/bin/true" }]);
        config["hooks"] = KINDS.iter().map(|kind| ((*kind).to_owned(), silent.clone())).collect();
        // More than a pipe holds.
        config["annotations"] = json!({ "org.example.long": "x".repeat(200_000) });
    });
    // runc differs: a broken pipe is an error to it.
    c.run().ok().prints("done");
    test.nothing_left();
}

#[test]
fn a_hook_gets_its_environment_and_nothing_else() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    let dir = log_dir(&c);
    let script = format!(
        "cd {}; cat /proc/$$/environ >environ; ls -l /proc/$$/fd >fds; echo \"$0 $*\" >args",
        dir.display()
    );
    let run = |hook: Value| {
        c.edit(|config| config["hooks"] = json!({ "createRuntime": [hook] }));
        let file = dir.join("leak");
        fs::write(&file, "").expect("file");
        c.with_bundle("run", &[])
            .env("FROM_THE_CALLER", "1")
            .redirected(&format!("7<{}", file.display()))
            .run()
            .ok();
        fs::read_to_string(dir.join("environ")).expect("environ")
    };
    let args = ["name", "-c", script.as_str(), "zero", "one two"];
    let environ = run(json!({ "path": "/bin/bash", "args": args, "env": ["A=1", "B=two words", "PATH=/bin"] }));
    assert_eq!(environ, "A=1\0B=two words\0PATH=/bin\0");
    assert_eq!(fs::read_to_string(dir.join("args")).expect("args"), "zero one two\n");
    let fds = fs::read_to_string(dir.join("fds")).expect("fds");
    for line in fds.lines().filter(|l| l.contains(" -> ")) {
        let fd = line
            .split(" -> ")
            .next()
            .and_then(|l| l.rsplit(' ').next())
            .expect("a descriptor");
        assert!(
            ["0", "1", "2", "255"].contains(&fd),
            "a descriptor too many: {line}\n{fds}"
        );
    }
    let path = "PATH=/usr/bin:/bin; export PATH; ";
    let environ = run(json!({ "path": "/bin/bash", "args": ["bash", "-c", format!("{path}{script}")], "env": [] }));
    assert_eq!(environ, "");
}

#[test]
fn a_hook_that_takes_too_long_is_ended() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    let with = |script: &str, timeout: u32| {
        let mut hook = hook(script);
        hook["timeout"] = json!(timeout);
        c.edit(|config| config["hooks"] = json!({ "createRuntime": [hook] }));
    };
    with(&format!("export MARK={}; exec sleep 30", test.mark()), 1);
    let out = c.create().exits(1);
    assert!(out.took < Duration::from_secs(8), "{out}");
    assert!(
        out.stderr.contains("timeout") || out.stderr.contains("timed out"),
        "{out}"
    );
    test.nothing_left();
    // One that is quick enough is left in peace.
    with("sleep 0.1", 10);
    let out = c.run().ok();
    assert!(out.took < Duration::from_secs(5), "{out}");
    // One that has children is ended all the same.
    with("sleep 10; true", 1);
    // runc differs: it waits for the end of the children's output.
    let out = c.create().exits(1);
    assert!(out.took < Duration::from_secs(5), "{out}");
    test.nothing_left();
}

#[test]
fn a_failing_hook_fails_create_and_nothing_is_left() {
    let Some(test) = Test::new() else { return };
    for kind in &KINDS[..3] {
        let c = with_all_kinds(&test, "true");
        c.edit(|config| {
            let list = config["hooks"][*kind].as_array_mut().expect("hooks");
            list.push(hook("echo the reason >&2; exit 3"));
            list.push(hook("echo never; exit 0"));
        });
        let out = c.create().exits(1);
        assert!(out.stderr.contains("the reason"), "what the hook has said helps: {out}");
        test.nothing_left();
        c.verb("state", &[]).run().fails("does not exist");
        let order = order(&c);
        assert!(!order.contains(&"startContainer".to_owned()), "{kind}: {order:?}");
        assert_eq!(
            order.last().map(String::as_str),
            Some("poststop"),
            "{kind}: the container ends with it: {order:?}"
        );
        // runc differs: before 1.2 it does not say of which kind the hook is.
        out.fails(&format!("error running {kind} hook #1"));
    }
}

/// A container that must be gone as soon as `start` has failed, its init included, and whose poststop hook must have run.
#[track_caller]
fn fails_to_start(c: &Container<'_>, text: &str) {
    let pid = c.pid();
    let out = c.start().exits(1);
    assert!(out.stderr.contains(text), "{out}");
    assert!(!alive(pid), "init is still ending");
    c.verb("state", &[]).run().fails("does not exist");
    c.delete().fails("does not exist");
    assert_eq!(order(c).last().map(String::as_str), Some("poststop"));
    c.test().nothing_left();
}

fn poststop(dir: &Path) -> Value {
    hook(&format!("cat >/dev/null; echo poststop >>{}/order", dir.display()))
}

#[test]
fn a_failing_start_container_hook_fails_start() {
    let Some(test) = Test::new() else { return };
    let c = test.script("echo never");
    let last = poststop(&log_dir(&c));
    c.edit(|config| {
        config["hooks"] = json!({ "startContainer": [hook("cat >/dev/null; exit 3")], "poststop": [last] })
    });
    let create = c.create().ok();
    // runc differs: its `start` does not wait for these hooks.
    fails_to_start(&c, "startContainer");
    assert!(!create.stdout_now().contains("never"));
    c.run().exits(1);
    test.nothing_left();
}

#[test]
fn a_program_that_cannot_be_executed_fails_start() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["/bin/prog"]);
    fs::copy(c.rootfs().join("bin/busybox"), c.rootfs().join("bin/prog")).expect("copy");
    let last = poststop(&log_dir(&c));
    c.edit(|config| config["hooks"] = json!({ "poststop": [last] }));
    c.create().ok();
    fs::remove_file(c.rootfs().join("bin/prog")).expect("removing");
    // runc differs: its `start` does not wait for execve.
    fails_to_start(&c, "no such file or directory");
}

#[test]
fn a_program_that_cannot_be_executed_fails_start_though_nobody_reads_the_log() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["/program"]);
    shell(&format!("cp /bin/true {}/program", c.rootfs().display()));
    let pipe = c.bundle.join("pipe");
    shell(&format!("mkfifo {}", pipe.display()));
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK;
    let full = rustix::fs::open(&pipe, flags, rustix::fs::Mode::empty()).expect("open");
    while rustix::io::write(&full, &[0; 4096]).is_ok() {}
    c.with_bundle("create", &[])
        .redirected(&format!("2>{}", pipe.display()))
        .run()
        .ok();
    fs::remove_file(c.rootfs().join("program")).expect("rm");
    c.start().fails("no such file or directory");
    test.nothing_left();
}

#[test]
fn a_failing_poststart_hook_removes_the_container() {
    let Some(test) = Test::new() else { return };
    let c = test.script("exec sleep 1000");
    let dir = log_dir(&c);
    let later = hook(&format!("echo later >>{}/order", dir.display()));
    let last = poststop(&dir);
    c.edit(|config| {
        config["hooks"] = json!({ "poststart": [hook("cat >/dev/null; exit 3"), later], "poststop": [last] });
    });
    // runc differs: it runs these hooks at create, and create is what fails.
    c.create().ok();
    fails_to_start(&c, "error running poststart hook #0");
    assert_eq!(order(&c), ["poststop"], "no further hook of the other kind runs");
}

/// A hook may remove the container and make another one of the same name, which is none of the failing command's.
#[test]
fn a_failing_poststart_hook_leaves_a_container_alone_that_has_taken_the_name() {
    let Some(test) = Test::new() else { return };
    let c = test.script("exec sleep 1000");
    let other = c.bundle.join("other");
    fs::create_dir(&other).expect("mkdir");
    let mut config = c.config();
    config["root"]["path"] = json!(c.rootfs());
    fs::write(other.join("config.json"), config.to_string()).expect("config.json");
    let runtime = format!("{} --root {}", runtime().display(), test.root().display());
    let script = format!(
        "{{ {runtime} delete --force {0} && {runtime} run --detach --bundle {1} {0}; }} </dev/null >{1}/out 2>&1; exit 3",
        c.id,
        other.display()
    );
    c.edit(|config| config["hooks"] = json!({ "poststart": [hook(&script)] }));
    for flags in [&["--detach"][..], &[]] {
        let out = c.with_bundle("run", flags).run();
        assert!(
            !out.success() && out.stderr.contains("error running poststart hook #0"),
            "{out}"
        );
        let said = fs::read_to_string(other.join("out")).expect("out");
        assert_eq!(c.status(), "running", "{said}");
        c.force_delete().ok();
    }
    test.nothing_left();
}

#[test]
fn poststop_hooks_of_a_failing_create_find_no_container_and_no_lock() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    let seen = c.bundle.join("seen");
    let runtime = format!("{} --root {}", runtime().display(), test.root().display());
    let script = format!(
        "{{ {runtime} delete --force {0}; {runtime} state {0}; true; }} >{1} 2>&1",
        c.id,
        seen.display()
    );
    c.edit(|config| {
        let late = json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"], "timeout": 5 });
        config["hooks"] = json!({ "createRuntime": [hook("exit 3")], "poststop": [late] });
    });
    for verb in ["create", "run"] {
        let out = c.with_bundle(verb, &[]).run().exits(1);
        assert!(!out.stderr.contains("poststop"), "{out}");
        let seen = fs::read_to_string(&seen).expect("seen");
        assert!(seen.contains("does not exist"), "{seen}");
        test.nothing_left();
    }
}

#[test]
fn a_failing_poststop_hook_is_a_warning() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    let dir = log_dir(&c);
    let later = hook(&format!("cat >/dev/null; echo later >>{}/order", dir.display()));
    c.edit(|config| config["hooks"] = json!({ "poststop": [hook("cat >/dev/null; exit 3"), later] }));
    c.create().ok();
    let out = c.delete().ok();
    test.nothing_left();
    // runc differs: it goes no further than the one that fails, and does not say of which kind it is.
    assert_eq!(order(&c), ["later"]);
    assert!(out.stderr.contains("poststop"), "it should be said: {out}");
}

#[test]
fn hooks_that_cannot_run() {
    let Some(test) = Test::new() else { return };
    for path in ["bin/true", "/no/such/hook", "/etc/passwd", "/"] {
        let c = test.script_with("true", |config| {
            config["hooks"] = json!({ "createRuntime": [{ "path": path }] })
        });
        let out = c.create().exits(1);
        assert!(out.stderr.contains(path), "it should be named: {out}");
        test.nothing_left();
    }
}

#[test]
fn a_hook_may_leave_something_running() {
    let Some(test) = Test::new() else { return };
    // Its output stays open, and the runtime must not wait for that.
    let c = test.script_with("true", |config| {
        config["hooks"] = json!({ "createRuntime": [hook("cat >/dev/null; (sleep 3; true) & exit 0")] });
    });
    // runc differs: it waits for the end of the hook's output.
    let out = c.run().ok();
    assert!(out.took < Duration::from_secs(2), "{out}");
    // The leftover is the hook's own business.
}
