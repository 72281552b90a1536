//! `process`: strings, users, limits, capabilities, terminal.

use std::ffi::CString;

use serde_json::{Value, json};

use super::{HOST, compile_with, options, plan, refused};
use crate::plan::{Capabilities, Host, Options, Process};

fn process(patch: Value) -> Process {
    plan(json!({"process": patch})).process.unwrap()
}

fn with(patch: Value) -> Value {
    json!({"process": patch})
}

fn strings(list: &[CString]) -> Vec<&str> {
    list.iter().map(|s| s.to_str().unwrap()).collect()
}

#[test]
fn a_config_without_process_compiles() {
    assert!(plan(json!({"process": null})).process.is_none());
}

#[test]
fn everything_in_its_place() {
    let process = process(json!({
        "args": ["/bin/sh", "-c", ""], "env": ["A=1", "B="], "cwd": "/work",
        "user": {"uid": 1, "gid": 2, "additionalGids": [3, 4], "umask": 18},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}, {"type": "RLIMIT_RTTIME", "soft": 3, "hard": 3}],
        "noNewPrivileges": true, "oomScoreAdj": -1000, "consoleSize": {"height": 24, "width": 80},
    }));
    assert_eq!(strings(&process.args), ["/bin/sh", "-c", ""]);
    assert_eq!(strings(&process.env), ["A=1", "B="]);
    assert_eq!(process.cwd.to_str(), Ok("/work"));
    assert_eq!((process.uid, process.gid, process.umask), (1, 2, Some(0o22)));
    assert_eq!(process.additional_gids, [3, 4]);
    assert_eq!(process.rlimits, [(7, 1, 2), (15, 3, 3)]);
    assert!(process.no_new_privileges && !process.terminal);
    assert_eq!(process.oom_score_adj, Some(-1000));
    assert_eq!(process.console_size, Some((24, 80)));
    assert_eq!(process.capabilities, None);
    assert_eq!(
        self::process(json!({"consoleSize": {"height": 0, "width": 0}})).console_size,
        None
    );
}

#[test]
fn the_last_value_of_a_variable_counts() {
    let process = process(json!({"env": ["A=1", "B=2", "A=3", "AB=4", "A=5=6"]}));
    assert_eq!(strings(&process.env), ["B=2", "AB=4", "A=5=6"]);
}

#[test]
fn all_limits_have_their_number() {
    let names = "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME";
    let list: Vec<Value> = names
        .split(' ')
        .map(|name| json!({"type": format!("RLIMIT_{name}"), "soft": 0, "hard": u64::MAX}))
        .collect();
    let numbers: Vec<u32> = process(json!({"rlimits": list}))
        .rlimits
        .iter()
        .map(|limit| limit.0)
        .collect();
    assert_eq!(numbers, (0..16).collect::<Vec<u32>>());
}

