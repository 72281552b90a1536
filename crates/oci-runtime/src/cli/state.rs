//! `nucleus state`.

use std::ffi::OsString;
use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use super::arguments::Quick;
use crate::lifecycle::Container;

/// Flags of `state`.
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

/// Prints the state as runc does: the specification's fields, and rootfs, created and owner.
pub fn main(args: &Args, root: Option<&Path>) -> Outcome {
    let container = Container::open(&super::open_store(root, false)?, &args.id)?;
    let owner = super::list::user_name(container.state.owner);
    let output = container.state.output(container.seen.status, &owner);
    super::print(&(serde_json::to_string_pretty(&output)? + "\n"))
}
