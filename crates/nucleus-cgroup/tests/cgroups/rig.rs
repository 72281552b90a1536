//! What the scenarios stand on: a private cgroup tree, names that are ours, and children that live in a cgroup.

use std::fs::{create_dir, read_link, read_to_string, remove_dir};
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use nucleus_cgroup::{Cgroup, Hierarchy, Joiner, Layout, Mode, Plan, PlanError, Record, Version};
use nucleus_sys::process::{Clone, Forked, clone3};
use oci_spec::runtime::LinuxResources;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

/// Sets the tree up and runs one scenario, in the process that unshare(1) made.
pub(crate) fn run(name: &str, mode: &str, outer_namespace: &str) -> ExitCode {
    let own = read_link("/proc/self/ns/mnt").expect("read the mount namespace");
    assert_ne!(
        own,
        Path::new(outer_namespace),
        "must run in a mount namespace of its own"
    );
    private_tree(mode);
    let network = mode != "v2" && name == "network-reads-back";
    if network {
        NETWORK.iter().for_each(|controller| mount_v1(controller));
    }
    let layout = Layout::probe().expect("probe");
    let expected = match mode {
        "legacy" => Mode::Legacy,
        "hybrid" => Mode::Hybrid,
        _ => Mode::Unified,
    };
    if layout.mode != expected {
        skip(name, mode, "this host has no such hierarchies");
    }
    let (_, scenario) = crate::scenarios::ALL
        .iter()
        .find(|(other, _)| *other == name)
        .expect("a known scenario");
    let rig = Rig {
        name: name.to_owned(),
        mode: mode.to_owned(),
        layout,
        top: format!("/nucleus-test-{}-{name}", std::process::id()),
    };
    scenario(&rig);
    drop(rig);
    if network {
        NETWORK.iter().for_each(|controller| release_v1(controller));
    }
    ExitCode::SUCCESS
}

/// Controllers that hosts seldom mount, but most kernels have; v2 never takes them.
const NETWORK: [&str; 2] = ["net_cls", "net_prio"];

/// Mounts a hierarchy that may not exist yet, unless the kernel does not have it or mounts it with others elsewhere.
fn mount_v1(controller: &str) {
    if read("/proc/self/mounts").contains(&format!("/sys/fs/cgroup/{controller}")) {
        return;
    }
    let path = Path::new("/sys/fs/cgroup").join(controller);
    create_dir(&path).expect("make a mount point");
    let options = std::ffi::CString::new(controller).expect("no NUL");
    if mount("cgroup", &path, "cgroup", MountFlags::empty(), Some(&*options)).is_err() {
        remove_dir(&path).expect("remove the mount point");
    }
}

/// Ends a hierarchy that was mounted by [`mount_v1`]. One that still had a cgroup, perhaps a removed one that the kernel
/// has not freed yet, would live on with nobody to end it.
fn release_v1(controller: &str) {
    let path = Path::new("/sys/fs/cgroup").join(controller);
    if !path.exists() {
        return;
    }
    let cgroups = |line: &str| line.starts_with(&format!("{controller}\t")) && line.split('\t').nth(2) == Some("1");
    let start = Instant::now();
    while !read("/proc/cgroups").lines().any(cgroups) && start.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(5));
    }
    unmount(&path, UnmountFlags::empty()).expect("unmount");
}

fn skip(name: &str, mode: &str, reason: &str) -> ! {
    println!("SKIP {name} {mode}: {reason}");
    std::process::exit(crate::SKIP);
}

/// Mounts anew what the host has, on a tmpfs that nobody else sees.
fn private_tree(mode: &str) {
    let own = read_to_string("/proc/self/cgroup").expect("read /proc/self/cgroup");
    let v1: Vec<String> = own
        .lines()
        .filter_map(|line| line.split(':').nth(1))
        .map(str::to_owned)
        .collect();
    while unmount_all() {}
    let root = Path::new("/sys/fs/cgroup");
    if mode == "v2" {
        mount("cgroup2", root, "cgroup2", MountFlags::empty(), None).expect("mount cgroup2");
        return;
    }
    mount("tmpfs", root, "tmpfs", MountFlags::empty(), Some(c"mode=755")).expect("mount tmpfs");
    for controllers in v1.iter().filter(|controllers| !controllers.is_empty()) {
        let (name, options) = match controllers.strip_prefix("name=") {
            Some(name) => (name, format!("none,{controllers}")),
            None => (controllers.as_str(), controllers.clone()),
        };
        let path = root.join(name);
        create_dir(&path).expect("make a mount point");
        let options = std::ffi::CString::new(options).expect("no NUL");
        mount("cgroup", &path, "cgroup", MountFlags::empty(), Some(&*options)).expect("mount a v1 hierarchy");
    }
    if mode == "hybrid" {
        let path = root.join("unified");
        create_dir(&path).expect("make a mount point");
        mount("cgroup2", &path, "cgroup2", MountFlags::empty(), None).expect("mount cgroup2");
    }
}

/// Unmounts one thing at or below /sys/fs/cgroup, the last mounted first.
fn unmount_all() -> bool {
    let mounts = read_to_string("/proc/self/mounts").expect("read mounts");
    let point = |line: &str| line.split(' ').nth(1).map(str::to_owned);
    let last = mounts
        .lines()
        .filter_map(point)
        .rfind(|point| point.starts_with("/sys/fs/cgroup"));
    let Some(last) = last else { return false };
    unmount(&last, UnmountFlags::DETACH).expect("unmount");
    true
}

