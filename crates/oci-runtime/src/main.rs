//! `nucleus`: arguments in, exit code out. All the rest is in the library beside it.
#![forbid(unsafe_code)]

fn main() {
    std::process::exit(oci_runtime::main());
}
