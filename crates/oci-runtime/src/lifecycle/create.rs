//! `create`, and the first half of `run`: steps 2 to 7 of the design, from a bundle to an init that waits.
//!
//! Every object that is made is owned by a guard in [`ContainerBuilder`], so that an error at any step undoes all steps before
//! it, youngest first. Once committed, the container's directory answers for all of it.

mod builder;
mod record;

use std::ffi::{CStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use nucleus_core::{ContainerDir, ContainerId, ContainerState, Process, Store};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::host::Host;
use super::notify::{self, Notify};
use super::pidfd_socket::PidfdSocket;
use super::terminal::Terminal;
use super::{Result, Warn};
use crate::channel::HostEnd;
use crate::init::failure::{Explain, Failure};
use crate::plan::{self, Hook, Plan, PlanError};
use crate::security::lsm;
use crate::security::seccomp::cache::{self, Cache};
use crate::spec;
use builder::ContainerBuilder;
use record::initial_state;

/// What the command line says about the container to be made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The container's id.
    pub id: ContainerId,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Where the pid is written.
    pub pid_file: Option<PathBuf>,
    /// Where the terminal is sent.
    pub console_socket: Option<PathBuf>,
    /// Where a pidfd of init is sent.
    pub pidfd_socket: Option<PathBuf>,
    /// The service manager to be told when the program is ready.
    pub notify_socket: Option<OsString>,
    /// Use MS_MOVE instead of pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// A core scheduling cookie for the container's processes, also if the annotation does not ask for one.
    pub core_sched: bool,
    /// Inherited descriptors that the container gets, by number.
    pub preserve_fds: Vec<i32>,
    /// How many of them come from socket activation: the container is told as sd_listen_fds(3) says.
    pub listen_fds: u32,
    /// `--rootless`: whether missing rights over control groups are tolerated; `None` looks at who we are.
    pub rootless: Option<bool>,
    /// `--systemd-cgroup`.
    pub systemd: bool,
    /// The log's descriptor, which init writes to as well.
    pub log_fd: Option<i32>,
    /// The runtime does not stay: `create` and `run --detach`.
    pub detach: bool,
}

/// Whether init waits for `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartMode {
    /// `create`: it does.
    WaitForStart,
    /// `run`: it executes the program as soon as all is committed.
    Immediately,
}

/// A container that was made and committed.
#[derive(Debug)]
pub struct Made {
    /// Its directory.
    pub dir: ContainerDir,
    /// Its record.
    pub state: ContainerState,
    /// Its init; a child of this process.
    pub init: Process,
    /// The terminal's master end, when this process asked for it.
    pub terminal: Option<OwnedFd>,
    /// `hooks.poststart`.
    pub poststart: Vec<Hook>,
    /// The container's way to the service manager; only of a container that is not waiting for `start`.
    pub notify: Option<Notify>,
    /// Gives end of file once init has executed the user's program, or could not.
    pub channel: HostEnd,
}

/// All that is compiled before anything is made.
struct Compiled {
    plan: Plan,
    host: Host,
    cgroup: nucleus_cgroup::Plan,
    config_hash: String,
    /// The last mount is the one for the service manager.
    notify: bool,
}

/// Makes the container.
///
/// # Errors
/// What was attempted, on which field or path; nothing is left behind.
pub fn create(store: &Store, options: &Options, start_mode: StartMode, warn: Warn<'_>) -> Result<Made> {
    let mut compiled = compile(store, options)?;
    let warnings = std::mem::take(&mut compiled.plan.warnings);
    let wanted = compiled.plan.process.as_ref().is_some_and(|process| process.terminal);
    let mut terminal = Terminal::ask(wanted, options.console_socket.as_deref())?;
    let pidfd_socket = PidfdSocket::connect(options.pidfd_socket.as_deref())?;
    let join = open_namespaces(&compiled.plan)?;
    refuse_changes_of_own(&compiled.plan, &join)?;
    crate::step("3", "reserve");
    let reservation = store.reserve(&options.id)?;
    let mut builder = ContainerBuilder {
        reservation,
        state: initial_state(options, &compiled)?,
        hooks_ran: false,
        net_devices: None,
        resctrl: None,
        notify: None,
        pid_file: None,
        cgroup: None,
    };
    match builder.go(options, compiled, start_mode, (&mut terminal, &pidfd_socket), join) {
        Ok((init, channel, terminal, poststart)) => {
            let made = builder.commit(init, channel, terminal, poststart)?;
            warnings.iter().for_each(|warning| warn(warning));
            Ok(made)
        }
        Err(error) => {
            builder.abandon(warn);
            Err(error)
        }
    }
}

