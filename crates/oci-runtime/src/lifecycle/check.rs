//! `check`: what `create` would do with a bundle, as far as that can be known without doing it.
//!
//! Loads, compiles and looks at the host; makes nothing and needs no right.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::create::probe_bundle;
use super::host::Host;
use super::resctrl::Resctrl;
use super::{Error, Result};
use crate::plan::{self, Plan};
use crate::security::lsm;
use crate::spec;

/// What stands for the id of a container that nobody makes.
const ID: &str = "check";

/// A bundle that can be created.
#[derive(Debug)]
pub struct Checked {
    /// The plan; its warnings are complete.
    pub plan: Plan,
    /// Control groups by controller, for a container named `check`.
    pub cgroups: BTreeMap<String, PathBuf>,
}

/// Compiles the bundle as `create` would; with `systemd`, as it would with `--systemd-cgroup`.
///
/// # Errors
/// The first field that `create` would refuse.
pub fn check(bundle: &Path, systemd: bool) -> Result<Checked> {
    let loaded = spec::load(bundle, None)?;
    let host = Host::probe(None)?;
    let terminal = loaded.spec.process().as_ref().and_then(|process| process.terminal());
    let options = plan::Options {
        bundle: bundle.to_owned(),
        detach: true,
        console_socket: terminal.unwrap_or(false),
        no_pivot: false,
    };
    // Judged as root would run it, so that anybody can check anything; who cannot run it is told below.
    let facts = plan::Host {
        euid: 0,
        last_cap: Host::last_capability()?,
        // Who looks need not be who will create.
        capabilities: u64::MAX,
    };
    let mut plan = Plan::compile(&loaded.spec, &options, &facts, None)?;
    if let Some(process) = &mut plan.process {
        plan::scheduling::stage_cpus(loaded.cpu_affinity.as_ref(), process)?;
    }
    lsm::check(&plan)?;
    Resctrl::prepare(plan.intel_rdt.as_ref(), ID)?;
    let linux = loaded.spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let path = path.and_then(Path::to_str);
    let cgroup = match systemd {
        false => nucleus_cgroup::Plan::compile(resources, path, ID, &host.cgroups, host.rootless)?,
        true => host.scope(resources, path, ID, &plan.annotations)?,
    };
    probe_bundle(&plan).map_err(Error::Host)?;
    plan.warnings.extend(loaded.warnings);
    plan.warnings.extend(cgroup.warnings().iter().map(ToString::to_string));
    if host.euid != 0 && !plan.namespaces.has(nix::libc::CLONE_NEWUSER as u64) {
        plan.warnings
            .push("linux.namespaces: only root can run this, as there is no user namespace".to_owned());
    }
    Ok(Checked {
        plan,
        cgroups: cgroup.record().paths,
    })
}
