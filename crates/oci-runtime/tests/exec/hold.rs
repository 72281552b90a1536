//! `--exec-wait-fifo`: who supervises the process adopts it before its program runs.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::{Container, Test, alive, process_state, wait_for};
use crate::{exec, running};

/// A FIFO on the host, and the flag that names it.
fn fifo(c: &Container<'_>) -> (PathBuf, String) {
    let path = c.bundle.join("hold");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR).expect("mkfifo");
    let flag = format!("--exec-wait-fifo={}", path.display());
    (path, flag)
}

/// A detached exec that writes /ran once it is let go; its pid.
fn held(c: &Container<'_>, flag: &str) -> i32 {
    let file = c.bundle.join("exec.pid");
    let flags = [flag, "--detach", "--pid-file", file.to_str().expect("path")];
    exec(c, &flags, &["sh", "-c", "echo ran >/ran; sleep 1000"]).run().ok();
    fs::read_to_string(file).expect("pid file").parse().expect("pid")
}

fn program(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

/// Waits until the process sleeps in a system call; that alone shows that it waits.
fn wait_asleep(pid: i32) {
    wait_for("the process to wait", || {
        (process_state(pid) == Some('S')).then_some(())
    });
}

#[test]
fn waits_for_a_reader() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| config["root"]["readonly"] = false.into());
    let (path, flag) = fifo(&c);
    let pid = held(&c, &flag);
    wait_asleep(pid);
    // One who opens it for writing lets nobody go.
    drop(
        fs::OpenOptions::new()
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&path),
    );
    std::thread::sleep(Duration::from_millis(100));
    assert!(!c.rootfs().join("ran").exists());
    assert!(!program(pid).starts_with("sh"), "{}", program(pid));
    assert_eq!(fs::read(&path).expect("fifo"), b"0", "as `start` is told");
    wait_for("the program", || c.rootfs().join("ran").exists().then_some(()));
    assert!(program(pid).starts_with("sleep"), "the same process: {}", program(pid));
}

#[test]
fn a_reader_may_come_first_or_go_at_once() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| config["root"]["readonly"] = false.into());
    let (path, flag) = fifo(&c);
    let waiting = {
        let path = path.clone();
        std::thread::spawn(move || fs::read(path))
    };
    held(&c, &flag);
    assert_eq!(waiting.join().expect("reader").expect("fifo"), b"0");
    wait_for("the program", || c.rootfs().join("ran").exists().then_some(()));
    fs::remove_file(c.rootfs().join("ran")).expect("ran");

    wait_asleep(held(&c, &flag));
    drop(
        fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&path)
            .expect("fifo"),
    );
    wait_for("the program", || c.rootfs().join("ran").exists().then_some(()));
}

#[test]
fn in_the_foreground_signals_and_the_exit_code_pass() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| config["root"]["readonly"] = false.into());
    let (path, flag) = fifo(&c);
    let file = c.bundle.join("exec.pid");
    let flags = [flag.as_str(), "--pid-file", file.to_str().expect("path")];
    let started = exec(&c, &flags, &["sh", "-c", "exit 42"]).spawn();
    let pid: i32 = wait_for("the pid file", || fs::read_to_string(&file).ok()?.parse().ok());
    wait_asleep(pid);
    fs::read(&path).expect("fifo");
    started.wait().exits(42);

    fs::remove_file(&file).expect("pid file");
    let started = exec(&c, &flags, &["sh", "-c", "exit 42"]).spawn();
    let pid: i32 = wait_for("the pid file", || fs::read_to_string(&file).ok()?.parse().ok());
    wait_asleep(pid);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).expect("kill");
    started.wait().exits(128 + 15);
}

#[test]
fn what_it_holds_leads_nowhere() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| config["root"]["readonly"] = false.into());
    let (path, flag) = fifo(&c);
    let pid = held(&c, &flag);
    wait_asleep(pid);
    let kinds: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("fd")
        .map(|entry| entry.expect("fd"))
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().expect("number") > 2)
        .map(|entry| {
            fs::read_link(entry.path())
                .expect("link")
                .to_string_lossy()
                .into_owned()
        })
        .map(|target| match target.split_once(":[") {
            Some((kind, _)) => kind.to_owned(),
            None => target,
        })
        .collect();
    let expected = [path.to_str().expect("path"), "anon_inode:inotify", "socket"].map(str::to_owned);
    assert_eq!(kinds, BTreeSet::from(expected));
    c.force_delete().ok();
    assert!(!alive(pid), "it ends with the container");
}

#[test]
fn what_is_no_fifo_is_refused() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |config| config["root"]["readonly"] = false.into());
    let file = c.bundle.join("file");
    fs::write(&file, "").expect("file");
    let refused = |path: &std::path::Path, text: &str| {
        let flag = format!("--exec-wait-fifo={}", path.display());
        let out = exec(&c, &[&flag], &["touch", "/ran"]).run().exits(255);
        assert!(out.said().contains(text), "{out}");
    };
    refused(&file, "is not a fifo");
    refused(&c.bundle, "is not a fifo");
    refused(&c.bundle.join("missing"), "failed to open exec wait fifo");
    assert!(!c.rootfs().join("ran").exists());
}
