//! `run`: exit codes, signals, standard streams, inherited descriptors, and `--detach`.

mod common;

use std::fs;
use std::io::Write;

use common::{Test, alive, eventually, wait_for};
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn the_exit_code_is_the_programs() {
    let Some(test) = Test::new() else { return };
    for code in [0, 1, 7, 126, 127, 200, 255] {
        test.script(&format!("exit {code}")).run().exits(code);
        test.nothing_left();
    }
}

#[test]
fn the_exit_code_of_a_killed_program_is_128_and_the_signal() {
    let Some(test) = Test::new() else { return };
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139)] {
        // In the host's PID namespace the program is no init, and a signal that it sends to itself arrives.
        let c = test.script_with(&format!("kill -{signal} $$; sleep 5"), |config| {
            config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
            config["mounts"] = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
            config.as_object_mut().expect("config").remove("hostname");
        });
        c.run().exits(code);
        test.nothing_left();
    }
}

#[test]
fn killed_from_outside() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    let run = c.with_bundle("run", &[]).spawn();
    wait_for("a running container", || (c.has_state() && running(&c)).then_some(()));
    c.kill("KILL").ok();
    run.wait().exits(137);
    test.nothing_left();
}

/// True if `state` succeeds and says running.
fn running(c: &common::Container<'_>) -> bool {
    let out = c.verb("state", &[]).run();
    out.success() && out.stdout.contains("\"running\"")
}

#[test]
fn returns_even_if_the_program_ends_at_once() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    for _ in 0..30 {
        c.run().ok().silent();
    }
    test.nothing_left();
}

#[test]
fn returns_even_if_the_program_ends_before_the_last_hook() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["sh", "-c", "exit 3"], |config| {
        config["hooks"] = json!({ "poststart": [{ "path": "/bin/sleep", "args": ["sleep", "0.3"] }] });
    });
    c.run().exits(3);
    test.nothing_left();
}

#[test]
fn forwards_signals() {
    let Some(test) = Test::new() else { return };
    let script = "for s in HUP INT QUIT USR1 USR2 WINCH 40; do trap \"echo got-$s\" $s; done; \
                  trap 'echo got-TERM; exit 42' TERM; echo ready; while :; do sleep 0.02; done";
    let c = test.script(script);
    let run = c.with_bundle("run", &[]).spawn();
    wait_for("the program", || run.stdout().contains("ready").then_some(()));
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTERM,
    ] {
        run.signal(signal);
        let name = format!("got-{}", &signal.as_str()[3..]);
        wait_for(&name, || run.stdout().contains(&name).then_some(()));
    }
    run.wait().exits(42);
    test.nothing_left();
}

#[test]
fn an_early_signal_is_not_lost() {
    let Some(test) = Test::new() else { return };
    // The program stops itself at once by default; TERM to `run` at any moment must end the whole thing.
    let c = test.script("trap 'exit 42' TERM; while :; do sleep 0.02; done");
    for delay in [0, 5, 15, 30, 60, 120] {
        let run = c.with_bundle("run", &[]).spawn();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        run.signal(Signal::SIGTERM);
        // The program may not have set its trap yet, and an init ignores what it has no handler for: say it again.
        let mut run = run;
        assert!(
            eventually(|| {
                if run.ended() {
                    return true;
                }
                run.signal(Signal::SIGTERM);
                std::thread::sleep(std::time::Duration::from_millis(20));
                false
            }),
            "`run` has not ended, {delay} ms after its start it got TERM"
        );
        drop(run);
        if c.has_state() {
            // Ended by the signal before it handled any: then it was not yet a container's parent.
            c.force_delete().ok();
        }
    }
    test.nothing_left();
}

#[test]
fn other_processes_end_with_the_first() {
    let Some(test) = Test::new() else { return };
    for namespaces in [
        json!([{ "type": "mount" }, { "type": "pid" }]),
        json!([{ "type": "mount" }]),
    ] {
        let c = test.script_with("sleep 1000 & sleep 1000 & exit 5", |config| {
            config["linux"]["namespaces"] = namespaces.clone();
            config["mounts"] = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
            config.as_object_mut().expect("config").remove("hostname");
        });
        c.run().exits(5);
        test.nothing_left();
    }
}

#[test]
fn streams_are_passed_through() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat; echo to-stderr >&2");
    let text: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let out = c.with_bundle("run", &[]).stdin(&text).run().ok();
    assert!(
        out.stdout == text,
        "{} bytes of {} came back",
        out.stdout.len(),
        text.len()
    );
    assert_eq!(out.stderr, "to-stderr\n");
}

