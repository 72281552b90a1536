//! What keeps the runtime quick, shown without a clock: which system calls the verbs make (docs/performance.md).

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod lifecycle;
mod trace;
mod traps;
