//! What the specification allows and oci-spec's types refuse, put into words that they take.
//!
//! Called only after parsing has failed: a config that needs none of this never pays for it. Capability names that
//! oci-spec does not know are dropped with a warning, as the specification wants; two scheduler flags are misspelled
//! there; and an empty CPU list is refused, though it means "leave them alone".

use oci_spec::runtime::Capability;
use serde::Deserialize;
use serde_json::Value;

/// The scheduler flags of config.md that oci-spec knows by another name.
const SCHEDULER_FLAGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];

/// The text in oci-spec's words; `None` when nothing of this is what is wrong with it.
pub(crate) fn adapt(text: &[u8], warnings: &mut Vec<String>) -> Option<Vec<u8>> {
    let mut config: Value = serde_json::from_slice(text).ok()?;
    let process = config.get_mut("process")?;
    let adapted = [
        drop_unknown_capabilities(process, warnings),
        rename_scheduler_flags(process),
        drop_empty_cpu_lists(process),
    ];
    if adapted.contains(&true) {
        serde_json::to_vec(&config).ok()
    } else {
        None
    }
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
