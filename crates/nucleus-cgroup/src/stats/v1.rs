//! v1's counters: cpuacct, cpu, cpuset, memory, pids, blkio, hugetlb (Documentation/admin-guide/cgroup-v1).

use super::{Blkio, BlkioEntry, Cpu, Cpuset, Files, Hugetlb, Memory, MemoryEntry, Pids, Stats, list};
use crate::error::Error;

/// Nanoseconds in a tick of `cpuacct.stat`: the kernel shows user space 100 ticks in a second, whatever its own are.
const TICK: u64 = 10_000_000;

/// Fills in what the container has v1 cgroups for; `open` gives a controller's directory.
pub(super) fn read<'a>(open: impl Fn(&'a str) -> Result<Option<Files>, Error>, stats: &mut Stats) -> Result<(), Error> {
    if let Some(files) = open("cpuacct")? {
        cpu_time(&files, &mut stats.cpu)?;
    }
    if let Some(files) = open("cpu")? {
        let table = files.table("cpu.stat")?;
        let value = |name: &str| table.get(name).copied().unwrap_or(0);
        stats.cpu.throttling.periods = value("nr_periods");
        stats.cpu.throttling.throttled_periods = value("nr_throttled");
        stats.cpu.throttling.throttled_time = value("throttled_time");
    }
    if let Some(files) = open("cpuset")? {
        stats.cpuset = cpuset(&files)?;
    }
    if let Some(files) = open("memory")? {
        stats.memory = memory(&files)?;
    }
    if let Some(files) = open("pids")? {
        stats.pids = pids(&files)?;
    }
    if let Some(files) = open("blkio")? {
        stats.blkio = blkio(&files)?;
    }
    if let Some(files) = open("hugetlb")? {
        for size in files.page_sizes(".limit_in_bytes")? {
            let counted = hugetlb(&files, &size)?;
            stats.hugetlb.insert(size, counted);
        }
    }
    Ok(())
}

fn cpu_time(files: &Files, cpu: &mut Cpu) -> Result<(), Error> {
    cpu.usage.total = files.number("cpuacct.usage")?;
    let ticks = files.table("cpuacct.stat")?;
    cpu.usage.user = ticks.get("user").copied().unwrap_or(0) * TICK;
    cpu.usage.kernel = ticks.get("system").copied().unwrap_or(0) * TICK;
    let row = |file: &str| -> Result<Vec<u64>, Error> {
        let text = files.text(file)?.unwrap_or_default();
        Ok(text.split_whitespace().map(super::number).collect())
    };
    cpu.usage.percpu = row("cpuacct.usage_percpu")?;
    cpu.usage.percpu_kernel = row("cpuacct.usage_percpu_sys")?;
    cpu.usage.percpu_user = row("cpuacct.usage_percpu_user")?;
    Ok(())
}

fn cpuset(files: &Files) -> Result<Cpuset, Error> {
    let numbers = |file: &str| files.text(file).map(|text| list(&text.unwrap_or_default()));
    let level = files.text("cpuset.sched_relax_domain_level")?;
    Ok(Cpuset {
        cpus: numbers("cpuset.cpus")?,
        cpu_exclusive: files.number("cpuset.cpu_exclusive")?,
        mems: numbers("cpuset.mems")?,
        mem_hardwall: files.number("cpuset.mem_hardwall")?,
        mem_exclusive: files.number("cpuset.mem_exclusive")?,
        memory_migrate: files.number("cpuset.memory_migrate")?,
        memory_spread_page: files.number("cpuset.memory_spread_page")?,
        memory_spread_slab: files.number("cpuset.memory_spread_slab")?,
        memory_pressure: files.number("cpuset.memory_pressure")?,
        sched_load_balance: files.number("cpuset.sched_load_balance")?,
        sched_relax_domain_level: level.and_then(|text| text.trim().parse().ok()).unwrap_or_default(),
    })
}

fn memory(files: &Files) -> Result<Memory, Error> {
    let entry = |name: &str| -> Result<MemoryEntry, Error> {
        Ok(MemoryEntry {
            limit: files.number(&format!("memory.{name}limit_in_bytes"))?,
            usage: files.number(&format!("memory.{name}usage_in_bytes"))?,
            max: files.number(&format!("memory.{name}max_usage_in_bytes"))?,
            failcnt: files.number(&format!("memory.{name}failcnt"))?,
        })
    };
    let raw = files.table("memory.stat")?;
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry("")?,
        swap: entry("memsw.")?,
        kernel: entry("kmem.")?,
        kernel_tcp: entry("kmem.tcp.")?,
        raw,
        ..Memory::default()
    })
}

/// Both versions name these files alike.
pub(super) fn pids(files: &Files) -> Result<Pids, Error> {
    let limit = files.number("pids.max")?;
    Ok(Pids {
        current: files.number("pids.current")?,
        limit: if limit == u64::MAX { 0 } else { limit },
    })
}

/// The counters of BFQ while a disk uses it, else those of the throttling layer.
fn blkio(files: &Files) -> Result<Blkio, Error> {
    let read = |file: &str| files.text(file).map(|text| entries(&text.unwrap_or_default()));
    let bfq = read("blkio.bfq.io_serviced_recursive")?;
    if bfq.iter().any(|entry| entry.value != 0) {
        return Ok(Blkio {
            io_service_bytes_recursive: read("blkio.bfq.io_service_bytes_recursive")?,
            io_serviced_recursive: bfq,
            io_queue_recursive: read("blkio.bfq.io_queued_recursive")?,
            io_service_time_recursive: read("blkio.bfq.io_service_time_recursive")?,
            io_wait_time_recursive: read("blkio.bfq.io_wait_time_recursive")?,
            io_merged_recursive: read("blkio.bfq.io_merged_recursive")?,
            io_time_recursive: read("blkio.bfq.time_recursive")?,
            sectors_recursive: read("blkio.bfq.sectors_recursive")?,
            psi: None,
        });
    }
    Ok(Blkio {
        io_service_bytes_recursive: read("blkio.throttle.io_service_bytes_recursive")?,
        io_serviced_recursive: read("blkio.throttle.io_serviced_recursive")?,
        ..Blkio::default()
    })
}

/// Lines of `MAJOR:MINOR [OP] VALUE`; the sum over all devices, which has no device, is left out.
pub(super) fn entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = match (words.next()?, words.next()) {
            (op, Some(value)) => (op, value),
            (value, None) => ("", value),
        };
        Some(BlkioEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_owned(),
            value: value.parse().ok()?,
        })
    };
    text.lines().filter_map(entry).collect()
}

fn hugetlb(files: &Files, size: &str) -> Result<Hugetlb, Error> {
    let reserved = files.text(&format!("hugetlb.{size}.rsvd.usage_in_bytes"))?.is_some();
    let prefix = format!("hugetlb.{size}{}", if reserved { ".rsvd" } else { "" });
    Ok(Hugetlb {
        usage: files.number(&format!("{prefix}.usage_in_bytes"))?,
        max: files.number(&format!("{prefix}.max_usage_in_bytes"))?,
        failcnt: files.number(&format!("{prefix}.failcnt"))?,
    })
}
