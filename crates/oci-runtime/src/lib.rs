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

/// A numbered step of the design begins: `--debug` shows it.
fn step(number: &str, name: &str) {
    tracing::debug!("{number} {name}");
    test_point(number);
}

/// Where tests stop a debug build: NUCLEUS_KILL_AT names the step at which it ends by SIGKILL, which shows that a runtime
/// which is killed at any step leaves nothing that cannot be removed; NUCLEUS_HOLD_AT the one at which it waits, so that
/// its open descriptors can be looked at.
fn test_point(_number: &str) {
    #[cfg(debug_assertions)]
    {
        use std::ffi::OsString;
        use std::sync::OnceLock;
        // Read once, on the host side: init clears its environment.
        static POINTS: OnceLock<[Option<OsString>; 2]> = OnceLock::new();
        let points = POINTS.get_or_init(|| ["NUCLEUS_KILL_AT", "NUCLEUS_HOLD_AT"].map(std::env::var_os));
        let is_at = |point: usize| points[point].as_ref().is_some_and(|at| at == _number);
        if is_at(0) {
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
            // The first process of a PID namespace cannot kill itself.
            std::process::exit(128 + 9);
        }
        if is_at(1) {
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
    }
}
