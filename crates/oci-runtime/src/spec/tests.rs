//! Loading: what lies at `config.json`, what is in it, and what the errors say.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{load, parse};

fn config() -> Value {
    json!({
        "ociVersion": "1.0.2-dev",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["true"], "cwd": "/"},
    })
}

/// A bundle whose config.json was made by `make`.
fn bundle(make: impl FnOnce(&Path)) -> TempDir {
    let bundle = tempfile::tempdir().unwrap();
    make(&bundle.path().join("config.json"));
    bundle
}

fn load_error(bundle: &TempDir) -> String {
    let text = load(bundle.path(), None).unwrap_err().to_string();
    text.replace(bundle.path().to_str().unwrap(), "BUNDLE")
}

fn parse_error(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_config_and_its_digest() {
    let text = config().to_string();
    let bundle = bundle(|path| fs::write(path, "{\"ociVersion\":\"1.0.0\"}").unwrap());
    let loaded = load(bundle.path(), None).unwrap();
    assert_eq!(loaded.spec.version(), "1.0.0");
    assert_eq!(
        loaded.sha256,
        "f6f12302a898df4842cace81ab18cc4c882d3b897e34416f3812efd12b6c16b6"
    );
    assert!(loaded.warnings.is_empty());
    assert!(parse(text.as_bytes()).unwrap().0.process().is_some());
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let missing = bundle(|_| {});
    assert_eq!(
        load_error(&missing),
        "JSON specification file \"BUNDLE/config.json\" not found: no such file or directory"
    );
    let directory = bundle(|path| fs::create_dir(path).unwrap());
    assert_eq!(
        load_error(&directory),
        "\"BUNDLE/config.json\" must be a regular file, but is a directory"
    );
    let fifo = bundle(|path| mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap());
    assert_eq!(
        load_error(&fifo),
        "\"BUNDLE/config.json\" must be a regular file, but is a FIFO"
    );
    let device = bundle(|path| symlink("/dev/zero", path).unwrap());
    assert_eq!(
        load_error(&device),
        "\"BUNDLE/config.json\" must be a regular file, but is a device"
    );
    let circle = bundle(|path| symlink("config.json", path).unwrap());
    assert_eq!(
        load_error(&circle),
        "can't read \"BUNDLE/config.json\": too many levels of symbolic links"
    );
}

#[test]
fn a_link_to_a_file_is_a_file() {
    let bundle = bundle(|path| {
        fs::write(path.with_file_name("real"), config().to_string()).unwrap();
        symlink("real", path).unwrap();
    });
    load(bundle.path(), None).unwrap();
}

#[test]
fn a_huge_file_is_refused() {
    let bundle = bundle(|path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap());
    assert_eq!(
        load_error(&bundle),
        "\"BUNDLE/config.json\" is larger than 8388608 bytes"
    );
}

#[test]
fn an_error_names_its_field() {
    let with = |pointer: &str, value: Value| {
        let mut config = config();
        *config.pointer_mut(pointer).unwrap() = value;
        config.to_string()
    };
    assert_eq!(
        parse_error(&with("/process/args/0", json!(3))),
        "process.args[0]: invalid type: integer `3`, expected a string at line 1 column 46"
    );
    let text = parse_error(&with("/process/user", json!({"uid": -1, "gid": 0})));
    assert!(
        text.starts_with("process.user.uid: invalid value: integer `-1`, expected u32"),
        "{text}"
    );
    let text = parse_error(&with("/process", json!({"user": {"uid": 0, "gid": 0}})));
    assert!(text.starts_with("process: missing field `cwd`"), "{text}");
    let linux = |field: &str, value: Value| {
        let mut config = config();
        config["linux"] = json!({field: value});
        parse_error(&config.to_string())
    };
    let text = linux("namespaces", json!([{"type": "pid"}, {"type": "moon"}]));
    assert!(
        text.starts_with("linux.namespaces[1].type: unknown variant `moon`"),
        "{text}"
    );
    let text = linux(
        "seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_Z80"]}),
    );
    assert!(
        text.starts_with("linux.seccomp.architectures[0]: unknown variant `SCMP_ARCH_Z80`"),
        "{text}"
    );
}

#[test]
fn what_is_no_json_is_refused() {
    assert_eq!(
        parse_error(""),
        "config.json: EOF while parsing a value at line 1 column 0"
    );
    assert_eq!(parse_error("[]"), "config.json: must be a JSON object");
    let text = format!("{} {{}}", config());
    assert!(
        parse_error(&text).starts_with("config.json: trailing characters"),
        "{}",
        parse_error(&text)
    );
    assert!(parse_error("{\"ociVersion\": \"1.0.0\", \"ociVersion\": \"1.0.0\"}").contains("duplicate field"));
}

