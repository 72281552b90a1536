//! The command line itself: shapes of flags, help, complaints, and what a flag does that no other test program looks at.

#[path = "../common/mod.rs"]
mod common;

mod checkpoint;
mod complaints;
mod flags;
mod help;
mod logs;
mod notify;
mod shapes;
