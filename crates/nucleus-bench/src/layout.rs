//! The private cgroup trees: the host's own hierarchies, mounted anew in our mount namespace, once as cgroup v1 and once
//! as cgroup v2 alone.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

const TREE: &str = "/sys/fs/cgroup";

/// Which cgroups the runtimes find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Version 1 only.
    V1,
    /// Version 2 only.
    V2,
}

impl Layout {
    /// As it is called in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1 => "cgroup v1",
            Self::V2 => "cgroup v2",
        }
    }
}

/// The v1 hierarchies that the host has mounted: directory name and mount option.
pub fn hierarchies() -> io::Result<Vec<(String, String)>> {
    Ok(parse_hierarchies(&fs::read_to_string("/proc/self/mounts")?))
}

fn parse_hierarchies(mounts: &str) -> Vec<(String, String)> {
    let mut found = BTreeSet::new();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(target), Some("cgroup"), Some(options)) = (words.nth(1), words.next(), words.next()) else {
            continue;
        };
        let general = [
            "rw",
            "ro",
            "nosuid",
            "nodev",
            "noexec",
            "relatime",
            "xattr",
            "clone_children",
            "noprefix",
        ];
        let own = |option: &&str| !general.contains(option) && !option.starts_with("release_agent=");
        let mut options = options.split(',').filter(own).collect::<Vec<_>>().join(",");
        if options.starts_with("name=") {
            options.insert_str(0, "none,");
        }
        let name = target.rsplit('/').next().unwrap_or(target);
        found.insert((name.to_owned(), options));
    }
    found.into_iter().collect()
}

/// Rebuilds /sys/fs/cgroup and returns the directories in which a container has a directory each.
///
/// # Errors
/// A text that says why the host cannot have this layout.
pub fn enter(layout: Layout, hierarchies: &[(String, String)]) -> Result<Vec<PathBuf>, String> {
    loop {
        match umount2(TREE, MntFlags::MNT_DETACH) {
            Ok(()) => {}
            Err(Errno::EINVAL) => break,
            Err(error) => return Err(format!("cannot unmount {TREE}: {error}")),
        }
    }
    let attach = |kind: &str, target: &Path, data: &str| {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(kind), target, Some(kind), flags, Some(data))
            .map_err(|error| format!("cannot mount {kind} ({data}) at {}: {error}", target.display()))
    };
    if layout == Layout::V2 {
        attach("cgroup2", Path::new(TREE), "")?;
        return Ok(vec![TREE.into()]);
    }
    if hierarchies.is_empty() {
        return Err("this host uses cgroup v2 for its controllers".to_owned());
    }
    attach("tmpfs", Path::new(TREE), "mode=755")?;
    let mut directories = Vec::new();
    for (name, options) in hierarchies {
        let target = Path::new(TREE).join(name);
        fs::create_dir(&target).map_err(|error| error.to_string())?;
        attach("cgroup", &target, options)?;
        if name.contains(',') {
            for one in name.split(',') {
                let link = std::os::unix::fs::symlink(name, Path::new(TREE).join(one));
                link.map_err(|error| error.to_string())?;
            }
        }
        directories.push(target);
    }
    // Nobody shall make plain directories beside the hierarchies.
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, TREE, None::<&str>, flags, None::<&str>).map_err(|error| error.to_string())?;
    Ok(directories)
}

/// Whether containers can be given a limit of this controller.
pub fn has_controller(layout: Layout, name: &str) -> bool {
    match layout {
        Layout::V1 => Path::new(TREE).join(name).exists(),
        Layout::V2 => fs::read_to_string(Path::new(TREE).join("cgroup.controllers"))
            .is_ok_and(|list| list.split_whitespace().any(|word| word == name)),
    }
}

/// Removes every cgroup below these directories whose name contains `mark`, with all that is in it; kills nothing.
pub fn remove_marked(directories: &[PathBuf], mark: &str) {
    for directory in directories {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().contains(mark) {
                remove_tree(&entry.path());
            }
        }
    }
}

fn remove_tree(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // What has just been killed may take a moment to leave.
    for _ in 0..100 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_a_mount_table() {
        let mounts = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,nosuid,relatime,cpu,cpuacct 0 0\n\
            cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
            cgroup /sys/fs/cgroup/systemd cgroup rw,xattr,release_agent=/x,name=systemd 0 0\n\
            tmpfs /run tmpfs rw 0 0\n";
        let pair = |name: &str, options: &str| (name.to_owned(), options.to_owned());
        assert_eq!(
            parse_hierarchies(mounts),
            [pair("cpu,cpuacct", "cpu,cpuacct"), pair("systemd", "none,name=systemd")]
        );
    }
}
