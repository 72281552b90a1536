//! Where the process is: namespaces, root, control groups, parentage.

use std::fs;

use serde_json::{Value, json};

use crate::common::{Cmd, Container, Test, cgroup_dirs, map_ids, namespace_of, shell, skip, wait_for};
use crate::{exec, running, script, section, write_section};

const KINDS: [&str; 8] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"];

/// A detached `sleep` in the container, and its pid.
fn sleeper(c: &Container<'_>, flags: &[&str]) -> i32 {
    let file = c.bundle.join("exec.pid");
    let all = [flags, &["--detach", "--pid-file", file.to_str().expect("path")]].concat();
    exec(c, &all, &["sleep", "1000"]).run().ok();
    fs::read_to_string(file).expect("pid file").parse().expect("pid")
}

/// Demands that the process of a fresh exec is in each namespace and control group that init is in.
#[track_caller]
fn same_place(c: &Container<'_>) {
    let (init, pid) = (c.pid(), sleeper(c, &[]));
    for kind in KINDS {
        let (theirs, its) = (
            namespace_of(&init.to_string(), kind),
            namespace_of(&pid.to_string(), kind),
        );
        assert_eq!(theirs, its, "{kind} namespace");
    }
    let groups = |pid: i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    assert_eq!(groups(init), groups(pid));
    let root = |pid: i32| fs::read_link(format!("/proc/{pid}/root")).expect("root");
    assert_eq!(root(init), root(pid));
}

/// Adds namespaces of these kinds.
fn add(config: &mut Value, kinds: &[&str]) {
    let list = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    list.extend(kinds.iter().map(|kind| json!({ "type": kind })));
}

#[test]
fn beside_init() {
    let Some(test) = Test::new() else { return };
    same_place(&running(&test, |_| ()));
    same_place(&running(&test, |config| add(config, &["cgroup", "time"])));
    // Sharing the host's processes, it is no sibling of a middle process.
    same_place(&running(&test, |config| {
        let list = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        list.retain(|namespace| namespace["type"] != "pid");
    }));
    test.nothing_left_but(std::process::id().cast_signed());
}

#[test]
fn in_the_namespaces_of_a_pod() {
    let Some(test) = Test::new() else { return };
    let pod = running(&test, |_| ());
    let pid = pod.pid();
    let c = running(&test, |config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().expect("namespaces") {
            let name = match namespace["type"].as_str() {
                Some("network") => "net",
                Some("ipc") => "ipc",
                Some("pid") => "pid",
                _ => continue,
            };
            namespace["path"] = json!(format!("/proc/{pid}/ns/{name}"));
        }
    });
    same_place(&c);
    assert_eq!(
        namespace_of(&pid.to_string(), "net"),
        namespace_of(&c.pid().to_string(), "net")
    );
}

