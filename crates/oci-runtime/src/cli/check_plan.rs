//! A plan as a document for people and scripts: names instead of numbers where there are names.
//!
//! Only `check` uses it. The keys are config.json's where config.json has one.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::plan::{Capabilities, Hook, Hooks, IdMapping, MappedBy, Mount, MountKind, Namespaces, Plan, Process};

const NAMESPACES: [(u64, &str); 8] = [
    (nix::libc::CLONE_NEWCGROUP as u64, "cgroup"),
    (nix::libc::CLONE_NEWIPC as u64, "ipc"),
    (nix::libc::CLONE_NEWNS as u64, "mount"),
    (nix::libc::CLONE_NEWNET as u64, "network"),
    (nix::libc::CLONE_NEWPID as u64, "pid"),
    (crate::init::TIME_NAMESPACE, "time"),
    (nix::libc::CLONE_NEWUSER as u64, "user"),
    (nix::libc::CLONE_NEWUTS as u64, "uts"),
];

/// The whole plan.
pub fn document(plan: &Plan, cgroups: &BTreeMap<String, PathBuf>) -> Value {
    json!({
        "ociVersion": plan.oci_version,
        "root": {
            "path": plan.rootfs.path, "readonly": plan.rootfs.readonly, "propagation": hex(plan.rootfs.propagation),
        },
        "namespaces": namespaces(&plan.namespaces),
        "uidMappings": id_map(&plan.uid_map),
        "gidMappings": id_map(&plan.gid_map),
        "timeOffsets": plan.time_offsets.as_deref().map(|text| text.lines().collect::<Vec<_>>()),
        "cgroups": cgroups,
        "cgroupOwner": plan.cgroup_owner,
        "intelRdt": plan.intel_rdt.as_ref().map(|rdt| json!({
            "closID": rdt.clos_id, "schemata": rdt.schemas.iter().chain(&rdt.schemata).collect::<Vec<_>>(), "enableMonitoring": rdt.monitoring,
        })),
        "netDevices": plan.net_devices.iter().map(|d| json!({"host": d.host, "name": d.inside})).collect::<Vec<_>>(),
        "hostname": plan.hostname,
        "domainname": plan.domainname,
        "mounts": plan.mounts.iter().map(mount).collect::<Vec<_>>(),
        "mountLabel": plan.mount_label,
        "devices": plan.devices.iter().map(|device| json!({
            "path": device.path, "mode": format!("{:o}", device.mode), "number": [device.rdev.0, device.rdev.1],
            "uid": device.uid, "gid": device.gid,
        })).collect::<Vec<_>>(),
        "maskedPaths": plan.masked_paths,
        "readonlyPaths": plan.readonly_paths,
        "sysctl": plan.sysctl.iter().map(|(path, value)| (path.display().to_string(), value)).collect::<BTreeMap<_, _>>(),
        "personality": plan.personality,
        "memoryPolicy": plan.memory_policy.as_ref().map(|policy| json!({
            "mode": hex(policy.mode.into()), "nodes": numbers(&policy.nodes),
        })),
        "process": plan.process.as_ref().map(process),
        "seccomp": plan.seccomp.as_ref().map(|seccomp| json!({
            "instructions": seccomp.program.len() / 8, "flags": hex(seccomp.flags),
            "listenerPath": seccomp.listener.as_ref().map(|listener| &listener.path),
        })),
        "hooks": hooks(&plan.hooks),
        "annotations": plan.annotations.iter().cloned().collect::<BTreeMap<_, _>>(),
    })
}

fn namespaces(namespaces: &Namespaces) -> Value {
    let one = |(bit, name): &(u64, &str)| {
        let joined = namespaces.join.iter().find(|(join, _)| join == bit);
        match joined {
            Some((_, path)) => Some(json!({"type": name, "path": path})),
            None => namespaces.creates(*bit).then(|| json!(name)),
        }
    };
    NAMESPACES.iter().filter_map(one).collect()
}

fn id_map(map: &[IdMapping]) -> Value {
    let line = |line: &IdMapping| json!([line.container_id, line.host_id, line.size]);
    map.iter().map(line).collect()
}

