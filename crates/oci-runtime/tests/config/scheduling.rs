//! Scheduler, I/O priority, execution domain and memory policy, as the kernel shows them of the program.

use std::fs;

use rustix::io::Errno;
use rustix::process::Pid;
use serde_json::{Value, json};

use super::inside::field;
use crate::common::map_ids;
use crate::common::{Cmd, Container, Out, Test, shell, skip};

/// Starts a sleeping container with one field of `process` set, and gives its pid.
fn sleeping<'t>(test: &'t Test, edit: impl FnOnce(&mut Value)) -> (Container<'t>, i32) {
    let c = test.container_with(&["sleep", "1000"], edit);
    c.create().ok();
    c.start().ok();
    let pid = c.pid();
    (c, pid)
}

fn policy_of(pid: i32) -> String {
    let told = shell(&format!("chrt --pid {pid}"));
    told.lines()
        .map(|line| line.rsplit(": ").next().unwrap_or_default().to_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn nice_of(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("stat").1.split(' ').collect();
    fields[16].to_owned()
}

#[test]
fn the_scheduling_policy() {
    let Some(test) = Test::new() else { return };
    for (scheduler, shown, nice) in [
        (json!({"policy": "SCHED_BATCH", "nice": 7}), "SCHED_BATCH 0", "7"),
        (json!({"policy": "SCHED_OTHER", "nice": -5}), "SCHED_OTHER 0", "-5"),
        (
            json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
            "SCHED_OTHER|SCHED_RESET_ON_FORK 0",
            "0",
        ),
        (json!({"policy": "SCHED_IDLE"}), "SCHED_IDLE 0", "0"),
        (
            json!({
                "policy": "SCHED_DEADLINE", "nice": 19, "priority": 0,
                "runtime": 42_000, "deadline": 1_000_000, "period": 1_000_000
            }),
            "SCHED_DEADLINE 0 42000/1000000/1000000",
            "0",
        ),
    ] {
        let (c, pid) = sleeping(&test, |config| config["process"]["scheduler"] = scheduler.clone());
        let told = policy_of(pid);
        assert!(told.starts_with(shown), "{scheduler}: {told}");
        assert_eq!(nice_of(pid), nice, "{scheduler}");
        c.force_delete().ok();
    }
    test.nothing_left();
}

#[test]
fn the_scheduling_policy_in_a_user_namespace() {
    let Some(test) = Test::new() else { return };
    // Raising a priority needs a right that root inside does not have.
    let c = test.container_with(&["sleep", "1000"], |config| {
        map_ids(config);
        config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "nice": -3});
        config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_RT", "priority": 1});
    });
    shell(&format!("chown -Rh 100000:100000 {}", c.rootfs().display()));
    c.create().ok();
    c.start().ok();
    let pid = c.pid();
    assert_eq!(nice_of(pid), "-3");
    assert_eq!(shell(&format!("ionice -p {pid}")).trim(), "realtime: prio 1");
    c.force_delete().ok();
    test.nothing_left();
}

#[test]
fn what_the_kernel_refuses_names_the_field() {
    let Some(test) = Test::new() else { return };
    // More bandwidth than there is time.
    let c = test.script_with("true", |config| {
        config["linux"]["resources"] = json!({"cpu": {"cpus": "0"}});
        config["process"]["scheduler"] =
            json!({"policy": "SCHED_DEADLINE", "runtime": 4_000_000, "deadline": 4_000_000, "period": 4_000_000});
    });
    c.create().fails("process.scheduler: the kernel refuses it: ");
    let c = test.script_with("true", |config| {
        config["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 100});
    });
    c.create()
        .fails("process.scheduler.priority: 100 must be between 1 and 99");
    test.nothing_left();
}

#[test]
fn the_io_priority() {
    let Some(test) = Test::new() else { return };
    for (class, priority, shown) in [
        ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ] {
        let (c, pid) = sleeping(&test, |config| {
            config["process"]["ioPriority"] = json!({"class": class, "priority": priority});
        });
        assert_eq!(shell(&format!("ionice -p {pid}")).trim(), shown);
        c.force_delete().ok();
    }
    test.nothing_left();
}

#[test]
fn the_execution_domain() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat /proc/self/personality; uname -m");
    let machine = shell("uname -m");
    c.run().ok().prints(&format!("00000000\n{machine}"));
    c.edit(|config| config["linux"]["personality"] = json!({"domain": "LINUX"}));
    c.run().ok().prints(&format!("00000000\n{machine}"));
    c.edit(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"}));
    let out = c.run().ok();
    assert!(out.stdout.starts_with("00000008\n"), "{out}");
    if cfg!(target_arch = "x86_64") {
        assert!(out.stdout.ends_with("i686\n"), "{out}");
    }
    test.nothing_left();
}

#[test]
fn cpus_of_exec_do_not_concern_the_first_process() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["cat", "/proc/self/status"]);
    let all = field(&c.run().ok().stdout, "Cpus_allowed_list").to_owned();
    c.edit(|config| config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"}));
    assert_eq!(field(&c.run().ok().stdout, "Cpus_allowed_list"), all);
}

