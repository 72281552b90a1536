//! What becomes of the values of control files.

use super::*;
use crate::plan::WriteRule;

fn of(writes: &[(&str, &str)], now: &[(&str, &str)]) -> Vec<(String, Value)> {
    let write = |(file, value): &(&str, &str)| Write {
        directory: 0,
        file: (*file).to_owned().into(),
        value: (*value).to_owned(),
        field: "x".into(),
        rule: WriteRule::Strict,
    };
    let writes: Vec<Write> = writes.iter().map(write).collect();
    let now = |file: &str| Some(now.iter().find(|(name, _)| *name == file)?.1.to_owned());
    let properties = mirror(&writes, now);
    properties.into_iter().map(|one| (one.name, one.value)).collect()
}

fn numbers(pairs: &[(&str, u64)]) -> Vec<(String, Value)> {
    let pair = |(name, number): &(&str, u64)| ((*name).to_owned(), Value::U64(*number));
    pairs.iter().map(pair).collect()
}

#[test]
fn sizes_counts_and_weights_are_numbers() {
    let files = [
        ("memory.max", "67108864"),
        ("memory.swap.max", "max"),
        ("memory.high", "60M"),
        ("memory.low", "1"),
        ("memory.min", "2"),
        ("pids.max", "max"),
        ("cpu.weight", "174"),
        ("io.bfq.weight", "500"),
        ("io.weight", "default 4950"),
        ("io.max", "8:0 rbps=1"),
        ("hugetlb.2MB.max", "0"),
    ];
    let expected = [
        ("MemoryMax", 64 << 20),
        ("MemorySwapMax", u64::MAX),
        ("MemoryHigh", 60 << 20),
        ("MemoryLow", 1),
        ("MemoryMin", 2),
        ("TasksMax", u64::MAX),
        ("CPUWeight", 174),
        ("IOWeight", 4950),
    ];
    assert_eq!(of(&files, &[]), numbers(&expected));
    assert_eq!(of(&[("io.weight", "8:0 200")], &[]), []);
}

#[test]
fn the_names_of_v1_are_older() {
    let files = [
        ("memory.limit_in_bytes", "-1"),
        ("cpu.shares", "512"),
        ("blkio.weight", "300"),
    ];
    let expected = [("MemoryLimit", u64::MAX), ("CPUShares", 512), ("BlockIOWeight", 300)];
    assert_eq!(of(&files, &[]), numbers(&expected));
    let expected = [("CPUQuotaPerSecUSec", 500_000), ("CPUQuotaPeriodUSec", 40_000)];
    let period = [("cpu.cfs_period_us", "40000\n")];
    assert_eq!(of(&[("cpu.cfs_quota_us", "20000")], &period), numbers(&expected));
}

#[test]
fn a_quota_is_counted_by_the_second_and_rounded_up() {
    let quota = |value: &str, now: &[(&str, &str)]| of(&[("cpu.max", value)], now);
    let is = |second, period| numbers(&[("CPUQuotaPerSecUSec", second), ("CPUQuotaPeriodUSec", period)]);
    assert_eq!(quota("30000 60000", &[]), is(500_000, 60_000));
    assert_eq!(quota("max 50000", &[]), is(u64::MAX, 50_000));
    assert_eq!(quota("1001 100000", &[]), is(20_000, 100_000));
    assert_eq!(quota("50000", &[]), is(500_000, 100_000));
    assert_eq!(quota("50000", &[("cpu.max", "max 25000\n")]), is(2_000_000, 25_000));
}

#[test]
fn an_idle_group_is_a_weight_of_nothing() {
    assert_eq!(of(&[("cpu.idle", "1")], &[]), numbers(&[("CPUWeight", 0)]));
    assert_eq!(of(&[("cpu.idle", "0")], &[]), []);
    assert_eq!(
        of(&[("cpu.idle", "0")], &[("cpu.weight", "174\n")]),
        numbers(&[("CPUWeight", 174)])
    );
    assert_eq!(mirror(&[], |_| None), []);
}

#[test]
fn lists_become_masks() {
    assert_eq!(bits("0-1,3"), Some(vec![0b1011]));
    assert_eq!(bits("8,0"), Some(vec![1, 1]));
    assert_eq!(bits("0-7:2/4"), Some(vec![0b0011_0011]));
    for list in ["x", "0-", "70000", "0-1:2"] {
        assert_eq!(bits(list), None, "{list}");
    }
    let mask = Value::Bits(vec![1]);
    assert_eq!(
        of(&[("cpuset.mems", "0")], &[]),
        [("AllowedMemoryNodes".to_owned(), mask)]
    );
}
