//! Exit codes, output, signals, descriptors, and many at once.

use std::fs;

use nix::sys::signal::Signal;

use crate::common::{Container, Running, Test, alive, cgroup_dirs, wait_for};
use crate::{exec, running, script};

/// Waits until init is the only process of the container.
#[track_caller]
fn alone(c: &Container<'_>) {
    let dirs = cgroup_dirs(&format!("/{}/{}", c.test().mark(), c.id));
    let procs = dirs
        .iter()
        .find_map(|(_, dir)| dir.exists().then(|| dir.join("cgroup.procs")));
    let procs = procs.expect("a control group");
    wait_for("a container with one process", || {
        let text = fs::read_to_string(&procs).expect("cgroup.procs");
        (text.lines().count() == 1).then_some(())
    });
}

#[test]
fn the_exit_code_is_the_programs() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    for code in [0, 1, 7, 126, 127, 200, 255] {
        script(&c, &[], &format!("exit {code}")).exits(code).silent();
    }
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        script(&c, &[], &format!("kill -{signal} $$; sleep 5"))
            .exits(code)
            .silent();
    }
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn standard_streams_are_the_callers() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let out = exec(&c, &[], &["sh", "-c", "cat; echo error >&2"])
        .stdin("input\n")
        .run()
        .ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("input\n", "error\n"));
    // An empty image's worth of output, and a reader that goes away.
    let out = exec(&c, &[], &["sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x"])
        .run()
        .ok();
    assert_eq!(out.stdout.len(), 300_000);
}

#[test]
fn everything_after_the_id_is_the_programs() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let all = ["-t", "--detach", "--", "-e", "--help", "-u", "5"];
    exec(&c, &[], &["echo"]).args(all).run().ok().prints(&all.join(" "));
    let flags = ["--tty", "--no-such-flag"];
    let out = exec(&c, &[], &flags).run().exits(255);
    assert!(
        out.said()
            .contains(r#"exec: "--tty": executable file not found in $PATH"#),
        "{out}"
    );
}

#[test]
fn in_a_container_that_was_not_started() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.create().ok();
    exec(&c, &[], &["hostname"]).run().ok().prints("nucleus");
    assert_eq!(c.status(), "created");
    c.start().ok();
    exec(&c, &[], &["hostname"]).run().ok().prints("nucleus");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn signals_are_forwarded() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let text = "trap 'echo term; exit 3' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done";
    let run = exec(&c, &[], &["sh", "-c", text]).spawn();
    let has = |run: &Running, word: &str| wait_for(word, || run.stdout().contains(word).then_some(()));
    has(&run, "ready");
    run.signal(Signal::SIGUSR1);
    has(&run, "usr1");
    run.signal(Signal::SIGTERM);
    run.wait().exits(3);
    assert_eq!(c.status(), "running", "it was not the container's to end");
}

#[test]
fn the_process_dies_with_the_container() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let run = exec(&c, &[], &["sh", "-c", "echo ready; sleep 1000"]).spawn();
    wait_for("ready", || run.stdout().contains("ready").then_some(()));
    c.kill("KILL").ok();
    run.wait().exits(137);
    c.wait_status("stopped");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn detached() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let file = c.bundle.join("exec.pid");
    let flags = ["--detach", "--pid-file", file.to_str().expect("path")];
    let out = exec(&c, &flags, &["sh", "-c", "echo there; exec sleep 1000"])
        .run()
        .ok()
        .silent();
    let text = fs::read_to_string(&file).expect("pid file");
    let pid: i32 = text.parse().expect("a number and no newline");
    wait_for("its output", || (out.stdout_now() == "there\n").then_some(()));
    assert!(alive(pid));
    c.kill_and_delete();
    wait_for("its end", || (!alive(pid)).then_some(()));
    test.nothing_left();
}

#[test]
fn the_program_inherits_nothing_but_what_was_asked_for() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let leak: String = (3..=20).map(|fd| format!("{fd}</ ")).collect();
    let list = "cd /proc/self/fd; echo *";
    // The shell itself has no more than the three; what the glob sees besides is the directory it reads.
    let out = exec(&c, &[], &["sh", "-c", list]).redirected(&leak).run().ok();
    let fds: Vec<&str> = out
        .stdout
        .split_whitespace()
        .filter(|fd| fd.parse::<u32>().is_ok_and(|fd| fd > 3))
        .collect();
    assert!(fds.is_empty(), "{out}");
    let text = "for fd in 3 4 5 6; do [ -e /proc/self/fd/$fd ] && echo $fd; done; cat <&3; cat <&4";
    let (one, two) = (c.bundle.join("one"), c.bundle.join("two"));
    fs::write(&one, "one\n").expect("file");
    fs::write(&two, "two\n").expect("file");
    let given = format!("3<{} 4<{} 5</ 6</", one.display(), two.display());
    let out = exec(&c, &["--preserve-fds", "2"], &["sh", "-c", text])
        .redirected(&given)
        .run()
        .ok();
    assert_eq!(out.stdout, "3\n4\none\ntwo\n");
    // More than there are is no error, and a log of ours is none of the program's descriptors.
    let log = c.bundle.join("log");
    let command = test.runtime().arg("--log").arg(&log).arg("--debug");
    let command = command.args([
        "exec",
        "--preserve-fds",
        "5",
        &c.id,
        "sh",
        "-c",
        "ls /proc/self/fd | wc -l",
    ]);
    command.redirected("3<&- 4<&- 5<&- 6<&- 7<&-").run().ok().prints("4");
}

#[test]
fn thirty_in_a_row() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    for _ in 0..30 {
        exec(&c, &[], &["true"]).run().ok().silent();
    }
    alone(&c);
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn eight_at_once() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let all: Vec<Running> = (0..8)
        .map(|n| exec(&c, &[], &["sh", "-c", &format!("sleep 0.1; exit {n}")]).spawn())
        .collect();
    for (n, run) in (0..).zip(all) {
        run.wait().exits(n).silent();
    }
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_runtime_that_is_killed_leaves_nothing() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    for step in [
        "exec:1",
        "exec:2",
        "exec:3",
        "exec:4",
        "exec:5",
        "exec-child:1",
        "exec-child:2",
        "exec-child:3",
        "exec-child:4",
        "init:9",
    ] {
        // Debug builds end at the step; others run to their end.
        let out = exec(&c, &[], &["sh", "-c", "exit 9"])
            .env("NUCLEUS_KILL_AT", step)
            .run();
        let killed = out.died_of(9) || out.code() == 255 || out.code() == 9;
        assert!(killed, "{step}: {out}");
        assert_eq!(c.status(), "running");
    }
    alone(&c);
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_hundred_at_once_leave_no_zombie() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let all: Vec<Running> = (0..100)
        .map(|n| exec(&c, &[], &["echo", &n.to_string()]).spawn())
        .collect();
    for (n, run) in all.into_iter().enumerate() {
        run.wait().ok().prints(&n.to_string());
    }
    // A zombie has left its control group, and still is in the PID namespace.
    let list = "grep -l '^State:.Z' /proc/[0-9]*/status || true";
    assert_eq!(script(&c, &[], list).ok().stdout, "");
    c.kill_and_delete();
    test.nothing_left();
}
