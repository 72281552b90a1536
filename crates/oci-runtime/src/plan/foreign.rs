//! Sections and fields for other platforms.
//!
//! They are ignored with a warning, as the specification wants; whatever is meant for Linux is carried out or refused
//! by the module that it belongs to, never ignored in silence.

use oci_spec::runtime::Spec;

/// Warns of what is meant for another platform.
pub(crate) fn check(spec: &Spec, warnings: &mut Vec<String>) {
    let command_line = spec
        .process()
        .as_ref()
        .and_then(|process| process.command_line().as_ref());
    let user_name = spec
        .process()
        .as_ref()
        .and_then(|process| process.user().username().as_ref());
    let foreign = [
        (user_name.is_some_and(|name| !name.is_empty()), "process.user.username"),
        (command_line.is_some_and(|text| !text.is_empty()), "process.commandLine"),
        (spec.solaris().is_some(), "solaris"),
        (spec.windows().is_some(), "windows"),
        (spec.vm().is_some(), "vm"),
        (spec.zos().is_some(), "zos"),
    ];
    for (_, section) in foreign.iter().filter(|(present, _)| *present) {
        warnings.push(format!("{section}: ignored, as this is not its platform"));
    }
}
