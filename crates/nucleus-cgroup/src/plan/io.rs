//! `linux.resources.blockIO` (cgroup-v1/blkio-controller.rst, cgroup-v2.rst "IO"). Rates are bytes or operations per
//! second; a weight of 0 is "do not touch", a rate of 0 takes the limit away.
//!
//! Weights exist only with a scheduler that knows them: CFQ's files are gone since Linux 5.0, BFQ's are there while a
//! disk uses it, v2's `io.weight` with iocost.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice, LinuxWeightDevice};

use super::{Compiler, Target, WriteRule};
use crate::error::PlanError;
use crate::layout::Version;

const SECTION: &str = "linux.resources.blockIO";
const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

pub(crate) fn compile(out: &mut Compiler<'_>, io: &LinuxBlockIo) -> Result<(), PlanError> {
    if let Some(weight) = io.weight().filter(|weight| *weight != 0) {
        let field = format!("{SECTION}.weight");
        let target = target(out, &field)?;
        check_weight(weight, &field)?;
        match target.version {
            Version::V1 => {
                out.write(target, "blkio.weight", weight, field.clone(), WriteRule::OrNext);
                out.write(target, "blkio.bfq.weight", weight, field, WriteRule::Strict);
            }
            Version::V2 => {
                out.write(target, "io.bfq.weight", weight, field.clone(), WriteRule::OrNext);
                out.write(target, "io.weight", weight_v2(weight), field, WriteRule::Strict);
            }
        }
    }
    if let Some(weight) = io.leaf_weight().filter(|weight| *weight != 0) {
        let field = format!("{SECTION}.leafWeight");
        check_weight(weight, &field)?;
        v1_only(out, &field, "blkio.leaf_weight", weight)?;
    }
    for (index, device) in io.weight_device().iter().flatten().enumerate() {
        weight_device(out, index, device)?;
    }
    let throttles = [
        (
            io.throttle_read_bps_device(),
            "throttleReadBpsDevice",
            "blkio.throttle.read_bps_device",
            "rbps",
        ),
        (
            io.throttle_write_bps_device(),
            "throttleWriteBpsDevice",
            "blkio.throttle.write_bps_device",
            "wbps",
        ),
        (
            io.throttle_read_iops_device(),
            "throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            "riops",
        ),
        (
            io.throttle_write_iops_device(),
            "throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            "wiops",
        ),
    ];
    for (devices, name, v1, v2) in throttles {
        for (index, device) in devices.iter().flatten().enumerate() {
            throttle(out, &format!("{SECTION}.{name}[{index}]"), v1, v2, device)?;
        }
    }
    Ok(())
}

/// The controller is called blkio on v1 and io on v2.
fn target(out: &mut Compiler<'_>, field: &str) -> Result<Target, PlanError> {
    let name = if out.has("blkio") { "blkio" } else { "io" };
    out.target(name, field.to_owned())
}

fn check_weight(weight: u16, field: &str) -> Result<(), PlanError> {
    if WEIGHTS.contains(&weight) {
        return Ok(());
    }
    let problem = format!("must be between {} and {}", WEIGHTS.start(), WEIGHTS.end());
    Err(PlanError::new(field.to_owned(), problem))
}

/// blkio's 10 to 1000 as io.weight's 1 to 10000, linear, as runc and crun convert it.
fn weight_v2(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

fn v1_only(out: &mut Compiler<'_>, field: &str, file: &'static str, value: impl ToString) -> Result<(), PlanError> {
    let target = target(out, field)?;
    if target.version == Version::V2 {
        return Err(PlanError::new(field.to_owned(), "does not exist on cgroup v2"));
    }
    out.write(target, file, value, field.to_owned(), WriteRule::Strict);
    Ok(())
}

fn weight_device(out: &mut Compiler<'_>, index: usize, device: &LinuxWeightDevice) -> Result<(), PlanError> {
    let numbers = format!("{}:{}", device.major(), device.minor());
    if device.weight().or(device.leaf_weight()).is_none() {
        let field = format!("{SECTION}.weightDevice[{index}]");
        return Err(PlanError::new(field, "needs weight or leafWeight"));
    }
    if let Some(weight) = device.weight().filter(|weight| *weight != 0) {
        let field = format!("{SECTION}.weightDevice[{index}].weight");
        let target = target(out, &field)?;
        check_weight(weight, &field)?;
        let value = format!("{numbers} {weight}");
        match target.version {
            Version::V1 => {
                out.write(target, "blkio.weight_device", &value, field.clone(), WriteRule::OrNext);
                out.write(target, "blkio.bfq.weight_device", value, field, WriteRule::Strict);
            }
            Version::V2 => {
                out.write(target, "io.bfq.weight", value, field.clone(), WriteRule::OrNext);
                let value = format!("{numbers} {}", weight_v2(weight));
                out.write(target, "io.weight", value, field, WriteRule::Strict);
            }
        }
    }
    if let Some(weight) = device.leaf_weight().filter(|weight| *weight != 0) {
        let field = format!("{SECTION}.weightDevice[{index}].leafWeight");
        check_weight(weight, &field)?;
        v1_only(out, &field, "blkio.leaf_weight_device", format!("{numbers} {weight}"))?;
    }
    Ok(())
}

fn throttle(
    out: &mut Compiler<'_>,
    field: &str,
    v1: &'static str,
    v2: &str,
    device: &LinuxThrottleDevice,
) -> Result<(), PlanError> {
    let target = target(out, field)?;
    let numbers = format!("{}:{}", device.major(), device.minor());
    let (file, value) = match (target.version, device.rate()) {
        (Version::V1, rate) => (v1, format!("{numbers} {rate}")),
        (Version::V2, 0) => ("io.max", format!("{numbers} {v2}=max")),
        (Version::V2, rate) => ("io.max", format!("{numbers} {v2}={rate}")),
    };
    out.write(target, file, value, field.to_owned(), WriteRule::Strict);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_span_both_ranges() {
        assert_eq!([10, 100, 500, 1000].map(weight_v2), [1, 910, 4950, 10_000]);
    }
}
