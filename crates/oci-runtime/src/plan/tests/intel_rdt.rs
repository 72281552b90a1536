//! `linux.intelRdt`.

use serde_json::{Value, json};

use super::{plan, refused};
use crate::plan::IntelRdt;

fn rdt(value: Value) -> IntelRdt {
    plan(json!({"linux": {"intelRdt": value}})).intel_rdt.unwrap()
}

#[test]
fn schemas_become_lines() {
    assert_eq!(plan(json!({})).intel_rdt, None);
    // The section alone asks for a class of the container's own.
    assert_eq!(rdt(json!({})), IntelRdt::default());
    let lines = |value: Value| {
        let rdt = rdt(value);
        (rdt.schemas.join("+"), rdt.schemata.join("+"))
    };
    let wanted = |schemas: &str, schemata: &str| (schemas.to_owned(), schemata.to_owned());
    assert_eq!(
        lines(json!({"l3CacheSchema": "L3:0=f\nMB:0=20\n"})),
        wanted("L3:0=f+MB:0=20", "")
    );
    assert_eq!(
        lines(json!({"l3CacheSchema": "MB:0=20\nL3:0=f", "memBwSchema": "MB:0=70", "schemata": ["L2:0=1", "L3:0=7"]})),
        wanted("L3:0=f+MB:0=70", "L2:0=1+L3:0=7")
    );
    let monitored = rdt(json!({"closID": "/", "enableMonitoring": true}));
    assert_eq!((monitored.clos_id.as_deref(), monitored.monitoring), (Some("/"), true));
    assert_eq!(rdt(json!({"closID": ""})).clos_id, None);
    assert_eq!(
        rdt(json!({"enableCMT": false, "enableMBM": false})),
        IntelRdt::default()
    );
}

#[test]
fn refused_classes() {
    let with = |field: &str, value: Value| json!({"linux": {"intelRdt": {field: value}}});
    for (id, why) in [
        ("..", "the name is reserved"),
        ("mon_groups", "the name is reserved"),
        ("a/b", "it must be the name of one directory"),
        ("/a", "it must be the name of one directory"),
    ] {
        let text = format!("linux.intelRdt.closID: {id:?} is not a class of service: {why}");
        refused([(with("closID", json!(id)), text.as_str())]);
    }
    refused([
        (
            with("schemata", json!(["L3:0=f", "a\nb"])),
            "linux.intelRdt.schemata[1]: \"a\\nb\" must be one line",
        ),
        (
            with("memBwSchema", json!("\u{0}")),
            "linux.intelRdt.memBwSchema: must not contain a NUL byte",
        ),
        (
            with("memBwSchema", json!("L3:0=f")),
            "linux.intelRdt.memBwSchema: \"L3:0=f\" must be one line that starts with \"MB:\"",
        ),
        (
            with("memBwSchema", json!("MB:0=20\nL3:0=f")),
            "linux.intelRdt.memBwSchema: \"MB:0=20\\nL3:0=f\" must be one line that starts with \"MB:\"",
        ),
    ]);
}
