//! What the program finds as it starts: standard streams, signals, HOME; and what init shows of the caller meanwhile.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Duration;

use serde_json::{Value, json};

use super::inside::push;
use crate::common::{Container, Test, shell, wait_for};

const USER: &str = "1000";

fn as_user(config: &mut Value) {
    config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
}

#[test]
fn the_user_can_open_its_streams_again() {
    let Some(test) = Test::new() else { return };
    let script = "stat -L -c %u /dev/stdin; echo err >>/dev/stderr; echo out >>/dev/stdout";
    for pipe in [false, true] {
        let c = test.script_with(script, as_user);
        // Files of the host, or pipes.
        let out = match pipe {
            false => c.with_bundle("run", &[]).stdin("").run(),
            true => c
                .with_bundle("run", &[])
                .wrapped(["bash", "-c", "true | \"$0\" \"$@\" 2> >(cat >&2) | cat"])
                .run(),
        };
        assert_eq!(out.stdout, format!("{USER}\nout\n"), "{pipe}: {out}");
        wait_for("the other stream", || out.said().contains("err").then_some(()));
    }
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let exec = c
        .verb("exec", &["--user", "1000:1000"])
        .args(["sh", "-c", "echo out >/dev/stdout"]);
    exec.run().ok().prints("out");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_null_device_as_a_stream_is_the_containers_own() {
    let Some(test) = Test::new() else { return };
    let null = test.dir().join("null");
    shell(&format!("mknod -m 666 {} c 1 3", null.display()));
    let about = || {
        let meta = fs::metadata(&null).expect("null");
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    let before = about();
    let attack = "chmod 600 /proc/self/fd/0; chown 5:6 /proc/self/fd/2; echo done >/done";
    let c = test.script_with(&format!("{attack}; sleep 1000"), |config| {
        for set in ["bounding", "effective", "permitted"] {
            for name in ["CAP_CHOWN", "CAP_FOWNER"] {
                push(config, &format!("/process/capabilities/{set}"), json!(name));
            }
        }
        config["root"]["readonly"] = json!(false);
    });
    let streams = format!("<{0} >{0} 2>{0}", null.display());
    c.with_bundle("run", &["--detach"]).redirected(&streams).run().ok();
    wait_for("the attack", || c.rootfs().join("done").exists().then_some(()));
    assert_eq!(about(), before, "init");
    let exec = c.verb("exec", &[]).args(["sh", "-c", attack]);
    exec.redirected(&streams).run().ok();
    assert_eq!(about(), before, "exec");
    // The control: any other file is handed over as it is.
    let file = test.dir().join("file");
    fs::write(&file, "").expect("file");
    let exec = c.verb("exec", &[]).args(["sh", "-c", "chmod 640 /proc/self/fd/0"]);
    exec.redirected(&format!("<{}", file.display())).run().ok();
    assert_eq!(fs::metadata(&file).expect("file").mode() & 0o777, 0o640);
    c.kill_and_delete();
    test.nothing_left();
}

/// As the test above, in a container that has no null device: the program has removed it, or /dev is bound without one.
#[test]
fn a_null_device_as_a_stream_is_never_the_hosts() {
    let Some(test) = Test::new() else { return };
    let null = test.dir().join("null");
    shell(&format!("mknod -m 666 {} c 1 3", null.display()));
    let streams = format!("<{0} >{0} 2>{0}", null.display());
    let mode = || fs::metadata(&null).expect("null").mode() & 0o777;
    let attack = "chmod 600 /proc/self/fd/0; echo x >/proc/self/fd/1 && stat -L -c %F:%t:%T /proc/self/fd/0 >/done";
    let device = "character special file:1:3\n";
    let c = test.script_with(&format!("{attack}; rm -rf /dev/null; sleep 1000"), |config| {
        for set in ["bounding", "effective", "permitted"] {
            push(config, &format!("/process/capabilities/{set}"), json!("CAP_FOWNER"));
        }
        config["root"]["readonly"] = json!(false);
    });
    let seen = || fs::read_to_string(c.rootfs().join("done")).unwrap_or_default();
    let bound = test.dir().join("dev");
    fs::create_dir(&bound).expect("mkdir");
    c.edit(|config| {
        config["linux"]["maskedPaths"] = json!([]);
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|mount| !mount["destination"].as_str().expect("text").starts_with("/dev"));
        push(
            config,
            "/mounts",
            json!({ "destination": "/dev", "type": "bind", "source": bound, "options": ["rbind"] }),
        );
    });
    c.with_bundle("run", &["--detach"]).redirected(&streams).run().ok();
    wait_for("the attack", || (seen() == device).then_some(()));
    assert_eq!(mode(), 0o666, "init");
    for instead in [
        "true",
        "echo text >/dev/null",
        "mkdir /dev/null",
        "ln -s zero /dev/null",
    ] {
        let change = format!("rm -rf /dev/null; {instead}; rm /done");
        c.verb("exec", &[]).args(["sh", "-c", &change]).run().ok();
        let exec = c.verb("exec", &[]).args(["sh", "-c", attack]);
        exec.redirected(&streams).run().ok();
        assert_eq!((seen().as_str(), mode()), (device, 0o666), "exec after {instead}");
    }
    c.kill_and_delete();
    // In a user namespace nobody owns the host's node: it serves, and stays as it is.
    c.edit(|config| {
        push(config, "/linux/namespaces", json!({ "type": "user" }));
        for map in ["uidMappings", "gidMappings"] {
            config["linux"][map] = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
        }
    });
    fs::remove_dir_all(bound.join("null")).ok();
    shell(&format!(
        "rm -rf {0}/null; chown -R 100000:100000 {1}",
        bound.display(),
        c.rootfs().display()
    ));
    c.with_bundle("run", &["--detach"]).redirected(&streams).run().ok();
    wait_for("the attack in a user namespace", || (seen() == device).then_some(()));
    assert_eq!(mode(), 0o666, "in a user namespace");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn devices_of_the_host_keep_their_owner() {
    let Some(test) = Test::new() else { return };
    let zero = test.dir().join("zero");
    shell(&format!("mknod -m 666 {} c 1 5", zero.display()));
    let c = test.script_with("true", as_user);
    c.with_bundle("run", &[])
        .redirected(&format!("<{}", zero.display()))
        .run()
        .ok();
    assert_eq!(fs::metadata(&zero).expect("zero").uid(), 0);
    test.nothing_left();
}

/// Shows the line `SigIgn` of its own status. No shell: it ignores signals itself.
const IGNORED: [&str; 3] = ["grep", "SigIgn", "/proc/self/status"];

#[test]
fn signals_that_the_caller_ignores_are_not_ignored_inside() {
    let Some(test) = Test::new() else { return };
    let ignoring = [
        "env",
        "--ignore-signal=INT,QUIT,USR1,WINCH,RTMIN+3",
        "--block-signal=USR2",
    ];
    let none = "SigIgn:\t0000000000000000";
    let c = test.container(&IGNORED);
    c.with_bundle("run", &[]).wrapped(ignoring).run().ok().prints(none);
    c.edit(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    c.with_bundle("create", &[]).wrapped(ignoring).run().ok();
    c.start().ok();
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid())).expect("status");
    for line in [none, "SigBlk:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let exec = c.verb("exec", &[]).args(IGNORED);
    exec.wrapped(ignoring).run().ok().prints(none);
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_created_container_ends_by_the_signals_that_end_a_program() {
    let Some(test) = Test::new() else { return };
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let c = test.container(&["sleep", "1000"]);
        c.create().ok();
        c.kill("USR1").ok();
        assert_eq!(c.status(), "created");
        c.kill(signal).ok();
        c.wait_status("stopped");
        c.start().exits(1);
        c.delete().ok();
        // The program itself is protected from them, as the first process of a PID namespace is.
        c.create().ok();
        c.start().ok();
        c.kill(signal).ok();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(c.status(), "running", "{signal}");
        c.kill_and_delete();
    }
    test.nothing_left();
}

fn refusing(call: &str) -> Value {
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": [call], "action": "SCMP_ACT_ERRNO" }] })
}

#[test]
fn a_profile_that_refuses_what_init_needs_is_an_error() {
    let Some(test) = Test::new() else { return };
    for no_new_privileges in [false, true] {
        for call in ["write", "read"] {
            let c = test.container_with(&["true"], |config| {
                config["linux"]["seccomp"] = refusing(call);
                config["process"]["noNewPrivileges"] = json!(no_new_privileges);
                if !no_new_privileges {
                    for set in ["bounding", "effective", "permitted"] {
                        push(config, &format!("/process/capabilities/{set}"), json!("CAP_SYS_ADMIN"));
                    }
                }
            });
            for verb in ["create", "run"] {
                let out = c.with_bundle(verb, &[]).run().exits(1);
                assert!(out.stderr.contains("must allow read and write"), "{call}: {out}");
                assert!(!c.has_state(), "{call}: {out}");
            }
            // The control: another call may be refused.
            c.edit(|config| config["linux"]["seccomp"] = refusing("chroot"));
            c.run().ok();
        }
    }
    test.nothing_left();
}

fn home(c: &Container<'_>) -> String {
    c.run().ok().stdout.trim_end().to_owned()
}

#[test]
fn home_comes_from_the_images_passwd() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("echo $HOME", |config| {
        as_user(config);
        config["root"]["readonly"] = json!(false);
    });
    let passwd = c.rootfs().join("etc/passwd");
    fs::create_dir_all(c.rootfs().join("etc")).expect("mkdir");
    fs::write(&passwd, "user:x:1000:1000::/home/user:/bin/sh\n").expect("passwd");
    assert_eq!(home(&c), "/home/user");
    c.edit(|config| push(config, "/process/env", json!("HOME=")));
    assert_eq!(home(&c), "/home/user", "an empty one is none");
    let many: String = (0..40_000)
        .map(|n| format!("u{n}:x:{}:{n}::/home/u{n}:/bin/sh\n", n + 2000))
        .collect();
    fs::write(&passwd, format!("{many}user:x:1000:1000::/home/last:/bin/sh\n")).expect("passwd");
    assert_eq!(home(&c), "/home/last", "beyond the first megabyte");
    // A file that the user may not read, and what is no file of the image at all.
    shell(&format!("chmod 600 {}", passwd.display()));
    assert_eq!(home(&c), "/");
    fs::remove_file(&passwd).expect("rm");
    symlink("/proc/self/environ", &passwd).expect("link");
    assert_eq!(home(&c), "/");
    test.nothing_left();
}

#[test]
fn a_waiting_init_shows_nothing_of_the_callers_environment() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["sleep", "1000"]);
    c.with_bundle("create", &[]).env("SECRET", "of-the-caller").run().ok();
    let environment = fs::read(format!("/proc/{}/environ", c.pid())).expect("environ");
    assert!(
        environment.iter().all(|byte| *byte == 0),
        "{}",
        String::from_utf8_lossy(&environment)
    );
    assert!(
        environment.len() > "SECRET=of-the-caller".len(),
        "there was something to hide"
    );
    c.start().ok();
    c.kill_and_delete();
    test.nothing_left();
}
