//! v2's counters (cgroup-v2.rst). What v1 counts otherwise is converted, so that one reader fits both: microseconds
//! become nanoseconds, and swap becomes memory and swap together.

use super::{Blkio, BlkioEntry, Cpu, Files, Hugetlb, Memory, MemoryEntry, Stats};
use crate::error::Error;

const MICROSECOND: u64 = 1000;

/// Fills in what the controllers of the v2 side count. `cpu.stat` is there without the controller, too.
pub(super) fn read(files: &Files, stats: &mut Stats) -> Result<(), Error> {
    stats.cpu = cpu(files)?;
    stats.memory = memory(files)?;
    stats.pids = super::v1::pids(files)?;
    stats.blkio = blkio(files)?;
    for size in files.page_sizes(".current")? {
        let reserved = files.text(&format!("hugetlb.{size}.rsvd.current"))?;
        let usage = match reserved {
            Some(text) => super::number(&text),
            None => files.number(&format!("hugetlb.{size}.current"))?,
        };
        let events = files.table(&format!("hugetlb.{size}.events"))?;
        let counted = Hugetlb {
            usage,
            failcnt: events.get("max").copied().unwrap_or(0),
            ..Hugetlb::default()
        };
        stats.hugetlb.insert(size, counted);
    }
    Ok(())
}

fn cpu(files: &Files) -> Result<Cpu, Error> {
    let table = files.table("cpu.stat")?;
    let value = |name: &str| table.get(name).copied().unwrap_or(0);
    let mut cpu = Cpu::default();
    cpu.usage.total = value("usage_usec") * MICROSECOND;
    cpu.usage.user = value("user_usec") * MICROSECOND;
    cpu.usage.kernel = value("system_usec") * MICROSECOND;
    cpu.throttling.periods = value("nr_periods");
    cpu.throttling.throttled_periods = value("nr_throttled");
    cpu.throttling.throttled_time = value("throttled_usec") * MICROSECOND;
    cpu.psi = files.pressure("cpu.pressure")?;
    Ok(cpu)
}

fn memory(files: &Files) -> Result<Memory, Error> {
    let raw = files.table("memory.stat")?;
    let event_count = files.table("memory.events")?;
    let entry = |name: &str| -> Result<MemoryEntry, Error> {
        Ok(MemoryEntry {
            limit: files.number(&format!("{name}.max"))?,
            usage: files.number(&format!("{name}.current"))?,
            max: files.number(&format!("{name}.peak"))?,
            failcnt: 0,
        })
    };
    let (memory, swap) = (entry("memory")?, entry("memory.swap")?);
    let failcnt = event_count.get("max").copied().unwrap_or(0);
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        swap: together(&memory, &swap),
        usage: MemoryEntry { failcnt, ..memory },
        raw,
        psi: files.pressure("memory.pressure")?,
        event_count,
        ..Memory::default()
    })
}

/// Memory and swap together. The peaks need not have been at the same time: their sum is an upper bound.
pub(super) fn together(memory: &MemoryEntry, swap: &MemoryEntry) -> MemoryEntry {
    MemoryEntry {
        limit: memory.limit.saturating_add(swap.limit),
        usage: memory.usage.saturating_add(swap.usage),
        max: memory.max.saturating_add(swap.max),
        failcnt: 0,
    }
}

fn blkio(files: &Files) -> Result<Blkio, Error> {
    let (bytes, operations) = io_stat(&files.text("io.stat")?.unwrap_or_default());
    Ok(Blkio {
        io_service_bytes_recursive: bytes,
        io_serviced_recursive: operations,
        psi: files.pressure("io.pressure")?,
        ..Blkio::default()
    })
}

/// `io.stat`: bytes and operations, one line `MAJOR:MINOR key=value …` for each device.
pub(super) fn io_stat(text: &str) -> (Vec<BlkioEntry>, Vec<BlkioEntry>) {
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let numbers = words.next().and_then(|word| word.split_once(':'));
        let Some((Ok(major), Ok(minor))) = numbers.map(|(major, minor)| (major.parse(), minor.parse())) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (into, op) = match key {
                "rbytes" => (&mut bytes, "Read"),
                "wbytes" => (&mut bytes, "Write"),
                "dbytes" => (&mut bytes, "Discard"),
                "rios" => (&mut operations, "Read"),
                "wios" => (&mut operations, "Write"),
                "dios" => (&mut operations, "Discard"),
                _ => continue,
            };
            into.push(BlkioEntry {
                major,
                minor,
                op: op.to_owned(),
                value: super::number(value),
            });
        }
    }
    (bytes, operations)
}
