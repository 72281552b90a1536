//! Looking at the host: processes, namespaces, cgroups; waiting for something to become true; small C helpers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Polls until `check` is true; false after ten seconds.
pub(crate) fn eventually(mut check: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        if check() {
            return true;
        }
        if Instant::now() > until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Polls until `check` gives a value; fails the test with `what` after ten seconds.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    eventually(|| {
        found = check();
        found.is_some()
    });
    found.unwrap_or_else(|| panic!("waited ten seconds in vain for: {what}"))
}

/// True if a process of this id exists and is no zombie.
pub(crate) fn alive(pid: i32) -> bool {
    process_state(pid).is_some_and(|s| s != 'Z' && s != 'X')
}

/// The state letter of a process, from `/proc/PID/stat`.
pub(crate) fn process_state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The identity of a process' namespace (`net:[4026531840]`); `who` is a process id or `self`.
pub(crate) fn namespace_of(who: &str, name: &str) -> String {
    let path = format!("/proc/{who}/ns/{name}");
    let link = fs::read_link(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    link.to_string_lossy().into_owned()
}

/// The user that owns a process, as the host sees it.
pub(crate) fn uid_of_proc(pid: i32) -> u32 {
    fs::metadata(format!("/proc/{pid}")).expect("the process").uid()
}

/// Where the cgroup `path` would be below each mounted hierarchy (v1, hybrid and v2), named by controller list.
pub(crate) fn cgroup_dirs(path: &str) -> Vec<(String, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let mut dirs = Vec::new();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let right: Vec<&str> = right.split(' ').collect();
        if right[0] != "cgroup" && right[0] != "cgroup2" {
            continue;
        }
        let mountpoint = left.split(' ').nth(4).expect("mount point");
        let name = Path::new(mountpoint)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        dirs.push((name, Path::new(mountpoint).join(path.trim_start_matches('/'))));
    }
    dirs
}

/// Runs a shell command on the host and returns its output; it must succeed.
#[track_caller]
pub(crate) fn shell(script: &str) -> String {
    let out = Command::new("sh").args(["-ec", script]).output().expect("sh");
    assert!(
        out.status.success(),
        "`{script}`: {}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Compiles a small C program, statically, to `to`. False (after saying SKIP) where there is no compiler.
pub(crate) fn compile_c(source: &str, to: &Path) -> bool {
    let file = to.with_extension("c");
    fs::write(&file, source).expect("writing the C source");
    match Command::new("gcc")
        .args(["-static", "-O1", "-Wall", "-o"])
        .arg(to)
        .arg(&file)
        .output()
    {
        Err(e) => {
            super::skip(&format!("no C compiler: {e}"));
            false
        }
        Ok(out) => {
            assert!(out.status.success(), "gcc: {}", String::from_utf8_lossy(&out.stderr));
            true
        }
    }
}
