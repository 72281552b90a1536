//! Names the entry point of the binary, `nucleus_start` of nucleus-sys, which seals before the C library is set up; and
//! has the linker put the hot functions side by side (see runtime-tools-tests/layout.sh).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--entry=nucleus_start,--undefined=nucleus_start");
    println!("cargo::rerun-if-changed=hot-text.ld");
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let directory = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/hot-text.ld");
    }
}
