//! `nucleus ps`: the container's processes, as a JSON array of ids or as the host's ps(1) shows them.

use std::ffi::OsString;
use std::path::Path;

use nucleus_core::ContainerId;

use super::Outcome;
use crate::lifecycle::ps;

/// Flags of `ps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Format of the list
    #[arg(long, short, value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
    /// Name of the container, and arguments for ps(1) in the place of `-ef`
    // One list: what follows the id is not ours, even when it looks like a flag of ours.
    #[arg(value_names = ["ID", "PS-ARGUMENT"], required = true, num_args = 1.., trailing_var_arg = true)]
    words: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Lists the processes.
pub fn main(args: &Args, root: Option<&Path>) -> Outcome {
    let (id, arguments) = args.words.split_first().ok_or("ps: needs the name of a container")?;
    let id = ContainerId::parse(id.to_str().unwrap_or_default())?;
    let pids = ps::pids(&super::open_store(root, false)?, &id)?;
    super::print(&match args.format {
        Format::Json => serde_json::to_string(&pids)? + "\n",
        Format::Table => ps::table(&pids, arguments)?,
    })
}