/// One scenario's surroundings. Removes what is left below its name.
pub(crate) struct Rig {
    pub(crate) name: String,
    pub(crate) mode: String,
    pub(crate) layout: Layout,
    /// A cgroupsPath that is ours alone.
    pub(crate) top: String,
}

impl Rig {
    /// Ends the scenario as one that this host cannot run.
    pub(crate) fn skip(&self, reason: &str) -> ! {
        self.clean();
        skip(&self.name, &self.mode, reason)
    }

    pub(crate) fn require(&self, controller: &str) {
        if self.layout.find(controller).is_none() {
            self.skip(&format!("this host has no {controller} controller in this mode"));
        }
    }

    pub(crate) fn plan(&self, resources: &str) -> Result<Plan, PlanError> {
        let resources: LinuxResources = serde_json::from_str(resources).expect("resources");
        Plan::compile(Some(&resources), Some(&self.top), "unused", &self.layout, false)
    }

    /// Makes the cgroup with these limits in place.
    pub(crate) fn create(&self, resources: &str) -> Cgroup {
        let cgroup = self.plan(resources).expect("plan").create().expect("create");
        cgroup.apply_limits().expect("limits");
        cgroup
    }

    /// The error of limits that the kernel does not take.
    pub(crate) fn refused(&self, resources: &str) -> String {
        let cgroup = self.plan(resources).expect("plan").create().expect("create");
        cgroup.apply_limits().expect_err("refused").to_string()
    }

    /// The version of the hierarchy that carries a controller.
    pub(crate) fn version(&self, controller: &str) -> Version {
        self.layout.find(controller).expect("a hierarchy").version
    }

    /// Our directory in each hierarchy.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let below = self.top.trim_start_matches('/');
        self.layout
            .hierarchies
            .iter()
            .map(|hierarchy| hierarchy.mount.join(below))
            .collect()
    }

    /// Our directory for one controller.
    pub(crate) fn directory(&self, controller: &str) -> PathBuf {
        let hierarchy = self
            .layout
            .find(controller)
            .or(self.layout.unified())
            .expect("a hierarchy");
        hierarchy.mount.join(self.top.trim_start_matches('/'))
    }

    /// Kills and removes what is left, also after a failure in the middle.
    pub(crate) fn clean(&self) {
        let key = |hierarchy: &Hierarchy| match hierarchy.version {
            Version::V1 => hierarchy.controllers[0].clone(),
            Version::V2 => "unified".to_owned(),
        };
        let record = Record {
            driver: "cgroupfs".to_owned(),
            unit: None,
            paths: self
                .layout
                .hierarchies
                .iter()
                .map(key)
                .zip(self.directories())
                .collect(),
        };
        for result in [record.kill_all(Signal::KILL.as_raw()), record.remove()] {
            if let Err(error) = result {
                println!("clean up: {error}");
            }
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.clean();
    }
}

/// A shell that was born into a cgroup. Killed and reaped when dropped.
pub(crate) struct Shell {
    pub(crate) pid: Pid,
    reaped: bool,
}

impl Shell {
    /// Forks, joins and executes `sh -c script`, as the runtime does it.
    pub(crate) fn spawn(cgroup: &Cgroup, script: &str) -> Shell {
        Shell::spawn_by(cgroup.unified_dir(), &cgroup.joiner().expect("joiner"), script)
    }

    pub(crate) fn spawn_by(cgroup: Option<BorrowedFd<'_>>, joiner: &Joiner, script: &str) -> Shell {
        let what = Clone { flags: 0, cgroup };
        let script = format!("exec 2>/dev/null; {script}");
        match clone3(&what).expect("clone3") {
            Forked::Child => {
                if let Err(error) = joiner.join_self() {
                    println!("join: {error}");
                    std::process::exit(126);
                }
                let error = Command::new("/bin/sh")
                    .args(["-c", &script])
                    .stdin(Stdio::null())
                    .exec();
                println!("exec: {error}");
                std::process::exit(127);
            }
            Forked::Parent(pid, _) => {
                let shell = Shell { pid, reaped: false };
                let program = |pid: &str| read_link(format!("/proc/{pid}/exe")).ok();
                until("the shell", || {
                    program(&pid.as_raw_nonzero().to_string()) != program("self")
                });
                shell
            }
        }
    }

    /// A process of this program, outside the cgroup, that ends after `work`.
    pub(crate) fn process(work: impl FnOnce()) -> Shell {
        let what = Clone { flags: 0, cgroup: None };
        match clone3(&what).expect("clone3") {
            Forked::Child => {
                work();
                std::process::exit(0);
            }
            Forked::Parent(pid, _) => Shell { pid, reaped: false },
        }
    }

    /// Waits for the end; the exit status, or 128 + signal.
    pub(crate) fn wait(mut self) -> i32 {
        self.reap()
    }

    fn reap(&mut self) -> i32 {
        self.reaped = true;
        let (_, status): (_, WaitStatus) = waitpid(Some(self.pid), WaitOptions::empty())
            .expect("wait")
            .expect("one");
        status
            .exit_status()
            .or(status.terminating_signal().map(|signal| 128 + signal))
            .expect("an end")
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = kill_process(self.pid, Signal::KILL);
            self.reap();
        }
    }
}

/// Waits for something to become true, for ten seconds at most.
pub(crate) fn until(what: &str, mut test: impl FnMut() -> bool) {
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The trimmed content of a file.
pub(crate) fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    read_to_string(path)
        .unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
        .trim()
        .to_owned()
}
