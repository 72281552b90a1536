//! The systemd driver: a container's cgroup is a transient scope, which systemd makes, knows and removes.
//!
//! systemd owns the tree on a host that it runs; whoever wants a part of it asks for a delegated unit
//! (<https://systemd.io/CGROUP_DELEGATION>). The seam to the rest of the crate is small: a plan that has a [`Unit`] makes
//! no directory by itself but waits for a process, [`Cgroup::adopt`](crate::Cgroup::adopt) has systemd make the scope
//! around it, and from there on the cgroup filesystem's driver works inside the scope's directories. Limits go to
//! systemd as properties, too, so that it does not put back what it does not know of; what systemd has no word for, and
//! the exact value of what it rounds, is in the files alone.
//!
//! Only `bus` speaks D-Bus, only when it is called, and each conversation begins and ends there: no connection and no
//! thread is left when it returns, because the caller forks.

mod annotation;
mod attach;
mod below;
mod bus;
mod device;
mod name;
mod property;

use oci_spec::runtime::LinuxResources;

use crate::devices::Rules;
use crate::error::{Error, PlanError};
use crate::layout::{Layout, Mode};
use crate::plan::Write;
pub use annotation::PREFIX as PROPERTY_ANNOTATION;
use below::Below;
pub use below::{DELEGATED as DELEGATED_ANNOTATION, SUBGROUP as SUBGROUP_ANNOTATION};
use name::Name;
use property::{Property, Value, mirror};

/// Which systemd: the host's, or that of the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// The system's, for root.
    System,
    /// The user's, for everybody else.
    User,
}

impl Bus {
    /// The bus for a caller who is `rootless`: not the host's root. Root of a user namespace in which systemd itself runs
    /// (a system container) has no user bus, and uses the system's.
    pub fn of(rootless: bool) -> Bus {
        let root = rustix::process::geteuid().is_root();
        match rootless && !(root && bus::user_address().is_none()) {
            true => Bus::User,
            false => Bus::System,
        }
    }

    /// As [`Record::driver`](crate::Record) has it.
    fn driver(self) -> &'static str {
        match self {
            Bus::System => "systemd",
            Bus::User => "systemd-user",
        }
    }

    fn of_driver(driver: &str) -> Option<Bus> {
        [Bus::System, Bus::User].into_iter().find(|bus| bus.driver() == driver)
    }
}

/// What a plan must know of the systemd that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// Whose it is.
    pub bus: Bus,
    /// Its version, like 257: older ones lack some properties.
    pub version: u32,
    /// Its own place in the hierarchy, empty for the top: all its units are below.
    pub root: String,
}

impl Manager {
    /// Asks systemd.
    ///
    /// # Errors
    /// [`Error::Systemd`] when there is none, or it cannot be asked.
    pub fn probe(bus: Bus) -> Result<Manager, Error> {
        bus::probe(bus)
    }
}

/// What the systemd driver needs besides what the cgroup filesystem's does.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The systemd that makes the scope.
    pub manager: &'a Manager,
    /// `annotations` of config.json: those that begin with `org.systemd.property.` become properties, others name groups below the
    /// scope.
    pub annotations: &'a [(String, String)],
}

/// A transient scope to make.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unit {
    bus: Bus,
    version: u32,
    pub(crate) name: String,
    /// Its directory, relative to each hierarchy's mount point.
    pub(crate) path: std::path::PathBuf,
    pub(crate) below: Below,
    properties: Vec<Property>,
}

