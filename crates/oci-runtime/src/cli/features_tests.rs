//! The features document against the specification, oci-spec's reader and the kernel.

use oci_spec::runtime::Features as Reader;
use serde_json::Value;

use super::*;

fn value() -> Value {
    serde_json::from_str(&document().unwrap()).unwrap()
}

#[test]
fn engines_can_read_it() {
    let features: Reader = serde_json::from_str(&document().unwrap()).unwrap();
    assert_eq!(features.oci_version_min(), "1.0.0");
    assert_eq!(features.oci_version_max(), "1.3.0");
    let linux = features.linux().as_ref().unwrap();
    assert_eq!(linux.namespaces().as_ref().unwrap().len(), 8);
    let cgroup = linux.cgroup().as_ref().unwrap();
    assert_eq!((*cgroup.v1(), *cgroup.v2()), (Some(true), Some(true)));
    let seccomp = linux.seccomp().as_ref().unwrap();
    assert_eq!(*seccomp.enabled(), Some(true));
    assert!(linux.net_devices().is_some() && linux.memory_policy().is_some());
}

#[test]
fn nothing_is_unknown() {
    fn walk(path: &str, value: &Value) {
        match value {
            Value::Null => panic!("{path} is null"),
            Value::Object(map) => map
                .iter()
                .for_each(|(key, value)| walk(&format!("{path}.{key}"), value)),
            Value::Array(list) => assert!(list.iter().all(Value::is_string), "{path}"),
            _ => {}
        }
    }
    walk("", &value());
}

#[test]
fn holds_what_the_specification_defines_and_no_more() {
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    let document = value();
    assert_eq!(
        keys(&document),
        "annotations hooks linux mountOptions ociVersionMax ociVersionMin potentiallyUnsafeConfigAnnotations"
    );
    let linux = &document["linux"];
    assert_eq!(
        keys(linux),
        "apparmor capabilities cgroup intelRdt memoryPolicy mountExtensions namespaces netDevices seccomp selinux"
    );
    assert_eq!(keys(&linux["cgroup"]), "rdma systemd systemdUser v1 v2");
    assert_eq!(
        keys(&linux["seccomp"]),
        "actions archs enabled knownFlags operators supportedFlags"
    );
    assert_eq!(keys(&linux["intelRdt"]), "enabled monitoring schemata");
    assert_eq!(keys(&linux["memoryPolicy"]), "flags modes");
    assert_eq!(keys(&linux["mountExtensions"]["idmap"]), "enabled");
}

#[test]
fn lists_are_sorted_and_without_repetition() {
    let sorted: [&[&str]; 5] = [
        MOUNT_OPTIONS,
        NAMESPACES,
        SECCOMP_ACTIONS,
        SECCOMP_OPERATORS,
        SECCOMP_ARCHS,
    ];
    for list in sorted {
        assert!(list.is_sorted_by(|a, b| a < b), "{list:?}");
    }
    let kernel: Vec<String> = CAPABILITIES.iter().map(|name| name.to_string()).collect();
    let mut numbered: Vec<caps::Capability> = kernel.iter().map(|name| name.parse().unwrap()).collect();
    assert_eq!(numbered.len(), caps::all().len());
    numbered.sort_by_key(|capability| capability.index());
    assert_eq!(numbered.iter().map(ToString::to_string).collect::<Vec<_>>(), kernel);
}

#[test]
fn what_is_listed_is_recognised() {
    fn all<T: serde::de::DeserializeOwned>(list: &Value) {
        for name in list.as_array().unwrap() {
            assert!(serde_json::from_value::<T>(name.clone()).is_ok(), "{name}");
        }
    }
    use oci_spec::runtime as oci;
    let linux = &value()["linux"];
    all::<oci::LinuxNamespaceType>(&linux["namespaces"]);
    all::<oci::Capability>(&linux["capabilities"]);
    all::<oci::MemoryPolicyModeType>(&linux["memoryPolicy"]["modes"]);
    all::<oci::MemoryPolicyFlagType>(&linux["memoryPolicy"]["flags"]);
    let seccomp = &linux["seccomp"];
    all::<oci::LinuxSeccompAction>(&seccomp["actions"]);
    all::<oci::LinuxSeccompOperator>(&seccomp["operators"]);
    all::<oci::Arch>(&seccomp["archs"]);
    all::<oci::LinuxSeccompFilterFlag>(&seccomp["knownFlags"]);
    // An unknown kind would be passed over; of a known one a string is not a list of hooks.
    for kind in HOOKS {
        let hooks = serde_json::json!({ *kind: "x" });
        assert!(serde_json::from_value::<oci::Hooks>(hooks).is_err(), "{kind}");
    }
}

#[test]
fn seccomp_is_probed() {
    let seccomp = &value()["linux"]["seccomp"];
    let has = |list: &str, name: &str| seccomp[list].as_array().unwrap().contains(&Value::from(name));
    for arch in [
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_S390X",
    ] {
        assert!(has("archs", arch), "{arch}");
    }
    // Linux 4.17 and later know these three.
    for flag in ["TSYNC", "LOG", "SPEC_ALLOW"] {
        assert!(has("supportedFlags", &format!("SECCOMP_FILTER_FLAG_{flag}")), "{flag}");
    }
    assert!(has("actions", "SCMP_ACT_NOTIFY"));
}
