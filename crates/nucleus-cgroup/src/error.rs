//! What can go wrong, by what was attempted.
//!
//! [`PlanError`] names the field of config.json and is found before the kernel is touched; [`Error`] names the file
//! and carries the kernel's reason. Texts are lower case and say everything on one line; the reason is spelt as
//! strerror(3) does, without the error number, because engines search the texts for it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// A cgroup section of config.json that cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PlanError {
    /// JSON path, like `linux.resources.memory.limit`.
    pub field: Cow<'static, str>,
    /// What is wrong with it.
    pub problem: String,
}

impl PlanError {
    pub(crate) fn new(field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        PlanError {
            field: field.into(),
            problem: problem.into(),
        }
    }
}

/// An operation on control groups that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call on one file or directory.
    #[error("cannot {action} {}: {}", path.display(), reason(*errno))]
    File {
        /// What was attempted: "open", "read", "write to", …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The kernel refused a value of config.json.
    #[error("{field}: cannot write {value:?} to {}: {}{hint}", path.display(), reason(*errno))]
    Limit {
        /// JSON path of the value.
        field: Cow<'static, str>,
        /// What was written.
        value: String,
        /// To which file.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
        /// More to say where it is known, like the current usage; empty otherwise.
        hint: String,
    },
    /// A limit is asked for but the cgroup that would carry it could not be made (rootless).
    #[error("{field}: cannot be applied: {}: {}", path.display(), reason(*errno))]
    NoCgroup {
        /// JSON path of the limit.
        field: Cow<'static, str>,
        /// The directory that could not be made.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
    /// The device program was refused by bpf(2).
    #[error("linux.resources.devices: cannot {action} the device program for {}: {}", path.display(), reason(*errno))]
    DeviceProgram {
        /// "load" or "attach".
        action: &'static str,
        /// The cgroup's directory.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// The cgroup existed before and holds processes.
    #[error("container's cgroup is not empty: {count} process(es) found in {}", path.display())]
    NotEmpty {
        /// The cgroup's directory.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The cgroup existed before and is frozen: nothing that joins it would ever run.
    #[error("container's cgroup unexpectedly frozen: {}", path.display())]
    Frozen {
        /// The cgroup's directory.
        path: PathBuf,
    },
    /// A recorded path is not a cgroup that we may touch.
    #[error("{}: {problem}", path.display())]
    Path {
        /// The path as recorded.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The operation needs a cgroup and the container has none.
    #[error("cannot {action}: the container has no {needs} cgroup")]
    Without {
        /// What was attempted.
        action: &'static str,
        /// Which controller it needs.
        needs: &'static str,
    },
    /// systemd, or the bus on the way to it, did not do what it was asked.
    #[error("{action}: {problem}")]
    Systemd {
        /// What was attempted, on which unit.
        action: String,
        /// Why not, and what to do.
        problem: String,
    },
    /// The kernel did not get there in the time that we are ready to wait.
    #[error("cannot {action} {}: gave up after {seconds} s{hint}", path.display())]
    Timeout {
        /// What was attempted.
        action: &'static str,
        /// The cgroup's directory.
        path: PathBuf,
        /// How long we waited.
        seconds: u64,
        /// More to say where it is known; empty otherwise.
        hint: String,
    },
}

impl Error {
    /// For `map_err`: a call on `path` failed.
    pub(crate) fn file(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(Errno) -> Error {
        move |errno| Error::File {
            action,
            path: path.as_ref().to_path_buf(),
            errno,
        }
    }
}

/// strerror(3) with a small first letter and without the number.
pub(crate) fn reason(errno: Errno) -> String {
    lower(&std::io::Error::from(errno).to_string())
}

/// The text of a [`std::io::Error`] in the same way.
pub(crate) fn lower(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_one_lower_case_line_with_file_and_reason() {
        let error = Error::file("open", "/sys/fs/cgroup/x")(Errno::NOENT);
        assert_eq!(
            error.to_string(),
            "cannot open /sys/fs/cgroup/x: no such file or directory"
        );
        let error = PlanError::new("linux.resources.memory.limit", "needs the memory controller");
        assert_eq!(
            error.to_string(),
            "linux.resources.memory.limit: needs the memory controller"
        );
    }
}
