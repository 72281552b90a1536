//! The compiled programs, run by a small interpreter of classic BPF over made-up system calls.

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Value, json};

use super::{compile, kernel};
use crate::plan::PlanError;

pub(super) const ALLOW: u32 = 0x7fff_0000;
pub(super) const LOG: u32 = 0x7ffc_0000;
pub(super) const TRACE: u32 = 0x7ff0_0000;
pub(super) const ERRNO: u32 = 0x0005_0000;
pub(super) const TRAP: u32 = 0x0003_0000;
pub(super) const KILL_THREAD: u32 = 0;
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const AUDIT_ARCH_I386: u32 = 0x4000_0003;

/// What the kernel would answer to a system call: the whole of `bpf_prog_run` that libseccomp makes use of.
pub(super) fn run(program: &[u8], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let mut data = [0u8; 64];
    data[0..4].copy_from_slice(&nr.to_ne_bytes());
    data[4..8].copy_from_slice(&arch.to_ne_bytes());
    for (i, arg) in args.iter().enumerate() {
        data[16 + 8 * i..24 + 8 * i].copy_from_slice(&arg.to_ne_bytes());
    }
    let (mut pc, mut a) = (0, 0);
    loop {
        let insn = &program[8 * pc..8 * pc + 8];
        let code = u16::from_ne_bytes([insn[0], insn[1]]);
        let k = u32::from_ne_bytes([insn[4], insn[5], insn[6], insn[7]]);
        let jump = |taken: bool| usize::from(if taken { insn[2] } else { insn[3] });
        pc += 1;
        match code {
            0x20 => {
                let at = k as usize;
                a = u32::from_ne_bytes(data[at..at + 4].try_into().unwrap());
            }
            0x05 => pc += k as usize,
            0x15 => pc += jump(a == k),
            0x25 => pc += jump(a > k),
            0x35 => pc += jump(a >= k),
            0x45 => pc += jump(a & k != 0),
            0x54 => a &= k,
            0x06 => return k,
            other => panic!("instruction {other:#x} at {}", pc - 1),
        }
    }
}

/// A compiled profile under test.
pub(super) struct Filter(pub(super) Vec<u8>);

impl Filter {
    pub(super) fn new(profile: Value) -> Self {
        Self(compile_json(profile).unwrap().program)
    }

    /// The answer on the machine's own architecture.
    fn call(&self, name: &str, args: &[u64]) -> u32 {
        let nr = i32::from(ScmpSyscall::from_name(name).unwrap());
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        run(&self.0, native(), nr as u32, all)
    }

    fn instructions(&self) -> usize {
        self.0.len() / 8
    }
}

pub(super) fn native() -> u32 {
    match ScmpArch::native() {
        ScmpArch::X8664 => AUDIT_ARCH_X86_64,
        ScmpArch::Aarch64 => 0xc000_00b7,
        other => panic!("add the audit number of {other:?}"),
    }
}

fn compile_json(profile: Value) -> Result<crate::plan::Seccomp, PlanError> {
    compile(&serde_json::from_value::<LinuxSeccomp>(profile).unwrap(), false)
}

fn error(profile: Value) -> String {
    compile_json(profile).unwrap_err().to_string()
}

/// The stock profile of an engine, from one of the sample configs.
fn stock(config: &str) -> LinuxSeccomp {
    let path = format!("{}/tests/configs/{config}.json", env!("CARGO_MANIFEST_DIR"));
    let config: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    serde_json::from_value(config["linux"]["seccomp"].clone()).unwrap()
}

