//! Steps 8 to 11: from a root process of the new namespaces to the user's program.
//!
//! The order of the drops: the bounding set needs CAP_SETPCAP, groups and ids need CAP_SETGID and CAP_SETUID, so the
//! capability sets come last, in two phases around the change of uid (capabilities(7)).

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, Signal};
use nucleus_sys::seccomp::{Call, reaches_kernel};
use rustix::fs::{Access, AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::FinalStage;
use super::failure::{Explain, Failure};
use super::filter::MUST_ALLOW;
use crate::channel::ToHost;
use crate::hooks;
use crate::plan::{Capabilities, Plan, Process, rlimit_name};

/// Where programs are looked for when `process.env` has no PATH, as runc does.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `CLONE_NEWUSER` as the plan has it.
const NEW_USER: u64 = nix::libc::CLONE_NEWUSER as u64;

/// Undoes what a change of ids does to the process: makes it dumpable, see [`super::may_be_readable`].
///
/// # Errors
/// As prctl(2).
pub fn be_readable() -> Result<(), Failure> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).explain(|| "prctl PR_SET_DUMPABLE")
}

/// Becomes uid 0 and gid 0 of a user namespace whose maps are written. Where the maps have no id 0 the process keeps the id
/// that it has: it holds all capabilities over the namespace either way, by having entered it.
///
/// # Errors
/// As setresgid(2) and setresuid(2).
pub fn become_namespace_root() -> Result<(), Failure> {
    // EINVAL: the map has no such id.
    let unless_unmapped = |outcome: Result<(), Errno>| match outcome {
        Err(Errno::INVAL) => Ok(()),
        other => other,
    };
    let become_root = || {
        unless_unmapped(rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT))?;
        unless_unmapped(rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT))
    };
    become_root()
        .explain(|| "linux.uidMappings, linux.gidMappings: cannot become uid 0 and gid 0 of the user namespace")
}

/// Writes sysctls through the host's /proc, opened and proven before any other mount namespace was entered: the kernel
/// shows each process the values of its own namespaces there. A file that something else is mounted over is refused.
///
/// # Errors
/// Named by `linux.sysctl`.
pub fn write_sysctls(procfs: &OwnedFd, sysctls: &[(PathBuf, String)]) -> Result<(), Failure> {
    for (path, value) in sysctls {
        let write = || {
            let file = Path::new("sys").join(path);
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            let file = rustix::fs::openat2(procfs, file, flags, Mode::empty(), resolve)?;
            rustix::io::write(&file, value.as_bytes())
        };
        write().explain(|| format!("linux.sysctl: cannot write {value:?} to /proc/sys/{}", path.display()))?;
    }
    Ok(())
}

