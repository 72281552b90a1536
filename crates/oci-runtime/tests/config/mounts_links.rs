//! `src-nofollow`, `dest-nofollow`, `copy-symlink`: what becomes of links at either end of a bind mount.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use super::inside::add_mount;
use crate::common::{Container, MAPPED_ROOT, Test, map_ids};

const SCRIPT: &str = "readlink /at || cat /at; grep -c ' /at ' /proc/self/mountinfo; cat /target";

/// A container with the link `link` → `/target` of the bundle bound at /at, both targets told apart by what they hold.
fn linked<'t>(test: &'t Test, options: &[&str], edit: impl FnOnce(&mut Value)) -> Container<'t> {
    let c = test.script_with(SCRIPT, |config| {
        config["root"]["readonly"] = false.into();
        add_mount(config, "/at", "bind", "link", options);
        edit(config);
    });
    fs::write(c.bundle.join("target"), "the host's\n").expect("file");
    symlink("target", c.bundle.join("link")).expect("link");
    fs::write(c.rootfs().join("target"), "the container's\n").expect("file");
    c
}

#[test]
fn without_an_option_a_link_is_followed() {
    let Some(test) = Test::new() else { return };
    let c = linked(&test, &["bind"], |_| ());
    c.run().ok().prints("the host's\n1\nthe container's");
}

#[test]
fn a_link_is_copied() {
    let Some(test) = Test::new() else { return };
    for edit in [(|_| ()) as fn(&mut Value), map_ids] {
        let c = linked(&test, &["bind", "copy-symlink"], edit);
        // The container's root may write there only then.
        std::os::unix::fs::chown(c.rootfs(), Some(MAPPED_ROOT), Some(MAPPED_ROOT)).expect("chown");
        c.run().ok().prints("target\n0\nthe container's");
        // The link is in the image by now, and serves.
        c.run().ok().prints("target\n0\nthe container's");
    }
    let c = linked(&test, &["bind", "copy-symlink"], |_| ());
    fs::write(c.rootfs().join("at"), "").expect("file");
    c.run().fails("file exists");
    // What is no link is bound as ever.
    let c = linked(&test, &["bind", "copy-symlink"], |config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.last_mut().expect("mount")["source"] = "target".into();
    });
    c.run().ok().prints("the host's\n1\nthe container's");
}

#[test]
fn a_link_is_copied_inside_of_the_root_only() {
    let Some(test) = Test::new() else { return };
    let c = linked(&test, &["bind", "copy-symlink"], |config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.last_mut().expect("mount")["destination"] = "/out/at".into();
        config["process"]["args"] = json!(["readlink", "/inside/at"]);
    });
    let outside = c.bundle.join("outside");
    fs::create_dir(&outside).expect("mkdir");
    symlink("../../../../../../../../inside", c.rootfs().join("out")).expect("link");
    c.run().ok().prints("target");
    assert!(fs::read_dir(outside).expect("outside").next().is_none());
    // Nor does it get into /proc, where the plan has looked at the destination's name only.
    fs::remove_file(c.rootfs().join("out")).expect("out");
    symlink("/proc/sys", c.rootfs().join("out")).expect("link");
    c.run().fails("a link of the image leads inside /proc");
}

#[test]
fn a_link_is_bound_itself() {
    let Some(test) = Test::new() else { return };
    let c = linked(&test, &["bind", "src-nofollow"], |_| ());
    c.run().ok().prints("target\n1\nthe container's");
}

#[test]
fn a_link_is_covered_itself() {
    let Some(test) = Test::new() else { return };
    for edit in [(|_| ()) as fn(&mut Value), map_ids] {
        let c = linked(&test, &["bind", "dest-nofollow"], edit);
        symlink("target", c.rootfs().join("at")).expect("link");
        c.run().ok().prints("the host's\n1\nthe container's");
        let c = linked(&test, &["bind"], edit);
        symlink("target", c.rootfs().join("at")).expect("link");
        // Through the link: what it leads to is covered.
        c.run().ok().prints("target\n0\nthe host's");
    }
    let c = linked(&test, &["bind", "src-nofollow", "dest-nofollow"], |config| {
        config["process"]["args"] = json!(["readlink", "/at"]);
    });
    symlink("elsewhere", c.rootfs().join("at")).expect("link");
    c.run().ok().prints("target");
}

#[test]
fn where_they_mean_nothing_they_are_refused() {
    let Some(test) = Test::new() else { return };
    let c = linked(&test, &["bind", "copy-symlink", "src-nofollow"], |_| ());
    c.run().fails("copy-symlink excludes src-nofollow and dest-nofollow");
    for option in ["src-nofollow", "dest-nofollow", "copy-symlink"] {
        let c = test.script_with(SCRIPT, |config| add_mount(config, "/at", "tmpfs", "tmpfs", &[option]));
        c.run().fails("are for bind mounts");
    }
}
