//! config.json's cgroup section + the host's [`Layout`] → [`Plan`]: which directories to make, which values to write.
//!
//! Pure: nothing of the kernel is touched, and everything that can be known to be wrong is said here with the field's
//! JSON path. The `create` side executes the result and decides nothing. One file for each kind of resource; each
//! turns its section into [`Write`]s through [`Compiler`]. Zero and false mean "do not touch" where engines pass
//! them to say so.

mod cpu;
mod io;
mod memory;
mod others;
mod unified;

use std::borrow::Cow;
use std::path::PathBuf;

use nucleus_sys::bpf::Instruction;
use oci_spec::runtime::LinuxResources;

use crate::device_program;
use crate::devices::{Rules, V1List};
use crate::error::PlanError;
use crate::layout::{Hierarchy, Layout, Mode, Version};
use crate::path::Place;
use crate::record::Record;
use crate::systemd::{Scope, Unit};

/// What to make and what to write for one container.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The directories, one for each hierarchy, in the layout's order: v2 last.
    pub(crate) directories: Vec<Directory>,
    /// The values, in the order in which the kernel wants them.
    pub(crate) writes: Vec<Write>,
    /// v2: refuse the memory limits when they are below what is in use (`memory.checkBeforeUpdate`).
    pub(crate) memory_check: Option<MemoryCheck>,
    /// The device rules; `None` where they cannot be applied (rootless, no cgroups).
    pub(crate) devices: Option<Devices>,
    /// Missing permission to make a directory that carries no limit means "run without it": rootless, and config.json
    /// does not insist on a place.
    pub(crate) optional: bool,
    /// The same for v2 beside v1, wherever config.json places the container: who may write to groups of v1 need not have one
    /// there, and runc makes none there.
    pub(crate) unified_optional: bool,
    /// The scope that systemd makes for it; `None` with the cgroup filesystem's driver.
    pub(crate) unit: Option<Unit>,
    /// Driver and unit of a container that runs, which systemd is to know the new limits of.
    pub(crate) mirrored: Option<(String, String)>,
    pub(crate) warnings: Vec<String>,
}

/// One directory to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) version: Version,
    pub(crate) mount: PathBuf,
    /// Below `mount`; empty when an update finds the container without a cgroup in this hierarchy.
    pub(crate) path: PathBuf,
    /// The hierarchy's controllers (`name=…` for a named one).
    pub(crate) controllers: Vec<String>,
    /// The v2 controllers that a limit of this plan needs: they must get enabled down the path.
    pub(crate) needed: Vec<(String, Cow<'static, str>)>,
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
    /// When the file is not there the next write takes its place: an older or newer name.
    OrNext,
}

/// Limits in bytes that usage must stay below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryCheck {
    pub(crate) directory: usize,
    pub(crate) limit: Option<u64>,
    /// Memory and swap together.
    pub(crate) swap: Option<u64>,
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
        let path = |hierarchy: &Hierarchy| hierarchy.mount.join(place.below(&hierarchy.own, beside));
        let mut plan = Compiler::run(resources, layout, path)?;
        if !rootless {
            plan.devices = devices(resources, layout)?;
        }
        plan.optional = rootless && matches!(place, Place::Relative(_));
        plan.unified_optional = rootless && layout.mode == Mode::Hybrid;
        Ok(plan)
    }

    /// As [`Plan::compile`] for the systemd driver: the directories are those of a transient scope.
    /// [`Plan::create`] then makes nothing; [`Cgroup::adopt`](crate::Cgroup::adopt) has systemd make the scope.
    ///
    /// # Errors
    /// As [`Plan::compile`]; a `cgroupsPath` that is not `slice:prefix:name`, an annotation that is no property.
    pub fn compile_scope(
        resources: Option<&LinuxResources>,
        cgroups_path: Option<&str>,
        id: &str,
        layout: &Layout,
        rootless: bool,
        scope: &Scope<'_>,
    ) -> Result<Plan, PlanError> {
        let mut unit = Unit::compile(cgroups_path, id, layout, scope)?;
        let mut plan = Compiler::run(resources, layout, |hierarchy| hierarchy.mount.join(unit.container()))?;
        unit.limit(&plan.writes);
        if !rootless {
            plan.devices = devices(resources, layout)?;
            unit.devices(resources)?;
        }
        plan.unit = Some(unit);
        Ok(plan)
    }

    /// Compiles new `linux.resources` for a container that runs. What is absent stays as it is; device rules do too,
    /// as with runc, even when they are given.
    ///
    /// # Errors
    /// As [`Plan::compile`]; a limit for a hierarchy in which the container has no cgroup.
    pub fn compile_update(resources: &LinuxResources, record: &Record, layout: &Layout) -> Result<Plan, PlanError> {
        let path = |hierarchy: &Hierarchy| {
            let keys: &[String] = match hierarchy.version {
                Version::V1 => &hierarchy.controllers,
                Version::V2 => &["unified".to_owned()],
            };
            keys.iter()
                .find_map(|key| record.paths.get(key))
                .cloned()
                .unwrap_or_default()
        };
        let mut plan = Compiler::run(Some(resources), layout, path)?;
        plan.mirrored = record.unit.clone().map(|unit| (record.driver.clone(), unit));
        let lacking = |write: &&Write| plan.directories[write.directory].path.as_os_str().is_empty();
        match plan.writes.iter().find(lacking) {
            Some(write) => Err(PlanError::new(write.field.clone(), "the container has no such cgroup")),
            None => Ok(plan),
        }
    }

    /// What config.json asks for and this host silently lacks, one line each, with the JSON path.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// True when the container can do without this directory.
    pub(crate) fn can_lack(&self, directory: usize) -> bool {
        let unified = self.directories[directory].version == Version::V2;
        let optional = self.optional || self.unified_optional && unified;
        optional && self.writes.iter().all(|write| write.directory != directory)
    }

    /// True when there is no hierarchy to work on.
    pub fn is_empty(&self) -> bool {
        self.directories.is_empty()
    }
}