#[test]
fn without_a_mount_namespace() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| {
        config["linux"]["namespaces"] = json!([{ "type": "pid" }]);
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["root"]["readonly"] = json!(false);
        config.as_object_mut().expect("config").remove("hostname");
    });
    same_place(&c);
    // The container's root is a directory of the host's tree, and its processes do not get out of it.
    script(&c, &[], "ls -d /work /usr/bin /boot 2>/dev/null; cat /etc/hosts").prints("127.0.0.1 localhost");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn in_a_user_namespace() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["sleep", "1000"], |config| {
        map_ids(config);
        add(config, &["cgroup"]);
    });
    shell(&format!("chown -Rh 100000:100000 {}", c.rootfs().display()));
    c.run_detached().ok();
    same_place(&c);
    let ids = "id -u; id -g; cat /proc/self/uid_map | xargs";
    script(&c, &[], ids).ok().prints("0\n0\n0 100000 65536");
    script(&c, &["--user", "5:6", "-g", "7"], "id -u; id -g; id -G")
        .ok()
        .prints("5\n6\n6 7");
    let mut process = section("ulimit -Hn; ulimit -Sn");
    process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "hard": 2000, "soft": 99 }]);
    let file = write_section(&c, &process);
    // Init's own hard limit is 1024: nobody inside may raise it.
    c.verb("exec", &["--process", &file]).run().ok().prints("2000\n99");
    let out = script(&c, &["--user", "70000"], "true").exits(255);
    assert!(out.said().contains("process.user.uid: cannot become 70000"), "{out}");
    script(&c, &["-t"], "tty; stat -c %u:%g $(tty)")
        .ok()
        .prints("/dev/pts/0\n0:5");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn every_control_group() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let pid = sleeper(&c, &[]);
    let mut count = 0;
    for (name, dir) in cgroup_dirs(&format!("/{}/{}", test.mark(), c.id)) {
        let Ok(procs) = fs::read_to_string(dir.join("cgroup.procs")) else {
            continue;
        };
        assert!(procs.lines().any(|line| line == pid.to_string()), "{name}: {procs:?}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn control_groups_below_the_containers() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let dirs = cgroup_dirs(&format!("/{}/{}", test.mark(), c.id));
    let dirs: Vec<_> = dirs.into_iter().filter(|(_, dir)| dir.exists()).collect();
    for (_, dir) in &dirs {
        fs::create_dir(dir.join("below")).expect("mkdir");
    }
    for (name, dir) in dirs.iter().filter(|(name, _)| name == "cpuset") {
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let value = fs::read(dir.join(file)).expect(name);
            fs::write(dir.join("below").join(file), value).expect(name);
        }
    }
    // Others may mount further hierarchies at any time.
    let groups = |pid: i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
        let own = text.lines().filter(|line| line.contains(test.mark()));
        own.map(|line| format!("{line}\n")).collect::<String>()
    };
    let own = groups(c.pid());
    let moved: String = own.lines().map(|line| format!("{line}/below\n")).collect();
    assert_eq!(groups(sleeper(&c, &["--cgroup", "below"])), moved);
    assert_eq!(
        groups(sleeper(&c, &["--cgroup", "/../../below"])),
        moved,
        "not above the container's"
    );
    assert_eq!(groups(sleeper(&c, &["--cgroup", "/"])), own);
    let out = script(&c, &["--cgroup", "nosuch"], "true").exits(255);
    assert!(out.said().contains("nosuch"), "{out}");
    let out = script(&c, &["--cgroup", "nosuch:below"], "true").exits(255);
    assert!(out.said().contains("invalid --cgroup argument"), "{out}");
    if dirs.iter().any(|(name, _)| name == "pids") {
        let some = groups(sleeper(&c, &["--cgroup", "pids,cpu:below"]));
        let wanted = |line: &str| match line.split(':').nth(1) {
            Some("pids" | "cpu") => format!("{line}/below\n"),
            _ => format!("{line}\n"),
        };
        assert_eq!(some, own.lines().map(wanted).collect::<String>());
    }
    c.force_delete().ok();
    test.nothing_left();
}

#[test]
fn a_container_that_has_spread_over_control_groups_of_its_own() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let all = cgroup_dirs(&format!("/{}/{}", test.mark(), c.id));
    let [(_, dir)] = &all[..] else {
        return skip("needs cgroup v2 alone");
    };
    // As systemd in a container does: its group then holds no process itself, and takes none (EBUSY).
    let inner = dir.join("inner");
    fs::create_dir(&inner).expect("mkdir");
    fs::write(inner.join("cgroup.procs"), c.pid().to_string()).expect("moving");
    fs::write(dir.join("cgroup.subtree_control"), "+pids").expect("delegating");
    same_place(&c);
    let out = script(&c, &["--cgroup", "/nosuch"], "true").exits(255);
    assert!(out.said().contains("nosuch"), "{out}");
    c.force_delete().ok();
    test.nothing_left();
}