#[test]
fn every_action_as_default_and_as_rule() {
    let table = [
        (json!({"action": "SCMP_ACT_KILL"}), KILL_THREAD),
        (json!({"action": "SCMP_ACT_KILL_THREAD"}), KILL_THREAD),
        (json!({"action": "SCMP_ACT_KILL_PROCESS"}), KILL_PROCESS),
        (json!({"action": "SCMP_ACT_TRAP"}), TRAP),
        (json!({"action": "SCMP_ACT_ERRNO"}), ERRNO | 1),
        (json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 38}), ERRNO | 38),
        (json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 0}), ERRNO),
        (json!({"action": "SCMP_ACT_TRACE"}), TRACE | 1),
        (json!({"action": "SCMP_ACT_TRACE", "errnoRet": 65535}), TRACE | 65535),
        (json!({"action": "SCMP_ACT_LOG"}), LOG),
    ];
    for (rule, answer) in table {
        let mut call = rule.clone();
        call["names"] = json!(["getcwd"]);
        let filter = Filter::new(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [call]}));
        assert_eq!(filter.call("getcwd", &[]), answer, "{rule}");
        assert_eq!(filter.call("getpid", &[]), ALLOW, "{rule}");
        let mut profile = json!({
            "defaultAction": rule["action"],
            "syscalls": [{"names": ["getpid", "statx"], "action": "SCMP_ACT_ALLOW"}]
        });
        if !rule["errnoRet"].is_null() {
            profile["defaultErrnoRet"] = rule["errnoRet"].clone();
        }
        let filter = Filter::new(profile);
        assert_eq!(filter.call("getcwd", &[]), answer, "{rule}");
        assert_eq!(filter.call("getpid", &[]), ALLOW, "{rule}");
    }
}

#[test]
fn every_operator() {
    let high = 5 << 32;
    let table = [
        ("SCMP_CMP_EQ", 7, 0, [7, 7], [8, high | 7]),
        ("SCMP_CMP_NE", 7, 0, [8, high | 7], [7, 7]),
        ("SCMP_CMP_LT", high, 0, [0, high - 1], [high, high + 1]),
        ("SCMP_CMP_LE", high, 0, [0, high], [high + 1, u64::MAX]),
        ("SCMP_CMP_GT", high, 0, [high + 1, u64::MAX], [0, high]),
        ("SCMP_CMP_GE", high, 0, [high, u64::MAX], [0, high - 1]),
        // value is the mask, valueTwo what must be left of the argument under it.
        ("SCMP_CMP_MASKED_EQ", 0xf0, 0x30, [0x30, 0xf3f], [0x40, 0x70]),
    ];
    for (op, value, two, matching, other) in table {
        let filter = Filter::new(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
            "names": ["ioctl"], "action": "SCMP_ACT_TRAP",
            "args": [{"index": 1, "value": value, "valueTwo": two, "op": op}]
        }]}));
        for arg in matching {
            assert_eq!(filter.call("ioctl", &[99, arg]), TRAP, "{op} {arg:#x}");
        }
        for arg in other {
            assert_eq!(filter.call("ioctl", &[99, arg]), ALLOW, "{op} {arg:#x}");
        }
    }
}

#[test]
fn conditions_on_different_arguments_must_all_hold() {
    let filter = Filter::new(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
        "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 22,
        "args": [
            {"index": 0, "value": 16, "op": "SCMP_CMP_EQ"},
            {"index": 2, "value": 9, "op": "SCMP_CMP_EQ"}
        ]
    }]}));
    assert_eq!(filter.call("socket", &[16, 3, 9]), ERRNO | 22);
    assert_eq!(filter.call("socket", &[16, 3, 0]), ALLOW);
    assert_eq!(filter.call("socket", &[2, 3, 9]), ALLOW);
}

#[test]
fn conditions_on_the_same_argument_are_alternatives() {
    let filter = Filter::new(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
        "names": ["personality"], "action": "SCMP_ACT_ERRNO",
        "args": [
            {"index": 0, "value": 8, "op": "SCMP_CMP_EQ"},
            {"index": 0, "value": 131_072, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 5, "op": "SCMP_CMP_EQ"}
        ]
    }]}));
    for args in [[8, 0], [131_072, 0], [0, 5]] {
        assert_eq!(filter.call("personality", &args), ERRNO | 1, "{args:?}");
    }
    assert_eq!(filter.call("personality", &[0, 0]), ALLOW);
}

