//! Flags whose effect no other test program looks at.

use std::fs;
use std::os::unix::net::UnixListener;

use serde_json::json;

use crate::common::{Kind, Test, kind, skip, wait_for};

/// A container whose program prints the keyrings that it sees. /proc/keys is the host's, so the name is nobody else's.
fn keys<'t>(test: &'t Test, name: &str) -> crate::common::Container<'t> {
    test.named(&format!("{}-{name}", test.mark()), &["cat", "/proc/keys"], |config| {
        config["linux"]["maskedPaths"] = json!([]);
    })
}

#[test]
fn no_new_keyring_keeps_the_callers() {
    let Some(test) = Test::new() else { return };
    for (flags, own) in [(&[][..], true), (&["--no-new-keyring"], false)] {
        let c = keys(&test, if own { "own" } else { "callers" });
        let out = c.with_bundle("run", flags).run().ok();
        assert_eq!(out.stdout.contains(&format!("_ses.{}", c.id)), own, "{flags:?}: {out}");
    }
    test.nothing_left();
}

#[test]
fn exec_joins_the_keyring_of_the_container() {
    let Some(test) = Test::new() else { return };
    for (flags, joined) in [(&["--detach"][..], true), (&["--detach", "--no-new-keyring"], false)] {
        let c = keys(&test, if joined { "own" } else { "callers" });
        c.edit(|config| config["process"]["args"] = json!(["sleep", "1000"]));
        c.with_bundle("run", flags).run().ok();
        let out = test.runtime().args(["exec", &c.id, "cat", "/proc/keys"]).run().ok();
        let rings = out.stdout.matches(&format!("_ses.{}", c.id)).count();
        assert_eq!(rings, usize::from(joined), "one keyring for both: {out}");
        c.kill_and_delete();
    }
    test.nothing_left();
}

#[test]
fn no_subreaper_leaves_orphans_to_somebody_else() {
    let Some(test) = Test::new() else { return };
    // Without a PID namespace an orphan goes to the next subreaper above: the runtime, unless it was told not to be one.
    let script = "(sh -c 'sleep 0.3; grep PPid: /proc/self/status >/tmp/parent; sleep 1000' &); sleep 1000";
    for (flags, ours) in [(&[][..], true), (&["--no-subreaper"], false)] {
        let c = test.script_with(script, |config| {
            config["linux"]["namespaces"] = json!([{ "type": "mount" }]);
            config["mounts"] = json!([{ "destination": "/proc", "type": "proc", "source": "proc" }]);
            config["root"]["readonly"] = json!(false);
            config.as_object_mut().expect("config").remove("hostname");
        });
        let run = c.with_bundle("run", flags).spawn();
        let orphan = wait_for("an orphan", || {
            let parent = format!("PPid:\t{}", run.pid());
            let _ = fs::read_to_string(c.rootfs().join("tmp/parent"))
                .ok()
                .filter(|text| !text.is_empty())?;
            let init = c.pid();
            let mut dirs = fs::read_dir("/proc").expect("/proc").flatten();
            let adopted = dirs.any(|dir| {
                let pid = dir.file_name().to_string_lossy().parse::<i32>().ok();
                let status = fs::read_to_string(dir.path().join("status")).unwrap_or_default();
                pid.is_some_and(|pid| pid != init) && status.lines().any(|line| line == parent)
            });
            Some(adopted)
        });
        assert_eq!(orphan, ours, "{flags:?}");
        test.runtime().args(["kill", "--all", &c.id, "KILL"]).run().ok();
        run.wait().exits(137);
    }
    test.nothing_left();
}

