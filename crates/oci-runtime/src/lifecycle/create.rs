//! `create`, and the first half of `run`: steps 2 to 7 of the design, from a bundle to an init that waits.
//!
//! Every object that is made is owned by a guard in `Making`, so that an error at any step undoes all steps before
//! it, youngest first. Once committed, the container's directory answers for all of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use nucleus_core::{
    CgroupRecord, ContainerDir, ContainerId, ContainerState, Durability, HookRecord, NamespaceRecord, Phase, Process,
    ProcessIdentity, Reservation, Store,
};
use rustix::fs::{Mode, OFlags};

use super::host::{Host, cgroup_view};
use super::resctrl::Resctrl;
use super::spawn::{Birth, Init, spawn};
use super::terminal::Terminal;
use super::{Error, Result, Warn, grant, hook_state, id_mapped, id_maps, listener, net_devices, pid_file};
use crate::channel::{self, HostEnd, ToHost};
use crate::hooks;
use crate::init::failure::{Explain, Failure};
use crate::init::{Inputs, Last};
use crate::network::devices::Moved;
use crate::plan::{self, Hook, Plan};
use crate::security::lsm;
use crate::security::seccomp::Cache;
use crate::spec;

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
    /// Use MS_MOVE instead of pivot_root(2).
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Inherited descriptors that the container gets, by number.
    pub preserve_fds: Vec<i32>,
    /// How many of them come from socket activation: the container is told as sd_listen_fds(3) says.
    pub listen_fds: u32,
    /// `--rootless`: whether missing rights over control groups are tolerated; `None` looks at who we are.
    pub rootless: Option<bool>,
    /// The log's descriptor, which init writes to as well.
    pub log_fd: Option<i32>,
    /// The runtime does not stay: `create` and `run --detach`.
    pub detach: bool,
}

/// Whether init waits for `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// `create`: it does.
    Start,
    /// `run`: it executes the program as soon as all is committed.
    Now,
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
    /// Gives end of file once init has executed the user's program, or could not.
    pub channel: HostEnd,
}

/// All that is compiled before anything is made.
struct Compiled {
    plan: Plan,
    host: Host,
    cgroup: nucleus_cgroup::Plan,
    config_hash: String,
}

/// Makes the container.
///
/// # Errors
/// What was attempted, on which field or path; nothing is left behind.
pub fn create(store: &Store, options: &Options, until: Until, warn: Warn<'_>) -> Result<Made> {
    let mut compiled = compile(store, options)?;
    let warnings = std::mem::take(&mut compiled.plan.warnings);
    let wanted = compiled.plan.process.as_ref().is_some_and(|process| process.terminal);
    let mut terminal = Terminal::ask(wanted, options.console_socket.as_deref())?;
    let join = open_namespaces(&compiled.plan)?;
    crate::step("3", "reserve");
    let reservation = store.reserve(&options.id)?;
    let mut making = Making {
        reservation,
        state: initial_state(options, &compiled)?,
        hooks_ran: false,
        net_devices: None,
        resctrl: None,
    };
    match making.go(options, compiled, until, &mut terminal, join) {
        Ok((init, channel, terminal, poststart)) => {
            let made = making.commit(init, channel, terminal, poststart)?;
            warnings.iter().for_each(|warning| warn(warning));
            Ok(made)
        }
        Err(error) => {
            making.run_poststop(warn);
            Err(error)
        }
    }
}

/// Step 2.
fn compile(store: &Store, options: &Options) -> Result<Compiled> {
    crate::step("2", "load, compile");
    let loaded = spec::load(&options.bundle)?;
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
    let mut plan = Plan::compile(&loaded.spec, &plan_options, &facts, &ProfileCache(store))?;
    if let Some(process) = plan.process.as_mut().filter(|_| options.listen_fds > 0) {
        let told = [format!("LISTEN_FDS={}", options.listen_fds), "LISTEN_PID=1".to_string()];
        process
            .env
            .extend(told.into_iter().filter_map(|entry| std::ffi::CString::new(entry).ok()));
    }
    lsm::check(&plan)?;
    plan.warnings.extend(loaded.warnings);
    let linux = loaded.spec.linux().as_ref();
    let cgroups_path = linux
        .and_then(|linux| linux.cgroups_path().as_deref())
        .and_then(Path::to_str);
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let cgroup = nucleus_cgroup::Plan::compile(
        resources,
        cgroups_path,
        options.id.as_str(),
        &host.cgroups,
        host.rootless,
    )?;
    plan.warnings.extend(cgroup.warnings().iter().map(ToString::to_string));
    probe_bundle(&plan)?;
    Ok(Compiled {
        plan,
        host,
        cgroup,
        config_hash: loaded.sha256,
    })
}

