//! The command line: global flags, one file for each subcommand, and the way from an error to text and exit code.
//!
//! Each subcommand declares its flags, calls into `lifecycle`, and prints. No kernel call is made here.

mod arguments;
mod check;
mod check_plan;
mod checkpoint;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod log;
mod mounts;
mod pause;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod table;
mod trace;
mod update;
mod verbs;
mod version;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args, Command};
use nucleus_core::{ContainerId, Store};
use nucleus_sys::early::SEALED_VERBS;
use rustix::fs::{Mode, OFlags};

use arguments::{Flags, Quick, Sorted, parse_bool};
use log::{Format, Log};
use verbs::Verb;
pub use verbs::whole;

/// What every subcommand may fail with; only its text matters from here on.
type Outcome = Result<i32, Box<dyn std::error::Error>>;

/// The exit code when there is no such subcommand; runc's.
const NO_SUCH_VERB: i32 = 3;

/// The flags before the subcommand.
#[derive(Debug, Default, clap::Args)]
struct GlobalFlags {
    /// Directory that holds the state of all containers
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// File that errors are logged to, besides standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Format of the log: text or json
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    log_format: String,
    /// Log every step
    #[arg(long)]
    debug: bool,
    /// Have systemd make the control group of a new container; later verbs know how it was made
    #[arg(long)]
    systemd_cgroup: bool,
    /// Whether to tolerate missing rights over control groups: true, false or auto
    #[arg(long, default_value = "auto", value_name = "WHEN")]
    rootless: String,
    /// Obsolete and ignored, as with runc
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<PathBuf>,
    /// Print the version
    #[arg(long, short = 'v')]
    version: bool,
}

/// What every subcommand may need of the global flags.
struct Global<'a> {
    root: Option<&'a Path>,
    rootless: Option<bool>,
    systemd: bool,
    log: &'a Log,
}

/// Parses the command line, does what it says, and returns the exit code.
pub fn main() -> i32 {
    if crate::seal::raises_rights() {
        eprintln!("error: refusing to run: this binary is setuid, setgid, or has file capabilities");
        return 1;
    }
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Nearly always done by the entry point already. A word that is no subcommand costs a little time.
    if words.iter().any(|word| SEALED_VERBS.iter().any(|verb| word == verb))
        && let Err(error) = crate::seal::ensure_sealed()
    {
        eprintln!("error: cannot seal the runtime: {}", nucleus_core::reason(&error));
        return 1;
    }
    // Whoever started us may have left descriptors open: hooks and helpers get none of them.
    if let Err(error) = nucleus_sys::process::cloexec_from(3) {
        Log::default().error(&format!("close_range: {}", nucleus_core::ErrnoText(error)));
        return 1;
    }
    let line = match CommandLine::read(words) {
        Ok(line) => line,
        Err(text) => {
            Log::default().error(&text);
            return 1;
        }
    };
    let Some(log) = line.flags.open_log() else {
        return 1;
    };
    let outcome = match line.wrong {
        Some(wrong) => Err(format!("{wrong} (see nucleus --help)").into()),
        None => dispatch(&line.flags, line.help, line.words, &log),
    };
    outcome.unwrap_or_else(|error| {
        log.error(&error.to_string());
        1
    })
}

/// What is known before the verb is looked at.
#[derive(Debug)]
struct CommandLine {
    flags: GlobalFlags,
    /// The verb, and what is its own.
    words: Vec<OsString>,
    /// `--help` is among the flags.
    help: bool,
    /// What is wrong with the flags, in runc's words.
    wrong: Option<String>,
}

impl CommandLine {
    /// An error is one line.
    fn read(mut words: Vec<OsString>) -> Result<Self, String> {
        match GlobalFlags::quick(&words) {
            Some((flags, verb)) => Ok(Self {
                flags,
                words: words.split_off(verb),
                help: false,
                wrong: None,
            }),
            None => Self::sorted(words),
        }
    }

    /// The same for every shape of flags.
    fn sorted(words: Vec<OsString>) -> Result<Self, String> {
        let command = GlobalFlags::augment_args(Command::new("nucleus").no_binary_name(true));
        let mut sorted = arguments::sort(&command, Flags::First, words);
        Ok(Self {
            words: std::mem::take(&mut sorted.rest),
            help: sorted.help,
            wrong: sorted.wrong.take(),
            flags: parse(command, sorted)?,
        })
    }
}

impl GlobalFlags {
    /// The flags, and where the verb is; `None` where clap has to look.
    fn quick(all: &[OsString]) -> Option<(Self, usize)> {
        let mut flags = Self {
            log_format: "text".to_owned(),
            rootless: "auto".to_owned(),
            ..Self::default()
        };
        let mut words = Quick::new(all);
        loop {
            let at = all.len() - words.left();
            match words.next()? {
                ("--root", value) => flags.root = Some(words.value(value)?.into()),
                ("--log", value) => flags.log = Some(words.value(value)?.into()),
                ("--log-format", value) => flags.log_format = words.value(value)?.to_owned(),
                ("--rootless", value) => flags.rootless = words.value(value)?.to_owned(),
                ("--debug", None) => flags.debug = true,
                ("--systemd-cgroup", None) => flags.systemd_cgroup = true,
                (flag, _) if flag.starts_with('-') => return None,
                _ => return Some((flags, at)),
            }
        }
    }

