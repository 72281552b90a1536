//! `nucleus`: arguments in, exit code out. All the rest is in the library beside it.
#![forbid(unsafe_code)]
#![no_main]

nucleus_sys::entry!(oci_runtime::main);
