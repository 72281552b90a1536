//! Bundles: a busybox root filesystem and a config.json such as `spec` prints.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

/// The host's id of a container's root in [`map_ids`].
pub(crate) const MAPPED_ROOT: u32 = 100_000;

/// Adds a user namespace that maps the container's ids 0 to 65535 to the host's from [`MAPPED_ROOT`].
pub(crate) fn map_ids(config: &mut Value) {
    let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
    namespaces.push(json!({ "type": "user" }));
    let mapping = json!([{ "containerID": 0, "hostID": MAPPED_ROOT, "size": 65536 }]);
    config["linux"]["uidMappings"] = mapping.clone();
    config["linux"]["gidMappings"] = mapping;
}

/// Where the statically linked busybox is (Debian: busybox-static).
pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// The names that busybox answers to.
fn applets() -> &'static [String] {
    static APPLETS: OnceLock<Vec<String>> = OnceLock::new();
    APPLETS.get_or_init(|| {
        let out = Command::new(BUSYBOX).arg("--list").output().expect("busybox --list");
        String::from_utf8_lossy(&out.stdout)
            .lines()
            .filter(|l| *l != "busybox")
            .map(str::to_owned)
            .collect()
    })
}

/// Makes a root filesystem at `root` (a directory that does not exist yet): busybox, its names as relative links,
/// and the few directories and files that programs expect.
pub(crate) fn busybox_rootfs(root: &Path) {
    for dir in [
        "bin", "dev", "etc", "proc", "sys", "tmp", "root", "home", "var/tmp", "usr",
    ] {
        fs::create_dir_all(root.join(dir)).expect("making the root filesystem");
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    fs::copy(BUSYBOX, root.join("bin/busybox")).expect("copying busybox");
    for name in applets() {
        symlink("busybox", root.join("bin").join(name)).expect("linking an applet");
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n",
    )
    .expect("passwd");
    fs::write(root.join("etc/group"), "root:x:0:\ntty:x:5:\nuser:x:1000:\n").expect("group");
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost\n").expect("hosts");
}

/// The config.json that `runc spec` prints, without a terminal, for the program `args`, in the cgroup `cgroup`.
/// `mark` is put into the container's environment so that its processes can be found.
pub(crate) fn base_config(args: &[&str], cgroup: &str, mark: &str) -> Value {
    let caps = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "TERM=xterm",
                format!("NUCLEUS_TEST_MARK={mark}"),
            ],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "nucleus",
        "mounts": default_mounts(),
        "linux": {
            "cgroupsPath": cgroup,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}

/// The seven mounts of `runc spec`.
fn default_mounts() -> Value {
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
          "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
          "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
        { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
          "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
        { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
          "options": ["nosuid", "noexec", "nodev"] },
        { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
        { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
    ])
}

/// Writes `config` as the bundle's config.json.
pub(crate) fn write_config(bundle: &Path, config: &Value) {
    let text = serde_json::to_string_pretty(config).expect("config.json");
    fs::write(bundle.join("config.json"), text).expect("writing config.json");
}
