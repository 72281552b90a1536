//! The program: arguments, environment, working directory, limits, score.

use std::fs;

use serde_json::{Value, json};

use super::inside::{field, push, remove};
use crate::common::{Kind, Test, kind, shell};

#[test]
fn arguments_are_passed_as_they_are() {
    let Some(test) = Test::new() else { return };
    let args = [
        "printf",
        "<%s>",
        "",
        "two words",
        "new\nline",
        "$HOME",
        "ü",
        "-x",
        "'\"",
    ];
    test.container(&args)
        .run()
        .ok()
        .prints("<><two words><new\nline><$HOME><ü><-x><'\">");
}

#[test]
fn the_program_is_found_in_the_containers_path() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["prog", "x"]);
    let dir = c.rootfs().join("opt/one");
    fs::create_dir_all(&dir).expect("mkdir");
    fs::create_dir_all(c.rootfs().join("opt/two")).expect("mkdir");
    shell(&format!(
        "cp {0}/bin/busybox {1}/echo; ln -s ../one/echo {0}/opt/two/echo",
        c.rootfs().display(),
        dir.display()
    ));
    // What is not executable is passed over.
    fs::write(dir.join("prog"), "").expect("file");
    fs::write(c.rootfs().join("opt/two/prog"), "#!/bin/sh\necho \"two $0 $1\"\n").expect("file");
    shell(&format!("chmod 755 {}", c.rootfs().join("opt/two/prog").display()));
    c.edit(|config| config["process"]["env"] = json!(["PATH=/no/such:/opt/one:/opt/two:/bin"]));
    c.run().ok().prints("two /opt/two/prog x");
    // A name with a slash is no name to search for, and a relative one starts at the working directory.
    c.edit(|config| {
        config["process"]["args"] = json!(["./echo", "relative"]);
        config["process"]["cwd"] = json!("/opt/two");
    });
    c.run().ok().prints("relative");
}

#[test]
fn without_a_path_the_usual_one_is_searched() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["echo", "found"], |config| config["process"]["env"] = json!(["A=b"]));
    // runc differs: it says that it is not found in $PATH.
    c.run().ok().prints("found");
    let absolute = test.container_with(&["/bin/echo", "absolute"], |config| remove(config, "/process", "env"));
    absolute.run().ok().prints("absolute");
}

#[test]
fn the_environment_is_the_configs() {
    let Some(test) = Test::new() else { return };
    let env = ["PATH=/bin", "A=1", "B=two words", "C=", "D=x=y=z"];
    let c = test.container_with(&["env"], |config| config["process"]["env"] = json!(env));
    let out = c
        .with_bundle("run", &[])
        .env("FROM_THE_CALLER", "1")
        .env("HOME", "/wrong")
        .run()
        .ok();
    let mut lines: Vec<&str> = out.stdout.lines().collect();
    // HOME is set from the image's passwd if the config has none.
    lines.retain(|l| *l != "HOME=/root");
    lines.sort_unstable();
    let mut expected = env;
    expected.sort_unstable();
    assert_eq!(lines, expected, "{out}");
}

#[test]
fn the_environment_may_be_large() {
    let Some(test) = Test::new() else { return };
    let c = test.script("echo $(env | wc -c) ${#BIG}");
    c.edit(|config| {
        let env = config["process"]["env"].as_array_mut().expect("env");
        env.extend((0..2000).map(|n| json!(format!("VARIABLE_NUMBER_{n}={}", "x".repeat(50)))));
        env.push(json!(format!("BIG={}", "y".repeat(100_000))));
    });
    let out = c.run().ok();
    let (all, big) = out.stdout.trim().split_once(' ').expect("two numbers");
    assert!(all.parse::<usize>().expect("number") > 240_000, "{out}");
    assert_eq!(big, "100000");
}

#[test]
fn the_working_directory() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("pwd; readlink /proc/self/cwd", |config| {
        config["process"]["cwd"] = json!("/var/tmp")
    });
    c.run().ok().prints("/var/tmp\n/var/tmp");
    // One that does not exist is made.
    c.edit(|config| config["process"]["cwd"] = json!("/made/for/it"));
    c.run().ok().prints("/made/for/it\n/made/for/it");
    assert!(c.rootfs().join("made/for/it").is_dir());
    // A file is no directory.
    c.edit(|config| config["process"]["cwd"] = json!("/etc/hosts"));
    let out = c.run().exits(1);
    assert!(out.stderr.contains("/etc/hosts"), "it should be named: {out}");
    test.nothing_left();
}