    /// None after having said why.
    fn open_log(&self) -> Option<Log> {
        // With a format that is unknown, the complaint about it is text.
        let format = self.log_format.parse::<Format>();
        let known = format.as_ref().copied().unwrap_or_default();
        match (Log::open(self.log.as_deref(), known, self.debug), format) {
            (Ok(log), Ok(_)) => Some(log),
            (Ok(log), Err(text)) => {
                log.error(&text);
                None
            }
            (Err(error), _) => {
                Log::default().error(&error.to_string());
                None
            }
        }
    }

    /// `auto`, or what Go's strconv.ParseBool takes, as runc does.
    fn rootless(&self) -> Result<Option<bool>, String> {
        match (self.rootless.as_str(), parse_bool(&self.rootless)) {
            ("auto", _) => Ok(None),
            (_, Some(on)) => Ok(Some(on)),
            (text, None) => Err(format!("--rootless {text:?}: neither true, false nor auto")),
        }
    }

    fn global<'a>(&'a self, rootless: Option<bool>, log: &'a Log) -> Global<'a> {
        Global {
            root: self.root.as_deref(),
            rootless,
            systemd: self.systemd_cgroup,
            log,
        }
    }
}

/// What clap makes of a sorted command line; an error is one line.
fn parse<A: clap::FromArgMatches>(command: Command, sorted: Sorted) -> Result<A, String> {
    let mut matches = matches(command, sorted)?;
    A::from_arg_matches_mut(&mut matches).map_err(|error| in_one_line(&error))
}

fn matches(command: Command, sorted: Sorted) -> Result<ArgMatches, String> {
    command
        .try_get_matches_from(sorted.for_clap())
        .map_err(|error| in_one_line(&error))
}

/// The first paragraph of clap's text: what is wrong, without its advice.
fn in_one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

fn dispatch(flags: &GlobalFlags, help: bool, words: Vec<OsString>, log: &Log) -> Outcome {
    if flags.version {
        return print(&version::text());
    }
    let mut words = words.into_iter();
    let verb = words.next().filter(|_| !help);
    let Some(verb) = verb else {
        return show(whole());
    };
    if verb == "help" || verb == "h" {
        return match words.next() {
            None => show(whole()),
            Some(topic) if topic == "help" || topic == "h" => show(whole()),
            Some(topic) => match Verb::find(&topic.to_string_lossy()) {
                Some(verb) => show(verb.described()),
                None => Ok(no_such(&topic, log)),
            },
        };
    }
    match Verb::find(&verb.to_string_lossy()) {
        Some(verb) => run_verb(verb, flags, words.collect(), log),
        None => Ok(no_such(&verb, log)),
    }
}

fn no_such(verb: &OsStr, log: &Log) -> i32 {
    log.error(&format!("No help topic for '{}'", verb.to_string_lossy()));
    NO_SUCH_VERB
}

fn show(mut command: Command) -> Outcome {
    print(&command.render_help().to_string())
}

/// Writes to standard output at once: nothing is left for the end of the process.
fn write_out(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// [`write_out`] for a verb that has nothing more to do.
fn print(text: &str) -> Outcome {
    write_out(text).map_err(|error| format!("cannot write to standard output: {error}"))?;
    Ok(0)
}

fn run_verb(verb: &Verb, flags: &GlobalFlags, words: Vec<OsString>, log: &Log) -> Outcome {
    if let (None, Ok(rootless)) = (&flags.criu, flags.rootless())
        && let Some(outcome) = verb.quick(&words, &flags.global(rootless, log))
    {
        return outcome;
    }
    let command = verb.command();
    let sorted = arguments::sort(&command, verb.flags, words);
    if sorted.help && verb.supported {
        return show(verb.described());
    }
    let wrong = |text: String| format!("{text} (see nucleus {} --help)", verb.name);
    if let Some(text) = sorted.wrong {
        return Err(wrong(text).into());
    }
    if sorted.help {
        return Err(format!("{} is not supported yet", verb.name).into());
    }
    let mut matches = matches(command, sorted).map_err(wrong)?;
    if flags.criu.is_some() {
        log.warn("--criu is obsolete and ignored");
    }
    (verb.main)(&mut matches, &flags.global(flags.rootless()?, log))
}

/// Opens the state directory; with `create`, makes it when it is missing.
fn open_store(root: Option<&Path>, create: bool) -> Result<Store, nucleus_core::Error> {
    let (uid, euid) = (rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw());
    let in_user_namespace = crate::lifecycle::in_user_namespace;
    let path = nucleus_core::state_root(root, uid, euid, in_user_namespace, |name| std::env::var_os(name))?;
    Store::open(&path, create)
}

/// Up to this many inherited descriptors are asked for one by one.
const MANY: u32 = 1024;

/// Those of the `count` descriptors from 3 on that the caller has left us, by number.
fn inherited(count: u32, log: &Log) -> Vec<i32> {
    let fds = match count {
        0..=MANY => nucleus_sys::process::inherited(count),
        _ => open_descriptors()
            .into_iter()
            .filter(|fd| i64::from(*fd) < 3 + i64::from(count))
            .collect(),
    };
    fds.into_iter().filter(|fd| Some(*fd) != log.raw_fd()).collect()
}

/// All open descriptors from 3 on, by number.
fn open_descriptors() -> Vec<i32> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::open("/proc/self/fd", flags, Mode::empty()) else {
        return Vec::new();
    };
    let own = dir.as_raw_fd();
    let entries = rustix::fs::Dir::new(dir).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str().ok()?.parse::<i32>().ok());
    let mut numbers: Vec<i32> = numbers.filter(|fd| *fd >= 3 && *fd != own).collect();
    numbers.sort_unstable();
    numbers
}

fn parse_id(text: &str) -> Result<ContainerId, nucleus_core::IdError> {
    text.parse()
}

#[cfg(test)]
mod quick_tests;
