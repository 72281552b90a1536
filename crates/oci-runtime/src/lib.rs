//! The runtime behind the `nucleus` binary.
//!
//! A library so that the program which writes the manual pages and shell completions (`crates/nucleus-manual`) reads the
//! same definitions of the command line; nobody else is meant to link it.
#![forbid(unsafe_code)]

mod channel;
mod cli;
mod hooks;
mod init;
mod lifecycle;
mod network;
mod plan;
mod rootfs;
mod seal;
mod security;
mod spec;

pub use cli::{main, whole as command_line};

/// A numbered step of the design begins: `--debug` shows it. Debug builds end there by SIGKILL when NUCLEUS_KILL_AT
/// names it: that is how the tests show that a runtime which is killed at any step leaves nothing that cannot be removed.
fn step(number: &str, name: &str) {
    tracing::debug!("{number} {name}");
    #[cfg(debug_assertions)]
    if std::env::var_os("NUCLEUS_KILL_AT").is_some_and(|at| at == number) {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        // The first process of a PID namespace cannot kill itself.
        std::process::exit(128 + 9);
    }
}
