//! The option table of config.md: what each word of `mounts[].options` means for mount(2) and mount_setattr(2).
//!
//! One table for both kinds of mounts: a new filesystem takes `MS_*` words, a bind mount takes attributes, which can
//! also be cleared. Words that are not in the table are data for the filesystem.

use nix::mount::MsFlags;
use nucleus_sys::mount::{Attributes, attr};

use super::Links;

/// What one option means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// `defaults`: nothing.
    Nothing,
    /// `bind`, or with true `rbind`.
    Bind(bool),
    /// A flag of a mount: its `MS_*` bit, its `MOUNT_ATTR_*` bit, and whether the option sets or clears it.
    Flag(u64, u64, bool),
    /// A flag of a superblock (`MS_*` bit, set or clear), without meaning for a bind mount.
    Super(u64, bool),
    /// An access-time mode.
    Atime(Atime),
    /// An attribute of the whole tree (`MOUNT_ATTR_*` bit, set or clear).
    Recursive(u64, bool),
    /// An access-time mode for the whole tree.
    RecursiveAtime(Atime),
    /// `MS_PRIVATE` and its kin, `MS_REC` included.
    Propagation(u64),
    /// `tmpcopyup`.
    CopyUp,
    /// `remount`.
    Remount,
    /// `src-nofollow`, `dest-nofollow`, `copy-symlink`: as crun has them.
    Links(Links),
    /// `idmap`, or with true `ridmap`.
    IdMap(bool),
}

/// The access-time options are one choice of three and its negations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Atime {
    /// Only when newer than the last change: the kernel's default.
    Relative,
    /// Never.
    Never,
    /// At each access.
    Strict,
    /// `norelatime`: the kernel has no such mode, and mount(2) ignores it.
    Unchanged,
}

impl Atime {
    /// The bit for mount(2).
    pub(crate) fn flag(self) -> u64 {
        match self {
            Atime::Relative => MsFlags::MS_RELATIME.bits(),
            Atime::Never => MsFlags::MS_NOATIME.bits(),
            Atime::Strict => MsFlags::MS_STRICTATIME.bits(),
            Atime::Unchanged => 0,
        }
    }

    /// Enters the mode into `attributes`: the kernel wants the whole field cleared whenever a mode is set.
    pub(crate) fn apply(self, attributes: &mut Attributes) {
        let mode = match self {
            Atime::Relative => attr::RELATIME,
            Atime::Never => attr::NOATIME,
            Atime::Strict => attr::STRICTATIME,
            Atime::Unchanged => return,
        };
        attributes.clear |= attr::ATIME_MASK;
        attributes.set = attributes.set & !attr::ATIME_MASK | mode;
    }
}

/// `MS_NOSYMFOLLOW` (Linux 5.10), which nix lacks.
const MS_NOSYMFOLLOW: u64 = 256;

