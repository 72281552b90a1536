//! Facts about the caller and the host that `create` and `run` need: probed once, passed down, never global.

use std::os::fd::OwnedFd;

use nucleus_cgroup::{Bus, Layout, Manager, Scope};
use rustix::fs::{Mode, OFlags};
use rustix::thread::{CapabilitySet, capability_is_in_bounding_set};

use crate::init::failure::{Explain, Failure};
use crate::plan::Plan;
use crate::rootfs::cgroup_mount::View;
use crate::rootfs::root::PROC_MAGIC;

/// The probed facts.
#[derive(Debug)]
pub struct Host {
    /// Effective uid of the caller.
    pub euid: u32,
    /// Effective gid of the caller.
    pub egid: u32,
    /// The caller runs in a user namespace of its own.
    pub in_user_namespace: bool,
    /// The caller lacks the rights of the host's root, or says so with `--rootless`.
    pub rootless: bool,
    /// The control group hierarchies.
    pub cgroups: Layout,
}

impl Host {
    /// Looks at the host. `rootless` overrides what is found.
    ///
    /// # Errors
    /// Named by the file that cannot be read.
    pub fn probe(rootless: Option<bool>) -> Result<Self, Failure> {
        let euid = rustix::process::geteuid().as_raw();
        let in_user_namespace = in_user_namespace();
        Ok(Self {
            euid,
            egid: rustix::process::getegid().as_raw(),
            in_user_namespace,
            rootless: rootless.unwrap_or(euid != 0 || in_user_namespace),
            cgroups: Layout::probe().map_err(|error| Failure::new(error.to_string()))?,
        })
    }

    /// Compiles the control groups for the systemd driver, which is asked for what it is.
    ///
    /// # Errors
    /// When there is no systemd; the field that cannot be.
    pub fn scope(
        &self,
        resources: Option<&oci_spec::runtime::LinuxResources>,
        cgroups_path: Option<&str>,
        id: &str,
        annotations: &[(String, String)],
    ) -> super::Result<nucleus_cgroup::Plan> {
        let manager = Manager::probe(Bus::of(self.rootless))?;
        let scope = Scope {
            manager: &manager,
            annotations,
        };
        let layout = &self.cgroups;
        let plan = nucleus_cgroup::Plan::compile_scope(resources, cgroups_path, id, layout, self.rootless, &scope);
        Ok(plan?)
    }

    /// The capabilities of this process, as a mask.
    pub fn capabilities() -> Result<u64, Failure> {
        let sets = rustix::thread::capabilities(None).explain(|| "cannot read the runtime's capabilities")?;
        Ok(sets.permitted.bits())
    }

    /// The highest capability number that the kernel knows: it refuses to look for others (capabilities(7)).
    ///
    /// # Errors
    /// When it refuses all of them.
    pub fn last_capability() -> Result<u32, Failure> {
        // Nearly always the answer: the latest one since Linux 5.9.
        const LATEST: u32 = CapabilitySet::CHECKPOINT_RESTORE.bits().trailing_zeros();
        let known = |cap: &u32| capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << cap)).is_ok();
        let later = (LATEST + 1..u64::BITS).take_while(known).last();
        later
            .or_else(|| (0..=LATEST).rev().find(known))
            .ok_or_else(|| Failure::new("cannot tell which capabilities the kernel knows (prctl PR_CAPBSET_READ)"))
    }
}

/// True unless this is the initial user namespace, which has had the same number since Linux 3.8 and keeps it
/// (`USER_NS_INIT_INO` in uapi/linux/nsfs.h). A map of all ids proves nothing: others may have one, too.
pub fn in_user_namespace() -> bool {
    const INITIAL: u64 = 0xEFFF_FFFD;
    // A kernel without user namespaces has no such file.
    rustix::fs::stat("/proc/self/ns/user").is_ok_and(|namespace| namespace.st_ino != INITIAL)
}

