//! `nucleus`: arguments in, exit code out. All the rest is in the library beside it.
#![forbid(unsafe_code)]
#![no_main]

#[global_allocator]
static ALLOCATOR: nucleus_sys::arena::Arena = nucleus_sys::arena::Arena::new();

nucleus_sys::entry!(oci_runtime::main);
