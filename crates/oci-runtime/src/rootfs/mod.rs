//! What init's steps make the container's filesystem of: mounts, devices, the console, masks, the change of root.
//!
//! Only `init` calls this. The rule: a path inside the container is resolved once, within the root and without magic
//! links ([`root::Root`]), and everything after that uses the descriptor; nothing is looked up twice.

pub mod added;
pub mod cgroup_mount;
pub mod console;
pub mod copy_up;
pub mod devices;
mod made;
mod mask_target;
pub mod masks;
pub mod mounts;
pub mod pivot;
pub mod root;
