//! What the specification allows and oci-spec's types refuse, put into words that they take.
//!
//! Called only after parsing has failed: a config that needs none of this never pays for it. `null` means that a field
//! is absent, and `process.user` is optional; oci-spec refuses both. Capability names that oci-spec does not know are
//! dropped with a warning, as the specification wants; two scheduler flags are misspelled there; and an empty CPU list is
//! refused, though it means "leave them alone".

use oci_spec::runtime::{Capability, LinuxResources};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The scheduler flags of config.md that oci-spec knows by another name.
const SCHEDULER_FLAGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// The text in oci-spec's words; `None` when nothing of this is what is wrong with it.
pub(crate) fn adapt(text: &[u8], warnings: &mut Vec<String>) -> Option<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(text).ok()?;
    let mut adapted = drop_nulls(&mut config);
    if let Some(process) = config.get_mut("process") {
        adapted |= add_user(process);
        adapted |= drop_unknown_capabilities(process, warnings);
        adapted |= rename_scheduler_flags(process);
        adapted |= drop_empty_cpu_lists(process);
    }
    if adapted {
        serde_json::to_vec(&config).ok()
    } else {
        None
    }
}

/// Engines written in Go write `null` for what is not set. In a list a `null` has no such meaning and stays.
fn drop_nulls(config: &mut Value) -> bool {
    let dropped = drop_null_members(config);
    let resources = config.pointer_mut("/linux/resources");
    if let Some(resources) = resources.filter(|_| dropped) {
        drop_pids_without_limit(resources);
    }
    dropped
}

/// oci-spec takes a limit that is absent for 0, which is a limit.
fn drop_pids_without_limit(resources: &mut Value) {
    let Some(resources) = resources.as_object_mut() else {
        return;
    };
    if resources.get("pids").is_some_and(|pids| pids.get("limit").is_none()) {
        resources.remove("pids");
    }
}

/// Parses a `linux.resources` section by itself that is refused for its nulls; `None` if something else is wrong with it.
pub(crate) fn resources_without_nulls(text: &[u8]) -> Option<LinuxResources> {
    let mut resources: Value = serde_json::from_slice(text).ok()?;
    if !drop_null_members(&mut resources) {
        return None;
    }
    drop_pids_without_limit(&mut resources);
    serde_json::from_value(resources).ok()
}

/// Removes every member that is `null`, at any depth; true if there was one. `null` in a list stays.
pub(super) fn drop_null_members(value: &mut Value) -> bool {
    let mut dropped = false;
    match value {
        Value::Object(members) => {
            let before = members.len();
            members.retain(|_, member| !member.is_null());
            dropped = members.len() != before;
            members
                .values_mut()
                .for_each(|member| dropped |= drop_null_members(member));
        }
        Value::Array(list) => list.iter_mut().for_each(|member| dropped |= drop_null_members(member)),
        _ => {}
    }
    dropped
}

/// Without `user` the process is the container's root.
fn add_user(process: &mut Value) -> bool {
    let Some(process) = process.as_object_mut().filter(|process| !process.contains_key("user")) else {
        return false;
    };
    process.insert("user".to_owned(), Value::Object(Map::new()));
    true
}

fn drop_unknown_capabilities(process: &mut Value, warnings: &mut Vec<String>) -> bool {
    let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) else {
        return false;
    };
    let mut unknown: Vec<String> = Vec::new();
    for set in sets.values_mut().filter_map(Value::as_array_mut) {
        set.retain(|name| {
            let Value::String(text) = name else { return true };
            let known = Capability::deserialize(name).is_ok();
            if !known && !unknown.contains(text) {
                unknown.push(text.clone());
            }
            known
        });
    }
    if unknown.is_empty() {
        return false;
    }
    unknown.sort_unstable();
    warnings.push(format!(
        "ignoring unknown or unavailable capabilities: [{}]",
        unknown.join(" ")
    ));
    true
}

fn rename_scheduler_flags(process: &mut Value) -> bool {
    let flags = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut);
    let mut renamed = false;
    for flag in flags.into_iter().flatten() {
        if let Some((_, name)) = SCHEDULER_FLAGS.iter().find(|(name, _)| flag == name) {
            *flag = Value::from(*name);
            renamed = true;
        }
    }
    renamed
}

fn drop_empty_cpu_lists(process: &mut Value) -> bool {
    let Some(lists) = process.get_mut("execCPUAffinity").and_then(Value::as_object_mut) else {
        return false;
    };
    let before = lists.len();
    lists.retain(|_, list| list != "");
    lists.len() != before
}