#[test]
fn a_working_directory_that_only_the_user_may_enter() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("pwd", |config| {
        config["process"]["cwd"] = json!("/home/private");
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let dir = c.rootfs().join("home/private");
    fs::create_dir(&dir).expect("mkdir");
    shell(&format!("chown 1000:1000 {0}; chmod 700 {0}", dir.display()));
    c.run().ok().prints("/home/private");
    test.nothing_left();
}

#[test]
fn resource_limits() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["cat", "/proc/self/limits"], |config| {
        config["process"]["rlimits"] = json!([
            { "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
            { "type": "RLIMIT_FSIZE", "soft": 4096, "hard": 18_446_744_073_709_551_615_u64 },
            { "type": "RLIMIT_STACK", "soft": 1_048_576, "hard": 8_388_608 },
            { "type": "RLIMIT_AS", "soft": 1_073_741_824, "hard": 1_073_741_824 },
        ]);
    });
    let out = c.run().ok();
    let limit = |name: &str| {
        let line = out.stdout.lines().find(|l| l.starts_with(name)).expect("the limit");
        line[name.len()..]
            .split_whitespace()
            .take(2)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(limit("Max open files"), "100 200");
    assert_eq!(limit("Max core file size"), "0 0");
    assert_eq!(limit("Max file size"), "4096 unlimited");
    assert_eq!(limit("Max stack size"), "1048576 8388608");
    assert_eq!(limit("Max address space"), "1073741824 1073741824");
}

#[test]
fn impossible_limits_are_refused() {
    let Some(test) = Test::new() else { return };
    let refused = |what: &str, rlimits: Value, names: &str| {
        let c = test.script_with("true", |config| config["process"]["rlimits"] = rlimits);
        let out = c.create();
        assert_eq!(out.code(), 1, "{what}: {out}");
        assert!(
            out.stderr.to_lowercase().contains(names),
            "{what} should be named by {names}: {out}"
        );
        test.nothing_left();
    };
    refused(
        "a type that there is not",
        json!([{ "type": "RLIMIT_LUCK", "soft": 1, "hard": 1 }]),
        "rlimit_luck",
    );
    refused(
        "a soft limit above the hard one",
        json!([{ "type": "RLIMIT_NOFILE", "soft": 9, "hard": 8 }]),
        "rlimit",
    );
    let twice =
        json!([{ "type": "RLIMIT_NOFILE", "soft": 9, "hard": 9 }, { "type": "RLIMIT_NOFILE", "soft": 8, "hard": 8 }]);
    // runc differs: the last one wins.
    refused("a type that is given twice", twice, "rlimit_nofile");
}

#[test]
fn no_new_privileges() {
    let Some(test) = Test::new() else { return };
    for (value, expected) in [(json!(true), "1"), (json!(false), "0"), (json!(null), "0")] {
        let c = test.container_with(&["cat", "/proc/self/status"], |config| {
            if value.is_null() {
                remove(config, "/process", "noNewPrivileges");
            } else {
                config["process"]["noNewPrivileges"] = value;
            }
        });
        assert_eq!(field(&c.run().ok().stdout, "NoNewPrivs"), expected);
    }
}

#[test]
fn the_score_of_the_oom_killer() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["cat", "/proc/self/oom_score_adj"], |config| {
        config["process"]["oomScoreAdj"] = json!(321);
    });
    c.run().ok().prints("321");
    c.edit(|config| config["process"]["oomScoreAdj"] = json!(0));
    c.run().ok().prints("0");
    c.edit(|config| remove(config, "/process", "oomScoreAdj"));
    let own = fs::read_to_string("/proc/self/oom_score_adj").expect("score");
    c.run().ok().prints(own.trim());
}

#[test]
fn a_config_without_a_process_can_be_created_but_not_started() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("true", |config| remove(config, "", "process"));
    // runc differs: it wants a process at create.
    c.create().ok();
    assert_eq!(c.status(), "created");
    let out = c.start().exits(1);
    assert!(!out.stderr.is_empty(), "should have said something: {out}");
    c.force_delete().ok();
    test.nothing_left();
}

#[test]
fn a_container_without_proc() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("ls /proc; echo done", |config| {
        config["mounts"] = json!([]);
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
    });
    // runc differs: it wants the container's own /proc.
    c.run().ok().prints("done");
    test.nothing_left();
}