#[test]
fn pipes_are_passed_through() {
    let Some(test) = Test::new() else { return };
    let c = test.script("read a; echo \"one $a\"; read b; echo \"two $b\"; read c || echo end");
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("pipe");
    let run = c.with_bundle("run", &[]).stdin_fd(read).spawn();
    let mut write = fs::File::from(write);
    writeln!(write, "first").expect("write");
    wait_for("the first answer", || run.stdout().contains("one first").then_some(()));
    writeln!(write, "second").expect("write");
    wait_for("the second answer", || {
        run.stdout().contains("two second").then_some(())
    });
    drop(write);
    run.wait().ok().prints("one first\ntwo second\nend");
}

#[test]
fn detached() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat; echo after-input; exec sleep 1000");
    let out = c.with_bundle("run", &["-d"]).stdin("the input\n").run().ok().silent();
    assert_eq!(c.status(), "running");
    wait_for("the output", || {
        (out.stdout_now() == "the input\nafter-input\n").then_some(())
    });
    let pid = c.pid();
    c.force_delete().ok();
    assert!(eventually(|| !alive(pid)));
    test.nothing_left();
}

#[test]
fn keep_keeps_the_container() {
    let Some(test) = Test::new() else { return };
    if common::kind() == common::Kind::Runc && !common::shell("runc run --help").contains("--keep") {
        return common::skip("this runc has no --keep");
    }
    let c = test.script("exit 4");
    c.with_bundle("run", &["--keep"]).run().exits(4);
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

#[test]
fn leaked_descriptors_do_not_reach_the_program() {
    let Some(test) = Test::new() else { return };
    let file = test.dir().join("secret");
    fs::write(&file, "secret\n").expect("file");
    let leak: String = (3..=20).map(|fd| format!("{fd}<{} ", file.display())).collect();
    // Of the four that `ls` sees one is its own, for the directory.
    let c = test.container(&["ls", "/proc/self/fd"]);
    c.with_bundle("run", &[])
        .redirected(&leak)
        .run()
        .ok()
        .prints("0\n1\n2\n3");
    // The same for a container that is created and started, and for the process that waits between the two.
    let created = c.with_bundle("create", &[]).redirected(&leak).run().ok();
    let held = fs::read_dir(format!("/proc/{}/fd", c.pid())).expect("fds").flatten();
    let held: Vec<_> = held.filter_map(|e| fs::read_link(e.path()).ok()).collect();
    assert!(
        !held.contains(&file),
        "init holds what leaked from the caller: {held:?}"
    );
    c.verb("start", &[]).redirected(&leak).run().ok();
    wait_for("the list", || (created.stdout_now() == "0\n1\n2\n3\n").then_some(()));
    c.wait_status("stopped");
    c.delete().ok();
}

#[test]
fn preserved_descriptors_reach_the_program_and_no_others() {
    let Some(test) = Test::new() else { return };
    let files: Vec<_> = (3..=7).map(|n| (n, test.dir().join(format!("file{n}")))).collect();
    for (n, file) in &files {
        fs::write(file, format!("file {n}\n")).expect("file");
    }
    let leak: String = files
        .iter()
        .map(|(n, file)| format!("{n}<{} ", file.display()))
        .collect();
    let c = test.script_with(
        "cat <&3; cat <&4; echo $LISTEN_FDS $LISTEN_PID; ls /proc/self/fd",
        |config| {
            let env = config["process"]["env"].as_array_mut().expect("env");
            env.extend([json!("LISTEN_FDS=2"), json!("LISTEN_PID=1")]);
        },
    );
    let out = c
        .with_bundle("run", &["--preserve-fds", "2"])
        .redirected(&leak)
        .run()
        .ok();
    // The last descriptor is that of `ls` for the directory.
    out.prints("file 3\nfile 4\n2 1\n0\n1\n2\n3\n4\n5");
}

#[test]
fn preserving_more_descriptors_than_there_are() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["ls", "/proc/self/fd"]);
    // runc differs: before 1.2 it refuses ("unable to stat preserved-fd").
    c.with_bundle("run", &["--preserve-fds", "5"])
        .run()
        .ok()
        .prints("0\n1\n2\n3");
}

