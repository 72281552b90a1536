//! `--pid-file`: the pid that an engine waits for, in decimal without a newline, never seen half written.
//!
//! Called by `create`, `run` and `exec` once the process is there and before its program runs.

use std::path::Path;

use nucleus_core::ErrnoText;

use super::{Error, Result};
use crate::init::failure::Failure;

/// Writes the file, in place of an older one.
///
/// # Errors
/// Named by the path.
pub fn write(path: &Path, pid: i32) -> Result<()> {
    let failed = |error: std::io::Error| Error::File {
        path: path.to_owned(),
        reason: ErrnoText::from(&error),
    };
    let Some(name) = path.file_name() else {
        return Err(Failure::new(format!("--pid-file {}: not the path of a file", path.display())).into());
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{pid}"));
    let temporary = path.with_file_name(temporary);
    let written = std::fs::write(&temporary, pid.to_string()).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        failed(error)
    })
}
