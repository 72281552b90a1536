//! The table of the subcommands: what each is called, says about itself, takes and does.
//!
//! Only the verb at hand is built at run time; help, the manual and the completions build them all ([`whole`]).

use std::ffi::OsString;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::arguments::Flags;
use super::{
    Global, GlobalFlags, Outcome, check, checkpoint, create, delete, events, exec, features, kill, list, mounts, pause,
    ps, restore, resume, run, spec, start, state, update,
};

/// One subcommand.
pub struct Verb {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    about: &'static str,
    /// Command lines to learn from, without the program's name.
    examples: &'static [&'static str],
    /// Which words are its flags.
    pub flags: Flags,
    /// Adds its flags and arguments.
    arguments: fn(Command) -> Command,
    /// Does it.
    pub main: fn(&mut ArgMatches, &Global<'_>) -> Outcome,
    /// False for one that always fails: its `--help` must not succeed, which engines take for support.
    pub supported: bool,
}

impl Verb {
    /// The verb with this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        VERBS.iter().find(|verb| verb.name == name)
    }

    /// Its definition, without what only help shows.
    pub fn command(&self) -> Command {
        let command = Command::new(self.name).no_binary_name(true);
        (self.arguments)(command)
    }

    /// Does it, if it is one of a container's life and the words are such that clap need not look at them.
    pub fn quick(&self, words: &[OsString], global: &Global<'_>) -> Option<Outcome> {
        match self.name {
            "create" => create::Args::quick(words, |_| false).map(|args| create::main(&args, global)),
            "delete" => delete::Args::quick(words).map(|args| delete::main(&args, global.root, global.log)),
            "exec" => exec::Args::quick(words).map(|args| Ok(exec::main(&args, global.root, global.log))),
            "kill" => kill::Args::quick(words).map(|args| kill::main(&args, global.root)),
            "run" => run::Args::quick(words).map(|args| run::main(&args, global)),
            "start" => start::Args::quick(words).map(|args| start::main(&args, global.root, global.log)),
            "state" => state::Args::quick(words).map(|args| state::main(&args, global.root)),
            _ => None,
        }
    }

    /// Its definition, as people see it.
    pub fn described(&self) -> Command {
        let lines: Vec<String> = self.examples.iter().map(|line| format!("  nucleus {line}")).collect();
        self.command()
            .bin_name(format!("nucleus {}", self.name))
            .about(self.about)
            .after_help(format!("Examples:\n{}", lines.join("\n")))
    }
}

/// The typed arguments of a verb, moved out of the matches.
fn read<A: FromArgMatches>(matches: &mut ArgMatches) -> Result<A, clap::Error> {
    A::from_arg_matches_mut(matches)
}

/// The whole command line: what help, the manual and the completions are made of.
pub fn whole() -> Command {
    GlobalFlags::augment_args(Command::new("nucleus"))
        .about("A container runtime: creates and runs containers from OCI bundles")
        .subcommand_required(true)
        .subcommands(VERBS.iter().map(Verb::described))
        .after_help(EXAMPLES)
}

const EXAMPLES: &str = "\
Examples:
  nucleus run --bundle mybundle hello
  nucleus --root /tmp/containers list
  nucleus --log errors.json --log-format json state hello
  nucleus help exec";

