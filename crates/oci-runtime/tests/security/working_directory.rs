//! CVE-2024-21626: a working directory that leads to the host through a descriptor of the runtime.

use std::fs;

use serde_json::json;

use crate::common::Test;

#[test]
fn no_descriptor_leads_outside() {
    let Some(test) = Test::new() else { return };
    let secret = test.dir().join("host-secret");
    fs::write(&secret, "of the host\n").expect("file");
    // The caller leaks directories of the host, and the runtime has some open itself.
    let leak: String = (3..=9).map(|fd| format!("{fd}</ ")).collect();
    for fd in 3..=16 {
        for path in [format!("/proc/self/fd/{fd}"), format!("/proc/1/fd/{fd}/../../..")] {
            let up = "../".repeat(12);
            let script = format!("cat {up}{} 2>/dev/null; pwd -P; echo inside", secret.display());
            let c = test.script_with(&script, |config| config["process"]["cwd"] = json!(path));
            let out = c.with_bundle("run", &[]).redirected(&leak).run();
            assert!(!out.stdout.contains("of the host"), "{path} leads to the host: {out}");
            assert!(out.code() == 1 || out.stdout.contains("inside"), "{out}");
            test.nothing_left();
            let _ = fs::remove_dir_all(&c.bundle);
        }
    }
}

#[test]
fn no_descriptor_of_exec_leads_outside() {
    let Some(test) = Test::new() else { return };
    let secret = test.dir().join("host-secret");
    fs::write(&secret, "of the host\n").expect("file");
    let c = test.container(&["sleep", "1000"]);
    c.run_detached().ok();
    let leak: String = (3..=9).map(|fd| format!("{fd}</ ")).collect();
    for fd in 3..=16 {
        for path in [format!("/proc/self/fd/{fd}"), format!("/proc/self/fd/{fd}/../../..")] {
            let up = "../".repeat(12);
            let script = format!("cat {up}{} 2>/dev/null; pwd -P; echo inside", secret.display());
            for preserved in ["0", "7"] {
                let flags = ["--preserve-fds", preserved, "--cwd", &path];
                let command = c.verb("exec", &flags).args(["sh", "-c", &script]);
                let out = command.redirected(&leak).run();
                assert!(!out.stdout.contains("of the host"), "{path} leads to the host: {out}");
                assert!(out.code() == 255 || out.stdout.contains("inside"), "{out}");
            }
        }
    }
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn no_link_leads_outside() {
    let Some(test) = Test::new() else { return };
    let secret = test.dir().join("host-secret");
    fs::write(&secret, "of the host\n").expect("file");
    let c = test.script_with("cat ./host-secret 2>/dev/null; pwd -P", |config| {
        config["process"]["cwd"] = json!("/link");
    });
    // To a directory of the host that the image does not have: it is made in the image, if at all.
    std::os::unix::fs::symlink(test.dir(), c.rootfs().join("link")).expect("link");
    let out = c.run();
    assert!(!out.stdout.contains("of the host"), "{out}");
    test.nothing_left();
}
