//! `linux.resources.pids`: how many tasks the container may have (cgroup-v1/pids.rst, cgroup-v2.rst "PID").

use oci_spec::runtime::LinuxPids;

use super::{Compiler, WriteRule, limit};
use crate::error::PlanError;

/// 0 is what engines pass for "no opinion", so it is left alone; a negative limit is none at all.
pub(crate) fn compile(out: &mut Compiler<'_>, pids: &LinuxPids) -> Result<(), PlanError> {
    let field = "linux.resources.pids.limit";
    if pids.limit() == 0 {
        return Ok(());
    }
    let target = out.target("pids", field)?;
    out.write(target, "pids.max", limit(pids.limit()), field, WriteRule::Strict);
    Ok(())
}
