//! [`Plan::compile`]: the parts of config.json in the order in which they depend on each other.
//!
//! Called once per `create` or `run`, before anything is made. The rule that it keeps: no system call, no file, no
//! environment; the same three arguments give the same plan.

use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use oci_spec::runtime::{self as oci, Linux, LinuxNamespaceType as Kind, Spec};

use super::{
    IdMapping, Mount, MountKind, Namespaces, Plan, PlanError, Process, Rootfs, Seccomp, annotations, devices, foreign,
    hooks, intel_rdt, memory_policy, mount_options, mounts, namespaces, net_devices, paths, process, scheduling,
    sysctl,
};
use crate::security::seccomp;

/// What the command line says.
#[derive(Debug, Default, Clone)]
pub(crate) struct Options {
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// The runtime will not wait for the container: always true for `create`.
    pub detach: bool,
    /// `--console-socket` is given.
    pub console_socket: bool,
    /// `--no-pivot`.
    pub no_pivot: bool,
}

/// What the host says; probed once by the caller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host {
    /// Effective user id of the runtime, in the user namespace that it runs in.
    pub euid: u32,
    /// Highest capability number that the kernel knows.
    pub last_cap: u32,
    /// What the runtime may do itself, as a mask: no more can be granted, but in a user namespace, where everything can.
    pub capabilities: u64,
}

impl Host {
    /// The host as a container with these namespaces finds it.
    pub(crate) fn within(self, namespaces: &Namespaces) -> Self {
        let everything = namespaces.has(Kind::User as u64);
        Self {
            capabilities: if everything { u64::MAX } else { self.capabilities },
            ..self
        }
    }
}

impl Plan {
    /// Compiles config.json; `seccomp` is the compiled profile of one that has been read without it.
    ///
    /// # Errors
    /// The first field that is wrong, contradicts another, or cannot be carried out.
    pub(crate) fn compile(
        spec: &Spec,
        options: &Options,
        host: &Host,
        seccomp: Option<Seccomp>,
    ) -> Result<Plan, PlanError> {
        let mut warnings = Vec::new();
        foreign::check(spec, &mut warnings);
        let linux = spec.linux().as_ref();
        let namespaces = namespaces::compile(list(linux, Linux::namespaces))?;
        if host.euid != 0 && !namespaces.has(Kind::User as u64) {
            return Err(PlanError::new(
                "linux.namespaces",
                "rootless container requires user namespaces",
            ));
        }
        let ids = (list(linux, Linux::uid_mappings), list(linux, Linux::gid_mappings));
        let (uid_map, gid_map) = namespaces::id_maps(ids, &namespaces, &mut warnings)?;
        let mut process = match spec.process() {
            Some(process) => Some(process::compile(
                process,
                options,
                &host.within(&namespaces),
                &mut warnings,
            )?),
            None => process::check_terminal(false, options).map(|()| None)?,
        };
        let asked = |key| spec.annotations().as_ref().is_some_and(|map| map.contains_key(key));
        let fails_unknown_calls = asked(annotations::FAIL_UNKNOWN_CALLS);
        if let Some(process) = &mut process {
            process.keep_groups = asked(annotations::KEEP_GROUPS);
            process::check_mapped(process, &uid_map, &gid_map)?;
        }
        let listed = spec.mounts().as_deref().unwrap_or_default();
        let mount_label = process::label(linux.and_then(|l| l.mount_label().as_ref()), "linux.mountLabel")?;
        let around = mounts::Surroundings {
            label: mount_label.as_deref(),
            bundle: &options.bundle,
            namespaces: &namespaces,
            maps: (&uid_map, &gid_map),
        };
        let mounts = mounts::compile(listed, &around, &mut warnings)?;
        // As runc: a bound /dev is somebody else's, and is left alone.
        let is_bound_dev = |m: &Mount| matches!(m.kind, MountKind::Bind { .. }) && m.destination == Path::new("/dev");
        let dev_is_bound = mounts.iter().any(is_bound_dev);
        let devices = devices::compile(list(linux, Linux::devices), &mounts)?;
        let hostname = namespaces::uts_name(spec.hostname().as_ref(), "hostname", &namespaces)?;
        let sysctl = linux.and_then(|l| l.sysctl().as_ref());
        let time_offsets = linux.and_then(|l| l.time_offsets().as_ref());
        let profile = linux.and_then(|l| l.seccomp().as_ref());
        let personality = linux.and_then(|l| l.personality().as_ref());
        let intel_rdt = linux.and_then(|l| l.intel_rdt().as_ref());
        let memory_policy = linux.and_then(|l| l.memory_policy().as_ref());
        let mut hooks = hooks::compile(spec.hooks().as_ref())?;
        let hook_output = annotations::checked_hook_output(spec.annotations().as_ref())?;
        hooks::redirect(&mut hooks, &hook_output, &mut warnings);
        let plan = Plan {
            rootfs: rootfs(spec, options)?,
            devices: if dev_is_bound { Vec::new() } else { devices },
            dev_is_bound,
            masked_paths: paths::distinct(list(linux, Linux::masked_paths), "linux.maskedPaths")?,
            readonly_paths: paths::distinct(list(linux, Linux::readonly_paths), "linux.readonlyPaths")?,
            time_offsets: namespaces::time_offsets(time_offsets, &namespaces)?,
            sysctl: sysctl::compile(sysctl, &namespaces)?,
            domainname: namespaces::uts_name(spec.domainname().as_ref(), "domainname", &namespaces)?,
            seccomp: match seccomp {
                None => profile
                    .map(|profile| seccomp::compile(profile, fails_unknown_calls))
                    .transpose()?,
                kept => kept,
            },
            net_devices: net_devices::compile(linux.and_then(|l| l.net_devices().as_ref()), &namespaces)?,
            intel_rdt: intel_rdt.map(intel_rdt::compile).transpose()?,
            personality: personality.map(scheduling::personality).transpose()?,
            memory_policy: memory_policy.map(memory_policy::compile).transpose()?,
            cgroup_owner: cgroup_owner(listed, &namespaces, process.as_ref(), &uid_map),
            hooks,
            core_scheduling: annotations::core_scheduling(spec.annotations().as_ref())?,
            annotations: annotations::compile(spec.annotations().as_ref())?,
            oci_version: spec.version().clone(),
            mount_label,
            namespaces,
            uid_map,
            gid_map,
            mounts,
            hostname,
            process,
            warnings,
        };
        without_mount_namespace(plan, spec)
    }
}

