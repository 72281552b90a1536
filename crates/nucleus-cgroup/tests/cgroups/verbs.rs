//! Scenarios of the verbs that come after create: kill, freeze, thaw, remove.

use std::fs::{create_dir, remove_file, write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nucleus_cgroup::{Error, Record};
use rustix::process::Signal;

use crate::rig::{Rig, Shell, read, until};

/// Not even what forks all the time, or sits in a sub-cgroup, or is frozen.
pub(crate) fn kill_all_leaves_none(rig: &Rig) {
    let cgroup = rig.create("{}");
    let record = cgroup.record();
    let sleeper = Shell::spawn(&cgroup, "exec sleep 100");
    record.freeze().expect("freeze");
    record.kill_all(Signal::KILL.as_raw()).expect("kill a frozen one");
    assert_eq!(sleeper.wait(), 128 + 9);
    assert!(!record.is_frozen().expect("state"));
    cgroup.commit();
    // Used again after a kill: the children must live.
    let cgroup = rig.create("{}");
    let fork = "i=0; while [ $i -lt 20000 ]; do sleep 100 & i=$((i+1)); [ $((i % 40)) = 0 ] && kill $!; done";
    let shells = [Shell::spawn(&cgroup, fork), Shell::spawn(&cgroup, fork)];
    let sub = rig.directory("freezer").join("sub");
    create_dir(&sub).expect("make a sub-cgroup");
    let inner = Shell::spawn(&cgroup, "exec sleep 100");
    write(sub.join("cgroup.procs"), inner.pid.as_raw_nonzero().to_string()).expect("move");
    until("forks", || record.pids(true).expect("pids").len() > 10);
    record.kill_all(Signal::KILL.as_raw()).expect("kill");
    assert_eq!(record.pids(true).expect("pids"), []);
    drop((shells, inner));
    record.remove().expect("remove");
    assert!(!sub.exists());
    record.kill_all(Signal::KILL.as_raw()).expect("nothing is left to kill");
}

/// `run` in the foreground removes the container's cgroups as soon as init is dead, while `kill --all` of another process
/// still looks at them.
pub(crate) fn killed_and_removed_at_once(rig: &Rig) {
    for _ in 0..150 {
        let cgroup = rig.create("{}");
        let record = cgroup.record();
        let shell = Shell::spawn(&cgroup, "for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; exec sleep 100");
        cgroup.commit();
        let remover = Shell::process(|| while !matches!(record.remove_if_unused(), Ok(true)) {});
        record.kill_all(Signal::KILL.as_raw()).expect("kill");
        assert_eq!(shell.wait(), 128 + 9);
        assert_eq!(remover.wait(), 0);
        assert!(rig.directories().iter().all(|path| !path.exists()));
    }
}

pub(crate) fn other_signals_reach_all(rig: &Rig) {
    let cgroup = rig.create("{}");
    let shells = [(); 3].map(|()| Shell::spawn(&cgroup, "trap 'exit 9' TERM; while :; do sleep 0.01; done"));
    for shell in &shells {
        until("the trap", || catches(shell.pid.as_raw_nonzero().get(), Signal::TERM));
    }
    cgroup.record().kill_all(Signal::TERM.as_raw()).expect("kill");
    // The sleep may die of it first: the shell's own status counts.
    for shell in shells {
        assert_eq!(shell.wait(), 9);
    }
}

/// True once the process has a handler for the signal (proc_pid_status(5), "SigCgt").
fn catches(pid: i32, signal: Signal) -> bool {
    let status = read(format!("/proc/{pid}/status"));
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

pub(crate) fn freezes_and_thaws(rig: &Rig) {
    let counter = PathBuf::from(format!("/tmp/nucleus-test-{}-count", std::process::id()));
    let cgroup = rig.create("{}");
    let script = format!("i=0; while :; do i=$((i+1)); echo $i >{}; done", counter.display());
    let shells = [
        Shell::spawn(&cgroup, &script),
        Shell::spawn(&cgroup, "while :; do /bin/true; done"),
    ];
    let record = cgroup.record();
    until("the first count", || counter.exists());
    for _ in 0..20 {
        record.freeze().expect("freeze");
        assert!(record.is_frozen().expect("state"));
        let before = read(&counter);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(read(&counter), before);
        record.thaw().expect("thaw");
        assert!(!record.is_frozen().expect("state"));
        until("more counts", || read(&counter) != before);
    }
    drop(shells);
    remove_file(counter).expect("remove the counter");
}

pub(crate) fn removal_waits_for_the_dying(rig: &Rig) {
    let cgroup = rig.create("{}");
    let shell = Shell::spawn(&cgroup, "exec sleep 0.2");
    let record = cgroup.record();
    cgroup.commit();
    let start = Instant::now();
    record.remove().expect("remove");
    assert!(start.elapsed() > Duration::from_millis(50), "{:?}", start.elapsed());
    drop(shell);
}

pub(crate) fn records_touch_only_cgroups(rig: &Rig) {
    let record = |path: &Path| Record {
        driver: "cgroupfs".to_owned(),
        unit: None,
        paths: [("freezer".to_owned(), path.to_path_buf())].into(),
    };
    let directory = std::env::temp_dir().join(format!("nucleus-test-{}-plain", std::process::id()));
    create_dir(&directory).expect("make a directory");
    let root = &rig.layout.hierarchies[0].mount;
    for path in [&directory, root, Path::new("relative"), &root.join("a/../..")] {
        let record = record(path);
        for result in [record.remove(), record.freeze(), record.kill_all(Signal::KILL.as_raw())] {
            assert!(
                matches!(result, Err(Error::Path { .. })),
                "{}: {result:?}",
                path.display()
            );
        }
    }
    std::fs::remove_dir(directory).expect("still there");
    // Where the runtime itself lives nothing is killed.
    let cgroup = rig.create("{}");
    let joined = Shell::spawn(
        &cgroup,
        &format!("{} --role kill-own", std::env::current_exe().expect("self").display()),
    );
    assert_eq!(joined.wait(), 0);
}
