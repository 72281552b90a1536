//! The execve half of CVE-2024-21626: a program's path that leads to the host through a descriptor of the runtime.
//!
//! The image decides `args[0]`, the link that it names, what PATH finds, and what a startContainer hook executes. Two
//! kinds of tests: attacks with every descriptor's number, and a look at /proc/PID/fd of a process that is held right
//! where such a path is resolved.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::{Container, Kind, Running, Test, kind, skip, wait_for};

/// More than the runtime ever has open, with those that the tests leak.
const NUMBERS: std::ops::RangeInclusive<i32> = 0..=40;

/// Directories of the host that the caller leaves open.
const LEAK: &str = "3</ 4</proc 5</tmp 6</";

/// A program of the host that says so. Its name is an applet of busybox, which the image has elsewhere.
struct OfTheHost(String);

impl OfTheHost {
    fn new(test: &Test) -> Self {
        let dir = test.dir().join("of-the-host");
        fs::create_dir(&dir).expect("mkdir");
        fs::copy("/bin/busybox", dir.join("echo")).expect("copy");
        Self(dir.to_str().expect("path").to_owned())
    }

    /// The directory of the program, through the descriptor `fd`: of a procfs, or of any directory.
    fn through(&self, fd: i32) -> [String; 2] {
        let up = "/..".repeat(14);
        [
            // The root of this process: a container's may not look at every other one.
            format!("/proc/self/fd/{fd}/{}/root{}", std::process::id(), self.0),
            format!("/proc/self/fd/{fd}{up}{}", self.0),
        ]
    }

    /// Every directory through which the program might be reached.
    fn all(&self) -> Vec<String> {
        NUMBERS.flat_map(|fd| self.through(fd)).collect()
    }

    /// PATH with all of them.
    fn path(&self) -> String {
        format!("PATH={}", self.all().join(":"))
    }
}

/// All that root can have here, no masks, and perhaps a label: `exec` holds the host's /proc for that.
fn privileged(config: &mut Value, labelled: bool) {
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:\t"))
        .expect("CapBnd");
    let bounding = u64::from_str_radix(bounding, 16).expect("hexadecimal");
    let all = [
        ("CHOWN", 0),
        ("DAC_OVERRIDE", 1),
        ("DAC_READ_SEARCH", 2),
        ("FOWNER", 3),
        ("KILL", 5),
        ("SETGID", 6),
        ("SETUID", 7),
        ("SYS_CHROOT", 18),
        ("SYS_PTRACE", 19),
        ("SYS_ADMIN", 21),
    ];
    let all: Vec<String> = all
        .iter()
        .filter(|(_, number)| bounding >> number & 1 != 0)
        .map(|(name, _)| format!("CAP_{name}"))
        .collect();
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(all);
    }
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
    config["root"]["readonly"] = json!(false);
    if labelled {
        config["process"]["apparmorProfile"] = json!("unconfined");
    }
}

/// A container whose program is looked up in PATH, and whose image has a link for each way.
fn bundle<'t>(test: &'t Test, host: &OfTheHost, labelled: bool) -> Container<'t> {
    let c = test.container_with(&["echo", "reached"], |config| {
        privileged(config, labelled);
        config["process"]["env"] = json!([host.path()]);
    });
    fs::create_dir(c.rootfs().join("links")).expect("mkdir");
    for (n, dir) in host.all().iter().enumerate() {
        symlink(format!("{dir}/echo"), c.rootfs().join(format!("links/{n}"))).expect("link");
    }
    c
}

#[test]
fn the_program_of_create_and_run_is_not_found_through_a_descriptor() {
    let Some(test) = Test::new() else { return };
    let host = OfTheHost::new(&test);
    let c = bundle(&test, &host, true);
    let mut programs = vec![json!("echo")];
    programs.extend(host.all().iter().map(|dir| json!(format!("{dir}/echo"))));
    programs.extend((0..host.all().len()).map(|n| json!(format!("/links/{n}"))));
    for program in programs {
        c.edit(|config| config["process"]["args"][0] = program.clone());
        for verb in ["run", "create"] {
            let out = c.with_bundle(verb, &[]).redirected(LEAK).run().exits(1);
            assert!(!out.said().contains("reached"), "{program}: {out}");
        }
    }
    test.nothing_left();
}

#[test]
fn the_program_of_exec_is_not_found_through_a_descriptor() {
    let Some(test) = Test::new() else { return };
    let host = OfTheHost::new(&test);
    for labelled in [false, true] {
        let c = bundle(&test, &host, labelled);
        c.edit(|config| config["process"]["args"] = json!(["/bin/sleep", "1000"]));
        c.run_detached().ok();
        let mut programs = vec!["echo".to_owned()];
        programs.extend(host.all().iter().map(|dir| format!("{dir}/echo")));
        programs.extend((0..host.all().len()).map(|n| format!("/links/{n}")));
        for program in programs {
            let out = c.verb("exec", &[]).args([&program, "reached"]).redirected(LEAK).run();
            let out = out.exits(255);
            assert!(!out.stdout.contains("reached"), "{program}: {out}");
        }
        c.kill_and_delete();
    }
    test.nothing_left();
}

