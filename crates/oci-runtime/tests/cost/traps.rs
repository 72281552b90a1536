//! The kernel's traps: calls that cost a hundred times what they look like. Each test is one of them; docs/performance.md
//! has the reasons and the figures.

use std::collections::BTreeMap;

use crate::lifecycle::{self, sleeper};
use crate::trace::{Call, Layout, TRACER, Trace, number, place};

/// Calls `judge` with every trace of both layouts.
fn each(mut judge: impl FnMut(Layout, &str, &Trace)) {
    for layout in Layout::ALL {
        for (verb, trace) in lifecycle::of(layout).into_iter().flatten() {
            judge(layout, verb, trace);
        }
    }
}

/// Demands that there is no such call in any trace.
#[track_caller]
fn none(what: &str, bad: impl Fn(&Call) -> bool) {
    each(|layout, verb, trace| {
        let found: Vec<_> = trace.own().into_iter().filter(|c| bad(c)).collect();
        assert!(found.is_empty(), "{} {verb}: {what}: {found:#?}", layout.name());
    });
}

/// Moving a process takes a lock that every fork and exit on the machine holds, and waits for an RCU grace period.
#[test]
fn nobody_is_moved_into_a_control_group() {
    none("a process is moved through cgroup.procs", |c| {
        c.name == "write" && c.arg(0).contains("/cgroup.procs>")
    });
    each(|layout, verb, trace| {
        if !(verb.starts_with("run") || verb == "create" || verb == "exec") {
            return;
        }
        let clones: Vec<_> = trace.named(&["clone", "clone3", "fork", "vfork"]).collect();
        // Init is the only one; for `exec` there is one in between, as only children get into a joined PID namespace.
        let expected = if verb == "exec" { 2 } else { 1 };
        assert_eq!(clones.len(), expected, "{verb}: {clones:#?}");
        assert!(clones[0].args.contains("CLONE_INTO_CGROUP"), "{verb}: {:?}", clones[0]);
        let tasks = trace.named(&["write"]).filter(|c| c.arg(0).contains("/tasks>")).count();
        let expected = if layout == Layout::V1 { 3 } else { 0 };
        assert_eq!(
            tasks,
            expected,
            "{} {verb}: v1 is joined through `tasks`",
            layout.name()
        );
    });
}

/// A new mount of cgroup2 from the initial cgroup namespace may change the flags of its root, which waits for a grace period.
#[test]
fn the_cgroup_tree_is_bound_and_not_mounted() {
    none("the cgroup file system is mounted anew", |c| {
        (c.name == "fsopen" && c.arg(0).contains("cgroup")) || (c.name == "mount" && c.arg(2).contains("cgroup"))
    });
    each(|layout, verb, trace| {
        if verb.starts_with("run") || verb == "create" {
            let bound = |c: &&Call| c.arg(1).contains("/sys/fs/cgroup") && c.args.contains("OPEN_TREE_CLONE");
            assert!(
                trace.named(&["open_tree"]).any(|c| bound(&c)),
                "{} {verb}: no cgroup tree is bound",
                layout.name()
            );
        }
    });
}

/// A path below /proc/self/fd has procfs make the directories of the process, and take them away when it ends.
#[test]
fn nothing_is_mounted_through_proc() {
    none("a mount through /proc/self/fd", |c| {
        c.name == "mount" && c.args.contains("self/fd/")
    });
    each(|layout, verb, trace| {
        if verb.starts_with("run") || verb == "create" {
            let new = |c: &&Call| c.arg(0) == "\"proc\"" && c.arg(1) == "\".\"";
            assert!(
                trace.named(&["mount"]).any(|c| new(&c)),
                "{} {verb}: no procfs is mounted",
                layout.name()
            );
        }
    });
}

