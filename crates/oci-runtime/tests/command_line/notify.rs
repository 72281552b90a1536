//! NOTIFY_SOCKET, with a real socket in the service manager's place.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use serde_json::json;

use crate::common::{Container, Kind, Test, kind, skip, wait_for};

/// A service manager: a socket and its address.
fn manager(test: &Test) -> (UnixDatagram, String) {
    let path = test.dir().join("manager.sock");
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    (socket, path.to_str().expect("path").to_owned())
}

/// One message and the descriptors with it.
fn receive(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let got = rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC).expect("a message");
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    (String::from_utf8_lossy(&bytes[..got.bytes]).into_owned(), fds)
}

/// A container that shows what it has of the socket, and stays.
fn service(test: &Test) -> Container<'_> {
    let script = "echo $NOTIFY_SOCKET; grep ' /run/notify ' /proc/mounts; touch /run/notify/x 2>&1; exec sleep 1000";
    test.script_with(script, |config| config["root"]["readonly"] = json!(false))
}

/// Says something as the container's program would, through the socket that it has.
fn say(c: &Container<'_>, texts: &[&str]) {
    let path = format!("/proc/{}/root/run/notify/notify.sock", c.pid());
    let socket = UnixDatagram::unbound().expect("a socket");
    wait_for("the container's socket", || socket.connect(&path).ok());
    for text in texts {
        socket.send(text.as_bytes()).expect("sending");
    }
}

/// What the program has printed about its socket.
#[track_caller]
fn assert_shown(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "/run/notify/notify.sock", "{text}");
    for option in ["ro", "nosuid", "nodev", "noexec"] {
        let options = lines[1].split(' ').nth(3).expect("options");
        assert!(options.split(',').any(|o| o == option), "{option}: {text}");
    }
    assert!(lines[2].contains("Read-only file system"), "{text}");
}

#[test]
fn run_in_the_foreground_tells_its_own_pid() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return skip("runc waits before it forwards signals, and says it in two messages");
    }
    let (manager, address) = manager(&test);
    let c = service(&test);
    let run = c.with_bundle("run", &[]).env("NOTIFY_SOCKET", &address).spawn();
    wait_for("the program", || (run.stdout().lines().count() == 3).then_some(()));
    assert_shown(&run.stdout());
    say(
        &c,
        &["STATUS=soon", "MAINPID=1", "STATUS=now\nREADY=1\nMAINPID=2\nFDSTORE=1"],
    );
    let (text, _) = receive(&manager);
    assert_eq!(text, format!("READY=1\nMAINPID={}\n", run.pid()));
    c.kill("TERM").ok();
    c.kill("KILL").ok();
    run.wait().exits(137);
    test.nothing_left();
}

/// `started` is a `start` or `run --detach`: it must not return before the container is ready and the manager knows.
#[track_caller]
fn becomes_ready(c: &Container<'_>, manager: &UnixDatagram, mut started: crate::common::Running) {
    wait_for("the program", || {
        (c.has_state() && c.verb("state", &[]).run().stdout.contains("running")).then_some(())
    });
    say(c, &["STATUS=soon"]);
    assert!(!started.ended(), "it waits for the container to be ready");
    say(c, &["READY=1"]);
    let (text, _) = receive(manager);
    assert_eq!(text, format!("READY=1\nMAINPID={}\n", c.pid()));
    let (text, fds) = receive(manager);
    assert_eq!((text.as_str(), fds.len()), ("BARRIER=1", 1));
    assert!(!started.ended(), "it waits for the manager");
    drop(fds);
    started.wait().ok().silent();
}

#[test]
fn start_and_run_detached_wait_until_it_is_ready() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return skip("runc says it in two messages");
    }
    let (manager, address) = manager(&test);
    let c = service(&test);
    c.with_bundle("create", &[])
        .env("NOTIFY_SOCKET", &address)
        .run()
        .ok()
        .silent();
    becomes_ready(
        &c,
        &manager,
        c.verb("start", &[]).env("NOTIFY_SOCKET", &address).spawn(),
    );
    c.kill_and_delete();
    becomes_ready(
        &c,
        &manager,
        c.with_bundle("run", &["-d"]).env("NOTIFY_SOCKET", &address).spawn(),
    );
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn an_abstract_address() {
    let Some(test) = Test::new() else { return };
    let name = format!("{}-manager", test.mark());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("address")).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let c = service(&test);
    let run = c
        .with_bundle("run", &[])
        .env("NOTIFY_SOCKET", format!("@{name}"))
        .spawn();
    wait_for("the program", || (run.stdout().lines().count() == 3).then_some(()));
    say(&c, &["READY=1"]);
    assert!(receive(&socket).0.starts_with("READY=1"));
    c.kill("KILL").ok();
    run.wait().exits(137);
    test.nothing_left();
}

