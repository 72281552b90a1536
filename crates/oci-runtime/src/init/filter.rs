//! Loading the seccomp filter, and handing its listener to the host side.
//!
//! From the moment the filter is loaded, a call that it asks about blocks until somebody answers, and nobody can before
//! the host side has the listener. So init says only its number, by write(2), which no profile may ask about; the host
//! side takes the descriptor out of our table (pidfd_getfd(2)) and passes it on before it lets us read on.

use std::os::fd::AsRawFd;

use super::failure::{Explain, Failure};
use crate::channel::{InitEnd, ToHost};
use crate::plan::Seccomp;

/// What a filter that refuses init's own calls breaks.
pub const MUST_ALLOW: &str = "linux.seccomp: the profile must allow read and write, which init needs";

/// Loads the filter; with `SCMP_ACT_NOTIFY` in it, waits until its listener is where it belongs.
///
/// # Errors
/// Named by `linux.seccomp`.
pub fn load(seccomp: Option<&Seccomp>, channel: &InitEnd) -> Result<(), Failure> {
    let Some(seccomp) = seccomp else { return Ok(()) };
    let listener = nucleus_sys::seccomp::set_filter(&seccomp.program, seccomp.flags)
        .explain(|| "linux.seccomp: the kernel refuses the filter")?;
    let Some(listener) = listener else { return Ok(()) };
    channel
        .tell(&ToHost::Listener(listener.as_raw_fd()))
        .explain(|| MUST_ALLOW)?;
    match channel.await_go() {
        true => Ok(()),
        // No answer: the runtime is gone, or the filter gives one in its place.
        false => Err(Failure::new(MUST_ALLOW)),
    }
}
