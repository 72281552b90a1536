//! An ordinary user of the host, without newuidmap, as the caller.

use std::os::unix::fs::chown;

use serde_json::{Value, json};

use super::seccomp_notify::{Agent, MKDIR, profile};
use crate::common::{Cmd, Container, Test, shell, skip, wait_for};

/// No user of the host has this id.
const USER: u32 = 23_456;

/// A group in each hierarchy of v1, below which the user may make more; its path there. `None` without v2 beside them.
fn delegated_on_v1(test: &Test) -> Option<String> {
    let path = format!("/{}", test.mark());
    let script = format!(
        "test -e /sys/fs/cgroup/unified/cgroup.procs || exit 0
        for mount in $(sed -n 's/.* \\(.*\\) cgroup .*/\\1/p' /proc/mounts); do
            mkdir -p $mount{path}
            if [ -e $mount{path}/cpuset.cpus ]; then
                cat $mount/cpuset.cpus >$mount{path}/cpuset.cpus
                cat $mount/cpuset.mems >$mount{path}/cpuset.mems
            fi
            chown -R {USER}:{USER} $mount{path}
        done
        echo yes"
    );
    (shell(&script).trim() == "yes").then_some(path)
}

/// A container that an ordinary user can make: `inside` is what its id is in the container.
fn bundle<'t>(test: &'t Test, args: &[&str], inside: u32, edit: impl FnOnce(&mut Value)) -> Container<'t> {
    let c = test.container_with(args, |config| {
        let kinds = ["user", "pid", "ipc", "uts", "mount"];
        config["linux"]["namespaces"] = json!(kinds.map(|kind| json!({ "type": kind })));
        let map = json!([{ "containerID": inside, "hostID": USER, "size": 1 }]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config["process"]["user"] = json!({ "uid": inside, "gid": inside });
        config["root"]["readonly"] = json!(false);
        let linux = config["linux"].as_object_mut().expect("linux");
        linux.remove("cgroupsPath");
        linux.remove("resources");
        for mount in config["mounts"].as_array_mut().expect("mounts") {
            if let Some(options) = mount["options"].as_array_mut() {
                // A group that the map does not have.
                options.retain(|option| !option.as_str().expect("option").starts_with("gid="));
            }
        }
        edit(config);
    });
    let state = state_root(test);
    shell(&format!(
        "mkdir -p {0}; chown {USER}:{USER} {0}; chmod 700 {0}; chown -Rh {USER}:{USER} {1}",
        state.display(),
        c.bundle.display()
    ));
    // The logs of this test's commands are made by root, and written by descriptor.
    chown(test.dir(), Some(USER), None).expect("chown");
    c
}

fn state_root(test: &Test) -> std::path::PathBuf {
    test.dir().join("user-state")
}

fn as_user(c: &Container<'_>, words: &[&str]) -> Cmd {
    let test = c.test();
    let user = USER.to_string();
    let command = test.bare_runtime().arg("--root").arg(state_root(test)).args(words);
    command.wrapped(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"])
}

fn create(c: &Container<'_>) {
    let bundle = c.bundle.to_str().expect("path");
    as_user(c, &["create", "--bundle", bundle, &c.id]).run().ok();
}

fn end(c: &Container<'_>) {
    as_user(c, &["delete", "--force", &c.id]).run().ok();
    c.test().nothing_left();
}

#[test]
fn exec_into_a_created_container() {
    let Some(test) = Test::new() else { return };
    let c = bundle(&test, &["sleep", "1000"], 0, |_| ());
    create(&c);
    as_user(&c, &["exec", &c.id, "id", "-u"]).run().ok().prints("0");
    as_user(&c, &["start", &c.id]).run().ok();
    as_user(&c, &["exec", &c.id, "id", "-u"]).run().ok().prints("0");
    end(&c);
}

#[test]
fn time_offsets() {
    let Some(test) = Test::new() else { return };
    let c = bundle(&test, &["sh", "-c", "cut -d. -f1 /proc/uptime"], 0, |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.push(json!({ "type": "time" }));
        config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000 } });
    });
    let bundle = c.bundle.to_str().expect("path");
    let out = as_user(&c, &["run", "--bundle", bundle, &c.id]).run().ok();
    let seconds: u64 = out.stdout.trim().parse().expect("seconds");
    assert!(seconds >= 1_000_000, "{out}");
    end(&c);
}

