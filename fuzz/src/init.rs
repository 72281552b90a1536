//! The part of the binary's `init` that the modules under test need.

#[path = "../../crates/oci-runtime/src/init/failure.rs"]
pub mod failure;
