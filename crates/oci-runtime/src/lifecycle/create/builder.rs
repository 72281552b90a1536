//! Steps 3 to 7: the objects that a container consists of, each owned by a guard until all are there.

use std::cell::Cell;
use std::os::fd::OwnedFd;

use nix::sched::CloneFlags;
use rustix::fs::Mode;
use rustix::io::Errno;

use nucleus_core::{ContainerState, Durability, Phase, Process, ProcessIdentity, Reservation};

use super::record::record_of;
use super::{Compiled, Made, Options, StartMode};
use crate::channel::{self, HostEnd, ToHost};
use crate::hooks;
use crate::init::failure::{Explain, Failure};
use crate::init::{self, FinalStage, InitContext};
use crate::lifecycle::affinity;
use crate::lifecycle::host::{self, Host, cgroup_view};
use crate::lifecycle::notify::{self, Notify};
use crate::lifecycle::pid_file::PidFile;
use crate::lifecycle::pidfd_socket::PidfdSocket;
use crate::lifecycle::resctrl::Resctrl;
use crate::lifecycle::spawn::{Child, CloneSpec, spawn};
use crate::lifecycle::terminal::Terminal;
use crate::lifecycle::{
    Error, Result, SECCOMP_FILE, Warn, apply_rlimits_and_scheduler, delete, device_nodes, hook_state, id_maps,
    idmap_mounts, keyring_of, listener, net_devices,
};
use crate::network::devices::Moved;
use crate::plan::{Hook, Plan};

/// A container that is being made. Dropped, it is removed again: see [`Reservation`].
pub struct ContainerBuilder {
    /// Removed again unless the container is committed; before the directory that tells of it.
    pub cgroup: Option<nucleus_cgroup::Cgroup>,
    pub reservation: Reservation,
    pub state: ContainerState,
    pub hooks_ran: bool,
    pub net_devices: Option<Moved>,
    pub resctrl: Option<Resctrl>,
    pub notify: Option<Notify>,
    pub pid_file: Option<PidFile>,
}

impl ContainerBuilder {
    /// Steps 3 to 8, up to an init that waits.
    pub fn go(
        &mut self,
        options: &Options,
        compiled: Compiled,
        start_mode: StartMode,
        (terminal, pidfd_socket): (&mut Terminal, &PidfdSocket),
        join: Vec<(u64, OwnedFd, String)>,
    ) -> Result<(Child, HostEnd, Option<OwnedFd>, Vec<Hook>)> {
        affinity::of_runtime(&compiled.plan).map_err(Error::Start)?;
        self.record(&compiled)?;
        let (exec_fifo, notify) = self.fill_directory(options, &compiled, start_mode)?;
        let Compiled { plan, host, cgroup, .. } = compiled;
        crate::step("4", "cgroup");
        let mut cgroup = cgroup.create()?;
        let own_cgroup_namespace = plan.namespaces.has(CloneFlags::CLONE_NEWCGROUP.bits() as u64);
        let record = cgroup.record();
        let view = cgroup_view(&host.cgroups, &record, own_cgroup_namespace);
        // A rootless container may have to do without some of the groups that were planned.
        self.state.cgroup = record_of(record);
        let (channel, init_end) = channel::pair().explain(|| "cannot make a socket pair")?;
        let network = net_devices::joined_network(&plan, &join)?;
        let joiner = cgroup.joiner()?;
        let context = InitContext {
            stage: FinalStage {
                channel: init_end,
                exec_fifo,
                hold: None,
                started: Cell::new(false),
                preserve_fds: options.preserve_fds.clone(),
                log_fd: options.log_fd,
                logs_to_file: options.log_fd.is_some(),
                in_user_namespace: host.in_user_namespace,
                oom_score_adj: host::oom_score_for_init(&plan),
                is_readable: init::may_be_readable(&plan, host.euid),
                hook_state: hook_state(&self.state),
            },
            joiner: (!joiner.is_empty()).then_some(joiner),
            join,
            idmap_mounts: trees(&plan, notify)?,
            device_nodes: device_nodes::trees(&plan, &self.reservation)?,
            cgroups: view,
            procfs: host::open_procfs()?,
            console_socket: terminal.socket.take(),
            umask: callers_umask(&plan),
            keyring: (!options.no_new_keyring).then(|| keyring_of(&options.id)).transpose()?,
            no_pivot: options.no_pivot,
            adopted: cgroup.adopts(),
        };
        let mut init = clone_init(&plan, context, &mut cgroup, &channel)?;
        if let Some(resctrl) = &mut self.resctrl {
            resctrl.apply(init.pid()).map_err(Error::Start)?;
            self.state.resctrl = resctrl.made().to_vec();
            self.state.exec.resctrl = resctrl.groups();
        }
        delegate(&cgroup, &plan, &host)?;
        self.net_devices = net_devices::move_in(&plan, network, &init).map_err(Error::Start)?;
        self.serve(&plan, &host, &mut init, &channel)?;
        // Only now: its cgroup namespace is rooted in the group above.
        cgroup.enter_delegated(init.pid(), plan.cgroup_owner)?;
        let terminal = terminal.master()?;
        self.tell(options, &init, pidfd_socket)?;
        self.cgroup = Some(cgroup);
        Ok((init, channel, terminal, plan.hooks.poststart))
    }

