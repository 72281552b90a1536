//! What is written down about a container that is being made.

use std::collections::BTreeMap;

use nix::sched::CloneFlags;
use nucleus_core::{CgroupRecord, ContainerState, HookRecord, NamespaceRecord, ProcessIdentity};

use super::{Compiled, Options};
use crate::lifecycle::{Result, exec};
use crate::plan::{Hook, Plan};

/// What a cleaner needs is in the record before anything else is made.
// Never inlined, for the same reason as `compile`.
#[inline(never)]
pub fn initial_state(options: &Options, compiled: &Compiled) -> Result<ContainerState> {
    let plan = &compiled.plan;
    let args = plan.process.iter().flat_map(|process| &process.args);
    Ok(ContainerState {
        creator: Some(ProcessIdentity::current()?),
        oci_version: plan.oci_version.clone(),
        rootfs: plan.rootfs.path.clone(),
        command: args.map(|arg| arg.to_string_lossy().into_owned()).collect(),
        owner: compiled.host.euid,
        annotations: plan.annotations.iter().cloned().collect::<BTreeMap<_, _>>(),
        config_hash: Some(compiled.config_hash.clone()),
        namespaces: namespace_records(plan),
        poststart: hook_records(&plan.hooks.poststart),
        poststop: hook_records(&plan.hooks.poststop),
        rootless: compiled.host.rootless,
        exec: exec::record(plan, options.no_new_keyring),
        ..ContainerState::new(options.id.clone(), options.bundle.clone())
    })
}

fn namespace_records(plan: &Plan) -> Vec<NamespaceRecord> {
    const KINDS: [(u64, &str); 8] = [
        (CloneFlags::CLONE_NEWUSER.bits() as u64, "user"),
        (CloneFlags::CLONE_NEWNS.bits() as u64, "mount"),
        (CloneFlags::CLONE_NEWPID.bits() as u64, "pid"),
        (CloneFlags::CLONE_NEWNET.bits() as u64, "network"),
        (CloneFlags::CLONE_NEWIPC.bits() as u64, "ipc"),
        (CloneFlags::CLONE_NEWUTS.bits() as u64, "uts"),
        (CloneFlags::CLONE_NEWCGROUP.bits() as u64, "cgroup"),
        (crate::init::TIME_NAMESPACE, "time"),
    ];
    let joined = |bit| {
        plan.namespaces
            .join
            .iter()
            .find(|(join, _)| *join == bit)
            .map(|(_, path)| path.clone())
    };
    KINDS
        .iter()
        .filter(|(bit, _)| plan.namespaces.has(*bit))
        .map(|(bit, kind)| NamespaceRecord {
            kind: (*kind).to_string(),
            path: joined(*bit),
        })
        .collect()
}

fn hook_records(hooks: &[Hook]) -> Vec<HookRecord> {
    let record = |hook: &Hook| HookRecord {
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        inherits_env: hook.inherits_env,
        timeout: hook.timeout.map(i64::from),
    };
    hooks.iter().map(record).collect()
}

/// The control groups as the state file keeps them.
pub fn record_of(record: nucleus_cgroup::Record) -> CgroupRecord {
    CgroupRecord {
        driver: record.driver,
        paths: record.paths,
        unit: record.unit,
    }
}
