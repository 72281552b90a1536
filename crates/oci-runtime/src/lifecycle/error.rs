//! Why a verb failed. Variants say what was attempted; the command line alone turns them into text and exit code.

use std::path::PathBuf;

use nucleus_core::StatusError;

use crate::init::failure::Failure;
use crate::plan::PlanError;
use crate::spec::LoadError;

/// The error of every verb.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// config.json cannot be read or parsed.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// config.json asks for what cannot be, by field.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// `linux.resources` asks for what cannot be, by field.
    #[error("{0}")]
    CgroupPlan(#[from] nucleus_cgroup::PlanError),
    /// A control group cannot be made, joined, changed or removed.
    #[error("{0}")]
    Cgroup(#[from] nucleus_cgroup::Error),
    /// The state store, the container's status or its processes.
    #[error(transparent)]
    Core(#[from] nucleus_core::Error),
    /// The host side could not do its part.
    #[error("{0}")]
    Host(#[from] Failure),
    /// Init, hooks or what serves them failed while the container was made.
    #[error("unable to start container process: {0}")]
    Start(Failure),
    /// The container's id cannot be reserved and the like happened under another name.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        reason: nucleus_core::ErrnoText,
    },
    /// A signal that does not exist.
    #[error("unknown signal {0:?}")]
    UnknownSignal(String),
    /// `process` is missing.
    #[error("process: config.json has none, so there is nothing to start")]
    NoProcess,
}

impl From<StatusError> for Error {
    fn from(error: StatusError) -> Self {
        Self::Core(error.into())
    }
}

/// The result of every verb.
pub type Result<T> = std::result::Result<T, Error>;