impl Unit {
    /// Everything but the mirrored limits: those come with [`Unit::limit`].
    ///
    /// # Errors
    /// The field or annotation that systemd would not take.
    pub(crate) fn compile(
        cgroups_path: Option<&str>,
        id: &str,
        layout: &Layout,
        scope: &Scope<'_>,
    ) -> Result<Unit, PlanError> {
        let Scope { manager, annotations } = *scope;
        if matches!(layout.mode, Mode::None) {
            return Err(PlanError::new("--systemd-cgroup", "no cgroup hierarchy is mounted"));
        }
        if manager.bus == Bus::User && layout.mode != Mode::Unified {
            return Err(PlanError::new(
                "--systemd-cgroup",
                "a user's systemd can only make cgroups on a host with cgroup v2 alone",
            ));
        }
        let name = Name::parse(cgroups_path, id, manager.bus)?;
        let flag = |name: &str| Property::new(name, Value::Bool(true));
        let mut properties = vec![
            Property::new("Description", Value::Text(format!("nucleus container {id}"))),
            Property::new("Slice", Value::Text(name.slice.clone())),
            Property::new("DefaultDependencies", Value::Bool(false)),
            // A container that was killed for want of memory leaves a failed unit: nobody would take that away.
            Property::new("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            flag("Delegate"),
            flag("CPUAccounting"),
            flag("MemoryAccounting"),
            flag("TasksAccounting"),
            flag("IOAccounting"),
        ];
        let top = manager.root.trim_start_matches('/');
        let path = std::path::Path::new(top).join(&name.below).join(&name.unit);
        properties.extend(annotation::properties(annotations)?);
        Ok(Unit {
            bus: manager.bus,
            version: manager.version,
            name: name.unit,
            path,
            below: Below::compile(annotations, layout)?,
            properties,
        })
    }

    /// Adds the limits that systemd has words for; annotations, which came before, have the last one.
    pub(crate) fn limit(&mut self, writes: &[Write]) {
        let at = self.properties.iter().position(|property| property.annotated);
        let at = at.unwrap_or(self.properties.len());
        self.properties.splice(at..at, mirror(writes, |_| None));
    }

    /// Adds the device rules, as far as systemd can express them.
    pub(crate) fn devices(&mut self, resources: Option<&LinuxResources>) -> Result<(), PlanError> {
        let config = resources.and_then(|resources| resources.devices().as_deref());
        let rules = Rules::compile(config.unwrap_or_default())?;
        self.properties.extend(device::properties(&rules, self.version));
        Ok(())
    }

    /// The container's own directory, relative to each hierarchy's mount point.
    pub(crate) fn container(&self) -> std::path::PathBuf {
        // Joining an empty path would add a slash.
        self.path.iter().chain(self.below.subgroup.iter()).collect()
    }

    /// How a [`Record`](crate::Record) names the driver.
    pub(crate) fn driver(&self) -> &'static str {
        self.bus.driver()
    }

    /// Has systemd make the scope around a process, and waits until it has.
    ///
    /// # Errors
    /// systemd's, with the unit's name.
    pub(crate) fn start(&self, pid: rustix::process::Pid) -> Result<(), Error> {
        let mut properties: Vec<&Property> = self.properties.iter().filter(|one| one.since <= self.version).collect();
        for left in self.properties.iter().filter(|one| one.since > self.version) {
            tracing::debug!("systemd {} does not know {}: left out", self.version, left.name);
        }
        let pid = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or_default();
        let pids = Property::new("PIDs", Value::Pids(vec![pid]));
        properties.push(&pids);
        bus::start(self.bus, &self.name, &properties)
    }

    /// Stops the scope, and waits until it is gone.
    ///
    /// # Errors
    /// systemd's, with the unit's name.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        bus::stop(self.bus, &self.name)
    }
}

/// Stops a recorded unit and has systemd forget it. One that is gone is fine; so is a record without one.
pub(crate) fn stop(driver: &str, unit: Option<&str>) -> Result<(), Error> {
    match (Bus::of_driver(driver), unit) {
        (Some(bus), Some(unit)) => bus::stop(bus, unit),
        _ => Ok(()),
    }
}

/// Tells systemd of new limits of a recorded unit; `now` reads a control file.
pub(crate) fn set(
    driver: &str,
    unit: &str,
    writes: &[Write],
    now: impl Fn(&str) -> Option<String>,
) -> Result<(), Error> {
    let Some(bus) = Bus::of_driver(driver) else {
        return Ok(());
    };
    let properties = mirror(writes, now);
    if properties.is_empty() {
        return Ok(());
    }
    let version = Manager::probe(bus)?.version;
    let known: Vec<&Property> = properties.iter().filter(|one| one.since <= version).collect();
    bus::set(bus, unit, &known)
}
