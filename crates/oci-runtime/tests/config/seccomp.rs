//! System call filters.

use serde_json::{Value, json};

use super::inside::field;
use crate::common::{Container, Test, compile_c};

/// The filter's architectures on this machine.
fn architectures() -> Value {
    if cfg!(target_arch = "x86_64") {
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"])
    } else {
        json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])
    }
}

/// A shell script under a filter that allows everything but what `rules` say.
fn filtered<'t>(test: &'t Test, script: &str, rules: Value) -> Container<'t> {
    test.script_with(script, |config| {
        config["root"]["readonly"] = json!(false);
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures(), "syscalls": rules,
        });
    })
}

#[test]
fn a_call_that_is_refused() {
    let Some(test) = Test::new() else { return };
    let rule = |extra: Value| {
        let mut rule = json!({ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" });
        rule.as_object_mut()
            .expect("rule")
            .extend(extra.as_object().expect("extra").clone());
        json!([rule])
    };
    let script = "mkdir /tmp/d; grep -E '^Seccomp:' /proc/self/status | xargs";
    let out = filtered(&test, script, rule(json!({}))).run().ok();
    assert!(
        out.stderr.contains("Operation not permitted"),
        "EPERM is the default: {out}"
    );
    assert_eq!(out.stdout, "Seccomp: 2\n");
    let out = filtered(&test, script, rule(json!({ "errnoRet": 38 }))).run().ok();
    assert!(out.stderr.contains("Function not implemented"), "{out}");
    let out = filtered(&test, script, rule(json!({ "errnoRet": 0 }))).run().ok();
    assert_eq!(out.stderr, "", "the call seems to succeed: {out}");
}

#[test]
fn the_default_action() {
    let Some(test) = Test::new() else { return };
    // All that the runtime and a shell need is allowed by its absence from this short list of what is not.
    let c = filtered(&test, "mkdir /tmp/d || echo refused", json!([]));
    c.edit(|config| {
        config["linux"]["seccomp"]["syscalls"] = json!([
            { "names": ["mkdir", "mkdirat", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1 },
        ]);
    });
    c.run().ok().prints("refused");
}

#[test]
fn an_allow_list() {
    let Some(test) = Test::new() else { return };
    // `mkdir` is missing from it; defaultErrnoRet says what it gets.
    let names = [
        "access",
        "arch_prctl",
        "brk",
        "capget",
        "capset",
        "chdir",
        "close",
        "close_range",
        "clone",
        "dup",
        "dup2",
        "dup3",
        "epoll_create1",
        "epoll_ctl",
        "epoll_pwait",
        "execve",
        "execveat",
        "exit",
        "exit_group",
        "faccessat",
        "faccessat2",
        "fchdir",
        "fcntl",
        "fstat",
        "fstatfs",
        "futex",
        "getcwd",
        "getdents64",
        "getegid",
        "geteuid",
        "getgid",
        "getpgrp",
        "getpid",
        "getppid",
        "getrandom",
        "getrlimit",
        "gettid",
        "gettimeofday",
        "getuid",
        "ioctl",
        "lseek",
        "madvise",
        "mmap",
        "mprotect",
        "munmap",
        "nanosleep",
        "newfstatat",
        "open",
        "openat",
        "openat2",
        "poll",
        "ppoll",
        "prctl",
        "pread64",
        "prlimit64",
        "read",
        "readlink",
        "readlinkat",
        "recvfrom",
        "recvmsg",
        "rseq",
        "rt_sigaction",
        "rt_sigprocmask",
        "rt_sigreturn",
        "sched_getaffinity",
        "sched_yield",
        "sendmsg",
        "sendto",
        "set_robust_list",
        "set_tid_address",
        "setgid",
        "setgroups",
        "setresgid",
        "setresuid",
        "setsid",
        "setuid",
        "sigaltstack",
        "stat",
        "statfs",
        "statx",
        "tgkill",
        "umask",
        "uname",
        "vfork",
        "wait4",
        "waitid",
        "write",
        "writev",
    ];
    let c = filtered(&test, "mkdir /tmp/d", json!([]));
    c.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 28, "architectures": architectures(),
            "syscalls": [{ "names": names.to_vec(), "action": "SCMP_ACT_ALLOW" }],
        });
    });
    let out = c.run().exits(1);
    assert!(out.stderr.contains("No space left on device"), "errno 28: {out}");
    // With privileges to gain the filter is loaded earlier; it must not hinder the runtime itself, which it would kill.
    c.edit(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["process"]["args"] = json!(["echo", "through"]);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [5] });
        let seccomp = config["linux"]["seccomp"].as_object_mut().expect("seccomp");
        seccomp.insert("defaultAction".into(), json!("SCMP_ACT_KILL_PROCESS"));
        seccomp.remove("defaultErrnoRet");
    });
    c.run().ok().prints("through");
}

