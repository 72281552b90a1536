//! `linux.resources.cpu` (cgroup-v1/cpuacct.rst and scheduler/sched-bwc.rst, cgroup-v2.rst "CPU").
//!
//! Times are microseconds. 0 is "do not touch", as engines use it.

use oci_spec::runtime::LinuxCpu;

use super::{Compiler, WriteRule};
use crate::error::PlanError;
use crate::layout::Version;

const SHARES: &str = "linux.resources.cpu.shares";
const QUOTA: &str = "linux.resources.cpu.quota";
const PERIOD: &str = "linux.resources.cpu.period";

/// `MIN_SHARES` and `MAX_SHARES` of the kernel's scheduler.
const SHARES_RANGE: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(crate) fn compile(out: &mut Compiler<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    refuse_unsupported(cpu)?;
    if let Some(shares) = cpu.shares().filter(|shares| *shares != 0) {
        let target = out.target("cpu", SHARES)?;
        match target.version {
            // The kernel would silently take the nearest value.
            Version::V1 if !SHARES_RANGE.contains(&shares) => {
                let problem = format!("must be between {} and {}", SHARES_RANGE.start(), SHARES_RANGE.end());
                return Err(PlanError::new(SHARES, problem));
            }
            Version::V1 => out.write(target, "cpu.shares", shares, SHARES, WriteRule::Strict),
            Version::V2 => out.write(target, "cpu.weight", weight(shares), SHARES, WriteRule::Strict),
        }
    }
    bandwidth(out, cpu)
}

fn bandwidth(out: &mut Compiler<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let field = match (quota, period) {
        (Some(_), _) => QUOTA,
        (None, Some(_)) => PERIOD,
        (None, None) => return Ok(()),
    };
    let target = out.target("cpu", field)?;
    match target.version {
        Version::V1 => {
            // A new cgroup has no quota, so that any period goes; an update may need the other order.
            if let Some(period) = period {
                let rule = if quota.is_some() {
                    WriteRule::AfterNext
                } else {
                    WriteRule::Strict
                };
                out.write(target, "cpu.cfs_period_us", period, PERIOD, rule);
            }
            if let Some(quota) = quota {
                out.write(target, "cpu.cfs_quota_us", quota.max(-1), QUOTA, WriteRule::Strict);
            }
        }
        Version::V2 => out.write(target, "cpu.max", max(quota, period), field, WriteRule::Strict),
    }
    Ok(())
}

/// `cpu.max`: "quota period", or the quota alone, which leaves the period as it is.
fn max(quota: Option<i64>, period: Option<u64>) -> String {
    let quota = quota
        .filter(|quota| *quota > 0)
        .map_or("max".to_owned(), |quota| quota.to_string());
    match period {
        Some(period) => format!("{quota} {period}"),
        None => quota,
    }
}

/// cpu.shares (2 to 262144, default 1024) as cpu.weight (1 to 10000, default 100).
///
/// A quadratic in log2(shares) through (2, 1), (1024, 100) and (262144, 10000): both ends and the default map to each
/// other. What runc has done since 1.3.2, crun since 1.23 and Kubernetes describes in its issue 131216.
fn weight(shares: u64) -> u64 {
    if shares <= *SHARES_RANGE.start() {
        return 1;
    }
    if shares >= *SHARES_RANGE.end() {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10_f64.powf(exponent).ceil() as u64
}

fn refuse_unsupported(cpu: &LinuxCpu) -> Result<(), PlanError> {
    let fields = [
        (cpu.burst().unwrap_or(0) != 0, "linux.resources.cpu.burst"),
        (cpu.idle().unwrap_or(0) != 0, "linux.resources.cpu.idle"),
        (
            cpu.realtime_runtime().unwrap_or(0) != 0,
            "linux.resources.cpu.realtimeRuntime",
        ),
        (
            cpu.realtime_period().unwrap_or(0) != 0,
            "linux.resources.cpu.realtimePeriod",
        ),
        (
            cpu.cpus().as_ref().is_some_and(|list| !list.is_empty()),
            "linux.resources.cpu.cpus",
        ),
        (
            cpu.mems().as_ref().is_some_and(|list| !list.is_empty()),
            "linux.resources.cpu.mems",
        ),
    ];
    match fields.iter().find(|(given, _)| *given) {
        Some((_, field)) => Err(PlanError::new(*field, "is not supported yet")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        let pairs = [
            (1, 1),
            (2, 1),
            (1024, 100),
            (2000, 170),
            (2048, 174),
            (262_144, 10_000),
            (1 << 40, 10_000),
        ];
        for (shares, expected) in pairs {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        assert!((2..262_144).all(|shares| weight(shares) <= weight(shares + 1)));
    }

    #[test]
    fn quota_and_period_become_one_line() {
        assert_eq!(max(Some(50_000), Some(100_000)), "50000 100000");
        assert_eq!(max(Some(-1), Some(100_000)), "max 100000");
        assert_eq!(max(None, Some(5000)), "max 5000");
        assert_eq!(max(Some(50_000), None), "50000");
        assert_eq!(max(Some(-1), None), "max");
    }
}
