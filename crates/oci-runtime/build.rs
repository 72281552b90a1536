//! Names the entry point of the binary, `nucleus_start` of nucleus-sys, which seals before the C library is set up; and
//! has the linker put the hot functions side by side (see runtime-tools-tests/layout.sh).
//!
//! The linker of a release is LLVM's, whichever toolchain builds: GNU's does not obey the list of hot functions.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,--entry=nucleus_start,--undefined=nucleus_start");
    println!("cargo::rerun-if-changed=hot-text.ld");
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        let directory = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/hot-text.ld");
        match linker() {
            // The C compiler looks there for `ld.lld`.
            Some(directory) => {
                println!("cargo::rustc-link-arg-bins=-fuse-ld=lld\ncargo::rustc-link-arg-bins=-B{directory}")
            }
            None => {
                println!("cargo::warning=no ld.lld: the binary needs a fifth more memory (Debian: apt-get install lld)")
            }
        }
    }
}

/// The directory of `ld.lld`: rustc's own, which its distributors may leave out, or else the first on PATH.
fn linker() -> Option<String> {
    let asked = Command::new(env::var("RUSTC").ok()?)
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    let sysroot = String::from_utf8(asked.stdout).ok()?;
    let own = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(env::var("HOST").ok()?)
        .join("bin/gcc-ld");
    let path = env::var_os("PATH")?;
    let mut places = std::iter::once(own).chain(env::split_paths(&path));
    let found: PathBuf = places.find(|place| place.join("ld.lld").exists())?;
    found.to_str().map(str::to_owned)
}