#[test]
fn a_call_that_kills() {
    let Some(test) = Test::new() else { return };
    for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"] {
        let c = filtered(&test, "", json!([{ "names": ["mkdir", "mkdirat"], "action": action }]));
        c.edit(|config| config["process"]["args"] = json!(["mkdir", "/tmp/d"]));
        c.run().exits(128 + 31);
        assert!(!c.rootfs().join("tmp/d").exists());
        test.nothing_left();
    }
}

#[test]
fn calls_newer_than_the_profile_are_not_implemented() {
    let Some(test) = Test::new() else { return };
    // The profile knows the calls up to number 439, without one of them. `exec` has the same filter as the first program.
    let source = "#include <errno.h>\n#include <stdio.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
        int main(void) { errno = 0; syscall(1000); printf(\"%d \", errno); errno = 0; syscall(SYS_keyctl, 0, 0, 0);\n\
        printf(\"%d\\n\", errno); return 0; }\n";
    let c = filtered(&test, "exec sleep 1000", json!([]));
    if !compile_c(source, &c.rootfs().join("calls")) {
        return;
    }
    let names: Vec<String> = (0..=439)
        .filter_map(|number| libseccomp::ScmpSyscall::from_raw_syscall(number).get_name().ok())
        .filter(|name| name != "keyctl")
        .collect();
    assert!(names.len() > 250, "{names:?}");
    c.edit(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures(),
            "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }],
        });
    });
    c.run_detached().ok();
    c.verb("exec", &[]).args(["/calls"]).run().ok().prints("38 1");
    c.kill_and_delete();
    c.edit(|config| config["process"]["args"] = json!(["/calls"]));
    c.run().ok().prints("38 1");
    // A profile that kills for unknown calls means it.
    c.edit(|config| config["linux"]["seccomp"]["defaultAction"] = json!("SCMP_ACT_KILL_PROCESS"));
    c.run().exits(128 + 31);
}

#[test]
fn rules_with_arguments() {
    let Some(test) = Test::new() else { return };
    // mkdir(path, 0700) is refused, with any other mode it is not.
    let rules = json!([
        { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO",
          "args": [{ "index": 1, "value": 0o700, "op": "SCMP_CMP_EQ" }] },
        { "names": ["mkdirat"], "action": "SCMP_ACT_ERRNO",
          "args": [{ "index": 2, "value": 0o700, "op": "SCMP_CMP_EQ" }] },
    ]);
    let script = "umask 0; mkdir -m 711 /tmp/a && echo a; mkdir /tmp/b && echo b; chmod 755 /tmp/b; \
                  mkdir -m 700 /tmp/c 2>/dev/null || echo refused";
    let c = filtered(&test, script, rules);
    let out = c.run().ok();
    assert!(out.stdout.starts_with("a\nb\n"), "{out}");
    let masked = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO",
        "args": [{ "index": 5, "value": 0, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] }]);
    let c = filtered(&test, "mkdir /tmp/a || echo refused", masked);
    c.run().ok().prints("refused");
}

#[test]
fn the_runtime_needs_nothing_of_the_filter_but_the_exec() {
    let Some(test) = Test::new() else { return };
    // A profile that refuses getcwd must not refuse the container.
    let rules = json!([{ "names": ["getcwd", "chdir", "fchdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]);
    for no_new_privileges in [true, false] {
        let c = filtered(&test, "echo through", rules.clone());
        c.edit(|config| config["process"]["noNewPrivileges"] = json!(no_new_privileges));
        // runc differs: it asks for its working directory after it has loaded the filter.
        let out = c.run().ok();
        assert_eq!(out.stdout, "through\n", "{out}");
    }
}

#[test]
fn a_profile_older_than_linux_5_8() {
    let Some(test) = Test::new() else { return };
    // It refuses faccessat2 because it does not know it. Programs are still found, and still told from other files.
    let c = filtered(
        &test,
        "",
        json!([{ "names": ["faccessat2"], "action": "SCMP_ACT_ERRNO" }]),
    );
    for no_new_privileges in [true, false] {
        c.edit(|config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["process"]["args"] = json!(["echo", "through"]);
        });
        c.run().ok().prints("through");
        c.edit(|config| {
            config["process"]["args"] = json!(["/bin/echo", "through"]);
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        });
        c.run().ok().prints("through");
        c.edit(|config| config["process"]["args"] = json!(["/etc/passwd"]));
        let out = c.create();
        assert!(out.code() == 1 && out.stderr.contains("permission denied"), "{out}");
    }
}

#[test]
fn false_is_not_true() {
    let Some(test) = Test::new() else { return };
    // A user without any privilege, and `noNewPrivileges: false` written out.
    let c = filtered(
        &test,
        "cat /proc/self/status",
        json!([{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }]),
    );
    c.edit(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let out = c.run().ok();
    assert_eq!(field(&out.stdout, "NoNewPrivs"), "0");
    assert_eq!(field(&out.stdout, "Seccomp"), "2");
}

/// `errnoRet: 0` answers in the kernel's place. What the container's start rests on must not be pretended.
#[test]
fn a_profile_that_pretends_ends_the_start() {
    let Some(test) = Test::new() else { return };
    let pretending = |name: &str| json!([{ "names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 0 }]);
    let refused = |name: &str, no_new_privileges: bool| {
        let c = filtered(&test, "id -u", pretending(name));
        c.edit(|config| {
            config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [5] });
        });
        for out in [c.create(), c.run()] {
            assert_eq!(out.code(), 1, "{name}: {out}");
            assert!(out.stderr.contains("seccomp"), "{name}: {out}");
        }
        test.nothing_left();
    };
    for no_new_privileges in [true, false] {
        refused("read", no_new_privileges);
        refused("write", no_new_privileges);
    }
    // These are only made under the filter without `noNewPrivileges`.
    for name in ["setresuid", "setresgid", "setgroups", "capset", "prctl"] {
        refused(name, false);
        let c = filtered(&test, "id -u", pretending(name));
        c.edit(|config| config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [5] }));
        c.run().ok().prints("1000");
    }
    // So is `exec`.
    let c = filtered(&test, "exec sleep 1000", pretending("setresuid"));
    c.run_detached().ok();
    c.edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    let out = c.verb("exec", &["--user", "1000:1000"]).args(["id"]).run().exits(255);
    assert!(out.stderr.contains("linux.seccomp: setresuid has no effect"), "{out}");
    c.kill_and_delete();
}

#[test]
fn filters_that_cannot_be() {
    let Some(test) = Test::new() else { return };
    let refused = |what: &str, seccomp: Value| {
        let c = test.script_with("true", |config| config["linux"]["seccomp"] = seccomp);
        let out = c.create();
        assert_eq!(out.code(), 1, "{what}: {out}");
        assert!(!out.stderr.is_empty(), "{what}: {out}");
        test.nothing_left();
    };
    refused("an unknown action", json!({ "defaultAction": "SCMP_ACT_PRAY" }));
    refused(
        "an unknown architecture",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"],
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] }),
    );
    refused(
        "an unknown operator",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_MAYBE" }] }] }),
    );
    refused(
        "a seventh argument",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }] }] }),
    );
    refused(
        "an unknown flag",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_MAGIC"],
        "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO" }] }),
    );
}