#[test]
fn a_descriptor_that_is_handed_over_does_lead_there() {
    let Some(test) = Test::new() else { return };
    let host = OfTheHost::new(&test);
    let c = bundle(&test, &host, true);
    let reached = |flags: &[&str], program: String| {
        c.edit(|config| config["process"]["args"][0] = json!(program));
        c.with_bundle("run", flags).redirected(LEAK).run()
    };
    let [through_proc, _] = host.through(4);
    let [_, through_root] = host.through(3);
    for program in [
        format!("{through_proc}/echo"),
        format!("{through_root}/echo"),
        "echo".into(),
    ] {
        reached(&["--preserve-fds", "2"], program.clone())
            .ok()
            .prints("reached");
        reached(&[], program).exits(1);
    }
    test.nothing_left();
}

#[test]
fn hooks_are_not_found_through_a_descriptor() {
    let Some(test) = Test::new() else { return };
    let host = OfTheHost::new(&test);
    for kind in ["prestart", "createRuntime", "createContainer", "startContainer"] {
        let c = test.container_with(&["true"], |config| privileged(config, true));
        let mark = format!("{}/reached", if kind == "startContainer" { "" } else { "/tmp" });
        for dir in host.all() {
            let hook = json!([{ "path": format!("{dir}/echo"), "args": ["echo", mark] }]);
            c.edit(|config| config["hooks"] = json!({ kind: hook }));
            // Descriptors 0 to 2 are the hook's own: files without anything below them.
            let out = c.with_bundle("run", &[]).redirected(LEAK).run().exits(1);
            assert!(out.stderr.contains(&format!("error running {kind} hook #0")), "{out}");
        }
    }
    test.nothing_left();
}

/// What the descriptors of a process are, but for the standard streams.
fn descriptors(pid: i32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).expect("fd");
    let numbers = entries.map(|entry| entry.expect("entry").path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.parse::<i32>().is_ok_and(|number| number > 2)
    });
    let mut all: Vec<String> = numbers
        .map(|path| fs::read_link(&path).map_or_else(|e| e.to_string(), |to| to.display().to_string()))
        .map(|to| to.split_once(':').map_or(to.clone(), |(kind, _)| kind.to_owned()))
        .collect();
    all.sort();
    all
}

/// Children of `pid`, and theirs.
fn descendants(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<i32> = text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    let more: Vec<i32> = children.iter().flat_map(|pid| descendants(*pid)).collect();
    [children, more].concat()
}

/// The process of the container that a verb holds at a step: it sleeps in clock_nanosleep(2), system call 230.
fn held(running: &Running) -> i32 {
    wait_for("a process held at its step", || {
        descendants(running.pid()).into_iter().find(|pid| {
            let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            call.starts_with("230 ")
        })
    })
}

fn end(held: i32, running: Running) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(held), nix::sys::signal::Signal::SIGKILL).expect("kill");
    running.finish().expect("the end");
}

/// Where paths of the image are resolved: the working directory and /etc/passwd before step 9, the program before step 10
/// and at step 11.
const STEPS: [&str; 3] = ["init:9", "init:10", "init:11"];

#[test]
fn nothing_else_is_open_where_paths_of_the_image_are_resolved() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus || std::env::var_os("NUCLEUS_TEST_RUNTIME").is_some() {
        return skip("only a debug build of Nucleus can be held at a step");
    }
    for labelled in [false, true] {
        let c = test.container_with(&["sleep", "1000"], |config| {
            privileged(config, labelled);
            config["hooks"] = json!({ "startContainer": [{ "path": "/bin/true" }] });
        });
        let log = test.dir().join("log");
        let log = ["--debug", "--log", log.to_str().expect("path")];
        for step in STEPS {
            for (verb, detach) in [("run", false), ("run", true), ("create", false)] {
                if (verb, step) == ("create", "init:11") {
                    continue;
                }
                let flags: &[&str] = if detach { &["--detach"] } else { &[] };
                let command = test.runtime().args(log).arg(verb).arg("--bundle").arg(&c.bundle);
                let command = command.args(flags).arg(&c.id).env("NUCLEUS_HOLD_AT", step);
                let running = command.redirected(LEAK).spawn();
                let pid = held(&running);
                let fds = descriptors(pid);
                let wanted: &[&str] = match (verb, step) {
                    ("create", _) => &["fifo", "socket"],
                    _ => &["socket"],
                };
                check(&fds, wanted, &format!("{verb} at {step}"));
                end(pid, running);
                c.force_delete().ok();
            }
        }
        c.edit(|config| {
            config.as_object_mut().expect("object").remove("hooks");
        });
        c.run_detached().ok();
        for step in STEPS {
            let command = test.runtime().args(log).args(["exec", &c.id, "true"]);
            let running = command.env("NUCLEUS_HOLD_AT", step).redirected(LEAK).spawn();
            let pid = held(&running);
            check(&descriptors(pid), &["socket"], &format!("exec at {step}"));
            end(pid, running);
        }
        c.kill_and_delete();
    }
    test.nothing_left();
}

