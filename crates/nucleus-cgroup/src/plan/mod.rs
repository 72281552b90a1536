//! config.json's cgroup section + the host's [`Layout`] → [`Plan`]: which directories to make, which values to write.
//!
//! Pure: nothing of the kernel is touched, and everything that can be known to be wrong is said here with the field's
//! JSON path. The `create` side executes the result and decides nothing. One file for each kind of resource; each
//! turns its section into [`Write`]s through [`Compiler`]. Zero and false mean "do not touch" where engines pass
//! them to say so.

mod cpu;
mod memory;
mod pids;

use std::borrow::Cow;
use std::path::PathBuf;

use nucleus_sys::bpf::Instruction;
use oci_spec::runtime::LinuxResources;

use crate::device_program;
use crate::devices::{Rules, V1List};
use crate::error::PlanError;
use crate::layout::{Hierarchy, Layout, Mode, Version};
use crate::path::Place;

/// What to make and what to write for one container.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The directories, one for each hierarchy, in the layout's order: v2 last.
    pub(crate) directories: Vec<Directory>,
    /// The values, in the order in which the kernel wants them.
    pub(crate) writes: Vec<Write>,
    /// The device rules; `None` where they cannot be applied (rootless, no cgroups).
    pub(crate) devices: Option<Devices>,
    /// Missing permission to make a directory that carries no limit means "run without it": rootless, and config.json
    /// does not insist on a place.
    pub(crate) optional: bool,
}

/// One directory to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) version: Version,
    pub(crate) mount: PathBuf,
    /// Below `mount`, never empty.
    pub(crate) relative: PathBuf,
    /// The hierarchy's controllers (`name=…` for a named one).
    pub(crate) controllers: Vec<String>,
    /// The v2 controllers that a limit of this plan needs: they must get enabled down the path.
    pub(crate) needed: Vec<(&'static str, Cow<'static, str>)>,
}

/// One value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// Index into [`Plan::directories`].
    pub(crate) directory: usize,
    pub(crate) file: Cow<'static, str>,
    pub(crate) value: String,
    /// JSON path, for the message.
    pub(crate) field: Cow<'static, str>,
    pub(crate) rule: WriteRule,
}

/// What a failed write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteRule {
    /// An error.
    Strict,
    /// An error, unless the file is not there: the kernel lacks what the value would only switch off.
    MayLack,
    /// `EINVAL` means that the next write has to go first: two values that bound each other.
    AfterNext,
}

/// Device rules in the form of the hierarchy that takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Devices {
    /// For the v1 devices hierarchy: index into [`Plan::directories`].
    V1(usize, V1List),
    /// For the v2 directory.
    V2(usize, Vec<Instruction>),
}

impl Plan {
    /// Compiles `linux.resources` and `linux.cgroupsPath` for the cgroupfs driver.
    ///
    /// `rootless` says that this process may lack the right to make cgroups and to bound devices (not the host's
    /// root, or root in a user namespace).
    ///
    /// # Errors
    /// The first field that cannot be executed on this host.
    pub fn compile(
        resources: Option<&LinuxResources>,
        cgroups_path: Option<&str>,
        id: &str,
        layout: &Layout,
        rootless: bool,
    ) -> Result<Plan, PlanError> {
        let place = Place::parse(cgroups_path, id)
            .ok_or_else(|| PlanError::new("linux.cgroupsPath", "names the root of the hierarchy"))?;
        let beside = layout.mode == Mode::Unified;
        let directories = layout
            .hierarchies
            .iter()
            .map(|hierarchy| directory(hierarchy, &place, beside))
            .collect();
        let mut compiler = Compiler {
            layout,
            plan: Plan {
                directories,
                ..Plan::default()
            },
        };
        if let Some(resources) = resources {
            compiler.resources(resources)?;
        }
        let mut plan = compiler.plan;
        if !rootless {
            plan.devices = devices(resources, layout)?;
        }
        plan.optional = rootless && matches!(place, Place::Relative(_));
        Ok(plan)
    }

    /// True when the container can do without this directory.
    pub(crate) fn can_lack(&self, directory: usize) -> bool {
        self.optional && self.writes.iter().all(|write| write.directory != directory)
    }

    /// True when there is no hierarchy to work on.
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }
}

fn directory(hierarchy: &Hierarchy, place: &Place, beside: bool) -> Directory {
    Directory {
        version: hierarchy.version,
        mount: hierarchy.mount.clone(),
        relative: place.below(&hierarchy.own, beside),
        controllers: hierarchy.controllers.clone(),
        needed: Vec::new(),
    }
}