#[test]
fn signals_are_as_they_should_be() {
    let Some(test) = Test::new() else { return };
    // What the runtime blocks or ignores for itself (SIGPIPE, for one) its program must not inherit.
    let bits = |text: &str, key: &str| u64::from_str_radix(field(text, key), 16).expect("a set of signals");
    let out = test.container(&["cat", "/proc/self/status"]).run().ok();
    let callers = shell("cat /proc/self/status");
    for key in ["SigBlk", "SigIgn"] {
        let added = bits(&out.stdout, key) & !bits(&callers, key);
        assert_eq!(added, 0, "{key}: {out}");
    }
}

#[test]
fn the_program_is_the_leader_of_its_session() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["cat", "/proc/self/stat"]);
    let out = c.run().ok();
    let fields: Vec<&str> = out.stdout.split(' ').collect();
    assert_eq!((fields[4], fields[5]), ("1", "1"), "process group and session: {out}");
}

#[test]
fn unknown_capabilities_are_named() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("true", |config| {
        push(config, "/process/capabilities/bounding", json!("CAP_WALK_ON_WATER"));
    });
    let out = c.run();
    assert!(out.stderr.contains("CAP_WALK_ON_WATER"), "{out}");
    if kind() == Kind::Runc {
        assert!(out.success(), "a warning: {out}");
    }
    test.nothing_left();
}

/// The specification wants a warning; runc differs: it fails.
#[test]
fn capabilities_that_the_runtime_lacks_are_named() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("grep -E '^Cap(Prm|Eff|Bnd)' /proc/self/status", |config| {
        let wanted = json!(["CAP_CHOWN", "CAP_NET_RAW"]);
        config["process"]["capabilities"] = json!({ "bounding": wanted, "permitted": wanted, "effective": wanted });
    });
    let out = c
        .with_bundle("run", &[])
        .wrapped(["setpriv", "--bounding-set", "-net_raw"])
        .run()
        .ok();
    assert!(out.stderr.contains("unavailable capabilities: [CAP_NET_RAW]"), "{out}");
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(out.stdout.contains(&format!("{set}:\t0000000000000001\n")), "{out}");
    }
    // In a user namespace root has them all.
    let c = test.script_with("grep '^CapBnd' /proc/self/status", |config| {
        crate::common::map_ids(config);
        config["process"]["capabilities"] = json!({ "bounding": ["CAP_NET_RAW"] });
    });
    crate::common::shell(&format!("chown -Rh 100000:100000 {}", c.rootfs().display()));
    let out = c
        .with_bundle("run", &[])
        .wrapped(["setpriv", "--bounding-set", "-net_raw"])
        .run()
        .ok();
    out.silent().prints("CapBnd:\t0000000000002000");
    test.nothing_left();
}

#[test]
fn a_class_of_service_needs_resctrl() {
    let Some(test) = Test::new() else { return };
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    if mounts.contains(" - resctrl ") {
        crate::common::skip("resctrl is mounted here");
        return;
    }
    for rdt in [
        json!({}),
        json!({ "closID": "gold" }),
        json!({ "enableMonitoring": true }),
    ] {
        let c = test.script_with("true", |config| config["linux"]["intelRdt"] = rdt);
        c.create()
            .fails("linux.intelRdt: no resctrl filesystem is mounted on this host");
    }
    test.nothing_left();
}

#[test]
fn labels_that_the_host_cannot_apply_are_refused() {
    let Some(test) = Test::new() else { return };
    let refused = |edit: fn(&mut Value), text: &str| {
        test.script_with("true", edit).create().fails(text);
    };
    if !fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y")) {
        refused(
            |config| config["process"]["apparmorProfile"] = json!("acme_secure_profile"),
            "process.apparmorProfile: cannot apply \"acme_secure_profile\", as AppArmor is not enabled on this host",
        );
        let c = test.script_with("echo fine", |config| {
            config["process"]["apparmorProfile"] = json!("unconfined");
        });
        c.run().ok().prints("fine");
    }
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        refused(
            |config| config["process"]["selinuxLabel"] = json!("system_u:system_r:svirt_lxc_net_t:s0"),
            "process.selinuxLabel: cannot apply \"system_u:system_r:svirt_lxc_net_t:s0\", as SELinux is not enabled",
        );
        refused(
            |config| config["linux"]["mountLabel"] = json!("system_u:object_r:svirt_sandbox_file_t:s0"),
            "linux.mountLabel: cannot apply \"system_u:object_r:svirt_sandbox_file_t:s0\", as SELinux is not enabled",
        );
    }
    test.nothing_left();
}
