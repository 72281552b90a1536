//! The status of a container: how it is derived, and which operation is possible in which.
//!
//! Pure: no file, no process is looked at here (that is `observe`'s work). The verbs ask [`Status::check`] before they
//! act. The rules: a container without a living init is stopped, whatever was written down; the only phase that is
//! remembered is whether `create` has finished; refusals have runc's texts, which engines match.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The status of a container as the runtime specification names it, and "paused" as every runtime adds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// `create` is at work.
    Creating,
    /// Init waits for `start`.
    Created,
    /// The user's program runs.
    Running,
    /// The cgroup is frozen.
    Paused,
    /// There is no init any more.
    Stopped,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Creating,
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Stopped,
    ];

    /// The lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }

    /// Whether `operation` is possible now.
    ///
    /// # Errors
    /// With the text that runc prints for this refusal.
    pub const fn check(self, operation: Operation) -> Result<(), StatusError> {
        use Operation as Op;
        use Status::{Created, Paused, Running, Stopped};
        match (operation, self) {
            (Op::Ps | Op::KillAll | Op::DeleteForce, _)
            | (Op::Start, Created)
            | (Op::Kill | Op::Update | Op::Events | Op::Mounts, Created | Running | Paused)
            | (Op::Exec | Op::Pause, Created | Running)
            | (Op::ExecIgnorePaused, Created | Running | Paused)
            | (Op::Resume, Paused)
            | (Op::Checkpoint, Running | Paused)
            | (Op::Delete, Created | Stopped) => Ok(()),
            _ => Err(StatusError {
                operation,
                status: self,
            }),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What somebody may want to do with a container that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// List the processes.
    Ps,
    /// Let init execute the user's program.
    Start,
    /// Signal init.
    Kill,
    /// Signal every process; nothing to do in a stopped container, and no error.
    KillAll,
    /// Run another program inside.
    Exec,
    /// Run another program inside even though it stays frozen (`--ignore-paused`).
    ExecIgnorePaused,
    /// Freeze.
    Pause,
    /// Thaw.
    Resume,
    /// Change limits.
    Update,
    /// Show statistics.
    Events,
    /// Add mounts or remove them.
    Mounts,
    /// Write an image of it; whether it goes on is the caller's choice.
    Checkpoint,
    /// Remove what has stopped, or was never started.
    Delete,
    /// Kill and remove.
    DeleteForce,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Ps,
        Self::Start,
        Self::Kill,
        Self::KillAll,
        Self::Exec,
        Self::ExecIgnorePaused,
        Self::Pause,
        Self::Resume,
        Self::Update,
        Self::Events,
        Self::Mounts,
        Self::Checkpoint,
        Self::Delete,
        Self::DeleteForce,
    ];
}

/// An operation that is not possible in this status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusError {
    /// What was wanted.
    pub operation: Operation,
    /// The status that forbids it.
    pub status: Status,
}

impl std::error::Error for StatusError {}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        match (self.operation, status) {
            (Operation::Start, Status::Stopped) => f.write_str("cannot start a container that has stopped"),
            (Operation::Start, Status::Running) => f.write_str("cannot start an already running container"),
            (Operation::Start, _) => write!(f, "cannot start a container in the {status} state"),
            (Operation::Exec | Operation::ExecIgnorePaused, Status::Stopped) => {
                f.write_str("cannot exec in a stopped container")
            }
            (Operation::Exec, Status::Paused) => {
                f.write_str("cannot exec in a paused container (use --ignore-paused to override)")
            }
            (Operation::Exec | Operation::ExecIgnorePaused, _) => {
                write!(f, "cannot exec in a container in the {status} state")
            }
            (Operation::Resume, _) => f.write_str("container not paused"),
            (Operation::Checkpoint, _) => write!(f, "container cannot be checkpointed in {status} state"),
            (Operation::Delete, _) => write!(f, "cannot delete container that is not stopped: {status}"),
            _ => f.write_str("container not running"),
        }
    }
}

/// The part of the status that is written down, because it cannot be seen: whether `create` has finished.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Phase {
    /// `create` has not finished.
    Creating,
    /// It has; all else is derived.
    #[default]
    Created,
    /// The word of a newer version; kept as it is, and everything is derived.
    Other(String),
}

impl From<String> for Phase {
    fn from(word: String) -> Self {
        match word.as_str() {
            "creating" => Self::Creating,
            "created" => Self::Created,
            _ => Self::Other(word),
        }
    }
}

impl From<Phase> for String {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Creating => "creating".to_owned(),
            Phase::Created => "created".to_owned(),
            Phase::Other(word) => word,
        }
    }
}

/// What can be seen of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The process that runs `create` lives. Only looked at while the phase is [`Phase::Creating`].
    pub creator_alive: bool,
    /// Init lives and is no zombie.
    pub init_alive: bool,
    /// The exec FIFO is there: nobody has called `start`.
    pub fifo_present: bool,
    /// The cgroup is frozen.
    pub frozen: bool,
}

/// The status that follows from what is written down and what is seen.
///
/// A creation whose creator and init are both dead is stopped, so that `delete` removes it.
pub fn derive(phase: &Phase, seen: Observed) -> Status {
    match phase {
        Phase::Creating if seen.creator_alive || seen.init_alive => Status::Creating,
        Phase::Creating => Status::Stopped,
        _ if !seen.init_alive => Status::Stopped,
        _ if seen.frozen => Status::Paused,
        _ if seen.fifo_present => Status::Created,
        _ => Status::Running,
    }
}
