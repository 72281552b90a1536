//! Terminals: handed over through `--console-socket`, or passed on by a `run` in the foreground.

mod common;

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Container, Test, wait_for};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::json;

/// A container with a terminal.
fn with_terminal<'t>(test: &'t Test, script: &str) -> Container<'t> {
    test.script_with(script, |config| config["process"]["terminal"] = json!(true))
}

/// Takes the one descriptor that comes through a console socket, and the name that comes with it.
fn receive(listener: &UnixListener) -> (OwnedFd, String) {
    listener.set_nonblocking(true).expect("nonblocking");
    let stream = wait_for("a connection to the console socket", || listener.accept().ok()).0;
    stream.set_nonblocking(false).expect("blocking");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let got = rustix::net::recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .expect("recvmsg");
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    assert_eq!(fds.len(), 1, "one descriptor in one message");
    assert!(got.bytes > 0, "some bytes come with it");
    (
        fds.pop().expect("fd"),
        String::from_utf8_lossy(&bytes[..got.bytes]).into_owned(),
    )
}

/// Reads from a terminal until `text` has come; gives all that came, without carriage returns.
#[track_caller]
fn read_until(master: &OwnedFd, text: &str) -> String {
    let mut file = File::from(master.as_fd().try_clone_to_owned().expect("dup"));
    let until = Instant::now() + Duration::from_secs(10);
    let mut got = String::new();
    while !got.contains(text) {
        assert!(Instant::now() < until, "waited in vain for {text:?}, got {got:?}");
        let mut fds = [rustix::event::PollFd::new(master, rustix::event::PollFlags::IN)];
        let second = rustix::event::Timespec { tv_sec: 1, tv_nsec: 0 };
        if rustix::event::poll(&mut fds, Some(&second)).expect("poll") == 0 {
            continue;
        }
        let mut bytes = [0; 4096];
        match file.read(&mut bytes) {
            // What the line discipline adds is for the one who owns the master to change.
            Ok(n) if n > 0 => got.push_str(&String::from_utf8_lossy(&bytes[..n]).replace('\r', "")),
            end => panic!("the terminal ended ({end:?}) before {text:?}, got {got:?}"),
        }
    }
    got
}

/// `create` with a console socket; gives the terminal's master side.
fn create(c: &Container<'_>, socket: &Path) -> OwnedFd {
    let listener = UnixListener::bind(socket).expect("bind");
    let create = c
        .with_bundle("create", &["--console-socket", socket.to_str().expect("path")])
        .spawn();
    let (master, _) = receive(&listener);
    create.wait().ok().silent();
    master
}

