//! `mounts`: what to mount, where, and with which words for mount(2) and mount_setattr(2).
//!
//! Destinations are cleaned here and resolved by init inside the rootfs. Mounts at or under `/proc` are refused but for
//! those that runc allows: a fake `/proc` would make every later write through it go nowhere.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nucleus_sys::mount::{Attributes, attr};
use oci_spec::runtime as oci;

use super::mount_options::{Atime, Meaning, meaning};
use super::{IdMapping, Links, Mount, MountKind, Namespaces, PlanError, id_maps, paths};

/// Files below `/proc` that lxcfs and its like replace; everything else there is the kernel's alone.
pub(super) const PROC_FILES: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// mount(2) reads one page of data and cuts the rest off without a word.
const LONGEST_DATA: usize = 4095;

/// What a bind mount does not keep of its source's flags once it has options for such flags: as with mount(8), they are all
/// flags of the new mount. The mode of access times stays.
const UNASKED: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;

const FOR_BINDS: &str = "src-nofollow, dest-nofollow and copy-symlink are for bind mounts";

/// What a mount's meaning depends on besides itself.
pub(crate) struct Surroundings<'a> {
    /// Absolute path of the bundle.
    pub bundle: &'a Path,
    /// `linux.namespaces`.
    pub namespaces: &'a Namespaces,
    /// `linux.mountLabel`.
    pub label: Option<&'a str>,
    /// The maps of a new user namespace, users and groups.
    pub maps: (&'a [IdMapping], &'a [IdMapping]),
}