/// A FIFO is named by its path in the state directory.
#[track_caller]
fn check(found: &[String], wanted: &[&str], what: &str) {
    let found: Vec<&str> = found
        .iter()
        .map(|to| match Path::new(to).file_name().and_then(|name| name.to_str()) {
            Some(name) if name.starts_with("exec.fifo") => "fifo",
            _ => to.as_str(),
        })
        .collect();
    assert_eq!(found, wanted, "{what}");
}

#[test]
fn hooks_have_their_standard_streams_only() {
    let Some(test) = Test::new() else { return };
    // The shell has the script open as well, and `ls` the directory.
    let list = "exec ls /proc/self/fd";
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        let c = test.container_with(&["true"], |config| {
            privileged(config, true);
            let into = if kind == "startContainer" {
                "/list".into()
            } else {
                test.dir().join("list")
            };
            let script = format!("{list} >{}", into.display());
            config["hooks"] =
                json!({ kind: [{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"] }] });
        });
        c.with_bundle("run", &[]).redirected(LEAK).run().ok();
        let list = if kind == "startContainer" {
            c.rootfs().join("list")
        } else {
            test.dir().join("list")
        };
        assert_eq!(fs::read_to_string(list).expect("list"), "0\n1\n2\n3\n", "{kind}");
    }
    test.nothing_left();
}

#[test]
fn a_waiting_init_holds_its_channel_and_the_fifo_only() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return skip("what init holds is ours");
    }
    for labelled in [false, true] {
        let c = test.container_with(&["sleep", "1000"], |config| privileged(config, labelled));
        c.with_bundle("create", &[]).redirected(LEAK).run().ok();
        let fds = descriptors(c.pid());
        check(&fds, &["fifo", "socket"], "created");
        c.start().ok();
        assert!(descriptors(c.pid()).is_empty());
        c.kill_and_delete();
    }
    test.nothing_left();
}

/// The process that changes the mounts of a container: the channel, the host's /proc and the container's root, and the trees.
#[test]
fn the_process_that_adds_mounts_holds_what_it_needs_only() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus || std::env::var_os("NUCLEUS_TEST_RUNTIME").is_some() {
        return skip("only a debug build of Nucleus can be held at a step");
    }
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let list = json!([{ "destination": "/home", "type": "bind", "source": "/etc" }]).to_string();
    for (action, wanted) in [
        ("add", &["/", "/", "/proc", "socket"][..]),
        ("remove", &["/", "/proc", "socket"]),
    ] {
        let command = test.runtime().args(["mounts", action, &c.id, "-"]).stdin(&list);
        let running = command
            .env("NUCLEUS_HOLD_AT", "mounts-child:2")
            .redirected(LEAK)
            .spawn();
        let pid = held(&running);
        check(&descriptors(pid), wanted, action);
        let environ = fs::read(format!("/proc/{pid}/environ")).expect("environ");
        assert!(
            environ.iter().all(|byte| *byte == 0),
            "the caller's environment is visible"
        );
        end(pid, running);
    }
    c.kill_and_delete();
    test.nothing_left();
}

/// The process of `exec` from its birth on: a process of the container that may trace others finds nothing of the caller, and
/// nobody outside of the container's control groups but for the one that limits the number of processes.
#[test]
fn the_process_of_exec_shows_nothing_before_it_joins() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus || std::env::var_os("NUCLEUS_TEST_RUNTIME").is_some() {
        return skip("only a debug build of Nucleus can be held at a step");
    }
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    for step in ["exec-child:1", "exec-child:2", "exec-child:3"] {
        let exec = c.verb("exec", &[]).arg("true").env("NUCLEUS_HOLD_AT", step);
        let running = exec.env("SECRET", "of-the-caller").spawn();
        let pid = held(&running);
        let of = |pid: i32, file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a file of /proc");
        assert!(
            of(running.pid(), "environ").contains("of-the-caller"),
            "there is nothing to hide"
        );
        assert_eq!(of(pid, "environ").trim_matches('\0'), "", "at {step}");
        if step != "exec-child:1" {
            let strangers: Vec<String> = of(pid, "cgroup")
                .lines()
                .zip(of(c.pid(), "cgroup").lines())
                .filter(|(own, of_init)| own != of_init)
                .map(|(own, _)| own.to_owned())
                .collect();
            let are_allowed = step == "exec-child:2" && strangers.iter().all(|line| line.contains(":pids:"));
            assert!(strangers.is_empty() || are_allowed, "at {step}: {strangers:?}");
        }
        end(pid, running);
    }
    c.kill_and_delete();
    test.nothing_left();
}