/// What a `cgroup` mount shows: the container's own groups where it has them, and where the layout is v2 and the
/// container shares the host's cgroup namespace, the whole tree that its paths refer to.
pub fn cgroup_view(layout: &Layout, record: &nucleus_cgroup::Record, own_namespace: bool) -> View {
    use nucleus_cgroup::{Mode, Version};
    let rooted = |hierarchy: &nucleus_cgroup::Hierarchy| {
        let key = match hierarchy.version {
            Version::V1 => hierarchy.controllers.first().map_or("", String::as_str),
            Version::V2 => "unified",
        };
        let own = || hierarchy.mount.join(&hierarchy.own);
        record
            .paths
            .get(key)
            .map_or_else(|| (own(), true), |path| (path.clone(), false))
    };
    match layout.mode {
        Mode::Unified | Mode::None => match layout.unified() {
            Some(hierarchy) if !own_namespace => View::Unified {
                source: hierarchy.mount.clone(),
                foreign: true,
            },
            Some(hierarchy) => {
                let (source, foreign) = rooted(hierarchy);
                View::Unified { source, foreign }
            }
            None => View::Unified {
                source: "/sys/fs/cgroup".into(),
                foreign: true,
            },
        },
        Mode::Legacy | Mode::Hybrid => {
            let mut view = (Vec::new(), Vec::new(), false);
            for hierarchy in &layout.hierarchies {
                let Some(name) = hierarchy
                    .mount
                    .file_name()
                    .map(|name| name.to_string_lossy().into_owned())
                else {
                    continue;
                };
                let (source, foreign) = rooted(hierarchy);
                view.2 |= foreign;
                let aliases = hierarchy
                    .controllers
                    .iter()
                    .filter(|controller| hierarchy.controllers.len() > 1 && **controller != name);
                view.1
                    .extend(aliases.map(|controller| (controller.clone(), name.clone())));
                view.0.push((name, source));
            }
            View::Legacy {
                hierarchies: view.0,
                links: view.1,
                foreign: view.2,
            }
        }
    }
}

/// Opens /proc, and proves that it is procfs and its root.
///
/// # Errors
/// When something else is mounted there.
pub fn open_procfs() -> Result<OwnedFd, Failure> {
    const PROC_ROOT: u64 = 1;
    let what = || "cannot open /proc";
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let procfs = rustix::fs::open("/proc", flags, Mode::empty()).explain(what)?;
    let magic = rustix::fs::fstatfs(&procfs).explain(what)?.f_type as u64;
    if magic != PROC_MAGIC || rustix::fs::fstat(&procfs).explain(what)?.st_ino != PROC_ROOT {
        return Err(Failure::new("/proc is not the procfs filesystem"));
    }
    Ok(procfs)
}

/// The score of the OOM killer for a process of this plan; none when it is ours, which every child has. To set it in a new
/// process, the kernel would first have to fill its /proc/PID.
pub fn oom_score_to_set(plan: &Plan) -> Option<i32> {
    let wanted = plan.process.as_ref()?.oom_score_adj?;
    let own = std::fs::read_to_string("/proc/self/oom_score_adj");
    let own = own.ok().and_then(|text| text.trim_ascii_end().parse().ok());
    (own != Some(wanted)).then_some(wanted)
}

/// Whether the host side sets the score of the OOM killer: root does for a process in a user namespace, which has not the
/// right to lower it.
pub fn sets_oom_score(plan: &Plan) -> bool {
    let user = nix::sched::CloneFlags::CLONE_NEWUSER.bits() as u64;
    plan.namespaces.has(user) && rustix::process::geteuid().is_root()
}

/// [`oom_score_to_set`], where the process sets it itself.
pub fn oom_score_for_init(plan: &Plan) -> Option<i32> {
    (!sets_oom_score(plan)).then(|| oom_score_to_set(plan)).flatten()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::process::{Command, Stdio};

    use super::{Host, in_user_namespace};

    #[test]
    fn the_last_capability_is_what_the_kernel_says_it_is() {
        let said = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
        assert_eq!(Host::last_capability().unwrap().to_string(), said.trim());
    }

    /// What the next test runs in a user namespace of its own.
    #[test]
    fn inside_a_user_namespace() {
        if std::env::var_os("NUCLEUS_TEST_INSIDE").is_some() {
            assert!(in_user_namespace());
            println!("seen from inside");
        }
    }

    #[test]
    fn a_map_of_all_ids_does_not_make_a_user_namespace_the_initial_one() {
        if in_user_namespace() || !rustix::process::geteuid().is_root() {
            return eprintln!("skipped: only root of the initial user namespace maps all ids");
        }
        let mut child = Command::new("unshare")
            .args(["--user", "sh", "-c", "echo made; read go; exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--nocapture", "inside_a_user_namespace"])
            .env("NUCLEUS_TEST_INSIDE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        said.read_line(&mut text).unwrap();
        for map in ["uid_map", "gid_map"] {
            std::fs::write(format!("/proc/{}/{map}", child.id()), "0 0 4294967295").unwrap();
        }
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        said.read_to_string(&mut text).unwrap();
        assert!(
            child.wait().unwrap().success() && text.contains("seen from inside"),
            "{text}"
        );
    }
}
