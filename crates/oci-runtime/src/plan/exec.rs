//! The process of `exec`: a `process` section and what the command line changes of it.
//!
//! Pure, as all of the plan. The section is the caller's own (`--process`) or the one of config.json; flags count on top
//! of either. What they cannot say is refused with the flag's name.

use std::path::PathBuf;

use oci_spec::runtime::{self as oci, Capabilities, Capability, LinuxCapabilitiesBuilder};
use serde::Deserialize;
use serde::de::value::{Error as NoName, StrDeserializer};

use super::{Host, Options, PlanError, Process, process};

/// What the command line says about the process.
#[derive(Debug, Default, Clone)]
pub(crate) struct Changes {
    /// The program and its arguments; with none, those of the section stay.
    pub args: Vec<String>,
    /// `--tty`.
    pub terminal: bool,
    /// `--cwd`.
    pub cwd: Option<PathBuf>,
    /// `--env`, on top of the section's.
    pub env: Vec<String>,
    /// `--user`.
    pub user: Option<(u32, Option<u32>)>,
    /// `--additional-gids`, on top of the section's.
    pub additional_gids: Vec<u32>,
    /// `--cap`, on top of the section's.
    pub capabilities: Vec<String>,
    /// `--no-new-privs`; without it the section's word stays.
    pub no_new_privileges: bool,
    /// `--apparmor`.
    pub apparmor: Option<String>,
    /// `--process-label`.
    pub label: Option<String>,
}

/// Compiles the section with the changes.
pub(crate) fn compile(
    mut section: oci::Process,
    changes: &Changes,
    options: &Options,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Process, PlanError> {
    if !changes.args.is_empty() {
        // A terminal that the container's own program has says nothing about this one.
        section.set_args(Some(changes.args.clone())).set_terminal(Some(false));
    }
    if changes.terminal {
        section.set_terminal(Some(true));
    }
    if let Some(cwd) = &changes.cwd {
        section.set_cwd(cwd.clone());
    }
    let mut env = section.env().clone().unwrap_or_default();
    env.extend(changes.env.iter().cloned());
    section.set_env(Some(env));
    if let Some((uid, gid)) = changes.user {
        section.user_mut().set_uid(uid);
        if let Some(gid) = gid {
            section.user_mut().set_gid(gid);
        }
    }
    let mut groups = section.user().additional_gids().clone().unwrap_or_default();
    groups.extend(&changes.additional_gids);
    section.user_mut().set_additional_gids(Some(groups));
    if changes.no_new_privileges {
        section.set_no_new_privileges(Some(true));
    }
    if changes.apparmor.is_some() {
        section.set_apparmor_profile(changes.apparmor.clone());
    }
    if changes.label.is_some() {
        section.set_selinux_label(changes.label.clone());
    }
    add_capabilities(&mut section, &changes.capabilities, warnings)?;
    process::compile(&section, options, host, warnings)
}

/// Adds to the sets that make a capability usable at once. Neither inheritable (CVE-2022-29162) nor ambient: who wants
/// that writes a process section.
fn add_capabilities(section: &mut oci::Process, names: &[String], warnings: &mut Vec<String>) -> Result<(), PlanError> {
    let mut unknown = Vec::new();
    let mut added = Capabilities::new();
    for name in names {
        match Capability::deserialize(StrDeserializer::<NoName>::new(name)) {
            Ok(capability) => drop(added.insert(capability)),
            Err(_) => unknown.push(name.as_str()),
        }
    }
    if !unknown.is_empty() {
        let names = unknown.join(" ");
        warnings.push(format!("ignoring unknown or unavailable capabilities: [{names}]"));
    }
    if added.is_empty() {
        return Ok(());
    }
    let before = section.capabilities().clone().unwrap_or(none()?);
    let with = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
    let mut sets = before.clone();
    sets.set_bounding(with(before.bounding()))
        .set_effective(with(before.effective()))
        .set_permitted(with(before.permitted()));
    section.set_capabilities(Some(sets));
    Ok(())
}

/// Five empty sets; the type's own default has a few in each.
fn none() -> Result<oci::LinuxCapabilities, PlanError> {
    let none = Capabilities::new;
    LinuxCapabilitiesBuilder::default()
        .bounding(none())
        .effective(none())
        .inheritable(none())
        .permitted(none())
        .ambient(none())
        .build()
        .map_err(|error| PlanError::new("process.capabilities", error))
}

/// `UID[:GID]`, in decimal digits and nothing else: a name would have to be looked up in the image (CVE-2026-30892).
pub(crate) fn parse_user(text: &str) -> Result<(u32, Option<u32>), String> {
    match text.split_once(':') {
        Some((uid, gid)) => Ok((parse_id(uid)?, Some(parse_id(gid)?))),
        None => Ok((parse_id(text)?, None)),
    }
}

/// A user or group id in decimal digits. The last one, 2^32 - 1, means "no change" to the kernel.
pub(crate) fn parse_id(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let id = if digits { text.parse().ok() } else { None };
    id.filter(|id| *id != u32::MAX)
        .ok_or_else(|| format!("{text:?} is not an id in decimal digits"))
}
