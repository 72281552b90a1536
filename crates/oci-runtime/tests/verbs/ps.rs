//! The processes of a container.

use serde_json::Value;

use crate::common::{Container, Test, wait_for};

/// A container of three processes: a shell and two sleepers.
fn three(test: &Test) -> Container<'_> {
    test.script("sleep 1001 & sleep 1002 & wait")
}

#[track_caller]
fn pids(c: &Container<'_>) -> Vec<i64> {
    let out = c.verb("ps", &["--format", "json"]).run().ok().silent();
    assert_eq!(out.stdout.lines().count(), 1, "{out}");
    let Ok(Value::Array(pids)) = serde_json::from_str(&out.stdout) else {
        panic!("no JSON array: {out}");
    };
    pids.iter().map(|pid| pid.as_i64().expect("a number")).collect()
}

#[test]
fn json_is_an_array_of_the_hosts_ids() {
    let Some(test) = Test::new() else { return };
    let c = three(&test);
    c.verb("ps", &["--format", "json"]).run().fails("does not exist");
    c.create().ok();
    assert_eq!(pids(&c), [i64::from(c.pid())]);
    c.start().ok();
    let found = wait_for("three processes", || Some(pids(&c)).filter(|pids| pids.len() == 3));
    assert!(found.contains(&i64::from(c.pid())));
    let short = c.verb("ps", &["-f", "json"]).run().ok();
    assert_eq!(serde_json::from_str::<Vec<i64>>(&short.stdout).expect("json"), found);
    c.verb("pause", &[]).run().ok();
    assert_eq!(pids(&c), found);
    c.verb("resume", &[]).run().ok();
    c.kill("KILL").ok();
    c.wait_status("stopped");
    wait_for("none", || pids(&c).is_empty().then_some(()));
    c.delete().ok();
}

#[test]
fn a_table_is_what_ps_prints_of_them() {
    let Some(test) = Test::new() else { return };
    let c = three(&test);
    c.run_detached().ok();
    wait_for("three processes", || (pids(&c).len() == 3).then_some(()));
    let out = c.verb("ps", &[]).run().ok().silent();
    let lines: Vec<&str> = out.stdout.lines().collect();
    assert!(lines[0].contains("PID") && lines[0].contains("PPID"), "{out}");
    assert_eq!(lines.len(), 4, "{out}");
    for command in ["sleep 1001", "sleep 1002"] {
        assert_eq!(lines.iter().filter(|line| line.ends_with(command)).count(), 1, "{out}");
    }
    c.force_delete().ok();
}

#[test]
fn what_follows_the_id_is_for_ps() {
    let Some(test) = Test::new() else { return };
    let c = three(&test);
    c.run_detached().ok();
    wait_for("three processes", || (pids(&c).len() == 3).then_some(()));
    let ps = |args: &[&str]| test.runtime().arg("ps").arg(&c.id).args(args).run();
    let out = ps(&["-e", "-o", "pid,args"]).ok();
    assert!(out.stdout.trim_start().starts_with("PID COMMAND"), "{out}");
    assert_eq!(out.stdout.lines().count(), 4, "{out}");
    let out = ps(&["-e", "-f"]).ok();
    assert!(out.stdout.contains("UID"), "{out}");
    ps(&["aux"]).ok();
    ps(&["-e", "-o", "args"]).fails("couldn't find PID field in ps output");
    let out = ps(&["--no-such-flag"]).exits(1);
    assert!(out.stderr.contains("ps: "), "{out}");
    c.verb("ps", &["--format", "xml"]).run().exits(1);
    c.force_delete().ok();
}
