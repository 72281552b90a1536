//! `nucleus start`.

use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use crate::lifecycle::{notify, start};

/// Flags of `start`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
}

/// Runs the program of a created container.
pub fn main(args: &Args, root: Option<&Path>) -> Outcome {
    let manager = notify::manager();
    start::start(&super::open_store(root, false)?, &args.id, manager.as_deref())?;
    Ok(0)
}
