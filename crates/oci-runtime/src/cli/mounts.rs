//! `nucleus mounts`: the words of crun.

use std::path::{Path, PathBuf};

use nucleus_core::ContainerId;

use super::Outcome;
use super::log::Log;
use crate::lifecycle::mounts::{self, Action};

/// Arguments of `mounts`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// add: mount what the file lists; remove: unmount what is at its destinations
    #[arg(value_name = "ACTION", value_parser = ["add", "remove"])]
    action: String,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
    /// File with a JSON array like mounts of config.json; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Adds mounts to a container, or removes them.
pub fn main(args: &Args, root: Option<&Path>, log: &Log) -> Outcome {
    let store = super::open_store(root, false)?;
    let options = mounts::Options {
        id: &args.id,
        action: if args.action == "add" {
            Action::Add
        } else {
            Action::Remove
        },
        file: &args.file,
        log_fd: log.raw_fd(),
    };
    mounts::change(&store, &options, &|text| log.warn(text))?;
    Ok(0)
}
