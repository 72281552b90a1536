//! `nucleus delete`.

use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use super::log::Log;
use crate::lifecycle::delete;

/// Flags of `delete`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill the container if it still runs; a container that does not exist is no error
    #[arg(long, short)]
    force: bool,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
}

/// Removes a container.
pub fn main(args: &Args, root: Option<&Path>, log: &Log) -> Outcome {
    delete::delete(&super::open_store(root, false)?, &args.id, args.force, &|text| {
        log.warn(text)
    })?;
    Ok(0)
}
