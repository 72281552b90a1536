//! `linux.resources.unified`: any control file of cgroup v2 by its name (config-linux.md, "Unified").
//!
//! The value goes to the kernel as it is, line by line where it has several. The controller that the file belongs to
//! must be there and gets enabled; on a hybrid host those of the v2 side can be used.

use std::collections::{BTreeMap, HashMap};

use super::{Compiler, Target, WriteRule};
use crate::error::PlanError;
use crate::layout::Version;

pub(crate) fn compile(out: &mut Compiler<'_>, files: &HashMap<String, String>) -> Result<(), PlanError> {
    // Sorted: the order of a hash map would differ from run to run.
    for (file, value) in files.iter().collect::<BTreeMap<_, _>>() {
        let field = format!("linux.resources.unified[{file:?}]");
        let Some((controller, _)) = file.split_once('.').filter(|_| !file.contains('/')) else {
            return Err(PlanError::new(field, "is not of the form CONTROLLER.FILE"));
        };
        let hierarchies = &out.layout.hierarchies;
        let Some(directory) = hierarchies
            .iter()
            .position(|hierarchy| hierarchy.version == Version::V2)
        else {
            return Err(PlanError::new(field, "needs cgroup v2, which this host lacks"));
        };
        // cgroup.* are not a controller's, and *.pressure is there without one.
        let core = controller == "cgroup" || file.ends_with(".pressure");
        if !core && !hierarchies[directory].has(controller) {
            return Err(PlanError::new(
                field,
                format!("the {controller} controller is not available on cgroup v2"),
            ));
        }
        if !core {
            out.need(directory, controller, field.clone());
        }
        let target = Target {
            directory,
            version: Version::V2,
        };
        for line in value.lines() {
            out.write(target, file.clone(), line, field.clone(), WriteRule::Strict);
        }
    }
    Ok(())
}
