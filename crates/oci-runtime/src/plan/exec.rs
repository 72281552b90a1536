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

/// Compiles the section with the changes. `warnings` are about the changes; those about the section go to `quiet`, as
/// `create` has reported them.
pub(crate) fn compile(
    mut section: oci::Process,
    changes: &Changes,
    options: &Options,
    host: &Host,
    (warnings, quiet): (&mut Vec<String>, &mut Vec<String>),
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
    process::compile(&section, options, host, quiet)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::HOST;
    use super::*;

    /// A section with two capabilities, one of which is ambient, and what compiles from it with `changes`.
    fn compiled(changes: &Changes) -> (Process, Vec<String>) {
        let section = json!({
            "terminal": true, "cwd": "/home", "args": ["init"], "env": ["PATH=/bin", "A=1"],
            "user": { "uid": 5, "gid": 6, "additionalGids": [7] },
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"],
                "inheritable": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_KILL", "CAP_CHOWN"]
            }
        });
        let section: oci::Process = serde_json::from_value(section).unwrap();
        let mut warnings = Vec::new();
        let options = Options::default();
        let process = compile(section, changes, &options, &HOST, (&mut warnings, &mut Vec::new())).unwrap();
        (process, warnings)
    }

    fn with_args() -> Changes {
        Changes {
            args: vec!["ls".to_owned(), "-l".to_owned()],
            ..Changes::default()
        }
    }

    #[test]
    fn every_form_of_a_user() {
        for (text, user) in [
            ("0", (0, None)),
            ("1", (1, None)),
            ("1000", (1000, None)),
            ("1:0", (1, Some(0))),
            ("0:1", (0, Some(1))),
            ("1000:1001", (1000, Some(1001))),
            ("007", (7, None)),
            ("4294967294:4294967294", (4_294_967_294, Some(4_294_967_294))),
        ] {
            assert_eq!(parse_user(text), Ok(user), "{text}");
        }
        for text in [
            "",
            ":",
            "1:",
            ":1",
            "1:2:3",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1: 2",
            "0x1",
            "1.0",
            "root",
            "root:root",
            "1:root",
            "4294967295",
            "1:4294967295",
            "4294967296",
            "18446744073709551616",
            "1\0",
            "١",
        ] {
            assert!(parse_user(text).is_err(), "{text:?} is no user");
        }
    }

    #[test]
    fn the_containers_process_with_another_program() {
        let (process, warnings) = compiled(&with_args());
        assert_eq!(process.args, [c"ls".to_owned(), c"-l".to_owned()]);
        assert_eq!(process.env, [c"PATH=/bin".to_owned(), c"A=1".to_owned()]);
        assert_eq!((process.uid, process.gid, process.additional_gids), (5, 6, vec![7]));
        assert_eq!(process.cwd, c"/home".to_owned());
        assert!(!process.terminal, "the container's terminal is not the program's");
        assert!(warnings.is_empty());
    }

    #[test]
    fn what_the_command_line_adds() {
        let (process, _) = compiled(&Changes {
            terminal: false,
            cwd: Some("/tmp".into()),
            env: vec!["A=2".to_owned(), "B=3".to_owned()],
            user: Some((8, None)),
            additional_gids: vec![9],
            no_new_privileges: true,
            ..with_args()
        });
        assert_eq!(process.cwd, c"/tmp".to_owned());
        assert_eq!(
            process.env,
            [c"PATH=/bin".to_owned(), c"A=2".to_owned(), c"B=3".to_owned()]
        );
        assert_eq!((process.uid, process.gid), (8, 6), "the group stays when none is given");
        assert_eq!(process.additional_gids, [7, 9]);
        assert!(process.no_new_privileges);
    }

    #[test]
    fn a_capability_is_added_where_it_makes_itself_felt() {
        let (chown, kill, net) = (1 << 0, 1 << 5, 1 << 12);
        let (process, warnings) = compiled(&Changes {
            capabilities: ["CAP_NET_ADMIN", "CAP_CHOWN", "CAP_NOSUCH", "CAP_NONE"]
                .map(str::to_owned)
                .to_vec(),
            ..with_args()
        });
        let sets = process.capabilities.unwrap();
        assert_eq!(sets.bounding, chown | kill | net);
        assert_eq!(sets.effective, chown | kill | net);
        assert_eq!(sets.permitted, chown | kill | net);
        assert_eq!(sets.inheritable, chown | kill, "only what the section says");
        assert_eq!(sets.ambient, chown | kill, "what the section says and is permitted now");
        assert_eq!(
            warnings,
            ["ignoring unknown or unavailable capabilities: [CAP_NOSUCH CAP_NONE]"]
        );
    }

    #[test]
    fn a_section_without_capabilities_gets_only_those_that_are_added() {
        let section = json!({ "cwd": "/", "args": ["x"], "user": { "uid": 0, "gid": 0 } });
        let section: oci::Process = serde_json::from_value(section).unwrap();
        let changes = Changes {
            capabilities: vec!["CAP_CHOWN".to_owned()],
            ..Changes::default()
        };
        let options = Options::default();
        let process = compile(section, &changes, &options, &HOST, (&mut Vec::new(), &mut Vec::new())).unwrap();
        let sets = process.capabilities.unwrap();
        assert_eq!((sets.bounding, sets.effective, sets.permitted), (1, 1, 1));
        assert_eq!((sets.inheritable, sets.ambient), (0, 0));
    }

    #[test]
    fn labels_of_the_command_line_count_on_top_of_the_sections() {
        let section = json!({
            "cwd": "/", "args": ["x"], "user": {"uid": 0, "gid": 0}, "apparmorProfile": "own", "selinuxLabel": "own"
        });
        let section: oci::Process = serde_json::from_value(section).unwrap();
        let changes = Changes {
            apparmor: Some("p".to_owned()),
            ..with_args()
        };
        let options = Options::default();
        let process = compile(section, &changes, &options, &HOST, (&mut Vec::new(), &mut Vec::new())).unwrap();
        assert_eq!(process.apparmor_profile.as_deref(), Some("p"));
        assert_eq!(process.selinux_label.as_deref(), Some("own"));
    }
}
