//! New namespaces, namespaces by path, and what belongs to them: host name, sysctl, clocks, the loopback device.

use std::fs;

use serde_json::json;

use super::inside::{push, remove};
use crate::common::{Kind, Running, Test, eventually, kind, namespace_of};

/// Prints the links of /proc/self/ns as `net net:[123]`.
const PRINT_LINKS: &str =
    "for n in cgroup ipc mnt net pid time user uts; do echo $n $(readlink /proc/self/ns/$n); done";

/// The namespace `name` in the output of [`PRINT_LINKS`].
#[track_caller]
fn link<'t>(text: &'t str, name: &str) -> &'t str {
    let found = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {name} in:\n{text}"))
}

/// A process in new namespaces of its own, as `unshare FLAGS` makes them; `name` is one of them.
fn holder(test: &Test, flags: &[&str], name: &str) -> Running {
    let process = test.command("unshare").args(flags).args(["sleep", "1000"]).spawn();
    let pid = process.pid().to_string();
    assert!(
        eventually(|| namespace_of(&pid, name) != namespace_of("self", name)),
        "unshare {flags:?}"
    );
    process
}

#[test]
fn new_namespaces_are_new() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with(PRINT_LINKS, |config| {
        push(config, "/linux/namespaces", json!({ "type": "cgroup" }));
    });
    let out = c.run().ok();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "uts"] {
        assert_ne!(link(&out.stdout, name), namespace_of("self", name), "{out}");
    }
    for name in ["user", "time"] {
        assert_eq!(
            link(&out.stdout, name),
            namespace_of("self", name),
            "nobody has asked for it: {out}"
        );
    }
}

#[test]
fn a_time_namespace_is_new() {
    let Some(test) = Test::new() else { return };
    // runc differs: before 1.2 it knows no time namespace.
    let c = test.script_with(PRINT_LINKS, |config| {
        push(config, "/linux/namespaces", json!({ "type": "time" }))
    });
    let out = c.run().ok();
    assert_ne!(link(&out.stdout, "time"), namespace_of("self", "time"), "{out}");
}

#[test]
fn nothing_is_new_that_was_not_asked_for() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with(PRINT_LINKS, |config| {
        config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
        config["mounts"] = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
        remove(config, "", "hostname");
    });
    let out = c.run().ok();
    for name in ["cgroup", "ipc", "net", "pid", "time", "user", "uts"] {
        assert_eq!(link(&out.stdout, name), namespace_of("self", name), "{out}");
    }
    assert_ne!(link(&out.stdout, "mnt"), namespace_of("self", "mnt"), "{out}");
}

#[test]
fn namespaces_by_path() {
    let Some(test) = Test::new() else { return };
    let holder = holder(&test, &["--net", "--ipc", "--uts", "--cgroup"], "cgroup");
    let pid = holder.pid();
    let c = test.script_with(PRINT_LINKS, |config| {
        config["linux"]["namespaces"] = json!([
            { "type": "mount" }, { "type": "pid" },
            { "type": "network", "path": format!("/proc/{pid}/ns/net") },
            { "type": "ipc", "path": format!("/proc/{pid}/ns/ipc") },
            { "type": "uts", "path": format!("/proc/{pid}/ns/uts") },
            { "type": "cgroup", "path": format!("/proc/{pid}/ns/cgroup") },
        ]);
    });
    let out = c.run().ok();
    for name in ["net", "ipc", "uts", "cgroup"] {
        assert_eq!(link(&out.stdout, name), namespace_of(&pid.to_string(), name), "{out}");
    }
    assert_ne!(link(&out.stdout, "pid"), namespace_of("self", "pid"), "{out}");
}

#[test]
fn a_pid_namespace_by_path() {
    let Some(test) = Test::new() else { return };
    // The holder's child lives in the new namespace, as process 1.
    let holder = test
        .command("unshare")
        .args(["--pid", "--fork", "--kill-child", "sleep", "1000"])
        .spawn();
    let path = format!("/proc/{}/ns/pid_for_children", holder.pid());
    let theirs = || {
        fs::read_link(&path)
            .map(|l| l.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let host = namespace_of("self", "pid");
    assert!(eventually(|| !theirs().is_empty() && theirs() != host));
    let c = test.script_with(&format!("{PRINT_LINKS}; echo self $$; ls -d /proc/1"), |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|n| n["type"] != "pid");
        namespaces.push(json!({ "type": "pid", "path": path }));
    });
    let out = c.run().ok();
    assert_eq!(link(&out.stdout, "pid"), theirs(), "{out}");
    assert_ne!(link(&out.stdout, "self"), "1", "the holder's child is 1: {out}");
    test.nothing_left_but(holder.pid());
}

