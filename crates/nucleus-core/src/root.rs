//! Which directory holds the state of all containers. Pure: the facts and the environment are handed in.
//!
//! Called once by the command line. The order: `--root`, then `NUCLEUS_STATE_DIR`, then the default of the user. One
//! answer, no chain of fallbacks: containers must not vanish because a variable is missing today.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The state directory of root.
pub const DEFAULT_ROOT: &str = "/run/nucleus";
/// The environment variable that names a state directory.
pub const STATE_DIR_ENV: &str = "NUCLEUS_STATE_DIR";

/// The state directory: what `--root` says, else `NUCLEUS_STATE_DIR`, else [`default_root`].
///
/// The environment of a process whose effective uid is not its real one belongs to somebody else and is ignored.
/// `in_userns` (is this a user namespace other than the host's?) is asked only when the answer matters.
///
/// # Errors
/// [`Error::NoDefaultRoot`].
pub fn state_root(
    explicit: Option<&Path>,
    uid: u32,
    euid: u32,
    in_userns: impl FnOnce() -> bool,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf> {
    if let Some(path) = explicit.filter(|path| !path.as_os_str().is_empty()) {
        return Ok(path.to_owned());
    }
    if uid != euid {
        return default_root(euid, in_userns, |_| None);
    }
    match env(STATE_DIR_ENV).filter(|value| !value.is_empty()) {
        Some(path) => Ok(path.into()),
        None => default_root(euid, in_userns, env),
    }
}

/// The default: `/run/nucleus` for root, `$XDG_RUNTIME_DIR/nucleus` for everybody else.
///
/// Root of a user namespace counts as "everybody else" when `XDG_RUNTIME_DIR` is set and `USER` is not "root": that
/// is how rootless engines call a runtime (runc decides in the same way).
///
/// # Errors
/// [`Error::NoDefaultRoot`] for a user without an absolute `XDG_RUNTIME_DIR`.
pub fn default_root(
    euid: u32,
    in_userns: impl FnOnce() -> bool,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf> {
    // The XDG specification wants relative values ignored.
    let runtime_dir = env("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    match runtime_dir {
        Some(dir) if euid != 0 || (env("USER").is_none_or(|user| user != "root") && in_userns()) => {
            Ok(dir.join("nucleus"))
        }
        None if euid != 0 => Err(Error::NoDefaultRoot),
        _ => Ok(DEFAULT_ROOT.into()),
    }
}
