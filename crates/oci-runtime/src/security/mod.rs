//! The security features that a container's process is put under.
//!
//! Each module turns its part of config.json into what the kernel takes; applying it is init's work, at the step that
//! the order of init prescribes.

pub(crate) mod lsm;
pub(crate) mod seccomp;
