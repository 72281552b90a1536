//! Under a parent that behaves as conmon or a containerd shim does: it becomes the parent of the container's process
//! and alone decides when to reap it. Until then the process is a zombie, and a zombie is a stopped container.

mod common;

use std::sync::Once;

use common::{Container, Test, eventually};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Makes this test program the parent of all processes below it that lose their own.
fn become_subreaper() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| nix::sys::prctl::set_child_subreaper(true).expect("subreaper"));
}

/// The parent of a process.
fn parent_of(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let (_, rest) = stat.rsplit_once(") ").expect("stat");
    rest.split(' ').nth(1).expect("parent").parse().expect("parent")
}

/// True if the process is a zombie.
fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") Z "))
}

#[test]
fn the_caller_becomes_the_parent_and_gets_the_exit_status() {
    become_subreaper();
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sh", "-c", "exit 7"]);
    c.create().ok();
    let pid = c.pid();
    assert_eq!(
        parent_of(pid),
        std::process::id().cast_signed(),
        "no process of the runtime may stay in between"
    );
    c.start().ok();
    let status = waitpid(Pid::from_raw(pid), None).expect("wait");
    assert_eq!(status, WaitStatus::Exited(Pid::from_raw(pid), 7));
    assert_eq!(c.status(), "stopped");
    c.delete().ok();
}

#[test]
fn the_caller_of_exec_becomes_the_parent_too() {
    become_subreaper();
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let file = c.bundle.join("exec.pid");
    let flags = ["--detach", "--pid-file", file.to_str().expect("path")];
    c.verb("exec", &flags).args(["sh", "-c", "exit 9"]).run().ok();
    let pid = std::fs::read_to_string(file).expect("pid file").parse().expect("pid");
    let status = waitpid(Pid::from_raw(pid), None).expect("it is our child");
    assert_eq!(status, WaitStatus::Exited(Pid::from_raw(pid), 9));
    assert_eq!(c.status(), "running");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_zombie_is_a_stopped_container() {
    become_subreaper();
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    let pid = run_detached(&c);
    assert!(eventually(|| is_zombie(pid)), "process {pid} should be a zombie");
    assert_eq!(c.status(), "stopped");
    c.kill("TERM").fails("container not running");
    test.runtime().args(["kill", "--all", &c.id, "9"]).run().ok();
    c.start().fails("cannot start a container that has stopped");
    c.delete().ok();
    assert!(is_zombie(pid), "it is the parent's to reap");
    waitpid(Pid::from_raw(pid), None).expect("wait");
    test.nothing_left();
}

/// `run --detach`, and the id of the container's process, which may be dead already.
fn run_detached(c: &Container<'_>) -> i32 {
    let file = c.bundle.join("pid");
    c.with_bundle("run", &["--detach", "--pid-file", file.to_str().expect("path")])
        .run()
        .ok();
    std::fs::read_to_string(file)
        .expect("pid file")
        .parse()
        .expect("pid file")
}

#[test]
fn a_killed_created_container_is_stopped_before_it_is_reaped() {
    become_subreaper();
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.create().ok();
    let pid = c.pid();
    c.kill("KILL").ok();
    assert!(eventually(|| is_zombie(pid)));
    assert_eq!(c.status(), "stopped");
    let out = c.start().exits(1);
    assert!(out.took.as_secs() < 5, "took too long: {out}");
    c.delete().ok();
    waitpid(Pid::from_raw(pid), None).expect("wait");
    test.nothing_left();
}

#[test]
fn a_stranger_under_the_same_number_is_not_the_container() {
    become_subreaper();
    let Some(test) = Test::new() else { return };
    let c = test.container(&["true"]);
    let pid = run_detached(&c);
    assert!(eventually(|| is_zombie(pid)));
    waitpid(Pid::from_raw(pid), None).expect("wait");
    // Take the number again: the kernel gives the one after ns_last_pid.
    let mut stranger = None;
    for _ in 0..200 {
        if std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).is_err() {
            common::skip("cannot choose process ids (ns_last_pid)");
            return;
        }
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("sleep");
        if child.id().cast_signed() == pid {
            stranger = Some(child);
            break;
        }
        let _ = child.kill();
        let _ = child.wait();
    }
    let Some(mut stranger) = stranger else {
        common::skip("another process was quicker each time");
        return;
    };
    let status = c.status();
    let kill = c.kill("KILL");
    let delete = c.force_delete();
    let unharmed = stranger.try_wait().expect("wait").is_none();
    let _ = stranger.kill();
    let _ = stranger.wait();
    assert!(
        unharmed,
        "the runtime has killed a process that is not the container's: {kill}{delete}"
    );
    assert_eq!(status, "stopped");
    assert_eq!(kill.code(), 1);
}
