//! The attacks of the last ten years, played against our own containers.

#[path = "../common/mod.rs"]
mod common;

mod attacker;
mod descriptors;
mod image;
mod links;
mod own_binary;
mod races;
mod working_directory;