#[test]
fn socket_activation_passes_its_descriptors_on() {
    let Some(test) = Test::new() else { return };
    let file = test.dir().join("socket");
    fs::write(&file, "activated\n").expect("file");
    let c = test.script("cat <&3; echo $LISTEN_FDS $LISTEN_PID");
    let script = format!(
        "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" \"$@\" 3<{}",
        file.display()
    );
    c.with_bundle("run", &[])
        .wrapped(["bash", "-c", &script])
        .run()
        .ok()
        .prints("activated\n1 1");
}

#[test]
fn a_caller_that_ignores_sigchld() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["sh", "-c", "exit 3"], |config| {
        config["hooks"] = json!({ "prestart": [{ "path": "/bin/true" }] });
    });
    let ignoring = ["env", "--ignore-signal=CHLD"];
    c.with_bundle("run", &[]).wrapped(ignoring).run().exits(3);
    c.edit(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    c.with_bundle("create", &[]).wrapped(ignoring).run().ok();
    c.start().ok();
    let exec = c.verb("exec", &[]).args(["sh", "-c", "exit 4"]);
    exec.wrapped(ignoring).run().exits(4);
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_container_that_another_command_deletes() {
    let Some(test) = Test::new() else { return };
    let c = test.script("echo >/ready; sleep 1000");
    c.edit(|config| config["root"]["readonly"] = json!(false));
    let run = c.with_bundle("run", &[]).spawn();
    wait_for("the program", || c.rootfs().join("ready").exists().then_some(()));
    c.force_delete().ok();
    run.wait().exits(137).silent();
    test.nothing_left();
}

#[test]
fn a_program_that_cannot_be_executed_leaves_no_pid_file() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["/script"]);
    let script = c.rootfs().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").expect("script");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let pid_file = test.dir().join("pid");
    let flags = ["--detach", "--pid-file", pid_file.to_str().expect("path")];
    c.with_bundle("run", &flags).run().exits(1);
    assert!(!pid_file.exists());
    c.edit(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    c.with_bundle("run", &flags).run().ok();
    assert_eq!(std::fs::read_to_string(&pid_file).expect("pid"), c.pid().to_string());
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_pid_file_follows_no_link_that_somebody_has_planted() {
    let Some(test) = Test::new() else { return };
    let victim = test.dir().join("victim");
    std::fs::write(&victim, "of the host").expect("file");
    let dir = test.dir().join("dir");
    std::fs::create_dir(&dir).expect("mkdir");
    let c = test.container(&["sleep", "1000"]);
    // Whoever may write to the directory plants a link for each pid that may come next.
    let now: i32 = std::fs::read_to_string("/proc/loadavg")
        .expect("loadavg")
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|last| last.parse().ok())
        .expect("the last pid");
    for pid in now..now + 200 {
        std::os::unix::fs::symlink(&victim, dir.join(format!(".pid.{pid}"))).expect("link");
    }
    let flags = ["--detach", "--pid-file", dir.join("pid").to_str().expect("path")].map(str::to_owned);
    c.with_bundle("run", &flags.each_ref().map(String::as_str)).run().ok();
    assert_eq!(std::fs::read_to_string(&victim).expect("victim"), "of the host");
    assert_eq!(
        std::fs::read_to_string(dir.join("pid")).expect("pid"),
        c.pid().to_string()
    );
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_number_of_descriptors_beyond_all_bounds() {
    let Some(test) = Test::new() else { return };
    let c = test.script("ls /proc/self/fd | xargs");
    for (flags, variable) in [(&["--preserve-fds", "4294967295"][..], "0"), (&[], "4294967295")] {
        let command = c.with_bundle("run", flags).env("LISTEN_FDS", variable);
        let out = command.redirected("3</dev/null 700</dev/null").run().ok();
        let found: Vec<&str> = out.stdout.split_whitespace().collect();
        assert!(found.contains(&"3") && found.contains(&"700"), "{out}");
        assert!(out.took < std::time::Duration::from_secs(10), "{out}");
    }
    test.nothing_left();
}

#[test]
fn a_small_stack() {
    let Some(test) = Test::new() else { return };
    let c = test.script("echo runs");
    let with = |limit: &str| {
        c.with_bundle("run", &[])
            .wrapped(["prlimit", &format!("--stack={limit}")])
            .run()
    };
    with("32768")
        .exits(1)
        .fails("the stack limit (RLIMIT_STACK, ulimit -s) is below");
    with("98304").ok().prints("runs");
    test.nothing_left();
}
