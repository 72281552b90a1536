//! `idmap`, `ridmap`, `uidMappings` and `gidMappings` of one mount.
//!
//! A mapping without one of the options counts as `idmap`; an option without a mapping means the mapping of the
//! container's own user namespace, and is an error without one (config.md). Binds only: a new filesystem of the
//! container's is the container's already.

use oci_spec::runtime::{self as oci, LinuxNamespaceType as Kind};

use super::mounts::Surroundings;
use super::{IdMap, MappedBy, MountKind, PlanError, namespaces};

/// Compiles the mapping of a mount; `option` is `Some(true)` for `ridmap`.
pub(crate) fn compile(
    mount: &oci::Mount,
    kind: &MountKind,
    option: Option<bool>,
    i: usize,
    around: &Surroundings<'_>,
) -> Result<Option<IdMap>, PlanError> {
    let uid = mount.uid_mappings().as_deref().unwrap_or_default();
    let gid = mount.gid_mappings().as_deref().unwrap_or_default();
    let mapped = !uid.is_empty() || !gid.is_empty();
    if !mapped && option.is_none() {
        return Ok(None);
    }
    if !matches!(kind, MountKind::Bind { .. }) {
        let field = if mapped { "uidMappings" } else { "options" };
        return Err(PlanError::new(
            format_args!("mounts[{i}].{field}"),
            "only bind mounts can have an id mapping",
        ));
    }
    let by = match (uid, gid) {
        ([], []) => of_the_container(i, around)?,
        ([], _) => return Err(lonely(i, "uidMappings", "gidMappings")),
        (_, []) => return Err(lonely(i, "gidMappings", "uidMappings")),
        (uid, gid) => MappedBy::Maps {
            uid: namespaces::id_map(uid, &format!("mounts[{i}].uidMappings"))?,
            gid: namespaces::id_map(gid, &format!("mounts[{i}].gidMappings"))?,
        },
    };
    Ok(Some(IdMap {
        by,
        recursive: option == Some(true),
    }))
}

fn of_the_container(i: usize, around: &Surroundings<'_>) -> Result<MappedBy, PlanError> {
    let user = Kind::User as u64;
    if let Some((_, path)) = around.namespaces.join.iter().find(|(bit, _)| *bit == user) {
        return Ok(MappedBy::Namespace(path.clone()));
    }
    if !around.namespaces.creates(user) {
        return Err(PlanError::new(
            format_args!("mounts[{i}].options"),
            "an id mapping needs uidMappings and gidMappings, or a user namespace to take them from",
        ));
    }
    Ok(MappedBy::Maps {
        uid: around.maps.0.to_vec(),
        gid: around.maps.1.to_vec(),
    })
}

fn lonely(i: usize, missing: &str, given: &str) -> PlanError {
    PlanError::new(
        format_args!("mounts[{i}].{missing}"),
        format_args!("must be given together with {given}"),
    )
}