/// Steps 8 to 11.
///
/// # Errors
/// One line for the person at the terminal.
pub fn become_user_program(plan: &Plan, stage: &FinalStage) -> Result<Infallible, Failure> {
    let Some(process) = &plan.process else {
        return wait_without_process(stage);
    };
    let in_user_namespace = stage.in_user_namespace || plan.namespaces.has(NEW_USER);
    super::streams::hand_over(process.uid, in_user_namespace)?;
    // Inside a user namespace nobody may raise a hard limit: there the host side does it.
    if !plan.namespaces.has(NEW_USER) {
        set_rlimits(process)?;
        super::scheduling::schedule(process, None)?;
    }
    let entered = enter_working_directory(process);
    // Before seccomp: a profile may refuse getcwd(2).
    check_working_directory(process)?;
    if process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).explain(|| "process.noNewPrivileges")?;
    } else {
        super::filter::load(plan.seccomp.as_ref(), &stage.channel)?;
    }
    stage.step("init:9", "drop rights");
    drop_rights(process, in_user_namespace)?;
    if plan.seccomp.is_some() && !process.no_new_privileges {
        check_drop(process)?;
    }
    if stage.is_readable {
        // A change of ids has taken it away (prctl(2)).
        be_readable()?;
    }
    // With the user's rights: the file is the image's, and root could read more through it.
    let env = super::home::complete(process);
    if entered.is_err() {
        // The user may enter what root may not: a network filesystem, or one owned by a user of the namespace.
        enter_working_directory(process)?;
        check_working_directory(process)?;
    }
    let program = look_up(process)?;
    rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
    prepare_for_exec(stage)?;
    if process.no_new_privileges {
        // Too early to be worth most, but the profile may refuse madvise(2).
        if plan.seccomp.is_some() && stage.exec_fifo.is_some() {
            nucleus_sys::process::release_code();
        }
        super::filter::load(plan.seccomp.as_ref(), &stage.channel)?;
    }
    stage.step("init:10", "ready");
    await_start(stage, plan.seccomp.is_some())?;
    if !plan.hooks.start_container.is_empty() {
        let state = stage.hook_state.json("created", rustix::process::getpid());
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .explain(|| "cannot open the container's root")?;
        let side = hooks::Side::Container {
            root: root.as_fd(),
            env: &env,
        };
        hooks::run_all("startContainer", &plan.hooks.start_container, &state, side)?;
    }
    if let Some(hold) = &stage.hold {
        stage.started.set(true);
        hold.wait()?;
    }
    stage.step("init:11", "execve");
    if let Some(fifo) = &stage.exec_fifo {
        rustix::io::write(fifo, ACKNOWLEDGE).explain(|| "cannot write to the exec FIFO")?;
    }
    match nix::unistd::execve(&program, &process.args, &env) {
        Ok(never) => match never {},
        Err(error) => Err(error).explain(|| format!("exec {}", quote(&process.args[0]))),
    }
}

/// A container without `process` can be created, not started: `start` refuses it before it reaches us.
fn wait_without_process(stage: &FinalStage) -> Result<Infallible, Failure> {
    prepare_for_exec(stage)?;
    await_start(stage, false)?;
    Err(Failure::new("process: config.json has none, there is nothing to start"))
}

/// Last things that seccomp might refuse: signals as a new program expects them, no tie to the runtime's life, and
/// the descriptors that the container is to inherit.
fn prepare_for_exec(stage: &FinalStage) -> Result<(), Failure> {
    // A created container ends by these, as it does with runc, although it is the first process of its PID namespace.
    let ending = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM].map(|signal| signal as i32);
    nucleus_sys::process::reset_signals(if stage.exec_fifo.is_some() { &ending } else { &[] });
    SigSet::empty().thread_set_mask().explain(|| "cannot unblock signals")?;
    for fd in &stage.preserve_fds {
        nucleus_sys::process::keep_on_exec(*fd);
    }
    rustix::process::set_parent_process_death_signal(None).explain(|| "prctl PR_SET_PDEATHSIG")
}

/// What init says to `start` through the exec FIFO before it executes the program. Without this word, an init that was
/// killed while it waited looks like one that executed: a dying process still takes the byte that lets it go on.
pub const ACKNOWLEDGE: &[u8] = b"\x06";

/// Step 10: says `ready`, and waits until the host side has committed and `start` has been called.
fn await_start(stage: &FinalStage, filtered: bool) -> Result<(), Failure> {
    if filtered {
        stage.channel.try_read().explain(|| MUST_ALLOW)?;
    }
    super::tell(stage, &ToHost::Ready)?;
    super::await_host(stage)?;
    let Some(fifo) = &stage.exec_fifo else { return Ok(()) };
    if !filtered {
        // It may wait for days.
        nucleus_sys::process::release_code();
    }
    let mut byte = [0u8; 1];
    loop {
        match rustix::io::read(fifo, &mut byte) {
            Err(Errno::INTR) => {}
            // We hold the FIFO for writing too, so there is no end of file.
            other => {
                other.explain(|| "cannot wait on the exec FIFO")?;
                stage.started.set(true);
                return Ok(());
            }
        }
    }
}