#[test]
fn exec_runs_on_the_cpus_of_its_own() {
    let Some(test) = Test::new() else { return };
    let (c, pid) = sleeping(&test, |config| {
        config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    });
    let allowed = |who: &str| format!("grep Cpus_allowed_list /proc/{who}/status");
    let inside = || {
        let program = ["sh", "-c", &allowed("self")].map(str::to_owned);
        c.verb("exec", &[]).args(program).run().ok().stdout
    };
    assert_eq!(field(&inside(), "Cpus_allowed_list"), "0");
    let of_init = shell(&allowed(&pid.to_string()));
    assert_eq!(of_init, shell(&allowed("self")), "init is as free as we are");
    if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() > 1) {
        c.edit(|config| config["process"]["execCPUAffinity"] = json!({"final": "1"}));
        assert_eq!(field(&inside(), "Cpus_allowed_list"), "1");
    }
    c.edit(|config| config["process"]["execCPUAffinity"] = json!({"final": "8000"}));
    let out = c.verb("exec", &[]).args(["true"]).run();
    assert!(
        out.said()
            .contains("process.execCPUAffinity.final: the kernel refuses it"),
        "{out}"
    );
    c.force_delete().ok();
    test.nothing_left();
}

#[test]
fn the_memory_policy() {
    let Some(test) = Test::new() else { return };
    if fs::metadata("/proc/self/numa_maps").is_err() {
        crate::common::skip("the kernel has no NUMA policies");
        return;
    }
    for (policy, shown) in [
        (json!({"mode": "MPOL_DEFAULT"}), " default"),
        (json!({"mode": "MPOL_LOCAL"}), " local"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), " prefer:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), " bind:0"),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}),
            " bind=static:0",
        ),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), " interleave:0"),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}), " prefer (many):0"),
        (
            json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}),
            " weighted interleave:0",
        ),
    ] {
        let c = test.container_with(&["cat", "/proc/self/numa_maps"], |config| {
            config["linux"]["memoryPolicy"] = policy.clone();
        });
        let out = c.run().ok();
        let stack = out.stdout.lines().find(|line| line.contains(" stack")).expect("stack");
        assert!(stack.contains(shown), "{policy}: {stack}");
    }
    let c = test.script_with("true", |config| {
        config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "1000"});
    });
    c.create()
        .fails("linux.memoryPolicy: the kernel refuses it: invalid argument");
    test.nothing_left();
}

#[test]
fn sysctls_of_the_user_namespace() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("cat /proc/sys/user/max_uts_namespaces", |config| {
        map_ids(config);
        config["linux"]["sysctl"] = json!({"user.max_uts_namespaces": "7"});
    });
    shell(&format!("chown -Rh 100000:100000 {}", c.rootfs().display()));
    let host = fs::read_to_string("/proc/sys/user/max_uts_namespaces").expect("sysctl");
    c.run().ok().prints("7");
    let now = fs::read_to_string("/proc/sys/user/max_uts_namespaces").expect("sysctl");
    assert_eq!(now, host, "the host's is untouched");
    let c = test.script_with("true", |config| {
        config["linux"]["sysctl"] = json!({"user.max_uts_namespaces": "7"});
    });
    c.create().fails("not allowed in host user namespace");
    test.nothing_left();
}

/// The CPUs that this process may run on, by their numbers.
fn own_cpus() -> Vec<usize> {
    let list = shell("taskset -cp $$");
    cpus_in(list.rsplit(": ").next().unwrap_or_default())
}

/// `0-1,3` → 0, 1, 3.
fn cpus_in(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<usize>().expect("number")..=last.parse().expect("number")
    };
    list.trim().split(',').flat_map(range).collect()
}

/// Runs a command on one CPU.
fn on_cpu(cpu: usize, command: Cmd) -> Out {
    command.wrapped(["taskset", "-c", &cpu.to_string()]).run()
}

