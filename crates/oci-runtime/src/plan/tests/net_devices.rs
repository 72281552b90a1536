//! `linux.netDevices`.

use serde_json::{Value, json};

use super::{plan, refused};

fn with(devices: Value) -> Value {
    json!({"linux": {"netDevices": devices}})
}

#[test]
fn devices_are_sorted_and_keep_their_name() {
    let plan = plan(with(json!({
        "veth1": {"name": ""}, "eth0": {"name": "net%d"}, "eth1": {"name": "net%d"}, "wlan0": {"name": "up-link.7"}
    })));
    let names: Vec<(&str, &str)> = plan
        .net_devices
        .iter()
        .map(|device| (device.host.as_str(), device.inside.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            ("eth0", "net%d"),
            ("eth1", "net%d"),
            ("veth1", "veth1"),
            ("wlan0", "up-link.7")
        ]
    );
}

#[test]
fn refused_devices() {
    let invalid = |field: &str, name: &str, why: &str| {
        format!("linux.netDevices.{field}: {name:?} is not a valid name of a network device: {why}")
    };
    for (name, why) in [
        (".", "it is reserved"),
        ("0123456789abcdef", "it is longer than 15 bytes"),
        ("a/b", "it contains '/', ':', white space or NUL"),
        ("a b", "it contains '/', ':', white space or NUL"),
        ("a%s", "only one %d may be in it, and no other '%'"),
        ("a%d%d", "only one %d may be in it, and no other '%'"),
    ] {
        refused([(with(json!({"eth0": {"name": name}})), &invalid("eth0.name", name, why))]);
    }
    refused([
        (with(json!({"": {}})), &invalid("", "", "it is empty")),
        (
            with(json!({"eth%d": {}})),
            &invalid("eth%d", "eth%d", "it contains '%'"),
        ),
        (
            with(json!({"eth0": {"name": "x"}, "eth1": {"name": "x"}})),
            "linux.netDevices.eth1.name: \"x\" is the name of \"eth0\" already",
        ),
        (
            json!({"linux": {"namespaces": [{"type": "mount"}], "netDevices": {"eth0": {}}}}),
            "linux.netDevices: unable to move network devices without a private NET namespace",
        ),
    ]);
}