#[test]
fn a_map_without_root() {
    let Some(test) = Test::new() else { return };
    let c = bundle(
        &test,
        &["sh", "-c", "id -u; touch /tmp/mine && echo made"],
        USER,
        |_| (),
    );
    shell(&format!("mkdir -p {0}/tmp; chown {USER} {0}/tmp", c.rootfs().display()));
    let bundle = c.bundle.to_str().expect("path");
    as_user(&c, &["run", "--bundle", bundle, &c.id])
        .run()
        .ok()
        .prints(&format!("{USER}\nmade"));
    end(&c);
}

#[test]
fn a_score_of_the_oom_killer_in_a_joined_user_namespace() {
    let Some(test) = Test::new() else { return };
    // The pod: a user namespace and what it owns. The network stays the host's, as with Kubernetes' hostNetwork.
    let map = |config: &mut Value| {
        crate::common::map_ids(config);
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|namespace| namespace["type"] != "network");
    };
    let pod = test.container_with(&["sleep", "1000"], map);
    shell(&format!("chown -Rh 100000:100000 {}", pod.rootfs().display()));
    pod.run_detached().ok();
    let holder = test.command("unshare").args(["--net", "sleep", "1000"]).spawn();
    wait_for("a network namespace of the host", || {
        let link = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/net")).ok();
        (link(&holder.pid().to_string()) != link("self")).then_some(())
    });
    let member = test.container_with(&["sh", "-c", "cat /proc/self/oom_score_adj; sleep 1000"], |config| {
        map(config);
        let path = |name: &str| format!("/proc/{}/ns/{name}", pod.pid());
        config["linux"]["namespaces"] = json!([
            { "type": "user", "path": path("user") }, { "type": "ipc", "path": path("ipc") },
            { "type": "uts", "path": path("uts") }, { "type": "network", "path": format!("/proc/{}/ns/net", holder.pid()) },
            { "type": "pid" }, { "type": "mount" },
        ]);
        let config = config.as_object_mut().expect("config");
        config.remove("hostname");
        let linux = config["linux"].as_object_mut().expect("linux");
        linux.remove("uidMappings");
        linux.remove("gidMappings");
        linux.remove("sysctl");
        config["process"]["oomScoreAdj"] = json!(789);
    });
    shell(&format!("chown -Rh 100000:100000 {}", member.rootfs().display()));
    member.create().ok();
    member.start().ok();
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", member.pid())).expect("score");
    assert_eq!(score.trim(), "789");
    let net = member
        .verb("exec", &[])
        .args(["readlink", "/proc/self/ns/net"])
        .run()
        .ok();
    let expected = std::fs::read_link(format!("/proc/{}/ns/net", holder.pid())).expect("link");
    assert_eq!(net.stdout.trim(), expected.to_str().expect("text"));
    member.kill_and_delete();
    pod.kill_and_delete();
    holder.signal(nix::sys::signal::Signal::SIGKILL);
    holder.finish().expect("the end");
    test.nothing_left();
}

#[test]
fn only_an_ordinary_users_init_is_dumpable() {
    let Some(test) = Test::new() else { return };
    use std::os::unix::fs::MetadataExt;
    // What is not dumpable belongs to root (proc(5)).
    let owner = |c: &Container<'_>, pid: i64| {
        let file = format!("/proc/{pid}/environ");
        let owner = std::fs::metadata(&file).unwrap_or_else(|error| panic!("{} {file}: {error}", c.id));
        owner.uid()
    };
    let c = bundle(&test, &["sleep", "1000"], 0, |_| ());
    create(&c);
    let state = as_user(&c, &["state", &c.id]).run().ok();
    let state: Value = serde_json::from_str(&state.stdout).expect("state");
    assert_eq!(owner(&c, state["pid"].as_i64().expect("pid")), USER);
    end(&c);
    let by_root = test.container_with(&["sleep", "1000"], crate::common::map_ids);
    shell(&format!("chown -Rh 100000:100000 {}", by_root.rootfs().display()));
    by_root.create().ok();
    assert_eq!(owner(&by_root, i64::from(by_root.pid())), 0);
    by_root.kill_and_delete();
    test.nothing_left();
}

