//! CVE-2019-5736: from inside a container, write to the runtime's own binary on the host.
//!
//! A copy of the runtime is what is attacked. Its bytes, its times and its mode must stay, and no attacker may ever
//! have had it open for writing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::XattrFlags;
use serde_json::{Value, json};

use crate::common::{Container, Test, compile_c, runtime, skip, wait_for};

/// The copy of the runtime, and what it was like before.
struct Target {
    path: PathBuf,
    bytes: Vec<u8>,
    about: (u64, u64, i64, i64, u32),
}

impl Target {
    /// Makes the copy; the test's containers are made with it from now on.
    fn new(test: &Test) -> Self {
        let path = test.dir().join("copy").join(runtime().file_name().expect("a name"));
        fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
        fs::copy(runtime(), &path).expect("copying the runtime");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        test.use_runtime(&path);
        Self {
            bytes: fs::read(&path).expect("reading"),
            about: Self::about(&path),
            path,
        }
    }

    /// Device, inode, both parts of the time of change, and mode.
    fn about(path: &std::path::Path) -> (u64, u64, i64, i64, u32) {
        let meta = fs::metadata(path).expect("metadata");
        (meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec(), meta.mode())
    }

    /// Demands that it is as it was.
    #[track_caller]
    fn untouched(&self) {
        assert_eq!(Self::about(&self.path), self.about);
        assert!(
            fs::read(&self.path).expect("reading") == self.bytes,
            "the runtime's binary has been overwritten"
        );
    }
}

#[test]
fn the_entry_point_is_the_runtime_itself() {
    let Some(test) = Test::new() else { return };
    let target = Target::new(&test);
    for args in [
        json!(["/proc/self/exe"]),
        json!(["/proc/self/exe", "--version"]),
        json!(["/script"]),
    ] {
        let c = test.container_with(&["true"], |config| {
            config["process"]["args"] = args.clone();
            config["root"]["readonly"] = json!(false);
        });
        let script = c.rootfs().join("script");
        fs::write(&script, "#!/proc/self/exe\n").expect("file");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
        // Whether it runs does not matter. It must end, and do no harm.
        let out = c.with_bundle("run", &[]).run();
        target.untouched();
        assert!(out.code() >= 0);
        if c.has_state() {
            c.force_delete().ok();
        }
        test.nothing_left();
    }
}

#[test]
fn exec_of_the_runtime_itself() {
    let Some(test) = Test::new() else { return };
    let target = Target::new(&test);
    let c = test.container_with(&["sleep", "1000"], |config| config["root"]["readonly"] = json!(false));
    let script = c.rootfs().join("script");
    fs::write(&script, "#!/proc/self/exe\n").expect("file");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    c.run_detached().ok();
    for command in [&["/proc/self/exe"][..], &["/proc/self/exe", "--version"], &["/script"]] {
        let out = c.verb("exec", &[]).args(command).run();
        target.untouched();
        assert!(out.code() >= 0);
    }
    // Whoever overwrites what its own process was started from overwrites no file of the host.
    let text = "cat /bin/busybox >/proc/$$/exe; echo done";
    c.verb("exec", &[]).args(["sh", "-c", text]).run().ok().prints("done");
    target.untouched();
    c.kill_and_delete();
    test.nothing_left();
}

/// Gives the attacker's program all that root in a privileged container has.
fn privileged(config: &mut Value) {
    let all: Vec<String> = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "KILL",
        "MKNOD",
        "NET_ADMIN",
        "SETGID",
        "SETUID",
        "SYS_ADMIN",
        "SYS_CHROOT",
        "SYS_PTRACE",
    ]
    .iter()
    .map(|name| format!("CAP_{name}"))
    .collect();
    for set in ["bounding", "effective", "permitted"] {
        config["process"]["capabilities"][set] = json!(all);
    }
    config["linux"]["maskedPaths"] = json!([]);
    config["linux"]["readonlyPaths"] = json!([]);
}

/// A running attacker against `target`; `edit` changes its config.
fn attacker<'t>(test: &'t Test, target: &Target, edit: impl FnOnce(&mut Value)) -> Option<Container<'t>> {
    let (device, inode, ..) = target.about;
    let (device, inode) = (device.to_string(), inode.to_string());
    let c = test.container_with(&["/attack", &device, &inode, "/stop"], |config| {
        config["root"]["readonly"] = json!(false);
        edit(config);
    });
    compile_c(include_str!("attack.c"), &c.rootfs().join("attack")).then_some(c)
}