#[test]
fn a_network_namespace_by_a_bind_mount() {
    let Some(test) = Test::new() else { return };
    // As `ip netns` makes them: a file on which the namespace is mounted, and no process.
    let file = test.dir().join("netns");
    fs::write(&file, "").expect("file");
    let _guard = Mounted(&file);
    crate::common::shell(&format!("unshare --net={} true", file.display()));
    let inode = fs::metadata(&file)
        .map(|m| std::os::unix::fs::MetadataExt::ino(&m))
        .expect("inode");
    let c = test.script_with(PRINT_LINKS, |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|n| n["type"] != "network");
        namespaces.push(json!({ "type": "network", "path": file }));
    });
    let out = c.run().ok();
    assert_eq!(link(&out.stdout, "net"), format!("net:[{inode}]"), "{out}");
}

/// A mount point that is unmounted in the end.
struct Mounted<'p>(&'p std::path::Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_user_namespace_by_path() {
    let Some(test) = Test::new() else { return };
    let holder = holder(&test, &["--user", "--map-root-user"], "user");
    let pid = holder.pid();
    let map = || fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap_or_default();
    assert!(eventually(|| !map().is_empty()));
    // runc differs: before 1.2 it wants mappings also for a namespace that has its own.
    let c = test.script_with(&format!("{PRINT_LINKS}; cat /proc/self/uid_map"), |config| {
        push(
            config,
            "/linux/namespaces",
            json!({ "type": "user", "path": format!("/proc/{pid}/ns/user") }),
        );
        // An unprivileged user has no group 5 to give to the terminals.
        config["mounts"] = json!([
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
        ]);
    });
    let out = c.run().ok();
    assert_eq!(
        link(&out.stdout, "user"),
        namespace_of(&pid.to_string(), "user"),
        "{out}"
    );
    assert!(out.stdout.trim_end().ends_with(map().trim_end()), "{out}");
}

#[test]
fn a_time_namespace_by_path() {
    let Some(test) = Test::new() else { return };
    let holder = test
        .command("unshare")
        .args(["--time", "--boottime", "86400", "--fork", "--kill-child"]);
    let holder = holder.args(["sleep", "1000"]).spawn();
    let path = format!("/proc/{}/ns/time_for_children", holder.pid());
    let theirs = || {
        fs::read_link(&path)
            .map(|l| l.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let host = namespace_of("self", "time");
    assert!(eventually(|| !theirs().is_empty() && theirs() != host));
    // runc differs: before 1.2 it knows no time namespace.
    let c = test.script_with(PRINT_LINKS, |config| {
        push(config, "/linux/namespaces", json!({ "type": "time", "path": path }));
    });
    let out = c.run().ok();
    assert_eq!(link(&out.stdout, "time"), theirs(), "{out}");
    test.nothing_left_but(holder.pid());
}

#[test]
fn a_path_must_be_a_namespace_of_its_kind() {
    let Some(test) = Test::new() else { return };
    let with = |kind: &str, path: &str| {
        let c = test.script_with("true", |config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.retain(|n| n["type"] != kind);
            namespaces.push(json!({ "type": kind, "path": path }));
        });
        let out = c.create().exits(1);
        test.nothing_left();
        out
    };
    with("network", "/proc/1/ns/ipc");
    with("ipc", "/etc/passwd");
    with("uts", "/");
    let missing = with("network", "/no/such/namespace");
    assert!(
        missing.stderr.contains("/no/such/namespace"),
        "it should be named: {missing}"
    );
}

#[test]
fn a_namespace_is_given_once_and_by_a_known_name() {
    let Some(test) = Test::new() else { return };
    let with = |extra: serde_json::Value| {
        let c = test.script_with("true", |config| push(config, "/linux/namespaces", extra));
        let out = c.create().exits(1);
        test.nothing_left();
        out
    };
    assert!(with(json!({ "type": "pid" })).stderr.contains("pid") || kind() != Kind::Nucleus);
    assert!(with(json!({ "type": "galaxy" })).stderr.contains("galaxy"));
}

#[test]
fn a_sysctl_of_a_joined_namespace_that_is_the_runtimes_own_is_refused() {
    let Some(test) = Test::new() else { return };
    for (kind, file, name) in [
        ("network", "net", "net.ipv4.ip_forward"),
        ("ipc", "ipc", "kernel.msgmax"),
    ] {
        let value = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).expect(name);
        let c = test.script_with("true", |config| {
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            namespaces.retain(|n| n["type"] != kind);
            namespaces.push(json!({ "type": kind, "path": format!("/proc/self/ns/{file}") }));
        });
        c.run().ok();
        // The value that is there already: a test that fails changes nothing on the host.
        c.edit(|config| config["linux"]["sysctl"] = json!({ name: value.trim() }));
        let out = c.create().exits(1);
        assert!(
            out.stderr.contains(&format!(
                "sysctl \"{name}\" is not allowed in the hosts {kind} namespace"
            )),
            "{out}"
        );
        test.nothing_left();
    }
}

