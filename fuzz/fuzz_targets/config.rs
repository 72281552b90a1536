//! config.json: loading and compiling any text never panics, and an error names a field or a place in the text.
//!
//! Half of the inputs are mutated as bytes, half as JSON: fields and elements are removed, doubled, exchanged for others
//! of the same document or for values that are often wrong. The seeds are crates/oci-runtime/tests/configs/*.json.
#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "the modules are those of the binary, and more of them is used there"
)]

#[path = "../src/init.rs"]
mod init;
#[path = "../../crates/oci-runtime/src/plan/tests/judge.rs"]
mod judge;
#[path = "../src/mutate.rs"]
mod mutate;
#[path = "../../crates/oci-runtime/src/plan/mod.rs"]
mod plan;
#[path = "../../crates/oci-runtime/src/security/mod.rs"]
mod security;
#[path = "../../crates/oci-runtime/src/spec/mod.rs"]
mod spec;

libfuzzer_sys::fuzz_target!(|text: &[u8]| judge::check(text));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::json(data, size, max_size, seed)
});
