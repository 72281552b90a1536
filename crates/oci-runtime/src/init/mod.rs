//! The steps on the container side, in order, from clone to execve. Reads a plan, decides nothing.
//!
//! Only the lifecycle's `spawn` calls this, in the process that clone3 made. What fails is sent as one line over the
//! channel; the host side then undoes everything. The order is the heart of the runtime:
//!
//! | step | what | why here |
//! |---|---|---|
//! | 1 | die with the runtime; control groups (systemd's: wait for them); oom score | before a user namespace takes the rights away |
//! | 2 | id maps, uid 0 of the user namespace | every later right comes from it |
//! | 3 | non-dumpable; join namespaces by path; new cgroup and time namespace | no process of a joined namespace may look at us; a cgroup namespace is rooted where its maker stands |
//! | 4 | session, keyring, loopback, host name | need the namespaces of 3 |
//! | 5 | root filesystem, mounts, devices, console | the host's files are still there to be bound |
//! | 6 | host-side hooks, createContainer hooks | namespaces and mounts exist, the root is still the host's |
//! | 7 | sysctls, pivot_root, read-only and masked paths | the last use of the host's files |
//! | 8 | rlimits, working directory, no_new_privs, seccomp if it needs CAP_SYS_ADMIN | while the rights last |
//! | 9 | bounding set, groups, gid, uid, capability sets, program look-up | rights end here |
//! | 10 | seccomp, `ready`, wait for `go` and for `start` | the filter must allow only read, write and what the program needs |
//! | 11 | startContainer hooks, execve | |

pub mod exec_child;
pub mod failure;
pub mod filter;
mod final_stage;
pub mod hold;
mod home;
pub mod mounts_child;
mod process;
pub mod scheduling;
mod streams;

pub use final_stage::FinalStage;
pub use process::ACKNOWLEDGE;

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::sched::CloneFlags;
use nucleus_cgroup::Joiner;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};

use crate::channel::{InitEnd, ToHost};
use crate::hooks;
use crate::plan::Plan;
use crate::rootfs::{cgroup_mount, console, devices, masks, mounts, pivot, root::Root};
use crate::security::lsm;
use failure::{Explain, Failure};

/// A process to come: what the host side's `spawn` has it do between its birth and execve.
pub trait ChildProcess {
    /// The way to the host side.
    fn channel(&self) -> &InitEnd;

    /// In a fresh copy of the runtime: closes every descriptor that the process does not need, above all the lock of
    /// the container, which would otherwise be held for as long as the process waits.
    fn close_all_others(&self);

    /// The part of a middle process: joins namespaces, so that its sibling is born there.
    ///
    /// # Errors
    /// One line for the person at the terminal.
    fn enter_as_middle(&mut self) -> Result<(), Failure>;

    /// Enters all control groups by this joiner, as it could not be born into one of them.
    fn join_by(&mut self, joiner: Joiner);

    /// Becomes the user's program. Returns only an exit code, for when it could not.
    fn run(self, plan: &Plan) -> i32;
}

/// What init gets besides the plan: the descriptors and choices of the host side.
#[derive(Debug)]
pub struct InitContext {
    /// What the last steps need.
    pub stage: FinalStage,
    /// v1 control groups to enter; v2 is entered at birth.
    pub joiner: Option<Joiner>,
    /// Namespaces to join (a `CLONE_NEW*` bit, an open namespace file, its path), in order.
    pub join: Vec<(u64, OwnedFd, String)>,
    /// Bind mounts that the host side has made, as only it could map their owners or reach their source: index into
    /// the plan's mounts, tree.
    pub idmap_mounts: Vec<(usize, OwnedFd)>,
    /// Device nodes that the host side has made, as only its root can: index into the plan's devices, mount.
    pub device_nodes: Vec<(usize, OwnedFd)>,
    /// The container's view of the control groups.
    pub cgroups: cgroup_mount::View,
    /// The host's /proc, proven to be procfs. A mount namespace that is joined may show another one.
    pub procfs: OwnedFd,
    /// Where the terminal is sent.
    pub console_socket: Option<OwnedFd>,
    /// The caller's, for createContainer hooks.
    pub umask: Mode,
    /// Name of a new session keyring; `None` with `--no-new-keyring`.
    pub keyring: Option<CString>,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// systemd makes the control group around init, which waits for that.
    pub adopted: bool,
}

impl ChildProcess for InitContext {
    fn channel(&self) -> &InitEnd {
        &self.stage.channel
    }