#[test]
fn unknown_calls_and_rules_that_repeat_the_default_are_skipped() {
    let filter = Filter::new(
        json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [
            {"names": ["call_of_the_wild", "getpid"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["reboot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        ]}),
    );
    assert_eq!(filter.call("getpid", &[]), ALLOW);
    assert_eq!(filter.call("mount", &[]), ERRNO | 38);
    assert_eq!(filter.call("reboot", &[]), ERRNO | 1);
}

#[test]
fn a_rule_given_twice_is_one_rule() {
    let filter = Filter::new(json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["getpid", "getpid"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["getpid"], "action": "SCMP_ACT_ALLOW"},
    ]}));
    assert_eq!(filter.call("getpid", &[]), ALLOW);
}

#[test]
fn a_profile_without_rules_is_its_default() {
    for (action, answer) in [("SCMP_ACT_ALLOW", ALLOW), ("SCMP_ACT_ERRNO", ERRNO | 1)] {
        let filter = Filter::new(json!({"defaultAction": action}));
        assert_eq!(filter.call("getpid", &[]), answer);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn architectures() {
    let profile = |list: Value| {
        Filter::new(json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": list,
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_TRAP"}]
        }))
    };
    const MKDIR: (u32, u32) = (83, 39);
    let native = profile(json!([]));
    assert_eq!(run(&native.0, AUDIT_ARCH_X86_64, MKDIR.0, [0; 6]), TRAP);
    // What the profile does not list must not be a way around it.
    assert_eq!(run(&native.0, AUDIT_ARCH_I386, MKDIR.1, [0; 6]), KILL_THREAD);
    assert_eq!(
        run(&native.0, AUDIT_ARCH_X86_64, 0x4000_0000 | MKDIR.0, [0; 6]),
        KILL_THREAD
    );
    let both = profile(json!([
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_NATIVE",
        "SCMP_ARCH_X86_64"
    ]));
    assert_eq!(run(&both.0, AUDIT_ARCH_X86_64, MKDIR.0, [0; 6]), TRAP);
    assert_eq!(run(&both.0, AUDIT_ARCH_I386, MKDIR.1, [0; 6]), TRAP);
    assert_eq!(run(&both.0, AUDIT_ARCH_I386, MKDIR.0, [0; 6]), ALLOW);
    assert_eq!(run(&both.0, AUDIT_ARCH_X86_64, 0x4000_0000 | MKDIR.0, [0; 6]), TRAP);
}

#[test]
fn flags() {
    let flags = |list: Value| {
        compile_json(json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": list}))
            .unwrap()
            .flags
    };
    assert_eq!(flags(Value::Null), kernel::FLAG_SPEC_ALLOW);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(
        flags(json!([
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
        ])),
        kernel::FLAG_LOG | kernel::FLAG_TSYNC | kernel::FLAG_SPEC_ALLOW
    );
}

#[test]
fn refused_profiles() {
    let table = [
        (
            json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
            "linux.seccomp.listenerPath: must be set, as a rule says SCMP_ACT_NOTIFY",
        ),
        (
            json!({
                "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/\u{0}",
                "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]
            }),
            "linux.seccomp.listenerPath: must not contain a NUL byte",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "linux.seccomp.listenerMetadata: cannot be set without listenerPath",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
            "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW does not take a return value",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}),
            "linux.seccomp.defaultErrnoRet: 4096 must not be greater than 4095",
        ),
    ];
    for (profile, text) in table {
        assert_eq!(error(profile), text);
    }
    let text = error(json!({"defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_NATIVE", "SCMP_ARCH_SHEB", "SCMP_ARCH_S390X"]}));
    assert!(
        text.starts_with("linux.seccomp.architectures[1]: libseccomp: "),
        "{text}"
    );
}

