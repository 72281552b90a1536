//! `nucleus delete`.

use std::ffi::OsString;
use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use super::arguments::Quick;
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

impl Args {
    /// Reads the words; `None` where clap has to look.
    pub fn quick(words: &[OsString]) -> Option<Self> {
        let (mut force, mut id) = (false, None);
        let mut words = Quick::new(words);
        while let Some(word) = words.next() {
            match word {
                ("--force" | "-f", None) => force = true,
                (word, None) if id.is_none() && !word.starts_with('-') => id = Some(word.parse().ok()?),
                _ => return None,
            }
        }
        Some(Self { force, id: id? })
    }
}

/// Removes a container.
pub fn main(args: &Args, root: Option<&Path>, log: &Log) -> Outcome {
    delete::delete(&super::open_store(root, false)?, &args.id, args.force, &|text| {
        log.warn(text)
    })?;
    Ok(0)
}