/// Compiles the list, order kept.
pub(crate) fn compile(
    list: &[oci::Mount],
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>, PlanError> {
    list.iter()
        .enumerate()
        .map(|(i, mount)| one(mount, i, around, warnings))
        .collect()
}

fn one(
    mount: &oci::Mount,
    i: usize,
    around: &Surroundings<'_>,
    warnings: &mut Vec<String>,
) -> Result<Mount, PlanError> {
    let destination = destination(mount, i, warnings)?;
    let words = Words::read(mount.options().as_deref().unwrap_or_default(), i)?;
    let kind = kind(mount, &words, i, around.bundle)?;
    check_proc(&destination, mount, &kind, i)?;
    if matches!(kind, MountKind::Cgroup | MountKind::Cgroup2) && !words.data.is_empty() {
        return Err(PlanError::new(
            format_args!("mounts[{i}].options"),
            format_args!("{:?} is not an option of a cgroup mount", words.data),
        ));
    }
    let id_map = id_maps::compile(mount, &kind, words.id_map, i, around)?;
    let data = labelled(words.data, &kind, around.label, i)?;
    let mut compiled = Mount {
        destination,
        kind,
        flags: words.flags,
        attributes: Attributes {
            propagation: words.propagation,
            ..Attributes::default()
        },
        recursive: words.recursive,
        more_propagation: words.more_propagation,
        data: paths::c_string(data.as_bytes(), format_args!("mounts[{i}].options"))?,
        copy_up: words.copy_up,
        unasked: 0,
        id_map: id_map.map(Box::new),
    };
    if let MountKind::Bind { .. } = compiled.kind {
        compiled.attributes = Attributes {
            propagation: words.propagation,
            ..words.attributes
        };
        compiled.flags = 0;
        if words.asked {
            compiled.unasked = UNASKED & !(compiled.attributes.set | compiled.attributes.clear);
        }
        if words.superblock || !data.is_empty() {
            // The kernel ignores these for a bind mount, and so do other runtimes.
            warnings.push(format!(
                "mounts[{i}].options: ignoring options of a filesystem on a bind mount at {:?}",
                compiled.destination
            ));
            compiled.data = c"".to_owned();
        }
    }
    if compiled.copy_up && mount.typ().as_deref() != Some("tmpfs") {
        warnings.push(format!(
            "mounts[{i}].options: ignoring tmpcopyup, which is for tmpfs only"
        ));
        compiled.copy_up = false;
    }
    Ok(compiled)
}

/// Adds `linux.mountLabel` to the data of a filesystem that takes one. Labels hold commas, hence the quotes.
fn labelled(mut data: String, kind: &MountKind, label: Option<&str>, i: usize) -> Result<String, PlanError> {
    let (Some(label), MountKind::Filesystem { fstype, .. }) = (label, kind) else {
        return Ok(data);
    };
    // The kernel labels the files of these by itself.
    let by_kernel = ["proc", "sysfs", "mqueue"]
        .iter()
        .any(|name| fstype.to_bytes() == name.as_bytes());
    if by_kernel || data.split(',').any(|option| option.starts_with("context=")) {
        return Ok(data);
    }
    if label.contains('"') {
        return Err(PlanError::new("linux.mountLabel", "must not contain a quotation mark"));
    }
    let comma = if data.is_empty() { "" } else { "," };
    data += &format!("{comma}context=\"{label}\"");
    check_length(&data, i)?;
    Ok(data)
}

fn check_length(data: &str, i: usize) -> Result<(), PlanError> {
    if data.len() <= LONGEST_DATA {
        return Ok(());
    }
    Err(PlanError::new(
        format_args!("mounts[{i}].options"),
        format_args!("{} bytes of data are more than the kernel's {LONGEST_DATA}", data.len()),
    ))
}

/// The options of one mount, sorted by what they are for.
#[derive(Default)]
struct Words {
    /// `MS_*` for a new filesystem.
    flags: u64,
    /// The same for a bind mount, which can clear as well.
    attributes: Attributes,
    recursive: Attributes,
    propagation: u64,
    more_propagation: Vec<u64>,
    data: String,
    /// `Some(true)` for `rbind`.
    bind: Option<bool>,
    copy_up: bool,
    remount: bool,
    /// `Some(true)` for `ridmap`.
    id_map: Option<bool>,
    links: Links,
    /// An option of the superblock was given.
    superblock: bool,
    /// An option for the flags of this mount was given, `rw` and its like included.
    asked: bool,
}

impl Words {
    fn read(options: &[String], i: usize) -> Result<Words, PlanError> {
        let mut words = Words::default();
        for option in options.iter().filter(|option| !option.is_empty()) {
            match meaning(option) {
                Some(meaning) => words.add(meaning),
                None => {
                    if !words.data.is_empty() {
                        words.data.push(',');
                    }
                    words.data.push_str(option);
                }
            }
        }
        check_length(&words.data, i)?;
        Ok(words)
    }

    /// Where options contradict each other, the later one wins.
    fn add(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Bind(recursive) => self.bind = Some(recursive || self.bind == Some(true)),
            Meaning::Flag(flag, attribute, set) => {
                switch(&mut self.flags, flag, set);
                change(&mut self.attributes, attribute, set);
                self.asked = true;
            }
            Meaning::Super(flag, set) => {
                switch(&mut self.flags, flag, set);
                self.superblock = true;
            }
            Meaning::Atime(mode) => {
                if mode != Atime::Unchanged {
                    let modes = MsFlags::MS_NOATIME | MsFlags::MS_RELATIME | MsFlags::MS_STRICTATIME;
                    switch(&mut self.flags, modes.bits(), false);
                }
                self.flags |= mode.flag();
                mode.apply(&mut self.attributes);
                self.asked = true;
            }
            Meaning::Recursive(attribute, set) => change(&mut self.recursive, attribute, set),
            Meaning::RecursiveAtime(mode) => mode.apply(&mut self.recursive),
            Meaning::CopyUp => self.copy_up = true,
            Meaning::Remount => self.remount = true,
            Meaning::Links(links) => {
                self.links.bind_source |= links.bind_source;
                self.links.cover_destination |= links.cover_destination;
                self.links.copy |= links.copy;
            }
            Meaning::IdMap(recursive) => self.id_map = Some(recursive || self.id_map == Some(true)),
            Meaning::Propagation(word) => self.propagate(word),
            Meaning::Nothing => {}
        }
    }

    /// Takes one propagation type. The first one is applied with the other attributes; those after it on their own, in
    /// their order, as `slave` and then `shared` makes a mount that is both (mount_namespaces(7)).
    fn propagate(&mut self, word: u64) {
        let kind = word & !MsFlags::MS_REC.bits();
        let earlier = self.propagation | self.recursive.propagation;
        if !self.more_propagation.is_empty() || earlier != 0 && earlier != kind {
            self.more_propagation.push(word);
            return;
        }
        // The recursive form of a type includes the plain one.
        if word != kind || self.recursive.propagation != 0 {
            (self.propagation, self.recursive.propagation) = (0, kind);
        } else {
            self.propagation = kind;
        }
    }
}