    /// Step 3: the state says what will be made before it is.
    fn record(&mut self, compiled: &Compiled) -> Result<()> {
        self.state.cgroup = record_of(compiled.cgroup.record());
        self.resctrl = Resctrl::prepare(compiled.plan.intel_rdt.as_ref(), self.state.id.as_str())?;
        self.state.resctrl = self.resctrl.as_ref().map(Resctrl::planned).unwrap_or_default();
        Ok(self.reservation.save(&self.state, Durability::Passing)?)
    }

    /// What else the container's directory holds: the exec FIFO, the filter for `exec`, the socket for READY.
    fn fill_directory(
        &mut self,
        options: &Options,
        compiled: &Compiled,
        start_mode: StartMode,
    ) -> Result<(Option<OwnedFd>, Option<OwnedFd>)> {
        let exec_fifo = match start_mode {
            StartMode::WaitForStart => {
                self.reservation.make_fifo()?;
                Some(self.reservation.open_fifo_for_init()?)
            }
            StartMode::Immediately => None,
        };
        if let Some(filter) = &compiled.plan.seccomp {
            self.reservation.write_blob(SECCOMP_FILE, &filter.program)?;
        }
        let notify = compiled
            .notify
            .then(|| notify::prepare(&self.reservation))
            .transpose()?;
        if let (Some(socket), StartMode::Immediately) = (&options.notify_socket, start_mode) {
            self.notify = Notify::listen(socket, &self.reservation)?;
        }
        Ok((exec_fifo, notify))
    }

    /// Steps 7 and 8: whoever has asked is told which process it is.
    fn tell(&mut self, options: &Options, init: &Child, pidfd_socket: &PidfdSocket) -> Result<()> {
        crate::step("7", "commit");
        self.identify(init)?;
        self.state.phase = Phase::Created;
        // A foreground `run` removes the container itself; all others leave it to somebody else.
        let durability = match options.detach {
            true => Durability::Lasting,
            false => Durability::Passing,
        };
        self.reservation.save(&self.state, durability)?;
        crate::step("8", "pid file");
        self.pid_file = PidFile::write(options.pid_file.as_deref(), init.pid())?;
        Ok(pidfd_socket.send("standard", init)?)
    }

    /// Step 6: does for init what it cannot do itself, until it is ready.
    fn serve(&mut self, plan: &Plan, host: &Host, init: &mut Child, channel: &HostEnd) -> Result<()> {
        let gone = |_| Error::Start(Failure::new("init is gone"));
        if plan.namespaces.creates(CloneFlags::CLONE_NEWUSER.bits() as u64) {
            id_maps::write(plan, host, init.pid()).map_err(Error::Start)?;
            channel.go().map_err(gone)?;
        }
        loop {
            match channel.receive().explain(|| "cannot hear init")? {
                Some(ToHost::Ready) => {
                    affinity::at_start(plan, init.pid()).map_err(Error::Start)?;
                    return apply_rlimits_and_scheduler(plan, init.pid()).map_err(Error::Start);
                }
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
                Some(ToHost::InitPid(_) | ToHost::Started | ToHost::NoRoom | ToHost::Step(_)) => {
                    return Err(Error::Start(Failure::new("init: unexpected message")));
                }
                None => {
                    let end = init.epitaph();
                    return Err(Error::Start(Failure::new(format!(
                        "init ended while the container was set up: {end}"
                    ))));
                }
            }
        }
    }

    fn identify(&mut self, init: &Child) -> Result<()> {
        self.state.init = Some(ProcessIdentity::of(init.pid(), init.pidfd().explain(|| "init")?)?);
        Ok(())
    }

