//! Names the entry point of the binary: `nucleus_start` of nucleus-sys, which seals before the C library is set up.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--entry=nucleus_start,--undefined=nucleus_start");
}
