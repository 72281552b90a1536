//! Races: names in the root filesystem or in a shared volume are exchanged while `create` works on them.
//!
//! Each round must end in a container whose mounts are those of one that nobody attacks, or in a clear error. What is
//! outside of the root filesystem must never change. Rounds are counted, not timed.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode};
use serde_json::{Value, json};

use crate::attacker::{Mounted, Outside, Swapper, assert_same, calm_table, mount, mount_table, rounds, with_own_dev};
use crate::common::{Container, Test, shell};

/// Rounds of each attack. Without the defences, each is lost within the first ten or so.
const ROUNDS: usize = 24;

/// A container with a volume at /vol that others share: in it a directory `real`, and a link `link` to `target`.
fn with_volume<'t>(test: &'t Test, target: &Path) -> (Container<'t>, PathBuf) {
    let c = test.container_with(&["sleep", "1000"], |config| config["root"]["readonly"] = json!(false));
    let volume = c.bundle.join("volume");
    fs::create_dir_all(volume.join("real")).expect("mkdir");
    fs::create_dir(c.rootfs().join("vol")).expect("mkdir");
    symlink(target, volume.join("link")).expect("link");
    fs::create_dir(c.bundle.join("data")).expect("mkdir");
    fs::write(c.bundle.join("data/inner"), "inner\n").expect("file");
    mount(&c, "/vol", "bind", "volume", &["rbind"]);
    (c, volume)
}

/// The mounts without their places, which the attacker of a volume may choose within the container.
fn somewhere(table: &[Mounted]) -> Vec<(String, String, String)> {
    let mut all: Vec<_> = table
        .iter()
        .map(|m| (m.fstype.clone(), m.root.clone(), m.access.clone()))
        .collect();
    all.sort();
    all
}

#[test]
fn the_race_can_be_won() {
    let Some(test) = Test::new() else { return };
    // The proof that the swapper is an attacker: a program that looks first and then uses the path is led outside.
    let outside = Outside::new(&test);
    let volume = test.dir().join("volume");
    fs::create_dir_all(volume.join("real")).expect("mkdir");
    symlink(&outside.0, volume.join("link")).expect("link");
    let swapper = Swapper::new(&volume.join("real"), &volume.join("link"));
    let careless = |n: usize| {
        let looked = fs::symlink_metadata(volume.join("real")).expect("one of the two");
        if looked.is_dir() {
            let _ = fs::create_dir(volume.join("real").join(n.to_string()));
        }
        fs::read_dir(&outside.0).expect("outside").count() > 2
    };
    assert!((0..1_000_000).any(careless), "after {} swaps", swapper.swaps());
}

#[test]
fn a_destination_in_a_shared_volume() {
    let Some(test) = Test::new() else { return };
    // CVE-2021-30465, CVE-2019-18837.
    let outside = Outside::new(&test);
    for target in outside.forms() {
        let (c, volume) = with_volume(&test, Path::new(&target));
        mount(&c, "/vol/real", "bind", "data", &["rbind", "ro"]);
        mount(&c, "/vol/real/inner", "bind", "data/inner", &["bind"]);
        mount(&c, "/vol/real/dir", "tmpfs", "canary", &["nosuid"]);
        // What is below the link, within the root filesystem, so that a second look-up has somewhere to go.
        fs::create_dir_all(c.rootfs().join(outside.0.strip_prefix("/").expect("absolute"))).expect("mkdir");
        fs::create_dir(c.bundle.join("data/dir")).expect("mkdir");
        let calm = somewhere(&calm_table(&c, &[]));
        let swapper = Swapper::new(&volume.join("real"), &volume.join("link"));
        let done = rounds(&c, &[], (ROUNDS / 2, &swapper, &outside), |pid, _| {
            assert_same(&somewhere(&mount_table(pid)), &calm);
        });
        assert!(done.right > 0, "{done:?}");
    }
}

