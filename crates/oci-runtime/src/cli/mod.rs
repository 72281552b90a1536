//! The command line: global flags, one file for each subcommand, and the way from an error to text and exit code.
//!
//! Each subcommand declares its flags, calls into `lifecycle`, and prints. No kernel call is made here.

mod check;
mod check_plan;
mod create;
mod delete;
mod features;
mod kill;
mod list;
mod log;
mod run;
mod spec;
mod start;
mod state;
mod table;
mod trace;
mod version;

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use nucleus_core::{ContainerId, Store};

use log::{Format, Log};

/// What every subcommand may fail with; only its text matters from here on.
type Outcome = Result<i32, Box<dyn std::error::Error>>;

/// A low-level container runtime: creates and runs containers from OCI bundles.
#[derive(Debug, Parser)]
#[command(
    name = "nucleus",
    disable_version_flag = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
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
    /// Manage control groups through systemd
    #[arg(long)]
    systemd_cgroup: bool,
    /// Whether to tolerate missing rights over control groups: true, false or auto
    #[arg(long, value_enum, default_value = "auto", value_name = "WHEN")]
    rootless: Rootless,
    /// Print the version
    #[arg(long, short = 'v')]
    version: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Rootless {
    Auto,
    True,
    False,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print what a bundle's config.json comes to, and run nothing
    Check(check::Args),
    /// Create a container; `start` runs its program
    Create(create::Args),
    /// Remove a container
    Delete(delete::Args),
    /// Print what this runtime supports, as JSON
    Features,
    /// Send a signal to a container
    Kill(kill::Args),
    /// List containers
    List(list::Args),
    /// Create and start a container
    Run(run::Args),
    /// Write a config.json to start from
    Spec(SpecArgs),
    /// Run the program of a created container
    Start(start::Args),
    /// Print the state of a container, as JSON
    State(state::Args),
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

/// Subcommands that enter a container: they run from a sealed copy of the binary.
const SEALED: [&str; 2] = ["create", "run"];

/// Parses the command line, does what it says, and returns the exit code.
pub fn main() -> i32 {
    if crate::seal::raises_rights() {
        eprintln!("error: refusing to run: this binary is setuid, setgid, or has file capabilities");
        return 1;
    }
    // Before clap: a version needs no subcommand.
    if matches!(std::env::args_os().nth(1), Some(first) if first == "--version" || first == "-v") {
        print!("{}", version::text());
        return 0;
    }
    // Before anything else: what is done until then is done twice. A word that is no subcommand costs a little time.
    if std::env::args_os()
        .skip(1)
        .any(|arg| SEALED.iter().any(|verb| arg == *verb))
        && let Err(error) = crate::seal::ensure_sealed()
    {
        eprintln!("error: cannot seal the runtime: {}", nucleus_core::reason(&error));
        return 1;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return i32::from(error.use_stderr());
        }
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

fn dispatch(cli: Cli, log: &Log) -> Outcome {
    if cli.version {
        print!("{}", version::text());
        return Ok(0);
    }
    if cli.systemd_cgroup {
        return Err("--systemd-cgroup is not supported yet: use the cgroupfs driver".into());
    }
    let root = cli.root.as_deref();
    match cli.command {
        Command::Check(args) => check::main(&args),
        Command::Create(args) => create::main(&args, root, log),
        Command::Delete(args) => delete::main(&args, root, log),
        Command::Features => {
            print!("{}", features::document()?);
            Ok(0)
        }
        Command::Kill(args) => kill::main(&args, root),
        Command::List(args) => list::main(&args, root),
        Command::Run(args) => run::main(&args, root, log),
        Command::Spec(args) => {
            spec::write(&args.bundle, args.rootless)?;
            Ok(0)
        }
        Command::Start(args) => start::main(&args, root),
        Command::State(args) => state::main(&args, root),
    }
}

/// Opens the state directory; with `create`, makes it when it is missing.
fn open_store(root: Option<&Path>, create: bool) -> Result<Store, nucleus_core::Error> {
    let (uid, euid) = (rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw());
    let in_user_namespace = crate::lifecycle::in_user_namespace;
    let path = nucleus_core::state_root(root, uid, euid, in_user_namespace, |name| std::env::var_os(name))?;
    Store::open(&path, create)
}

fn parse_id(text: &str) -> Result<ContainerId, nucleus_core::IdError> {
    text.parse()
}
