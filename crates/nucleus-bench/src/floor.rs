//! A config.json → the list of steps for the floor (crates/nucleus-sys/examples/floor).
//!
//! Only what the measured configs have; anything else in `mounts` or `namespaces` is an error, so that the floor can never
//! do less than the config asks for without a word.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::layout::Layout;

/// The devices that every container may use, runc's list: kind, access, major, minor.
const DEVICES: [(u32, u32, u32, u32); 11] = [
    (CHAR, 1, ANY, ANY),
    (BLOCK, 1, ANY, ANY),
    (CHAR, 7, 1, 3),
    (CHAR, 7, 1, 8),
    (CHAR, 7, 1, 7),
    (CHAR, 7, 5, 0),
    (CHAR, 7, 1, 5),
    (CHAR, 7, 1, 9),
    (CHAR, 7, 136, ANY),
    (CHAR, 7, 5, 2),
    (CHAR, 7, 5, 1),
];
const BLOCK: u32 = 1;
const CHAR: u32 = 2;
const ANY: u32 = u32::MAX;
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("/proc/kcore", "dev/core"),
    ("pts/ptmx", "dev/ptmx"),
];
const CAPABILITIES: [(&str, u32); 16] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_FSETID", 4),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_SETPCAP", 8),
    ("CAP_NET_BIND_SERVICE", 10),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_MKNOD", 27),
    ("CAP_AUDIT_WRITE", 29),
    ("CAP_AUDIT_CONTROL", 30),
    ("CAP_SETFCAP", 31),
    ("CAP_SYS_ADMIN", 21),
];

/// Mount flags (mount(2)).
const RDONLY: u64 = 1;
const REMOUNT: u64 = 32;
const BIND: u64 = 4096;
const REC: u64 = 16384;
const PRIVATE: u64 = 1 << 18;
const FLAGS: [(&str, u64); 6] = [
    ("ro", RDONLY),
    ("nosuid", 2),
    ("nodev", 4),
    ("noexec", 8),
    ("relatime", 1 << 21),
    ("strictatime", 1 << 24),
];

/// The list, to be written to a file.
pub struct Steps<'a> {
    list: Vec<u8>,
    layout: Layout,
    groups: &'a [PathBuf],
}

impl<'a> Steps<'a> {
    /// The steps of one config. `groups` are the directories in which the container gets one each, `seccomp` the file
    /// with the program that is loaded if the config has a profile.
    pub fn of(config: &Value, layout: Layout, groups: &'a [PathBuf], seccomp: &Path) -> Result<Vec<u8>, String> {
        let mut steps = Self {
            list: Vec::new(),
            layout,
            groups,
        };
        let profile = config["linux"]["seccomp"].is_object();
        if profile {
            steps.add(&["seccomp", &seccomp.display().to_string()]);
        }
        steps.control_groups();
        steps.namespaces(config)?;
        steps.root(config)?;
        steps.rights(config, profile)?;
        let program = config["process"]["args"][0]
            .as_str()
            .ok_or("process.args: no program")?;
        steps.add(&["exec", program]);
        Ok(steps.list)
    }

    fn add(&mut self, words: &[&str]) {
        for word in words {
            self.list.extend_from_slice(word.as_bytes());
            self.list.push(0);
        }
    }

    /// Groups, and the device rules that every runtime sets: nothing but the default devices.
    fn control_groups(&mut self) {
        for group in self.groups {
            self.add(&["cgroup", &group.display().to_string()]);
        }
        self.cpusets();
        let Some(group) = self
            .groups
            .iter()
            .find(|group| self.layout == Layout::V2 || group.ends_with("devices"))
        else {
            return;
        };
        let group = group.display().to_string();
        if self.layout == Layout::V2 {
            self.add(&["into", &group]);
            for (kind, access, major, minor) in DEVICES {
                let numbers = [kind, access, major, minor].map(|number| number.to_string());
                self.add(&["device", &numbers[0], &numbers[1], &numbers[2], &numbers[3]]);
            }
            self.add(&["attach"]);
            return;
        }
        self.add(&["limit", &group, "devices.deny", "a"]);
        let number = |number: u32| {
            if number == ANY {
                "*".to_owned()
            } else {
                number.to_string()
            }
        };
        for (kind, access, major, minor) in DEVICES {
            let kind = if kind == CHAR { "c" } else { "b" };
            let access = if access == 1 { "m" } else { "rwm" };
            let rule = format!("{kind} {}:{} {access}", number(major), number(minor));
            self.add(&["limit", &group, "devices.allow", &rule]);
        }
    }

