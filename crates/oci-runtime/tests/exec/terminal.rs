//! Terminals: in the foreground, and through a console socket.

use std::fs::{self, File};
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::tcgetattr;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::json;

use crate::common::{Test, wait_for};
use crate::{exec, running, section, write_section};

#[test]
fn in_the_foreground() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let size = Winsize {
        ws_row: 33,
        ws_col: 77,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let pty = openpty(&size, None).expect("a pty");
    let before = tcgetattr(&pty.slave).expect("mode");
    let text = "tty; stty size; echo ready; read line; echo got:$line; ls -l /dev/console >&2; exit 3";
    let slave = pty.slave.try_clone().expect("dup");
    let run = exec(&c, &["--tty"], &["sh", "-c", text]).stdin_fd(slave).spawn();
    wait_for("ready", || run.stdout().contains("ready").then_some(()));
    let raw = tcgetattr(&pty.slave).expect("mode");
    assert_ne!(raw.local_flags, before.local_flags, "our terminal is raw meanwhile");
    assert_eq!(
        raw.output_flags, before.output_flags,
        "and goes on to add carriage returns"
    );
    File::from(pty.master.try_clone().expect("dup"))
        .write_all(b"hello\n")
        .expect("typing");
    let out = run.wait().exits(3);
    assert!(out.stdout.starts_with("/dev/pts/0\n33 77\nready\n"), "{out}");
    assert!(out.stdout.contains("got:hello\n"), "{out}");
    let after = tcgetattr(&pty.slave).expect("mode");
    assert_eq!(
        (after.local_flags, after.input_flags),
        (before.local_flags, before.input_flags)
    );
    // Without a terminal of our own there still is one inside.
    exec(
        &c,
        &["-t"],
        &["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo all"],
    )
    .run()
    .ok()
    .prints("all");
    c.kill_and_delete();
    test.nothing_left();
}

/// The one descriptor that is sent over the next connection, and the bytes beside it.
fn receive(listener: &UnixListener) -> (OwnedFd, Vec<u8>) {
    let (stream, _): (UnixStream, _) = listener.accept().expect("a connection");
    let mut bytes = [0u8; 64];
    // Room for one more than is right.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let message = recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a message");
    let mut fds: Vec<OwnedFd> = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = part {
            fds.extend(more);
        }
    }
    assert_eq!(fds.len(), 1, "one descriptor");
    (fds.remove(0), bytes[..message.bytes].to_vec())
}

#[test]
fn through_a_console_socket() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let path = c.bundle.join("console.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let mut process = section("tty; stty size; ls /proc/self/fd | wc -l; read line; echo got:$line");
    process["terminal"] = json!(true);
    process["consoleSize"] = json!({ "height": 21, "width": 43 });
    process["user"] = json!({ "uid": 1000, "gid": 1000 });
    let file = write_section(&c, &process);
    // As conmon calls it.
    let flags = [
        "--detach",
        "--tty",
        "--process",
        &file,
        "--console-socket",
        path.to_str().expect("path"),
    ];
    let run = c.verb("exec", &flags).spawn();
    let (master, name) = receive(&listener);
    assert_eq!(name, b"/dev/ptmx");
    run.wait().ok().silent();
    let mut master = File::from(master);
    master.write_all(b"hello\n").expect("typing");
    let mut said = Vec::new();
    // Ends with EIO when the last end inside is closed.
    let _ = master.read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    // What was typed is echoed somewhere in between.
    let said = said.replacen("hello\r\n", "", 1);
    assert_eq!(said, "/dev/pts/0\r\n21 43\r\n4\r\ngot:hello\r\n");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_pidfd_is_sent() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    // A socket's address holds 108 bytes.
    let long = c.bundle.join("x".repeat(120));
    fs::create_dir(&long).expect("mkdir");
    for dir in [&c.bundle, &long] {
        let short = c.bundle.join("pidfd.sock");
        let listener = UnixListener::bind(&short).expect("a socket");
        let path = dir.join("pidfd.sock");
        fs::rename(&short, &path).expect("rename");
        let pid_file = c.bundle.join("exec.pid");
        let flags = [
            "--detach",
            "--pid-file",
            pid_file.to_str().expect("path"),
            "--pidfd-socket",
            path.to_str().expect("path"),
        ];
        let run = exec(&c, &flags, &["sleep", "1000"]).spawn();
        let (pidfd, _) = receive(&listener);
        run.wait().ok();
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd())).expect("fdinfo");
        let pid = fs::read_to_string(pid_file).expect("pid file");
        assert!(info.lines().any(|line| line == format!("Pid:\t{pid}")), "{pid}: {info}");
        fs::remove_file(&path).expect("rm");
    }
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_child_in_the_background_holds_nothing_up() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    // runc differs: with --tty it needs a terminal of its own.
    for flags in [&["--tty"][..], &[]] {
        let out = exec(&c, flags, &["sh", "-c", "sleep 1000 & echo done"]).run().ok();
        assert_eq!(out.stdout.trim_end(), "done", "{out}");
        assert!(out.took < std::time::Duration::from_secs(8), "{flags:?}: {out}");
    }
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_child_that_goes_on_writing_holds_nothing_up() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    // The end of the program cuts the terminal off from all others, but it can be opened again.
    let script = "t=$(readlink /proc/self/fd/0); (trap '' HUP; while :; do yes >$t; done) 2>/dev/null & sleep 0.3";
    let command = exec(&c, &["--tty"], &["sh", "-c", script]);
    // It writes faster than anybody reads.
    let slowly = "> >(while [ $(head -c 2000 | wc -c) != 0 ]; do sleep 0.02; done)";
    let out = command.redirected(slowly).run().ok();
    assert!(out.took < std::time::Duration::from_secs(8), "{out}");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_pidfd_that_cannot_be_sent_leaves_no_pid_file() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let path = c.bundle.join("pidfd.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    // Who listens hangs up at once.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let pid_file = c.bundle.join("pid");
    let flags = [
        "--pid-file",
        pid_file.to_str().expect("path"),
        "--pidfd-socket",
        path.to_str().expect("path"),
    ];
    let other = test.container(&["sleep", "1000"]);
    for command in [
        exec(&c, &flags, &["true"]),
        other.with_bundle("create", &flags),
        other.with_bundle("run", &flags),
    ] {
        let out = command.run();
        assert!(
            !out.success() && out.stderr.contains("--pidfd-socket: cannot send"),
            "{out}"
        );
        assert!(!pid_file.exists(), "left behind by {out}");
    }
    c.kill_and_delete();
    test.nothing_left();
}