/// Linux (seen from 6.12 to 6.18) kills a child at its birth when it is cloned from a group that was killed into one that
/// was not.
#[test]
fn from_a_control_group_that_was_killed() {
    let Some(test) = Test::new() else { return };
    let all = cgroup_dirs(&format!("/{}-caller", test.mark()));
    let v2 = all.into_iter().map(|(_, dir)| dir);
    let Some(own) = v2
        .into_iter()
        .find(|dir| dir.with_file_name("cgroup.controllers").exists())
    else {
        return skip("needs cgroup v2");
    };
    fs::create_dir(&own).expect("mkdir");
    let killed = fs::write(own.join("cgroup.kill"), "1");
    if killed.is_ok() {
        let procs = own.join("cgroup.procs").display().to_string();
        let from_there = |cmd: Cmd| cmd.wrapped(["sh", "-c", r#"echo 0 >"$0" && exec "$@""#, &procs]).run();
        let c = test.container(&["sleep", "1000"]);
        from_there(c.with_bundle("create", &[])).ok().silent();
        c.start().ok();
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", c.pid())).expect("cgroup");
        assert!(!groups.contains("-caller"), "{groups}");
        from_there(exec(&c, &[], &["echo", "through"])).ok().prints("through");
        c.kill_and_delete();
    }
    wait_for("the end of the group", || fs::remove_dir(&own).ok());
    match killed {
        Ok(()) => test.nothing_left(),
        Err(_) => skip("needs Linux 5.14 for cgroup.kill"),
    }
}

#[test]
fn a_frozen_container() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let (file, frozen, thawed) = match c.cgroup("freezer") {
        Some(dir) => (dir.join("freezer.state"), "FROZEN", "THAWED"),
        None => (c.cgroup("cgroup").expect("cgroup").join("cgroup.freeze"), "1", "0"),
    };
    fs::write(&file, frozen).expect("freeze");
    c.wait_status("paused");
    let out = script(&c, &[], "true").exits(255);
    assert!(out.said().contains("cannot exec in a paused container"), "{out}");
    let mut waiting = exec(&c, &["--ignore-paused"], &["echo", "through"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(
        !waiting.ended() && waiting.stdout().is_empty(),
        "nothing runs in a frozen container"
    );
    // One that is given up is gone once the container is thawed.
    let given_up = exec(&c, &["--ignore-paused"], &["sleep", "1000"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(200));
    given_up.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(given_up.wait().died_of(15));
    fs::write(&file, thawed).expect("thaw");
    waiting.wait().ok().prints("through");
    wait_for("the end of what was given up", || {
        let procs = fs::read_to_string(file.with_file_name("cgroup.procs")).expect("cgroup.procs");
        (procs.lines().count() == 1).then_some(())
    });
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn the_containers_domain_and_cpus() {
    let Some(test) = Test::new() else { return };
    let text = "uname -m; grep Cpus_allowed_list /proc/self/status | xargs";
    let c = running(&test, |config| {
        config["linux"]["personality"] = json!({ "domain": "LINUX32" });
        config["process"]["execCPUAffinity"] = json!({ "initial": "0", "final": "0" });
    });
    let machine = if cfg!(target_arch = "x86_64") { "i686" } else { "armv8l" };
    let own = script(&c, &[], text).ok();
    assert_eq!(own.stdout, format!("{machine}\nCpus_allowed_list: 0\n"));
    let mut process = section(text);
    let file = write_section(&c, &process);
    // A section that says nothing has the container's.
    c.verb("exec", &["--process", &file]).run().ok().prints(&own.stdout);
    process["execCPUAffinity"] = json!({ "initial": "0" });
    let file = write_section(&c, &process);
    let out = c.verb("exec", &["--process", &file]).run().ok();
    let init = shell(&format!("grep Cpus_allowed_list /proc/{}/status | xargs", c.pid()));
    assert_eq!(
        out.stdout,
        format!("{machine}\n{init}"),
        "back to all that the control group has"
    );
}

#[test]
fn the_containers_scheduling_and_limits() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| {
        config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 7 });
        config["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
    });
    // What the kernel says of a process that is added with this section: policy, nice value, open files.
    let added = |section: &Value| {
        let (section, file) = (write_section(&c, section), c.bundle.join("exec.pid"));
        let flags = [
            "--process",
            &section,
            "--detach",
            "--pid-file",
            file.to_str().expect("path"),
        ];
        c.verb("exec", &flags).run().ok();
        let pid = fs::read_to_string(file).expect("pid file");
        let policy = shell(&format!("chrt --pid {pid} | head -n 1"));
        let nice = shell(&format!("ps -o ni= -p {pid}"));
        let files = shell(&format!(
            "awk '/^Max open files/ {{ print $4, $5 }}' /proc/{pid}/limits"
        ));
        let policy = policy.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        [policy, nice.trim().to_owned(), files.trim().to_owned()]
    };
    // A section that says nothing has the container's; another one its own.
    let mut process = section("exec sleep 1000");
    assert_eq!(added(&process), ["SCHED_BATCH", "7", "100 200"]);
    process["scheduler"] = json!({ "policy": "SCHED_OTHER", "nice": 3 });
    process["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 50, "hard": 60 }]);
    assert_eq!(added(&process), ["SCHED_OTHER", "3", "50 60"]);
    c.force_delete().ok();
    test.nothing_left();
}

/// `pids.max` bounds what the container's processes clone; administrators need `exec` in a container that has reached it.
#[test]
fn into_a_container_that_has_reached_its_limit_of_processes() {
    let Some(test) = Test::new() else { return };
    for (private, room) in [(true, 0), (true, 1), (false, 0)] {
        let c = test.script_with("sleep 1000 & sleep 1000 & exec sleep 1000", |config| {
            config["linux"]["resources"]["pids"] = json!({ "limit": 3 + room });
            if !private {
                let list = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
                list.retain(|namespace| namespace["type"] != "pid");
            }
        });
        let created = c.with_bundle("run", &["--detach"]).run();
        if created.stderr.contains("needs the pids controller") {
            return skip("needs the pids controller");
        }
        created.ok();
        let dir = c.cgroup("pids").or_else(|| c.cgroup("cgroup")).expect("a cgroup");
        let count = || fs::read_to_string(dir.join("pids.current")).expect("pids.current");
        wait_for("three processes", || (count().trim() == "3").then_some(()));
        script(&c, &[], "echo hi").ok().prints("hi");
        // The control: the limit is in force, for what the new process clones, too.
        let out = script(&c, &[], "/bin/true | /bin/true | /bin/true; echo after");
        assert!(out.said().contains("fork"), "{out}");
        c.force_delete().ok();
        test.nothing_left();
    }
}

/// As buildkitd in a privileged pod does it.
#[test]
fn into_a_container_whose_init_has_left_its_control_groups() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let init = c.pid();
    let own = cgroup_dirs(&format!("/{}/{}", test.mark(), c.id));
    let elsewhere = cgroup_dirs(&format!("/{}/elsewhere", test.mark()));
    for ((_, own), (_, new)) in own.iter().zip(&elsewhere).filter(|((_, own), _)| own.exists()) {
        fs::create_dir(new).expect("mkdir");
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(text) = fs::read_to_string(own.join(file)) {
                let _ = fs::write(new.join(file), text);
            }
        }
        fs::write(new.join("cgroup.procs"), init.to_string()).expect("moving");
        fs::remove_dir(own).expect("rmdir");
    }
    same_place(&c);
    let out = script(&c, &["--cgroup", "/below"], "true").exits(255);
    assert!(out.said().contains("no such file"), "{out}");
    c.kill("KILL").ok();
    c.wait_status("stopped");
    c.delete().ok();
    for (_, dir) in elsewhere.iter().filter(|(_, dir)| dir.exists()) {
        wait_for("an empty control group", || fs::remove_dir(dir).ok());
    }
    test.nothing_left();
}
