//! Killing and removing: what must not keep a container alive or undeletable.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::common::{Container, Test, alive, cgroup_dirs, eventually, runtime, shell, skip, wait_for};
use crate::controller;

/// Without a PID namespace the other processes outlive init.
fn shares_pids(config: &mut Value) {
    config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "uts" }]);
    config["mounts"] = json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
    ]);
}

/// The container's directories in all hierarchies.
fn groups(c: &Container<'_>) -> Vec<PathBuf> {
    let all = cgroup_dirs(&format!("/{}/{}", c.test().mark(), c.id));
    all.into_iter().map(|(_, dir)| dir).filter(|dir| dir.exists()).collect()
}

/// Makes control groups in `dir` that are nested deeper than a path may be long, and moves a process into the last one.
fn bury(dir: &Path, pid: i32) {
    let name = "n".repeat(50);
    let script = format!(
        "cd -P '{}'; i=0; while [ $i -lt 100 ]; do mkdir {name}; cd -P {name}; i=$((i+1)); done; \
         [ ! -e cpuset.cpus ] || exit 0; echo {pid} >cgroup.procs",
        dir.display()
    );
    shell(&script);
}

fn processes(c: &Container<'_>) -> Vec<i32> {
    let dir = c.cgroup("freezer").or_else(|| c.cgroup("cgroup")).expect("a cgroup");
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[test]
fn control_groups_beyond_the_longest_path_keep_no_container() {
    let Some(test) = Test::new() else { return };
    for shared in [false, true] {
        let c = test.script_with("sleep 1000 & exec sleep 1000", |config| {
            if shared {
                shares_pids(config);
            }
        });
        if controller(&c, "freezer").is_none() {
            return;
        }
        c.run_detached().ok();
        wait_for("two processes", || (processes(&c).len() == 2).then_some(()));
        let init = c.pid();
        let other = processes(&c)
            .into_iter()
            .find(|pid| *pid != init)
            .expect("another process");
        groups(&c).iter().for_each(|dir| bury(dir, other));
        // The control: the depth is beyond what a path can name.
        let deepest = format!("{}/{}", groups(&c)[0].display(), vec!["n".repeat(50); 100].join("/"));
        let error = fs::metadata(deepest).expect_err("a path that is too long");
        assert_eq!(error.raw_os_error(), Some(nix::libc::ENAMETOOLONG));
        c.force_delete().ok().silent();
        assert!(!alive(init) && !alive(other));
        test.nothing_left();
    }
}

#[test]
fn a_control_group_that_the_container_has_frozen_keeps_no_container() {
    let Some(test) = Test::new() else { return };
    for how in ["kill", "delete"] {
        let c = test.container(&["sleep", "1000"]);
        let Some((dir, v2)) = controller(&c, "freezer") else {
            return;
        };
        c.run_detached().ok();
        let (init, below) = (c.pid(), dir.join("below"));
        fs::create_dir(&below).expect("mkdir");
        fs::write(below.join("cgroup.procs"), init.to_string()).expect("moving");
        let (file, value) = if v2 {
            ("cgroup.freeze", "1")
        } else {
            ("freezer.state", "FROZEN")
        };
        fs::write(below.join(file), value).expect("freezing");
        if how == "kill" {
            c.kill("KILL").ok().silent();
            wait_for("the end of the process", || (!alive(init)).then_some(()));
        }
        c.force_delete().ok().silent();
        assert!(!alive(init));
        test.nothing_left();
    }
}

#[test]
fn kill_without_a_pid_namespace_ends_all_processes_and_works_without_init() {
    let Some(test) = Test::new() else { return };
    for init_first in [false, true] {
        let c = test.script_with("sleep 1000 & sleep 1000 & exec sleep 1000", shares_pids);
        if controller(&c, "freezer").is_none() {
            return;
        }
        c.run_detached().ok();
        wait_for("three processes", || (processes(&c).len() == 3).then_some(()));
        let all = processes(&c);
        if init_first {
            c.kill("TERM").ok();
            c.wait_status("stopped");
            // The control: init is gone, and the others are not.
            assert_eq!(all.iter().filter(|pid| alive(**pid)).count(), 2);
            c.kill("TERM").fails("container not running");
        }
        c.kill("KILL").ok().silent();
        assert!(eventually(|| !all.iter().any(|pid| alive(*pid))), "somebody lives on");
        c.kill("KILL").fails("container not running");
        c.delete().ok().silent();
        test.nothing_left();
    }
}

#[test]
fn several_containers_are_deleted_each_for_itself() {
    let Some(test) = Test::new() else { return };
    let all = [(); 3].map(|()| test.container(&["sleep", "1000"]));
    let [one, running, other] = &all;
    one.create().ok();
    other.create().ok();
    running.run_detached().ok();
    let delete = |flags: &[&str]| {
        let ids = [&one.id, "nosuch", &running.id, &other.id].map(ToString::to_string);
        test.runtime().arg("delete").args(flags).args(ids).run()
    };
    let out = delete(&[]).exits(1);
    assert!(out.stderr.contains("nosuch: container does not exist"), "{out}");
    assert!(
        out.stderr.contains(&format!("{}: cannot delete container", running.id)),
        "{out}"
    );
    assert!(!one.has_state() && running.has_state() && !other.has_state());
    delete(&["--force"]).ok().silent();
    test.nothing_left();
    test.runtime().arg("delete").run().exits(1);
}

/// Runs the runtime in a PID namespace of its own, which ends together with it.
fn beside(test: &Test, arguments: &[&str]) -> crate::common::Out {
    let root = test.root();
    test.command("unshare")
        .args(["-p", "-f", "--kill-child", "--mount-proc"])
        .arg(runtime())
        .arg("--root")
        .arg(root)
        .args(arguments)
        .run()
}

#[test]
fn a_container_of_a_pid_namespace_that_is_gone_is_stopped() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    if controller(&c, "freezer").is_none() {
        return;
    }
    let bundle = c.bundle.to_str().expect("path").to_owned();
    beside(&test, &["run", "--detach", "--bundle", &bundle, &c.id]).ok();
    wait_for("the end of the namespace", || processes(&c).is_empty().then_some(()));
    assert_eq!(c.status(), "stopped");
    let list = test.runtime().arg("list").run().ok();
    assert!(list.stdout.contains(&c.id) && list.stderr.is_empty(), "{list}");
    c.kill("KILL").fails("container not running");
    c.delete().ok().silent();
    test.nothing_left();
}

