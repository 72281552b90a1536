//! `process`: the program that the container is for, as execve(2), setrlimit(2) and prctl(2) want it.
//!
//! Nothing here looks into the container: users are numbers, the program is found by init. What the kernel would refuse
//! or silently change is refused here.

use std::collections::HashSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use oci_spec::runtime::{self as oci, PosixRlimit, PosixRlimitType};

use super::{Host, IdMapping, Options, PlanError, Process, StageCpus, capabilities, paths, scheduling};

/// Compiles the section.
pub(crate) fn compile(
    process: &oci::Process,
    options: &Options,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Process, PlanError> {
    let terminal = process.terminal().unwrap_or(false);
    check_terminal(terminal, options)?;
    let user = process.user();
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        return Err(PlanError::new(
            "process.user.umask",
            format_args!("{umask} must not be greater than 511 (octal 0777)"),
        ));
    }
    if let Some(score) = process.oom_score_adj().filter(|score| !(-1000..=1000).contains(score)) {
        return Err(PlanError::new(
            "process.oomScoreAdj",
            format_args!("{score} must be between -1000 and 1000"),
        ));
    }
    paths::absolute(process.cwd(), "process.cwd")?;
    let capabilities = process.capabilities().as_ref();
    Ok(Process {
        args: args(process.args().as_deref().unwrap_or_default())?,
        env: env(process.env().as_deref().unwrap_or_default())?,
        cwd: paths::c_string(process.cwd().as_os_str().as_bytes(), "process.cwd")?,
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: user.additional_gids().clone().unwrap_or_default(),
        keep_groups: false,
        umask: user.umask(),
        rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default())?,
        capabilities: capabilities.map(|sets| capabilities::compile(sets, host, warnings)),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
        terminal,
        console_size: console_size(process)?,
        apparmor_profile: label(process.apparmor_profile().as_ref(), "process.apparmorProfile")?,
        selinux_label: label(process.selinux_label().as_ref(), "process.selinuxLabel")?,
        scheduler: process.scheduler().as_ref().map(scheduling::scheduler).transpose()?,
        io_priority: process
            .io_priority()
            .as_ref()
            .map(scheduling::io_priority)
            .transpose()?,
        exec_cpu_affinity: process
            .exec_cpu_affinity()
            .as_ref()
            .map(scheduling::cpu_affinity)
            .transpose()?,
        stage_cpus: StageCpus::default(),
    })
}

/// A label or profile for the kernel's security modules; an empty one asks for nothing.
pub(crate) fn label(label: Option<&String>, field: &str) -> Result<Option<String>, PlanError> {
    let Some(label) = label.filter(|label| !label.is_empty()) else {
        return Ok(None);
    };
    paths::no_nul(label.as_ref(), field)?;
    Ok(Some(label.clone()))
}

/// Who would hold the terminal's other end? The wording is runc's, which engines and their users know.
pub(crate) fn check_terminal(terminal: bool, options: &Options) -> Result<(), PlanError> {
    let why = match (terminal, options.detach, options.console_socket) {
        (true, true, false) => "cannot allocate tty if runc will detach without setting console socket",
        (_, false, true) | (false, _, true) => "cannot use console socket if runc will not detach or allocate tty",
        _ => return Ok(()),
    };
    Err(PlanError::new("process.terminal", why))
}

/// Every id that the process gets must exist in the new user namespace.
pub(crate) fn check_mapped(process: &Process, uid_map: &[IdMapping], gid_map: &[IdMapping]) -> Result<(), PlanError> {
    let mapped = |map: &[IdMapping], id: u32| {
        map.is_empty()
            || map
                .iter()
                .any(|line| id.checked_sub(line.container_id).is_some_and(|at| at < line.size))
    };
    if !mapped(uid_map, process.uid) {
        return Err(unmapped("process.user.uid", process.uid, "uidMappings"));
    }
    if !mapped(gid_map, process.gid) {
        return Err(unmapped("process.user.gid", process.gid, "gidMappings"));
    }
    match process.additional_gids.iter().position(|gid| !mapped(gid_map, *gid)) {
        Some(i) => Err(unmapped(
            &format!("process.user.additionalGids[{i}]"),
            process.additional_gids[i],
            "gidMappings",
        )),
        None => Ok(()),
    }
}