#[test]
fn a_name_in_a_joined_namespace_that_is_the_runtimes_own_is_refused() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("true", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|n| n["type"] != "uts");
        namespaces.push(json!({ "type": "uts", "path": "/proc/self/ns/uts" }));
        config["hostname"] = json!("changed");
    });
    // The runtime's own namespace is one that the host does not see, in case it is changed.
    let script = "hostname before; \"$@\"; code=$?; hostname; exit $code";
    let run = || {
        c.with_bundle("run", &[])
            .wrapped(["unshare", "--uts", "sh", "-c", script, "sh"])
            .run()
    };
    let out = run().exits(1);
    assert!(
        out.stderr
            .contains("unable to set hostname without a private UTS namespace"),
        "{out}"
    );
    assert_eq!(out.stdout, "before\n", "the name stays");
    c.edit(|config| config["hostname"] = json!("before"));
    run().ok().prints("before");
    test.nothing_left();
}

#[test]
fn the_host_name_is_the_containers_own() {
    let Some(test) = Test::new() else { return };
    let before = fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname");
    let c = test.script_with("hostname", |config| config["hostname"] = json!("a-name.example"));
    c.run().ok().prints("a-name.example");
    // Without a namespace for it the name would be the host's.
    c.edit(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|n| n["type"] != "uts");
    });
    let out = c.run().exits(1);
    assert!(out.stderr.contains("hostname"), "it should be named: {out}");
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname"),
        before
    );
    test.nothing_left();
}

#[test]
fn the_domain_name_is_the_containers_own() {
    let Some(test) = Test::new() else { return };
    let before = fs::read_to_string("/proc/sys/kernel/domainname").expect("domainname");
    // runc differs: before 1.2 it does not know the field and ignores it.
    let c = test.script_with("cat /proc/sys/kernel/domainname", |config| {
        config["domainname"] = json!("d.example")
    });
    c.run().ok().prints("d.example");
    assert_eq!(
        fs::read_to_string("/proc/sys/kernel/domainname").expect("domainname"),
        before
    );
}

#[test]
fn sysctl_within_the_containers_namespaces() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", |config| {
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "12345" });
    });
    c.run().ok().prints("1\n12345");
    assert_ne!(
        fs::read_to_string("/proc/sys/kernel/msgmax").expect("msgmax").trim(),
        "12345"
    );
}

#[test]
fn sysctl_of_the_host_is_refused() {
    let Some(test) = Test::new() else { return };
    let before = fs::read_to_string("/proc/sys/vm/swappiness").expect("swappiness");
    for key in [
        "vm.swappiness",
        "net.ipv4.ip_forward",
        "kernel.msgmax",
        "kernel.domainname",
    ] {
        let c = test.script_with("true", |config| {
            config["linux"]["sysctl"] = json!({ key: "1" });
            config["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "pid" }]);
            remove(config, "", "hostname");
        });
        let out = c.create().exits(1);
        assert!(out.stderr.contains(key), "it should be named: {out}");
        test.nothing_left();
    }
    assert_eq!(
        fs::read_to_string("/proc/sys/vm/swappiness").expect("swappiness"),
        before
    );
}

#[test]
fn clocks_are_set_forward() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("cat /proc/uptime", |config| {
        push(config, "/linux/namespaces", json!({ "type": "time" }));
        config["linux"]["timeOffsets"] = json!({
            "boottime": { "secs": 1_000_000, "nanosecs": 500_000_000 },
            "monotonic": { "secs": 2_000_000 },
        });
    });
    // runc differs: before 1.2 it knows no time namespace.
    let out = c.run().ok();
    let seconds = |text: &str| {
        text.split(['.', ' '])
            .next()
            .and_then(|s| s.parse::<u64>().ok())
            .expect("seconds")
    };
    let host = seconds(&fs::read_to_string("/proc/uptime").expect("uptime"));
    let inside = seconds(&out.stdout);
    assert!(
        (host + 999_000..host + 1_001_000).contains(&inside),
        "{inside} inside, {host} outside"
    );
    // Offsets without a namespace to set them in cannot be honoured.
    c.edit(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|n| n["type"] != "time");
    });
    c.create().exits(1);
    test.nothing_left();
}

#[test]
fn a_new_network_has_loopback_up() {
    let Some(test) = Test::new() else { return };
    let c = test.script("ls /sys/class/net; ifconfig lo | grep -c UP; ping -c 1 -W 2 127.0.0.1 >/dev/null; echo $?");
    c.edit(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_NET_RAW"]);
        }
    });
    c.run().ok().prints("lo\n1\n0");
}

#[test]
fn a_new_cgroup_namespace_has_the_container_at_its_root() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("cut -d: -f3 /proc/self/cgroup | sort -u", |config| {
        push(config, "/linux/namespaces", json!({ "type": "cgroup" }));
    });
    let out = c.run().ok();
    // A hierarchy in which the runtime has not made a cgroup shows `/` or where its caller is.
    assert!(out.stdout.lines().any(|l| l == "/"), "{out}");
    assert!(!out.stdout.contains(test.mark()), "the host's path shows: {out}");
}
