//! `nucleus`: arguments in, exit code out. All the rest is in the library beside it.
#![forbid(unsafe_code)]
#![no_main]

#[global_allocator]
static ALLOCATOR: nucleus_sys::arena::Allocator = nucleus_sys::arena::Allocator;

nucleus_sys::entry!(oci_runtime::main);
