//! `linux.seccomp` → a BPF program, by libseccomp. Nothing is loaded here.
//!
//! Called while the plan is compiled, on the host side; init hands the bytes to seccomp(2). A profile means what it
//! means under runc: unknown system calls are skipped, the native architecture is always in, conditions on the same
//! argument are alternatives, rules that repeat the default action are dropped, calls that are newer than the profile
//! get ENOSYS.

pub(crate) mod cache;
mod enosys;

use std::fs::File;
use std::io::{Read, Seek};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use nucleus_sys::seccomp as kernel;
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompFilterFlag as Flag,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::plan::annotations::FAIL_UNKNOWN_CALLS;
use crate::plan::{Listener, PlanError, Seccomp, paths};

/// What `errnoRet` is when it is not given.
const EPERM: u32 = 1;
/// The kernel's `MAX_ERRNO`: a greater value would be cut down in silence.
const MAX_ERRNO: u32 = 4095;
/// libseccomp's binary tree pays off from about here, and up to 2.5.4 it is wrong for a filter without rules.
const MANY_RULES: usize = 32;

/// Compiles a profile; with `fails_unknown_calls`, names that libseccomp does not know are errors.
///
/// # Errors
/// The field that libseccomp or the kernel could not take.
pub(crate) fn compile(profile: &LinuxSeccomp, fails_unknown_calls: bool) -> Result<Seccomp, PlanError> {
    if fails_unknown_calls {
        refuse_unknown_calls(profile)?;
    }
    let listener = listener(profile)?;
    // Spares libseccomp its probing of the kernel, eight system calls: what the kernel lacks is found at load. A
    // libseccomp without this level probes as it always did.
    let _ = libseccomp::set_api(6);
    let default = action(
        profile.default_action(),
        profile.default_errno_ret(),
        "linux.seccomp.defaultErrnoRet",
    )?;
    let mut filter = ScmpFilterContext::new(default).map_err(|e| failed("linux.seccomp.defaultAction", &e))?;
    // The filter is loaded by init, which sets no_new_privs exactly when config says so.
    filter.set_ctl_nnp(false).map_err(|e| failed("linux.seccomp", &e))?;
    for (i, name) in profile.architectures().iter().flatten().enumerate() {
        filter
            .add_arch(architecture(*name))
            .map_err(|e| failed(format_args!("linux.seccomp.architectures[{i}]"), &e))?;
    }
    let mut rules = 0;
    for (i, call) in profile.syscalls().iter().flatten().enumerate() {
        rules += add_rules(&mut filter, call, i, default)?;
    }
    if rules > MANY_RULES {
        filter.set_ctl_optimize(2).map_err(|e| failed("linux.seccomp", &e))?;
    }
    Ok(Seccomp {
        program: [enosys::prologue(profile), export(&filter)?].concat(),
        flags: flags(profile, listener.is_some()),
        listener,
    })
}

/// Who is to answer for `SCMP_ACT_NOTIFY`; `None` when no rule asks anybody.
fn listener(profile: &LinuxSeccomp) -> Result<Option<Listener>, PlanError> {
    let path = profile.listener_path().as_deref();
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let metadata = profile.listener_metadata().clone().filter(|data| !data.is_empty());
    if path.is_none() && metadata.is_some() {
        return Err(PlanError::new(
            "linux.seccomp.listenerMetadata",
            "cannot be set without listenerPath",
        ));
    }
    if profile.default_action() == Action::ScmpActNotify {
        // Init could not even say that it is ready.
        return Err(PlanError::new(
            "linux.seccomp.defaultAction",
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ));
    }
    let calls = profile.syscalls().iter().flatten();
    if !calls.clone().any(|call| call.action() == Action::ScmpActNotify) {
        return Ok(None);
    }
    let path = path.ok_or_else(|| {
        PlanError::new(
            "linux.seccomp.listenerPath",
            "must be set, as a rule says SCMP_ACT_NOTIFY",
        )
    })?;
    paths::no_nul(path, "linux.seccomp.listenerPath")?;
    Ok(Some(Listener {
        path: path.to_owned(),
        metadata,
    }))
}

fn refuse_unknown_calls(profile: &LinuxSeccomp) -> Result<(), PlanError> {
    for (i, call) in profile.syscalls().iter().flatten().enumerate() {
        let unknown = |name: &String| ScmpSyscall::from_name(name).is_err();
        if let Some(n) = call.names().iter().position(unknown) {
            return Err(PlanError::new(
                format_args!("linux.seccomp.syscalls[{i}].names[{n}]"),
                format_args!(
                    "unknown system call {:?}, which the annotation {FAIL_UNKNOWN_CALLS} forbids",
                    call.names()[n]
                ),
            ));
        }
    }
    Ok(())
}