/// Step 2. Never inlined: its locals would lie on the stack below init, of which parent and child copy what they touch.
#[inline(never)]
fn compile(store: &Store, options: &Options) -> Result<Compiled> {
    crate::step("2", "load, compile");
    let profiles = ProfileCache(store);
    let loaded = spec::load(&options.bundle, Some(&profiles))?;
    let host = Host::probe(options.rootless)?;
    let plan_options = plan::Options {
        bundle: options.bundle.clone(),
        detach: options.detach,
        console_socket: options.console_socket.is_some(),
        no_pivot: options.no_pivot,
    };
    let facts = plan::Host {
        euid: host.euid,
        last_cap: Host::last_capability()?,
        capabilities: Host::capabilities()?,
    };
    let mut plan = Plan::compile(&loaded.spec, &plan_options, &facts, loaded.seccomp)?;
    plan.core_scheduling |= options.core_sched;
    if let Some(process) = &mut plan.process {
        plan::scheduling::stage_cpus(loaded.cpu_affinity.as_ref(), process)?;
    }
    if let (Some(name), Some(seccomp)) = (&loaded.keep_seccomp, &plan.seccomp) {
        cache::put(&profiles, name, seccomp);
    }
    if let Some(process) = plan.process.as_mut().filter(|_| options.listen_fds > 0) {
        let told = [format!("LISTEN_FDS={}", options.listen_fds), "LISTEN_PID=1".to_string()];
        process
            .env
            .extend(told.into_iter().filter_map(|entry| std::ffi::CString::new(entry).ok()));
    }
    let notify = options.notify_socket.is_some() && notify::offer(&mut plan);
    lsm::check(&plan)?;
    plan.warnings.extend(loaded.warnings);
    let linux = loaded.spec.linux().as_ref();
    let cgroups_path = linux
        .and_then(|linux| linux.cgroups_path().as_deref())
        .and_then(Path::to_str);
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let cgroup = match options.systemd {
        false => {
            let others = [
                nucleus_cgroup::SUBGROUP_ANNOTATION,
                nucleus_cgroup::DELEGATED_ANNOTATION,
            ];
            let ignored = |(key, _): &&(String, String)| {
                key.starts_with(nucleus_cgroup::PROPERTY_ANNOTATION) || others.contains(&key.as_str())
            };
            for (key, _) in plan.annotations.iter().filter(ignored) {
                tracing::debug!("annotations.{key} is ignored without --systemd-cgroup");
            }
            nucleus_cgroup::Plan::compile(
                resources,
                cgroups_path,
                options.id.as_str(),
                &host.cgroups,
                host.rootless,
            )?
        }
        true => host.scope(resources, cgroups_path, options.id.as_str(), &plan.annotations)?,
    };
    plan.warnings.extend(cgroup.warnings().iter().map(ToString::to_string));
    probe_bundle(&plan)?;
    // Freed piece by piece it would cost more than the memory is worth, in a process that ends soon.
    std::mem::forget(loaded.spec);
    Ok(Compiled {
        plan,
        host,
        cgroup,
        config_hash: loaded.sha256,
        notify,
    })
}

/// Looks whether the root filesystem is there.
///
/// # Errors
/// Named by `root.path`.
pub fn probe_bundle(plan: &Plan) -> std::result::Result<(), Failure> {
    let rootfs = &plan.rootfs.path;
    let found = rustix::fs::stat(rootfs).and_then(|stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(()),
        _ => Err(Errno::NOTDIR),
    });
    found.explain(|| format!("root.path: {}", rootfs.display()))
}

/// Compiled seccomp profiles lie beside the containers.
struct ProfileCache<'a>(&'a Store);

impl Cache for ProfileCache<'_> {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.0.cached(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.0.keep(name, bytes);
    }
}

/// A namespace that is given by path may be the runtime's own: a parameter or a name in it would be set on the host.
fn refuse_changes_of_own(plan: &Plan, join: &[(u64, OwnedFd, String)]) -> Result<()> {
    for (bit, namespace, _) in join {
        let Err(error) = plan::sysctl::refuse_in_own(&plan.sysctl, *bit).and_then(|()| refuse_names(plan, *bit)) else {
            continue;
        };
        let is_it = |(kind, _): &&(CloneFlags, &str)| kind.bits() as u64 == *bit;
        let Some((_, name)) = super::NAMESPACES.iter().find(is_it) else {
            continue;
        };
        let own = format!("/proc/self/ns/{name}");
        let own = rustix::fs::stat(&own).explain(|| own.clone())?;
        let joined = rustix::fs::fstat(namespace).explain(|| "linux.namespaces")?;
        if (own.st_dev, own.st_ino) == (joined.st_dev, joined.st_ino) {
            return Err(error.into());
        }
    }
    Ok(())
}

/// Refuses names that a UTS namespace does not have already.
fn refuse_names(plan: &Plan, bit: u64) -> std::result::Result<(), PlanError> {
    if bit != CloneFlags::CLONE_NEWUTS.bits() as u64 {
        return Ok(());
    }
    let names = rustix::system::uname();
    let differs =
        |name: &Option<String>, own: &CStr| name.as_ref().is_some_and(|name| name.as_bytes() != own.to_bytes());
    let field = if differs(&plan.hostname, names.nodename()) {
        "hostname"
    } else if differs(&plan.domainname, names.domainname()) {
        "domainname"
    } else {
        return Ok(());
    };
    Err(PlanError::new(
        field,
        format_args!(
            "unable to set {field} without a private UTS namespace: the one that is joined is the runtime's own"
        ),
    ))
}

/// Opens the namespaces to join, while their paths mean what the caller means.
fn open_namespaces(plan: &Plan) -> Result<Vec<(u64, OwnedFd, String)>> {
    let open = |(bit, path): &(u64, PathBuf)| {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .explain(|| format!("linux.namespaces: cannot open {}", path.display()))?;
        Ok((*bit, file, path.display().to_string()))
    };
    plan.namespaces.join.iter().map(open).collect()
}
