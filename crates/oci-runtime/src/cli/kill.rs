//! `nucleus kill`.

use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use crate::lifecycle::kill;

/// Flags of `kill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Signal every process of the container
    #[arg(long, short)]
    all: bool,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = super::parse_id)]
    id: ContainerId,
    /// Number or name of the signal
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    signal: String,
}

/// Sends a signal.
pub fn main(args: &Args, root: Option<&Path>) -> Outcome {
    let signal = kill::parse_signal(&args.signal)?;
    kill::kill(&super::open_store(root, false)?, &args.id, signal, args.all)?;
    Ok(0)
}
