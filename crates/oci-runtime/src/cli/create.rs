//! `nucleus create`, and the flags that `run` shares with it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nucleus_core::ContainerId;

use super::arguments::Quick;
use super::{Global, Outcome};
use crate::lifecycle::create::{self, StartMode};
use crate::lifecycle::notify;

/// Flags of `create` and `run`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// Directory of the bundle: config.json and what it refers to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Unix socket that the container's terminal is sent to
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Unix socket that a pidfd of the container's first process is sent to
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// File that the container's pid is written to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Move the root instead of pivoting, for a host that runs from a ramdisk
    #[arg(long)]
    no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Never run the container's processes on a core beside others (core scheduling)
    #[arg(long)]
    core_sched: bool,
    /// Pass this many descriptors from 3 on to the container (LISTEN_FDS come on top)
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Name of the container, unique on this host
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
}

/// Creates a container.
pub fn main(args: &Args, global: &Global<'_>) -> Outcome {
    let options = args.prepare(true, global)?;
    let store = super::open_store(global.root, true)?;
    create::create(&store, &options, StartMode::WaitForStart, &|text| global.log.warn(text))
        .map_err(|error| format!("nucleus create failed: {error}"))?;
    Ok(0)
}

impl Args {
    /// Reads the words, but for switches that `other` knows; `None` where clap has to look.
    pub fn quick(words: &[OsString], mut other: impl FnMut(&str) -> bool) -> Option<Self> {
        let (mut bundle, mut console_socket, mut pidfd_socket, mut pid_file) = (PathBuf::from("."), None, None, None);
        let (mut no_pivot, mut no_new_keyring, mut preserve_fds, mut id) = (false, false, 0, None);
        let mut core_sched = false;
        let mut words = Quick::new(words);
        while let Some(word) = words.next() {
            match word {
                ("--bundle" | "-b", value) => bundle = words.value(value)?.into(),
                ("--console-socket", value) => console_socket = Some(words.value(value)?.into()),
                ("--pidfd-socket", value) => pidfd_socket = Some(words.value(value)?.into()),
                ("--pid-file", value) => pid_file = Some(words.value(value)?.into()),
                ("--preserve-fds", value) => preserve_fds = words.value(value)?.parse().ok()?,
                ("--no-pivot", None) => no_pivot = true,
                ("--no-new-keyring", None) => no_new_keyring = true,
                ("--core-sched", None) => core_sched = true,
                (flag, None) if other(flag) => {}
                (word, None) if id.is_none() && !word.starts_with('-') => id = Some(word.parse().ok()?),
                _ => return None,
            }
        }
        Some(Self {
            bundle,
            console_socket,
            pidfd_socket,
            pid_file,
            no_pivot,
            no_new_keyring,
            core_sched,
            preserve_fds,
            id: id?,
        })
    }

    /// Sorts the inherited descriptors, and makes paths absolute.
    pub fn prepare(&self, detach: bool, global: &Global<'_>) -> Result<create::Options, Box<dyn std::error::Error>> {
        crate::step("1", "sealed");
        let listen_fds = listen_fds();
        let preserve_fds = super::inherited(self.preserve_fds.saturating_add(listen_fds), global.log);
        let absolute = |path: &Path| std::path::absolute(path);
        Ok(create::Options {
            id: self.id.clone(),
            bundle: absolute(&self.bundle)?,
            pid_file: self.pid_file.as_deref().map(absolute).transpose()?,
            console_socket: self.console_socket.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            notify_socket: notify::manager(),
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            core_sched: self.core_sched,
            preserve_fds,
            listen_fds,
            log_fd: global.log.raw_fd(),
            rootless: global.rootless,
            systemd: global.systemd,
            detach,
        })
    }
}

/// Socket activation (sd_listen_fds(3)) passes descriptors from 3 on to us, and we pass them on.
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
    match number("LISTEN_PID") {
        Some(pid) if pid != std::process::id() => 0,
        _ => number("LISTEN_FDS").unwrap_or(0),
    }
}
