//! Tests of compiling: small configs, one rule each.
//!
//! Each test takes the smallest valid config and lays a patch over it (RFC 7386: null removes a field). What is
//! compared is the whole text of the error, JSON path included, or the part of the plan that the rule is about.

mod compact;
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

use nucleus_cgroup::{Facts, Layout};
use serde_json::{Value, json};

use super::{Host, Options, Plan, PlanError};

pub(super) use judge::HOST;

/// Hosts with every controller: on one hierarchy of v1, and on v2.
pub(super) fn layouts() -> &'static [Layout; 2] {
    static LAYOUTS: std::sync::OnceLock<[Layout; 2]> = std::sync::OnceLock::new();
    LAYOUTS.get_or_init(|| {
        let names = "cpu,cpuset,memory,devices,freezer,blkio,pids,hugetlb,net_cls,net_prio,rdma";
        let v1 = Layout::parse(&Facts {
            own: &format!("1:{names}:/\n"),
            mountinfo: &format!("2 1 0:2 / /sys/fs/cgroup/v1 rw - cgroup cgroup rw,{names}\n"),
            ..Facts::default()
        });
        let v2 = Layout::parse(&Facts {
            v2_mount: Some("/sys/fs/cgroup"),
            v2_controllers: "cpuset cpu io memory hugetlb pids rdma misc",
            own: "0::/\n",
            mountinfo: "",
        });
        [v1, v2]
    })
}

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
    Plan::compile(&spec, options, host, None)
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
