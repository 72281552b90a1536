//! What a container uses: the counters of its control groups, read once.
//!
//! Called by `events`. The types serialise to the JSON of `runc events` (its `types/events.go`), which monitoring
//! tools read: names, units (bytes, nanoseconds) and what is left out when it is zero are runc's. One file for each
//! version of the kernel's interface; a hybrid host is asked controller by controller. A counter whose file is not
//! there is zero: which files there are depends on the kernel's configuration and on the controllers of the host.

mod v1;
mod v2;

use std::collections::BTreeMap;

use rustix::io::Errno;
use serde::Serialize;

use crate::dir::Dir;
use crate::error::Error;
use crate::record::{Record, check};

/// All counters of one container.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Stats {
    /// Processor time.
    pub cpu: Cpu,
    /// Where it may run (v1 only, as with runc).
    pub cpuset: Cpuset,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block devices.
    pub blkio: Blkio,
    /// Huge pages, by size as the kernel names it ("2MB").
    pub hugetlb: BTreeMap<String, Hugetlb>,
}

/// Processor time.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Cpu {
    /// Time used.
    pub usage: CpuUsage,
    /// Time that the quota has taken away.
    pub throttling: Throttling,
    /// Pressure (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Processor time in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct CpuUsage {
    /// All of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// For each processor (v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// For each processor, in the kernel (v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// For each processor, in user space (v1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user space.
    pub user: u64,
}

/// What the processor quota has done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods that have passed.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which the quota was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds for which tasks were kept from running.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// v1's cpuset (cgroup-v1/cpusets.rst).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Cpuset {
    /// The processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    /// `cpuset.cpu_exclusive`.
    pub cpu_exclusive: u64,
    /// The memory nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    /// `cpuset.mem_hardwall`.
    pub mem_hardwall: u64,
    /// `cpuset.mem_exclusive`.
    pub mem_exclusive: u64,
    /// `cpuset.memory_migrate`.
    pub memory_migrate: u64,
    /// `cpuset.memory_spread_page`.
    pub memory_spread_page: u64,
    /// `cpuset.memory_spread_slab`.
    pub memory_spread_slab: u64,
    /// `cpuset.memory_pressure`.
    pub memory_pressure: u64,
    /// `cpuset.sched_load_balance`.
    pub sched_load_balance: u64,
    /// `cpuset.sched_relax_domain_level`; -1 is the system's default.
    pub sched_relax_domain_level: i64,
}

/// Memory in bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Memory {
    /// Page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory.
    pub usage: MemoryEntry,
    /// Memory and swap together, on v2 too.
    pub swap: MemoryEntry,
    /// The kernel's part (v1).
    pub kernel: MemoryEntry,
    /// Buffers of TCP (v1).
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat` as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Pressure (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
    /// `memory.events` (v2).
    pub event_count: BTreeMap<String, u64>,
}

/// One of memory's counters with its limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct MemoryEntry {
    /// Bytes; [`u64::MAX`] is v2's "max", v1 gives a number near 2⁶³.
    pub limit: u64,
    /// Bytes in use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that has been in use.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Pids {
    /// How many there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// How many there may be; 0 is no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// Block devices, the sub-cgroups' part included.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    /// Bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    /// Operations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    /// Operations that wait.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_queue_recursive: Vec<BlkioEntry>,
    /// Nanoseconds from dispatch to completion.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    /// Nanoseconds of waiting.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    /// Operations that were merged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    /// Milliseconds of disk time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    /// Sectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Pressure (v2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// One counter of one device.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BlkioEntry {
    /// The device's major number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// The device's minor number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// "Read", "Write", "Sync", "Async", "Discard" or "Total".
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The counter.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Huge pages of one size, in bytes: those that are reserved, where the kernel counts these (Linux 5.7).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Hugetlb {
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The most that has been in use (v1).
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Pressure stall information (accounting/psi.rst).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Pressure {
    /// Some tasks were stalled.
    pub some: PressureLine,
    /// All of them were.
    pub full: PressureLine,
}

/// One line of a pressure file.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct PressureLine {
    /// Per cent of the last 10 s.
    pub avg10: f64,
    /// Per cent of the last minute.
    pub avg60: f64,
    /// Per cent of the last five minutes.
    pub avg300: f64,
    /// Microseconds since the cgroup was made.
    pub total: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Record {
    /// Reads all counters. Those of controllers that the host lacks are zero.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is there and cannot be read, [`Error::Path`] for a recorded path that is no
    /// cgroup.
    pub fn stats(&self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        let unified = Files::open(self, "unified")?;
        if let Some(files) = &unified {
            v2::read(files, &mut stats)?;
        }
        v1::read(|controller| Files::open(self, controller), &mut stats)?;
        Ok(stats)
    }
}

/// A cgroup's directory, of which any file may be missing.
struct Files(Dir);

impl Files {
    /// `None` when the container has no cgroup for `controller`, or none any more.
    fn open(record: &Record, controller: &str) -> Result<Option<Files>, Error> {
        let Some(path) = record.paths.get(controller) else {
            return Ok(None);
        };
        if check(path)?.is_none() {
            return Ok(None);
        }
        match Dir::open(path) {
            Err(Errno::NOENT | Errno::NODEV) => Ok(None),
            result => result.map(|dir| Some(Files(dir))).map_err(Error::file("open", path)),
        }
    }

    fn text(&self, file: &str) -> Result<Option<String>, Error> {
        match self.0.read(file) {
            // ENODEV: the cgroup was removed meanwhile. EOPNOTSUPP: a kernel that was told not to count.
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
            result => result.map(Some).map_err(Error::file("read", self.0.file(file))),
        }
    }

    /// One number; "max" is [`u64::MAX`].
    fn number(&self, file: &str) -> Result<u64, Error> {
        Ok(self.text(file)?.as_deref().map_or(0, number))
    }

    /// Lines of a name and a number.
    fn table(&self, file: &str) -> Result<BTreeMap<String, u64>, Error> {
        let text = self.text(file)?.unwrap_or_default();
        let pair = |line: &str| {
            line.split_once(' ')
                .map(|(name, value)| (name.to_owned(), number(value)))
        };
        Ok(text.lines().filter_map(pair).collect())
    }

    fn pressure(&self, file: &str) -> Result<Option<Pressure>, Error> {
        Ok(self.text(file)?.as_deref().and_then(pressure))
    }

    /// The page sizes for which there are hugetlb files.
    fn page_sizes(&self, suffix: &str) -> Result<Vec<String>, Error> {
        let names = crate::dir::names(&self.0.path)?;
        let size = |name: &String| {
            let size = name.strip_prefix("hugetlb.")?.strip_suffix(suffix)?;
            (!size.contains('.')).then(|| size.to_owned())
        };
        Ok(names.iter().filter_map(size).collect())
    }
}

fn number(text: &str) -> u64 {
    match text.trim() {
        "max" => u64::MAX,
        text => text.parse().unwrap_or(0),
    }
}

/// A list like `0-3,7`.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn pressure(text: &str) -> Option<Pressure> {
    let line = |kind: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let value = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        let average = |name: &str| value(name).and_then(|value| value.parse().ok()).unwrap_or_default();
        Some(PressureLine {
            avg10: average("avg10="),
            avg60: average("avg60="),
            avg300: average("avg300="),
            total: value("total=").map_or(0, number),
        })
    };
    Some(Pressure {
        some: line("some ")?,
        full: line("full ").unwrap_or_default(),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