    /// A new v1 cpuset has no processor and no memory: it gets its parent's.
    fn cpusets(&mut self) {
        for group in self.groups {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let Ok(value) = std::fs::read_to_string(group.join(file)) {
                    self.add(&["limit", &group.display().to_string(), file, value.trim()]);
                }
            }
        }
    }

    fn namespaces(&mut self, config: &Value) -> Result<(), String> {
        let mut flags = 0u64;
        let mut network = None;
        for namespace in list(&config["linux"]["namespaces"]) {
            let kind = namespace["type"].as_str().unwrap_or("");
            match (kind, namespace["path"].as_str()) {
                ("network", Some(path)) => network = Some(path),
                ("pid", None) => flags |= 0x2000_0000,
                ("network", None) => flags |= 0x4000_0000,
                ("ipc", None) => flags |= 0x0800_0000,
                ("uts", None) => flags |= 0x0400_0000,
                ("mount", None) => flags |= 0x0002_0000,
                ("cgroup", None) => flags |= 0x0200_0000,
                _ => return Err(format!("the floor has no step for this {kind} namespace")),
            }
        }
        self.add(&["clone", &flags.to_string()]);
        if self.layout == Layout::V1 {
            self.add(&["join"]);
        }
        if let Some(path) = network {
            self.add(&["netns", path]);
        }
        Ok(())
    }

    fn root(&mut self, config: &Value) -> Result<(), String> {
        let root = config["root"]["path"].as_str().ok_or("root.path: none")?;
        self.mount("", "/", "", REC | PRIVATE, "");
        self.mount(root, root, "", BIND | REC, "");
        self.add(&["chdir", root]);
        for mount in list(&config["mounts"]) {
            self.config_mount(mount)?;
        }
        for (name, major, minor) in NODES {
            self.add(&["mknod", &format!("dev/{name}"), &major.to_string(), &minor.to_string()]);
        }
        for (target, link) in LINKS {
            self.add(&["symlink", target, link]);
        }
        for (name, value) in config["linux"]["sysctl"].as_object().into_iter().flatten() {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            self.add(&["write", &path, value.as_str().unwrap_or("")]);
        }
        self.add(&["pivot"]);
        for path in strings(&config["linux"]["readonlyPaths"]) {
            self.add(&["readonly", path]);
        }
        for path in strings(&config["linux"]["maskedPaths"]) {
            self.add(&["mask", path]);
        }
        if config["root"]["readonly"] == true {
            self.mount("", "/", "", BIND | REMOUNT | RDONLY, "");
        }
        Ok(())
    }

    fn config_mount(&mut self, mount: &Value) -> Result<(), String> {
        let word = |name: &str| mount[name].as_str().unwrap_or("");
        let (kind, source) = (word("type"), word("source"));
        let target = word("destination").trim_start_matches('/');
        let (mut flags, mut bind, mut private, mut data) = (0, 0, 0, Vec::new());
        for option in strings(&mount["options"]) {
            match (option, FLAGS.iter().find(|(name, _)| *name == option)) {
                (_, Some((_, flag))) => flags |= flag,
                ("bind", _) => bind = BIND,
                ("rbind", _) => bind = BIND | REC,
                ("rprivate", _) => private = PRIVATE | REC,
                _ => data.push(option),
            }
        }
        if target.starts_with("dev/") {
            // /dev is a new tmpfs: its directories are not there yet.
            self.add(&["mkdir", target, "493"]);
        }
        match kind {
            "cgroup" => self.cgroup_mount(target, flags),
            "bind" => {
                self.mount(source, target, "", bind, "");
                if flags != 0 {
                    self.mount("", target, "", BIND | REMOUNT | flags, "");
                }
            }
            "proc" | "tmpfs" | "devpts" | "mqueue" | "sysfs" => {
                self.mount(source, target, kind, flags, &data.join(","))
            }
            _ => return Err(format!("the floor has no step for a mount of type {kind}")),
        }
        if private != 0 {
            self.mount("", target, "", private, "");
        }
        Ok(())
    }

    /// v2: a mount of its own; v1: one bind of the container's own group for each hierarchy, on a tmpfs.
    fn cgroup_mount(&mut self, target: &str, flags: u64) {
        if self.layout == Layout::V2 {
            self.mount("cgroup", target, "cgroup2", flags, "");
            return;
        }
        self.mount("tmpfs", target, "tmpfs", flags & !RDONLY, "mode=755");
        for group in self.groups {
            let name = group.file_name().unwrap_or_default().to_string_lossy();
            let place = format!("{target}/{name}");
            self.add(&[
                "mkdir",
                &place,
                "493",
                "bindgroup",
                &group.display().to_string(),
                &place,
            ]);
            self.mount("", &place, "", BIND | REMOUNT | flags, "");
        }
        self.mount("", target, "", BIND | REMOUNT | flags, "");
    }

    fn mount(&mut self, source: &str, target: &str, kind: &str, flags: u64, data: &str) {
        self.add(&["mount", source, target, kind, &flags.to_string(), data]);
    }

    fn rights(&mut self, config: &Value, profile: bool) -> Result<(), String> {
        let process = &config["process"];
        if let Some(name) = config["hostname"].as_str() {
            self.add(&["hostname", name]);
        }
        for limit in list(&process["rlimits"]) {
            if limit["type"] != "RLIMIT_NOFILE" {
                return Err(format!("the floor has no step for the limit {}", limit["type"]));
            }
            self.add(&["rlimit", "7", &limit["soft"].to_string(), &limit["hard"].to_string()]);
        }
        let late = process["noNewPrivileges"] == true;
        if profile && !late {
            self.add(&["load"]);
        }
        let mut mask = 0u64;
        for name in strings(&process["capabilities"]["bounding"]) {
            let known = CAPABILITIES.iter().find(|(known, _)| *known == name);
            mask |= 1 << known.ok_or_else(|| format!("the floor does not know {name}"))?.1;
        }
        self.add(&["caps", &mask.to_string()]);
        if late {
            self.add(&["nnp"]);
        }
        if profile && late {
            self.add(&["load"]);
        }
        Ok(())
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    list(value).filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn steps(config: &Value, layout: Layout, groups: &[PathBuf]) -> Result<String, String> {
        let list = Steps::of(config, layout, groups, Path::new("/program"))?;
        Ok(String::from_utf8(list).unwrap().replace('\0', " "))
    }

    fn config() -> Value {
        json!({
            "root": { "path": "/r", "readonly": true },
            "process": { "args": ["/bin/true"], "capabilities": { "bounding": ["CAP_KILL"] }, "noNewPrivileges": true },
            "mounts": [
                { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"] },
                { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["ro", "mode=1777", "size=1k"] }
            ],
            "linux": { "namespaces": [{ "type": "mount" }], "maskedPaths": ["/proc/kcore"], "seccomp": {} }
        })
    }

    #[test]
    fn each_field_has_its_step() {
        let text = steps(&config(), Layout::V2, &["/c".into()]).unwrap();
        for step in [
            "seccomp /program cgroup /c into /c device 2 1 4294967295 4294967295",
            "attach clone 131072 mount  /  278528  mount /r /r  20480  chdir /r mount proc proc proc 2  mkdir dev/shm 493",
            "mount shm dev/shm tmpfs 1 mode=1777,size=1k mknod dev/null 1 3",
            "pivot mask /proc/kcore mount  /  4129  caps 32 nnp load exec /bin/true ",
        ] {
            assert!(text.contains(step), "{step:?} is not in {text:?}");
        }
    }

    #[test]
    fn version_1_is_joined_from_inside() {
        let text = steps(&config(), Layout::V1, &["/c/cpu".into(), "/c/devices".into()]).unwrap();
        for step in [
            "cgroup /c/cpu cgroup /c/devices limit /c/devices devices.deny a",
            "c 136:* rwm",
            "clone 131072 join ",
        ] {
            assert!(text.contains(step), "{step:?} is not in {text:?}");
        }
    }

    #[test]
    fn what_has_no_step_is_an_error() {
        let mut config = config();
        config["mounts"][0]["type"] = json!("overlay");
        assert!(steps(&config, Layout::V2, &[]).unwrap_err().contains("overlay"));
    }
}