/// Looks whether the root filesystem is there.
///
/// # Errors
/// Named by `root.path`.
pub fn probe_bundle(plan: &Plan) -> std::result::Result<(), Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let rootfs = &plan.rootfs.path;
    let found = rustix::fs::open(rootfs, flags, Mode::empty());
    found.map(drop).explain(|| format!("root.path: {}", rootfs.display()))
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

/// Opens the namespaces to join, while their paths mean what the caller means.
fn open_namespaces(plan: &Plan) -> Result<Vec<(u64, OwnedFd, String)>> {
    let open = |(bit, path): &(u64, PathBuf)| {
        let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .explain(|| format!("linux.namespaces: cannot open {}", path.display()))?;
        Ok((*bit, file, path.display().to_string()))
    };
    plan.namespaces.join.iter().map(open).collect()
}

/// What a cleaner needs is in the record before anything else is made.
fn initial_state(options: &Options, compiled: &Compiled) -> Result<ContainerState> {
    let plan = &compiled.plan;
    let args = plan.process.iter().flat_map(|process| &process.args);
    Ok(ContainerState {
        creator: Some(ProcessIdentity::current()?),
        oci_version: plan.oci_version.clone(),
        rootfs: plan.rootfs.path.clone(),
        command: args.map(|arg| arg.to_string_lossy().into_owned()).collect(),
        owner: compiled.host.euid,
        annotations: plan.annotations.iter().cloned().collect::<BTreeMap<_, _>>(),
        config_hash: Some(compiled.config_hash.clone()),
        namespaces: namespace_records(plan),
        poststart: hook_records(&plan.hooks.poststart),
        poststop: hook_records(&plan.hooks.poststop),
        rootless: compiled.host.rootless,
        exec: super::exec::record(plan, options.no_new_keyring),
        ..ContainerState::new(options.id.clone(), options.bundle.clone())
    })
}

fn namespace_records(plan: &Plan) -> Vec<NamespaceRecord> {
    const KINDS: [(u64, &str); 8] = [
        (CloneFlags::CLONE_NEWUSER.bits() as u64, "user"),
        (CloneFlags::CLONE_NEWNS.bits() as u64, "mount"),
        (CloneFlags::CLONE_NEWPID.bits() as u64, "pid"),
        (CloneFlags::CLONE_NEWNET.bits() as u64, "network"),
        (CloneFlags::CLONE_NEWIPC.bits() as u64, "ipc"),
        (CloneFlags::CLONE_NEWUTS.bits() as u64, "uts"),
        (CloneFlags::CLONE_NEWCGROUP.bits() as u64, "cgroup"),
        (crate::init::TIME_NAMESPACE, "time"),
    ];
    let joined = |bit| {
        plan.namespaces
            .join
            .iter()
            .find(|(join, _)| *join == bit)
            .map(|(_, path)| path.clone())
    };
    KINDS
        .iter()
        .filter(|(bit, _)| plan.namespaces.has(*bit))
        .map(|(bit, kind)| NamespaceRecord {
            kind: (*kind).to_string(),
            path: joined(*bit),
        })
        .collect()
}

fn hook_records(hooks: &[Hook]) -> Vec<HookRecord> {
    let record = |hook: &Hook| HookRecord {
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        timeout: hook.timeout.map(i64::from),
    };
    hooks.iter().map(record).collect()
}

/// A container that is being made. Dropped, it is removed again: see [`Reservation`].
struct Making {
    reservation: Reservation,
    state: ContainerState,
    hooks_ran: bool,
    net_devices: Option<Moved>,
    resctrl: Option<Resctrl>,
}