/// The last close of a mount that is attached nowhere tears it down, and that waits for an expedited grace period.
///
/// One mount is exempt by its nature: the seal's clone. Its descriptor closes, but the process runs from the mount and so
/// keeps it until its own end; it cannot be attached, as no path may lead to it.
#[test]
fn no_mount_is_made_and_then_thrown_away() {
    each(|layout, verb, trace| {
        let (made, thrown) = mounts(trace);
        assert!(
            thrown.is_empty(),
            "{} {verb}: closed unattached: {thrown:#?}",
            layout.name()
        );
        let mounts = verb.starts_with("run") || verb == "create";
        assert!(
            made > 1 || !mounts,
            "{} {verb}: no mount was seen at all",
            layout.name()
        );
    });
}

/// How many unattached mounts were made, and the calls that have made those which were closed before they were attached.
fn mounts(trace: &Trace) -> (usize, Vec<&Call>) {
    let mut loose: BTreeMap<(i32, i32), &Call> = BTreeMap::new();
    let (mut made, mut thrown) = (0, Vec::new());
    for call in trace.own().into_iter().filter(|c| c.ok() || c.name == "exit_group") {
        let pid = call.pid;
        let closed = match call.name.as_str() {
            "open_tree" | "fsmount" => {
                if call.name == "fsmount" || call.args.contains("OPEN_TREE_CLONE") {
                    made += 1;
                    loose.insert((pid, call.returned_fd().expect("a descriptor")), call);
                }
                continue;
            }
            "move_mount" | "execveat" => {
                loose.remove(&(pid, call.fd(0).expect("a descriptor")));
                continue;
            }
            "prctl" if call.args.contains("PR_SET_MM_MAP") => {
                loose.retain(|(p, _), maker| *p != pid || maker.arg(1) != "\"/proc/self/exe\"");
                continue;
            }
            "close" => call.fd(0).map(|fd| fd..fd + 1),
            // With CLOSE_RANGE_CLOEXEC it closes nothing yet.
            "close_range" if call.args.contains("CLOSE_RANGE_CLOEXEC") => continue,
            // "To the last" is too much for an i32.
            "close_range" => call
                .fd(0)
                .map(|first| first..number(call.arg(1)).map_or(i32::MAX, |last| last + 1)),
            "execve" | "exit_group" => Some(0..i32::MAX),
            _ => continue,
        };
        let closed = closed.expect("descriptors");
        thrown.extend(
            loose
                .range((pid, closed.start)..(pid, closed.end))
                .map(|(_, maker)| *maker),
        );
        loose.retain(|(p, fd), _| *p != pid || !closed.contains(fd));
    }
    (made, thrown)
}

#[test]
fn a_mount_that_is_thrown_away_is_found() {
    let text = "7 execve(\"/x\", [\"x\"], 0x7 /* 1 vars */) = 0\n\
                7 open_tree(AT_FDCWD</>, \"/a\", OPEN_TREE_CLONE|OPEN_TREE_CLOEXEC) = 3</a>\n\
                7 move_mount(3</a>, \"\", 4</b>, \"\", MOVE_MOUNT_F_EMPTY_PATH) = 0\n\
                7 close(3</b>) = 0\n\
                7 fsmount(4<anon_inode:[fscontext]>, FSMOUNT_CLOEXEC, 0) = 3</>\n\
                7 close_range(2, 5, 0) = 0\n\
                7 open_tree(AT_FDCWD</>, \"/c\", OPEN_TREE_CLONE) = 5</c>\n\
                7 open_tree(AT_FDCWD</>, \"/d\", OPEN_TREE_CLOEXEC) = 6</d>\n\
                7 exit_group(0) = ?\n7 +++ exited with 0 +++\n";
    let trace = Trace::parse(text).expect("a trace");
    let (made, thrown) = mounts(&trace);
    let names: Vec<&str> = thrown.iter().map(|c| c.name.as_str()).collect();
    assert_eq!((made, names), (3, vec!["fsmount", "open_tree"]));
}

