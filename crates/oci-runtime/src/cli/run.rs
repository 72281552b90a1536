//! `nucleus run`: create, start, and unless detached stay until the container ends.

use std::ffi::OsString;

use super::{Global, Outcome};
use crate::lifecycle::foreground::{self, RunOptions};

/// Flags of `run`.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    #[command(flatten)]
    create: super::create::Args,
    /// Return as soon as the container runs
    #[arg(long, short)]
    detach: bool,
    /// Keep the container after it has ended
    #[arg(long)]
    keep: bool,
    /// Do not adopt orphaned processes of the container
    #[arg(long)]
    no_subreaper: bool,
}

impl Args {
    /// Reads the words; `None` where clap has to look.
    pub fn quick(words: &[OsString]) -> Option<Self> {
        let (mut detach, mut keep, mut no_subreaper) = (false, false, false);
        let create = super::create::Args::quick(words, |flag| {
            match flag {
                "--detach" | "-d" => detach = true,
                "--keep" => keep = true,
                "--no-subreaper" => no_subreaper = true,
                _ => return false,
            }
            true
        })?;
        Some(Self {
            create,
            detach,
            keep,
            no_subreaper,
        })
    }
}

/// Runs a container; the exit code is the container's.
pub fn main(args: &Args, global: &Global<'_>) -> Outcome {
    let options = args.create.prepare(args.detach, global)?;
    let store = super::open_store(global.root, true)?;
    let run = RunOptions {
        keep: args.keep,
        no_subreaper: args.no_subreaper,
    };
    let code = foreground::run(&store, &options, run, &|text| global.log.warn(text))
        .map_err(|error| format!("nucleus run failed: {error}"))?;
    Ok(code)
}
