//! `make bench`: nucleus, its peers and the kernel's floor, measured side by side in one run.
//!
//! Called by runtime-tools-tests/bench/bench.sh, which installs the peers. It works in a mount namespace of its own with
//! private cgroup trees and a private /run; nothing of it is left when it ends. See docs/benchmarks.md.
#![forbid(unsafe_code)]

mod bundles;
mod cases;
mod cells;
mod client;
mod floor;
mod layout;
mod memory;
mod noise;
mod options;
mod peers;
mod programs;
mod report;
mod runner;
mod session;
mod spawner;
mod stats;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match arguments.next().as_deref() {
        Some("run") => session::run(arguments),
        Some("render") => report::render_again(arguments),
        Some("spawner") => spawner::serve().map_err(|error| error.to_string()),
        _ => Err(options::USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nucleus-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