#[test]
fn attributes_that_are_set_after_the_mount() {
    let Some(test) = Test::new() else { return };
    // CVE-2021-30465 once more: `rro` is a call of its own, and must reach the mount that was made.
    let outside = Outside::new(&test);
    let (c, volume) = with_volume(&test, Path::new("/decoy"));
    fs::create_dir(c.rootfs().join("decoy")).expect("mkdir");
    mount(&c, "/decoy", "tmpfs", "decoy", &["nosuid"]);
    mount(&c, "/vol/real", "tmpfs", "canary", &["rro"]);
    let swapper = Swapper::new(&volume.join("real"), &volume.join("link"));
    let done = rounds(&c, &[], (ROUNDS, &swapper, &outside), |pid, round| {
        let table = mount_table(pid);
        let mount = |source: &str| table.iter().find(|m| m.source == source).expect("the mount");
        assert_eq!(mount("canary").access, "ro", "round {round}");
        assert_eq!(mount("decoy").access, "rw", "round {round}");
    });
    assert!(done.right > 0, "{done:?}");
}

/// What stands beside a name in the image and is exchanged with it.
fn decoys(name: &str, outside: &Outside) -> [Decoy; 3] {
    let [absolute, upwards] = outside.forms();
    let inside = format!("decoy-of-{name}");
    [
        Decoy::Directory,
        Decoy::Link(absolute),
        Decoy::Link(format!("{upwards}/{inside}")),
    ]
}

enum Decoy {
    Directory,
    Link(String),
}