#[test]
fn unknown_fields_are_passed_over() {
    let mut config = config();
    config["x-future"] = json!({"a": [1]});
    config["process"]["unheard"] = json!("of");
    parse(config.to_string().as_bytes()).unwrap();
}

#[test]
fn unknown_capabilities_are_dropped_with_a_warning() {
    let mut config = config();
    config["process"]["capabilities"] = json!({
        "bounding": ["CAP_KILL", "CAP_TELEPORT", "CAP_BECOME_GOD"],
        "permitted": ["CAP_TELEPORT"],
    });
    let (spec, warnings) = parse(config.to_string().as_bytes()).unwrap();
    assert_eq!(
        warnings,
        ["ignoring unknown or unavailable capabilities: [CAP_BECOME_GOD CAP_TELEPORT]"]
    );
    let capabilities = spec.process().as_ref().unwrap().capabilities().as_ref().unwrap();
    assert_eq!(capabilities.bounding().as_ref().unwrap().len(), 1);
    assert!(capabilities.permitted().as_ref().unwrap().is_empty());
    // Another error beside it is still named.
    config["process"]["args"] = json!(7);
    assert!(parse_error(&config.to_string()).starts_with("process.args: invalid type: integer `7`"));
    config["process"]["args"] = json!(["true"]);
    config["process"]["capabilities"]["bounding"] = json!([4]);
    assert!(parse_error(&config.to_string()).starts_with("process.capabilities.bounding"));
}

#[test]
fn landlock_is_refused_by_name() {
    let mut config = config();
    config["annotations"] = json!({"landlock": "landlock"});
    parse(config.to_string().as_bytes()).unwrap();
    config["process"]["landlock"] = Value::Null;
    parse(config.to_string().as_bytes()).unwrap();
    config["process"]["landlock"] = json!({"ruleset": {}});
    assert_eq!(parse_error(&config.to_string()), "process.landlock: is not supported");
    // Spelt with an escape it is the same key.
    let escaped = config.to_string().replace("\"landlock\":{", "\"l\\u0061ndlock\":{");
    assert!(escaped.contains("\\u0061"));
    assert_eq!(parse_error(&escaped), "process.landlock: is not supported");
}

#[test]
fn monitoring_of_former_versions_is_refused_by_name() {
    let mut config = config();
    for field in ["enableCMT", "enableMBM"] {
        config["linux"] = json!({"intelRdt": {field: false}});
        parse(config.to_string().as_bytes()).unwrap();
        config["linux"]["intelRdt"][field] = json!(true);
        assert_eq!(
            parse_error(&config.to_string()),
            format!("linux.intelRdt.{field}: is not supported: runtime-spec 1.3 has enableMonitoring in its place")
        );
    }
}

#[test]
fn null_is_absent_and_the_user_is_optional() {
    let text = json!({
        "ociVersion": "1.0.2", "root": {"path": "rootfs", "readonly": null}, "annotations": {"a": null, "b": "c"},
        "hostname": null, "hooks": null, "mounts": [{"destination": "/x", "source": null, "options": null}],
        "process": {"user": null, "args": ["true"], "cwd": "/", "oomScoreAdj": null, "rlimits": null},
        "linux": {"resources": {
            "devices": [{"allow": null, "access": "rwm", "major": null}],
            "pids": {"limit": null}, "memory": {"limit": null}, "cpu": null,
        }},
    });
    let (spec, warnings) = parse(text.to_string().as_bytes()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let user = spec.process().as_ref().unwrap().user();
    assert_eq!((user.uid(), user.gid()), (0, 0));
    assert_eq!(spec.annotations().as_ref().unwrap().len(), 1);
    let resources = spec.linux().as_ref().unwrap().resources().as_ref().unwrap();
    let devices = resources.devices().as_ref().unwrap();
    assert!(!devices[0].allow());
    assert!(resources.pids().is_none(), "no limit is not the limit 0");
    assert!(resources.memory().as_ref().unwrap().limit().is_none());
    // Without the section, with an empty one, with a uid alone; in the process of `exec` as well.
    for (user, ids) in [
        (None, (0, 0)),
        (Some(json!({})), (0, 0)),
        (Some(json!({"uid": 5, "gid": null})), (5, 0)),
        (Some(json!({"uid": null, "gid": 6})), (0, 6)),
    ] {
        let mut section = json!({"args": ["true"], "cwd": "/"});
        if let Some(user) = &user {
            section["user"] = user.clone();
        }
        let process = super::parse_process(section.to_string().as_bytes()).unwrap().process;
        assert_eq!((process.user().uid(), process.user().gid()), ids, "{user:?}");
    }
}

#[test]
fn null_is_absent_from_resources_by_themselves() {
    let text = json!({"pids": {"limit": null}, "memory": {"limit": 5, "swap": null}, "devices": [{"allow": null}]});
    let resources = super::resources_without_nulls(text.to_string().as_bytes()).unwrap();
    assert!(resources.pids().is_none());
    assert_eq!(resources.memory().as_ref().unwrap().limit(), Some(5));
    assert!(!resources.devices().as_ref().unwrap()[0].allow());
    for wrong in [
        "{}",
        "{\"pids\": {\"limit\": \"1\", \"x\": null}}",
        "{\"pids\": null} x",
    ] {
        assert!(super::resources_without_nulls(wrong.as_bytes()).is_none(), "{wrong}");
    }
}

#[test]
fn null_where_something_must_stand_is_an_error() {
    let mut config = config();
    config["process"]["cwd"] = Value::Null;
    assert!(parse_error(&config.to_string()).starts_with("process: missing field `cwd`"));
    config["process"]["cwd"] = json!("/");
    config["process"]["args"] = json!(["a", null]);
    assert!(parse_error(&config.to_string()).starts_with("process.args[1]: invalid type: null"));
}

#[test]
fn both_values_of_a_limit_must_be_set() {
    let limits = |limits: Value| {
        let mut config = config();
        config["process"]["rlimits"] = limits;
        parse(config.to_string().as_bytes())
            .map(drop)
            .map_err(|e| e.to_string())
    };
    let core = json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0});
    assert_eq!(limits(json!([core])), Ok(()));
    for (missing, limit) in [
        ("soft", json!({"type": "RLIMIT_NOFILE", "hard": 5})),
        ("hard", json!({"type": "RLIMIT_NOFILE", "soft": 0})),
        ("soft", json!({"type": "RLIMIT_NOFILE", "soft": null, "hard": 5})),
    ] {
        assert_eq!(
            limits(json!([core, limit])).unwrap_err(),
            format!("process.rlimits[1].{missing}: must be set")
        );
    }
}