#[test]
fn groups_of_v1_without_one_of_v2() {
    let Some(test) = Test::new() else { return };
    let Some(path) = delegated_on_v1(&test) else {
        return skip("cgroup v2 is not mounted beside v1");
    };
    let place = |config: &mut Value| config["linux"]["cgroupsPath"] = json!(format!("{path}/one"));
    let c = bundle(&test, &["sleep", "1000"], 0, place);
    create(&c);
    as_user(&c, &["start", &c.id]).run().ok();
    let pid = wait_for("the pid", || {
        let out = as_user(&c, &["state", &c.id]).run().ok();
        serde_json::from_str::<Value>(&out.stdout).ok()?["pid"].as_i64()
    });
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("cgroup");
    let inside = groups.lines().filter(|line| line.ends_with(&format!(":{path}/one")));
    let mounts = shell("grep -c ' cgroup ' /proc/mounts");
    assert_eq!(inside.count().to_string(), mounts.trim(), "{groups}");
    assert!(
        !groups
            .lines()
            .any(|line| line.starts_with("0::") && line.contains(&path)),
        "{groups}"
    );
    as_user(&c, &["pause", &c.id]).run().ok();
    as_user(&c, &["resume", &c.id]).run().ok();
    as_user(&c, &["exec", &c.id, "true"]).run().ok();
    as_user(&c, &["delete", "--force", &c.id]).run().ok();

    // A limit that only v2 has is not left out.
    let c = bundle(&test, &["true"], 0, |config| {
        place(config);
        config["linux"]["resources"] = json!({ "unified": { "hugetlb.2MB.max": "0" } });
    });
    let bundle = c.bundle.to_str().expect("path");
    as_user(&c, &["run", "--bundle", bundle, &c.id])
        .run()
        .fails("linux.resources.unified");
    shell(&format!(
        "find /sys/fs/cgroup -depth -path '*{path}*' -type d -exec rmdir {{}} +"
    ));
    c.test().nothing_left();
}

#[test]
fn mounts_that_a_user_adds() {
    let Some(test) = Test::new() else { return };
    let c = bundle(&test, &["sleep", "1000"], 0, |_| ());
    create(&c);
    let mounts = |action: &str, list: &Value| {
        let words = ["mounts", action, &c.id, "-"];
        as_user(&c, &words).stdin(list.to_string()).run()
    };
    let tmpfs = json!([{ "destination": "/new/t", "type": "tmpfs", "options": ["mode=700"] }]);
    mounts("add", &tmpfs).ok();
    let exec = |script: &str| as_user(&c, &["exec", &c.id, "sh", "-c", script]).run();
    exec("stat -c %u:%a /new/t && touch /new/t/x && ls /new/t")
        .ok()
        .prints("0:700\nx");
    mounts("remove", &tmpfs).ok();
    exec("ls /new/t").ok().prints("");
    // open_tree(2) needs rights over the mount namespace of the caller.
    let bind = json!([{ "destination": "/b", "type": "bind", "source": "/usr" }]);
    mounts("add", &bind).fails("mounts[0].source: cannot bind /usr: operation not permitted");
    assert!(!c.rootfs().join("b").exists());
    end(&c);
    test.nothing_left();
}

#[test]
fn an_agent_answers_for_system_calls() {
    let Some(test) = Test::new() else { return };
    for (name, no_new_privileges) in [("a", true), ("b", false)] {
        let Some(agent) = Agent::start(&test, name) else { return };
        shell(&format!("chmod 777 {}", agent.socket.display()));
        let c = bundle(&test, &["mkdir", "/tmp/x"], 0, |config| {
            config["linux"]["seccomp"] = profile(&agent, &MKDIR);
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        });
        let run = as_user(&c, &["run", "--bundle", c.bundle.to_str().expect("path"), &c.id]);
        let out = run.run().exits(1);
        assert!(out.stderr.contains("No space left on device"), "{out}");
        drop(agent);
        test.nothing_left();
    }
}
