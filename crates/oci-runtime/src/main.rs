//! `nucleus`: arguments in, exit code out.
#![forbid(unsafe_code)]

#[allow(dead_code)]
mod plan;
#[allow(dead_code)]
mod security;
#[allow(dead_code)]
mod spec;

fn main() {}