/// Adds the rules of one entry; returns how many.
fn add_rules(
    filter: &mut ScmpFilterContext,
    call: &LinuxSyscall,
    i: usize,
    default: ScmpAction,
) -> Result<usize, PlanError> {
    let field = format_args!("linux.seccomp.syscalls[{i}]");
    if call.names().is_empty() {
        return Err(PlanError::new(format_args!("{field}.names"), "must not be empty"));
    }
    let action = action(call.action(), call.errno_ret(), format_args!("{field}.errnoRet"))?;
    let conditions = conditions(call.args().as_deref().unwrap_or_default(), i)?;
    if action == default {
        // libseccomp refuses such a rule, and it would change nothing.
        return Ok(0);
    }
    let mut rules = 0;
    for (n, name) in call.names().iter().enumerate() {
        if name.is_empty() || name.contains('\0') {
            return Err(PlanError::new(
                format_args!("{field}.names[{n}]"),
                format_args!("{name:?} is not a valid syscall"),
            ));
        }
        if name == "write" && action == ScmpAction::Notify {
            // Init hands the listener over with it, before there is anybody to answer.
            return Err(PlanError::new(
                format_args!("{field}.names[{n}]"),
                "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            ));
        }
        // Profiles name calls of all kernels and architectures: those that libseccomp does not know are skipped.
        let Ok(syscall) = ScmpSyscall::from_name(name) else {
            continue;
        };
        for rule in &conditions {
            filter
                .add_rule_conditional(action, syscall, rule)
                .map_err(|e| failed(format_args!("{field}.names[{n}]"), &e))?;
            rules += 1;
        }
    }
    Ok(rules)
}

/// The condition lists of an entry, one rule for each.
///
/// libseccomp takes each argument once per rule. An entry that mentions an argument twice therefore becomes one rule
/// per condition, of which any may match: profiles in use were written for that reading.
fn conditions(args: &[LinuxSeccompArg], i: usize) -> Result<Vec<Vec<ScmpArgCompare>>, PlanError> {
    let mut all = Vec::with_capacity(args.len());
    for (n, arg) in args.iter().enumerate() {
        if arg.index() > 5 {
            return Err(PlanError::new(
                format_args!("linux.seccomp.syscalls[{i}].args[{n}].index"),
                format_args!("{} must not be greater than 5", arg.index()),
            ));
        }
        let (operator, datum) = match arg.op() {
            Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
            Operator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
            Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
            Operator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
            Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
            Operator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
            Operator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0)),
        };
        all.push(ScmpArgCompare::new(arg.index() as u32, operator, datum));
    }
    let repeated = args
        .iter()
        .enumerate()
        .any(|(n, arg)| args[..n].iter().any(|other| other.index() == arg.index()));
    Ok(match repeated {
        true => all.into_iter().map(|condition| vec![condition]).collect(),
        false => vec![all],
    })
}

/// An action with its return value, which only two actions have.
fn action(action: Action, errno: Option<u32>, errno_field: impl std::fmt::Display) -> Result<ScmpAction, PlanError> {
    let within = |limit: u32| match errno.unwrap_or(EPERM) {
        errno if errno <= limit => Ok(errno),
        errno => Err(PlanError::new(
            &errno_field,
            format_args!("{errno} must not be greater than {limit}"),
        )),
    };
    let plain = match action {
        Action::ScmpActErrno => return Ok(ScmpAction::Errno(within(MAX_ERRNO)? as i32)),
        Action::ScmpActTrace => return Ok(ScmpAction::Trace(within(u16::MAX.into())? as u16)),
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActAllow => ScmpAction::Allow,
        Action::ScmpActNotify => ScmpAction::Notify,
    };
    match errno {
        Some(_) => Err(PlanError::new(
            errno_field,
            format_args!("{action} does not take a return value"),
        )),
        None => Ok(plain),
    }
}

/// The flags for seccomp(2). Config that is silent gets `SPEC_ALLOW`, as under runc; an empty list gets none.
fn flags(profile: &LinuxSeccomp, listens: bool) -> u64 {
    let listener = if listens { kernel::FLAG_NEW_LISTENER } else { 0 };
    let Some(list) = profile.flags() else {
        return kernel::FLAG_SPEC_ALLOW | listener;
    };
    list.iter().fold(listener, |word, flag| {
        word | match flag {
            // Without this, the number of a thread and that of a descriptor could not be told apart.
            Flag::SeccompFilterFlagTsync if listens => kernel::FLAG_TSYNC | kernel::FLAG_TSYNC_ESRCH,
            Flag::SeccompFilterFlagLog => kernel::FLAG_LOG,
            Flag::SeccompFilterFlagTsync => kernel::FLAG_TSYNC,
            Flag::SeccompFilterFlagSpecAllow => kernel::FLAG_SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv if listens => kernel::FLAG_WAIT_KILLABLE_RECV,
            // Speaks of received notifications only; without a listener the kernel refuses it.
            Flag::SeccompFilterFlagWaitKillableRecv => 0,
        }
    })
}

/// The program's bytes. libseccomp writes them to a descriptor only; a file in memory never blocks.
fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, PlanError> {
    let fd = memfd_create("seccomp", MemfdFlags::CLOEXEC).map_err(|e| failed("linux.seccomp", &e))?;
    filter.export_bpf(&fd).map_err(|e| failed("linux.seccomp", &e))?;
    let mut file = File::from(fd);
    let mut program = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut program))
        .map_err(|e| failed("linux.seccomp", &e))?;
    Ok(program)
}

fn failed(field: impl std::fmt::Display, error: &dyn std::error::Error) -> PlanError {
    PlanError::new(field, format_args!("libseccomp: {error}"))
}

fn architecture(name: Arch) -> ScmpArch {
    match name {
        Arch::ScmpArchNative => ScmpArch::Native,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        Arch::ScmpArchMipsel => ScmpArch::Mipsel,
        Arch::ScmpArchMipsel64 => ScmpArch::Mipsel64,
        Arch::ScmpArchMipsel64n32 => ScmpArch::Mipsel64N32,
        Arch::ScmpArchPpc => ScmpArch::Ppc,
        Arch::ScmpArchPpc64 => ScmpArch::Ppc64,
        Arch::ScmpArchPpc64le => ScmpArch::Ppc64Le,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchParisc => ScmpArch::Parisc,
        Arch::ScmpArchParisc64 => ScmpArch::Parisc64,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchM68k => ScmpArch::M68k,
        Arch::ScmpArchSh => ScmpArch::Sh,
        Arch::ScmpArchSheb => ScmpArch::Sheb,
    }
}

#[cfg(test)]
mod tests;
