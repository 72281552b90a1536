//! `nucleus`: arguments in, exit code out.
#![forbid(unsafe_code)]

mod plan;

fn main() {}
