//! Properties of a unit, and the limits that systemd has words for (systemd.resource-control(5), and its D-Bus names in
//! org.freedesktop.systemd1(5)).
//!
//! Limits are taken from the values that go to the control files, so that `linux.resources` and its `unified` come to
//! the same. Times are microseconds, sizes bytes; `u64::MAX` is no limit.

use crate::plan::Write;

/// A value, by its type on D-Bus.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `b`
    Bool(bool),
    /// `y`
    U8(u8),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`
    F64(f64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `ay`: bit N is CPU or memory node N.
    Bits(Vec<u8>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `au`
    Pids(Vec<u32>),
}

/// One property of a unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Property {
    pub(super) name: String,
    pub(super) value: Value,
    /// The first version of systemd that has it, where that matters.
    pub(super) since: u32,
    /// From an annotation.
    pub(super) annotated: bool,
}

impl Property {
    pub(super) fn new(name: &str, value: Value) -> Property {
        let since = SINCE.iter().find(|(known, _)| *known == name);
        Property {
            name: name.to_owned(),
            value,
            since: since.map_or(0, |(_, version)| *version),
            annotated: false,
        }
    }
}

/// Properties that are younger than systemd 231 (Ubuntu 16.10).
const SINCE: [(&str, u32); 7] = [
    ("MemorySwapMax", 232),
    ("CollectMode", 236),
    ("MemoryMin", 240),
    ("CPUQuotaPeriodUSec", 242),
    ("AllowedCPUs", 244),
    ("AllowedMemoryNodes", 244),
    ("MemoryZSwapMax", 253),
];

/// Control files that are a property as they are: a number, or "max".
const SAME: [(&str, &str); 12] = [
    ("memory.max", "MemoryMax"),
    ("memory.high", "MemoryHigh"),
    ("memory.low", "MemoryLow"),
    ("memory.min", "MemoryMin"),
    ("memory.swap.max", "MemorySwapMax"),
    ("memory.zswap.max", "MemoryZSwapMax"),
    ("pids.max", "TasksMax"),
    ("cpu.weight", "CPUWeight"),
    // v1's
    ("memory.limit_in_bytes", "MemoryLimit"),
    ("cpu.shares", "CPUShares"),
    ("blkio.weight", "BlockIOWeight"),
    ("io.weight", "IOWeight"),
];

/// `CPUWeight=idle`, a number on D-Bus since this version.
const IDLE_SINCE: u32 = 252;

/// The kernel's default, `default_cfs_period`.
const PERIOD: u64 = 100_000;

/// systemd keeps a quota as whole percents of one CPU.
const PERCENT: u64 = 10_000;

/// The properties that say what `writes` say. `now` reads a control file of a cgroup that is there, for the half of a
/// pair that is not written.
pub(crate) fn mirror(writes: &[Write], now: impl Fn(&str) -> Option<String>) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut add = |name: &str, value: Value| properties.push(Property::new(name, value));
    for Write { file, value, .. } in writes {
        if let Some((_, name)) = SAME.iter().find(|(known, _)| *known == file.as_ref()) {
            let text = value.strip_prefix("default ").unwrap_or(value);
            if let Some(number) = number(text) {
                add(name, Value::U64(number));
            }
            continue;
        }
        match file.as_ref() {
            "cpuset.cpus" => bits(value).map_or((), |bits| add("AllowedCPUs", Value::Bits(bits))),
            "cpuset.mems" => bits(value).map_or((), |bits| add("AllowedMemoryNodes", Value::Bits(bits))),
            "cpu.max" => {
                let before = now("cpu.max");
                let period = value.split_whitespace().nth(1);
                let period = period.or_else(|| before.as_deref()?.split_whitespace().nth(1));
                quota(&mut add, value.split_whitespace().next(), period);
            }
            _ => {}
        }
    }
    let written = |file: &str| {
        writes
            .iter()
            .rfind(|write| write.file == file)
            .map(|write| write.value.clone())
    };
    let (v1_quota, v1_period) = ("cpu.cfs_quota_us", "cpu.cfs_period_us");
    if written(v1_quota).or_else(|| written(v1_period)).is_some() {
        let either = |file| written(file).or_else(|| now(file));
        quota(&mut add, either(v1_quota).as_deref(), either(v1_period).as_deref());
    }
    match written("cpu.idle").as_deref() {
        Some("1") => properties.push(Property {
            since: IDLE_SINCE,
            ..Property::new("CPUWeight", Value::U64(0))
        }),
        // Off again: systemd must not go on to think of it as idle.
        Some("0") if written("cpu.weight").is_none() => {
            let weight = now("cpu.weight").as_deref().and_then(number);
            properties.extend(weight.map(|weight| Property::new("CPUWeight", Value::U64(weight))));
        }
        _ => {}
    }
    properties
}

fn quota(add: &mut impl FnMut(&str, Value), quota: Option<&str>, period: Option<&str>) {
    let period = period.and_then(number).unwrap_or(PERIOD);
    let quota = quota.and_then(number).unwrap_or(u64::MAX);
    let in_a_second = |quota: u64| {
        let exact = u128::from(quota) * 1_000_000 / u128::from(period.max(1));
        u64::try_from(exact).map_or(u64::MAX, |exact| exact.next_multiple_of(PERCENT))
    };
    let in_a_second = if quota == u64::MAX { quota } else { in_a_second(quota) };
    add("CPUQuotaPerSecUSec", Value::U64(in_a_second));
    add("CPUQuotaPeriodUSec", Value::U64(period));
}

/// A number as the kernel reads it (memparse(): K, M, … in powers of 1024); "max" and what is negative is no limit.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    if text == "max" || text.starts_with('-') {
        return Some(u64::MAX);
    }
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        "e" => 60,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// More CPUs than Linux can have.
const MOST: usize = 1 << 16;

/// A list like `0-3,8-14:1/2` (bitmap_parselist() of the kernel) as a mask.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for part in list.split([',', ' ']).filter(|part| !part.is_empty()) {
        let (range, stride) = part.split_once(':').unwrap_or((part, "1/1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (used, group) = stride.split_once('/')?;
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number < MOST);
        let (first, last, used, group) = (number(first)?, number(last)?, number(used)?, number(group)?);
        for bit in (first..=last).filter(|bit| (bit - first) % group.max(1) < used) {
            if mask.len() <= bit / 8 {
                mask.resize(bit / 8 + 1, 0);
            }
            mask[bit / 8] |= 1 << (bit % 8);
        }
    }
    Some(mask)
}

#[cfg(test)]
#[path = "property_tests.rs"]
mod tests;