fn switch(word: &mut u64, bits: u64, set: bool) {
    match set {
        true => *word |= bits,
        false => *word &= !bits,
    }
}

fn change(attributes: &mut Attributes, bit: u64, set: bool) {
    switch(&mut attributes.set, bit, set);
    switch(&mut attributes.clear, bit, !set);
}

/// Where the mount goes, cleaned.
pub(super) fn destination(mount: &oci::Mount, i: usize, warnings: &mut Vec<String>) -> Result<PathBuf, PlanError> {
    let written = mount.destination();
    paths::no_nul(written, format_args!("mounts[{i}].destination"))?;
    if !written.is_absolute() {
        warnings.push(format!(
            "mounts[{i}].destination: relative path {written:?} is deprecated, using it as relative to /"
        ));
    }
    let destination = paths::clean(written);
    if destination.as_os_str() == "/" {
        return Err(PlanError::new(
            format_args!("mounts[{i}].destination"),
            format_args!("{written:?} is the root of the container"),
        ));
    }
    Ok(destination)
}

fn kind(mount: &oci::Mount, words: &Words, i: usize, bundle: &Path) -> Result<MountKind, PlanError> {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    paths::no_nul(source, format_args!("mounts[{i}].source"))?;
    let links = words.links;
    let refuse = |why: &str| Err(PlanError::new(format_args!("mounts[{i}].options"), why));
    if links.copy && (links.bind_source || links.cover_destination) {
        return refuse("copy-symlink excludes src-nofollow and dest-nofollow");
    }
    if words.remount {
        if links != Links::default() {
            return refuse(FOR_BINDS);
        }
        return Ok(MountKind::Remount {
            bind: words.bind.is_some(),
        });
    }
    // With bind or rbind among the options the kernel does not look at the type, and neither does runc.
    let bind = match (words.bind, mount.typ().as_deref()) {
        (Some(recursive), _) => Some(recursive),
        (None, Some("bind")) => Some(false),
        (None, Some("rbind")) => Some(true),
        _ => None,
    };
    if let Some(recursive) = bind {
        if source.as_os_str().is_empty() {
            return Err(PlanError::new(
                format_args!("mounts[{i}].source"),
                "a bind mount needs a source",
            ));
        }
        return Ok(MountKind::Bind {
            source: bundle.join(source),
            recursive,
            links,
        });
    }
    if links != Links::default() {
        return refuse(FOR_BINDS);
    }
    match mount.typ().as_deref() {
        None | Some("" | "none") => Err(PlanError::new(
            format_args!("mounts[{i}].type"),
            "must name a filesystem, as options contain neither bind nor rbind",
        )),
        Some("cgroup") => Ok(MountKind::Cgroup),
        Some("cgroup2") => Ok(MountKind::Cgroup2),
        Some(fstype) => Ok(MountKind::Filesystem {
            fstype: paths::c_string(fstype.as_bytes(), format_args!("mounts[{i}].type"))?,
            source: match source.as_os_str().as_bytes() {
                b"" => c"none".to_owned(),
                source => paths::c_string(source, format_args!("mounts[{i}].source"))?,
            },
        }),
    }
}

/// Lets nothing but a procfs onto `/proc`, and nothing below it but files that do not matter for security.
fn check_proc(destination: &Path, mount: &oci::Mount, kind: &MountKind, i: usize) -> Result<(), PlanError> {
    // Cleaned paths are compared by their bytes.
    let destination = destination.as_os_str();
    let below = match destination.as_bytes().strip_prefix(b"/proc") {
        Some(below @ ([] | [b'/', ..])) => below,
        _ => return Ok(()),
    };
    let why = if below.is_empty() {
        let is_proc = match kind {
            MountKind::Filesystem { .. } => mount.typ().as_deref() == Some("proc"),
            MountKind::Bind { source, .. } => source.components().eq(Path::new("/proc").components()),
            MountKind::Cgroup | MountKind::Cgroup2 => false,
            MountKind::Remount { .. } => true,
        };
        if is_proc {
            return Ok(());
        }
        "it is not of type proc"
    } else if PROC_FILES.iter().any(|file| destination == *file) {
        return Ok(());
    } else {
        "it is inside /proc"
    };
    Err(PlanError::new(
        format_args!("mounts[{i}].destination"),
        format_args!("{destination:?} cannot be mounted because {why}"),
    ))
}
