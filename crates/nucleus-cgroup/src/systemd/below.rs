//! `run.oci.systemd.subgroup` and `run.oci.delegate-cgroup`, annotations of crun: groups below the scope.
//!
//! systemd knows the scope and its limits. The container's limits count in the subgroup as well, which is the container's
//! group from then on. The delegated group below that has none: the container's program may make groups of its own beside
//! the one that it finds itself in.

use std::path::{Component, Path, PathBuf};

use crate::error::PlanError;
use crate::layout::{Layout, Mode};

/// The annotation that names a group below the scope.
pub const SUBGROUP: &str = "run.oci.systemd.subgroup";
/// The annotation that names a group below that one.
pub const DELEGATED: &str = "run.oci.delegate-cgroup";

/// Groups below the scope.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Below {
    /// Relative to the scope; empty for none.
    pub(crate) subgroup: PathBuf,
    /// Relative to the subgroup.
    pub(crate) delegated: Option<PathBuf>,
}

impl Below {
    /// # Errors
    /// The annotation that cannot be.
    pub(super) fn compile(annotations: &[(String, String)], layout: &Layout) -> Result<Below, PlanError> {
        let subgroup = group(annotations, SUBGROUP, layout)?.unwrap_or_default();
        let delegated = group(annotations, DELEGATED, layout)?;
        if delegated.is_some() && subgroup.as_os_str().is_empty() {
            let why = format!("needs {SUBGROUP}: the limits belong to that group");
            return Err(PlanError::new(format!("annotations.{DELEGATED}"), why));
        }
        Ok(Below { subgroup, delegated })
    }
}

/// What the annotation names; an empty text is no group.
fn group(annotations: &[(String, String)], key: &str, layout: &Layout) -> Result<Option<PathBuf>, PlanError> {
    let Some((_, text)) = annotations
        .iter()
        .find(|(other, text)| other == key && !text.is_empty())
    else {
        return Ok(None);
    };
    let refuse = |why: &str| Err(PlanError::new(format!("annotations.{key}"), format!("{text:?} {why}")));
    if layout.mode != Mode::Unified {
        return refuse("is only for a host with cgroup v2 alone");
    }
    let path = Path::new(text);
    let is_name = |part: Component<'_>| matches!(part, Component::Normal(_));
    if text.contains(|char: char| char.is_control()) || !path.components().all(is_name) {
        return refuse("is not a path below the scope");
    }
    Ok(Some(path.components().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(annotations: &[(&str, &str)], mode: Mode) -> Result<Below, String> {
        let owned: Vec<_> = annotations
            .iter()
            .map(|(key, text)| (key.to_string(), text.to_string()))
            .collect();
        let layout = Layout {
            mode,
            hierarchies: Vec::new(),
        };
        Below::compile(&owned, &layout).map_err(|error| error.to_string())
    }

    #[test]
    fn groups_below_the_scope() {
        let below = |subgroup: &str, delegated: Option<&str>| Below {
            subgroup: subgroup.into(),
            delegated: delegated.map(PathBuf::from),
        };
        assert_eq!(compile(&[], Mode::Unified), Ok(below("", None)));
        assert_eq!(compile(&[(SUBGROUP, "")], Mode::Hybrid), Ok(below("", None)));
        assert_eq!(
            compile(&[(SUBGROUP, "a//b"), (DELEGATED, "c")], Mode::Unified),
            Ok(below("a/b", Some("c")))
        );
    }

    #[test]
    fn what_cannot_be_is_named() {
        for wrong in ["/a", "../a", "a/../b", "a\nb", "."] {
            let error = compile(&[(SUBGROUP, wrong)], Mode::Unified).unwrap_err();
            assert!(
                error.contains("annotations.run.oci.systemd.subgroup"),
                "{wrong:?}: {error}"
            );
        }
        let error = compile(&[(SUBGROUP, "a")], Mode::Legacy).unwrap_err();
        assert!(error.contains("cgroup v2 alone"), "{error}");
        let error = compile(&[(DELEGATED, "a")], Mode::Unified).unwrap_err();
        assert!(error.contains("needs run.oci.systemd.subgroup"), "{error}");
    }
}
