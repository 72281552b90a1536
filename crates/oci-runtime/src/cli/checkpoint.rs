//! `nucleus checkpoint`: runc's flags, and for the time being a refusal.
//!
//! The flags are read, so that a mistake in them is told as such; what they say is not used yet, so they have no types.

use clap::{Arg, ArgAction, Command};

/// What the verb says, without having touched anything.
pub const UNSUPPORTED: &str = "checkpoint is not supported yet: the container was left as it is";

/// Flags that `checkpoint` and `restore` share.
const SHARED: [(&str, Kind, &str); 9] = [
    ("image-path", Kind::Value("DIR"), "Directory of CRIU's image files"),
    (
        "work-path",
        Kind::Value("DIR"),
        "Directory of CRIU's work files and logs",
    ),
    ("tcp-established", Kind::Switch, "Allow open TCP connections"),
    (
        "ext-unix-sk",
        Kind::Switch,
        "Allow Unix sockets that are connected to the outside",
    ),
    ("shell-job", Kind::Switch, "Allow a terminal from outside"),
    ("file-locks", Kind::Switch, "Allow file locks"),
    (
        "manage-cgroups-mode",
        Kind::Value("MODE"),
        "What to do with control groups: soft, full, strict or ignore",
    ),
    (
        "empty-ns",
        Kind::Values("NAMESPACE"),
        "Namespace whose content is left out: network",
    ),
    (
        "auto-dedup",
        Kind::Switch,
        "Take pages out of older images that a newer one has",
    ),
];

const OWN: [(&str, Kind, &str); 8] = [
    (
        "parent-path",
        Kind::Value("DIR"),
        "Image of an earlier --pre-dump, relative to --image-path",
    ),
    ("leave-running", Kind::Switch, "Let the container go on afterwards"),
    (
        "tcp-skip-in-flight",
        Kind::Switch,
        "Leave out TCP connections that are being made",
    ),
    ("lazy-pages", Kind::Switch, "Serve memory pages when they are asked for"),
    (
        "status-fd",
        Kind::Value("FD"),
        "Descriptor that is written to once --lazy-pages is ready",
    ),
    (
        "page-server",
        Kind::Value("ADDRESS:PORT"),
        "Send memory pages to this server",
    ),
    (
        "pre-dump",
        Kind::Switch,
        "Save memory only, and let the container go on",
    ),
    ("link-remap", Kind::Switch, "Keep deleted files that are still open"),
];

/// The shape of a flag.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Without a value.
    Switch,
    /// With a value of this name.
    Value(&'static str),
    /// The same, repeatable.
    Values(&'static str),
}

/// Adds the arguments of `checkpoint`.
pub fn arguments(command: Command) -> Command {
    with_id(command, &OWN)
}

/// Adds `own` flags, the shared ones and the id.
pub fn with_id(command: Command, own: &'static [(&str, Kind, &str)]) -> Command {
    let arg = |(name, kind, help): &(&'static str, Kind, &'static str)| {
        let arg = Arg::new(*name).long(*name).help(*help);
        match kind {
            Kind::Switch => arg.action(ArgAction::SetTrue),
            Kind::Value(value) => arg.value_name(*value),
            Kind::Values(value) => arg.value_name(*value).action(ArgAction::Append),
        }
    };
    let id = Arg::new("id")
        .value_name("ID")
        .help("Name of the container")
        .required(true);
    command.args(SHARED.iter().chain(own).map(arg)).arg(id)
}
