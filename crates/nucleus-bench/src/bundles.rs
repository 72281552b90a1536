//! The bundles: one root filesystem, and configs as `runc spec`, Docker and podman write them.
//!
//! The configs are the captured ones of crates/oci-runtime/tests/configs. Changed is only what ties them to the machine
//! where they were captured: the root, the sources of bind mounts, the cgroup's and the network namespace's path, hooks (they
//! call back into a daemon), the program. With cgroup v2 a cgroup namespace is added, as all three do on such hosts.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};

use crate::layout::{Layout, has_controller};
use crate::programs;

/// Who runs rootless containers, and the first id of user namespaces.
pub const USER: u32 = 65000;

/// The captured configs that are measured: name of the case, file.
pub const CONFIGS: [(&str, &str); 5] = [
    ("spec", "runc-spec.json"),
    ("docker", "docker-default.json"),
    ("podman", "podman-default.json"),
    ("userns", "runc-spec.json"),
    ("rootless", "runc-spec-rootless.json"),
];

/// Makes the bundles below one directory, on a file system of its own.
pub struct Bundles {
    work: PathBuf,
    captured: PathBuf,
    cgroup_parent: String,
}

impl Bundles {
    /// Makes the root filesystem and what the engines' configs bind.
    pub fn new(work: &Path, captured: &Path, mark: &str) -> io::Result<Self> {
        let root = work.join("rootfs");
        for directory in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp"] {
            fs::create_dir_all(root.join(directory))?;
        }
        for file in ["etc/hostname", "etc/hosts", "etc/resolv.conf", "run/.containerenv"] {
            fs::write(root.join(file), "")?;
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\n")?;
        for (name, bytes) in [("true", programs::ends()), ("wait", programs::waits())] {
            let path = root.join("bin").join(name);
            fs::write(&path, bytes)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        fs::create_dir_all(work.join("rootless"))?;
        chown(work.join("rootless"), Some(USER), Some(USER))?;
        engine_files(work)?;
        Ok(Self {
            work: work.to_owned(),
            captured: captured.to_owned(),
            cgroup_parent: format!("{mark}engines"),
        })
    }

    /// The cgroup below which configs that name a path have theirs, as an engine's.
    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup_parent
    }

    /// Writes the bundle of a case, its config adapted to this layout, and returns its directory and the config.
    pub fn write(&self, case: &str, program: &str, layout: Layout) -> io::Result<(PathBuf, Value)> {
        let file = CONFIGS
            .iter()
            .find(|(name, _)| *name == case)
            .ok_or(io::ErrorKind::NotFound)?
            .1;
        let mut config: Value = serde_json::from_slice(&fs::read(self.captured.join(file))?)?;
        self.adapt(&mut config, case, program, layout);
        let bundle = self.work.join(format!("{case}-{program}-{layout:?}"));
        fs::create_dir_all(&bundle)?;
        // `runc spec` writes for people, engines write all in one line.
        let text = match file.starts_with("runc-spec") {
            true => serde_json::to_vec_pretty(&config)?,
            false => serde_json::to_vec(&config)?,
        };
        fs::write(bundle.join("config.json"), text)?;
        Ok((bundle, config))
    }

    fn adapt(&self, config: &mut Value, case: &str, program: &str, layout: Layout) {
        config["root"]["path"] = json!(self.work.join("rootfs"));
        config["process"]["args"] = json!([format!("/bin/{program}")]);
        config["process"]["terminal"] = json!(false);
        if let Some(config) = config.as_object_mut() {
            config.remove("hooks");
        }
        for mount in config["mounts"].as_array_mut().into_iter().flatten() {
            if mount["type"] == "bind" {
                let name = mount["source"]
                    .as_str()
                    .and_then(|source| source.rsplit('/').next())
                    .unwrap_or("");
                mount["source"] = json!(self.work.join("files").join(name));
            }
        }
        let linux = &mut config["linux"];
        if linux["cgroupsPath"].is_string() {
            linux["cgroupsPath"] = json!(format!("/{}/{case}", self.cgroup_parent));
        }
        if let Some(namespaces) = linux["namespaces"].as_array_mut() {
            for namespace in namespaces.iter_mut().filter(|namespace| namespace["path"].is_string()) {
                namespace["path"] = json!(self.work.join("files/netns"));
            }
            if layout == Layout::V2 && case != "rootless" {
                namespaces.push(json!({ "type": "cgroup" }));
            }
            if case == "userns" {
                namespaces.push(json!({ "type": "user" }));
            }
        }
        if case == "userns" || case == "rootless" {
            let size = if case == "rootless" { 1 } else { 65536 };
            let map = json!([{ "containerID": 0, "hostID": USER, "size": size }]);
            (linux["uidMappings"], linux["gidMappings"]) = (map.clone(), map);
        }
        if let Some(resources) = linux["resources"].as_object_mut() {
            resources.retain(|section, _| controller(section, layout).is_none_or(|name| has_controller(layout, name)));
        }
    }
}

/// The controller that a section of `linux.resources` needs. What this machine's layout lacks cannot be asked for.
fn controller(section: &str, layout: Layout) -> Option<&'static str> {
    match (section, layout) {
        ("pids", _) => Some("pids"),
        ("memory", _) => Some("memory"),
        ("cpu", _) => Some("cpu"),
        ("blockIO", Layout::V1) => Some("blkio"),
        ("blockIO", Layout::V2) => Some("io"),
        _ => None,
    }
}

/// What Docker and podman make for each container before they call a runtime.
fn engine_files(work: &Path) -> io::Result<()> {
    let files = work.join("files");
    fs::create_dir_all(files.join("shm"))?;
    for name in ["resolv.conf", "hostname", "hosts", ".containerenv", "netns"] {
        fs::write(files.join(name), "")?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("shm"),
        &files.join("shm"),
        Some("tmpfs"),
        flags,
        Some("mode=1777,size=65536k"),
    )?;
    let mut net = std::ffi::OsString::from("--net=");
    net.push(files.join("netns"));
    let made = Command::new("unshare")
        .arg(net)
        .arg(work.join("rootfs/bin/true"))
        .status()?;
    if made.success() {
        Ok(())
    } else {
        Err(io::Error::other("unshare cannot make a network namespace"))
    }
}
