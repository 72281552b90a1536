//! The example is what runc's is, and parses; an existing file survives.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use oci_spec::runtime::{Capability, LinuxNamespaceType, Spec as Config};
use serde_json::Value;

use super::*;

const ROOT: Facts = Facts {
    rootless: None,
    unified_cgroup: true,
};
const ROOTLESS: Facts = Facts {
    rootless: Some((1000, 1001)),
    unified_cgroup: true,
};

fn config(facts: &Facts) -> Config {
    serde_json::from_str(&document(facts).unwrap()).unwrap()
}

fn value(facts: &Facts) -> Value {
    serde_json::from_str(&document(facts).unwrap()).unwrap()
}

/// JSON with every list sorted: oci-spec keeps capabilities in sets.
fn sorted(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => map.values_mut().for_each(|value| *value = sorted(value.take())),
        Value::Array(list) => {
            list.iter_mut().for_each(|value| *value = sorted(value.take()));
            list.sort_by_key(Value::to_string);
        }
        _ => {}
    }
    value
}

#[test]
fn survives_the_way_through_oci_spec() {
    for facts in [ROOT, ROOTLESS, Facts::default()] {
        let parsed = config(&facts);
        let again = serde_json::to_value(&parsed).unwrap();
        assert_eq!(sorted(again), sorted(value(&facts)), "{facts:?}");
    }
}

#[test]
fn the_process() {
    let config = config(&ROOT);
    let process = config.process().as_ref().unwrap();
    assert_eq!(config.version(), "1.3.0");
    assert_eq!(process.args().as_ref().unwrap(), &["sh"]);
    assert_eq!(process.terminal(), Some(true));
    assert_eq!(process.no_new_privileges(), Some(true));
    let sets = process.capabilities().as_ref().unwrap();
    let three = [Capability::AuditWrite, Capability::Kill, Capability::NetBindService].into();
    for set in [sets.bounding(), sets.effective(), sets.permitted()] {
        assert_eq!(set.as_ref(), Some(&three));
    }
    assert_eq!((sets.inheritable(), sets.ambient()), (&None, &None));
}

#[test]
fn namespaces_follow_the_host_and_the_caller() {
    let kinds = |facts: &Facts| {
        let list = value(facts)["linux"]["namespaces"].take();
        let kinds = list
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["type"].as_str().unwrap());
        kinds.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(kinds(&Facts::default()), "pid network ipc uts mount");
    assert_eq!(kinds(&ROOT), "pid network ipc uts mount cgroup");
    assert_eq!(kinds(&ROOTLESS), "pid ipc uts mount cgroup user");
}

#[test]
fn rootless_needs_no_privilege_on_the_host() {
    let config = config(&ROOTLESS);
    let linux = config.linux().as_ref().unwrap();
    for (mappings, id) in [(linux.uid_mappings(), 1000), (linux.gid_mappings(), 1001)] {
        let mapping = mappings.as_ref().unwrap()[0];
        assert_eq!((mapping.container_id(), mapping.host_id(), mapping.size()), (0, id, 1));
    }
    assert!(linux.resources().is_none());
    let namespaces = linux.namespaces().as_ref().unwrap();
    assert!(
        namespaces
            .iter()
            .all(|namespace| namespace.typ() != LinuxNamespaceType::Network)
    );
    for mount in config.mounts().as_ref().unwrap() {
        let options = mount.options().clone().unwrap_or_default();
        assert!(options.iter().all(|option| !option.starts_with("gid=")), "{options:?}");
        if mount.destination() == Path::new("/sys") {
            assert_eq!(mount.typ().as_deref(), Some("none"));
            assert_eq!(options, ["rbind", "nosuid", "noexec", "nodev", "ro"]);
        }
    }
}

#[test]
fn lines_come_in_a_fixed_order_indented_by_tabs() {
    let text = document(&ROOT).unwrap();
    assert!(text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n\t\"process\": {\n\t\t\"terminal\": true,\n"));
    assert!(text.ends_with("\t}\n}\n"));
    assert_eq!(text, document(&ROOT).unwrap());
}

/// Where runc is installed: the same, but for what has changed in runc since, and for the names.
#[test]
fn is_what_runc_writes() {
    for rootless in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let mut runc = std::process::Command::new("runc");
        runc.arg("spec")
            .args(rootless.then_some("--rootless"))
            .current_dir(dir.path());
        if !runc.status().is_ok_and(|status| status.success()) {
            return;
        }
        let path = dir.path().join("config.json");
        let mut theirs: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        fs::remove_file(&path).unwrap();
        write(dir.path(), rootless).unwrap();
        let mut ours: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for document in [&mut theirs, &mut ours] {
            document["ociVersion"].take();
            document["hostname"].take();
            // runc up to 1.1 asks for ambient capabilities, which the kernel refuses without inheritable ones.
            let sets = document["process"]["capabilities"].as_object_mut().unwrap();
            sets.remove("ambient");
        }
        assert_eq!(ours, theirs);
    }
}

#[test]
fn write_makes_a_file_and_keeps_an_existing_one() {
    let bundle = tempfile::tempdir().unwrap();
    let path = bundle.path().join("config.json");
    write(bundle.path(), false).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(serde_json::from_str::<Config>(&text).is_ok());
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0);
    assert_eq!(mode & 0o600, 0o600);

    fs::write(&path, "mine").unwrap();
    let error = write(bundle.path(), true).unwrap_err();
    assert_eq!(error.to_string(), "File config.json exists. Remove it first");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn write_does_not_follow_a_symlink() {
    let bundle = tempfile::tempdir().unwrap();
    symlink("elsewhere", bundle.path().join("config.json")).unwrap();
    assert!(matches!(write(bundle.path(), false), Err(Error::Exists)));
    assert!(!bundle.path().join("elsewhere").exists());
}

#[test]
fn write_names_the_file_that_cannot_be_made() {
    let error = write(Path::new("/nonexistent"), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "create /nonexistent/config.json: no such file or directory"
    );
}