#[test]
fn the_draft_of_cpu_affinity() {
    let mut config = config();
    let read = |config: &Value| {
        super::parse_with(config.to_string().as_bytes(), None)
            .map(|loaded| loaded.cpu_affinity)
            .map_err(|error| error.to_string())
    };
    assert_eq!(read(&config), Ok(None));
    config["annotations"] = json!({"cpuAffinity": "0"});
    assert_eq!(read(&config), Ok(None));
    config["process"]["cpuAffinity"] = json!({"createRuntime": "all", "execContainer": "0-1", "startContainer": null});
    let affinity = read(&config).unwrap().unwrap();
    assert_eq!(affinity.create_runtime.as_deref(), Some("all"));
    assert_eq!(affinity.exec_container.as_deref(), Some("0-1"));
    assert_eq!(affinity.start_container, None);
    let process = super::parse_process(config["process"].to_string().as_bytes()).unwrap();
    assert_eq!(process.cpu_affinity, Some(affinity));
    config["process"]["cpuAffinity"] = json!({"runtimeCreate": "0"});
    let text = read(&config).unwrap_err();
    assert!(
        text.starts_with("process.cpuAffinity: unknown field `runtimeCreate`"),
        "{text}"
    );
}

#[test]
fn versions() {
    let version = |version: &str| {
        let mut config = config();
        config["ociVersion"] = json!(version);
        parse(config.to_string().as_bytes())
            .map(drop)
            .map_err(|e| e.to_string())
    };
    for good in [
        "1.0.0",
        "1.0.0-rc5",
        "1.0.0-rc5-dev",
        "1.0.2-dev",
        "1.1.0",
        "1.1.0+dev",
        "1.2.1+dev",
        "1.3.0",
        "1.3.17",
        "1.2.0-rc.1+build.5",
    ] {
        assert_eq!(version(good), Ok(()));
    }
    for other in ["0.1.0", "1.4.0", "2.0.0", "1.10.0", "0.0.0"] {
        assert_eq!(
            version(other).unwrap_err(),
            format!("ociVersion: unsupported version {other:?} (supported are 1.0.0 to 1.3.x)")
        );
    }
    for bad in [
        "1",
        "1.0",
        "1.0.0.0",
        "1.0.x",
        "v1.0.0",
        "1.0.01",
        "01.0.0",
        "1.0.0-",
        "1.0.0+",
        "1.0.0-a..b",
        " 1.0.0",
        "1.0.0\n",
        "+1.0.0",
        "1.+0.0",
        "99999999999999999999.0.0",
        "1.0.0-ä",
    ] {
        assert_eq!(
            version(bad).unwrap_err(),
            format!("ociVersion: {bad:?} is not a version in SemVer v2.0.0 format")
        );
    }
    assert_eq!(version("").unwrap_err(), "ociVersion: must be set");
    assert_eq!(parse_error("{}"), "ociVersion: must be set");
}
