//! `nucleus`: arguments in, exit code out.
#![forbid(unsafe_code)]

#[allow(dead_code)]
mod cli;
mod plan;

fn main() {}
