//! Device nodes: the six that every container has, and `linux.devices`.
//!
//! A listed device replaces a default one of the same path, and so does a mount. Owners are in the container's terms. `/dev/ptmx` is never
//! a node: it leads to the container's own devpts instance, which init arranges.

use std::path::{Path, PathBuf};

use nix::sys::stat::SFlag;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::{Device, Mount, PlanError, paths};

/// Path and numbers of the default devices, all of them character devices with mode 0666.
const DEFAULTS: [(&str, (u32, u32)); 6] = [
    ("/dev/null", (1, 3)),
    ("/dev/zero", (1, 5)),
    ("/dev/full", (1, 7)),
    ("/dev/random", (1, 8)),
    ("/dev/urandom", (1, 9)),
    ("/dev/tty", (5, 0)),
];

/// The kernel keeps 12 bits of the major number and 20 of the minor one.
const LARGEST: (i64, i64) = ((1 << 12) - 1, (1 << 20) - 1);

/// Compiles the default devices and the listed ones.
pub(crate) fn compile(listed: &[LinuxDevice], mounts: &[Mount]) -> Result<Vec<Device>, PlanError> {
    let mut devices = Vec::with_capacity(DEFAULTS.len() + listed.len());
    for (i, device) in listed.iter().enumerate() {
        let device = one(device, i)?;
        if device.path == Path::new("/dev/ptmx") || devices.contains(&device) {
            continue;
        }
        if devices.iter().any(|other: &Device| other.path == device.path) {
            return Err(PlanError::new(
                format_args!("linux.devices[{i}].path"),
                format_args!("{:?} is listed twice with different properties", device.path),
            ));
        }
        devices.push(device);
    }
    // Cleaned paths are equal when their bytes are.
    let is_taken = |path: &str| {
        let same = |other: &Path| other.as_os_str() == path;
        devices.iter().any(|d| same(&d.path)) || mounts.iter().any(|m| same(&m.destination))
    };
    let defaults = DEFAULTS.iter().filter(|(path, _)| !is_taken(path));
    let defaults: Vec<Device> = defaults
        .map(|&(path, rdev)| Device {
            path: PathBuf::from(path),
            mode: SFlag::S_IFCHR.bits() | 0o666,
            rdev,
            uid: 0,
            gid: 0,
        })
        .collect();
    devices.splice(0..0, defaults);
    Ok(devices)
}

fn one(device: &LinuxDevice, i: usize) -> Result<Device, PlanError> {
    paths::absolute(device.path(), format_args!("linux.devices[{i}].path"))?;
    let path = paths::clean(device.path());
    if path.as_os_str() == "/" {
        return Err(PlanError::new(
            format_args!("linux.devices[{i}].path"),
            "must name a file below /",
        ));
    }
    let kind = match device.typ() {
        LinuxDeviceType::B => SFlag::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => SFlag::S_IFCHR,
        LinuxDeviceType::P => SFlag::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(PlanError::new(
                format_args!("linux.devices[{i}].type"),
                "\"a\" is not the type of a device node (use b, c, u or p)",
            ));
        }
    };
    let rdev = match kind {
        // Some engines give a FIFO numbers; they mean nothing.
        SFlag::S_IFIFO => (0, 0),
        _ => (
            in_range(device.major(), LARGEST.0, "major", i)?,
            in_range(device.minor(), LARGEST.1, "minor", i)?,
        ),
    };
    Ok(Device {
        path,
        // Engines copy st_mode of the host's node, type bits included.
        mode: kind.bits() | (device.file_mode().unwrap_or(0o666) & 0o7777),
        rdev,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
    })
}

fn in_range(number: i64, largest: i64, name: &str, i: usize) -> Result<u32, PlanError> {
    match u32::try_from(number) {
        Ok(n) if number <= largest => Ok(n),
        _ => Err(PlanError::new(
            format_args!("linux.devices[{i}].{name}"),
            format_args!("{number} must be between 0 and {largest}"),
        )),
    }
}
