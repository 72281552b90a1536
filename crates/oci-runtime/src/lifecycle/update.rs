//! `update`: other limits for a container that exists. What is not given stays as it is.
//!
//! Under the container's lock. All values are compiled before the first is written, and when the kernel refuses one,
//! those that were written before are put back: a container is never half updated. The limits are not written down
//! anywhere but in the kernel.

use nucleus_cgroup::{Layout, Plan};
use nucleus_core::{ContainerId, Operation, Store};
use oci_spec::runtime::LinuxResources;

use super::{Container, Result, Warn, cgroup_of};

/// Changes the limits that `resources` has.
///
/// # Errors
/// `container not running` for a stopped one; a value that cannot be, by its JSON path; the file that refused a value,
/// and the kernel's reason.
pub fn update(store: &Store, id: &ContainerId, mut resources: LinuxResources, warn: Warn<'_>) -> Result<()> {
    let dir = store.get(id)?;
    let _lock = dir.lock()?;
    let container = Container::observe(dir)?;
    container.check(Operation::Update)?;
    let cgroup = cgroup_of(&container.state.cgroup);
    crate::step("1", "compile");
    cgroup.complete(&mut resources)?;
    let plan = Plan::compile_update(&resources, &cgroup, &Layout::probe()?)?;
    let warnings = plan.warnings().to_vec();
    crate::step("2", "write limits");
    plan.open()?.update_limits()?;
    warnings.iter().for_each(|warning| warn(warning));
    Ok(())
}