    fn hand_over_listener(&self, plan: &Plan, init: &Child, number: i32) -> std::result::Result<(), Failure> {
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

    fn run_create_hooks(&mut self, plan: &Plan, init: &Child) -> std::result::Result<(), Failure> {
        self.hooks_ran = true;
        let state = hook_state(&self.state).json("creating", init.pid());
        let side = hooks::Side::Host {
            bundle: &self.state.bundle,
        };
        hooks::run_all("prestart", &plan.hooks.prestart, &state, side)?;
        hooks::run_all("createRuntime", &plan.hooks.create_runtime, &state, side)
    }

    /// Removes all that was made. What hooks set up, hooks must take down, also when the container never came to be: once it is
    /// gone, and nobody waits for its lock.
    pub fn abandon(self, warn: Warn<'_>) {
        let state = self.hooks_ran.then(|| self.state.clone());
        drop(self);
        if let Some(state) = state {
            delete::run_poststop(&state, warn);
        }
    }

    /// Step 7: from here on the directory answers for the container, and init may go on.
    pub fn commit(
        mut self,
        init: Child,
        channel: HostEnd,
        terminal: Option<OwnedFd>,
        poststart: Vec<Hook>,
    ) -> Result<Made> {
        crate::step("9", "let init go on");
        match channel.go() {
            // When init died since, the status says so.
            Ok(()) | Err(Errno::PIPE) => {}
            Err(error) => return Err(error).explain(|| "cannot let init go on").map_err(Error::Start),
        }
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.commit();
        }
        if let Some(file) = self.pid_file {
            file.keep();
        }
        if let Some(moved) = self.net_devices {
            moved.keep();
        }
        if let Some(resctrl) = self.resctrl {
            resctrl.keep();
        }
        let dir = self.reservation.commit();
        let pid = init.pid();
        let pidfd = init.release().ok_or(rustix::io::Errno::SRCH).explain(|| "init")?;
        Ok(Made {
            dir,
            state: self.state,
            init: Process::new(pid, pidfd),
            terminal,
            poststart,
            notify: self.notify,
            channel,
        })
    }
}

/// The umask of the caller, for the hooks that run with it; looked at only when there are any.
fn callers_umask(plan: &Plan) -> Mode {
    if plan.hooks.create_container.is_empty() {
        return Mode::empty();
    }
    let umask = rustix::process::umask(Mode::empty());
    rustix::process::umask(umask);
    umask
}

/// The mounts that init is given as descriptors, each with its index; that for the service manager is the last one.
fn trees(plan: &Plan, notify: Option<OwnedFd>) -> Result<Vec<(usize, OwnedFd)>> {
    let mut trees = idmap_mounts::trees(plan)?;
    trees.extend(notify.map(|tree| (plan.mounts.len() - 1, tree)));
    Ok(trees)
}

fn write_time_offsets(plan: &Plan, init: &Child) -> std::result::Result<(), Failure> {
    let path = format!("/proc/{}/timens_offsets", init.pid().as_raw_nonzero());
    let offsets = plan.time_offsets.as_deref().unwrap_or_default();
    std::fs::write(&path, offsets).explain(|| format!("linux.timeOffsets: cannot write {path}"))
}

/// Step 5, and the limits, each kind at its moment.
///
/// On v1 device rules go in one by one, first of all the one that denies everything: init must not make its devices
/// meanwhile. On v2 a program is attached whole, beside init's work. systemd takes in a process that is there, and init
/// waits until it has.
fn clone_init(
    plan: &Plan,
    context: InitContext,
    cgroup: &mut nucleus_cgroup::Cgroup,
    channel: &HostEnd,
) -> Result<Child> {
    let limits_first = context.joiner.is_some();
    if limits_first {
        cgroup.apply_limits()?;
    }
    crate::step("5", "clone3");
    let by_writing = || cgroup.full_joiner();
    let make_threaded = || cgroup.make_threaded();
    let clone_spec = CloneSpec::of_init(&plan.namespaces, cgroup.unified_dir(), &make_threaded, &by_writing);
    let cloned = spawn(plan, context, &clone_spec).map_err(Error::Start)?;
    crate::step("6", "serve");
    if !limits_first && !cgroup.adopts() {
        cgroup.apply_limits()?;
    }
    let init = cloned
        .wait_for_clone(plan, &clone_spec, channel)
        .map_err(Error::Start)?;
    if cgroup.adopts() {
        cgroup.adopt(init.pid())?;
        cgroup.apply_limits()?;
    }
    affinity::of_init(plan, init.pid()).map_err(Error::Start)?;
    if plan.core_scheduling {
        affinity::new_core_cookie(init.pid()).map_err(Error::Start)?;
    }
    if cgroup.adopts() {
        channel.go().explain(|| "init is gone").map_err(Error::Start)?;
    }
    Ok(init)
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
