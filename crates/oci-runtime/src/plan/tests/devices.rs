//! Device nodes: defaults, listed ones, and what is refused.

use serde_json::{Value, json};

use super::{plan, refused};
use crate::plan::Device;

fn devices(list: Value) -> Vec<Device> {
    plan(json!({"linux": {"devices": list}})).devices
}

#[test]
fn six_defaults() {
    let devices = devices(json!([]));
    let listed: Vec<String> = devices
        .iter()
        .map(|d| {
            format!(
                "{} {:o} {}:{} {}:{}",
                d.path.display(),
                d.mode,
                d.rdev.0,
                d.rdev.1,
                d.uid,
                d.gid
            )
        })
        .collect();
    assert_eq!(
        listed,
        [
            "/dev/null 20666 1:3 0:0",
            "/dev/zero 20666 1:5 0:0",
            "/dev/full 20666 1:7 0:0",
            "/dev/random 20666 1:8 0:0",
            "/dev/urandom 20666 1:9 0:0",
            "/dev/tty 20666 5:0 0:0"
        ]
    );
}

#[test]
fn kinds_modes_and_owners() {
    let devices = devices(json!([
        {"path": "/dev/sda", "type": "b", "major": 8, "minor": 0, "fileMode": 25008, "uid": 5, "gid": 6},
        {"path": "/dev/fuse", "type": "u", "major": 10, "minor": 229},
        {"path": "/dev/./pipe", "type": "p", "major": 3, "minor": 4, "fileMode": 384},
    ]));
    let device = |path: &str, mode, rdev, uid, gid| Device {
        path: path.into(),
        mode,
        rdev,
        uid,
        gid,
    };
    assert_eq!(
        devices[6..],
        [
            device("/dev/sda", 0o060_660, (8, 0), 5, 6),
            device("/dev/fuse", 0o020_666, (10, 229), 0, 0),
            device("/dev/pipe", 0o010_600, (0, 0), 0, 0),
        ]
    );
}

#[test]
fn a_listed_device_replaces_a_default_one() {
    let devices = devices(json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 384}]));
    assert_eq!(devices.len(), 6);
    assert_eq!(devices[5].path.to_str(), Some("/dev/null"));
    assert_eq!(devices[5].mode, 0o020_600);
}

#[test]
fn a_mount_replaces_a_default_one() {
    let mount = json!({"destination": "/dev/./random", "type": "bind", "source": "/dev/urandom", "options": ["bind"]});
    let plan = plan(json!({"mounts": [mount]}));
    assert!(plan.devices.iter().all(|d| d.path.to_str() != Some("/dev/random")));
    assert_eq!(plan.devices.len(), 5);
}

#[test]
fn ptmx_and_repetitions_are_left_out() {
    let fuse = json!({"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229});
    let ptmx = json!({"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2});
    assert_eq!(devices(json!([fuse, ptmx, fuse])).len(), 7);
}

#[test]
fn refused_devices() {
    let one = |device: Value| json!({"linux": {"devices": [{"path": "/dev/x", "type": "p"}, device]}});
    refused([
        (
            one(json!({"path": "/dev/a", "type": "a", "major": 1, "minor": 1})),
            "linux.devices[1].type: \"a\" is not the type of a device node (use b, c, u or p)",
        ),
        (
            one(json!({"path": "dev/a", "type": "c", "major": 1, "minor": 1})),
            "linux.devices[1].path: \"dev/a\" must be an absolute path",
        ),
        (
            one(json!({"type": "c", "major": 1, "minor": 1})),
            "linux.devices[1].path: must not be empty",
        ),
        (
            one(json!({"path": "/dev/..", "type": "c", "major": 1, "minor": 1})),
            "linux.devices[1].path: must name a file below /",
        ),
        (
            one(json!({"path": "/dev/a", "type": "c", "major": -1, "minor": 1})),
            "linux.devices[1].major: -1 must be between 0 and 4095",
        ),
        (
            one(json!({"path": "/dev/a", "type": "b", "major": 1, "minor": 1_048_576})),
            "linux.devices[1].minor: 1048576 must be between 0 and 1048575",
        ),
        (
            one(json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 1})),
            "linux.devices[1].path: \"/dev/x\" is listed twice with different properties",
        ),
    ]);
}