#[test]
fn a_container_that_lives_where_this_pid_namespace_does_not_reach_is_not_stopped() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let pid = c.pid();
    for verb in [&["state"][..], &["delete"], &["delete", "--force"]] {
        let out = beside(&test, &[verb, &[c.id.as_str()]].concat()).exits(1);
        assert!(out.stderr.contains("another pid namespace"), "{out}");
    }
    assert!(alive(pid) && c.status() == "running");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_creation_under_way_is_not_listed_and_not_reported_as_cut_off() {
    let Some(test) = Test::new() else { return };
    let dir = test.root().join("under-way");
    fs::create_dir_all(&dir).expect("mkdir");
    shell(&format!("chmod 700 {}", test.root().display()));
    let lock = fs::File::create(dir.join("lock")).expect("lock");
    let lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).expect("flock");
    let list = || test.runtime().arg("list").run().ok();
    let state = || test.runtime().args(["state", "under-way"]).run().exits(1);
    assert!(list().stderr.is_empty(), "{}", list());
    assert_eq!(state().stderr.trim(), "error: container does not exist");
    drop(lock);
    // The control: without the lock, it was cut off.
    assert!(list().stderr.contains("under-way"), "{}", list());
    assert!(state().stderr.contains("cut off"), "{}", state());
    fs::remove_dir_all(dir).expect("rmdir");
}

#[test]
fn a_fifo_that_cannot_be_removed_does_not_fail_a_start_that_took_place() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.create().ok();
    let dir = c.state_dir();
    let change = |flag: &str| std::process::Command::new("chattr").arg(flag).arg(&dir).output();
    if !change("+a").is_ok_and(|out| out.status.success()) {
        c.force_delete().ok();
        return skip("needs chattr +a");
    }
    let out = c.start();
    let left = dir.join("exec.fifo").exists();
    change("-a").expect("chattr");
    let out = out.ok();
    assert!(left && out.stderr.contains("exec fifo"), "{out}");
    assert_eq!(c.status(), "running");
    c.start().exits(1);
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_container_that_goes_on_forking_is_deleted() {
    let Some(test) = Test::new() else { return };
    for _ in 0..3 {
        // Fifty that stay, since a slow machine never has as many short ones at a time. A shell whose fork is refused ends;
        // the outer one starts another.
        let forks =
            "for i in $(seq 50); do sleep 1000 & done; while :; do (while :; do sleep 0.05 & done) 2>/dev/null; done";
        let c = test.script_with(forks, |config| {
            shares_pids(config);
            config["linux"]["resources"]["pids"] = json!({ "limit": 100 });
        });
        if controller(&c, "freezer").is_none() || controller(&c, "pids").is_none() {
            return;
        }
        c.run_detached().ok();
        // Init, the fifty, the inner shell, and what that one has forked.
        wait_for("many processes", || (processes(&c).len() > 52).then_some(()));
        c.force_delete().ok().silent();
        test.nothing_left();
    }
}

