//! Control groups for containers: v1, hybrid and v2, through the cgroup filesystem.
//!
//! [`Layout::probe`] says what the host has, [`Plan::compile`] turns `linux.resources` into directories and writes
//! without touching the kernel, [`Plan::create`] makes them, [`Cgroup`] hands out what a process needs to join, and a
//! [`Record`] finds it all again for the verbs that come later. Knows nothing of containers but an id.

#![forbid(unsafe_code)]

mod apply;
mod cpuset;
mod create;
mod delegate;
mod device_program;
mod devices;
mod dir;
mod error;
mod freeze;
mod join;
mod kill;
mod layout;
mod path;
mod pids;
mod plan;
mod record;
mod remove;

pub use create::Cgroup;
pub use error::{Error, PlanError};
pub use join::Joiner;
pub use layout::{Facts, Hierarchy, Layout, Mode, Version};
pub use plan::Plan;
pub use record::Record;