/// Looks an option up; `None` is data for the filesystem.
pub(crate) fn meaning(option: &str) -> Option<Meaning> {
    if let Some(propagation) = propagation(option) {
        return Some(Meaning::Propagation(propagation));
    }
    if let Some(flag) = flag(option) {
        return Some(flag);
    }
    Some(match option {
        "defaults" => Meaning::Nothing,
        "bind" => Meaning::Bind(false),
        "rbind" => Meaning::Bind(true),
        "sync" => Meaning::Super(MsFlags::MS_SYNCHRONOUS.bits(), true),
        "async" => Meaning::Super(MsFlags::MS_SYNCHRONOUS.bits(), false),
        "dirsync" => Meaning::Super(MsFlags::MS_DIRSYNC.bits(), true),
        "iversion" => Meaning::Super(MsFlags::MS_I_VERSION.bits(), true),
        "noiversion" => Meaning::Super(MsFlags::MS_I_VERSION.bits(), false),
        "lazytime" => Meaning::Super(MsFlags::MS_LAZYTIME.bits(), true),
        "nolazytime" => Meaning::Super(MsFlags::MS_LAZYTIME.bits(), false),
        "mand" => Meaning::Super(MsFlags::MS_MANDLOCK.bits(), true),
        "nomand" => Meaning::Super(MsFlags::MS_MANDLOCK.bits(), false),
        "acl" => Meaning::Super(MsFlags::MS_POSIXACL.bits(), true),
        "noacl" => Meaning::Super(MsFlags::MS_POSIXACL.bits(), false),
        "silent" => Meaning::Super(MsFlags::MS_SILENT.bits(), true),
        "loud" => Meaning::Super(MsFlags::MS_SILENT.bits(), false),
        "relatime" | "atime" | "nostrictatime" => Meaning::Atime(Atime::Relative),
        "noatime" => Meaning::Atime(Atime::Never),
        "strictatime" => Meaning::Atime(Atime::Strict),
        "norelatime" => Meaning::Atime(Atime::Unchanged),
        "rrelatime" | "ratime" | "rnostrictatime" => Meaning::RecursiveAtime(Atime::Relative),
        "rnoatime" => Meaning::RecursiveAtime(Atime::Never),
        "rstrictatime" => Meaning::RecursiveAtime(Atime::Strict),
        "rnorelatime" => Meaning::RecursiveAtime(Atime::Unchanged),
        "tmpcopyup" => Meaning::CopyUp,
        "remount" => Meaning::Remount,
        "src-nofollow" => Meaning::Links(Links {
            bind_source: true,
            ..Links::default()
        }),
        "dest-nofollow" => Meaning::Links(Links {
            cover_destination: true,
            ..Links::default()
        }),
        "copy-symlink" => Meaning::Links(Links {
            copy: true,
            ..Links::default()
        }),
        "idmap" => Meaning::IdMap(false),
        "ridmap" => Meaning::IdMap(true),
        _ => return None,
    })
}

/// The options that exist in a plain and in a recursive form, each with its negation.
fn flag(option: &str) -> Option<Meaning> {
    let plain = |option: &str| {
        Some(match option {
            "ro" => (MsFlags::MS_RDONLY.bits(), attr::RDONLY, true),
            "rw" => (MsFlags::MS_RDONLY.bits(), attr::RDONLY, false),
            "nosuid" => (MsFlags::MS_NOSUID.bits(), attr::NOSUID, true),
            "suid" => (MsFlags::MS_NOSUID.bits(), attr::NOSUID, false),
            "nodev" => (MsFlags::MS_NODEV.bits(), attr::NODEV, true),
            "dev" => (MsFlags::MS_NODEV.bits(), attr::NODEV, false),
            "noexec" => (MsFlags::MS_NOEXEC.bits(), attr::NOEXEC, true),
            "exec" => (MsFlags::MS_NOEXEC.bits(), attr::NOEXEC, false),
            "nodiratime" => (MsFlags::MS_NODIRATIME.bits(), attr::NODIRATIME, true),
            "diratime" => (MsFlags::MS_NODIRATIME.bits(), attr::NODIRATIME, false),
            "nosymfollow" => (MS_NOSYMFOLLOW, attr::NOSYMFOLLOW, true),
            "symfollow" => (MS_NOSYMFOLLOW, attr::NOSYMFOLLOW, false),
            _ => return None,
        })
    };
    if let Some((flag, attribute, set)) = plain(option) {
        return Some(Meaning::Flag(flag, attribute, set));
    }
    let (_, attribute, set) = plain(option.strip_prefix('r')?)?;
    Some(Meaning::Recursive(attribute, set))
}

/// The `MS_*` word of a propagation option, `MS_REC` included.
pub(crate) fn propagation(option: &str) -> Option<u64> {
    let word = |option: &str| match option {
        "private" => Some(MsFlags::MS_PRIVATE),
        "slave" => Some(MsFlags::MS_SLAVE),
        "shared" => Some(MsFlags::MS_SHARED),
        "unbindable" => Some(MsFlags::MS_UNBINDABLE),
        _ => None,
    };
    match (word(option), option.strip_prefix('r').and_then(word)) {
        (Some(flag), _) => Some(flag.bits()),
        (None, Some(flag)) => Some((flag | MsFlags::MS_REC).bits()),
        (None, None) => None,
    }
}