fn devices(resources: Option<&LinuxResources>, layout: &Layout) -> Result<Option<Devices>, PlanError> {
    let config = resources
        .and_then(|resources| resources.devices().as_deref())
        .unwrap_or_default();
    let rules = Rules::compile(config)?;
    let at = |test: fn(&Hierarchy) -> bool| layout.hierarchies.iter().position(test);
    if let Some(index) = at(|hierarchy| hierarchy.has("devices")) {
        return rules.to_v1().map(|list| Some(Devices::V1(index, list)));
    }
    if let Some(index) = at(|hierarchy| hierarchy.version == Version::V2) {
        return Ok(Some(Devices::V2(index, device_program::compile(&rules))));
    }
    if config.iter().any(|rule| !rule.allow()) {
        return Err(PlanError::new(
            "linux.resources.devices",
            "needs a devices cgroup, and none is mounted",
        ));
    }
    Ok(None)
}

/// Collects the writes.
pub(crate) struct Compiler<'a> {
    layout: &'a Layout,
    plan: Plan,
}

/// A controller that config.json needs, found.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    directory: usize,
    version: Version,
}

impl Compiler<'_> {
    fn resources(&mut self, resources: &LinuxResources) -> Result<(), PlanError> {
        if let Some(memory) = resources.memory() {
            memory::compile(self, memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            cpu::compile(self, cpu)?;
        }
        if let Some(pids) = resources.pids() {
            pids::compile(self, pids)?;
        }
        refuse_unsupported(resources)
    }

    /// The hierarchy that carries `controller`, which `field` needs.
    fn target(&mut self, controller: &'static str, field: impl Into<Cow<'static, str>>) -> Result<Target, PlanError> {
        let field = field.into();
        let Some(index) = self
            .layout
            .hierarchies
            .iter()
            .position(|hierarchy| hierarchy.has(controller))
        else {
            return Err(PlanError::new(
                field,
                format!("needs the {controller} controller, which this host lacks"),
            ));
        };
        let directory = &mut self.plan.directories[index];
        let known = directory.needed.iter().any(|(name, _)| *name == controller);
        if directory.version == Version::V2 && !known {
            directory.needed.push((controller, field));
        }
        Ok(Target {
            directory: index,
            version: directory.version,
        })
    }

    fn write(
        &mut self,
        target: Target,
        file: impl Into<Cow<'static, str>>,
        value: impl ToString,
        field: impl Into<Cow<'static, str>>,
        rule: WriteRule,
    ) {
        self.plan.writes.push(Write {
            directory: target.directory,
            file: file.into(),
            value: value.to_string(),
            field: field.into(),
            rule,
        });
    }
}

/// v2's way to spell a limit: any negative value is "max".
pub(crate) fn limit(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// What a later version of this crate will apply must not be dropped silently by this one.
fn refuse_unsupported(resources: &LinuxResources) -> Result<(), PlanError> {
    let refuse = |field: &'static str| Err(PlanError::new(field, "is not supported yet"));
    if let Some(io) = resources.block_io() {
        if io.weight().unwrap_or(0) != 0 {
            return refuse("linux.resources.blockIO.weight");
        }
        if io.leaf_weight().unwrap_or(0) != 0 {
            return refuse("linux.resources.blockIO.leafWeight");
        }
        let throttles = [
            (
                io.throttle_read_bps_device(),
                "linux.resources.blockIO.throttleReadBpsDevice",
            ),
            (
                io.throttle_write_bps_device(),
                "linux.resources.blockIO.throttleWriteBpsDevice",
            ),
            (
                io.throttle_read_iops_device(),
                "linux.resources.blockIO.throttleReadIOPSDevice",
            ),
            (
                io.throttle_write_iops_device(),
                "linux.resources.blockIO.throttleWriteIOPSDevice",
            ),
        ];
        for (throttle, field) in throttles {
            if throttle.as_ref().is_some_and(|list| !list.is_empty()) {
                return refuse(field);
            }
        }
        if io.weight_device().as_ref().is_some_and(|list| !list.is_empty()) {
            return refuse("linux.resources.blockIO.weightDevice");
        }
    }
    if resources
        .hugepage_limits()
        .as_ref()
        .is_some_and(|list| !list.is_empty())
    {
        return refuse("linux.resources.hugepageLimits");
    }
    if resources
        .network()
        .as_ref()
        .is_some_and(|network| network.class_id().unwrap_or(0) != 0)
    {
        return refuse("linux.resources.network.classID");
    }
    if resources
        .network()
        .as_ref()
        .and_then(|network| network.priorities().as_ref())
        .is_some_and(|l| !l.is_empty())
    {
        return refuse("linux.resources.network.priorities");
    }
    if resources.rdma().as_ref().is_some_and(|map| !map.is_empty()) {
        return refuse("linux.resources.rdma");
    }
    if resources.unified().as_ref().is_some_and(|map| !map.is_empty()) {
        return refuse("linux.resources.unified");
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
