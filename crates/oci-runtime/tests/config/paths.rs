//! Masked and read-only paths.

use std::fs;

use serde_json::json;

use crate::common::Test;

#[test]
fn masked_files_and_directories_are_empty() {
    let Some(test) = Test::new() else { return };
    let script = "cat /secret-file; ls -A /secret-dir; echo x 2>/dev/null >/secret-dir/x || echo refused; \
                  cat /proc/kcore | head -c 1 | wc -c; ls -A /sys/firmware | wc -l";
    let c = test.script_with(script, |config| {
        let masked = config["linux"]["maskedPaths"].as_array_mut().expect("maskedPaths");
        // The last one does not exist; one is given twice.
        masked.extend(["/secret-file", "/secret-dir", "/secret-dir", "/no/such/path"].map(|p| json!(p)));
        config["root"]["readonly"] = json!(false);
    });
    fs::write(c.rootfs().join("secret-file"), "secret\n").expect("file");
    fs::create_dir(c.rootfs().join("secret-dir")).expect("dir");
    fs::write(c.rootfs().join("secret-dir/file"), "secret\n").expect("file");
    c.run().ok().prints("refused\n0\n0");
    assert!(
        !c.rootfs().join("no").exists(),
        "nothing is made for a path that does not exist"
    );
}

#[test]
fn a_path_that_is_masked_twice_is_masked_once() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("grep -c ' /secret ' /proc/self/mountinfo", |config| {
        config["linux"]["maskedPaths"] = json!(["/secret", "/secret", "/secret"]);
    });
    fs::create_dir(c.rootfs().join("secret")).expect("dir");
    // runc differs: before 1.2 it masks as often as it is told.
    c.run().ok().prints("1");
}

#[test]
fn readonly_paths_cannot_be_written() {
    let Some(test) = Test::new() else { return };
    let script = "for p in /fixed/x /file /proc/sys/kernel/msgmax; do echo x 2>/dev/null >$p || echo refused; done; \
                  cat /file /fixed/inner; echo x >/free && echo free; touch /fixed/sub/x 2>/dev/null || echo refused";
    let c = test.script_with(script, |config| {
        config["root"]["readonly"] = json!(false);
        let readonly = config["linux"]["readonlyPaths"].as_array_mut().expect("readonlyPaths");
        readonly.extend(["/fixed", "/file", "/no/such/path"].map(|p| json!(p)));
    });
    fs::create_dir_all(c.rootfs().join("fixed/sub")).expect("dir");
    fs::write(c.rootfs().join("fixed/inner"), "inner\n").expect("file");
    fs::write(c.rootfs().join("file"), "file\n").expect("file");
    c.run()
        .ok()
        .prints("refused\nrefused\nrefused\nfile\ninner\nfree\nrefused");
}

#[test]
fn readonly_paths_keep_the_other_flags() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat /proc/self/mountinfo");
    let out = c.run().ok();
    let sys = super::inside::mount_at(&out.stdout, "/proc/sys");
    assert!(sys.has("ro"), "{:?}", sys.options);
    for path in ["/proc/bus", "/proc/irq", "/proc/sysrq-trigger"] {
        if fs::exists(path).unwrap_or(false) {
            assert!(super::inside::mount_at(&out.stdout, path).has("ro"), "{path}");
        }
    }
    // On a mount with nosuid, nodev and noexec the read-only one has them too.
    c.edit(|config| {
        config["mounts"][0]["options"] = json!(["nosuid", "noexec", "nodev"]);
    });
    let sys = super::inside::mount_at(&c.run().ok().stdout, "/proc/sys");
    for option in ["ro", "nosuid", "noexec", "nodev"] {
        assert!(sys.has(option), "{option}: {:?}", sys.options);
    }
}

#[test]
fn without_any_masks_there_are_none() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("grep -c ' /proc/' /proc/self/mountinfo", |config| {
        config["linux"]["maskedPaths"] = json!([]);
        super::inside::remove(config, "/linux", "readonlyPaths");
    });
    c.run().exits(1).prints("0");
}