/// The first container with a profile compiles it, the second finds the program: for the container it is the same.
#[test]
fn a_profile_whose_program_is_kept() {
    let Some(test) = Test::new() else { return };
    let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }]);
    let c = filtered(&test, "mkdir /tmp/d", rules);
    let kept = || std::fs::read_dir(test.root().join(".cache")).map_or(0, Iterator::count);
    let errors = || {
        let sound = c.config();
        let wrong = [
            ("/hostname", json!(7)),
            ("/ociVersion", json!("7.0.0")),
            ("/linux/seccomp/syscalls/0/action", json!("SCMP_ACT_PRAY")),
            ("/linux/seccomp/syscalls/0/errnoRet", json!(4096)),
        ];
        let errors = wrong.map(|(pointer, value)| {
            c.edit(|config| *config.pointer_mut(pointer).expect(pointer) = value);
            let texts = [c.create(), c.create()].map(|out| out.exits(1).stderr);
            assert_eq!(texts[0], texts[1], "{pointer}");
            c.edit(|config| *config = sound.clone());
            texts[0].clone()
        });
        test.nothing_left();
        errors
    };
    let cold = errors();
    assert_eq!(kept(), 0, "{cold:?}");
    for _ in 0..2 {
        let out = c.run().exits(1);
        assert!(out.stderr.contains("Function not implemented"), "{out}");
        assert_eq!(kept(), 1);
    }
    assert_eq!(errors(), cold);
    assert_eq!(kept(), 1);
}

#[test]
fn unknown_calls_are_errors_where_an_annotation_asks() {
    let Some(test) = Test::new() else { return };
    let rules = json!([{ "names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }]);
    let c = filtered(&test, "true", rules);
    // Its program is kept from now on.
    c.run().ok();
    c.edit(|config| config["annotations"] = json!({ "run.oci.seccomp_fail_unknown_syscall": "1" }));
    c.create()
        .fails("linux.seccomp.syscalls[0].names[1]: unknown system call \"no_such_call\"");
    c.edit(|config| config["linux"]["seccomp"]["syscalls"][0]["names"] = json!(["mkdir"]));
    c.run().ok();
    test.nothing_left();
}

#[test]
fn flags_that_the_kernel_knows() {
    let Some(test) = Test::new() else { return };
    let profile = |flags: Value| {
        let script = "sed -n 's/^Seccomp:\\t//p' /proc/self/status";
        test.script_with(script, |config| {
            config["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures(), "flags": flags,
                "syscalls": [{ "names": ["getcwd"], "action": "SCMP_ACT_LOG" }]
            });
        })
    };
    // What they do is seen by the kernel's log and by other threads only; a flag that it did not know it would refuse.
    for flag in ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"] {
        let flag = format!("SECCOMP_FILTER_FLAG_{flag}");
        profile(json!([flag])).run().ok().prints("2");
    }
    profile(json!(["SECCOMP_FILTER_FLAG_NEW"]))
        .run()
        .fails("linux.seccomp.flags[0]: ");
    test.nothing_left();
}
