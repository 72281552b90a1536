//! Paths and C strings: the checks that every string of config.json passes on its way to the kernel.
//!
//! Cleaning is lexical and for paths inside the container only; init resolves them again inside the rootfs by
//! descriptor. Paths of the host are left as they are written, because `..` after a symbolic link means what the kernel
//! says it means. The `field` arguments are formatted only on failure, so callers pass `format_args!`.

use std::ffi::{CString, OsString};
use std::fmt::Display;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::PlanError;

/// Makes a path inside the container absolute and removes `.`, `..` and doubled slashes; `..` stops at the root.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    // Nearly all are clean as they are written; what may be a `.` or `..` is looked at below.
    let unclean = |pair: &[u8]| pair[0] == b'/' && matches!(pair[1], b'/' | b'.');
    if bytes.starts_with(b"/") && !bytes[1..].ends_with(b"/") && !bytes.windows(2).any(unclean) {
        return path.to_owned();
    }
    let mut cleaned = Vec::with_capacity(bytes.len() + 1);
    for name in bytes.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => cleaned.truncate(cleaned.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            name => {
                cleaned.push(b'/');
                cleaned.extend_from_slice(name);
            }
        }
    }
    if cleaned.is_empty() {
        cleaned.push(b'/');
    }
    OsString::from_vec(cleaned).into()
}

/// A C string of `value`.
///
/// # Errors
/// When it contains a NUL byte, at which the kernel would cut it short.
pub(crate) fn c_string(value: &[u8], field: impl Display) -> Result<CString, PlanError> {
    CString::new(value).map_err(|_| nul(field))
}

/// Refuses a path with a NUL byte.
pub(crate) fn no_nul(path: &Path, field: impl Display) -> Result<(), PlanError> {
    match path.as_os_str().as_bytes().contains(&0) {
        true => Err(nul(field)),
        false => Ok(()),
    }
}

/// Refuses a path that is empty, relative or contains a NUL byte.
pub(crate) fn absolute(path: &Path, field: impl Display) -> Result<(), PlanError> {
    if path.as_os_str().is_empty() {
        return Err(PlanError::new(field, "must not be empty"));
    }
    if !path.is_absolute() {
        return Err(PlanError::new(field, format_args!("{path:?} must be an absolute path")));
    }
    no_nul(path, field)
}

/// A list of absolute paths inside the container, cleaned, each once, in the order of first mention.
pub(crate) fn distinct(list: &[String], field: &str) -> Result<Vec<PathBuf>, PlanError> {
    let mut paths: Vec<PathBuf> = Vec::with_capacity(list.len());
    for (i, path) in list.iter().enumerate() {
        absolute(Path::new(path), format_args!("{field}[{i}]"))?;
        let path = clean(Path::new(path));
        // Cleaned paths are equal when their bytes are.
        if !paths.iter().any(|other| other.as_os_str() == path.as_os_str()) {
            paths.push(path);
        }
    }
    Ok(paths)
}

fn nul(field: impl Display) -> PlanError {
    PlanError::new(field, "must not contain a NUL byte")
}