impl Making {
    /// Steps 3 to 6, up to an init that waits.
    fn go(
        &mut self,
        options: &Options,
        compiled: Compiled,
        until: Until,
        terminal: &mut Terminal,
        join: Vec<(u64, OwnedFd, String)>,
    ) -> Result<(Init, HostEnd, Option<OwnedFd>, Vec<Hook>)> {
        let Compiled { plan, host, cgroup, .. } = compiled;
        self.state.cgroup = record_of(&cgroup.record());
        self.resctrl = Resctrl::prepare(plan.intel_rdt.as_ref(), self.state.id.as_str())?;
        self.state.resctrl = self.resctrl.as_ref().map(Resctrl::planned).unwrap_or_default();
        self.reservation.save(&self.state, Durability::Passing)?;
        let exec_fifo = match until {
            Until::Start => {
                self.reservation.make_fifo()?;
                Some(self.reservation.open_fifo_for_init()?)
            }
            Until::Now => None,
        };
        if let Some(filter) = &plan.seccomp {
            self.reservation.write_blob(super::SECCOMP_FILE, &filter.program)?;
        }
        crate::step("4", "cgroup");
        let cgroup = cgroup.create()?;
        let record = cgroup.record();
        // A rootless container may have to do without some of the groups that were planned.
        self.state.cgroup = record_of(&record);
        let (channel, init_end) = channel::pair().explain(|| "cannot make a socket pair")?;
        let network = net_devices::joined_network(&plan, &join)?;
        let joiner = cgroup.joiner()?;
        // On v1 device rules go in one by one, first of all the one that denies everything: init must not make its
        // devices meanwhile. On v2 a program is attached whole, beside init's work.
        let limits_first = !joiner.is_empty();
        if limits_first {
            cgroup.apply_limits()?;
        }
        let own_cgroup_namespace = plan.namespaces.has(CloneFlags::CLONE_NEWCGROUP.bits() as u64);
        let inputs = Inputs {
            last: Last {
                channel: init_end,
                exec_fifo,
                started: Cell::new(false),
                preserve_fds: options.preserve_fds.clone(),
                log_fd: options.log_fd,
                in_user_namespace: host.in_user_namespace,
                hook_state: hook_state(&self.state),
            },
            joiner: (!joiner.is_empty()).then_some(joiner),
            join,
            id_mapped: id_mapped::trees(&plan)?,
            cgroups: cgroup_view(&host.cgroups, &record, own_cgroup_namespace),
            procfs: super::host::open_procfs()?,
            console_socket: terminal.socket.take(),
            keyring: (!options.no_new_keyring)
                .then(|| super::keyring_of(&options.id))
                .transpose()?,
            no_pivot: options.no_pivot,
        };
        crate::step("5", "clone3");
        let mut init = spawn(
            &plan,
            inputs,
            &Birth::of_init(&plan.namespaces, cgroup.unified_dir()),
            &channel,
        )
        .map_err(Error::Start)?;
        crate::step("6", "serve");
        if !limits_first {
            cgroup.apply_limits()?;
        }
        if let Some(resctrl) = &mut self.resctrl {
            resctrl.apply(init.pid()).map_err(Error::Start)?;
            self.state.resctrl = resctrl.made().to_vec();
            self.state.exec.resctrl = resctrl.groups();
        }
        delegate(&cgroup, &plan, &host)?;
        self.net_devices = net_devices::move_in(&plan, network, &init).map_err(Error::Start)?;
        self.serve(&plan, &host, &mut init, &channel)?;
        let terminal = terminal.master()?;
        crate::step("7", "commit");
        self.identify(&init)?;
        self.state.phase = Phase::Created;
        // A foreground `run` removes the container itself; all others leave it to somebody else.
        let durability = if options.detach {
            Durability::Lasting
        } else {
            Durability::Passing
        };
        self.reservation.save(&self.state, durability)?;
        crate::step("8", "pid file");
        if let Some(path) = &options.pid_file {
            pid_file::write(path, init.pid().as_raw_nonzero().get())?;
        }
        cgroup.commit();
        Ok((init, channel, terminal, plan.hooks.poststart))
    }

