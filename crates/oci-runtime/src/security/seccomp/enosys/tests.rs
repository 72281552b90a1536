//! Which calls are newer than a profile, seen through the whole program that `compile` makes.

use libseccomp::{ScmpArch, ScmpSyscall};
use serde_json::{Value, json};

use super::super::tests::{ALLOW, ERRNO, Filter, KILL_PROCESS, KILL_THREAD, LOG, TRACE, TRAP, native, run};
use super::{audit, prologue};

/// A profile that allows `names` and does this with all others.
fn allowing(default: &str, names: &[&str], architectures: Value) -> Value {
    json!({
        "defaultAction": default, "architectures": architectures,
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
    })
}

fn number(name: &str, architecture: ScmpArch) -> u32 {
    let call = ScmpSyscall::from_name_by_arch(name, architecture).unwrap();
    call.as_raw_syscall().unsigned_abs()
}

#[test]
fn a_call_above_the_highest_that_is_named_is_not_implemented() {
    let filter = Filter::new(allowing(
        "SCMP_ACT_ERRNO",
        &["read", "statx", "no_such_call"],
        json!([]),
    ));
    let highest = number("statx", ScmpArch::native());
    assert_eq!(run(&filter.0, native(), highest, [0; 6]), ALLOW);
    assert_eq!(run(&filter.0, native(), highest - 1, [0; 6]), ERRNO | 1);
    for newer in [highest + 1, 1000, 0x3fff_ffff, u32::MAX] {
        assert_eq!(run(&filter.0, native(), newer, [0; 6]), ERRNO | 38, "{newer}");
    }
}

#[test]
fn a_named_call_counts_whatever_its_rule_says() {
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_LOG"] {
        let profile = json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            { "names": ["read"], "action": "SCMP_ACT_ALLOW" },
            { "names": ["faccessat2"], "action": action },
        ]});
        let highest = number("faccessat2", ScmpArch::native());
        let filter = Filter::new(profile);
        assert_eq!(run(&filter.0, native(), highest - 1, [0; 6]), ERRNO | 1, "{action}");
        assert_eq!(run(&filter.0, native(), highest + 1, [0; 6]), ERRNO | 38, "{action}");
        assert_ne!(run(&filter.0, native(), highest, [0; 6]), ERRNO | 38, "{action}");
    }
}

#[test]
fn a_default_that_means_what_it_says_is_left_alone() {
    let table = [
        ("SCMP_ACT_ERRNO", ERRNO | 38),
        ("SCMP_ACT_TRAP", ERRNO | 38),
        ("SCMP_ACT_ALLOW", ALLOW),
        ("SCMP_ACT_LOG", LOG),
        ("SCMP_ACT_TRACE", TRACE | 1),
        ("SCMP_ACT_KILL", KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", KILL_PROCESS),
    ];
    for (default, answer) in table {
        let mut profile = allowing(default, &["read"], json!([]));
        profile["syscalls"][0]["action"] = json!("SCMP_ACT_TRAP");
        profile["syscalls"][0]["names"] = json!(["statx"]);
        if default == "SCMP_ACT_TRAP" {
            profile["syscalls"][0]["action"] = json!("SCMP_ACT_ALLOW");
        }
        let filter = Filter::new(profile);
        assert_eq!(run(&filter.0, native(), 1000, [0; 6]), answer, "{default}");
    }
    assert_eq!(TRAP, 0x0003_0000);
}

#[test]
fn a_profile_that_answers_by_itself_or_names_nothing_has_no_prologue() {
    let own = |profile: Value| prologue(&serde_json::from_value(profile).unwrap());
    let profile = allowing("SCMP_ACT_ERRNO", &["read"], json!([]));
    assert!(!own(profile.clone()).is_empty());
    let mut answers = profile.clone();
    answers["defaultErrnoRet"] = json!(38);
    assert!(own(answers).is_empty());
    assert!(own(json!({ "defaultAction": "SCMP_ACT_ERRNO" })).is_empty());
    assert!(own(allowing("SCMP_ACT_ERRNO", &["no_such_call"], json!([]))).is_empty());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn each_architecture_has_its_own_highest_call() {
    let (wide, narrow) = (audit(ScmpArch::X8664), audit(ScmpArch::X86));
    let bit = 0x4000_0000;
    let names = ["read", "statx"];
    let all = json!(["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"]);
    let filter = Filter::new(allowing("SCMP_ACT_ERRNO", &names, all));
    // statx is 332 on x86-64 and x32, and 383 on x86.
    for (arch, known, unnamed, newer) in [
        (wide, 332, 331, 333),
        (wide, bit | 332, bit | 331, bit | 333),
        (narrow, 383, 382, 384),
    ] {
        assert_eq!(run(&filter.0, arch, known, [0; 6]), ALLOW, "{arch:x} {known}");
        assert_eq!(run(&filter.0, arch, unnamed, [0; 6]), ERRNO | 1, "{arch:x} {unnamed}");
        assert_eq!(run(&filter.0, arch, newer, [0; 6]), ERRNO | 38, "{arch:x} {newer}");
    }
    assert_eq!(
        run(&filter.0, narrow, 333, [0; 6]),
        ERRNO | 1,
        "x86-64's limit is not x86's"
    );
    // An architecture that is not listed stays forbidden.
    let filter = Filter::new(allowing("SCMP_ACT_ERRNO", &names, json!([])));
    assert_eq!(run(&filter.0, narrow, 3, [0; 6]), KILL_THREAD);
    assert_eq!(run(&filter.0, narrow, 1000, [0; 6]), KILL_THREAD);
    assert_eq!(
        run(&filter.0, wide, bit | 332, [0; 6]),
        ERRNO | 38,
        "x32 is above all calls of x86-64"
    );
}

#[test]
fn on_s390_an_unknown_call_may_arrive_as_setup() {
    let profile = allowing("SCMP_ACT_ERRNO", &["read", "exit"], json!(["SCMP_ARCH_S390X"]));
    let profile = serde_json::from_value(profile).unwrap();
    let program = [
        &prologue(&profile)[..],
        &super::Instruction(super::RETURN, 0, 0, ALLOW).bytes(),
    ]
    .concat();
    let s390x = audit(ScmpArch::S390X);
    assert_eq!(run(&program, s390x, 0, [0; 6]), ERRNO | 38);
    assert_eq!(run(&program, s390x, 1, [0; 6]), ALLOW);
    assert_eq!(run(&program, s390x, 300, [0; 6]), ERRNO | 38);
    assert_eq!(
        run(&program, native(), 0, [0; 6]),
        ALLOW,
        "0 is an ordinary call elsewhere"
    );
}
