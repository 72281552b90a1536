//! `nucleus list`: a table, JSON, or ids only. A container that cannot be read is reported and does not hide the rest.

use std::path::Path;

use nucleus_core::StateOutput;

use super::{Outcome, table};
use crate::lifecycle::Container;

/// Flags of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Format of the list
    #[arg(long, short, value_enum, default_value = "table", value_name = "FORMAT")]
    format: Format,
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Lists containers.
pub fn main(args: &Args, root: Option<&Path>) -> Outcome {
    let store = super::open_store(root, false)?;
    if args.quiet {
        return super::print(&store.ids()?.iter().map(|id| format!("{id}\n")).collect::<String>());
    }
    let mut containers = Vec::new();
    for id in store.ids()? {
        match Container::open(&store, &id) {
            Ok(container) => containers.push(container),
            // Deleted since the directory was read.
            Err(crate::lifecycle::Error::Core(nucleus_core::Error::NotFound { .. })) => {}
            Err(error) => eprintln!("load container {id}: {error}"),
        }
    }
    let owners: Vec<String> = containers
        .iter()
        .map(|container| user_name(container.state.owner))
        .collect();
    let shown: Vec<StateOutput<'_>> = containers
        .iter()
        .zip(&owners)
        .map(|(container, owner)| container.state.output(container.seen.status, owner))
        .collect();
    super::print(&match args.format {
        Format::Json => serde_json::to_string(&shown)? + "\n",
        Format::Table => {
            let row = |state: &StateOutput<'_>| {
                vec![
                    state.id.to_string(),
                    state.pid.to_string(),
                    state.status.to_string(),
                    state.bundle.display().to_string(),
                    state.created.to_string(),
                    state.owner.to_string(),
                ]
            };
            let rows: Vec<Vec<String>> = shown.iter().map(row).collect();
            table::render(&["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], &rows)
        }
    })
}

/// The user's name, or `#UID` as runc shows a user without one. Static programs cannot ask the name service.
pub fn user_name(uid: u32) -> String {
    if uid == 0 {
        return "root".to_string();
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_string())
    });
    named.unwrap_or_else(|| format!("#{uid}"))
}