fn mount(mount: &Mount) -> Value {
    let (kind, source) = match &mount.kind {
        MountKind::Filesystem { fstype, source } => (text(fstype), text(source)),
        MountKind::Bind {
            source,
            recursive,
            links,
        } => {
            let mut kind = vec![if *recursive { "rbind" } else { "bind" }];
            kind.extend(links.bind_source.then_some("src-nofollow"));
            kind.extend(links.cover_destination.then_some("dest-nofollow"));
            kind.extend(links.copy.then_some("copy-symlink"));
            (kind.join(" "), source.display().to_string())
        }
        MountKind::Cgroup => ("cgroup".to_owned(), String::new()),
        MountKind::Cgroup2 => ("cgroup2".to_owned(), String::new()),
        MountKind::Remount { bind: true } => ("bind remount".to_owned(), String::new()),
        MountKind::Remount { bind: false } => ("remount".to_owned(), String::new()),
    };
    let attributes = |attributes: nucleus_sys::mount::Attributes| {
        json!({
            "set": hex(attributes.set), "clear": hex(attributes.clear), "propagation": hex(attributes.propagation),
        })
    };
    let id_map = mount.id_map.as_ref().map(|map| match &map.by {
        MappedBy::Maps { uid, gid } => {
            json!({"uid": id_map(uid), "gid": id_map(gid), "recursive": map.recursive})
        }
        MappedBy::Namespace(path) => json!({"namespace": path, "recursive": map.recursive}),
    });
    json!({
        "destination": mount.destination, "kind": kind, "source": source, "flags": hex(mount.flags),
        "attributes": attributes(mount.attributes), "recursive": attributes(mount.recursive),
        "then": mount.more_propagation.iter().map(|word| hex(*word)).collect::<Vec<_>>(),
        "data": text(&mount.data), "tmpcopyup": mount.copy_up, "idMap": id_map,
    })
}

fn process(process: &Process) -> Value {
    let list = |list: &[CString]| list.iter().map(text).collect::<Vec<_>>();
    json!({
        "args": list(&process.args),
        "env": list(&process.env),
        "cwd": text(&process.cwd),
        "user": {
            "uid": process.uid, "gid": process.gid, "additionalGids": process.additional_gids,
            "umask": process.umask.map(|umask| format!("{umask:04o}")),
        },
        "rlimits": process.rlimits.iter().map(|(kind, soft, hard)| json!([kind, soft, hard])).collect::<Vec<_>>(),
        "capabilities": process.capabilities.as_ref().map(capabilities),
        "noNewPrivileges": process.no_new_privileges,
        "oomScoreAdj": process.oom_score_adj,
        "terminal": process.terminal,
        "consoleSize": process.console_size.map(|(rows, columns)| [rows, columns]),
        "apparmorProfile": process.apparmor_profile,
        "selinuxLabel": process.selinux_label,
        "scheduler": process.scheduler.map(|scheduler| json!({
            "policy": scheduler.policy, "flags": hex(scheduler.flags), "nice": scheduler.nice,
            "priority": scheduler.priority, "runtime": scheduler.runtime, "deadline": scheduler.deadline,
            "period": scheduler.period,
        })),
        "ioPriority": process.io_priority.map(|(class, level)| [class, level]),
        "execCPUAffinity": process.exec_cpu_affinity.as_ref().map(|affinity| json!({
            "initial": affinity.initial.as_deref().map(numbers), "final": affinity.final_.as_deref().map(numbers),
        })),
    })
}

fn capabilities(sets: &Capabilities) -> Value {
    let names = |mask: u64| {
        let has = |n: &u8| mask >> n & 1 != 0;
        let name = |n: u8| {
            caps::all()
                .into_iter()
                .find(|cap| cap.index() == n)
                .map(|cap| cap.to_string())
        };
        (0..64).filter(has).filter_map(name).collect::<Vec<_>>().join(" ")
    };
    json!({
        "bounding": names(sets.bounding), "effective": names(sets.effective), "permitted": names(sets.permitted),
        "inheritable": names(sets.inheritable), "ambient": names(sets.ambient),
    })
}

fn hooks(hooks: &Hooks) -> Value {
    let list = |list: &[Hook]| {
        let one = |hook: &Hook| json!({"path": hook.path, "args": hook.args, "env": hook.env, "timeout": hook.timeout});
        list.iter().map(one).collect::<Vec<_>>()
    };
    json!({
        "prestart": list(&hooks.prestart), "createRuntime": list(&hooks.create_runtime),
        "createContainer": list(&hooks.create_container), "startContainer": list(&hooks.start_container),
        "poststart": list(&hooks.poststart), "poststop": list(&hooks.poststop),
    })
}

/// A word of flags; nothing for none.
fn hex(word: u64) -> Option<String> {
    (word != 0).then(|| format!("{word:#x}"))
}

/// The numbers that a mask stands for.
fn numbers(mask: &[u64]) -> Vec<usize> {
    let bits = |(n, word): (usize, &u64)| {
        let word = *word;
        (0..64)
            .filter(move |bit| word >> bit & 1 != 0)
            .map(move |bit| n * 64 + bit)
    };
    mask.iter().enumerate().flat_map(bits).collect()
}

fn text(text: &CString) -> String {
    text.to_string_lossy().into_owned()
}