fn directory(hierarchy: &Hierarchy, path: PathBuf) -> Directory {
    Directory {
        version: hierarchy.version,
        mount: hierarchy.mount.clone(),
        path,
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
    fn run(
        resources: Option<&LinuxResources>,
        layout: &Layout,
        path: impl Fn(&Hierarchy) -> PathBuf,
    ) -> Result<Plan, PlanError> {
        let directories = layout
            .hierarchies
            .iter()
            .map(|hierarchy| directory(hierarchy, path(hierarchy)))
            .collect();
        let plan = Plan {
            directories,
            ..Plan::default()
        };
        let mut compiler = Compiler { layout, plan };
        if let Some(resources) = resources {
            compiler.resources(resources)?;
        }
        Ok(compiler.plan)
    }

    fn resources(&mut self, resources: &LinuxResources) -> Result<(), PlanError> {
        if let Some(memory) = resources.memory() {
            memory::compile(self, memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            cpu::compile(self, cpu)?;
        }
        if let Some(pids) = resources.pids() {
            others::pids(self, pids)?;
        }
        if let Some(block_io) = resources.block_io() {
            io::compile(self, block_io)?;
        }
        for (index, huge) in resources.hugepage_limits().iter().flatten().enumerate() {
            others::hugepages(self, index, huge)?;
        }
        if let Some(network) = resources.network() {
            others::network(self, network)?;
        }
        if let Some(rdma) = resources.rdma() {
            others::rdma(self, rdma)?;
        }
        if let Some(files) = resources.unified() {
            unified::compile(self, files)?;
        }
        Ok(())
    }

    /// Something that this host ignores and that is no limit: said, but no error.
    fn ignored(&mut self, field: &str, why: &str) {
        self.plan.warnings.push(format!("{field} is ignored: {why}"));
    }

    fn has(&self, controller: &str) -> bool {
        self.layout.find(controller).is_some()
    }

    /// The hierarchy that carries `controller`, which `field` needs.
    fn target(&mut self, controller: &str, field: impl Into<Cow<'static, str>>) -> Result<Target, PlanError> {
        let field = field.into();
        let Some(directory) = self
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
        let version = self.layout.hierarchies[directory].version;
        if version == Version::V2 {
            self.need(directory, controller, field);
        }
        Ok(Target { directory, version })
    }

    /// Notes that a v2 controller must reach the container, and for which field's sake.
    fn need(&mut self, directory: usize, controller: &str, field: impl Into<Cow<'static, str>>) {
        let needed = &mut self.plan.directories[directory].needed;
        if !needed.iter().any(|(name, _)| name == controller) {
            needed.push((controller.to_owned(), field.into()));
        }
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