    fn close_all_others(&self) {
        let joiner = self.joiner.iter().flat_map(Joiner::fds);
        let join = self.join.iter().map(|(_, fd, _)| fd.as_fd());
        let trees = self
            .idmap_mounts
            .iter()
            .chain(&self.device_nodes)
            .map(|(_, tree)| tree.as_fd());
        let socket = self.console_socket.iter().map(AsFd::as_fd);
        let procfs = std::iter::once(self.procfs.as_fd());
        self.stage
            .close_all_others(joiner.chain(join).chain(trees).chain(socket).chain(procfs));
    }

    /// Steps 1 and 3: joins everything that is joined by path.
    fn enter_as_middle(&mut self) -> Result<(), Failure> {
        tie_to_runtime()?;
        join_cgroups_and_set_oom_score(&self.stage, self.joiner.take().as_ref())?;
        // Init has it from this process, and no right to set it again.
        self.stage.oom_score_adj = None;
        be_unreadable()?;
        join_namespaces(&self.join)?;
        self.join.clear();
        Ok(())
    }

    fn join_by(&mut self, joiner: Joiner) {
        self.joiner = Some(joiner);
    }

    fn run(self, plan: &Plan) -> i32 {
        let set_up = set_up(plan, &self);
        let mut stage = self.into_final_stage();
        match set_up.and_then(|()| process::become_user_program(plan, &stage)) {
            Ok(never) => match never {},
            Err(failure) => report(&mut stage, &failure),
        }
        255
    }
}

/// Tells the one who listens why the program was not executed: `create` and `run`, and once `start` was called that. The
/// container's log gets to know the latter as well, when `start` waits no longer: nobody may read that log now.
fn report(stage: &mut FinalStage, failure: &Failure) {
    let text = failure.to_string();
    match stage.exec_fifo.take_if(|_| stage.started.get()) {
        Some(fifo) => {
            let _ = rustix::io::write(&fifo, text.as_bytes());
            drop(fifo);
            let _ = rustix::io::write(rustix::stdio::stderr(), format!("{text}\n").as_bytes());
        }
        // One that cannot be sent is reported as the end of this process.
        None => drop(stage.channel.tell(&ToHost::Failed(text))),
    }
}

impl InitContext {
    /// What the last steps need; every other descriptor is closed.
    fn into_final_stage(self) -> FinalStage {
        let mut stage = self.stage;
        // Closed all at once below, not each by its owner.
        std::mem::forget((self.joiner, self.join, self.idmap_mounts, self.device_nodes));
        std::mem::forget((self.procfs, self.console_socket));
        stage.close_what_the_program_does_not_get();
        stage
    }
}

/// Steps 1 to 7, and of step 8 what the host's files are needed for.
fn set_up(plan: &Plan, context: &InitContext) -> Result<(), Failure> {
    early(plan, context)?;
    enter_namespaces(plan, context)?;
    identify(plan, context)?;
    // `into_final_stage` closes its descriptors with all others.
    let root = std::mem::ManuallyDrop::new(filesystem(plan, context)?);
    crate::step("init:6", "hooks");
    container_hooks(plan, context, &root)?;
    change_root(plan, context, &root)?;
    crate::step("init:8", "rights");
    scheduling::set_domain(plan)
}

/// Steps 1 and 2.
fn early(plan: &Plan, context: &InitContext) -> Result<(), Failure> {
    crate::step("init:1", "tie to the runtime, control groups");
    tie_to_runtime()?;
    join_cgroups_and_set_oom_score(&context.stage, context.joiner.as_ref())?;
    if context.adopted {
        await_host(&context.stage)?;
    }
    crate::step("init:2", "user namespace");
    if plan.namespaces.creates(CloneFlags::CLONE_NEWUSER.bits() as u64) {
        await_host(&context.stage)?;
        process::become_namespace_root()?;
        if context.stage.is_readable {
            // A map that gives id 0 to another id than the caller's has taken it away (prctl(2)).
            process::be_readable()?;
        }
    }
    Ok(())
}

fn tie_to_runtime() -> Result<(), Failure> {
    let _ = rustix::thread::set_name(c"nucleus:init");
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).explain(|| "prctl PR_SET_PDEATHSIG")
}

/// Whether init stays dumpable for its maker: an ordinary user, with a new user namespace and a new PID namespace, and
/// without any joined namespace. No other process lives in these namespaces then. The user needs it: for `exec` into a created
/// container, for time offsets, and for a seccomp listener the kernel asks for the right to trace init, and what is not
/// dumpable belongs to the host's root (ptrace(2)). Root has that right without it.
pub fn may_be_readable(plan: &Plan, euid: u32) -> bool {
    euid != 0
        && plan.namespaces.join.is_empty()
        && plan.namespaces.creates(CloneFlags::CLONE_NEWUSER.bits() as u64)
        && plan.namespaces.creates(CloneFlags::CLONE_NEWPID.bits() as u64)
}

