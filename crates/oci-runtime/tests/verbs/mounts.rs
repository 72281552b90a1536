//! `mounts add` and `mounts remove`: what a container that exists sees of it.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::{Container, MAPPED_ROOT, Out, Test, map_ids, shell, wait_for};

/// A container that sleeps, with a writable root, and a directory `data` of the bundle that is not mounted: a file, a program,
/// and a directory `sub`.
pub(crate) fn sleeper<'t>(test: &'t Test, edit: impl FnOnce(&mut Value)) -> Container<'t> {
    let c = test.container_with(&["sleep", "1000"], |config| {
        config["root"]["readonly"] = json!(false);
        edit(config);
    });
    shell(&format!(
        "mkdir -p {0}/sub; echo word >{0}/file; cp /bin/busybox {0}/true; chown 1000:1001 {0}/file; chmod 644 {0}/file",
        data(&c).display()
    ));
    c
}

/// The directory `data` of the bundle.
pub(crate) fn data(c: &Container<'_>) -> PathBuf {
    c.bundle.join("data")
}

/// A bind mount of `data`.
pub(crate) fn bind(destination: &str, options: &[&str]) -> Value {
    let options: Vec<&str> = [&["bind"], options].concat();
    json!({ "destination": destination, "source": "data", "options": options })
}

/// `mounts ACTION ID -`, with the list as standard input.
pub(crate) fn mounts(c: &Container<'_>, action: &str, list: &[Value]) -> Out {
    let text = serde_json::to_string(list).expect("JSON");
    let words = ["mounts", action, &c.id, "-"];
    c.test().runtime().args(words).stdin(text).run()
}

/// A shell script in the container.
pub(crate) fn inside(c: &Container<'_>, script: &str) -> Out {
    c.test().runtime().args(["exec", &c.id, "sh", "-c", script]).run()
}

/// A sleeper with mapped ids whose root filesystem belongs to its root.
fn in_user_namespace(test: &Test) -> Container<'_> {
    let c = sleeper(test, map_ids);
    shell(&format!(
        "chown -Rh {MAPPED_ROOT}:{MAPPED_ROOT} {}",
        c.rootfs().display()
    ));
    c
}