#[test]
fn refused_rules() {
    let rule = |rule: Value| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_LOG"}, rule
        ]})
    };
    let table = [
        (
            rule(json!({"names": ["write"], "action": "SCMP_ACT_NOTIFY"})),
            "linux.seccomp.syscalls[1].names[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            rule(json!({"names": ["write"], "action": "SCMP_ACT_TRACE", "errnoRet": 65536})),
            "linux.seccomp.syscalls[1].errnoRet: 65536 must not be greater than 65535",
        ),
        (
            rule(json!({"names": ["write"], "action": "SCMP_ACT_KILL", "errnoRet": 1})),
            "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_KILL does not take a return value",
        ),
        (
            rule(json!({"names": [], "action": "SCMP_ACT_KILL"})),
            "linux.seccomp.syscalls[1].names: must not be empty",
        ),
        (
            rule(json!({"names": ["write", ""], "action": "SCMP_ACT_KILL"})),
            "linux.seccomp.syscalls[1].names[1]: \"\" is not a valid syscall",
        ),
        (
            rule(json!({"names": ["write"], "action": "SCMP_ACT_KILL", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}
            ]})),
            "linux.seccomp.syscalls[1].args[1].index: 6 must not be greater than 5",
        ),
    ];
    for (profile, text) in table {
        assert_eq!(error(profile), text);
    }
}

#[test]
fn the_profile_of_docker() {
    let profile = stock("docker-23-style");
    let names: usize = profile.syscalls().iter().flatten().map(|call| call.names().len()).sum();
    assert!(names > 300);
    let filter = Filter(compile(&profile, false).unwrap().program);
    assert!(filter.instructions() < 4096, "{} instructions", filter.instructions());
    for allowed in [
        "read",
        "write",
        "openat",
        "execve",
        "exit_group",
        "ptrace",
        "futex",
        "chroot",
    ] {
        assert_eq!(filter.call(allowed, &[]), ALLOW, "{allowed}");
    }
    for refused in [
        "mount",
        "reboot",
        "kexec_load",
        "unshare",
        "setns",
        "bpf",
        "keyctl",
        "init_module",
    ] {
        assert_eq!(filter.call(refused, &[]), ERRNO | 1, "{refused}");
    }
    assert_eq!(filter.call("clone3", &[]), ERRNO | 38);
    assert_eq!(filter.call("clone", &[0x0120_0011]), ALLOW);
    assert_eq!(filter.call("clone", &[0x1000_0000]), ERRNO | 1);
    assert_eq!(filter.call("personality", &[8]), ALLOW);
    assert_eq!(filter.call("personality", &[4]), ERRNO | 1);
    assert_eq!(filter.call("socket", &[1]), ALLOW);
    assert_eq!(filter.call("socket", &[40]), ERRNO | 1);
}

#[test]
fn the_profile_of_podman() {
    let filter = Filter(compile(&stock("podman-default"), false).unwrap().program);
    assert_eq!(filter.call("read", &[]), ALLOW);
    assert_eq!(filter.call("mount", &[]), ALLOW);
    assert_eq!(filter.call("bpf", &[]), ERRNO | 1);
    assert_eq!(filter.call("socket", &[16, 3, 9]), ERRNO | 22);
    assert_eq!(filter.call("socket", &[16, 3, 0]), ALLOW);
    assert_eq!(run(&filter.0, native(), 9999, [0; 6]), ERRNO | 38);
}

#[test]
fn the_binary_tree_gives_the_same_answers() {
    // With more than 32 rules the program is laid out differently: every call must still get its own answer.
    let names: Vec<&str> = stock_names().collect();
    let filter = Filter::new(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": names.iter().enumerate().map(|(i, name)| {
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": i + 1})
    }).collect::<Vec<Value>>()}),
    );
    for (i, name) in names.iter().enumerate() {
        assert_eq!(filter.call(name, &[]), ERRNO | (i as u32 + 1), "{name}");
    }
    assert_eq!(filter.call("getcwd", &[]), ALLOW);
}

