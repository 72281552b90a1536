//! Statistics, and the kernel's word of memory that ran out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Container, Running, Test, eventually, skip, wait_for};
use crate::controller;

#[track_caller]
fn stats(c: &Container<'_>) -> Value {
    let out = c.verb("events", &["--stats"]).run().ok().silent();
    assert_eq!(out.stdout.lines().count(), 1, "{out}");
    let event: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {out}"));
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(c.id)));
    event["data"].clone()
}

/// The events that a running `events` has printed so far.
fn heard(running: &Running, kind: &str) -> usize {
    let text = running.stdout();
    let is = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|event| event["type"] == kind);
    text.lines().filter(|line| is(line)).count()
}

#[test]
fn statistics_have_runcs_shape_and_true_numbers() {
    let Some(test) = Test::new() else { return };
    let script = "head -c 4000000 /dev/zero >/file; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; \
                  echo >/ready; exec sleep 1000";
    let c = test.script_with(script, |config| {
        config["root"]["readonly"] = false.into();
        let resources = config["linux"]["resources"].as_object_mut().expect("resources");
        resources.insert("memory".into(), json!({ "limit": 64 << 20 }));
        resources.insert("pids".into(), json!({ "limit": 20 }));
    });
    c.verb("events", &["--stats"]).run().fails("does not exist");
    c.run_detached().ok();
    wait_for("the work", || c.rootfs().join("ready").exists().then_some(()));
    let data = stats(&c);
    for section in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt"] {
        assert!(data[section].is_object(), "{section}: {data}");
    }
    let number = |path: &str| data.pointer(path).and_then(Value::as_u64).unwrap_or(0);
    if controller(&c, "pids").is_some() {
        assert_eq!((number("/pids/current"), number("/pids/limit")), (1, 20), "{data}");
    }
    if controller(&c, "cpu").is_some() {
        assert!(number("/cpu/usage/total") > 1_000_000, "{data}");
        let parts = number("/cpu/usage/user") + number("/cpu/usage/kernel");
        assert!(parts <= number("/cpu/usage/total") * 2, "{data}");
    }
    if controller(&c, "memory").is_some() {
        assert_eq!(number("/memory/usage/limit"), 64 << 20, "{data}");
        assert!(
            number("/memory/usage/usage") > 0 && number("/memory/cache") > 1_000_000,
            "{data}"
        );
        assert!(data["memory"]["raw"]["pgfault"].is_u64(), "{data}");
    }
    let interfaces = data["network_interfaces"].as_array().expect("interfaces");
    assert!(interfaces.iter().any(|interface| interface["Name"] == "lo"), "{data}");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_paused_or_stopped_container() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.create().ok();
    stats(&c);
    c.start().ok();
    c.verb("pause", &[]).run().ok();
    stats(&c);
    c.verb("resume", &[]).run().ok();
    c.kill("KILL").ok();
    c.wait_status("stopped");
    c.verb("events", &["--stats"]).run().fails("not running");
    c.verb("events", &[]).run().fails("not running");
    c.delete().ok();
}

#[test]
fn statistics_come_at_the_interval_until_the_end() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let running = c.verb("events", &["--interval", "50ms"]).spawn();
    wait_for("three statistics", || (heard(&running, "stats") >= 3).then_some(()));
    c.kill("KILL").ok();
    let out = running.wait().ok().silent();
    assert!(!out.stdout.contains(r#""type":"oom""#), "{out}");
    c.wait_status("stopped");
    c.delete().ok();
    for interval in ["0", "0s", "-1s", "soon"] {
        let out = c.verb("events", &[&format!("--interval={interval}")]).run().exits(1);
        assert!(!out.stderr.is_empty());
    }
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let cut = c
        .verb("events", &["--interval=20ms"])
        .wrapped(["sh", "-c", "\"$@\" | head -n 2", "sh"]);
    let out = cut.limit(Duration::from_secs(15)).run().ok();
    assert_eq!(out.stdout.lines().count(), 2, "{out}");
    c.kill_and_delete();
}

/// A container that runs out of memory `times` times in children that it survives, when `/go` is there.
fn greedy(test: &Test) -> Container<'_> {
    let script = "while [ ! -e /go ]; do sleep 0.01; done; tail /dev/zero; exec sleep 1000";
    test.script_with(script, |config| {
        config["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 });
    })
}

#[test]
fn memory_that_runs_out_is_told() {
    let Some(test) = Test::new() else { return };
    let c = greedy(&test);
    if controller(&c, "memory").is_none() {
        return;
    }
    c.run_detached().ok();
    let running = c.verb("events", &["--interval=100ms"]).spawn();
    wait_for("the first statistics", || (heard(&running, "stats") > 0).then_some(()));
    assert_eq!(heard(&running, "oom"), 0);
    std::fs::write(c.rootfs().join("go"), "").expect("go");
    assert!(eventually(|| heard(&running, "oom") > 0), "{}", running.stdout());
    let line = running.stdout();
    let line = line
        .lines()
        .find(|line| line.contains(r#""type":"oom""#))
        .expect("the event")
        .to_owned();
    assert_eq!(line, format!(r#"{{"type":"oom","id":"{}"}}"#, c.id));
    assert_eq!(c.status(), "running", "init lives on");
    c.kill("KILL").ok();
    running.wait().ok().silent();
    c.wait_status("stopped");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn memory_that_runs_out_in_init_is_told_before_the_end() {
    let Some(test) = Test::new() else { return };
    let c = greedy(&test);
    if controller(&c, "memory").is_none() {
        return;
    }
    c.edit(|config| {
        let script = "while [ ! -e /go ]; do sleep 0.01; done; exec tail /dev/zero";
        config["process"]["args"] = json!(["sh", "-c", script]);
    });
    c.run_detached().ok();
    let running = c.verb("events", &["--interval=1h"]).spawn();
    // Registered with the kernel: it sleeps in poll.
    let waits = |pid: i32| {
        std::fs::read_to_string(format!("/proc/{pid}/wchan"))
            .unwrap_or_default()
            .contains("poll")
    };
    if !eventually(|| waits(running.pid())) {
        return skip("cannot tell when it watches");
    }
    std::fs::write(c.rootfs().join("go"), "").expect("go");
    let out = running.wait().ok();
    assert_eq!(
        out.stdout,
        format!("{{\"type\":\"oom\",\"id\":\"{}\"}}\n", c.id),
        "{out}"
    );
    c.wait_status("stopped");
    c.delete().ok();
}
