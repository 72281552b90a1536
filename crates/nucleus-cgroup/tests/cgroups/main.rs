//! The crate on real control groups.
//!
//! Needs root. Every scenario runs in a process and a mount namespace of its own, with a private /sys/fs/cgroup that
//! is laid out as `legacy`, `hybrid` or `v2` from the hierarchies that the host has; all cgroups are made below
//! `/nucleus-test-PID-…` and removed again. What the host cannot show is said as `SKIP`, never passed over in silence.
//! Arguments filter by "scenario mode".

mod counters;
mod limits;
mod rig;
mod scenarios;
mod seldom;
mod verbs;

use std::process::{Command, ExitCode};

/// Exit status of a scenario that this host cannot run.
const SKIP: i32 = 77;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--scenario") => rig::run(&args[1], &args[2], &args[3]),
        Some("--role") => scenarios::role(&args[1], &args[2..]),
        _ => {
            let filters: Vec<&str> = args
                .iter()
                .map(String::as_str)
                .filter(|arg| !arg.starts_with('-'))
                .collect();
            all(&filters)
        }
    }
}

fn all(filters: &[&str]) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP all scenarios: they need root");
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, _) in scenarios::ALL {
        for mode in ["legacy", "hybrid", "v2"] {
            let title = format!("{name} {mode}");
            if !filters.is_empty() && !filters.iter().any(|filter| title.contains(filter)) {
                continue;
            }
            match in_private_namespace(name, mode) {
                Some(0) => println!("ok   {title}"),
                Some(SKIP) => {}
                status => {
                    println!("FAIL {title} ({status:?})");
                    failed += 1;
                }
            }
        }
    }
    if failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// Runs one scenario through unshare(1); its exit status.
fn in_private_namespace(name: &str, mode: &str) -> Option<i32> {
    let own = std::fs::read_link("/proc/self/ns/mnt").expect("read the mount namespace");
    Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().expect("find this program"))
        .args(["--scenario", name, mode])
        .arg(own)
        .status()
        .expect("run unshare")
        .code()
}