fn stock_names() -> impl Iterator<Item = &'static str> {
    "read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask ioctl readv writev dup nanosleep \
     getpid sendfile socket connect accept sendto recvfrom sendmsg recvmsg shutdown bind listen clone execve exit wait4 \
     kill uname fcntl flock fsync ftruncate chdir fchdir fchmod fchown umask getuid getgid setuid setgid setpgid"
        .split_whitespace()
}

#[test]
fn the_kernel_takes_the_program() {
    // A filter without TSYNC binds this one thread, which ends with the test.
    let errors = std::thread::spawn(|| {
        let call = || nix::mount::umount("/nowhere/at/all").unwrap_err();
        let filter = compile(&stock("podman-default"), false).unwrap();
        rustix::thread::set_no_new_privs(true).unwrap();
        let before = call();
        kernel::set_filter(&filter.program, filter.flags).unwrap();
        let refused = Filter::new(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["umount2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]
        }));
        kernel::set_filter(&refused.0, 0).unwrap();
        (before, call())
    });
    let (before, after) = errors.join().unwrap();
    assert_ne!(before, nix::errno::Errno::EOPNOTSUPP);
    assert_eq!(after, nix::errno::Errno::EOPNOTSUPP);
}

#[test]
fn the_kernel_answers_enosys_for_calls_newer_than_the_profile() {
    // All calls up to statx of Linux 4.11; pidfd_open is of 5.3. Under the same profile a call among them is refused.
    let native = ScmpArch::native();
    let last = i32::from(ScmpSyscall::from_name("statx").unwrap());
    let name = |number| ScmpSyscall::from_raw_syscall(number).get_name_by_arch(native).ok();
    let names: Vec<String> = (0..=last).filter_map(name).filter(|name| name != "umount2").collect();
    assert!(names.len() > 200);
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]
    });
    let filter = compile_json(profile).unwrap();
    let call = || {
        use rustix::process::{PidfdFlags, getpid, pidfd_open};
        let umount = nix::mount::umount("/nowhere/at/all").unwrap_err();
        (umount, pidfd_open(getpid(), PidfdFlags::empty()).map(drop))
    };
    let errors = std::thread::spawn(move || {
        rustix::thread::set_no_new_privs(true).unwrap();
        kernel::set_filter(&filter.program, filter.flags).unwrap();
        call()
    });
    assert_eq!(
        errors.join().unwrap(),
        (nix::errno::Errno::EPERM, Err(rustix::io::Errno::NOSYS))
    );
    assert_eq!(call().1, Ok(()), "without a filter the kernel has the call");
}

#[test]
fn a_listener_is_made_only_when_a_rule_asks() {
    let with = |action: &str, flags: Value| {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock", "listenerMetadata": "m",
            "flags": flags, "syscalls": [{"names": ["mkdir", "no_such_call"], "action": action}]
        });
        compile(&serde_json::from_value(profile).unwrap(), false).unwrap()
    };
    let asked = with("SCMP_ACT_NOTIFY", json!([]));
    let listener = asked.listener.unwrap();
    assert_eq!(
        (listener.path.to_str(), listener.metadata.as_deref()),
        (Some("/run/agent.sock"), Some("m"))
    );
    assert_eq!(asked.flags, kernel::FLAG_NEW_LISTENER);
    let flags = json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
    assert_eq!(
        with("SCMP_ACT_NOTIFY", flags.clone()).flags,
        kernel::FLAG_NEW_LISTENER | kernel::FLAG_TSYNC | kernel::FLAG_TSYNC_ESRCH | kernel::FLAG_WAIT_KILLABLE_RECV
    );
    let silent = with("SCMP_ACT_KILL", flags);
    assert_eq!((silent.listener, silent.flags), (None, kernel::FLAG_TSYNC));
}
