//! The attacks of the last ten years, played against our own containers.

#[path = "../common/mod.rs"]
mod common;

mod links;
mod own_binary;
mod working_directory;