/// From here on no process of a joined namespace may look into this one, or at its descriptors (CVE-2016-9962).
fn be_unreadable() -> Result<(), Failure> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).explain(|| "prctl PR_SET_DUMPABLE")
}

/// Control groups and the score of the OOM killer, while the host's rights and its /proc are ours.
fn join_cgroups_and_set_oom_score(stage: &FinalStage, joiner: Option<&Joiner>) -> Result<(), Failure> {
    if let Some(joiner) = joiner {
        joiner.join_self().map_err(|error| Failure::new(error.to_string()))?;
    }
    if let Some(score) = stage.oom_score_adj {
        std::fs::write("/proc/self/oom_score_adj", score.to_string())
            .explain(|| format!("process.oomScoreAdj: cannot set {score}"))?;
    }
    Ok(())
}

/// Step 3.
fn enter_namespaces(plan: &Plan, context: &InitContext) -> Result<(), Failure> {
    crate::step("init:3", "other namespaces");
    if !context.stage.is_readable {
        be_unreadable()?;
    }
    join_namespaces(&context.join)?;
    if plan.namespaces.creates(CloneFlags::CLONE_NEWCGROUP.bits() as u64) {
        nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP)
            .explain(|| "linux.namespaces: cannot make a cgroup namespace")?;
    }
    if plan.namespaces.creates(TIME_NAMESPACE) {
        new_time_namespace(plan, context)?;
    }
    Ok(())
}

/// Enters namespaces in the order of the plan, the user namespace first of all, and becomes its root: the others need its
/// rights. Before that, with the host's rights, those are entered that it does not own: a pod with a user namespace and the
/// host's network has such.
fn join_namespaces(join: &[(u64, OwnedFd, String)]) -> Result<(), Failure> {
    let is_user = |(bit, ..): &&(u64, OwnedFd, String)| *bit == CloneFlags::CLONE_NEWUSER.bits() as u64;
    let enter = |(bit, namespace, _): &(u64, OwnedFd, String)| {
        nix::sched::setns(namespace, CloneFlags::from_bits_retain(*bit as i32))
    };
    let cannot = |(_, _, path): &(u64, OwnedFd, String)| format!("linux.namespaces: cannot join {path}");
    let Some(user) = join.iter().find(is_user) else {
        return join.iter().try_for_each(|one| enter(one).explain(|| cannot(one)));
    };
    let mut owned = Vec::new();
    for one in join.iter().filter(|one| !is_user(one)) {
        match enter(one) {
            // The user namespace gives the right to it.
            Err(nix::errno::Errno::EPERM) => owned.push(one),
            other => other.explain(|| cannot(one))?,
        }
    }
    enter(user).explain(|| cannot(user))?;
    process::become_namespace_root()?;
    owned.into_iter().try_for_each(|one| enter(one).explain(|| cannot(one)))
}

/// `CLONE_NEWTIME` of namespaces(7); nix does not know it.
pub const TIME_NAMESPACE: u64 = 0x80;

/// The maker of a time namespace is not in it: the offsets are set while it is empty, then we enter
/// (time_namespaces(7)). The host side writes them, as inside a user namespace the file is not ours.
fn new_time_namespace(plan: &Plan, context: &InitContext) -> Result<(), Failure> {
    let what = || "linux.namespaces: cannot make a time namespace";
    let time = CloneFlags::from_bits_retain(TIME_NAMESPACE as i32);
    nix::sched::unshare(time).explain(what)?;
    if plan.time_offsets.is_some() {
        tell(&context.stage, &ToHost::TimeNamespaceMade)?;
        await_host(&context.stage)?;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace =
        rustix::fs::openat(&context.procfs, "self/ns/time_for_children", flags, Mode::empty()).explain(what)?;
    nix::sched::setns(namespace, time).explain(what)
}

/// Step 4.
fn identify(plan: &Plan, context: &InitContext) -> Result<(), Failure> {
    crate::step("init:4", "session, keyring, network, names");
    rustix::process::setsid().explain(|| "setsid")?;
    if let Some(name) = &context.keyring {
        let labelled = plan.process.as_ref();
        labelled.map_or(Ok(()), |process| lsm::set_key_create(process, &context.procfs))?;
        if let Some(serial) = join_keyring(name)? {
            // `exec` joins it by its name.
            nucleus_sys::process::share_session_keyring(serial)
                .explain(|| "cannot share the session keyring with exec")?;
        }
    }
    if plan.namespaces.creates(CloneFlags::CLONE_NEWNET.bits() as u64) {
        let up = || {
            use rustix::net::{AddressFamily, SocketFlags, SocketType};
            let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            nucleus_sys::net::loopback_up(socket)
        };
        up().explain(|| "cannot bring up the loopback interface")?;
    }
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(name).explain(|| "hostname: cannot set it")?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes()).explain(|| "domainname: cannot set it")?;
    }
    Ok(())
}

