//! Tests of compiling: small configs, one rule each.
//!
//! Each test takes the smallest valid config and lays a patch over it (RFC 7386: null removes a field). What is
//! compared is the whole text of the error, JSON path included, or the part of the plan that the rule is about.

mod devices;
mod golden;
mod id_maps;
mod intel_rdt;
mod judge;
mod misc;
mod mounts;
mod mutations;
mod namespaces;
mod net_devices;
mod process;
mod scheduling;

use serde_json::{Value, json};

use super::{Host, Options, Plan, PlanError};

/// A host of today: root, and capabilities up to CAP_CHECKPOINT_RESTORE.
pub(super) const HOST: Host = Host { euid: 0, last_cap: 40 };

/// What `create` without flags says.
pub(super) fn options() -> Options {
    Options {
        bundle: "/bundle".into(),
        detach: true,
        ..Options::default()
    }
}

/// The smallest config with namespaces and a program.
fn base() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"},
        "linux": {"namespaces": [
            {"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}
        ]}
    })
}

fn merge(target: &mut Value, patch: Value) {
    let Value::Object(fields) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        match value {
            Value::Null => target.as_object_mut().unwrap().remove(&key),
            value => {
                merge(&mut target[&key], value);
                None
            }
        };
    }
}

fn compile_with(patch: Value, options: &Options, host: &Host) -> Result<Plan, PlanError> {
    let mut config = base();
    merge(&mut config, patch);
    let (spec, _) = crate::spec::parse(config.to_string().as_bytes()).expect("a config that oci-spec understands");
    Plan::compile(&spec, options, host, &crate::security::seccomp::NoCache)
}

/// The plan of the smallest config with a patch.
fn plan(patch: Value) -> Plan {
    let text = patch.to_string();
    compile_with(patch, &options(), &HOST).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The text of the error that a patch leads to.
fn error(patch: Value) -> String {
    let text = patch.to_string();
    match compile_with(patch, &options(), &HOST) {
        Ok(_) => panic!("{text} was accepted"),
        Err(e) => e.to_string(),
    }
}

/// Checks a table of patches and the errors they lead to.
fn refused<const N: usize>(table: [(Value, &str); N]) {
    for (patch, text) in table {
        assert_eq!(error(patch), text);
    }
}
