//! The record of a container and what is shown of it.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{id, state};
use nucleus_core::{
    CgroupRecord, ContainerState, Driver, HookRecord, NamespaceRecord, Phase, ProcessIdentity, SCHEMA_VERSION, Status,
    timestamp,
};
use serde_json::{Value, json};

fn full() -> ContainerState {
    ContainerState {
        init: Some(ProcessIdentity::current().unwrap()),
        creator: Some(ProcessIdentity::current().unwrap()),
        oci_version: "1.2.1".to_owned(),
        rootfs: "/bundle/rootfs".into(),
        command: vec!["sh".to_owned(), "-c".to_owned(), "true".to_owned()],
        owner: 1000,
        annotations: [("a".to_owned(), "b".to_owned())].into(),
        cgroup: CgroupRecord {
            driver: "cgroupfs".to_owned(),
            paths: [(String::new(), "/sys/fs/cgroup/c".into())].into(),
            unit: None,
        },
        config_hash: Some("00ff".to_owned()),
        namespaces: vec![NamespaceRecord {
            kind: "pid".to_owned(),
            path: Some("/proc/1/ns/pid".into()),
        }],
        poststop: vec![HookRecord {
            path: "/bin/hook".into(),
            args: vec!["hook".to_owned()],
            env: vec!["A=b".to_owned()],
            inherits_env: true,
            timeout: Some(3),
        }],
        rootless: true,
        ..state("c")
    }
}

#[test]
fn everything_survives_being_written() {
    let state = full();
    let json = serde_json::to_string(&state).unwrap();
    assert_eq!(serde_json::from_str::<ContainerState>(&json).unwrap(), state);
}

#[test]
fn a_record_of_little_is_loaded_and_not_taken_for_dead() {
    let state: ContainerState = serde_json::from_value(json!({"id": "c"})).unwrap();
    assert_eq!(
        (state.schema, state.phase, state.driver),
        (0, Phase::Created, Driver::Native)
    );
    assert!(state.annotations.is_empty() && state.init.is_none() && state.config_hash.is_none());
    assert!(serde_json::from_value::<ContainerState>(json!({})).is_err());
}

#[test]
fn a_new_record_is_being_created_now() {
    let state = state("c");
    assert_eq!((state.schema, &state.phase), (SCHEMA_VERSION, &Phase::Creating));
    assert!(state.uptime(SystemTime::now()) < Duration::from_secs(60));
    assert!(state.created.ends_with('Z') && state.created.len() == "2024-01-01T00:00:00.123456789Z".len());
}

#[test]
fn a_clock_without_sense_gives_the_epoch() {
    let epoch = "1970-01-01T00:00:00.000000000Z";
    assert_eq!(timestamp(UNIX_EPOCH), epoch);
    assert_eq!(timestamp(UNIX_EPOCH - Duration::from_secs(1)), epoch);
    assert_eq!(timestamp(UNIX_EPOCH + Duration::from_secs(1 << 40)), epoch);
    assert_eq!(
        timestamp(UNIX_EPOCH + Duration::new(1, 5)),
        "1970-01-01T00:00:01.000000005Z"
    );
}

#[test]
fn uptime_is_never_negative() {
    let mut state = state("c");
    state.created = timestamp(UNIX_EPOCH + Duration::from_secs(100));
    assert_eq!(
        state.uptime(UNIX_EPOCH + Duration::from_secs(107)),
        Duration::from_secs(7)
    );
    assert_eq!(state.uptime(UNIX_EPOCH), Duration::ZERO);
    state.created = "yesterday".to_owned();
    assert_eq!(state.uptime(SystemTime::now()), Duration::ZERO);
}

#[test]
fn the_state_command_shows_what_runcs_does_in_its_order() {
    let state = full();
    let text = serde_json::to_string(&state.output(Status::Paused, "bob")).unwrap();
    let expected = format!(
        "{{\"ociVersion\":\"1.2.1\",\"id\":\"c\",\"pid\":{},\"status\":\"paused\",\"bundle\":\"/bundle\",\
         \"rootfs\":\"/bundle/rootfs\",\"created\":\"{}\",\"annotations\":{{\"a\":\"b\"}},\"owner\":\"bob\"}}",
        std::process::id(),
        state.created,
    );
    assert_eq!(text, expected);
}

#[test]
fn the_record_of_a_newer_version_is_understood_as_far_as_possible() {
    let mut json = serde_json::to_value(full()).unwrap();
    json["schema"] = json!(99);
    json["status"] = json!("hibernating");
    json["invention"] = json!({"a": [1, 2]});
    json["cgroup"]["invention"] = json!(1);
    json["init"]["invention"] = json!(1);
    json["driver"] = json!({"name": "runsc", "version": 7});
    let state: ContainerState = serde_json::from_value(json).unwrap();
    assert_eq!(state.phase, Phase::Other("hibernating".to_owned()));
    assert_eq!((state.schema, state.driver), (99, Driver::Unknown));
}

#[test]
fn no_field_holds_the_environment_of_the_process() {
    let json = serde_json::to_value(full()).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert!(!keys.iter().any(|key| key.contains("env")), "{keys:?}");
}

#[test]
fn the_driver_is_tagged() {
    assert_eq!(serde_json::to_value(Driver::Native).unwrap(), json!({"name": "native"}));
    assert_eq!(
        serde_json::from_value::<Driver>(json!({"name": "native", "x": 1})).unwrap(),
        Driver::Native
    );
}

#[test]
fn the_id_in_a_record_is_checked() {
    let mut json: Value = serde_json::to_value(state("c")).unwrap();
    json["id"] = json!("../../etc");
    assert!(serde_json::from_value::<ContainerState>(json).is_err());
    assert_eq!(state("c").id, id("c"));
}