#[test]
fn refused_processes() {
    refused([
        (with(json!({"args": []})), "process.args: must not be empty"),
        (with(json!({"args": null})), "process.args: must not be empty"),
        (
            with(json!({"args": ["a", "b\u{0}"]})),
            "process.args[1]: must not contain a NUL byte",
        ),
        (with(json!({"cwd": ""})), "process.cwd: must not be empty"),
        (
            with(json!({"cwd": "work"})),
            "process.cwd: \"work\" must be an absolute path",
        ),
        (
            with(json!({"cwd": "/\u{0}"})),
            "process.cwd: must not contain a NUL byte",
        ),
        (
            with(json!({"env": ["A=1", "B"]})),
            "process.env[1]: invalid environment variable \"B\": missing '='",
        ),
        (
            with(json!({"env": ["=1"]})),
            "process.env[0]: invalid environment variable \"=1\": name cannot be empty",
        ),
        (
            with(json!({"env": ["A=\u{0}"]})),
            "process.env[0]: must not contain a NUL byte",
        ),
        (
            with(json!({"user": {"umask": 512}})),
            "process.user.umask: 512 must not be greater than 511 (octal 0777)",
        ),
        (
            with(json!({"oomScoreAdj": 1001})),
            "process.oomScoreAdj: 1001 must be between -1000 and 1000",
        ),
        (
            with(json!({"consoleSize": {"height": 1, "width": 65536}})),
            "process.consoleSize.width: 65536 must not be greater than 65535",
        ),
        (
            with(json!({"rlimits": [
                {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}, {"type": "RLIMIT_CPU", "soft": 1, "hard": 1}
            ]})),
            "process.rlimits[1].type: duplicated rlimit RLIMIT_CPU",
        ),
        (
            with(json!({"rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]})),
            "process.rlimits[0]: soft limit 2 exceeds hard limit 1",
        ),
    ]);
}

#[test]
fn ids_must_be_mapped() {
    let user = |user: Value| {
        let line = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        json!({
            "process": {"user": user},
            "linux": {"namespaces": [{"type": "user"}], "uidMappings": line, "gidMappings": line}
        })
    };
    plan(user(json!({"uid": 9, "gid": 9, "additionalGids": [0, 9]})));
    refused([
        (
            user(json!({"uid": 10, "gid": 0})),
            "process.user.uid: 10 is not mapped by linux.uidMappings",
        ),
        (
            user(json!({"uid": 0, "gid": 11})),
            "process.user.gid: 11 is not mapped by linux.gidMappings",
        ),
        (
            user(json!({"uid": 0, "gid": 0, "additionalGids": [1, 12]})),
            "process.user.additionalGids[1]: 12 is not mapped by linux.gidMappings",
        ),
    ]);
}

#[test]
fn the_terminal_and_its_socket() {
    let check = |terminal: bool, detach: bool, console_socket: bool| {
        let options = Options {
            detach,
            console_socket,
            ..options()
        };
        let result = compile_with(with(json!({"terminal": terminal})), &options, &HOST);
        result
            .map(|plan| plan.process.unwrap().terminal)
            .map_err(|e| e.to_string())
    };
    let no_socket = "process.terminal: cannot allocate tty if runc will detach without setting console socket";
    let no_use = "process.terminal: cannot use console socket if runc will not detach or allocate tty";
    assert_eq!(check(true, true, true), Ok(true));
    assert_eq!(check(true, false, false), Ok(true));
    assert_eq!(check(false, true, false), Ok(false));
    assert_eq!(check(false, false, false), Ok(false));
    assert_eq!(check(true, true, false).unwrap_err(), no_socket);
    assert_eq!(check(true, false, true).unwrap_err(), no_use);
    assert_eq!(check(false, true, true).unwrap_err(), no_use);
    assert_eq!(check(false, false, true).unwrap_err(), no_use);
}

#[test]
fn capabilities_become_masks() {
    let sets = process(json!({"capabilities": {
        "bounding": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "CAP_SYS_ADMIN", "CAP_KILL"],
        "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    }}));
    let wanted = Capabilities {
        bounding: 1 | 1 << 40 | 1 << 21 | 1 << 5,
        permitted: 1 << 5 | 1,
        effective: 1 << 5,
        inheritable: 1 << 5,
        ambient: 1 << 5,
    };
    assert_eq!(sets.capabilities, Some(wanted));
    assert_eq!(
        process(json!({"capabilities": {}})).capabilities,
        Some(Capabilities::default())
    );
}

#[test]
fn capabilities_that_cannot_be_had_are_dropped_with_a_warning() {
    let old = Host { last_cap: 38, ..HOST };
    let names = json!(["CAP_BPF", "CAP_KILL", "CAP_CHECKPOINT_RESTORE"]);
    let plan = compile_with(
        with(json!({"capabilities": {"bounding": names, "permitted": names, "effective": names, "ambient": names}})),
        &options(),
        &old,
    )
    .unwrap();
    let sets = plan.process.unwrap().capabilities.unwrap();
    assert_eq!((sets.bounding, sets.effective, sets.ambient), (1 << 5, 1 << 5, 0));
    assert_eq!(
        plan.warnings,
        [
            "ignoring unknown or unavailable capabilities: [CAP_BPF CAP_CHECKPOINT_RESTORE]",
            "process.capabilities.ambient: ignoring what is not permitted and inheritable: [CAP_KILL]",
        ]
    );
    // What the runtime has not got it cannot give, but a user namespace has everything.
    let poor = Host {
        capabilities: 1 << 5,
        ..HOST
    };
    let bounding = |linux: Value| {
        let mut config = with(json!({"capabilities": {"bounding": ["CAP_BPF", "CAP_KILL"]}}));
        super::merge(&mut config, linux);
        let plan = compile_with(config, &options(), &poor).unwrap();
        (
            plan.process.unwrap().capabilities.unwrap().bounding,
            plan.warnings.len(),
        )
    };
    assert_eq!(bounding(json!({})), (1 << 5, 1));
    let user = json!({"linux": {"namespaces": [{"type": "mount"}, {"type": "user", "path": "/proc/1/ns/user"}]}});
    assert_eq!(bounding(user), (1 << 5 | 1 << 39, 0));
}

#[test]
fn what_the_kernel_would_refuse_is_dropped_with_a_warning() {
    let plan = plan(with(json!({"capabilities": {
        "bounding": ["CAP_KILL"],
        "permitted": ["CAP_KILL", "CAP_SYS_TIME"],
        "effective": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"],
        "inheritable": ["CAP_KILL", "CAP_SYS_TIME"],
        "ambient": ["CAP_KILL", "CAP_SYS_TIME"],
    }})));
    let sets = plan.process.unwrap().capabilities.unwrap();
    assert_eq!(
        (sets.effective, sets.inheritable, sets.ambient),
        (1 << 5, 1 << 5, 1 << 5)
    );
    assert_eq!(sets.permitted, 1 << 5 | 1 << 25);
    assert_eq!(
        plan.warnings,
        [
            "process.capabilities.effective: ignoring what is not permitted: [CAP_CHOWN CAP_FOWNER]",
            "process.capabilities.inheritable: ignoring what is not bounding: [CAP_SYS_TIME]",
            "process.capabilities.ambient: ignoring what is not permitted and inheritable: [CAP_SYS_TIME]",
        ]
    );
}

#[test]
fn limits_have_their_names_in_errors() {
    use crate::plan::rlimit_name;
    assert_eq!(rlimit_name(7), "RLIMIT_NOFILE");
    assert_eq!(rlimit_name(0), "RLIMIT_CPU");
    assert_eq!(rlimit_name(15), "RLIMIT_RTTIME");
    assert_eq!(rlimit_name(16), "resource 16");
    let limits = process(json!({"rlimits": [
        {"type": "RLIMIT_STACK", "soft": 1, "hard": 2}, {"type": "RLIMIT_RTTIME", "soft": 3, "hard": 4},
    ]}));
    assert_eq!(limits.rlimits, [(3, 1, 2), (15, 3, 4)]);
}