fn set_rlimits(process: &Process) -> Result<(), Failure> {
    for (resource, soft, hard) in &process.rlimits {
        nucleus_sys::process::set_rlimit(None, *resource, *soft, *hard).explain(|| {
            format!(
                "process.rlimits: cannot set {} to {soft}:{hard}",
                rlimit_name(*resource)
            )
        })?;
    }
    Ok(())
}

fn enter_working_directory(process: &Process) -> Result<(), Failure> {
    rustix::process::chdir(process.cwd.as_c_str())
        .explain(|| format!("chdir to cwd ({}) set in config.json failed", quote(&process.cwd)))
}

/// The kernel says whether we stand inside the root: a directory outside has no path here (CVE-2024-21626).
fn check_working_directory(process: &Process) -> Result<(), Failure> {
    let what = || {
        format!(
            "process.cwd: {} is outside of the container's root filesystem",
            quote(&process.cwd)
        )
    };
    match rustix::process::getcwd(Vec::new()) {
        Ok(path) if path.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Failure::new(what())),
        Err(error) => Err(error).explain(what),
    }
}

/// Step 9: bounding set, groups, gid, uid, then the other four sets.
fn drop_rights(process: &Process, in_user_namespace: bool) -> Result<(), Failure> {
    // Without `capabilities` there are none, as with runc.
    let sets = process.capabilities.unwrap_or_default();
    drop_bounding_set(sets.bounding)?;
    if process.uid != 0 {
        // Phase one: the change of uid must not take the permitted set along. execve(2) takes this flag away again.
        rustix::thread::set_keep_capabilities(true).explain(|| "prctl PR_SET_KEEPCAPS")?;
    }
    set_ids(process, in_user_namespace)?;
    set_capabilities(&sets)
}

/// Proves that the kernel itself has dropped the rights, if the filter was loaded before: a profile that answers in its place
/// (`errnoRet: 0`) would leave the program with root's rights. [`drop_bounding_set`] proves prctl(2). No call is made that the
/// drop has not made, because a profile may kill for any other.
fn check_drop(process: &Process) -> Result<(), Failure> {
    let effective = process.capabilities.unwrap_or_default().effective;
    let lacks = |capability: CapabilitySet| effective & capability.bits() == 0;
    // Without the capability nobody but root can become root. With it, the program could do so by itself.
    let is_root = |id: u32, capability, become_root: fn() -> Result<(), Errno>| {
        id != 0 && lacks(capability) && become_root().is_ok()
    };
    let no_effect = if !process.keep_groups && !reaches_kernel(Call::SetGroups) {
        "setgroups"
    } else if !reaches_kernel(Call::SetCapabilities) {
        "capset"
    } else if is_root(process.gid, CapabilitySet::SETGID, || set_gids(Gid::ROOT)) {
        "setresgid"
    } else if is_root(process.uid, CapabilitySet::SETUID, || set_uids(Uid::ROOT)) {
        "setresuid"
    } else {
        return Ok(());
    };
    Err(Failure::new(format!(
        "linux.seccomp: {no_effect} has no effect: the profile answers it in the kernel's place; allow it, or set \
         process.noNewPrivileges"
    )))
}

