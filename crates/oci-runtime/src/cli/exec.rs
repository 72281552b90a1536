//! `nucleus exec`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::arguments::Quick;
use super::log::Log;
use crate::lifecycle::exec;
use crate::plan::exec::{Changes, parse_id, parse_user};

/// The exit code of our own failures; the program's own is passed on.
const FAILED: i32 = 255;

/// Flags of `exec`.
#[derive(Debug, Default, clap::Args)]
#[command(
    override_usage = "nucleus exec [OPTIONS] <ID> <COMMAND> [ARGS]...\n       nucleus exec [OPTIONS] --process <FILE> <ID>"
)]
pub struct Args {
    /// File that holds the process section (config.json has one like it); - is standard input
    #[arg(long, short, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable (repeatable)
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// User and group, as numbers
    #[arg(long, short, value_name = "UID[:GID]")]
    user: Option<String>,
    /// Additional group, as a number (repeatable)
    #[arg(long, short = 'g', value_name = "GID", value_parser = parse_id, value_delimiter = ',')]
    additional_gids: Vec<u32>,
    /// Add a capability to those that the container's process has (repeatable)
    #[arg(long, short, value_name = "CAP_NAME", value_delimiter = ',')]
    cap: Vec<String>,
    /// Never let the process gain privileges
    #[arg(long)]
    no_new_privs: bool,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Give the process a terminal
    #[arg(long, short)]
    tty: bool,
    /// Return as soon as the program runs
    #[arg(long, short)]
    detach: bool,
    /// File that the process's pid is written to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Unix socket that the process's terminal is sent to
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Unix socket that a pidfd of the process is sent to
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Pass this many descriptors from 3 on to the process
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Delay the program until another process opens this FIFO for reading
    #[arg(long, value_name = "FIFO")]
    exec_wait_fifo: Option<PathBuf>,
    /// Also in a paused container, where the process waits to be resumed
    #[arg(long)]
    ignore_paused: bool,
    /// Control group below the container's: PATH, or CONTROLLER[,CONTROLLER]:PATH with cgroup v1 (repeatable)
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// Name of the container, then the program and its arguments
    // One list: whatever comes after the id is the program's, also what looks like a flag of ours.
    #[arg(value_name = "ID", required = true, trailing_var_arg = true, num_args = 1..)]
    rest: Vec<String>,
}

impl Args {
    /// Reads the words, if their flags are those of engines; `None` where clap has to look.
    pub fn quick(all: &[OsString]) -> Option<Self> {
        let mut args = Self::default();
        let mut words = Quick::new(all);
        loop {
            let at = all.len() - words.left();
            match words.next()? {
                ("--process" | "-p", value) => args.process = Some(words.value(value)?.into()),
                ("--cwd", value) => args.cwd = Some(words.value(value)?.into()),
                ("--env" | "-e", value) => args.env.push(words.value(value)?.to_owned()),
                ("--user" | "-u", value) => args.user = Some(words.value(value)?.to_owned()),
                ("--tty" | "-t", None) => args.tty = true,
                ("--detach" | "-d", None) => args.detach = true,
                ("--pid-file", value) => args.pid_file = Some(words.value(value)?.into()),
                ("--console-socket", value) => args.console_socket = Some(words.value(value)?.into()),
                ("--preserve-fds", value) => args.preserve_fds = words.value(value)?.parse().ok()?,
                (flag, _) if flag.starts_with('-') => return None,
                _ => {
                    let rest = all[at..].iter().map(|word| Some(word.to_str()?.to_owned()));
                    args.rest = rest.collect::<Option<_>>()?;
                    return Some(args);
                }
            }
        }
    }
}

/// Runs a program; the exit code is the program's.
pub fn main(args: &Args, root: Option<&Path>, log: &Log) -> i32 {
    let outcome = args.prepare(log).and_then(|options| {
        let store = super::open_store(root, false)?;
        Ok(exec::exec(&store, &options, &|text| log.warn(text))?)
    });
    outcome.unwrap_or_else(|error| {
        log.error(&format!("exec failed: {error}"));
        FAILED
    })
}

impl Args {
    fn prepare(&self, log: &Log) -> Result<exec::Options, Box<dyn std::error::Error>> {
        let (id, command) = self.rest.split_first().ok_or("the name of the container is missing")?;
        match (&self.process, command) {
            (None, []) => return Err("process args cannot be empty".into()),
            (Some(_), [first, ..]) => {
                return Err(format!("--process names the program already, so {first:?} cannot be one").into());
            }
            _ => {}
        }
        // Here and not by clap: with runc, too, a bad user is a failure of exec (255).
        let user = self
            .user
            .as_deref()
            .map(|text| parse_user(text).map_err(|error| format!("--user {text:?}: {error}")));
        Ok(exec::Options {
            id: super::parse_id(id)?,
            process: self.process.clone(),
            changes: Changes {
                args: command.to_vec(),
                terminal: self.tty,
                cwd: self.cwd.clone(),
                env: self.env.clone(),
                user: user.transpose()?,
                additional_gids: self.additional_gids.clone(),
                capabilities: self.cap.clone(),
                no_new_privileges: self.no_new_privs,
                apparmor: self.apparmor.clone(),
                label: self.process_label.clone(),
            },
            pid_file: self.pid_file.as_ref().map(std::path::absolute).transpose()?,
            console_socket: self.console_socket.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            preserve_fds: super::inherited(self.preserve_fds, log),
            log_fd: log.raw_fd(),
            detach: self.detach,
            wait_fifo: self.exec_wait_fifo.clone(),
            ignore_paused: self.ignore_paused,
            cgroups: self.cgroup.clone(),
        })
    }
}