/// Races for /NAME of the image. The mounts of each container that comes to be must be those of one that nobody attacks,
/// masks included, and nothing may be made or written in what was exchanged for it.
fn raced_name(name: &str, edit: impl Fn(&mut Value), check: impl Fn(&Container<'_>, i32)) {
    let Some(test) = Test::new() else { return };
    let outside = Outside::new(&test);
    for decoy in decoys(name, &outside) {
        let c = test.container_with(&["sleep", "1000"], |config| {
            config["root"]["readonly"] = json!(false);
            config["linux"]["maskedPaths"]
                .as_array_mut()
                .expect("list")
                .push(json!("/dev/shm"));
            edit(config);
        });
        let calm = calm_table(&c, &[]);
        let (real, other) = (c.rootfs().join(name), c.rootfs().join("other"));
        match decoy {
            Decoy::Directory => {
                fs::create_dir_all(other.join("sys/net/ipv4")).expect("mkdir");
                fs::write(other.join("sys/net/ipv4/ip_default_ttl"), "bait").expect("bait");
                fs::write(other.join("null"), "bait").expect("bait");
            }
            Decoy::Link(target) => symlink(target, &other).expect("link"),
        }
        let swapper = Swapper::new(&real, &other);
        rounds(&c, &[], (ROUNDS / 2, &swapper, &outside), |pid, _| {
            assert_same(&mount_table(pid), &calm);
            check(&c, pid);
        });
        drop(swapper);
        if let Some(decoy) = [real, other].iter().find(|dir| dir.join("sys/net").is_dir()) {
            let found = shell(&format!(
                "cd {} && find . -type f | sort | xargs grep -H .",
                decoy.display()
            ));
            assert_eq!(found, "./null:bait\n./sys/net/ipv4/ip_default_ttl:bait\n");
        }
    }
}

/// The value of a file below /proc/sys in the network namespace of a process, as the host's own /proc shows it.
fn sysctl_of(c: &Container<'_>, pid: i32, path: &str) -> String {
    let command = c.test().command("nsenter").arg(format!("--net=/proc/{pid}/ns/net"));
    command.args(["cat", path]).run().ok().stdout.trim().to_owned()
}

#[test]
fn proc_of_the_image() {
    // CVE-2019-19921, CVE-2023-27561: masks on a /proc that is none. CVE-2019-16884, CVE-2025-52881: writes to one.
    raced_name(
        "proc",
        |config| config["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "77" }),
        |c, pid| assert_eq!(sysctl_of(c, pid, "/proc/sys/net/ipv4/ip_default_ttl"), "77"),
    );
}

#[test]
fn sys_of_the_image() {
    // CVE-2025-54867.
    raced_name("sys", |_| (), |_, _| ());
}

#[test]
fn dev_of_the_image() {
    // CVE-2026-41579, CVE-2026-47766, CVE-2025-31133.
    raced_name("dev", |_| (), |_, _| ());
}

#[test]
fn the_null_device_of_the_image() {
    let Some(test) = Test::new() else { return };
    // CVE-2025-31133 where /dev is the image's own: what masks must be the null device.
    let outside = Outside::new(&test);
    for target in [outside.0.join("file"), PathBuf::from("/bait")] {
        let c = with_own_dev(&test, &["sleep", "1000"]);
        c.edit(|config| config["linux"]["maskedPaths"] = json!(["/masked", "/proc/keys"]));
        fs::write(c.rootfs().join("masked"), "secret").expect("file");
        fs::write(c.rootfs().join("bait"), "bait").expect("file");
        let (null, other) = (c.rootfs().join("dev/null"), c.rootfs().join("dev/other"));
        let device = rustix::fs::makedev(1, 3);
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(CWD, &null, FileType::CharacterDevice, mode, device).expect("mknod");
        symlink(&target, &other).expect("link");
        let swapper = Swapper::new(&null, &other);
        rounds(&c, &[], (ROUNDS, &swapper, &outside), |pid, round| {
            for masked in ["masked", "proc/keys"] {
                let about = fs::metadata(format!("/proc/{pid}/root/{masked}")).expect("the masked file");
                assert_eq!(about.rdev(), device, "round {round}: {masked} is {about:?}");
            }
        });
        assert_eq!(fs::read_to_string(c.rootfs().join("bait")).expect("bait"), "bait");
    }
}

#[test]
fn the_console_of_the_image() {
    let Some(test) = Test::new() else { return };
    // CVE-2025-52565.
    let outside = Outside::new(&test);
    let socket = test.dir().join("console");
    let listener = UnixListener::bind(&socket).expect("bind");
    listener.set_nonblocking(true).expect("nonblocking");
    let flags = ["--console-socket", socket.to_str().expect("a path")];
    for target in [outside.0.join("file"), PathBuf::from("/proc/sysrq-trigger")] {
        let c = with_own_dev(&test, &["sleep", "1000"]);
        c.edit(|config| config["process"]["terminal"] = json!(true));
        mount(
            &c,
            "/dev/pts",
            "devpts",
            "devpts",
            &["newinstance", "ptmxmode=0666", "mode=0620"],
        );
        let (console, other) = (c.rootfs().join("dev/console"), c.rootfs().join("dev/other"));
        fs::write(&console, "").expect("file");
        symlink(&target, &other).expect("link");
        let calm = calm_table(&c, &flags);
        let swapper = Swapper::new(&console, &other);
        rounds(&c, &flags, (ROUNDS, &swapper, &outside), |pid, _| {
            assert_same(&mount_table(pid), &calm);
            // As an engine does, later: nobody reads what is sent.
            while listener.accept().is_ok() {}
        });
    }
}

#[test]
fn directories_that_are_made_for_a_mount() {
    let Some(test) = Test::new() else { return };
    // CVE-2024-45310: each round has components to make that are not there yet.
    let outside = Outside::new(&test);
    let (c, volume) = with_volume(&test, &outside.0);
    mount(&c, "/vol/real", "bind", "data/inner", &["bind"]);
    let swapper = Swapper::new(&volume.join("real"), &volume.join("link"));
    let mut right = 0;
    for round in 0..ROUNDS {
        c.edit(|config| {
            let last = config["mounts"].as_array_mut().and_then(|mounts| mounts.last_mut());
            last.expect("mounts")["destination"] = json!(format!("/vol/real/{round}/deeper/file"));
        });
        let done = rounds(&c, &[], (1, &swapper, &outside), |pid, _| {
            let table = mount_table(pid);
            assert!(table.iter().any(|m| m.root.ends_with("data/inner")), "{table:#?}");
        });
        right += done.right;
    }
    assert!(right > 0);
}

#[test]
fn the_working_directory() {
    let Some(test) = Test::new() else { return };
    // CVE-2024-21626: between the check and the chdir, if there were two look-ups.
    let outside = Outside::new(&test);
    let up = "../".repeat(12);
    let script = format!("cat {up}{} 2>/dev/null; echo inside", outside.0.join("file").display());
    let c = test.script_with(&script, |config| {
        config["process"]["cwd"] = json!("/work");
        config["root"]["readonly"] = json!(false);
    });
    let (work, other) = (c.rootfs().join("work"), c.rootfs().join("other"));
    fs::create_dir(&work).expect("mkdir");
    symlink("/proc/self/fd/7", &other).expect("link");
    // The caller leaks directories of the host.
    let leak: String = (3..=9).map(|fd| format!("{fd}<{} ", outside.0.display())).collect();
    let swapper = Swapper::new(&work, &other);
    let judge = |out: crate::common::Out, codes: [i32; 2]| {
        assert!(!out.stdout.contains("of the host"), "{out}");
        assert!(out.stdout == "inside\n" || codes.contains(&out.code()), "{out}");
    };
    for _ in 0..ROUNDS / 2 {
        judge(c.with_bundle("run", &[]).redirected(&leak).run(), [1, 1]);
    }
    let idle = test.named("idle", &["sleep", "1000"], |config| {
        config["root"]["path"] = json!(c.rootfs())
    });
    idle.run_detached().ok();
    for _ in 0..ROUNDS / 2 {
        let command = idle.verb("exec", &["--preserve-fds", "7", "--cwd", "/work"]);
        judge(command.args(["sh", "-c", &script]).redirected(&leak).run(), [1, 255]);
    }
    drop(swapper);
    idle.kill_and_delete();
    test.nothing_left();
}

#[test]
fn exec_beside_a_fake_proc() {
    let Some(test) = Test::new() else { return };
    // CVE-2019-16884, CVE-2025-52881: the container mounts its own files over its /proc while `exec` comes in.
    let attack = "n=0; while [ ! -e /stop ]; do mount -o bind /fake /proc && n=$((n + 1)); umount /proc; done; echo $n";
    let c = test.script_with(attack, |config| {
        config["root"]["readonly"] = json!(false);
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_SYS_ADMIN"]);
        }
    });
    let fake = c.rootfs().join("fake");
    for dir in ["self", "thread-self", "1"] {
        fs::create_dir_all(fake.join(dir).join("attr")).expect("mkdir");
        for file in ["attr/exec", "oom_score_adj", "uid_map"] {
            fs::write(fake.join(dir).join(file), "bait").expect("bait");
        }
    }
    let before = shell(&format!(
        "cd {} && find . | sort | xargs ls -ld --full-time",
        fake.display()
    ));
    let attacker = c.run_detached().ok();
    for _ in 0..ROUNDS {
        c.verb("exec", &["--cwd", "/"])
            .args(["echo", "inside"])
            .run()
            .ok()
            .prints("inside");
    }
    fs::write(c.rootfs().join("stop"), "").expect("stop");
    c.wait_status("stopped");
    c.delete().ok();
    let times: usize = attacker.stdout_now().trim().parse().expect("a number");
    assert!(times >= ROUNDS, "the attacker has mounted only {times} times");
    let after = shell(&format!(
        "cd {} && find . | sort | xargs ls -ld --full-time",
        fake.display()
    ));
    assert_eq!(after, before, "something has been written to the fake /proc");
    test.nothing_left();
}
