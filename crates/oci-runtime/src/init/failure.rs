//! Why a step of init (or of the host side that serves it) failed, as one line for the person at the terminal.

use rustix::io::Errno;

use nucleus_core::ErrnoText;

/// One line: what was attempted, on which path or field, and the kernel's reason in lower case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// A failure that the kernel has no word for.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// `what: reason`.
    pub fn from_errno(what: impl std::fmt::Display, error: Errno) -> Self {
        Self(format!("{what}: {}", ErrnoText(error)))
    }
}

/// Adds what was attempted to a kernel error.
pub trait Explain<T> {
    /// Turns the error into a [`Failure`]; `what` is only evaluated then.
    ///
    /// # Errors
    /// The error of `self`, explained.
    fn explain<W: std::fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T, Failure>;
}

impl<T> Explain<T> for Result<T, Errno> {
    fn explain<W: std::fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T, Failure> {
        self.map_err(|error| Failure::from_errno(what(), error))
    }
}

impl<T> Explain<T> for nix::Result<T> {
    fn explain<W: std::fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T, Failure> {
        self.map_err(|error| Errno::from_raw_os_error(error as i32))
            .explain(what)
    }
}

impl<T> Explain<T> for std::io::Result<T> {
    fn explain<W: std::fmt::Display>(self, what: impl FnOnce() -> W) -> Result<T, Failure> {
        self.map_err(|error| match Errno::from_io_error(&error) {
            Some(errno) => Failure::from_errno(what(), errno),
            None => Failure::new(format!("{}: {error}", what())),
        })
    }
}
