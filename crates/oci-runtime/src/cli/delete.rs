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
    /// Names of the containers
    #[arg(value_name = "ID", required = true, value_parser = super::parse_id)]
    ids: Vec<ContainerId>,
}

impl Args {
    /// Reads the words; `None` where clap has to look.
    pub fn quick(words: &[OsString]) -> Option<Self> {
        let (mut force, mut ids) = (false, Vec::with_capacity(1));
        let mut words = Quick::new(words);
        while let Some(word) = words.next() {
            match word {
                ("--force" | "-f", None) => force = true,
                (word, None) if !word.starts_with('-') => ids.push(word.parse().ok()?),
                _ => return None,
            }
        }
        (!ids.is_empty()).then_some(Self { force, ids })
    }
}

/// Removes containers, each for itself: one that cannot be removed does not keep the others.
pub fn main(args: &Args, root: Option<&Path>, log: &Log) -> Outcome {
    let store = super::open_store(root, false)?;
    let delete = |id: &ContainerId| delete::delete(&store, id, args.force, &|text| log.warn(text));
    if let [id] = args.ids.as_slice() {
        delete(id)?;
        return Ok(0);
    }
    let mut code = 0;
    for id in &args.ids {
        if let Err(error) = delete(id) {
            log.error(&format!("{id}: {error}"));
            code = 1;
        }
    }
    Ok(code)
}
