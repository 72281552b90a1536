//! `root`, paths, hooks, annotations, labels, and what is meant for other platforms.

use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use serde_json::{Value, json};

use super::{HOST, compile_with, options, plan, refused};
use crate::plan::Options;

#[test]
fn the_root_is_below_the_bundle_unless_absolute() {
    let root = plan(json!({"root": {"path": "rootfs", "readonly": true}})).rootfs;
    assert_eq!(
        (root.path.as_path(), root.readonly, root.propagation),
        (Path::new("/bundle/rootfs"), true, 0)
    );
    let root = plan(json!({"root": {"path": "/srv/image"}})).rootfs;
    assert_eq!((root.path.as_path(), root.readonly), (Path::new("/srv/image"), false));
    refused([
        (json!({"root": null}), "root: must be specified"),
        (json!({"root": {"path": null}}), "root.path: must not be empty"),
        (
            json!({"root": {"path": "a\u{0}"}}),
            "root.path: must not contain a NUL byte",
        ),
    ]);
}

#[test]
fn rootfs_propagation() {
    let words = [
        ("private", MsFlags::MS_PRIVATE),
        ("slave", MsFlags::MS_SLAVE),
        ("shared", MsFlags::MS_SHARED),
        ("unbindable", MsFlags::MS_UNBINDABLE),
    ];
    let propagation = |word: &str| plan(json!({"linux": {"rootfsPropagation": word}})).rootfs.propagation;
    for (word, flag) in words {
        assert_eq!(propagation(word), flag.bits());
        assert_eq!(propagation(&format!("r{word}")), (flag | MsFlags::MS_REC).bits());
    }
    assert_eq!(propagation(""), 0);
    refused([(
        json!({"linux": {"rootfsPropagation": "rrslave"}}),
        "linux.rootfsPropagation: \"rrslave\" is not one of shared, slave, private, unbindable and their recursive forms",
    )]);
    let no_pivot = Options {
        no_pivot: true,
        ..options()
    };
    let config = json!({"linux": {"rootfsPropagation": "rprivate"}});
    assert_eq!(
        compile_with(config, &no_pivot, &HOST).unwrap_err().to_string(),
        "linux.rootfsPropagation: [r]private is not safe without pivot_root"
    );
}

#[test]
fn masked_and_readonly_paths_are_taken_once() {
    let paths = json!(["/proc/kcore", "/proc//kcore/", "/sys/firmware", "/proc/kcore"]);
    let plan = plan(json!({"linux": {"maskedPaths": paths, "readonlyPaths": paths}}));
    assert_eq!(
        plan.masked_paths,
        [PathBuf::from("/proc/kcore"), PathBuf::from("/sys/firmware")]
    );
    assert_eq!(plan.readonly_paths, plan.masked_paths);
    refused([
        (
            json!({"linux": {"maskedPaths": ["/a", "proc/kcore"]}}),
            "linux.maskedPaths[1]: \"proc/kcore\" must be an absolute path",
        ),
        (
            json!({"linux": {"readonlyPaths": [""]}}),
            "linux.readonlyPaths[0]: must not be empty",
        ),
    ]);
}

#[test]
fn hooks_of_all_kinds() {
    let hook = |name: &str| json!([{"path": format!("/bin/{name}")}]);
    let hooks = plan(json!({"hooks": {
        "prestart": [{"path": "/bin/a", "args": ["b", "c"], "env": ["D=e"], "timeout": 5}],
        "createRuntime": hook("cr"), "createContainer": hook("cc"), "startContainer": hook("sc"),
        "poststart": hook("ps"), "poststop": hook("pp"),
    }}))
    .hooks;
    assert_eq!(hooks.prestart[0].args, ["b", "c"]);
    assert_eq!(
        (hooks.prestart[0].env.as_slice(), hooks.prestart[0].timeout),
        (&["D=e".to_owned()][..], Some(5))
    );
    let args = [
        hooks.create_runtime,
        hooks.create_container,
        hooks.start_container,
        hooks.poststart,
        hooks.poststop,
    ]
    .map(|list| (list[0].args.concat(), list[0].timeout));
    assert_eq!(
        args,
        ["/bin/cr", "/bin/cc", "/bin/sc", "/bin/ps", "/bin/pp"].map(|path| (path.to_owned(), None))
    );
}