#[test]
fn a_process_of_others_in_its_control_groups_keeps_none_of_them() {
    let Some(test) = Test::new() else { return };
    let c = test.script("exec sleep 1000");
    if controller(&c, "freezer").is_none() {
        return;
    }
    c.run_detached().ok();
    let mut stranger = Command::new("sleep").arg("1000").spawn().expect("sleep");
    for dir in groups(&c) {
        fs::write(dir.join("cgroup.procs"), stranger.id().to_string()).expect("cgroup.procs");
    }
    c.kill("KILL").ok();
    c.wait_status("stopped");
    let deleted = c.delete();
    let left = groups(&c);
    let _ = stranger.kill();
    let _ = stranger.wait();
    // runc differs: `delete` waits ten seconds for the process, and fails.
    deleted.ok();
    assert!(left.is_empty(), "`delete` succeeded and left {left:?}");
    test.nothing_left();
}

#[test]
fn a_threaded_control_group_below_hinders_no_verb() {
    let Some(test) = Test::new() else { return };
    let c = test.script("exec sleep 1000");
    c.run_detached().ok();
    let Some(dir) = c.cgroup("cgroup").filter(|dir| dir.join("cgroup.type").exists()) else {
        skip("needs cgroup v2");
        return c.kill_and_delete();
    };
    shell(&format!(
        "mkdir {0}/threads && echo threaded >{0}/threads/cgroup.type && echo {1} >{0}/threads/cgroup.threads",
        dir.display(),
        c.pid()
    ));
    // The control: the container's own group is one of threads now, and its processes are still listed there.
    assert_eq!(kind_of(&dir), "domain threaded");
    let beside = dir.join("beside");
    fs::create_dir(&beside).expect("mkdir");
    let out = c.verb("exec", &["--cgroup", "beside"]).arg("true").run().exits(255);
    let refused = format!(
        "cannot enter the control group {} (it is \"domain invalid\"",
        beside.display()
    );
    assert!(out.stderr.contains(&refused), "{out}");
    every_verb_works(&c);
}

fn kind_of(group: &Path) -> String {
    crate::read(group.join("cgroup.type"))
}

/// What looks at the processes of a container that runs; in the end it is deleted.
fn every_verb_works(c: &Container<'_>) {
    let list = c.verb("ps", &["--format", "json"]).run().ok();
    let list: Vec<i32> = serde_json::from_str(&list.stdout).expect("JSON");
    assert_eq!(list, [c.pid()]);
    c.verb("exec", &[]).args(["echo", "inside"]).run().ok().prints("inside");
    c.verb("pause", &[]).run().ok();
    assert_eq!(c.status(), "paused");
    c.verb("resume", &[]).run().ok();
    c.kill("KILL").ok();
    c.wait_status("stopped");
    c.delete().ok().silent();
    c.test().nothing_left();
}

#[test]
fn a_container_below_a_group_that_holds_processes_or_threads_runs() {
    let Some(test) = Test::new() else { return };
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control").unwrap_or_default();
    if !controllers.contains("memory") || !controllers.contains("pids") {
        return skip("needs cgroup v2 with its controllers");
    }
    let mut stranger = Command::new("sleep").arg("1000").spawn().expect("sleep");
    let process = format!("echo {} >cgroup.procs", stranger.id());
    let threads = "mkdir threads && echo threaded >threads/cgroup.type".to_owned();
    // Without the mark of the test, which its processes are known by: the stranger is none of them.
    let name = format!("above-{}", std::process::id());
    let above = PathBuf::from("/sys/fs/cgroup").join(&name);
    for (holds, below) in [
        (&process, "c"),
        (&process, "between/c"),
        (&threads, "c"),
        (&threads, "between/c"),
    ] {
        shell(&format!("mkdir {0} && cd {0} && {holds}", above.display()));
        let c = test.script_with("exec sleep 1000", |config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{name}/{below}"));
            config["linux"]["resources"]["memory"] = json!({ "limit": 100 << 20 });
        });
        let file = above.join("cgroup.subtree_control");
        let refused = format!(
            "linux.resources.memory.limit: cannot write \"+memory\" to {}",
            file.display()
        );
        let out = c.create().exits(1);
        assert!(
            out.stderr.contains(&refused) && out.stderr.contains("into a group below it"),
            "{out}"
        );

        c.edit(|config| {
            let resources = config["linux"]["resources"].as_object_mut().expect("resources");
            resources.remove("memory");
            resources.insert("pids".into(), json!({ "limit": 20 }));
        });
        c.run_detached().ok();
        // As with runc and crun: here a group can hold processes only if it is a threaded one.
        let dir = above.join(below);
        assert_eq!(kind_of(&dir), "threaded");
        assert_eq!(crate::read(dir.join("pids.max")), "20");
        every_verb_works(&c);
        assert!(!dir.exists());
        let back = format!("echo {} >/sys/fs/cgroup/cgroup.procs", stranger.id());
        shell(&format!(
            "{back}; find {} -depth -type d -exec rmdir {{}} +",
            above.display()
        ));
    }
    let _ = stranger.kill();
    let _ = stranger.wait();
}
