//! `nucleus kill`.

use std::ffi::OsString;
use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use super::arguments::Quick;
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

impl Args {
    /// Reads the words; `None` where clap has to look.
    pub fn quick(words: &[OsString]) -> Option<Self> {
        let (mut all, mut id, mut signal) = (false, None, None);
        let mut words = Quick::new(words);
        while let Some(word) = words.next() {
            match word {
                ("--all" | "-a", None) => all = true,
                (flag, _) if flag.starts_with('-') => return None,
                (word, _) if id.is_none() => id = Some(word.parse().ok()?),
                (word, _) if signal.is_none() => signal = Some(word.to_owned()),
                _ => return None,
            }
        }
        Some(Self {
            all,
            id: id?,
            signal: signal.unwrap_or_else(|| "SIGTERM".to_owned()),
        })
    }
}

/// Sends a signal.
pub fn main(args: &Args, root: Option<&Path>) -> Outcome {
    let signal = kill::parse_signal(&args.signal)?;
    kill::kill(&super::open_store(root, false)?, &args.id, signal, args.all)?;
    Ok(0)
}
