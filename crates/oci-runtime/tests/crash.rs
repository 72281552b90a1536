//! Sudden death: the runtime, or the container's init, is killed at any moment, and `delete --force` cleans up.
//!
//! A debug build of `nucleus` kills itself with SIGKILL at the step that `NUCLEUS_KILL_AT` names: a number for a step
//! of the host side, `init:NUMBER` for one of the container side. The tests count up until nothing dies any more.
//! The other tests here kill after a time, and say nothing about which moment they have met.

mod common;

use std::time::Duration;

use common::{Container, Kind, Test, eventually, kind, skip};
use nix::sys::signal::Signal;
use serde_json::json;

/// No runtime has more steps than this.
const MOST_STEPS: u32 = 64;

/// A container that uses what must be cleaned up: hooks, mounts, limits, a cgroup.
fn victim(test: &Test) -> Container<'_> {
    let c = test.script("echo alive");
    c.edit(|config| {
        config["linux"]["resources"]["pids"] = json!({ "limit": 100 });
        config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/true" }], "poststop": [{ "path": "/bin/true" }] });
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .push(json!({ "destination": "/data", "type": "bind", "source": "data", "options": ["rbind"] }));
    });
    std::fs::create_dir(c.bundle.join("data")).expect("mkdir");
    c
}

/// False, after saying SKIP, if the runtime under test cannot kill itself at a step.
fn has_steps() -> bool {
    let has = kind() == Kind::Nucleus && cfg!(debug_assertions);
    if !has {
        skip("only a debug build of nucleus knows NUCLEUS_KILL_AT");
    }
    has
}

/// After a death at any moment: `list` and `state` still work, `delete --force` removes everything, and the id is free.
#[track_caller]
fn cleans_up(test: &Test, c: &Container<'_>, when: &str) {
    test.runtime().arg("list").run().ok();
    let state = c.verb("state", &[]).run();
    assert!(state.success() || state.code() == 1, "{when}: {state}");
    let out = c.force_delete();
    assert!(out.success(), "{when}: {out}");
    test.nothing_left();
    c.verb("state", &[]).run().fails("does not exist");
}

/// Runs `VERB` with the runtime killing itself at step 1, 2, 3 … until it lives; `ready` prepares each round.
fn at_each_host_step(test: &Test, c: &Container<'_>, verb: &str, flags: &[&str], ready: impl Fn()) -> u32 {
    for step in 1..=MOST_STEPS {
        ready();
        let command = if verb == "create" || verb == "run" {
            c.with_bundle(verb, flags)
        } else {
            c.verb(verb, flags)
        };
        let out = command.env("NUCLEUS_KILL_AT", step.to_string()).run();
        let died = out.died_of(9);
        assert!(died || out.success(), "step {step} of {verb}: {out}");
        cleans_up(test, c, &format!("killed at step {step} of {verb}"));
        if !died {
            return step - 1;
        }
        // The same id works again.
        c.run().ok().prints("alive");
    }
    panic!("{verb} dies at every step");
}

#[test]
fn create_dies_at_each_step() {
    if !has_steps() {
        return;
    }
    let Some(test) = Test::new() else { return };
    let c = victim(&test);
    let steps = at_each_host_step(&test, &c, "create", &[], || ());
    assert!(steps >= 5, "create has only {steps} steps to die at");
}

#[test]
fn run_dies_at_each_step() {
    if !has_steps() {
        return;
    }
    let Some(test) = Test::new() else { return };
    let c = victim(&test);
    let steps = at_each_host_step(&test, &c, "run", &["--detach"], || ());
    assert!(steps >= 5, "run has only {steps} steps to die at");
}

#[test]
fn start_and_delete_die_at_each_step() {
    if !has_steps() {
        return;
    }
    let Some(test) = Test::new() else { return };
    let c = victim(&test);
    at_each_host_step(&test, &c, "start", &[], || drop(c.create().ok()));
    at_each_host_step(&test, &c, "delete", &[], || drop(c.create().ok()));
    at_each_host_step(&test, &c, "delete", &["--force"], || drop(c.create().ok()));
}

#[test]
fn init_dies_at_each_step() {
    if !has_steps() {
        return;
    }
    let Some(test) = Test::new() else { return };
    let c = victim(&test);
    for step in 1..=MOST_STEPS {
        let env = format!("init:{step}");
        let create = c.with_bundle("create", &[]).env("NUCLEUS_KILL_AT", &env).run();
        if !create.success() {
            // The host side notices, says so in one line, and takes everything back by itself.
            assert_eq!(create.code(), 1, "{env}: {create}");
            assert_eq!(create.stderr.trim_end().lines().count(), 1, "{env}: {create}");
            assert!(create.took < Duration::from_secs(5), "{env}: {create}");
            test.nothing_left();
            continue;
        }
        // It has come as far as to wait for `start`; then it dies in one of its last steps, or it runs.
        let start = c.start();
        assert!(start.took < Duration::from_secs(5), "{env}: {start}");
        let lives = eventually(|| create.stdout_now().contains("alive") || c.status() == "stopped")
            && create.stdout_now().contains("alive");
        cleans_up(&test, &c, &env);
        if lives {
            assert!(start.success(), "{env}: {start}");
            assert!(step > 5, "init has only {} steps to die at", step - 1);
            return;
        }
    }
    panic!("init dies at every step");
}

#[test]
fn create_dies_after_any_time() {
    let Some(test) = Test::new() else { return };
    let c = victim(&test);
    // runc differs: killed between the making of the cgroup and the writing of its state, it leaves the cgroup.
    for round in 0..40 {
        let delay = Duration::from_micros(round * 1500);
        let create = c.with_bundle("create", &[]).spawn();
        std::thread::sleep(delay);
        create.signal(Signal::SIGKILL);
        let out = create.wait();
        assert!(out.died_of(9) || out.success(), "{out}");
        cleans_up(&test, &c, &format!("create killed after {delay:?}"));
    }
    c.run().ok().prints("alive");
}

#[test]
fn run_dies_after_any_time() {
    let Some(test) = Test::new() else { return };
    let c = victim(&test);
    c.edit(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    for round in 0..20 {
        let delay = Duration::from_micros(round * 4000);
        let run = c.with_bundle("run", &[]).spawn();
        std::thread::sleep(delay);
        run.signal(Signal::SIGKILL);
        let out = run.wait();
        assert!(out.died_of(9), "{out}");
        cleans_up(&test, &c, &format!("run killed after {delay:?}"));
    }
}

#[test]
fn delete_dies_after_any_time() {
    let Some(test) = Test::new() else { return };
    let c = victim(&test);
    c.edit(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    for round in 0..15 {
        let delay = Duration::from_micros(round * 2000);
        c.run_detached().ok();
        let delete = c.verb("delete", &["--force"]).spawn();
        std::thread::sleep(delay);
        delete.signal(Signal::SIGKILL);
        let out = delete.wait();
        assert!(out.died_of(9) || out.success(), "{out}");
        cleans_up(&test, &c, &format!("delete killed after {delay:?}"));
    }
}

#[test]
fn start_dies_after_any_time() {
    let Some(test) = Test::new() else { return };
    let c = victim(&test);
    for round in 0..15 {
        let delay = Duration::from_micros(round * 1000);
        c.create().ok();
        let start = c.verb("start", &[]).spawn();
        std::thread::sleep(delay);
        start.signal(Signal::SIGKILL);
        let out = start.wait();
        assert!(out.died_of(9) || out.success(), "{out}");
        cleans_up(&test, &c, &format!("start killed after {delay:?}"));
    }
}
