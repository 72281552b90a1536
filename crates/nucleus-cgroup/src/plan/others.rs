//! The sections of `linux.resources` that are one or two files each: pids, hugepageLimits, network, rdma.

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime::{LinuxHugepageLimit, LinuxNetwork, LinuxPids, LinuxRdma};

use super::{Compiler, WriteRule, limit};
use crate::error::PlanError;
use crate::layout::Version;

/// How many tasks (cgroup-v1/pids.rst, cgroup-v2.rst "PID"). 0 is what engines pass for "no opinion", so it is left
/// alone; a negative limit is none at all.
pub(crate) fn pids(out: &mut Compiler<'_>, pids: &LinuxPids) -> Result<(), PlanError> {
    let field = "linux.resources.pids.limit";
    if pids.limit() == 0 {
        return Ok(());
    }
    let target = out.target("pids", field)?;
    out.write(target, "pids.max", limit(pids.limit()), field, WriteRule::Strict);
    Ok(())
}

/// Bytes in huge pages of one size, in use and reserved (cgroup-v1/hugetlb.rst, cgroup-v2.rst "HugeTLB").
/// Reservations are counted since Linux 5.7.
pub(crate) fn hugepages(out: &mut Compiler<'_>, index: usize, huge: &LinuxHugepageLimit) -> Result<(), PlanError> {
    let field = format!("linux.resources.hugepageLimits[{index}]");
    let size = huge.page_size();
    if !is_page_size(size) {
        return Err(PlanError::new(
            format!("{field}.pageSize"),
            format!("{size:?} is not like 64KB, 2MB or 1GB"),
        ));
    }
    let field = format!("{field}.limit");
    let target = out.target("hugetlb", field.clone())?;
    let (file, reserved, value) = match target.version {
        Version::V1 => ("limit_in_bytes", "rsvd.limit_in_bytes", huge.limit().to_string()),
        Version::V2 => ("max", "rsvd.max", limit(huge.limit())),
    };
    out.write(
        target,
        format!("hugetlb.{size}.{file}"),
        &value,
        field.clone(),
        WriteRule::Strict,
    );
    out.write(
        target,
        format!("hugetlb.{size}.{reserved}"),
        &value,
        field,
        WriteRule::MayLack,
    );
    Ok(())
}

/// A number without leading zeros and a unit, as the kernel names its files.
fn is_page_size(text: &str) -> bool {
    let number = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
    number.is_some_and(|number| number.bytes().all(|digit| digit.is_ascii_digit()) && !number.is_empty())
        && !text.starts_with('0')
}

/// Class and priorities of packets (cgroup-v1/net_cls.rst, net_prio.rst). v2 has neither controller.
pub(crate) fn network(out: &mut Compiler<'_>, network: &LinuxNetwork) -> Result<(), PlanError> {
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        let field = "linux.resources.network.classID";
        let target = out.target("net_cls", field)?;
        out.write(target, "net_cls.classid", class, field, WriteRule::Strict);
    }
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let field = format!("linux.resources.network.priorities[{index}]");
        if priority.name().is_empty() || priority.name().contains(char::is_whitespace) {
            return Err(PlanError::new(
                format!("{field}.name"),
                "is not the name of a network interface",
            ));
        }
        let target = out.target("net_prio", field.clone())?;
        let value = format!("{} {}", priority.name(), priority.priority());
        out.write(target, "net_prio.ifpriomap", value, field, WriteRule::Strict);
    }
    Ok(())
}

/// Handles and objects of RDMA devices (cgroup-v1/rdma.rst, cgroup-v2.rst "RDMA").
pub(crate) fn rdma(out: &mut Compiler<'_>, devices: &HashMap<String, LinuxRdma>) -> Result<(), PlanError> {
    for (device, limits) in devices.iter().collect::<BTreeMap<_, _>>() {
        let field = format!("linux.resources.rdma.{device}");
        let handles = limits.hca_handles().map(|count| format!(" hca_handle={count}"));
        let objects = limits.hca_objects().map(|count| format!(" hca_object={count}"));
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(PlanError::new(field, "is not the name of an rdma device"));
        }
        if handles.is_none() && objects.is_none() {
            return Err(PlanError::new(field, "needs hcaHandles or hcaObjects"));
        }
        let target = out.target("rdma", field.clone())?;
        let value = format!("{device}{}{}", handles.unwrap_or_default(), objects.unwrap_or_default());
        out.write(target, "rdma.max", value, field, WriteRule::Strict);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_file_names() {
        assert!(["2MB", "1GB", "64KB", "16GB"].iter().all(|size| is_page_size(size)));
        assert!(
            ["", "MB", "2M", "02MB", "2mb", "../2MB", "2 MB", "-2MB"]
                .iter()
                .all(|size| !is_page_size(size))
        );
    }
}
