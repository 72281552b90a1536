//! `update`: other limits for a container that exists. What is not given stays as it is.
//!
//! Under the container's lock. All values are compiled before the first is written, and when the kernel refuses one,
//! those that were written before are put back: a container is never half updated. The limits are not written down
//! anywhere but in the kernel.

use nucleus_cgroup::{Layout, Plan};
use nucleus_core::{ContainerId, Operation, Store};
use oci_spec::runtime::{LinuxIntelRdt, LinuxResources};

use super::resctrl::Rewritten;
use super::{Container, Result, Warn, cgroup_of};

/// The values to change.
#[derive(Debug, Default)]
pub struct Limits {
    /// For the control groups.
    pub resources: LinuxResources,
    /// The schemas of Intel RDT.
    pub rdt: LinuxIntelRdt,
}

/// Changes the limits that are given.
///
/// # Errors
/// `container not running` for a stopped one; a value that cannot be, by its JSON path; the file that refused a value,
/// and the kernel's reason.
pub fn update(store: &Store, id: &ContainerId, mut limits: Limits, warn: Warn<'_>) -> Result<()> {
    let dir = store.get(id)?;
    let _lock = dir.lock()?;
    let container = Container::observe(dir)?;
    container.check(Operation::Update)?;
    let cgroup = cgroup_of(&container.state.cgroup);
    crate::step("1", "compile");
    cgroup.complete(&mut limits.resources)?;
    let plan = Plan::compile_update(&limits.resources, &cgroup, &Layout::probe()?)?;
    let warnings = plan.warnings().to_vec();
    crate::step("2", "write limits");
    let rewritten = Rewritten::write(&limits.rdt, &container.state.resctrl)?;
    let written = plan.open().and_then(|cgroup| cgroup.update_limits());
    if let (Err(_), Some(rewritten)) = (&written, &rewritten)
        && let Err(failure) = rewritten.put_back()
    {
        warn(&failure.to_string());
    }
    written?;
    warnings.iter().for_each(|warning| warn(warning));
    Ok(())
}