fn join_keyring(name: &CStr) -> Result<Option<i32>, Failure> {
    match nucleus_sys::process::join_session_keyring(name) {
        // A kernel without keyrings has none to isolate.
        Err(Errno::NOSYS) => Ok(None),
        other => other
            .map(Some)
            .explain(|| "cannot join a new session keyring (--no-new-keyring leaves it out)"),
    }
}

/// Step 5.
fn filesystem(plan: &Plan, context: &InitContext) -> Result<Root, Failure> {
    crate::step("init:5", "root filesystem");
    // Modes are exactly as config says.
    rustix::process::umask(Mode::empty());
    if !has_mount_namespace(plan) {
        let path = &plan.rootfs.path;
        return Root::open(path).explain(|| format!("root.path: cannot open {}", path.display()));
    }
    let mut root = pivot::prepare(&plan.rootfs)?;
    mounts::mount_all(
        &mut root,
        &plan.mounts,
        &context.cgroups,
        &context.idmap_mounts,
        &context.procfs,
    )?;
    if !plan.dev_is_bound {
        let new_user = plan.namespaces.has(CloneFlags::CLONE_NEWUSER.bits() as u64);
        let bind = new_user || context.stage.in_user_namespace;
        devices::make_all(&mut root, &plan.devices, bind, &context.device_nodes)?;
    }
    if let Some(socket) = &context.console_socket {
        let process = plan
            .process
            .as_ref()
            .ok_or_else(|| Failure::new("process: a terminal needs a process"))?;
        let terminal = console::set_up(&root, socket, process.console_size, process.uid)?;
        console::become_terminal(&terminal)?;
    }
    if let Some(process) = plan.process.as_ref().filter(|process| process.cwd.as_c_str() != c"/") {
        // As runc: a working directory that the image lacks is made. What cannot be made cannot be entered either, and
        // that is where the error is told.
        let _ = root.make_dir(std::path::Path::new(std::ffi::OsStr::from_bytes(
            process.cwd.as_bytes(),
        )));
    }
    mounts::seal_dev(&root, &plan.mounts)?;
    Ok(root)
}

/// Without one nothing may be mounted: the host would see it. The root filesystem is then used as it is, by chroot(2).
fn has_mount_namespace(plan: &Plan) -> bool {
    plan.namespaces.has(CloneFlags::CLONE_NEWNS.bits() as u64)
}

/// Step 6.
fn container_hooks(plan: &Plan, context: &InitContext, root: &Root) -> Result<(), Failure> {
    if plan.hooks.any_at_create() {
        tell(&context.stage, &ToHost::HooksDue)?;
        await_host(&context.stage)?;
    }
    if plan.hooks.create_container.is_empty() {
        return Ok(());
    }
    let state = context.stage.hook_state.json("creating", rustix::process::getpid());
    // As with runc: its init has no environment yet at this point.
    let side = hooks::Side::Container {
        root: root.as_fd(),
        env: &[],
    };
    // Not ours, by which modes are as config says.
    let ours = rustix::process::umask(context.umask);
    let outcome = hooks::run_all("createContainer", &plan.hooks.create_container, &state, side);
    rustix::process::umask(ours);
    outcome
}

/// Step 7.
fn change_root(plan: &Plan, context: &InitContext, root: &Root) -> Result<(), Failure> {
    crate::step("init:7", "sysctls, change of root, masks");
    process::write_sysctls(&context.procfs, &plan.sysctl)?;
    plan.process
        .as_ref()
        .map_or(Ok(()), |process| lsm::set_exec(process, &context.procfs))?;
    if context.no_pivot {
        pivot::move_root(root, &plan.rootfs)?;
    } else if has_mount_namespace(plan) {
        pivot::pivot(root, &plan.rootfs)?;
    } else {
        rustix::process::fchdir(root.as_fd()).explain(|| "cannot enter the root filesystem")?;
        return rustix::process::chroot(".").explain(|| "chroot");
    }
    masks::make_read_only(root, &plan.readonly_paths)?;
    if !plan.masked_paths.is_empty() {
        let null = masks::open_null(root)?;
        masks::mask(root, &plan.masked_paths, &null)?;
    }
    if plan.rootfs.readonly {
        masks::make_root_read_only(root)?;
    }
    pivot::propagate(&plan.rootfs)
}

fn tell(stage: &FinalStage, message: &ToHost) -> Result<(), Failure> {
    stage.channel.tell(message).explain(|| "cannot reach the runtime")
}

fn await_host(stage: &FinalStage) -> Result<(), Failure> {
    if stage.channel.await_go() {
        Ok(())
    } else {
        Err(Failure::new("the runtime is gone"))
    }
}
