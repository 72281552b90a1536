//! `wait4`: a program of its own, because it takes any child of the process.

use nucleus_sys::usage::wait_any;
use rustix::io::Errno;

#[test]
#[expect(clippy::zombie_processes, reason = "wait_any is what waits for it")]
fn a_child_comes_back_with_its_status_and_its_usage() {
    let mut child = std::process::Command::new("sh")
        .args(["-c", "read word; exit 3"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert!(wait_any(false).unwrap().is_none(), "it still reads");
    drop(child.stdin.take());
    let ended = wait_any(true).unwrap().unwrap();
    assert_eq!(ended.pid, i32::try_from(child.id()).unwrap());
    assert_eq!(ended.status, 3 << 8);
    assert!(ended.peak_rss > 0 && ended.faults > 0);
    assert_eq!(wait_any(true).unwrap_err(), Errno::CHILD);
}
