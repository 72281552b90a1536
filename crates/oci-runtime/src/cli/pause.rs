//! `nucleus pause`.

use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use crate::lifecycle::freeze;

/// Flags of `pause`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
}

/// Stops every process of a container where it is.
pub fn main(args: &Args, root: Option<&Path>) -> Outcome {
    freeze::pause(&super::open_store(root, false)?, &args.id)?;
    Ok(0)
}