/// Who owns the control group of a container that has one of its own to see and to write (config-linux.md, "Cgroup
/// ownership"): the user of its process, in the host's terms. A user namespace that is joined keeps its map to itself.
fn cgroup_owner(
    mounts: &[oci::Mount],
    namespaces: &Namespaces,
    process: Option<&Process>,
    uid_map: &[IdMapping],
) -> Option<u32> {
    let is_writable_tree = |mount: &oci::Mount| {
        mount.source().as_deref() == Some(Path::new("cgroup"))
            && mount.destination() == Path::new("/sys/fs/cgroup")
            && !mount.options().iter().flatten().any(|option| option == "ro")
    };
    if !namespaces.creates(Kind::Cgroup as u64) || !mounts.iter().any(is_writable_tree) {
        return None;
    }
    let uid = process?.uid;
    if !namespaces.has(Kind::User as u64) {
        return Some(uid);
    }
    host_id(uid, uid_map)
}

/// What an id of the container is on the host; `None` where it has none.
pub(crate) fn host_id(id: u32, map: &[IdMapping]) -> Option<u32> {
    let within = |line: &&IdMapping| id.checked_sub(line.container_id).is_some_and(|n| n < line.size);
    let line = map.iter().find(within)?;
    Some(line.host_id + (id - line.container_id))
}

/// A list of the `linux` section, empty when it or the section is absent.
fn list<T>(linux: Option<&Linux>, field: fn(&Linux) -> &Option<Vec<T>>) -> &[T] {
    linux.and_then(|linux| field(linux).as_deref()).unwrap_or_default()
}

/// `root` and `linux.rootfsPropagation`.
fn rootfs(spec: &Spec, options: &Options) -> Result<Rootfs, PlanError> {
    let Some(root) = spec.root() else {
        return Err(PlanError::new("root", "must be specified"));
    };
    if root.path().as_os_str().is_empty() {
        return Err(PlanError::new("root.path", "must not be empty"));
    }
    paths::no_nul(root.path(), "root.path")?;
    let wanted = spec
        .linux()
        .as_ref()
        .and_then(|l| l.rootfs_propagation().as_deref())
        .unwrap_or_default();
    let propagation = match wanted {
        "" => 0,
        word => mount_options::propagation(word).ok_or_else(|| {
            PlanError::new(
                "linux.rootfsPropagation",
                format_args!("{word:?} is not one of shared, slave, private, unbindable and their recursive forms"),
            )
        })?,
    };
    // Without pivot_root the host's tree stays reachable below, and private would cut it loose.
    if options.no_pivot && propagation & MsFlags::MS_PRIVATE.bits() != 0 {
        return Err(PlanError::new(
            "linux.rootfsPropagation",
            "[r]private is not safe without pivot_root",
        ));
    }
    Ok(Rootfs {
        path: options.bundle.join(root.path()),
        readonly: root.readonly().unwrap_or(false),
        propagation,
    })
}

/// What must not be done in the mount namespace of the runtime itself: each mount would stay behind on the host.
fn without_mount_namespace(mut plan: Plan, spec: &Spec) -> Result<Plan, PlanError> {
    if plan.namespaces.has(Kind::Mount as u64) {
        return Ok(plan);
    }
    let why = "unable to restrict sys entries without a private MNT namespace";
    if !plan.masked_paths.is_empty() {
        return Err(PlanError::new("linux.maskedPaths", why));
    }
    if !plan.readonly_paths.is_empty() {
        return Err(PlanError::new("linux.readonlyPaths", why));
    }
    if plan.rootfs.propagation != 0 {
        return Err(PlanError::new(
            "linux.rootfsPropagation",
            "would change the host's mounts without a private MNT namespace",
        ));
    }
    let linux = spec.linux().as_ref();
    let terminal = plan.process.as_ref().is_some_and(|process| process.terminal);
    let others = [
        (!list(linux, Linux::devices).is_empty(), "linux.devices"),
        (plan.rootfs.readonly, "root.readonly"),
        (terminal, "process.terminal"),
    ];
    match others.iter().find(|(is_set, _)| *is_set) {
        Some((_, field)) => Err(PlanError::new(
            *field,
            "needs a mount namespace, and linux.namespaces has none",
        )),
        None => {
            if !plan.mounts.is_empty() {
                let why =
                    "mounts: none is made, as linux.namespaces has no mount namespace and each would stay on the host";
                plan.warnings.push(why.to_owned());
            }
            Ok(plan)
        }
    }
}