#[test]
fn the_callers_cpus_are_not_inherited() {
    let Some(test) = Test::new() else { return };
    let own = own_cpus();
    let Some(last) = own.last().copied().filter(|_| own.len() > 1) else {
        return skip("needs two CPUs");
    };
    let show = "sed -n 's/^Cpus_allowed_list:\\t//p' /proc/self/status";
    let c = test.container_with(&["sh", "-c", &format!("{show}; exec sleep 1000")], |_| ());
    // `taskset` itself narrows what it starts: without the reset all of these show one CPU.
    let shown = shell(&format!("taskset -c {last} sh -c {:?}", show));
    assert_eq!(cpus_in(&shown), [last], "the control");
    on_cpu(last, c.with_bundle("run", &["--detach"])).ok();
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).expect("status");
    assert_eq!(cpus_in(field(&status, "Cpus_allowed_list")), own, "init");
    let said = on_cpu(last, c.verb("exec", &[]).args(["sh", "-c", show])).ok();
    assert_eq!(cpus_in(&said.stdout), own, "exec");
    c.force_delete().ok();
    // A cpuset still holds.
    c.edit(|config| config["linux"]["resources"]["cpu"] = json!({ "cpus": own[0].to_string() }));
    on_cpu(last, c.with_bundle("run", &["--detach"])).ok();
    let said = on_cpu(last, c.verb("exec", &[]).args(["sh", "-c", show])).ok();
    assert_eq!(cpus_in(&said.stdout), [own[0]], "exec in a cpuset");
    c.force_delete().ok();
    test.nothing_left();
}

#[test]
fn the_draft_of_cpu_affinity() {
    let Some(test) = Test::new() else { return };
    let own = own_cpus();
    let [first, second, ..] = own[..] else {
        return skip("needs two CPUs");
    };
    let show = "sed -n 's/^Cpus_allowed_list:\\t//p' /proc/self/status";
    let seen = test.dir().join("hooks");
    let hook =
        |name: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("{show} >{}.{name}", seen.display())] }]);
    let c = test.container_with(&["sleep", "1000"], |config| {
        config["process"]["cpuAffinity"] = json!({
            "createRuntime": first.to_string(), "createContainer": second.to_string(), "startContainer": first.to_string(),
            "execRuntime": second.to_string(), "execContainer": "all",
        });
        config["hooks"] = json!({ "createRuntime": hook("createRuntime"), "createContainer": hook("createContainer") });
    });
    c.run_detached().ok();
    let hooked = |name: &str| {
        let path = format!("{}.{name}", seen.display());
        cpus_in(&fs::read_to_string(path).expect(name))
    };
    assert_eq!(hooked("createRuntime"), [first]);
    assert_eq!(hooked("createContainer"), [second]);
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).expect("status");
    assert_eq!(cpus_in(field(&status, "Cpus_allowed_list")), [first]);
    let said = c.verb("exec", &[]).args(["sh", "-c", show]).run().ok();
    assert_eq!(cpus_in(&said.stdout), own);
    c.edit(|config| config["process"]["cpuAffinity"] = json!({ "execContainer": first.to_string() }));
    let said = c.verb("exec", &[]).args(["sh", "-c", show]).run().ok();
    assert_eq!(cpus_in(&said.stdout), [first]);
    c.force_delete().ok();
    c.edit(|config| config["process"]["cpuAffinity"] = json!({ "createContainer": "16383" }));
    c.create()
        .fails("process.cpuAffinity.createContainer: the kernel refuses it: invalid argument");
    test.nothing_left();
}

#[test]
fn core_scheduling() {
    let Some(test) = Test::new() else { return };
    let cookie = |pid: i32| nucleus_sys::sched::core_cookie(Pid::from_raw(pid).expect("pid"));
    let c = test.container(&["sleep", "1000"]);
    c.edit(|config| config["annotations"] = json!({ "org.nucleus.core-scheduling": "perhaps" }));
    c.create()
        .fails("annotations.org.nucleus.core-scheduling: \"perhaps\" is neither true nor false");
    let by_annotation = json!({ "org.nucleus.core-scheduling": "true" });
    for (annotations, flags) in [
        (by_annotation, &["--detach"][..]),
        (json!({}), &["--detach", "--core-sched"]),
    ] {
        c.edit(|config| config["annotations"] = annotations);
        let run = c.with_bundle("run", flags);
        match cookie(std::process::id() as i32) {
            Ok(ours) => {
                run.run().ok();
                let theirs = cookie(c.pid()).expect("cookie");
                assert_ne!(theirs, ours);
                let file = test.dir().join("exec.pid");
                let file = file.to_str().expect("path");
                c.verb("exec", &["--detach", "--pid-file", file])
                    .args(["sleep", "1000"])
                    .run()
                    .ok();
                let pid = fs::read_to_string(file).expect("pid file").parse().expect("pid");
                assert_eq!(cookie(pid), Ok(theirs), "exec");
                c.force_delete().ok();
            }
            // No core has two threads: there are no cookies, and nothing is shared.
            Err(Errno::NODEV) => {
                skip("no core has two threads, so that cookies are not seen");
                run.run().ok();
                c.verb("exec", &[]).args(["true"]).run().ok();
                c.force_delete().ok();
            }
            Err(error) => {
                assert_eq!(error, Errno::INVAL);
                skip("a kernel without core scheduling: cookies are not seen");
                run.run()
                    .fails("core scheduling (org.nucleus.core-scheduling, --core-sched): the kernel gives no cookie");
            }
        }
        test.nothing_left();
    }
}
