//! New limits for a container that runs.

use serde_json::{Value, json};

use crate::common::{Container, Out, Test};
use crate::{controller, read};

const MEGABYTE: u64 = 1 << 20;

/// A container that sleeps, with limits on memory, tasks and processor time.
fn limited(test: &Test) -> Container<'_> {
    test.container_with(&["sleep", "1000"], |config| {
        let resources = config["linux"]["resources"].as_object_mut().expect("resources");
        resources.insert(
            "memory".into(),
            json!({ "limit": 64 * MEGABYTE, "swap": 96 * MEGABYTE }),
        );
        resources.insert("pids".into(), json!({ "limit": 20 }));
        resources.insert(
            "cpu".into(),
            json!({ "shares": 512, "quota": 25_000, "period": 50_000 }),
        );
    })
}

fn update(c: &Container<'_>, flags: &[&str]) -> Out {
    c.verb("update", flags).run()
}

/// Demands what the kernel has, in v1's file or in v2's.
#[track_caller]
fn has(c: &Container<'_>, name: &str, v1: (&str, &str), v2: (&str, &str)) {
    let Some((dir, is_v2)) = controller(c, name) else {
        return;
    };
    let (file, expected) = if is_v2 { v2 } else { v1 };
    assert_eq!(read(dir.join(file)), expected, "{file}");
}

fn has_memory(c: &Container<'_>, limit: u64, both: u64) {
    let (limit, swap) = (limit * MEGABYTE, (both - limit) * MEGABYTE);
    let words = [limit.to_string(), (limit + swap).to_string(), swap.to_string()];
    has(
        c,
        "memory",
        ("memory.limit_in_bytes", &words[0]),
        ("memory.max", &words[0]),
    );
    has(
        c,
        "memory",
        ("memory.memsw.limit_in_bytes", &words[1]),
        ("memory.swap.max", &words[2]),
    );
}

#[test]
fn each_flag_changes_its_value() {
    let Some(test) = Test::new() else { return };
    let c = limited(&test);
    c.run_detached().ok();
    update(&c, &["--pids-limit", "33"]).ok().silent().prints("");
    has(&c, "pids", ("pids.max", "33"), ("pids.max", "33"));
    update(&c, &["--pids-limit=-1"]).ok();
    has(&c, "pids", ("pids.max", "max"), ("pids.max", "max"));
    update(&c, &["--cpu-share", "1024"]).ok();
    has(&c, "cpu", ("cpu.shares", "1024"), ("cpu.weight", "100"));
    update(&c, &["--cpuset-cpus", "0", "--cpuset-mems", "0"]).ok();
    has(&c, "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0"));
    update(&c, &["--memory-reservation", "32M"]).ok();
    let reserved = (32 * MEGABYTE).to_string();
    has(
        &c,
        "memory",
        ("memory.soft_limit_in_bytes", &reserved),
        ("memory.low", &reserved),
    );
    update(&c, &["--cpu-idle", "1"]).ok();
    has(&c, "cpu", ("cpu.idle", "1"), ("cpu.idle", "1"));
    update(&c, &["--cpu-idle", "0"]).ok();
    has(&c, "cpu", ("cpu.idle", "0"), ("cpu.idle", "0"));
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn one_half_of_a_pair_leaves_the_other() {
    let Some(test) = Test::new() else { return };
    let c = limited(&test);
    c.run_detached().ok();
    has_memory(&c, 64, 96);
    update(&c, &["--memory", "48M"]).ok();
    has_memory(&c, 48, 96);
    update(&c, &["--memory-swap", "80M"]).ok();
    has_memory(&c, 48, 80);
    update(&c, &["--memory=128M", "--memory-swap=256M"]).ok();
    has_memory(&c, 128, 256);
    update(&c, &["--memory", "16M", "--memory-swap", "16M"]).ok();
    has_memory(&c, 16, 16);
    let out = update(&c, &["--memory", "32M"]).exits(1);
    assert!(out.stderr.contains("linux.resources.memory"), "{out}");
    has_memory(&c, 16, 16);

    has(&c, "cpu", ("cpu.cfs_quota_us", "25000"), ("cpu.max", "25000 50000"));
    update(&c, &["--cpu-period", "100000"]).ok();
    has(&c, "cpu", ("cpu.cfs_quota_us", "25000"), ("cpu.max", "25000 100000"));
    update(&c, &["--cpu-quota", "50000"]).ok();
    has(&c, "cpu", ("cpu.cfs_period_us", "100000"), ("cpu.max", "50000 100000"));
    update(&c, &["--cpu-burst", "1000"]).ok();
    has(&c, "cpu", ("cpu.cfs_burst_us", "1000"), ("cpu.max.burst", "1000"));
    // 0 is a value here: it takes the burst away.
    update(&c, &["--cpu-burst", "0"]).ok();
    has(&c, "cpu", ("cpu.cfs_burst_us", "0"), ("cpu.max.burst", "0"));
    c.kill_and_delete();
}

