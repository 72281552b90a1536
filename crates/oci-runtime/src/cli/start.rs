//! `nucleus start`.

use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use crate::lifecycle::start;

/// Flags of `start`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
}

/// Runs the program of a created container.
pub fn main(args: &Args, root: Option<&Path>) -> Outcome {
    start::start(&super::open_store(root, false)?, &args.id)?;
    Ok(0)
}
