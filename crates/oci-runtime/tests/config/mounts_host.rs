//! Mounts that begin with a special host side: sources with flags or mounts of their own, shared trees, /dev.
//!
//! The host side is made in a mount namespace of its own (`unshare --mount`), where the runtime runs as well.

use std::fs;

use serde_json::json;

use super::inside::{add_mount, mount_at, mountinfo};
use crate::common::{Container, Out, Test};

/// Runs the container in a private mount namespace, after the shell commands `setup` (in the bundle's directory).
fn run_after(c: &Container<'_>, setup: &str) -> Out {
    let script = format!("cd {} && {setup} && exec \"$@\"", c.bundle.display());
    let run = c.with_bundle("run", &[]);
    run.wrapped([
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        &script,
        "sh",
    ])
    .run()
}

/// A container that prints its mountinfo, with the bundle's `data` mounted at /data.
fn printer<'t>(test: &'t Test, options: &[&str]) -> Container<'t> {
    let c = test.container(&["cat", "/proc/self/mountinfo"]);
    c.edit(|config| add_mount(config, "/data", "bind", "data", options));
    fs::create_dir_all(c.bundle.join("data/sub")).expect("mkdir");
    c
}

#[test]
fn options_clear_what_the_source_has_set() {
    let Some(test) = Test::new() else { return };
    let all = ["nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow"];
    let setup = &format!("mount -t tmpfs -o {} t data", all.join(","));
    let kept = run_after(&printer(&test, &["bind"]), setup).ok();
    let mount = mount_at(&kept.stdout, "/data");
    for option in all {
        assert!(mount.has(option), "a plain bind keeps {option}: {:?}", mount.options);
    }
    // runc differs: before 1.2 it clears nothing where no other option asks for a remount, and later `atime` nothing.
    let negations = ["bind", "suid", "dev", "exec", "atime", "diratime", "symfollow"];
    let cleared = run_after(&printer(&test, &negations), setup).ok();
    let mount = mount_at(&cleared.stdout, "/data");
    for option in all {
        assert!(!mount.has(option), "{option} should be cleared: {:?}", mount.options);
    }
    let partly = run_after(&printer(&test, &["bind", "ro", "exec"]), setup).ok();
    let mount = mount_at(&partly.stdout, "/data");
    assert!(mount.has("ro") && !mount.has("noexec"), "{:?}", mount.options);
    test.nothing_left();
}

#[test]
fn rbind_brings_the_mounts_below() {
    let Some(test) = Test::new() else { return };
    let setup = "mount -t tmpfs t data/sub";
    let points = |out: &Out| mountinfo(&out.stdout).into_iter().map(|m| m.point).collect::<Vec<_>>();
    let with = run_after(&printer(&test, &["rbind"]), setup).ok();
    assert!(points(&with).contains(&"/data/sub".to_owned()), "{with}");
    let without = run_after(&printer(&test, &["bind"]), setup).ok();
    assert!(!points(&without).contains(&"/data/sub".to_owned()), "{without}");
}

#[test]
fn recursive_options_reach_the_mounts_below() {
    let Some(test) = Test::new() else { return };
    let setup = "mount -t tmpfs t data/sub";
    let out = run_after(&printer(&test, &["rbind", "ro"]), setup).ok();
    assert!(mount_at(&out.stdout, "/data").has("ro"), "{out}");
    assert!(
        !mount_at(&out.stdout, "/data/sub").has("ro"),
        "ro is for the mount alone: {out}"
    );
    let out = run_after(&printer(&test, &["rbind", "rro", "rnosuid"]), setup).ok();
    for point in ["/data", "/data/sub"] {
        let mount = mount_at(&out.stdout, point);
        assert!(mount.has("ro") && mount.has("nosuid"), "{point}: {:?}", mount.options);
    }
}

/// Each option that sets, the one that clears it, and what mountinfo calls it.
#[test]
fn every_recursive_option() {
    let Some(test) = Test::new() else { return };
    for (set, clear, shown) in [
        ("rro", "rrw", "ro"),
        ("rnosuid", "rsuid", "nosuid"),
        ("rnodev", "rdev", "nodev"),
        ("rnoexec", "rexec", "noexec"),
        ("rnosymfollow", "rsymfollow", "nosymfollow"),
        ("rnodiratime", "rdiratime", "nodiratime"),
        ("rnoatime", "ratime", "noatime"),
        ("rrelatime", "rstrictatime", "relatime"),
        ("rnostrictatime", "rstrictatime", "relatime"),
    ] {
        for (option, before, after) in [(set, "strictatime", true), (clear, shown, false)] {
            let mount = |on: &str| format!("mount -t tmpfs -o {before} t {on}");
            // The directory for the second one is made before the first one may be read-only.
            let setup = format!(
                "mount -t tmpfs t data; mkdir data/sub; mount -o remount,{before} data; {}",
                mount("data/sub")
            );
            let out = run_after(&printer(&test, &["rbind", option]), &setup).ok();
            for point in ["/data", "/data/sub"] {
                let mount = mount_at(&out.stdout, point);
                assert_eq!(mount.has(shown), after, "{option}, {point}: {:?}", mount.options);
            }
        }
    }
    test.nothing_left();
}

