//! Freezing, thawing, and what the other verbs make of a container that is frozen.

use std::time::Duration;

use crate::common::{Container, Test, alive, eventually, wait_for};
use crate::{controller, read};

/// A container that counts into a file, once every hundredth of a second.
fn counter(test: &Test) -> Container<'_> {
    let script = "i=0; while :; do i=$((i+1)); echo $i >/count; sleep 0.01; done";
    test.script_with(script, |config| config["root"]["readonly"] = false.into())
}

fn count(c: &Container<'_>) -> Option<u64> {
    let text = std::fs::read_to_string(c.rootfs().join("count")).ok()?;
    text.trim().parse().ok()
}

#[test]
fn a_paused_container_stands_still_until_it_is_resumed() {
    let Some(test) = Test::new() else { return };
    let c = counter(&test);
    if controller(&c, "freezer").is_none() {
        return;
    }
    c.run_detached().ok();
    wait_for("a count", || count(&c));
    c.verb("pause", &[]).run().ok().silent().prints("");
    assert_eq!(c.status(), "paused");
    let before = count(&c);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(count(&c), before, "still counting");
    assert!(alive(c.pid()));
    c.verb("resume", &[]).run().ok().silent().prints("");
    assert_eq!(c.status(), "running");
    wait_for("a higher count", || (count(&c) > before).then_some(()));
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_created_container_can_be_paused() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.create().ok();
    c.verb("pause", &[]).run().ok();
    assert_eq!(c.status(), "paused");
    c.start().exits(1);
    assert_eq!(c.status(), "paused");
    c.verb("resume", &[]).run().ok();
    assert_eq!(c.status(), "created");
    c.start().ok();
    c.kill_and_delete();
}

#[test]
fn the_status_must_fit() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    for verb in ["pause", "resume"] {
        c.verb(verb, &[]).run().fails("does not exist");
    }
    c.run_detached().ok();
    c.verb("resume", &[]).run().fails("container not paused");
    c.verb("pause", &[]).run().ok();
    c.verb("pause", &[]).run().fails("container not running");
    assert_eq!(c.status(), "paused");
    c.verb("resume", &[]).run().ok();
    c.kill("KILL").ok();
    c.wait_status("stopped");
    c.verb("pause", &[]).run().fails("container not running");
    c.verb("resume", &[]).run().fails("container not paused");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn a_paused_container_is_killed_by_force() {
    let Some(test) = Test::new() else { return };
    let c = counter(&test);
    c.run_detached().ok();
    c.verb("pause", &[]).run().ok();
    let pid = c.pid();
    c.delete().fails_with_any(&["not stopped", "is paused"]);
    assert!(alive(pid));
    c.force_delete().ok().silent();
    assert!(!alive(pid));
    test.nothing_left();
}

#[test]
fn sigkill_reaches_a_paused_container() {
    let Some(test) = Test::new() else { return };
    for all in [&[][..], &["--all"]] {
        let c = counter(&test);
        c.run_detached().ok();
        c.verb("pause", &[]).run().ok();
        let pid = c.pid();
        let kill = test.runtime().arg("kill").args(all).args([c.id.as_str(), "KILL"]);
        kill.run().ok();
        wait_for("the end of the process", || (!alive(pid)).then_some(()));
        c.wait_status("stopped");
        c.delete().ok();
    }
    test.nothing_left();
}

#[test]
fn kill_all_ends_every_process_of_a_paused_container() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("sleep 1000 & sleep 1000 & exec sleep 1000", |config| {
        // Without a PID namespace the end of init ends nobody else.
        config["linux"]["namespaces"] = serde_json::json!([{ "type": "mount" }, { "type": "uts" }]);
        // A shell's jobs in the background read /dev/null, which the bundle's own /dev may not open (a nodev /tmp).
        config["mounts"] = serde_json::json!([
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" },
        ]);
    });
    let Some((dir, _)) = controller(&c, "freezer") else {
        return;
    };
    c.run_detached().ok();
    let listed = || read(dir.join("cgroup.procs"));
    let procs = || listed().lines().count();
    assert!(eventually(|| procs() == 3), "not three processes: {:?}", listed());
    c.verb("pause", &[]).run().ok();
    test.runtime().args(["kill", "--all", &c.id, "KILL"]).run().ok();
    wait_for("the end of all processes", || (procs() == 0).then_some(()));
    c.wait_status("stopped");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn a_term_signal_waits_for_resume() {
    let Some(test) = Test::new() else { return };
    let script = "trap 'exit 0' TERM; echo >/ready; while :; do sleep 0.01; done";
    let c = test.script_with(script, |config| config["root"]["readonly"] = false.into());
    c.run_detached().ok();
    wait_for("the trap", || c.rootfs().join("ready").exists().then_some(()));
    c.verb("pause", &[]).run().ok();
    c.kill("TERM").ok();
    assert_eq!(c.status(), "paused");
    c.verb("resume", &[]).run().ok();
    c.wait_status("stopped");
    c.delete().ok();
}

#[test]
fn many_threads_and_forks_are_frozen_too() {
    let Some(test) = Test::new() else { return };
    let c = test.script("while :; do /bin/true; done & while :; do (:); done & while :; do :; done");
    c.run_detached().ok();
    for _ in 0..5 {
        c.verb("pause", &[]).run().ok();
        assert_eq!(c.status(), "paused");
        c.verb("resume", &[]).run().ok();
        assert_eq!(c.status(), "running");
    }
    c.force_delete().ok();
    test.nothing_left();
}
