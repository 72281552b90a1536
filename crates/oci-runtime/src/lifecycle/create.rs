//! `create`, and the first half of `run`: steps 2 to 7 of the design, from a bundle to an init that waits.
//!
//! Every object that is made is owned by a guard in `Making`, so that an error at any step undoes all steps before
//! it, youngest first. Once committed, the container's directory answers for all of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sched::CloneFlags;
use nucleus_core::{
    CgroupRecord, ContainerDir, ContainerId, ContainerState, Durability, ErrnoText, HookRecord, NamespaceRecord, Phase,
    Process, ProcessIdentity, Reservation, Store,
};
use rustix::fs::{Mode, OFlags};

use super::host::{Host, cgroup_view};
use super::resctrl::Resctrl;
use super::spawn::{Init, spawn};
use super::{Error, Result, Warn, hook_state, id_mapped, id_maps, listener, net_devices};
use crate::channel::{self, HostEnd, ToHost};
use crate::hooks;
use crate::init::Inputs;
use crate::init::failure::{Explain, Failure};
use crate::init::scheduling;
use crate::network::devices::Moved;
use crate::plan::{self, Hook, Plan};
use crate::security::lsm;
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
    let mut compiled = compile(options)?;
    let warnings = std::mem::take(&mut compiled.plan.warnings);
    let terminal = Terminal::ask(&compiled.plan, options)?;
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
    match making.go(options, compiled, until, terminal, join) {
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
fn compile(options: &Options) -> Result<Compiled> {
    crate::step("2", "load, compile");
    let loaded = spec::load(&options.bundle)?;
    let host = Host::probe()?;
    let plan_options = plan::Options {
        bundle: options.bundle.clone(),
        detach: options.detach,
        console_socket: options.console_socket.is_some(),
        no_pivot: options.no_pivot,
    };
    let facts = plan::Host {
        euid: host.euid,
        last_cap: Host::last_capability()?,
    };
    let mut plan = Plan::compile(&loaded.spec, &plan_options, &facts)?;
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
        host.is_rootless(),
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
        rootless: compiled.host.is_rootless(),
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

/// Who gets the terminal.
#[derive(Default)]
struct Terminal {
    /// Init's end: it sends the master end here.
    socket: Option<OwnedFd>,
    /// Our end, for a terminal in the foreground.
    receiver: Option<OwnedFd>,
}

impl Terminal {
    fn ask(plan: &Plan, options: &Options) -> Result<Self> {
        if !plan.process.as_ref().is_some_and(|process| process.terminal) {
            return Ok(Self::default());
        }
        match &options.console_socket {
            Some(path) => {
                let stream = UnixStream::connect(path).explain(|| format!("--console-socket {}", path.display()))?;
                Ok(Self {
                    socket: Some(stream.into()),
                    receiver: None,
                })
            }
            None => {
                let (ours, theirs) = UnixStream::pair().explain(|| "cannot make a socket pair for the terminal")?;
                Ok(Self {
                    socket: Some(theirs.into()),
                    receiver: Some(ours.into()),
                })
            }
        }
    }
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
        terminal: Terminal,
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
        crate::step("4", "cgroup");
        let cgroup = cgroup.create()?;
        let record = cgroup.record();
        // A rootless container may have to do without some of the groups that were planned.
        self.state.cgroup = record_of(&record);
        let (channel, init_end) = channel::pair().explain(|| "cannot make a socket pair")?;
        let network = net_devices::joined_network(&plan, &join)?;
        let joiner = cgroup.joiner()?;
        let own_cgroup_namespace = plan.namespaces.has(CloneFlags::CLONE_NEWCGROUP.bits() as u64);
        let inputs = Inputs {
            channel: init_end,
            joiner: (!joiner.is_empty()).then_some(joiner),
            join,
            id_mapped: id_mapped::trees(&plan)?,
            cgroups: cgroup_view(&host.cgroups, &record, own_cgroup_namespace),
            exec_fifo,
            started: Cell::new(false),
            console_socket: terminal.socket,
            keyring: keyring_of(options)?,
            no_pivot: options.no_pivot,
            preserve_fds: options.preserve_fds.clone(),
            log_fd: options.log_fd,
            in_user_namespace: host.in_user_namespace,
            hook_state: hook_state(&self.state),
        };
        crate::step("5", "clone3");
        let mut init = spawn(&plan, inputs, cgroup.unified_dir(), &channel).map_err(Error::Start)?;
        crate::step("6", "serve");
        cgroup.apply_limits()?;
        if let Some(resctrl) = &mut self.resctrl {
            resctrl.apply(init.pid()).map_err(Error::Start)?;
            self.state.resctrl = resctrl.made().to_vec();
        }
        self.net_devices = net_devices::move_in(&plan, network, &init).map_err(Error::Start)?;
        self.serve(&plan, &host, &mut init, &channel)?;
        let terminal = match &terminal.receiver {
            Some(receiver) => Some(super::terminal::receive(receiver).explain(|| "cannot receive the terminal")?),
            None => None,
        };
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
            write_pid_file(path, init.pid().as_raw_nonzero().get())?;
        }
        cgroup.commit();
        Ok((init, channel, terminal, plan.hooks.poststart))
    }

    /// Step 6: does for init what it cannot do itself, until it is ready.
    fn serve(&mut self, plan: &Plan, host: &Host, init: &mut Init, channel: &HostEnd) -> Result<()> {
        let gone = |_| Error::Start(Failure::new("init is gone"));
        if plan.namespaces.creates(CloneFlags::CLONE_NEWUSER.bits() as u64) {
            id_maps::write(plan, host, init.pid()).map_err(Error::Start)?;
            // Inside the namespace nobody may raise a hard limit.
            for (resource, soft, hard) in plan.process.iter().flat_map(|process| &process.rlimits) {
                nucleus_sys::process::set_rlimit(Some(init.pid()), *resource, *soft, *hard)
                    .explain(|| format!("process.rlimits: cannot set resource {resource} to {soft}:{hard}"))
                    .map_err(Error::Start)?;
            }
            if let Some(process) = &plan.process {
                scheduling::schedule(process, Some(init.pid())).map_err(Error::Start)?;
            }
            channel.go().map_err(gone)?;
        }
        loop {
            match channel.receive().explain(|| "cannot hear init")? {
                Some(ToHost::Ready) => return Ok(()),
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
        listener::hand_over(to, init.pid(), pidfd, number, &hook_state(&self.state), "creating")
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

fn record_of(record: &nucleus_cgroup::Record) -> CgroupRecord {
    CgroupRecord {
        driver: record.driver.clone(),
        paths: record.paths.clone(),
        unit: None,
    }
}

fn keyring_of(options: &Options) -> Result<Option<std::ffi::CString>> {
    if options.no_new_keyring {
        return Ok(None);
    }
    let name = std::ffi::CString::new(format!("_ses.{}", options.id));
    Ok(Some(name.map_err(|_| Failure::new("container id: holds a NUL byte"))?))
}

fn write_time_offsets(plan: &Plan, init: &Init) -> std::result::Result<(), Failure> {
    let path = format!("/proc/{}/timens_offsets", init.pid().as_raw_nonzero());
    let offsets = plan.time_offsets.as_deref().unwrap_or_default();
    std::fs::write(&path, offsets).explain(|| format!("linux.timeOffsets: cannot write {path}"))
}

/// The pid in decimal without a newline; never seen half written.
fn write_pid_file(path: &Path, pid: i32) -> Result<()> {
    let failed = |error: std::io::Error| Error::File {
        path: path.to_owned(),
        reason: ErrnoText::from(&error),
    };
    let Some(name) = path.file_name() else {
        return Err(Failure::new(format!("--pid-file {}: not the path of a file", path.display())).into());
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{pid}"));
    let temporary = path.with_file_name(temporary);
    let written = std::fs::write(&temporary, pid.to_string()).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        failed(error)
    })
}

impl Inputs {
    /// In a fresh copy of the runtime: closes every descriptor that init does not need, above all the lock of the
    /// container, which would otherwise be held for as long as init waits.
    pub fn close_all_others(&self) {
        let mut keep = vec![self.channel.as_fd()];
        keep.extend(self.joiner.iter().flat_map(nucleus_cgroup::Joiner::fds));
        keep.extend(self.join.iter().map(|(_, fd, _)| fd.as_fd()));
        keep.extend(self.id_mapped.iter().map(|(_, fd)| fd.as_fd()));
        keep.extend(self.exec_fifo.iter().map(AsFd::as_fd));
        keep.extend(self.console_socket.iter().map(AsFd::as_fd));
        let numbers: Vec<i32> = self.preserve_fds.iter().copied().chain(self.log_fd).collect();
        nucleus_sys::process::close_all_but(&keep, &numbers);
    }
}