#[test]
fn create_and_run_send_a_pidfd() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return skip("runc before 1.4 has no such flag");
    }
    for (verb, flags) in [("create", &[][..]), ("run", &["--detach"])] {
        let c = test.container(&["sleep", "1000"]);
        let path = c.bundle.join("pidfd.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let flags = [flags, &["--pidfd-socket", path.to_str().expect("path")]].concat();
        c.with_bundle(verb, &flags).run().ok().silent();
        let (stream, _) = listener.accept().expect("a connection");
        let (pidfd, name) = receive(&stream);
        assert_eq!(name, "standard", "runc's word for a first process");
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{pidfd}")).expect("fdinfo");
        assert!(info.lines().any(|line| line == format!("Pid:\t{}", c.pid())), "{info}");
        nix::unistd::close(pidfd).expect("close");
        c.kill_and_delete();
    }
    test.nothing_left();
}

/// The one descriptor and the bytes of a message.
fn receive(stream: &std::os::unix::net::UnixStream) -> (i32, String) {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let mut bytes = [0; 64];
    let mut space = nix::cmsg_space!([i32; 2]);
    let mut slices = [std::io::IoSliceMut::new(&mut bytes)];
    let fd = std::os::fd::AsRawFd::as_raw_fd(stream);
    let got = recvmsg::<()>(fd, &mut slices, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC).expect("recvmsg");
    let fds: Vec<i32> = got
        .cmsgs()
        .expect("control messages")
        .filter_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    let length = got.bytes;
    assert_eq!(fds.len(), 1, "one descriptor");
    (fds[0], String::from_utf8_lossy(&bytes[..length]).into_owned())
}

#[test]
fn criu_is_obsolete() {
    let Some(test) = Test::new() else { return };
    // containerd passes it on, and takes a word on standard error of what it logs for nothing.
    let log = test.dir().join("log");
    let out = test
        .runtime()
        .arg("--log")
        .arg(&log)
        .args(["--criu", "/x", "list", "-q"])
        .run();
    out.ok().silent();
    if kind() == Kind::Nucleus {
        let out = test.runtime().args(["--criu=/x", "list", "-q"]).run().ok();
        assert_eq!(out.stderr, "warning: --criu is obsolete and ignored\n");
    }
}

#[test]
fn what_create_is_given_reaches_the_program_at_start_and_nothing_of_ours_does() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat <&3; cat <&4; ls /proc/self/fd");
    for n in 3..=7 {
        fs::write(c.bundle.join(format!("{n}")), format!("file {n}\n")).expect("file");
    }
    let files: String = (3..=7)
        .map(|n| format!("{n}<{} ", c.bundle.join(format!("{n}")).display()))
        .collect();
    let log = c.bundle.join("log");
    let command =
        test.runtime()
            .arg("--log")
            .arg(&log)
            .arg("--debug")
            .args(["create", "--preserve-fds", "2", "--bundle"]);
    let created = command.arg(&c.bundle).arg(&c.id).redirected(&files).run().ok();
    c.verb("start", &[]).redirected(&files).run().ok();
    // The last descriptor is that of `ls` for the directory.
    let wanted = "file 3\nfile 4\n0\n1\n2\n3\n4\n5\n";
    wait_for("the list", || (created.stdout_now() == wanted).then_some(()));
    c.wait_status("stopped");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn no_descriptor_of_ours_is_open_in_the_program() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return skip("runc before 1.4 has no --pidfd-socket");
    }
    let (pidfd, manager) = (test.dir().join("pidfd.sock"), test.dir().join("manager.sock"));
    let _pidfd = UnixListener::bind(&pidfd).expect("a socket");
    let _manager = std::os::unix::net::UnixDatagram::bind(&manager).expect("a socket");
    let c = test.container_with(&["ls", "/proc/self/fd"], |config| {
        config["root"]["readonly"] = json!(false)
    });
    let log = c.bundle.join("log");
    let command = test
        .runtime()
        .arg("--log")
        .arg(&log)
        .arg("--debug")
        .args(["run", "--bundle"])
        .arg(&c.bundle);
    let command = command
        .arg("--pidfd-socket")
        .arg(&pidfd)
        .arg(&c.id)
        .env("NOTIFY_SOCKET", &manager);
    command.run().ok().prints("0\n1\n2\n3");
    test.nothing_left();
}