#[test]
fn a_directory_comes_and_goes() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    inside(&c, "cat /new/place/file").exits(1);
    let list = [bind("/new/place", &[])];
    mounts(&c, "add", &list).ok().silent().prints("");
    inside(&c, "cat /new/place/file; echo more >/new/place/more")
        .ok()
        .prints("word");
    assert_eq!(fs::read_to_string(data(&c).join("more")).expect("more"), "more\n");
    mounts(&c, "remove", &list).ok().silent().prints("");
    inside(&c, "ls /new/place; grep -c /new/place /proc/self/mountinfo").prints("0");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_file_covers_a_file_from_a_file_of_mounts() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    let list = json!([
        { "destination": "/etc/hosts", "type": "bind", "source": data(&c).join("file"), "options": null },
        { "destination": "/made", "type": "bind", "source": "data/file" },
    ]);
    let file = c.bundle.join("mounts.json");
    fs::write(&file, list.to_string()).expect("mounts.json");
    let act = |action: &str| test.runtime().args(["mounts", action, &c.id]).arg(&file).run();
    act("add").ok().silent();
    inside(&c, "cat /etc/hosts /made").ok().prints("word\nword");
    act("remove").ok().silent();
    inside(&c, "cat /etc/hosts /made").ok().prints("127.0.0.1 localhost");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn options_count_from_the_start() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    mounts(
        &c,
        "add",
        &[
            bind("/plain", &[]),
            bind("/strict", &["ro", "nosuid", "nodev", "noexec"]),
        ],
    )
    .ok();
    let script =
        |at: &str| format!("touch {at}/x 2>/dev/null && echo wrote; {at}/true true 2>/dev/null && echo ran; true");
    inside(&c, &script("/plain")).ok().prints("wrote\nran");
    inside(&c, &script("/strict")).ok().prints("");
    let flags = inside(&c, "grep ' /strict ' /proc/self/mountinfo").ok().stdout;
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        assert!(flags.split([' ', ',']).any(|word| word == flag), "{flag}: {flags}");
    }
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn mounts_below_the_source() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    let list = json!([
        { "destination": "/all", "source": "data", "options": ["rbind", "rro"] },
        bind("/one", &["ro"]),
    ]);
    let prepare = format!(
        "mount -t tmpfs tmpfs {0} && touch {0}/below && exec \"$0\" \"$@\"",
        data(&c).join("sub").display()
    );
    let add = test
        .runtime()
        .args(["mounts", "add", &c.id, "-"])
        .stdin(list.to_string());
    add.wrapped(["unshare", "-m", "--propagation", "private", "sh", "-c", &prepare])
        .run()
        .ok();
    let script = "ls /all/sub /one/sub; touch /all/sub/new 2>/dev/null || echo refused";
    inside(&c, script).ok().prints("/all/sub:\nbelow\n\n/one/sub:\nrefused");
    mounts(&c, "remove", list.as_array().expect("list")).ok();
    inside(&c, "grep -cE ' /(all|one)' /proc/self/mountinfo").prints("0");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_destination_that_is_a_link_stays_in_the_root() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    let outside = test.dir().join("outside");
    fs::create_dir(&outside).expect("outside");
    let link = |to: &std::path::Path, name: &str| {
        std::os::unix::fs::symlink(to, c.rootfs().join(name)).expect("link");
    };
    link(&outside, "absolute");
    link(std::path::Path::new("../../../../../../../../etc"), "climbing");
    c.run_detached().ok();
    let list = [bind("/absolute", &[]), bind("/climbing/new", &[])];
    mounts(&c, "add", &list).ok().silent();
    let script = format!("cat {}/file /etc/new/file", outside.display());
    inside(&c, &script).ok().prints("word\nword");
    assert_eq!(
        fs::read_dir(&outside).expect("outside").count(),
        0,
        "mounted on the host"
    );
    assert!(!std::path::Path::new("/etc/new").exists(), "made on the host");
    assert!(c.rootfs().join("etc/new").is_dir(), "made in the root");
    mounts(&c, "remove", &list).ok().silent();
    inside(&c, &script).exits(1);
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn in_a_user_namespace() {
    let Some(test) = Test::new() else { return };
    let c = in_user_namespace(&test);
    c.run_detached().ok();
    // A source that only the host's root reaches.
    let closed = c.bundle.join("closed").display().to_string();
    shell(&format!(
        "mkdir {closed}; mv {} {closed}; chmod 777 {closed}/data; chmod 700 {closed}",
        data(&c).display()
    ));
    let list = [
        json!({ "destination": "/new", "source": "closed/data", "options": ["bind", "ro"] }),
        json!({ "destination": "/t", "type": "tmpfs" }),
    ];
    mounts(&c, "add", &list).ok().silent();
    let script =
        "cat /new/file; stat -c %u:%g /new/file /t; touch /new/x 2>/dev/null || echo refused; touch /t/x && echo wrote";
    inside(&c, script).ok().prints("word\n65534:65534\n0:0\nrefused\nwrote");
    let made = shell(&format!("stat -c %u:%g {}", c.rootfs().join("new").display()));
    assert_eq!(made.trim(), "100000:100000", "the directory belongs to the container");
    mounts(&c, "remove", &list).ok().silent();
    inside(&c, "ls /new /t; grep -cE ' /(new|t) ' /proc/self/mountinfo").prints("/new:\n\n/t:\n0");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn owners_are_mapped() {
    let Some(test) = Test::new() else { return };
    let owner = "stat -c %u:%g /new/file";
    let c = in_user_namespace(&test);
    c.run_detached().ok();
    // As the container's user namespace has it.
    mounts(&c, "add", &[bind("/new", &["idmap"])]).ok().silent();
    inside(&c, owner).ok().prints("1000:1001");
    c.kill_and_delete();
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    let mut mapped = bind("/new", &[]);
    mapped["uidMappings"] = json!([{ "containerID": 0, "hostID": 7000, "size": 65536 }]);
    mapped["gidMappings"] = json!([{ "containerID": 0, "hostID": 8000, "size": 65536 }]);
    mounts(&c, "add", &[mapped]).ok().silent();
    inside(&c, owner).ok().prints("8000:9001");
    mounts(&c, "add", &[bind("/other", &["idmap"])]).fails("mounts[0].options: an id mapping needs");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_new_tmpfs() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    let tmpfs =
        |at: &str, options: &[&str]| json!({ "destination": at, "type": "tmpfs", "source": "x", "options": options });
    let list = [
        tmpfs("/t", &["size=64k", "mode=700", "noexec"]),
        tmpfs("/etc", &["ro"]),
        tmpfs("/home", &["ro"]),
    ];
    mounts(&c, "add", &list).ok().silent();
    let script = "stat -c %a /t; ls /etc; touch /home/x 2>/dev/null || echo refused; \
                  grep -E ' (/t|/etc|/home) ' /proc/self/mountinfo | sed 's/.* - //; s/ .*size=64k.*/ small/; s/ .*,.*//'";
    inside(&c, script)
        .ok()
        .prints("700\nrefused\ntmpfs small\ntmpfs\ntmpfs");
    mounts(&c, "remove", &list).ok().silent();
    inside(&c, "cat /etc/hosts").ok().prints("127.0.0.1 localhost");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn one_mount_on_another() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    let list = [
        json!({ "destination": "/t", "type": "tmpfs" }),
        bind("/t/below/data", &[]),
    ];
    mounts(&c, "add", &list).ok();
    inside(&c, "cat /t/below/data/file").ok().prints("word");
    mounts(&c, "remove", &list).ok().silent();
    inside(&c, "grep -c ' /t[ /]' /proc/self/mountinfo").prints("0");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn in_a_created_and_in_a_paused_container() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("cat /new/file; exec sleep 1000", |config| {
        config["root"]["readonly"] = json!(false);
    });
    shell(&format!("mkdir {0}; echo word >{0}/file", data(&c).display()));
    let out = c.create().ok();
    mounts(&c, "add", &[bind("/new", &[])]).ok().silent();
    assert_eq!(c.status(), "created");
    c.start().ok();
    wait_for("the output", || out.stdout_now().contains("word").then_some(()));
    if crate::controller(&c, "freezer").is_some() {
        c.verb("pause", &[]).run().ok();
        mounts(&c, "remove", &[bind("/new", &[])]).ok();
        mounts(&c, "add", &[bind("/other", &[])]).ok();
        assert_eq!(c.status(), "paused");
        c.verb("resume", &[]).run().ok();
        inside(&c, "ls /new; cat /other/file").ok().prints("word");
    }
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn a_mount_of_the_container_does_not_reach_the_source() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    c.run_detached().ok();
    let list = json!([bind("/new", &[]), { "destination": "/new/sub", "type": "tmpfs" }]);
    let script = format!(
        "mount --bind {0} {0}; \"$0\" \"$@\" || exit 1; grep -c {0}/sub /proc/self/mountinfo; true",
        data(&c).display()
    );
    let add = test
        .runtime()
        .args(["mounts", "add", &c.id, "-"])
        .stdin(list.to_string());
    let out = add
        .wrapped(["unshare", "-m", "--propagation", "shared", "sh", "-c", &script])
        .run();
    out.ok().prints("0");
    inside(&c, "grep -c ' /new/sub ' /proc/self/mountinfo").ok().prints("1");
    c.kill_and_delete();
    test.nothing_left();
}

#[test]
fn links_that_are_not_followed() {
    let Some(test) = Test::new() else { return };
    let c = sleeper(&test, |_| ());
    std::os::unix::fs::symlink("elsewhere", data(&c).join("link")).expect("link");
    std::os::unix::fs::symlink("/etc", c.rootfs().join("here")).expect("link");
    c.run_detached().ok();
    let list = json!([{ "destination": "/here", "source": "data/link", "options": ["bind", "src-nofollow", "dest-nofollow"] }]);
    let list = list.as_array().expect("list");
    mounts(&c, "add", list).ok();
    inside(&c, "readlink /here; ls -d /etc").ok().prints("elsewhere\n/etc");
    c.kill_and_delete();
    test.nothing_left();
}
