//! `linux.resources.cpu` (cgroup-v1/cpuacct.rst and scheduler/sched-bwc.rst, cgroup-v2.rst "CPU").
//!
//! Times are microseconds. 0 is "do not touch", as engines use it, except for `burst` and `idle`, where it is a value.

use oci_spec::runtime::LinuxCpu;

use super::{Compiler, WriteRule};
use crate::error::PlanError;
use crate::layout::Version;

const SHARES: &str = "linux.resources.cpu.shares";
const QUOTA: &str = "linux.resources.cpu.quota";
const BURST: &str = "linux.resources.cpu.burst";
const IDLE: &str = "linux.resources.cpu.idle";
const PERIOD: &str = "linux.resources.cpu.period";

/// `MIN_SHARES` and `MAX_SHARES` of the kernel's scheduler.
const SHARES_RANGE: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(crate) fn compile(out: &mut Compiler<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
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
    idle(out, cpu)?;
    bandwidth(out, cpu)?;
    realtime(out, cpu)?;
    cpuset(out, cpu)
}

/// `cpu.idle` (SCHED_IDLE for the whole group, Linux 5.15). The kernel refuses a weight for a group that is idle, so
/// that 1 is written after the shares; 0 is what every group starts with.
fn idle(out: &mut Compiler<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    match cpu.idle() {
        None => {}
        Some(0) if !out.has("cpu") => {}
        Some(value @ (0 | 1)) => {
            let target = out.target("cpu", IDLE)?;
            let rule = if value == 0 {
                WriteRule::MayLack
            } else {
                WriteRule::Strict
            };
            out.write(target, "cpu.idle", value, IDLE, rule);
        }
        Some(_) => return Err(PlanError::new(IDLE, "must be 0 or 1")),
    }
    Ok(())
}

/// Realtime bandwidth is v1's alone. The files exist with `CONFIG_RT_GROUP_SCHED`.
fn realtime(out: &mut Compiler<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    let period = cpu
        .realtime_period()
        .filter(|period| *period != 0)
        .map(|period| period.to_string());
    let runtime = cpu
        .realtime_runtime()
        .filter(|runtime| *runtime != 0)
        .map(|runtime| runtime.to_string());
    let paired = if runtime.is_some() {
        WriteRule::AfterNext
    } else {
        WriteRule::Strict
    };
    let writes = [
        (period, "cpu.rt_period_us", "linux.resources.cpu.realtimePeriod", paired),
        (
            runtime,
            "cpu.rt_runtime_us",
            "linux.resources.cpu.realtimeRuntime",
            WriteRule::Strict,
        ),
    ];
    for (value, file, field, rule) in writes {
        let Some(value) = value else { continue };
        let target = out.target("cpu", field)?;
        if target.version == Version::V2 {
            return Err(PlanError::new(field, "does not exist on cgroup v2"));
        }
        out.write(target, file, value, field, rule);
    }
    Ok(())
}

/// Which CPUs and memory nodes; the list goes to the kernel as it is (cgroup-v1/cpusets.rst, cgroup-v2.rst "Cpuset").
fn cpuset(out: &mut Compiler<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    let lists = [
        (cpu.cpus(), "cpuset.cpus", "linux.resources.cpu.cpus"),
        (cpu.mems(), "cpuset.mems", "linux.resources.cpu.mems"),
    ];
    for (list, file, field) in lists {
        let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else {
            continue;
        };
        if !list
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b",-:/ ".contains(&byte))
        {
            return Err(PlanError::new(field, format!("{list:?} is not a list like 0-3,7")));
        }
        let target = out.target("cpuset", field)?;
        out.write(target, file, list, field, WriteRule::Strict);
    }
    Ok(())
}

fn bandwidth(out: &mut Compiler<'_>, cpu: &LinuxCpu) -> Result<(), PlanError> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    // 0 takes the burst away; a group without the controller has none.
    let burst = cpu.burst().filter(|burst| *burst != 0 || out.has("cpu"));
    if let (Some(quota), Some(burst)) = (quota.filter(|quota| *quota > 0), burst)
        && burst > quota.unsigned_abs()
    {
        return Err(PlanError::new(
            BURST,
            format!("{burst} must not be larger than the quota, {quota}"),
        ));
    }
    // The kernel wants burst <= quota, and quota / period below the parent's, at all times. A new cgroup has neither
    // quota nor burst, so that this order works; an update may need another one.
    let before = |other: bool| if other { WriteRule::AfterNext } else { WriteRule::Strict };
    if let Some(field) = quota.map(|_| QUOTA).or(period.map(|_| PERIOD)) {
        let target = out.target("cpu", field)?;
        if target.version == Version::V2 {
            out.write(target, "cpu.max", max(quota, period), field, before(burst.is_some()));
        } else {
            if let Some(period) = period {
                out.write(target, "cpu.cfs_period_us", period, PERIOD, before(quota.is_some()));
            }
            if let Some(quota) = quota {
                out.write(
                    target,
                    "cpu.cfs_quota_us",
                    quota.max(-1),
                    QUOTA,
                    before(burst.is_some()),
                );
            }
        }
    }
    if let Some(burst) = burst {
        let target = out.target("cpu", BURST)?;
        let file = if target.version == Version::V2 {
            "cpu.max.burst"
        } else {
            "cpu.cfs_burst_us"
        };
        // Kernels before 5.14 have no burst, and nothing to take away.
        let rule = if burst == 0 {
            WriteRule::MayLack
        } else {
            WriteRule::Strict
        };
        out.write(target, file, burst, BURST, rule);
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