/// Lets the attacker watch many commands of the runtime on containers in its own PID namespace.
fn under_attack(edit: fn(&mut Value), sees_init: bool) {
    let Some(test) = Test::new() else { return };
    let target = Target::new(&test);
    let Some(attacker) = attacker(&test, &target, edit) else {
        return;
    };
    let out = attacker.run_detached().ok();
    wait_for("the attacker", || out.stdout_now().contains("ready").then_some(()));
    let path = format!("/proc/{}/ns/pid", attacker.pid());
    let share = |config: &mut Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
        namespaces.retain(|n| n["type"] != "pid");
        namespaces.push(json!({ "type": "pid", "path": path }));
    };
    // As in a pod: other containers come into the attacker's PID namespace, with the runtime's init before them.
    let other = test.container_with(&["true"], share);
    let itself = test.container_with(&["/proc/self/exe", "--version"], share);
    for _ in 0..8 {
        // Even an attempt that fails makes the binary busy for a moment, so that a command may fail for it.
        if other.create().success() {
            std::thread::sleep(std::time::Duration::from_millis(30));
            drop(other.start());
        }
        drop(other.force_delete());
        drop(itself.run());
        drop(itself.force_delete());
        // And commands come into the attacker's container.
        drop(
            attacker
                .test()
                .runtime()
                .args(["exec", &attacker.id, "/bin/true"])
                .run(),
        );
    }
    fs::write(attacker.rootfs().join("stop"), "").expect("stop");
    attacker.wait_status("stopped");
    let said = out.stdout_now();
    attacker.delete().ok();
    target.untouched();
    assert!(
        !said.contains("WRITABLE"),
        "the runtime's binary could be opened for writing:\n{said}"
    );
    assert!(
        said.contains("foreign executables"),
        "the attacker has not come to its end:\n{said}"
    );
    if sees_init {
        assert!(
            !said.contains("saw 0 foreign"),
            "the attack has never met the runtime:\n{said}"
        );
    }
    test.nothing_left();
}

#[test]
fn an_attacker_with_the_usual_capabilities() {
    under_attack(|_| (), false);
}

#[test]
fn an_attacker_with_every_capability() {
    under_attack(privileged, true);
}

#[test]
fn the_attack_works_on_a_careless_program() {
    let Some(test) = Test::new() else { return };
    // The proof that the attack is one: a program of the host that enters the container's PID namespace as it is.
    let careless = test.dir().join("busybox");
    fs::copy("/bin/busybox", &careless).expect("copy");
    let target = Target {
        bytes: Vec::new(),
        about: Target::about(&careless),
        path: careless,
    };
    let Some(attacker) = attacker(&test, &target, privileged) else {
        return;
    };
    let out = attacker.run_detached().ok();
    wait_for("the attacker", || out.stdout_now().contains("ready").then_some(()));
    let enter = ["--target", &attacker.pid().to_string(), "--pid"].map(str::to_owned);
    test.command("nsenter")
        .args(enter)
        .arg(&target.path)
        .args(["sleep", "0.2"])
        .run()
        .ok();
    fs::write(attacker.rootfs().join("stop"), "").expect("stop");
    attacker.wait_status("stopped");
    let said = out.stdout_now();
    attacker.delete().ok();
    assert!(said.contains("WRITABLE"), "the attack is none:\n{said}");
    assert_eq!(
        Target::about(&target.path),
        target.about,
        "it only opens, and never writes"
    );
}

#[test]
fn a_runtime_that_lends_rights_refuses_to_run() {
    /// `struct vfs_cap_data`, version 2: CAP_SYS_ADMIN, permitted and effective.
    const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const NOBODY: u32 = 65534;
    let Some(test) = Test::new() else { return };
    let target = Target::new(&test);
    let mount = rustix::fs::statvfs(&target.path).expect("statvfs");
    if mount.f_flag.contains(rustix::fs::StatVfsMountFlags::NOSUID) {
        return skip("the directory for tests is mounted nosuid");
    }
    let started = || {
        let mut command = Command::new(&target.path);
        command.arg("--version").uid(NOBODY).gid(NOBODY);
        command.output().expect("starting the runtime")
    };
    // runc differs: it does not look.
    let refuses = |what: &str| {
        let out = started();
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.code() == Some(1) && told.contains("setuid"),
            "{what}: {out:?}"
        );
    };
    for mode in [0o4755, 0o2755] {
        fs::set_permissions(&target.path, fs::Permissions::from_mode(mode)).expect("chmod");
        refuses(&format!("{mode:o}"));
    }
    fs::set_permissions(&target.path, fs::Permissions::from_mode(0o755)).expect("chmod");
    assert!(started().status.success(), "it lends no rights any more");
    let capability = rustix::fs::setxattr(&target.path, "security.capability", &CAPABILITY, XattrFlags::empty());
    capability.expect("setxattr");
    refuses("capabilities");
    test.nothing_left();
}