fn unmapped(field: &str, id: u32, map: &str) -> PlanError {
    PlanError::new(field, format_args!("{id} is not mapped by linux.{map}"))
}

fn args(args: &[String]) -> Result<Vec<CString>, PlanError> {
    if args.is_empty() {
        return Err(PlanError::new("process.args", "must not be empty"));
    }
    args.iter()
        .enumerate()
        .map(|(i, arg)| paths::c_string(arg.as_bytes(), format_args!("process.args[{i}]")))
        .collect()
}

/// The environment, each name once: the last one counts, whereas getenv(3) would find the first.
pub(crate) fn env(env: &[String]) -> Result<Vec<CString>, PlanError> {
    let mut names = HashSet::with_capacity(env.len());
    let mut list = Vec::with_capacity(env.len());
    for (i, entry) in env.iter().enumerate().rev() {
        let refuse = |why: &str| {
            Err(PlanError::new(
                format_args!("process.env[{i}]"),
                format_args!("invalid environment variable {entry:?}: {why}"),
            ))
        };
        match entry.split_once('=') {
            None => return refuse("missing '='"),
            Some(("", _)) => return refuse("name cannot be empty"),
            Some((name, _)) if !names.insert(name) => continue,
            Some(_) => list.push(paths::c_string(entry.as_bytes(), format_args!("process.env[{i}]"))?),
        }
    }
    list.reverse();
    Ok(list)
}

fn console_size(process: &oci::Process) -> Result<Option<(u16, u16)>, PlanError> {
    let Some(size) = process.console_size() else {
        return Ok(None);
    };
    let side = |value: u64, name: &str| {
        u16::try_from(value).map_err(|_| {
            PlanError::new(
                format_args!("process.consoleSize.{name}"),
                format_args!("{value} must not be greater than 65535"),
            )
        })
    };
    Ok(match (side(size.height(), "height")?, side(size.width(), "width")?) {
        // Docker's way of saying that it does not know.
        (0, 0) => None,
        size => Some(size),
    })
}

/// Compiles the limits; also used for the process of `exec`.
pub(crate) fn rlimits(list: &[PosixRlimit]) -> Result<Vec<(u32, u64, u64)>, PlanError> {
    let mut limits: Vec<(u32, u64, u64)> = Vec::with_capacity(list.len());
    for (i, limit) in list.iter().enumerate() {
        let number = rlimit_number(limit.typ());
        if limits.iter().any(|(other, ..)| *other == number) {
            return Err(PlanError::new(
                format_args!("process.rlimits[{i}].type"),
                format_args!("duplicated rlimit {}", limit.typ()),
            ));
        }
        if limit.soft() > limit.hard() {
            return Err(PlanError::new(
                format_args!("process.rlimits[{i}]"),
                format_args!("soft limit {} exceeds hard limit {}", limit.soft(), limit.hard()),
            ));
        }
        limits.push((number, limit.soft(), limit.hard()));
    }
    Ok(limits)
}

/// The numbers of asm-generic/resource.h, which every architecture that Rust's Linux targets and we share.
const RLIMITS: [PosixRlimitType; 16] = [
    PosixRlimitType::RlimitCpu,
    PosixRlimitType::RlimitFsize,
    PosixRlimitType::RlimitData,
    PosixRlimitType::RlimitStack,
    PosixRlimitType::RlimitCore,
    PosixRlimitType::RlimitRss,
    PosixRlimitType::RlimitNproc,
    PosixRlimitType::RlimitNofile,
    PosixRlimitType::RlimitMemlock,
    PosixRlimitType::RlimitAs,
    PosixRlimitType::RlimitLocks,
    PosixRlimitType::RlimitSigpending,
    PosixRlimitType::RlimitMsgqueue,
    PosixRlimitType::RlimitNice,
    PosixRlimitType::RlimitRtprio,
    PosixRlimitType::RlimitRttime,
];

fn rlimit_number(kind: PosixRlimitType) -> u32 {
    RLIMITS.iter().take_while(|other| **other != kind).count() as u32
}

/// The name of an `RLIMIT_*` number, for errors.
pub(crate) fn rlimit_name(number: u32) -> String {
    match RLIMITS.get(number as usize) {
        Some(kind) => kind.to_string(),
        None => format!("resource {number}"),
    }
}
