//! Control groups for containers: v1, hybrid and v2, through the cgroup filesystem, or through systemd and then the
//! cgroup filesystem.
//!
//! [`Layout::probe`] says what the host has, [`Plan::compile`] turns `linux.resources` into directories and writes
//! without touching the kernel, [`Plan::create`] makes them, [`Cgroup`] hands out what a process needs to join, and a
//! [`Record`] finds it all again for the verbs that come later. Knows nothing of containers but an id.
//!
//! ```no_run
//! use nucleus_cgroup::{Layout, Plan};
//!
//! # fn run(resources: &oci_spec::runtime::LinuxResources) -> Result<(), Box<dyn std::error::Error>> {
//! let layout = Layout::probe()?;
//! let cgroup = Plan::compile(Some(resources), Some("/engine/box"), "box", &layout, false)?.create()?;
//! let (unified, joiner) = (cgroup.unified_dir(), cgroup.joiner()?);
//! // clone3 into `unified` here; the child calls joiner.join_self() before it unshares its cgroup namespace.
//! # let _ = unified;
//! cgroup.apply_limits()?;
//! let record = cgroup.record();
//! cgroup.commit();
//! // Later, perhaps in another process, with what the state file kept:
//! record.kill_all(9)?;
//! record.remove()?;
//! # drop(joiner); Ok(()) }
//! ```

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
mod oom;
mod path;
mod pids;
mod plan;
mod record;
mod remove;
pub mod stats;
mod systemd;
mod tree;
mod update;

pub use create::Cgroup;
pub use error::{Error, PlanError};
pub use join::Joiner;
pub use layout::{Facts, Hierarchy, Layout, Mode, Version};
pub use oom::OomWatch;
pub use plan::Plan;
pub use record::Record;
pub use stats::Stats;
pub use systemd::{Bus, DELEGATED_ANNOTATION, Manager, PROPERTY_ANNOTATION, SUBGROUP_ANNOTATION, Scope};
