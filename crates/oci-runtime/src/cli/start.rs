//! `nucleus start`.

use std::ffi::OsString;
use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use super::arguments::Quick;
use super::log::Log;
use crate::lifecycle::{notify, start};

/// Flags of `start`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
}

impl Args {
    /// Reads the words; `None` where clap has to look.
    pub fn quick(words: &[OsString]) -> Option<Self> {
        let id = Quick::new(words).only()?.parse().ok()?;
        Some(Self { id })
    }
}

/// Runs the program of a created container.
pub fn main(args: &Args, root: Option<&Path>, log: &Log) -> Outcome {
    let manager = notify::manager();
    start::start(
        &super::open_store(root, false)?,
        &args.id,
        manager.as_deref(),
        &|text| log.warn(text),
    )?;
    Ok(0)
}
