//! AppArmor profiles and SELinux labels: what the user's program gets at its execve.
//!
//! A label that the host cannot apply is refused, never ignored: whoever wrote it counts on it. [`check`] says so on the
//! host side before anything is made; [`set_exec`] writes, while the host's /proc still serves, through a descriptor
//! that is proven to be procfs with nothing mounted over the file (CVE-2019-16884, CVE-2025-52881).

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::init::failure::{Explain, Failure};
use crate::plan::{Plan, Process};

/// The profile that means "none".
const UNCONFINED: &str = "unconfined";

/// `SELINUX_MAGIC` of linux/magic.h.
const SELINUX_MAGIC: u64 = 0xf97c_ff8c;

/// Refuses what the host's kernel cannot apply. Looks at the host only when a label is asked for.
///
/// # Errors
/// Named by field and security module.
pub fn check(plan: &Plan) -> Result<(), Failure> {
    let process = plan.process.as_ref();
    let profile = process.and_then(|process| process.apparmor_profile.as_deref());
    if let Some(profile) = profile.filter(|profile| *profile != UNCONFINED)
        && !has_apparmor()
    {
        return Err(Failure::new(format!(
            "process.apparmorProfile: cannot apply {profile:?}, as AppArmor is not enabled on this host"
        )));
    }
    let labels = [
        (
            process.and_then(|process| process.selinux_label.as_deref()),
            "process.selinuxLabel",
        ),
        (plan.mount_label.as_deref(), "linux.mountLabel"),
    ];
    for (label, field) in labels {
        if let Some(label) = label
            && !has_selinux()
        {
            return Err(Failure::new(format!(
                "{field}: cannot apply {label:?}, as SELinux is not enabled on this host"
            )));
        }
    }
    Ok(())
}

/// True when the program is to get a profile or a label.
pub fn asked(plan: &Plan) -> bool {
    let asks = |process: &Process| process.apparmor_profile.is_some() || process.selinux_label.is_some();
    plan.process.as_ref().is_some_and(asks)
}

/// Sets what the calling process becomes at its next execve. `procfs` is the root of a procfs that shows it.
///
/// # Errors
/// Named by field and label: a profile that is not loaded, a label that the policy refuses.
pub fn set_exec(process: &Process, procfs: &OwnedFd) -> Result<(), Failure> {
    if let Some(label) = &process.selinux_label {
        write_attribute(procfs, &["exec"], label)
            .explain(|| format!("process.selinuxLabel: SELinux does not take {label:?}"))?;
    }
    let profile = process.apparmor_profile.as_deref();
    if let Some(profile) = profile.filter(|profile| *profile != UNCONFINED || has_apparmor()) {
        write_attribute(procfs, &["apparmor/exec", "exec"], &format!("exec {profile}"))
            .explain(|| format!("process.apparmorProfile: AppArmor does not take {profile:?} (is it loaded?)"))?;
    }
    Ok(())
}

/// Sets the label of the keys that the calling process makes until its execve: the program may use its session keyring
/// only if both have the same label.
///
/// # Errors
/// Named by field and label.
pub fn set_key_create(process: &Process, procfs: &OwnedFd) -> Result<(), Failure> {
    process.selinux_label.as_deref().map_or(Ok(()), |label| {
        write_attribute(procfs, &["keycreate"], label)
            .explain(|| format!("process.selinuxLabel: SELinux does not take {label:?} for the session keyring"))
    })
}

/// Writes to the first of these files of thread-self/attr that there is.
fn write_attribute(procfs: &OwnedFd, names: &[&str], value: &str) -> Result<(), Errno> {
    let mut error = Errno::NOENT;
    for name in names {
        let path = format!("thread-self/attr/{name}");
        // No crossing of mounts: nothing may lie over the file.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(procfs, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Ok(file) => {
                let written = rustix::io::write(&file, value.as_bytes())?;
                return if written == value.len() { Ok(()) } else { Err(Errno::IO) };
            }
            Err(missing @ Errno::NOENT) => error = missing,
            Err(other) => return Err(other),
        }
    }
    Err(error)
}

fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn has_selinux() -> bool {
    rustix::fs::statfs("/sys/fs/selinux").is_ok_and(|stat| stat.f_type as u64 & 0xffff_ffff == SELINUX_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(profile: Option<&str>, label: Option<&str>, mount_label: Option<&str>) -> Plan {
        Plan {
            process: Some(Process {
                apparmor_profile: profile.map(str::to_owned),
                selinux_label: label.map(str::to_owned),
                ..Process::default()
            }),
            mount_label: mount_label.map(str::to_owned),
            ..Plan::default()
        }
    }

    fn procfs() -> OwnedFd {
        std::fs::File::open("/proc").unwrap().into()
    }

    #[test]
    fn nothing_asked_nothing_refused() {
        check(&plan(None, None, None)).unwrap();
        check(&plan(Some("unconfined"), None, None)).unwrap();
        set_exec(&Process::default(), &procfs()).unwrap();
    }

    #[test]
    fn what_the_host_lacks_is_named() {
        let error = |plan: &Plan| check(plan).unwrap_err().to_string();
        if !has_apparmor() {
            assert_eq!(
                error(&plan(Some("p"), None, None)),
                "process.apparmorProfile: cannot apply \"p\", as AppArmor is not enabled on this host"
            );
        }
        if !has_selinux() {
            assert_eq!(
                error(&plan(None, Some("a:b"), None)),
                "process.selinuxLabel: cannot apply \"a:b\", as SELinux is not enabled on this host"
            );
            assert_eq!(
                error(&plan(None, None, Some("a:b"))),
                "linux.mountLabel: cannot apply \"a:b\", as SELinux is not enabled on this host"
            );
        }
    }

    #[test]
    fn attributes_are_found_below_a_genuine_proc() {
        // Neither module runs: the kernel knows the file and takes nothing. With one, nonsense is refused as well.
        let result = write_attribute(&procfs(), &["no-such-attribute", "exec"], "nonsense");
        assert!(
            !matches!(result, Ok(()) | Err(Errno::NOENT | Errno::XDEV)),
            "{result:?}"
        );
        assert_eq!(
            write_attribute(&procfs(), &["no-such-attribute"], "x"),
            Err(Errno::NOENT)
        );
    }
}
