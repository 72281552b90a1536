//! `nucleus restore`: runc's flags, and for the time being a refusal (see `checkpoint`).

use clap::{Arg, ArgAction, Command, value_parser};

use super::checkpoint::{Kind, with_id};

/// What the verb says, without having touched anything.
pub const UNSUPPORTED: &str = "restore is not supported yet: nothing was created";

const OWN: [(&str, Kind, &str); 8] = [
    (
        "console-socket",
        Kind::Value("SOCKET"),
        "Unix socket that the container's terminal is sent to",
    ),
    (
        "pid-file",
        Kind::Value("FILE"),
        "File that the container's pid is written to",
    ),
    (
        "no-subreaper",
        Kind::Switch,
        "Do not adopt orphaned processes of the container",
    ),
    (
        "no-pivot",
        Kind::Switch,
        "Move the root instead of pivoting, for a host that runs from a ramdisk",
    ),
    ("lazy-pages", Kind::Switch, "Fetch memory pages when they are asked for"),
    (
        "lsm-profile",
        Kind::Value("TYPE:NAME"),
        "Label of the processes, in place of the saved one",
    ),
    (
        "lsm-mount-context",
        Kind::Value("LABEL"),
        "Label of the mounts, in place of the saved one",
    ),
    ("link-remap", Kind::Switch, "Bring back deleted files that were open"),
];

/// Adds the arguments of `restore`.
pub fn arguments(command: Command) -> Command {
    let bundle = Arg::new("bundle").long("bundle").short('b').value_name("DIR");
    let bundle = bundle.value_parser(value_parser!(std::path::PathBuf));
    let detach = Arg::new("detach").long("detach").short('d').action(ArgAction::SetTrue);
    let command = command
        .arg(bundle.help("Directory of the bundle"))
        .arg(detach.help("Return as soon as the container runs"));
    with_id(command, &OWN)
}