#[test]
fn no_limit_is_minus_one() {
    let Some(test) = Test::new() else { return };
    let c = limited(&test);
    c.run_detached().ok();
    update(&c, &["--memory", "-1", "--cpu-quota", "-1"]).ok();
    let none = "9223372036854771712";
    has(&c, "memory", ("memory.limit_in_bytes", none), ("memory.max", "max"));
    has(
        &c,
        "memory",
        ("memory.memsw.limit_in_bytes", none),
        ("memory.swap.max", "max"),
    );
    has(&c, "cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 50000"));
    c.kill_and_delete();
}

#[test]
fn resources_come_from_a_file_or_standard_input() {
    let Some(test) = Test::new() else { return };
    let c = limited(&test);
    c.run_detached().ok();
    let file = test.dir().join("resources.json");
    let write = |value: Value| std::fs::write(&file, value.to_string()).expect("writing");
    let path = file.to_str().expect("path");
    // What podman writes: all sections, most of them empty.
    write(json!({
        "devices": null, "memory": {}, "cpu": { "shares": 256 }, "pids": { "limit": 44 },
        "blockIO": { "weight": 0 }, "hugepageLimits": [], "unified": null,
    }));
    update(&c, &["--resources", path, "--pids-limit", "7"]).ok().silent();
    has(&c, "pids", ("pids.max", "44"), ("pids.max", "44"));
    has(&c, "cpu", ("cpu.shares", "256"), ("cpu.weight", "35"));
    has_memory(&c, 64, 96);
    // What containerd sends.
    let sent = json!({ "memory": { "limit": 32 * MEGABYTE, "swap": 32 * MEGABYTE }, "cpu": {} }).to_string();
    for flag in [&["--resources", "-"][..], &["--resources=-"], &["-r", "-"]] {
        c.verb("update", flag).stdin(&sent).run().ok().silent();
        has_memory(&c, 32, 32);
    }
    for text in ["", "{", "[]", "{} {}", r#"{"pids": {"limit": "many"}}"#] {
        let out = c
            .verb("update", &["-r", "-"])
            .stdin(text)
            .run()
            .fails("--resources -: ");
        assert_eq!(out.stderr.lines().count(), 1, "{out}");
    }
    // What engines written in Go do not set.
    let sent = r#"{"cpu":null,"pids":{"limit":null},"memory":{"limit":null}}"#;
    c.verb("update", &["-r", "-"]).stdin(sent).run().ok().silent();
    update(&c, &["-r", "/no/such/file"]).fails("/no/such/file: no such file or directory");
    c.kill_and_delete();
}

#[test]
fn a_refused_value_changes_nothing() {
    let Some(test) = Test::new() else { return };
    let c = limited(&test);
    c.run_detached().ok();
    let flags = ["--memory=32M", "--memory-swap=32M", "--pids-limit=5", "--cpu-quota=1"];
    let out = update(&c, &flags).fails("linux.resources.cpu.quota");
    assert!(out.stderr.contains("invalid argument"), "{out}");
    has_memory(&c, 64, 96);
    has(&c, "pids", ("pids.max", "20"), ("pids.max", "20"));
    update(&c, &["--cpuset-cpus", "4095"]).exits(1);
    assert_eq!(c.status(), "running");
    c.kill_and_delete();
}

#[test]
fn bad_words_are_named() {
    let Some(test) = Test::new() else { return };
    let c = limited(&test);
    update(&c, &["--pids-limit", "5"]).fails("does not exist");
    c.run_detached().ok();
    for flag in [
        "memory",
        "memory-swap",
        "memory-reservation",
        "cpu-period",
        "cpu-share",
        "cpu-quota",
        "cpu-idle",
    ] {
        update(&c, &[&format!("--{flag}=much")]).fails(&format!("invalid value for {flag}"));
    }
    update(&c, &["--l3-cache-schema", "L3:0=f"]).fails("l3 cache schema is not enabled");
    update(&c, &["--mem-bw-schema", "MB:0=20"]).fails("memory bandwidth schema is not enabled");
    update(&c, &[]).ok();
    c.kill("KILL").ok();
    c.wait_status("stopped");
    update(&c, &["--pids-limit", "5"]).fails("container not running");
    c.delete().ok();
}

#[test]
fn a_created_and_a_paused_container_can_be_updated() {
    let Some(test) = Test::new() else { return };
    let c = limited(&test);
    c.create().ok();
    update(&c, &["--pids-limit", "11"]).ok();
    has(&c, "pids", ("pids.max", "11"), ("pids.max", "11"));
    c.start().ok();
    c.verb("pause", &[]).run().ok();
    update(&c, &["--pids-limit", "12"]).ok();
    has(&c, "pids", ("pids.max", "12"), ("pids.max", "12"));
    assert_eq!(c.status(), "paused");
    c.force_delete().ok();
    test.nothing_left();
}

#[test]
fn devices_stay_as_they_are() {
    let Some(test) = Test::new() else { return };
    let c = test.script("while sleep 0.05; do :; done >/dev/null 2>/dev/null");
    c.run_detached().ok();
    let sent = json!({ "devices": [{ "allow": true, "access": "rwm" }], "pids": { "limit": 9 } }).to_string();
    c.verb("update", &["-r", "-"]).stdin(sent).run().ok();
    if let Some((dir, false)) = controller(&c, "devices") {
        assert!(!read(dir.join("devices.list")).starts_with('a'));
    }
    c.force_delete().ok();
}
