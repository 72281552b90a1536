//! What can go wrong in this crate, by what was attempted.
//!
//! Texts are lower case and end with the kernel's reason; those that engines and scripts match are runc's own
//! ("container does not exist", "container with given ID already exists"). Only the command line prints them.

use std::path::PathBuf;

use crate::errno::ErrnoText;
use crate::id::{ContainerId, IdError};
use crate::status::StatusError;

/// The result of everything that this crate attempts.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was attempted and why it failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An id breaks the rule for ids.
    #[error(transparent)]
    Id(#[from] IdError),
    /// An operation is not possible in the container's status.
    #[error(transparent)]
    Status(#[from] StatusError),

    /// No container has this id.
    #[error("container does not exist")]
    NotFound {
        /// The id asked for.
        id: ContainerId,
    },
    /// The container's directory is there, its state is not: the creation is under way or was cut off.
    #[error(
        "container does not exist: {id} has a directory but no state (creation under way, or cut off: \
         delete --force removes it)"
    )]
    Incomplete {
        /// The id asked for.
        id: ContainerId,
    },
    /// The id is taken.
    #[error("container with given ID already exists")]
    Exists {
        /// The id asked for.
        id: ContainerId,
    },

    /// There is no directory to keep state in.
    #[error("no directory for container state: set XDG_RUNTIME_DIR to an absolute path, or name one with --root")]
    NoDefaultRoot,
    /// The state directory cannot be opened.
    #[error("cannot open state directory {}: {source}", path.display())]
    OpenRoot {
        /// The directory.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// The state directory cannot be made.
    #[error("cannot create state directory {}: {source}", path.display())]
    CreateRoot {
        /// The directory.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// The state directory is a symbolic link.
    #[error("refusing state directory {}: it is a symbolic link, use a real directory", path.display())]
    SymlinkRoot {
        /// The directory.
        path: PathBuf,
    },
    /// The state directory belongs to somebody else.
    #[error("refusing state directory {}: it is owned by uid {owner}, not by uid {euid}", path.display())]
    ForeignRoot {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective uid of this process.
        euid: u32,
    },
    /// Others may write into the state directory.
    #[error("refusing state directory {}: others may write to it (mode {mode:04o}, try chmod go-w)", path.display())]
    WritableRoot {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The containers cannot be listed.
    #[error("cannot list state directory {}: {source}", path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },

    /// The container's directory cannot be made.
    #[error("cannot create container directory {}: {source}", path.display())]
    Reserve {
        /// The directory.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// The container's directory cannot be opened.
    #[error("cannot open container directory {}: {source}", path.display())]
    OpenContainer {
        /// The directory.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// The container cannot be locked.
    #[error("cannot lock {}: {source}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// The container's directory cannot be removed.
    #[error("cannot remove {}: {source}", path.display())]
    Remove {
        /// What could not be removed.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },

    /// The state cannot be read.
    #[error("cannot read container state {}: {source}", path.display())]
    ReadState {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// The state is something that this program never writes.
    #[error("corrupt container state {}: {what}", path.display())]
    CorruptState {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The state is not the JSON that it should be.
    #[error("corrupt container state {}: {source}", path.display())]
    ParseState {
        /// The file.
        path: PathBuf,
        /// Where the parser stopped and why.
        source: serde_json::Error,
    },
    /// The state cannot be turned into JSON.
    #[error("cannot encode container state: {0}")]
    EncodeState(#[source] serde_json::Error),
    /// The state cannot be written.
    #[error("cannot write container state {}: {source}", path.display())]
    WriteState {
        /// The file.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },

    /// The exec FIFO cannot be made, opened or removed.
    #[error("cannot {action} exec fifo {}: {source}", path.display())]
    Fifo {
        /// "create", "open", "stat" or "remove".
        action: &'static str,
        /// The FIFO.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// What should be the exec FIFO is something else.
    #[error("refusing exec fifo {}: it is not a fifo", path.display())]
    NotAFifo {
        /// The file.
        path: PathBuf,
    },
    /// Nobody waits at the exec FIFO: init has died, or has been started already.
    #[error("nobody waits at the exec fifo: the container's init has died or has been started already")]
    NoFifoReader,

    /// The directory or the socket for sd_notify(3) cannot be made.
    #[error("cannot make the notify socket in {}: {source}", path.display())]
    Notify {
        /// The directory.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },

    /// A device node cannot be made.
    #[error("cannot make the device node {}: {source}", path.display())]
    Node {
        /// Where it would be.
        path: PathBuf,
        /// The kernel's reason.
        source: ErrnoText,
    },

    /// A pid that no container's process can have.
    #[error("refusing process {pid}: no container process has this pid")]
    ReservedPid {
        /// The pid.
        pid: i32,
    },
    /// The boot id cannot be read, so that no process can be told from those of other boots.
    #[error("cannot read the boot id {}: {source}", crate::boot::BOOT_ID_FILE)]
    BootId {
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// The PID namespace of this process cannot be told.
    #[error("cannot read {}: {source}", crate::boot::PID_NAMESPACE_FILE)]
    PidNamespace {
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// The identity of a process cannot be taken.
    #[error("cannot identify process {pid}: {source}")]
    Identify {
        /// The pid.
        pid: i32,
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// It cannot be told whether a process is alive.
    #[error("cannot tell whether process {pid} is alive: {what}")]
    Liveness {
        /// The pid.
        pid: i32,
        /// Why not.
        what: String,
    },
    /// A process was recorded in another PID namespace and cannot be reached from this one: it has ended, or it lives in
    /// a namespace beside this one.
    #[error("cannot tell whether process {pid} is alive: it was recorded in another pid namespace")]
    OtherPidNamespace {
        /// The pid in that namespace.
        pid: i32,
    },
    /// A signal could not be sent.
    #[error("cannot send signal {signal} to process {pid}: {source}")]
    Signal {
        /// The signal number.
        signal: i32,
        /// The pid.
        pid: i32,
        /// The kernel's reason.
        source: ErrnoText,
    },
    /// Waiting for a process failed.
    #[error("cannot wait for process {pid}: {source}")]
    Wait {
        /// The pid.
        pid: i32,
        /// The kernel's reason.
        source: ErrnoText,
    },
}

impl Error {
    /// True when the container is not there at all: neither directory nor state.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the container's directory is there but its state cannot be understood: missing, damaged, or no state at
    /// all. Only forced deletion helps then.
    pub fn is_broken_state(&self) -> bool {
        matches!(
            self,
            Self::Incomplete { .. } | Self::CorruptState { .. } | Self::ParseState { .. }
        )
    }
}