#[test]
fn a_slave_mount_follows_the_host() {
    let Some(test) = Test::new() else { return };
    for option in ["slave", "rslave"] {
        let c = printer(&test, &["rbind", option]);
        let out = run_after(&c, "mount -t tmpfs t data && mount --make-shared data").ok();
        let mount = mount_at(&out.stdout, "/data");
        let is_slave = mount.propagation.iter().any(|p| p.starts_with("master:"));
        assert!(
            is_slave && mount.propagation.len() == 1,
            "{option}: {:?}",
            mount.propagation
        );
    }
}

#[test]
fn a_shared_host_stays_untouched() {
    let Some(test) = Test::new() else { return };
    // With everything shared, as systemd leaves it, no mount of the container may come back to the host.
    let c = printer(&test, &["rbind", "rprivate"]);
    let script = format!(
        "cd {} && mount --make-rshared / && cat /proc/self/mountinfo >before && \"$@\" >inside && \
         cat /proc/self/mountinfo >after && cmp before after",
        c.bundle.display()
    );
    let run = c.with_bundle("run", &[]);
    let wrapped = run.wrapped([
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-ec",
        &script,
        "sh",
    ]);
    wrapped.run().ok();
    let inside = fs::read_to_string(c.bundle.join("inside")).expect("inside");
    for mount in mountinfo(&inside) {
        let shared = mount.propagation.iter().any(|p| p.starts_with("shared:"));
        assert!(
            !shared,
            "{} is shared with the host: {:?}",
            mount.point, mount.propagation
        );
    }
    test.nothing_left();
}

#[test]
fn the_propagation_of_the_root() {
    let Some(test) = Test::new() else { return };
    type Check = fn(&[String]) -> bool;
    let cases: [(Option<&str>, Check); 6] = [
        (None, |p| !p.iter().any(|p| p.starts_with("shared:"))),
        (Some("private"), <[String]>::is_empty),
        (Some("rprivate"), <[String]>::is_empty),
        (Some("rslave"), |p| p.iter().all(|p| p.starts_with("master:"))),
        // runc differs: before 1.2 `shared` gives a private root.
        (Some("shared"), |p| p.iter().any(|p| p.starts_with("shared:"))),
        (Some("unbindable"), |p| p == ["unbindable"]),
    ];
    for (propagation, check) in cases {
        let c = test.container(&["cat", "/proc/self/mountinfo"]);
        if let Some(propagation) = propagation {
            c.edit(|config| config["linux"]["rootfsPropagation"] = json!(propagation));
        }
        let out = run_after(&c, "mount --make-rshared /").ok();
        let root = mount_at(&out.stdout, "/");
        assert!(
            check(&root.propagation),
            "rootfsPropagation {propagation:?} gives {:?}",
            root.propagation
        );
    }
    let c = test.script_with("true", |config| {
        config["linux"]["rootfsPropagation"] = json!("sideways")
    });
    let out = c.create().exits(1);
    assert!(
        out.stderr.contains("sideways") || out.stderr.contains("rootfsPropagation"),
        "{out}"
    );
    test.nothing_left();
}

/// Docker's command line has a hint for this text.
#[test]
fn a_directory_on_a_file_and_a_file_on_a_directory() {
    let Some(test) = Test::new() else { return };
    for (source, target) in [("/etc/passwd", "/etc"), ("/etc", "/etc/passwd")] {
        let c = test.script("true");
        c.edit(|config| add_mount(config, target, "bind", source, &["bind"]));
        c.create().fails("not a directory");
        test.nothing_left();
    }
}

#[test]
fn a_dev_that_is_bound_is_left_alone() {
    let Some(test) = Test::new() else { return };
    // As with `-v /dev:/dev`: whatever is made there would be made on the host.
    let c = test.script("ls /dev");
    let dev = c.bundle.join("hostdev");
    fs::create_dir(&dev).expect("mkdir");
    fs::write(dev.join("mine"), "").expect("file");
    crate::common::shell(&format!("mknod -m 666 {}/null c 1 3", dev.display()));
    c.edit(|config| {
        config["mounts"]
            .as_array_mut()
            .expect("mounts")
            .retain(|m| !m["destination"].as_str().expect("destination").starts_with("/dev"));
        add_mount(config, "/dev", "bind", "hostdev", &["rbind"]);
    });
    c.run().ok().prints("mine\nnull");
    assert_eq!(
        fs::read_dir(&dev).expect("dir").count(),
        2,
        "something was made in the host's directory"
    );
}

#[test]
fn no_pivot_works_without_pivot_root() {
    let Some(test) = Test::new() else { return };
    let c = test.script("cat /etc/hosts; ls -d /usr/lib /boot 2>/dev/null; ls / | wc -l");
    let out = c.with_bundle("run", &["--no-pivot"]).run().ok();
    let mut lines = out.stdout.lines();
    assert_eq!(lines.next(), Some("127.0.0.1 localhost"), "{out}");
    assert_eq!(
        lines.next(),
        fs::read_dir(c.rootfs()).map(|d| d.count().to_string()).ok().as_deref(),
        "{out}"
    );
}
