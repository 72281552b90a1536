//! config.json, field by field: what a container asks for is what its program finds.

#[path = "../common/mod.rs"]
mod common;

mod cgroups;
mod devices;
mod hooks;
mod hooks_surroundings;
mod identity;
mod inside;
mod mounts;
mod mounts_flags;
mod mounts_host;
mod mounts_idmap;
mod mounts_links;
mod namespaces;
mod net_devices;
mod paths;
mod process;
mod rootless;
mod scheduling;
mod seccomp;
mod seccomp_notify;
mod streams;
mod userns;