#[test]
fn the_terminal_comes_through_the_socket() {
    let Some(test) = Test::new() else { return };
    let script = "test -t 0 && test -t 1 && test -t 2 && echo terminals; tty; stat -c %F /dev/console; \
                  ls /proc/self/fd | xargs; read line; echo \"got <$line>\"; echo end";
    let c = with_terminal(&test, script);
    let master = create(&c, &test.dir().join("c.sock"));
    c.start().ok();
    let got = read_until(&master, "/dev/");
    assert!(got.contains("terminals"), "{got:?}");
    File::from(master.as_fd().try_clone_to_owned().expect("dup"))
        .write_all(b"typed\n")
        .expect("write");
    let rest = got + &read_until(&master, "end\n");
    assert!(
        rest.contains("character special file"),
        "/dev/console is the terminal: {rest:?}"
    );
    assert!(rest.contains("got <typed>"), "{rest:?}");
    assert!(rest.contains("0 1 2 3\n"), "no descriptor too many: {rest:?}");
    c.wait_status("stopped");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn the_terminal_controls_the_program() {
    let Some(test) = Test::new() else { return };
    // ^C on the terminal is SIGINT for the program, and closing it is SIGHUP: both need a controlling terminal.
    let c = with_terminal(
        &test,
        "trap 'echo interrupted' INT; echo ready; while :; do sleep 0.02; done",
    );
    let master = create(&c, &test.dir().join("c.sock"));
    c.start().ok();
    read_until(&master, "ready");
    File::from(master.as_fd().try_clone_to_owned().expect("dup"))
        .write_all(b"\x03")
        .expect("write");
    read_until(&master, "interrupted");
    c.force_delete().ok();
    test.nothing_left();
}

#[test]
fn the_terminal_has_the_size_of_the_config_and_the_users_owner() {
    let Some(test) = Test::new() else { return };
    let c = with_terminal(&test, "stty size; stat -c %u /dev/console; echo x >/dev/tty; echo end");
    c.edit(|config| {
        config["process"]["consoleSize"] = json!({ "height": 33, "width": 77 });
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let master = create(&c, &test.dir().join("c.sock"));
    c.start().ok();
    let got = read_until(&master, "end\n");
    assert_eq!(got, "33 77\n1000\nx\nend\n");
    c.wait_status("stopped");
    c.delete().ok();
}

#[test]
fn a_long_path_to_the_socket() {
    let Some(test) = Test::new() else { return };
    // A socket's address holds 108 bytes.
    let dir = test.dir().join("x".repeat(120));
    std::fs::create_dir(&dir).expect("mkdir");
    let short = test.dir().join("c.sock");
    let listener = UnixListener::bind(&short).expect("bind");
    std::fs::rename(&short, dir.join("c.sock")).expect("rename");
    let c = with_terminal(&test, "true");
    let path = dir.join("c.sock");
    let mut create = c
        .with_bundle("create", &["--console-socket", path.to_str().expect("path")])
        .spawn();
    listener.set_nonblocking(true).expect("nonblocking");
    let mut connection = None;
    wait_for("the end of create", || {
        connection = connection.take().or_else(|| listener.accept().ok());
        create.ended().then_some(())
    });
    create.wait().ok();
    assert!(connection.is_some(), "created without a terminal");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn run_in_the_foreground_passes_the_callers_terminal_on() {
    let Some(test) = Test::new() else { return };
    if !Path::new("/usr/bin/script").exists() {
        return common::skip("needs script(1), which makes a terminal to run in");
    }
    let c = with_terminal(
        &test,
        "test -t 0 && test -t 1 && echo terminals; stat -c %F /dev/console; exit 5",
    );
    let line = format!(
        "{} --root {} run --bundle {} {}",
        common::runtime().display(),
        test.root().display(),
        c.bundle.display(),
        c.id
    );
    let out = test
        .command("script")
        .args(["-qefc", &line, "/dev/null"])
        .run()
        .exits(5);
    assert!(
        out.stdout.contains("terminals") && out.stdout.contains("character special file"),
        "{out}"
    );
    test.nothing_left();
}

#[test]
fn output_is_as_the_program_writes_it() {
    let Some(test) = Test::new() else { return };
    let c = with_terminal(&test, "echo one; echo two");
    assert_eq!(c.run().ok().stdout, "one\ntwo\n");
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let out = c.verb("exec", &["--tty"]).args(["echo", "three"]).run().ok();
    assert_eq!(out.stdout, "three\n");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn the_console_can_be_opened_again_after_all_have_closed_it() {
    let Some(test) = Test::new() else { return };
    let script = "exec 0<&- 1>&- 2>&-; sleep 0.3; echo later >/dev/console; sleep 0.3; echo last >/dev/console";
    let out = with_terminal(&test, script).run().ok();
    assert_eq!(out.stdout, "later\nlast\n");
    test.nothing_left();
}

/// Starts a container that writes for ever and ends with 7 by SIGTERM.
fn writes_for_ever<'t>(test: &'t Test, stdout: &str) -> (Container<'t>, common::Running) {
    let script = "trap 'exit 7' TERM; yes & echo >/ready; while :; do sleep 0.1; done";
    let c = with_terminal(test, script);
    c.edit(|config| config["root"]["readonly"] = json!(false));
    let run = c.with_bundle("run", &[]).redirected(&format!(">{stdout}")).spawn();
    wait_for("the script", || c.rootfs().join("ready").exists().then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    (c, run)
}

#[test]
fn who_does_not_read_the_output_does_not_keep_signals_from_the_container() {
    let Some(test) = Test::new() else { return };
    // Both are full soon, and nobody takes anything out of them.
    let pipe = test.dir().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("mkfifo");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK;
    let reader = rustix::fs::open(&pipe, flags, rustix::fs::Mode::empty()).expect("open");
    let (unread, socket) = std::os::unix::net::UnixStream::pair().expect("socketpair");
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty()).expect("fcntl");
    for stdout in [pipe.display().to_string(), format!("&{}", socket.as_raw_fd())] {
        let (c, run) = writes_for_ever(&test, &stdout);
        run.signal(nix::sys::signal::Signal::SIGTERM);
        wait_for("the end of the container", || (c.status() == "stopped").then_some(()));
        // What is left of the output waits for its reader, or for a second signal.
        run.signal(nix::sys::signal::Signal::SIGTERM);
        run.wait().exits(7);
        test.nothing_left();
    }
    drop((reader, unread));
}

#[test]
fn output_that_cannot_be_written_is_lost_and_the_program_goes_on() {
    let Some(test) = Test::new() else { return };
    // More than a terminal keeps, so that the program would have to wait for a reader.
    let c = with_terminal(&test, "seq 20000; exit 5");
    let gone = "&9 9> >(exec true) && sleep 0.2";
    for stdout in ["/dev/full", gone] {
        let script = format!("exec \"$0\" \"$@\" >{stdout}");
        let script = match stdout.split_once(" && ") {
            // The reader has gone before the runtime starts.
            Some((redirection, wait)) => format!(
                "exec {} ; {wait}; exec \"$0\" \"$@\" >&9",
                redirection.replace("&9 9", "9")
            ),
            None => script,
        };
        let out = c
            .with_bundle("run", &[])
            .wrapped(["bash", "-c", &script])
            .run()
            .exits(5);
        assert_eq!(
            out.stderr.matches("the output of the terminal is lost").count(),
            1,
            "{out}"
        );
        test.nothing_left();
    }
}