#[test]
fn refused_hooks() {
    let hook = |kind: &str, hook: Value| json!({"hooks": {kind: [{"path": "/ok"}, hook]}});
    refused([
        (
            hook("prestart", json!({"path": "bin/x"})),
            "hooks.prestart[1].path: \"bin/x\" must be an absolute path",
        ),
        (
            hook("createRuntime", json!({"path": "/x", "timeout": 0})),
            "hooks.createRuntime[1].timeout: 0 must be greater than zero and fit in 32 bits",
        ),
        (
            hook("createContainer", json!({"path": "/x", "timeout": -1})),
            "hooks.createContainer[1].timeout: -1 must be greater than zero and fit in 32 bits",
        ),
        (
            hook("startContainer", json!({"path": "/x", "args": ["a\u{0}"]})),
            "hooks.startContainer[1].args[0]: must not contain a NUL byte",
        ),
        (
            hook("poststart", json!({"path": "/x", "env": ["A=b", "a\u{0}"]})),
            "hooks.poststart[1].env[1]: must not contain a NUL byte",
        ),
        (
            hook("poststop", json!({"path": ""})),
            "hooks.poststop[1].path: must not be empty",
        ),
    ]);
}

#[test]
fn annotations_are_sorted_and_ours_are_checked() {
    let plan = plan(json!({"annotations": {"b": "2", "a": "", "org.criu.config": "/x"}}));
    let keys: Vec<&str> = plan.annotations.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a", "b", "org.criu.config"]);
    for (value, asked) in [("true", true), ("false", false)] {
        let config = json!({"annotations": {"org.nucleus.core-scheduling": value}});
        assert_eq!(super::plan(config).core_scheduling, asked);
    }
    refused([
        (
            json!({"annotations": {"": "x"}}),
            "annotations: a key must not be empty",
        ),
        (
            json!({"annotations": {"org.nucleus.core-scheduling": "1"}}),
            "annotations.org.nucleus.core-scheduling: \"1\" is neither true nor false",
        ),
        (
            json!({"annotations": {"org.nucleus.magic": "x"}}),
            "annotations.org.nucleus.magic: is not an annotation that nucleus knows",
        ),
    ]);
}

#[test]
fn labels_are_taken_as_they_are() {
    let label = "system_u:object_r:container_file_t:s0:c1,c2";
    let plan = plan(json!({
        "process": {"apparmorProfile": "docker-default", "selinuxLabel": "a:b"},
        "linux": {"mountLabel": label},
        "mounts": [
            {"destination": "/a", "type": "tmpfs", "options": ["size=1k"]},
            {"destination": "/b", "type": "devpts"},
            {"destination": "/c", "type": "sysfs"},
            {"destination": "/d", "type": "bind", "source": "/s"},
            {"destination": "/e", "type": "tmpfs", "options": ["context=x"]},
        ]
    }));
    let data: Vec<&str> = plan.mounts.iter().map(|mount| mount.data.to_str().unwrap()).collect();
    let context = format!("context=\"{label}\"");
    let with_size = format!("size=1k,{context}");
    assert_eq!(data, [with_size.as_str(), &context, "", "", "context=x"]);
    assert_eq!(plan.mount_label.as_deref(), Some(label));
    let process = plan.process.unwrap();
    assert_eq!(process.apparmor_profile.as_deref(), Some("docker-default"));
    assert_eq!(process.selinux_label.as_deref(), Some("a:b"));
    refused([
        (
            json!({"process": {"apparmorProfile": "\u{0}"}}),
            "process.apparmorProfile: must not contain a NUL byte",
        ),
        (
            json!({"linux": {"mountLabel": "\""}, "mounts": [{"destination": "/a", "type": "tmpfs"}]}),
            "linux.mountLabel: must not contain a quotation mark",
        ),
    ]);
}

#[test]
fn empty_forms_ask_for_nothing() {
    plan(json!({
        "process": {"apparmorProfile": "", "selinuxLabel": "", "execCPUAffinity": {}},
        "linux": {"mountLabel": "", "netDevices": {}}
    }));
}

#[test]
fn sections_for_other_platforms_are_ignored_with_a_warning() {
    let plan = plan(
        json!({"process": {"commandLine": "cmd.exe", "user": {"username": "somebody"}},
            "windows": {"layerFolders": ["C:\\x"]}, "vm": {"kernel": {"path": "/k"}}, "solaris": {}, "zos": {}}),
    );
    assert_eq!(
        plan.warnings,
        [
            "process.user.username: ignored, as this is not its platform",
            "process.commandLine: ignored, as this is not its platform",
            "solaris: ignored, as this is not its platform",
            "windows: ignored, as this is not its platform",
            "vm: ignored, as this is not its platform",
            "zos: ignored, as this is not its platform"
        ]
    );
}