/// Ends at the first capability that the kernel does not know, which proves that prctl(2) reaches it.
fn drop_bounding_set(keep: u64) -> Result<(), Failure> {
    for number in 0..64 {
        let bit = CapabilitySet::from_bits_retain(1 << number);
        if keep & bit.bits() != 0 {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(bit) {
            Ok(()) => {}
            // Beyond the last capability that this kernel knows.
            Err(Errno::INVAL) => return Ok(()),
            Err(error) => {
                return Err(error)
                    .explain(|| format!("process.capabilities.bounding: cannot drop capability {number}"));
            }
        }
    }
    Err(Failure::new(
        "process.capabilities.bounding: prctl PR_CAPBSET_DROP has no effect: the seccomp profile must allow it",
    ))
}

fn set_ids(process: &Process, in_user_namespace: bool) -> Result<(), Failure> {
    if !process.keep_groups {
        set_groups(process, in_user_namespace)?;
    }
    set_gids(Gid::from_raw(process.gid)).explain(|| format!("process.user.gid: cannot become {}", process.gid))?;
    set_uids(Uid::from_raw(process.uid)).explain(|| format!("process.user.uid: cannot become {}", process.uid))
}

fn set_gids(gid: Gid) -> Result<(), Errno> {
    rustix::thread::set_thread_res_gid(gid, gid, gid)
}

fn set_uids(uid: Uid) -> Result<(), Errno> {
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn set_groups(process: &Process, in_user_namespace: bool) -> Result<(), Failure> {
    let groups: Vec<Gid> = process.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // A user namespace may have setgroups(2) denied for good; nothing can be dropped then.
        Err(Errno::PERM) if groups.is_empty() && in_user_namespace => Ok(()),
        other => other.explain(|| "process.user.additionalGids: cannot set the groups"),
    }
}

/// Phase two: exactly the configured sets. The inheritable set is config's and nothing else (CVE-2022-29162).
fn set_capabilities(sets: &Capabilities) -> Result<(), Failure> {
    let exact = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(sets.effective),
        permitted: CapabilitySet::from_bits_retain(sets.permitted),
        inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, exact).explain(|| "process.capabilities: cannot set")?;
    rustix::thread::clear_ambient_capability_set().explain(|| "process.capabilities.ambient: cannot clear")?;
    for number in (0..64).filter(|number| sets.ambient >> number & 1 != 0) {
        let bit = CapabilitySet::from_bits_retain(1 << number);
        rustix::thread::configure_capability_in_ambient_set(bit, true)
            .explain(|| format!("process.capabilities.ambient: cannot raise capability {number}"))?;
    }
    Ok(())
}

/// Finds the program as execvp(3) would, with the user's rights, and says early what execve would say too late.
fn look_up(process: &Process) -> Result<CString, Failure> {
    let name = process.args[0].as_bytes();
    if name.contains(&b'/') {
        return match executable(&process.args[0]) {
            Ok(()) => Ok(process.args[0].clone()),
            Err(Errno::NOENT) => Err(Failure::from_errno(
                format!(
                    "exec: {0}: stat {1}",
                    quote(&process.args[0]),
                    process.args[0].to_string_lossy()
                ),
                Errno::NOENT,
            )),
            // Older engines take only "permission denied" for exit code 126, newer ones the first half as well.
            Err(Errno::ISDIR) => Err(Failure::new(format!(
                "exec: {}: is a directory: permission denied",
                quote(&process.args[0])
            ))),
            Err(error) => Err(error).explain(|| format!("exec: {}", quote(&process.args[0]))),
        };
    }
    let path = process
        .env
        .iter()
        .find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut denied = None;
    for dir in path.split(|byte| *byte == b':') {
        let dir = if dir.is_empty() { b"." } else { dir };
        let Ok(candidate) = CString::new([dir, b"/", name].concat()) else {
            continue;
        };
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error @ Errno::ACCESS) => denied = Some(error),
            Err(_) => {}
        }
    }
    match denied {
        Some(error) => Err(error).explain(|| format!("exec: {}", quote(&process.args[0]))),
        None => Err(Failure::new(format!(
            "exec: {}: executable file not found in $PATH",
            quote(&process.args[0])
        ))),
    }
}

fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    match rustix::fs::FileType::from_raw_mode(stat.st_mode) {
        rustix::fs::FileType::Directory => return Err(Errno::ISDIR),
        rustix::fs::FileType::RegularFile if stat.st_mode & 0o111 != 0 => {}
        _ => return Err(Errno::ACCESS),
    }
    match rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        // A seccomp profile older than Linux 5.8 refuses this call because it does not know it. Our real ids are the
        // effective ones, so the old call serves.
        Err(Errno::PERM) => rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::empty()),
        other => other,
    }
}

fn quote(text: &CStr) -> String {
    format!("{:?}", text.to_string_lossy())
}
