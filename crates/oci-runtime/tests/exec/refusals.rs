//! What cannot be: one clear line, exit code 255, nothing left behind.

use std::fs;
use std::time::Duration;

use crate::common::{Container, Test, eventually};
use crate::{exec, running, script};

/// Demands exit code 255 and one line that holds `said`.
#[track_caller]
fn refused(c: &Container<'_>, flags: &[&str], command: &[&str], said: &str) {
    let out = exec(c, flags, command).run().exits(255);
    assert!(out.said().contains(said), "should have said {said:?}: {out}");
    assert_eq!(out.stderr.trim_end().lines().count(), 1, "one line: {out}");
    assert!(out.stdout.is_empty(), "{out}");
}

#[test]
fn programs_that_cannot_be_run() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["sleep", "1000"], |_| ());
    fs::write(c.rootfs().join("plain"), "not executable").expect("file");
    fs::write(c.rootfs().join("garbage"), "neither ELF nor script").expect("file");
    fs::set_permissions(
        c.rootfs().join("garbage"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("chmod");
    c.run_detached().ok();
    let prefix = "exec failed: unable to start container process: exec";
    refused(
        &c,
        &[],
        &["nosuch"],
        &format!(r#"{prefix}: "nosuch": executable file not found in $PATH"#),
    );
    refused(
        &c,
        &[],
        &["/nosuch"],
        &format!(r#"{prefix}: "/nosuch": stat /nosuch: no such file or directory"#),
    );
    refused(
        &c,
        &[],
        &["/plain"],
        &format!(r#"{prefix}: "/plain": permission denied"#),
    );
    refused(&c, &[], &["/tmp"], "is a directory");
    let file = c.bundle.join("exec.pid");
    refused(
        &c,
        &["--pid-file", file.to_str().expect("path")],
        &["/garbage"],
        "exec format error",
    );
    assert!(!file.exists(), "no pid of a process that never was");
    refused(
        &c,
        &["--cwd", "/nosuch"],
        &["true"],
        r#"chdir to cwd ("/nosuch") set in config.json failed: no such file or directory"#,
    );
    refused(&c, &["--cwd", "tmp"], &["true"], "process.cwd");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn containers_that_cannot_be_entered() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let missing = test.runtime().args(["exec", "nosuch", "true"]).run().exits(255);
    assert!(missing.said().contains("container does not exist"), "{missing}");
    let bad = test.runtime().args(["exec", "../x", "true"]).run().exits(255);
    assert!(!bad.stderr.is_empty(), "{bad}");
    c.kill("KILL").ok();
    c.wait_status("stopped");
    refused(&c, &[], &["true"], "cannot exec in a stopped container");
    refused(
        &c,
        &["--ignore-paused"],
        &["true"],
        "cannot exec in a stopped container",
    );
    c.delete().ok();
    refused(&c, &[], &["true"], "container does not exist");
    test.nothing_left();
}

#[test]
fn flags_that_cannot_be() {
    let Some(test) = Test::new() else { return };
    let c = running(&test, |_| ());
    let missing_directory = c.bundle.join("nosuch/pid");
    refused(
        &c,
        &["--pid-file", missing_directory.to_str().expect("path")],
        &["sh", "-c", "echo ran"],
        "no such file or directory",
    );
    let plain = c.bundle.join("config.json");
    let plain = plain.to_str().expect("path");
    refused(
        &c,
        &["-t", "-d", "--console-socket", plain],
        &["true"],
        "--console-socket",
    );
    refused(
        &c,
        &["-t", "-d", "--console-socket", "/nosuch"],
        &["true"],
        "no such file or directory",
    );
    refused(&c, &["--pidfd-socket", plain], &["true"], "--pidfd-socket");
    refused(
        &c,
        &["-t", "-d"],
        &["true"],
        "cannot allocate tty if runc will detach without setting console socket",
    );
    refused(
        &c,
        &["-d", "--console-socket", "/x"],
        &["true"],
        "cannot use console socket if runc will not detach or allocate tty",
    );
    refused(&c, &["--apparmor", "unheard-of"], &["true"], "pparmor");
    refused(&c, &["--process-label", "unheard-of"], &["true"], "abel");
    refused(&c, &["-e", "novalue"], &["true"], "novalue");
    refused(&c, &[], &[], "process args cannot be empty");
    for user in ["", "root", "1:", "-1", "1:2:3", "4294967295"] {
        let out = exec(&c, &[&format!("--user={user}")], &["id"]).run();
        assert!(out.code() != 0 && out.stdout.is_empty(), "{user:?}: {out}");
        assert!(out.stderr.contains("--user"), "{user:?}: {out}");
    }
    let out = exec(&c, &["--no-such-flag"], &["true"]).run();
    assert!(out.code() != 0, "{out}");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_container_that_dies_meanwhile() {
    let Some(test) = Test::new() else { return };
    for n in 0..24 {
        let c = test.container(&["sleep", &format!("0.{:03}", 10 + n * 2)]);
        c.run_detached().ok();
        let mut codes = Vec::new();
        let dead = eventually(|| {
            let out = script(&c, &[], "exit 3");
            assert!(out.took < Duration::from_secs(5), "{out}");
            // Before, in the middle of it, after.
            assert!([3, 137, 255].contains(&out.code()), "{out}");
            assert!(
                out.code() != 255 || out.stderr.trim_end().lines().count() == 1,
                "one line: {out}"
            );
            codes.push(out.code());
            out.said().contains("cannot exec in a stopped container")
        });
        assert!(dead, "{codes:?}");
        c.delete().ok();
    }
    test.nothing_left();
}
