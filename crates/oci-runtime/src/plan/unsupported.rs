//! Fields that are valid but not implemented yet, and sections for other platforms.
//!
//! Nothing in config.json is ignored in silence: a field that Linux would have to obey and that we cannot carry out is
//! an error which names it; sections for other platforms are ignored with a warning, as the spec wants. Each line here
//! goes away when its feature arrives.

use oci_spec::runtime::{Linux, LinuxIntelRdt, Process, Spec};

use super::PlanError;

/// Refuses the first field that is asked for and not implemented.
pub(crate) fn check(spec: &Spec, warnings: &mut Vec<String>) -> Result<(), PlanError> {
    let mut asked = Vec::new();
    if let Some(p) = spec.process() {
        process(p, &mut asked);
    }
    if let Some(l) = spec.linux() {
        linux(l, &mut asked);
    }
    if let Some((_, field)) = asked.into_iter().find(|(asked, _)| *asked) {
        return Err(PlanError::unsupported(field));
    }
    let foreign = [
        (spec.solaris().is_some(), "solaris"),
        (spec.windows().is_some(), "windows"),
        (spec.vm().is_some(), "vm"),
        (spec.zos().is_some(), "zos"),
    ];
    for (_, section) in foreign.iter().filter(|(present, _)| *present) {
        warnings.push(format!("{section}: ignored, as this is not its platform"));
    }
    Ok(())
}

/// The same for the process of `exec`.
pub(crate) fn check_process(section: &Process) -> Result<(), PlanError> {
    let mut asked = Vec::new();
    process(section, &mut asked);
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, field)) => Err(PlanError::unsupported(field)),
        None => Ok(()),
    }
}

fn process(process: &Process, asked: &mut Vec<(bool, &'static str)>) {
    asked.extend([
        (is_set(process.command_line()), "process.commandLine"),
        (is_set(process.apparmor_profile()), "process.apparmorProfile"),
        (is_set(process.selinux_label()), "process.selinuxLabel"),
    ]);
}

fn linux(linux: &Linux, asked: &mut Vec<(bool, &'static str)>) {
    asked.extend([
        (is_set(linux.mount_label()), "linux.mountLabel"),
        (
            linux
                .intel_rdt()
                .as_ref()
                .is_some_and(|rdt| *rdt != LinuxIntelRdt::default()),
            "linux.intelRdt",
        ),
    ]);
}

fn is_set(text: &Option<String>) -> bool {
    text.as_ref().is_some_and(|text| !text.is_empty())
}
