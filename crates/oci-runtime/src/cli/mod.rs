//! The command line: global flags, one file for each subcommand, and the way from an error to text and exit code.
//!
//! Each subcommand declares its flags, calls into `lifecycle`, and prints. No kernel call is made here.

mod check;
mod check_plan;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod log;
mod pause;
mod ps;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod table;
mod trace;
mod update;
mod version;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use nucleus_core::{ContainerId, Store};
use nucleus_sys::early::SEALED_VERBS;

use log::{Format, Log};

/// What every subcommand may fail with; only its text matters from here on.
type Outcome = Result<i32, Box<dyn std::error::Error>>;

/// A low-level container runtime: creates and runs containers from OCI bundles.
#[derive(Debug, Parser)]
#[command(name = "nucleus", disable_version_flag = true, arg_required_else_help = true)]
struct Cli {
    /// Directory that holds the state of all containers
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// File that errors are logged to, besides standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Format of the log: text or json
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    log_format: Format,
    /// Log every step
    #[arg(long)]
    debug: bool,
    /// Have systemd make the control group of a new container; later verbs know how it was made
    #[arg(long)]
    systemd_cgroup: bool,
    /// Whether to tolerate missing rights over control groups: true, false or auto
    #[arg(long, value_parser = parse_rootless, default_value = "auto", value_name = "WHEN")]
    rootless: Rootless,
    /// Print the version
    #[arg(long, short = 'v')]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Flags that every subcommand may need.
struct Global<'a> {
    root: Option<&'a Path>,
    rootless: Option<bool>,
    systemd: bool,
    log: &'a Log,
}

/// `auto`, or what Go's strconv.ParseBool takes, as runc does.
fn parse_rootless(text: &str) -> Result<Rootless, String> {
    match text {
        "auto" => Ok(Rootless(None)),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Rootless(Some(true))),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Rootless(Some(false))),
        _ => Err("neither true, false nor auto".to_string()),
    }
}

#[derive(Debug, Clone, Copy)]
struct Rootless(Option<bool>);

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what a bundle's config.json comes to, and run nothing
    Check(check::Args),
    /// Create a container; `start` runs its program
    Create(create::Args),
    /// Remove a container
    Delete(delete::Args),
    /// Print statistics and out-of-memory events, as JSON
    Events(events::Args),
    /// Run another program in a container
    Exec(exec::Args),
    /// Print what this runtime supports, as JSON
    Features,
    /// Send a signal to a container
    Kill(kill::Args),
    /// List containers
    List(list::Args),
    /// Stop every process of a container where it is
    Pause(pause::Args),
    /// List the processes of a container
    Ps(ps::Args),
    /// Let a paused container go on
    Resume(resume::Args),
    /// Create and start a container
    Run(run::Args),
    /// Write a config.json to start from
    Spec(SpecArgs),
    /// Run the program of a created container
    Start(start::Args),
    /// Print the state of a container, as JSON
    State(state::Args),
    /// Change the limits of a container
    Update(Box<update::Args>),
}

/// Flags of `spec`.
#[derive(Debug, clap::Args)]
struct SpecArgs {
    /// Directory that config.json is written into
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Write a config.json for an ordinary user
    #[arg(long)]
    rootless: bool,
}

/// Parses the command line, does what it says, and returns the exit code.
pub fn main() -> i32 {
    if crate::seal::raises_rights() {
        eprintln!("error: refusing to run: this binary is setuid, setgid, or has file capabilities");
        return 1;
    }
    // Nearly always done by the entry point already. A word that is no subcommand costs a little time.
    if std::env::args_os()
        .skip(1)
        .any(|arg| SEALED_VERBS.iter().any(|verb| arg == *verb))
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
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let log = match Log::open(cli.log.as_deref(), cli.log_format, cli.debug) {
        Ok(log) => log,
        Err(error) => {
            Log::default().error(&error.to_string());
            return 1;
        }
    };
    match dispatch(cli, &log) {
        Ok(code) => code,
        Err(error) => {
            log.error(&error.to_string());
            1
        }
    }
}

/// Help goes to standard output. A mistake is one line, also for the log: clap gives up before it knows the flags, so
/// the log's are picked out by hand.
fn wrong_usage(error: &clap::Error) -> i32 {
    if !error.use_stderr() {
        let _ = error.print();
        return 0;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return 1;
    }
    let args: Vec<String> = std::env::args_os()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let flag = |name: &str| {
        args.iter()
            .enumerate()
            .find_map(|(at, arg)| match arg.strip_prefix(name)? {
                "" => args.get(at + 1).cloned(),
                value => value.strip_prefix('=').map(str::to_owned),
            })
    };
    let format = flag("--log-format")
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    let log = Log::open(flag("--log").as_deref().map(Path::new), format, false).unwrap_or_default();
    let text = error.to_string();
    let first: Vec<&str> = text
        .lines()
        .take_while(|line| !line.is_empty())
        .map(str::trim)
        .collect();
    log.error(first.join(" ").trim_start_matches("error: "));
    1
}

fn dispatch(cli: Cli, log: &Log) -> Outcome {
    let Some(command) = cli.command.filter(|_| !cli.version) else {
        return match cli.version {
            true => {
                print!("{}", version::text());
                Ok(0)
            }
            false => Err("no command is given: see nucleus --help".into()),
        };
    };
    let root = cli.root.as_deref();
    let global = Global {
        root,
        rootless: cli.rootless.0,
        systemd: cli.systemd_cgroup,
        log,
    };
    match command {
        Command::Check(args) => check::main(&args, cli.systemd_cgroup),
        Command::Create(args) => create::main(&args, &global),
        Command::Delete(args) => delete::main(&args, root, log),
        Command::Events(args) => events::main(&args, root),
        Command::Exec(args) => Ok(exec::main(&args, root, log)),
        Command::Features => {
            print!("{}", features::document()?);
            Ok(0)
        }
        Command::Kill(args) => kill::main(&args, root),
        Command::List(args) => list::main(&args, root),
        Command::Pause(args) => pause::main(&args, root),
        Command::Ps(args) => ps::main(&args, root),
        Command::Resume(args) => resume::main(&args, root),
        Command::Run(args) => run::main(&args, &global),
        Command::Spec(args) => {
            spec::write(&args.bundle, args.rootless)?;
            Ok(0)
        }
        Command::Start(args) => start::main(&args, root),
        Command::State(args) => state::main(&args, root),
        Command::Update(args) => update::main(&args, root, log),
    }
}

/// Opens the state directory; with `create`, makes it when it is missing.
fn open_store(root: Option<&Path>, create: bool) -> Result<Store, nucleus_core::Error> {
    let (uid, euid) = (rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw());
    let in_user_namespace = crate::lifecycle::in_user_namespace;
    let path = nucleus_core::state_root(root, uid, euid, in_user_namespace, |name| std::env::var_os(name))?;
    Store::open(&path, create)
}

/// Those of the `count` descriptors from 3 on that the caller has left us, by number.
fn inherited(count: u32, log: &Log) -> Vec<i32> {
    let fds = nucleus_sys::process::inherited(count);
    fds.into_iter().filter(|fd| Some(*fd) != log.raw_fd()).collect()
}

fn parse_id(text: &str) -> Result<ContainerId, nucleus_core::IdError> {
    text.parse()
}
