//! What is true about containers: their ids, their status, the identity of their processes, and the store on disk.
//!
//! The ground that the lifecycle stands on. Every verb of the binary opens a [`Store`], gets or reserves a
//! [`ContainerDir`], and asks it for the [`Status`]. Nothing here knows of namespaces, mounts or seccomp.
//! The rule of the crate: the status shown is derived from what lives, never only remembered; a process is signalled
//! only through a descriptor that is proven to be it; "cannot tell" is an error and never means dead.
#![forbid(unsafe_code)]

mod blob;
mod boot;
mod cache;
mod dir;
mod errno;
mod error;
mod fifo;
mod id;
mod identity;
mod lock;
mod node;
mod notify;
mod observe;
mod process;
mod root;
mod save;
mod state;
mod status;
mod store;

pub use boot::BootId;
pub use dir::{ContainerDir, STATE_FILE};
pub use errno::{ErrnoText, reason};
pub use error::{Error, Result};
pub use fifo::FIFO_FILE;
pub use id::{ContainerId, IdError, MAX_ID_LENGTH};
pub use identity::ProcessIdentity;
pub use lock::{Lock, Reservation};
pub use node::Node;
pub use notify::{NOTIFY_DIR, NOTIFY_SOCKET};
pub use observe::Observation;
pub use process::Process;
pub use root::{DEFAULT_ROOT, STATE_DIR_ENV, default_root, state_root};
pub use save::Durability;
pub use state::{
    CgroupRecord, ContainerState, Driver, ExecRecord, HookRecord, NamespaceRecord, SCHEMA_VERSION, SeccompAgent,
    StateOutput, timestamp,
};
pub use status::{Observed, Operation, Phase, Status, StatusError, derive};
pub use store::Store;