/// In the order of the help.
pub const VERBS: &[Verb] = &[
    Verb {
        name: "check",
        about: "Print what a bundle's config.json comes to, and run nothing",
        examples: &["check mybundle", "check --format json mybundle"],
        flags: Flags::Anywhere,
        arguments: check::Args::augment_args,
        main: |matches, global| check::main(&read(matches)?, global.systemd),
        supported: true,
    },
    Verb {
        name: "checkpoint",
        about: "Save the state of a running container to files (not supported yet: always an error)",
        examples: &["checkpoint --image-path /tmp/image box"],
        flags: Flags::Anywhere,
        arguments: checkpoint::arguments,
        main: |_, _| Err(checkpoint::UNSUPPORTED.into()),
        supported: false,
    },
    Verb {
        name: "create",
        about: "Create a container; `start` runs its program",
        examples: &[
            "create --bundle mybundle box",
            "create --bundle mybundle --pid-file box.pid --console-socket tty.sock box",
        ],
        flags: Flags::Anywhere,
        arguments: create::Args::augment_args,
        main: |matches, global| create::main(&read(matches)?, global),
        supported: true,
    },
    Verb {
        name: "delete",
        about: "Remove a container",
        examples: &["delete box", "delete --force box"],
        flags: Flags::Anywhere,
        arguments: delete::Args::augment_args,
        main: |matches, global| delete::main(&read(matches)?, global.root, global.log),
        supported: true,
    },
    Verb {
        name: "events",
        about: "Print statistics and out-of-memory events, as JSON",
        examples: &["events --interval 1s box", "events --stats box"],
        flags: Flags::Anywhere,
        arguments: events::Args::augment_args,
        main: |matches, global| events::main(&read(matches)?, global.root),
        supported: true,
    },
    Verb {
        name: "exec",
        about: "Run another program in a container",
        examples: &[
            "exec box ls -l /",
            "exec --tty --user 1000:1000 --env TERM=xterm box sh",
            "exec --detach --pid-file exec.pid --process process.json box",
        ],
        flags: Flags::First,
        arguments: exec::Args::augment_args,
        main: |matches, global| Ok(exec::main(&read(matches)?, global.root, global.log)),
        supported: true,
    },
    Verb {
        name: "features",
        about: "Print what this runtime supports, as JSON",
        examples: &["features"],
        flags: Flags::Anywhere,
        arguments: |command| command,
        main: |_, _| features::main(),
        supported: true,
    },
    Verb {
        name: "kill",
        about: "Send a signal to a container",
        examples: &["kill box", "kill box KILL", "kill --all box 9"],
        flags: Flags::Anywhere,
        arguments: kill::Args::augment_args,
        main: |matches, global| kill::main(&read(matches)?, global.root),
        supported: true,
    },
    Verb {
        name: "list",
        about: "List containers",
        examples: &["list", "list --quiet", "list --format json"],
        flags: Flags::Anywhere,
        arguments: list::Args::augment_args,
        main: |matches, global| list::main(&read(matches)?, global.root),
        supported: true,
    },
    Verb {
        name: "mounts",
        about: "Add mounts to a container that exists, or remove them",
        examples: &["mounts add box mounts.json", "mounts remove box mounts.json"],
        flags: Flags::Anywhere,
        arguments: mounts::Args::augment_args,
        main: |matches, global| mounts::main(&read(matches)?, global.root, global.log),
        supported: true,
    },
    Verb {
        name: "pause",
        about: "Stop every process of a container where it is",
        examples: &["pause box"],
        flags: Flags::Anywhere,
        arguments: pause::Args::augment_args,
        main: |matches, global| pause::main(&read(matches)?, global.root),
        supported: true,
    },
    Verb {
        name: "ps",
        about: "List the processes of a container",
        examples: &["ps box", "ps --format json box", "ps box -o pid,comm"],
        flags: Flags::First,
        arguments: ps::Args::augment_args,
        main: |matches, global| ps::main(&read(matches)?, global.root),
        supported: true,
    },
    Verb {
        name: "restore",
        about: "Bring a container back from the files of a checkpoint (not supported yet: always an error)",
        examples: &["restore --image-path /tmp/image --bundle mybundle --detach box"],
        flags: Flags::Anywhere,
        arguments: restore::arguments,
        main: |_, _| Err(restore::UNSUPPORTED.into()),
        supported: false,
    },
    Verb {
        name: "resume",
        about: "Let a paused container go on",
        examples: &["resume box"],
        flags: Flags::Anywhere,
        arguments: resume::Args::augment_args,
        main: |matches, global| resume::main(&read(matches)?, global.root),
        supported: true,
    },
    Verb {
        name: "run",
        about: "Create and start a container",
        examples: &[
            "run --bundle mybundle box",
            "run --detach --bundle mybundle --pid-file box.pid box",
        ],
        flags: Flags::Anywhere,
        arguments: run::Args::augment_args,
        main: |matches, global| run::main(&read(matches)?, global),
        supported: true,
    },
    Verb {
        name: "spec",
        about: "Write a config.json to start from",
        examples: &["spec", "spec --bundle mybundle --rootless"],
        flags: Flags::Anywhere,
        arguments: spec::Args::augment_args,
        main: |matches, _| spec::main(&read(matches)?),
        supported: true,
    },
    Verb {
        name: "start",
        about: "Run the program of a created container",
        examples: &["start box"],
        flags: Flags::Anywhere,
        arguments: start::Args::augment_args,
        main: |matches, global| start::main(&read(matches)?, global.root, global.log),
        supported: true,
    },
    Verb {
        name: "state",
        about: "Print the state of a container, as JSON",
        examples: &["state box"],
        flags: Flags::Anywhere,
        arguments: state::Args::augment_args,
        main: |matches, global| state::main(&read(matches)?, global.root),
        supported: true,
    },
    Verb {
        name: "update",
        about: "Change the limits of a container",
        examples: &[
            "update --memory 512M --pids-limit 100 box",
            "update --resources limits.json box",
        ],
        flags: Flags::Anywhere,
        arguments: update::Args::augment_args,
        main: |matches, global| update::main(&read(matches)?, global.root, global.log),
        supported: true,
    },
];