#[test]
fn a_container_that_ends_without_a_word() {
    let Some(test) = Test::new() else { return };
    let (_manager, address) = manager(&test);
    let c = test.script_with("exit 3", |config| config["root"]["readonly"] = json!(false));
    // runc differs: it waits for ever for a container that has ended.
    if kind() != Kind::Runc {
        c.with_bundle("run", &[]).env("NOTIFY_SOCKET", &address).run().exits(3);
        c.with_bundle("run", &["-d"]).env("NOTIFY_SOCKET", &address).run().ok();
        c.wait_status("stopped");
        c.delete().ok();
    }
    c.with_bundle("create", &[]).env("NOTIFY_SOCKET", &address).run().ok();
    // Deleted without ever having been started, and whatever somebody has put there.
    fs::create_dir_all(c.state_dir().join("notify/a/b")).expect("mkdir");
    c.delete().ok();
    test.nothing_left();
}

#[test]
fn a_manager_that_is_not_there() {
    let Some(test) = Test::new() else { return };
    let c = service(&test);
    for address in ["/no/such/socket", "relative", "@no-such-manager"] {
        let out = c
            .with_bundle("run", &[])
            .env("NOTIFY_SOCKET", address)
            .limit(Duration::from_secs(10));
        if kind() == Kind::Nucleus {
            let out = out.run().exits(1);
            assert!(out.stderr.contains(&format!("NOTIFY_SOCKET {address}")), "{out}");
            assert_eq!(out.stderr.lines().count(), 1, "{out}");
            test.nothing_left();
        }
    }
    if kind() != Kind::Nucleus {
        return skip("runc starts the container first");
    }
    c.with_bundle("create", &[])
        .env("NOTIFY_SOCKET", "/no/such/socket")
        .run()
        .ok();
    c.verb("start", &[])
        .env("NOTIFY_SOCKET", "/no/such/socket")
        .run()
        .fails("NOTIFY_SOCKET /no/such/socket");
    assert_eq!(c.status(), "created", "it was not started");
    // A socket that a `start` which was killed has left is no obstacle.
    fs::write(c.state_dir().join("notify/notify.sock"), "").expect("file");
    let out = c.verb("start", &[]).env("NOTIFY_SOCKET", "relative").run().exits(1);
    assert!(out.stderr.contains("NOTIFY_SOCKET relative"), "{out}");
    c.start().ok();
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn nothing_of_it_without_the_variable() {
    let Some(test) = Test::new() else { return };
    let (_manager, address) = manager(&test);
    let c = service(&test);
    let run = c.with_bundle("run", &[]).env("NOTIFY_SOCKET", "").spawn();
    wait_for("the program", || (run.stdout().lines().count() >= 2).then_some(()));
    assert!(!run.stdout().contains("/run/notify/notify.sock"), "{}", run.stdout());
    assert!(!c.state_dir().join("notify").exists() && !Path::new(&c.rootfs()).join("run/notify").exists());
    c.kill("KILL").ok();
    run.wait().exits(137);
    if kind() != Kind::Nucleus {
        return skip("runc fails to start what was created without");
    }
    // An engine that listens by itself may have it only at `start`.
    c.create().ok();
    c.verb("start", &[]).env("NOTIFY_SOCKET", &address).run().ok().silent();
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn an_engine_that_listens_by_itself_is_left_alone() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return skip("runc mounts its own on top");
    }
    let (_manager, address) = manager(&test);
    let own = test.dir().join("own");
    fs::create_dir(&own).expect("mkdir");
    fs::write(own.join("mine"), "").expect("file");
    let c = test.script_with("ls /run/notify; echo $NOTIFY_SOCKET", |config| {
        config["root"]["readonly"] = json!(false);
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.push(json!({ "destination": "/run/notify", "type": "bind", "source": own, "options": ["bind"] }));
        let env = config["process"]["env"].as_array_mut().expect("env");
        env.push(json!("NOTIFY_SOCKET=/run/notify/mine"));
    });
    c.with_bundle("run", &[])
        .env("NOTIFY_SOCKET", &address)
        .run()
        .ok()
        .prints("mine\n/run/notify/mine");
    test.nothing_left();
}