/// The verifier's time goes with the number of instructions. 28 do for the default rules; each further one costs some 6 µs.
#[test]
fn the_device_program_is_short_and_asks_nothing() {
    const INSTRUCTIONS: u32 = 32;
    let Some(traces) = lifecycle::of(Layout::V2) else {
        return;
    };
    for (verb, trace) in traces {
        let of = |command: &str| {
            trace
                .named(&["bpf"])
                .filter(|c| c.arg(0) == command)
                .collect::<Vec<_>>()
        };
        let loads = of("BPF_PROG_LOAD");
        let makes = verb.starts_with("run") || *verb == "create";
        assert_eq!(loads.len(), usize::from(makes), "{verb}: {loads:#?}");
        for load in loads {
            let (_, count) = load.args.split_once("insn_cnt=").expect("insn_cnt");
            let count: u32 = count.split_once(',').expect("insn_cnt").0.parse().expect("insn_cnt");
            assert!(
                (2..=INSTRUCTIONS).contains(&count),
                "{verb}: {count} instructions, at most {INSTRUCTIONS}"
            );
        }
        assert!(
            of("BPF_PROG_QUERY").is_empty(),
            "{verb}: a new control group has no program to ask for"
        );
    }
}

/// Nobody waits by the clock, not for the end of a killed container either. A bound on a wait is no such wait, unless it runs
/// out; a bound of zero only looks. Breaths of less than 10 ms are allowed: v1 tells nobody that a control
/// group is empty, which init's end does not say where it has no PID namespace of its own.
#[test]
fn nothing_waits_by_the_clock() {
    none("a sleep", |c| {
        let time = match c.name.as_str() {
            "nanosleep" => c.arg(0),
            "clock_nanosleep" => c.arg(2),
            _ => return false,
        };
        let nanoseconds = time
            .strip_prefix("{tv_sec=0, tv_nsec=")
            .and_then(|t| t.strip_suffix('}'));
        nanoseconds
            .and_then(|n| n.parse().ok())
            .is_none_or(|n: u64| n >= 10_000_000)
    });
    none("a wait that ran out", |c| {
        let last = match c.name.as_str() {
            "poll" => c.arg(2),
            "ppoll" => c.arg(2),
            "epoll_wait" | "epoll_pwait" => c.arg(3),
            "select" | "pselect6" => c.arg(4),
            _ => return false,
        };
        c.result.contains("Timeout") && !["0", "{tv_sec=0, tv_nsec=0}"].contains(&last)
    });
    for layout in Layout::ALL {
        let Some(traces) = lifecycle::of(layout) else { continue };
        let delete = &traces["delete --force"];
        let waited = delete.named(&["poll", "ppoll"]).any(|c| c.args.contains("[pidfd]"));
        assert!(waited, "{}: delete --force should wait for the pidfd", layout.name());
    }
}

/// A thread costs its stack and its start, and a process that has had one can no longer clone as we do.
#[test]
fn there_are_no_threads() {
    none("a thread", |c| {
        c.name.starts_with("clone") && c.args.contains("CLONE_THREAD")
    });
}

/// The mount table has a line for each mount of each container of the machine. On v1 it is the only list of hierarchies.
#[test]
fn the_mount_table_is_read_on_v1_only_and_once() {
    each(|layout, verb, trace| {
        let reads = trace
            .own()
            .into_iter()
            .filter(|c| c.name.starts_with("open") && (c.args.contains("/mountinfo\"") || c.args.contains("/mounts\"")))
            .count();
        let allowed = usize::from(layout == Layout::V1);
        assert!(
            reads <= allowed,
            "{} {verb}: {reads} times, {allowed} allowed",
            layout.name()
        );
    });
}

