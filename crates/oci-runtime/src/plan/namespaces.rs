//! `linux.namespaces`, the id maps and the time offsets; and the fields that make sense only with a namespace.
//!
//! A field that would change the host because the container lacks the namespace is an error. Namespaces given by path
//! are put into the order in which they have to be entered.

use std::collections::HashMap;

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespace, LinuxNamespaceType as Kind, LinuxTimeOffset};

use super::{IdMapping, Namespaces, PlanError, paths};

/// The order of entering: the user namespace first, because it owns the others and gives the rights to enter them; the
/// mount namespace last, because the paths of the others are paths of the host.
const JOIN_ORDER: [Kind; 8] = [
    Kind::User,
    Kind::Ipc,
    Kind::Uts,
    Kind::Network,
    Kind::Pid,
    Kind::Cgroup,
    Kind::Time,
    Kind::Mount,
];

/// The kernel's limit on lines in a map (user_namespaces(7)).
const MAP_LINES: usize = 340;

/// Compiles the list of namespaces.
pub(crate) fn compile(list: &[LinuxNamespace]) -> Result<Namespaces, PlanError> {
    let mut namespaces = Namespaces::default();
    for (i, namespace) in list.iter().enumerate() {
        let bit = namespace.typ() as u64;
        if namespaces.has(bit) {
            return Err(PlanError::new(
                format_args!("linux.namespaces[{i}].type"),
                format_args!("duplicated namespace {:?}", name(namespace.typ())),
            ));
        }
        match namespace.path() {
            // Engines written in Go give an empty string for "none".
            Some(path) if !path.as_os_str().is_empty() => {
                paths::absolute(path, format_args!("linux.namespaces[{i}].path"))?;
                namespaces.join.push((bit, path.clone()));
            }
            _ => namespaces.new |= bit,
        }
    }
    namespaces
        .join
        .sort_by_key(|(bit, _)| JOIN_ORDER.iter().position(|kind| *kind as u64 == *bit));
    Ok(namespaces)
}

/// Compiles `linux.uidMappings` and `linux.gidMappings`: a new user namespace needs both.
pub(crate) fn id_maps(
    (uid, gid): (&[LinuxIdMapping], &[LinuxIdMapping]),
    namespaces: &Namespaces,
    warnings: &mut Vec<String>,
) -> Result<(Vec<IdMapping>, Vec<IdMapping>), PlanError> {
    let mut compile = |list: &[LinuxIdMapping], field: &str| {
        let new = namespaces.creates(Kind::User as u64);
        if list.is_empty() {
            return match new {
                true => Err(PlanError::new(field, "a new user namespace needs at least one mapping")),
                false => Ok(Vec::new()),
            };
        }
        if !namespaces.has(Kind::User as u64) {
            return Err(PlanError::new(
                field,
                "mappings specified, but user namespace isn't enabled in the config",
            ));
        }
        let map = id_map(list, field)?;
        if new {
            return Ok(map);
        }
        // Some engines repeat the mappings of the namespace whose path they give.
        warnings.push(format!("{field}: ignored, as the user namespace is given by path"));
        Ok(Vec::new())
    };
    Ok((compile(uid, "linux.uidMappings")?, compile(gid, "linux.gidMappings")?))
}

/// Compiles one map; also used for the maps of a mount.
pub(crate) fn id_map(list: &[LinuxIdMapping], field: &str) -> Result<Vec<IdMapping>, PlanError> {
    if list.len() > MAP_LINES {
        return Err(PlanError::new(
            field,
            format_args!("{} mappings are more than the kernel's {MAP_LINES}", list.len()),
        ));
    }
    for (i, mapping) in list.iter().enumerate() {
        let refuse = |why: &str| Err(PlanError::new(format_args!("{field}[{i}]"), why));
        let ends = |first: u32| u64::from(first) + u64::from(mapping.size());
        if mapping.size() == 0 {
            return refuse("size must be greater than zero");
        }
        // The last id, 2^32 - 1, means "no id" and cannot be mapped.
        if ends(mapping.container_id()).max(ends(mapping.host_id())) > u64::from(u32::MAX) {
            return refuse("reaches beyond the last id");
        }
        let overlaps =
            |a: u32, a_size: u32, b: u32| u64::from(a) < ends(b) && u64::from(b) < u64::from(a) + u64::from(a_size);
        if list[..i].iter().any(|other| {
            overlaps(other.container_id(), other.size(), mapping.container_id())
                || overlaps(other.host_id(), other.size(), mapping.host_id())
        }) {
            return refuse("overlaps an earlier mapping");
        }
    }
    Ok(list
        .iter()
        .map(|mapping| IdMapping {
            container_id: mapping.container_id(),
            host_id: mapping.host_id(),
            size: mapping.size(),
        })
        .collect())
}

/// Compiles `linux.timeOffsets` into the lines of `/proc/PID/timens_offsets`.
pub(crate) fn time_offsets(
    map: Option<&HashMap<String, LinuxTimeOffset>>,
    namespaces: &Namespaces,
) -> Result<Option<String>, PlanError> {
    let Some(map) = map.filter(|map| !map.is_empty()) else {
        return Ok(None);
    };
    let kind = Kind::Time as u64;
    if !namespaces.creates(kind) {
        let why = match namespaces.has(kind) {
            true => "the offsets of a time namespace given by path cannot be changed",
            false => "time namespace offsets specified, but time namespace isn't enabled in the config",
        };
        return Err(PlanError::new("linux.timeOffsets", why));
    }
    if let Some(clock) = map
        .keys()
        .find(|clock| !matches!(clock.as_str(), "monotonic" | "boottime"))
    {
        return Err(PlanError::new(
            format_args!("linux.timeOffsets.{clock}"),
            "unknown clock (only monotonic and boottime have offsets)",
        ));
    }
    let mut lines = String::new();
    for clock in ["monotonic", "boottime"] {
        let Some(offset) = map.get(clock) else { continue };
        let nanoseconds = offset.nanosecs().unwrap_or(0);
        if nanoseconds > 999_999_999 {
            return Err(PlanError::new(
                format_args!("linux.timeOffsets.{clock}.nanosecs"),
                format_args!("{nanoseconds} must be below 1000000000"),
            ));
        }
        lines += &format!("{clock} {} {nanoseconds}\n", offset.secs().unwrap_or(0));
    }
    Ok(Some(lines))
}

/// `hostname` or `domainname`: needs the container's own UTS namespace and fits the kernel's 64 bytes.
pub(crate) fn uts_name(
    name: Option<&String>,
    field: &str,
    namespaces: &Namespaces,
) -> Result<Option<String>, PlanError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if !namespaces.has(Kind::Uts as u64) {
        return Err(PlanError::new(
            field,
            format_args!("unable to set {field} without a private UTS namespace"),
        ));
    }
    if name.len() > 64 {
        return Err(PlanError::new(
            field,
            format_args!("{} bytes are more than the kernel's 64", name.len()),
        ));
    }
    paths::no_nul(name.as_ref(), field)?;
    Ok(Some(name.clone()))
}

/// The name that config.json uses.
fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Mount => "mount",
        Kind::Cgroup => "cgroup",
        Kind::Uts => "uts",
        Kind::Ipc => "ipc",
        Kind::User => "user",
        Kind::Pid => "pid",
        Kind::Network => "network",
        Kind::Time => "time",
    }
}
