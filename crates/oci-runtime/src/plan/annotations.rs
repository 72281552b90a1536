//! `annotations`: those that ask this runtime for something, by the names that crun gave them or by our own.
//!
//! Engines pass annotations of all kinds on, so that an unknown one means nothing, but below our own prefix: there it is an
//! error, as a misspelt switch must not be silent.

use std::collections::HashMap;
use std::path::PathBuf;

use super::{HookOutput, PlanError, paths};

/// Annotations below this prefix are addressed to this runtime: one that it does not know is an error.
const OWN: &str = "org.nucleus.";

/// The process keeps the caller's supplementary groups (`podman run --group-add keep-groups`), whatever its value.
pub(crate) const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// A system call in `linux.seccomp` that libseccomp does not know is an error, whatever the value.
pub(crate) const FAIL_UNKNOWN_CALLS: &str = "run.oci.seccomp_fail_unknown_syscall";

/// The container's processes share a core scheduling cookie of their own: `true` or `false`.
pub(crate) const CORE_SCHEDULING: &str = "org.nucleus.core-scheduling";

/// Whether the container gets a core scheduling cookie.
pub(crate) fn core_scheduling(map: Option<&HashMap<String, String>>) -> Result<bool, PlanError> {
    match map.and_then(|map| map.get(CORE_SCHEDULING)).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(PlanError::new(
            format_args!("annotations.{CORE_SCHEDULING}"),
            format_args!("{other:?} is neither true nor false"),
        )),
    }
}

/// Files that the output of hooks is appended to.
pub(crate) const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
/// As above.
pub(crate) const HOOKS_STDERR: &str = "run.oci.hooks.stderr";

/// Where the output of hooks goes, from the annotations that `get` finds.
pub(crate) fn hook_output<'a>(get: impl Fn(&str) -> Option<&'a String>) -> HookOutput {
    let path = |key| get(key).filter(|path| !path.is_empty()).map(PathBuf::from);
    HookOutput {
        stdout: path(HOOKS_STDOUT),
        stderr: path(HOOKS_STDERR),
    }
}

/// As [`hook_output`], of a config.
///
/// # Errors
/// For paths that are not absolute.
pub(crate) fn checked_hook_output(map: Option<&HashMap<String, String>>) -> Result<HookOutput, PlanError> {
    let output = hook_output(|key| map.and_then(|map| map.get(key)));
    for (key, path) in [(HOOKS_STDOUT, &output.stdout), (HOOKS_STDERR, &output.stderr)] {
        if let Some(path) = path {
            paths::absolute(path, format_args!("annotations.{key}"))?;
        }
    }
    Ok(output)
}

/// The annotations, sorted; none of ours that we do not know.
pub(crate) fn compile(map: Option<&HashMap<String, String>>) -> Result<Vec<(String, String)>, PlanError> {
    let Some(map) = map else {
        return Ok(Vec::new());
    };
    for key in map.keys() {
        if key.is_empty() {
            return Err(PlanError::new("annotations", "a key must not be empty"));
        }
        if key.starts_with(OWN) && key != CORE_SCHEDULING {
            return Err(PlanError::new(
                format_args!("annotations.{key}"),
                "is not an annotation that nucleus knows",
            ));
        }
    }
    let mut list: Vec<(String, String)> = map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    list.sort_unstable();
    Ok(list)
}