/// Names, time zones and resolvers are the C library's way to files of /etc and to sockets of daemons.
#[test]
fn the_c_librarys_databases_are_left_alone() {
    none("a database of the C library", |c| {
        // The image's passwd, which is looked up for HOME, is another.
        let etc = c.args.contains("\"/etc/") && !c.args.contains("RESOLVE_NO_MAGICLINKS");
        (c.name.starts_with("open") && etc) || c.name == "connect"
    });
}

/// config.json is read once, and never copied.
#[test]
fn config_json_is_read_once() {
    each(|layout, verb, trace| {
        let opened = |c: &&Call| c.name.starts_with("open") && c.args.contains("config.json\"");
        let count = trace.own().into_iter().filter(opened).count();
        let expected = usize::from(verb.starts_with("run") || verb == "create");
        // `exec` and the other verbs may need what is in it, but not twice.
        assert!(
            count <= expected.max(1) && count >= expected,
            "{} {verb}: {count} times",
            layout.name()
        );
    });
}

/// The seal exchanges the file that the runtime runs from, and needs no second execve for it. Where the kernel refuses that,
/// it starts over; sealed is it in both cases.
#[test]
fn the_seal_starts_nothing() {
    each(|layout, verb, trace| {
        let first = trace.calls[0].pid;
        let of_first = |c: &&&Call| c.pid == first && c.name.starts_with("execve");
        let starts = trace.own().iter().filter(of_first).count();
        assert_eq!(starts, 1, "{} {verb}: it starts once", layout.name());
    });
    let test = match place(Layout::V2) {
        Ok(test) => test,
        Err(why) => return crate::common::skip(&why),
    };
    let file = test.dir().join("seal");
    for (inject, restarts) in [("prctl:delay_exit=1", 0), ("prctl:error=EPERM:when=1", 1)] {
        let c = test.container(&["sleep", "1000"]);
        let tracer = format!(
            "strace -o {} -e trace=prctl,execveat -e inject={inject}",
            file.display()
        );
        c.with_bundle("create", &[]).env(TRACER, tracer).run().ok();
        let text = std::fs::read_to_string(&file).expect("the trace");
        assert!(text.contains("PR_SET_MM_MAP"), "{text}");
        assert_eq!(text.matches("execveat(").count(), restarts, "{inject}: {text}");
        let binary = format!("/proc/{}/exe", c.pid());
        let flags = rustix::fs::statvfs(&binary).expect("statvfs").f_flag;
        assert!(
            flags.contains(rustix::fs::StatVfsMountFlags::RDONLY),
            "{inject}: {flags:?}"
        );
        c.force_delete().ok();
    }
    test.nothing_left();
}

/// A verb looks at its own container: with a hundred others beside it, it makes the same calls.
#[test]
fn a_hundred_other_containers_cost_nothing() {
    let test = match place(Layout::V2) {
        Ok(test) => test,
        Err(why) => return crate::common::skip(&why),
    };
    let c = sleeper(&test);
    let verbs: [(&str, &[&str]); 3] = [("state", &[]), ("kill", &["0"]), ("exec", &["true"])];
    let counts = |what: &str| {
        verbs.map(|(verb, words)| {
            let trace = Trace::of(&c, verb, &[], words);
            let others = trace.calls.iter().filter(|c| c.args.contains("other-")).count();
            assert_eq!(others, 0, "{verb} looks at other containers ({what})");
            trace
                .named(&["open", "openat", "openat2", "getdents64", "flock"])
                .count()
        })
    };
    let alone = counts("there are none");
    let (root, state) = (test.root(), c.state_dir());
    let other = |n| root.join(format!("other-{n:03}"));
    for n in 0..100 {
        crate::common::shell(&format!("cp -r {} {}", state.display(), other(n).display()));
    }
    let among = counts("there are a hundred");
    for n in 0..100 {
        std::fs::remove_dir_all(other(n)).expect("removing the copy");
    }
    assert_eq!(alone, among, "the calls of {verbs:?}");
    c.force_delete().ok();
    test.nothing_left();
}
