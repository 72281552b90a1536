use super::*;

#[test]
fn lists_are_expanded() {
    assert_eq!(list("0-3,7\n"), [0, 1, 2, 3, 7]);
    assert_eq!(list("5"), [5]);
    assert_eq!(list("\n"), [0_u16; 0]);
}

#[test]
fn max_is_the_largest_number() {
    assert_eq!([number("max\n"), number("12\n"), number("")], [u64::MAX, 12, 0]);
}

#[test]
fn pressure_has_two_lines_or_one() {
    let some = "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\n";
    let read = pressure(some).expect("pressure");
    assert_eq!((read.some.avg10, read.some.avg60, read.some.total), (1.5, 0.25, 1234));
    assert_eq!(read.full, PressureLine::default());
    let both = format!("{some}full avg10=0.00 avg60=0.00 avg300=3.00 total=9\n");
    assert_eq!(pressure(&both).expect("pressure").full.avg300, 3.0);
    assert_eq!(pressure(""), None);
}

#[test]
fn v1_block_lines_have_a_device_and_perhaps_an_operation() {
    let found = v1::entries("8:0 Read 4096\n8:0 Total 4096\n253:1 77\nTotal 4096\n");
    let words: Vec<_> = found
        .iter()
        .map(|entry| (entry.major, entry.minor, entry.op.as_str(), entry.value))
        .collect();
    assert_eq!(words, [(8, 0, "Read", 4096), (8, 0, "Total", 4096), (253, 1, "", 77)]);
}

#[test]
fn v2_block_lines_have_keys() {
    let (bytes, operations) = v2::io_stat("254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0 cost.vrate=1\n\n");
    let words = |entries: &[BlkioEntry]| -> Vec<(String, u64)> {
        entries.iter().map(|entry| (entry.op.clone(), entry.value)).collect()
    };
    let expected = |read, write| {
        vec![
            ("Read".to_owned(), read),
            ("Write".to_owned(), write),
            ("Discard".to_owned(), 0),
        ]
    };
    assert_eq!(words(&bytes), expected(10, 20));
    assert_eq!(words(&operations), expected(1, 2));
    assert!(bytes.iter().all(|entry| (entry.major, entry.minor) == (254, 0)));
}

#[test]
fn swap_counts_memory_too() {
    let entry = |limit, usage| MemoryEntry {
        limit,
        usage,
        ..MemoryEntry::default()
    };
    let both = v2::together(&entry(100, 40), &entry(50, 5));
    assert_eq!((both.limit, both.usage), (150, 45));
    assert_eq!(v2::together(&entry(100, 40), &entry(u64::MAX, 5)).limit, u64::MAX);
}

/// What a reader of runc's JSON finds in a container that has done nothing.
#[test]
fn the_json_is_that_of_runc() {
    let json = serde_json::to_value(Stats::default()).expect("json");
    assert_eq!(
        json["cpu"],
        serde_json::json!({"usage": {"kernel": 0, "user": 0}, "throttling": {}})
    );
    assert_eq!(json["memory"]["usage"], serde_json::json!({"limit": 0, "failcnt": 0}));
    assert!(json["memory"].get("kernelTCP").is_some());
    assert_eq!(json["pids"], serde_json::json!({}));
    assert_eq!(json["blkio"], serde_json::json!({}));
    assert_eq!(json["hugetlb"], serde_json::json!({}));
    let stats = Stats {
        cpu: Cpu {
            throttling: Throttling {
                throttled_periods: 1,
                ..Throttling::default()
            },
            ..Cpu::default()
        },
        blkio: Blkio {
            io_service_bytes_recursive: v1::entries("8:0 Read 1"),
            ..Blkio::default()
        },
        ..Stats::default()
    };
    let json = serde_json::to_value(stats).expect("json");
    assert_eq!(json["cpu"]["throttling"]["throttledPeriods"], 1);
    let entry = serde_json::json!({"major": 8, "op": "Read", "value": 1});
    assert_eq!(json["blkio"]["ioServiceBytesRecursive"][0], entry);
}