    /// Step 6: does for init what it cannot do itself, until it is ready.
    fn serve(&mut self, plan: &Plan, host: &Host, init: &mut Init, channel: &HostEnd) -> Result<()> {
        let gone = |_| Error::Start(Failure::new("init is gone"));
        if plan.namespaces.creates(CloneFlags::CLONE_NEWUSER.bits() as u64) {
            id_maps::write(plan, host, init.pid()).map_err(Error::Start)?;
            channel.go().map_err(gone)?;
        }
        loop {
            match channel.receive().explain(|| "cannot hear init")? {
                Some(ToHost::Ready) => return grant(plan, init.pid()).map_err(Error::Start),
                Some(ToHost::Listener(number)) => {
                    self.hand_over_listener(plan, init, number).map_err(Error::Start)?;
                    channel.go().map_err(gone)?;
                }
                Some(ToHost::TimeNamespaceMade) => {
                    write_time_offsets(plan, init).map_err(Error::Start)?;
                    channel.go().map_err(gone)?;
                }
                Some(ToHost::HooksDue) => {
                    // Hooks may ask for the state, and leave processes behind that a cleaner must know to be ours.
                    self.identify(init)?;
                    self.reservation.save(&self.state, Durability::Passing)?;
                    self.run_create_hooks(plan, init).map_err(Error::Start)?;
                    channel.go().map_err(gone)?;
                }
                Some(ToHost::Failed(text)) => return Err(Error::Start(Failure::new(text))),
                Some(ToHost::InitPid(_)) => return Err(Error::Start(Failure::new("init: unexpected message"))),
                None => {
                    let end = init.epitaph();
                    return Err(Error::Start(Failure::new(format!(
                        "init ended while the container was set up ({end}); a seccomp profile must allow read and write"
                    ))));
                }
            }
        }
    }

    fn identify(&mut self, init: &Init) -> Result<()> {
        self.state.init = Some(ProcessIdentity::of(init.pid(), init.pidfd().explain(|| "init")?)?);
        Ok(())
    }

    fn hand_over_listener(&self, plan: &Plan, init: &Init, number: i32) -> std::result::Result<(), Failure> {
        let to = plan.seccomp.as_ref().and_then(|seccomp| seccomp.listener.as_ref());
        let to = to.ok_or_else(|| Failure::new("init: unexpected message"))?;
        let pidfd = init.pidfd().explain(|| "init")?;
        let seen = listener::Seen {
            state: &hook_state(&self.state),
            status: "creating",
            init: init.pid(),
        };
        listener::hand_over(to, init.pid(), pidfd, number, seen)
    }

    fn run_create_hooks(&mut self, plan: &Plan, init: &Init) -> std::result::Result<(), Failure> {
        self.hooks_ran = true;
        let state = hook_state(&self.state).json("creating", init.pid());
        hooks::run_all("prestart", &plan.hooks.prestart, &state)?;
        hooks::run_all("createRuntime", &plan.hooks.create_runtime, &state)
    }

    /// What hooks set up, hooks must take down, also when the container never came to be.
    fn run_poststop(&self, warn: Warn<'_>) {
        if self.hooks_ran {
            super::delete::run_poststop(&self.state, warn);
        }
    }

    /// Step 7: from here on the directory answers for the container, and init may go on.
    fn commit(self, init: Init, channel: HostEnd, terminal: Option<OwnedFd>, poststart: Vec<Hook>) -> Result<Made> {
        if let Some(moved) = self.net_devices {
            moved.keep();
        }
        if let Some(resctrl) = self.resctrl {
            resctrl.keep();
        }
        let dir = self.reservation.commit();
        crate::step("9", "let init go on");
        let pid = init.pid();
        // When init died since, the status says so; there is nobody left to tell.
        let _ = channel.go();
        let pidfd = init.release().ok_or(rustix::io::Errno::SRCH).explain(|| "init")?;
        Ok(Made {
            dir,
            state: self.state,
            init: Process::new(pid, pidfd),
            terminal,
            poststart,
            channel,
        })
    }
}

/// Gives the container's control group to its user; never on v1, where delegation is not safe (config-linux.md).
fn delegate(cgroup: &nucleus_cgroup::Cgroup, plan: &Plan, host: &Host) -> Result<()> {
    let Some(owner) = plan
        .cgroup_owner
        .filter(|_| host.cgroups.mode == nucleus_cgroup::Mode::Unified)
    else {
        return Ok(());
    };
    match cgroup.delegate(owner) {
        // Who is not the host's root owns the group already, and may give it to nobody else.
        Err(error) if host.rootless => tracing::debug!("{error}"),
        other => other?,
    }
    Ok(())
}

fn record_of(record: &nucleus_cgroup::Record) -> CgroupRecord {
    CgroupRecord {
        driver: record.driver.clone(),
        paths: record.paths.clone(),
        unit: None,
    }
}

fn write_time_offsets(plan: &Plan, init: &Init) -> std::result::Result<(), Failure> {
    let path = format!("/proc/{}/timens_offsets", init.pid().as_raw_nonzero());
    let offsets = plan.time_offsets.as_deref().unwrap_or_default();
    std::fs::write(&path, offsets).explain(|| format!("linux.timeOffsets: cannot write {path}"))
}
