//! What must be true of loading and compiling any text: no panic, and an error names a field or a place in the text.
//!
//! Used by the tests with random damage beside it, and by the fuzz targets of `fuzz/`, which include this file.

use std::path::Path;
use std::sync::OnceLock;

use nucleus_cgroup::{Facts, Layout};

use crate::plan::{Host, Options, Plan};
use crate::spec::LoadError;

/// Every top-level field of the specification.
const TOP: [&str; 12] = [
    "ociVersion",
    "root",
    "mounts",
    "process",
    "hostname",
    "domainname",
    "hooks",
    "annotations",
    "linux",
    "solaris",
    "windows",
    "vm",
];

/// A host of today: root, and capabilities up to CAP_CHECKPOINT_RESTORE.
pub(crate) const HOST: Host = Host {
    euid: 0,
    last_cap: 40,
    capabilities: u64::MAX,
};

/// Loads and compiles, control groups included; gives the field that an error names, and the message.
pub(crate) fn error(text: &[u8]) -> Option<(String, String)> {
    let (spec, _) = match crate::spec::parse(text) {
        Ok(parsed) => parsed,
        Err(LoadError::Invalid { field, message }) => return Some((field, message)),
        Err(other) => panic!("{other}"),
    };
    let process = spec.process().as_ref();
    let options = Options {
        bundle: "/bundle".into(),
        detach: true,
        console_socket: process.and_then(|process| process.terminal()).unwrap_or(false),
        ..Options::default()
    };
    if let Err(error) = Plan::compile(&spec, &options, &HOST, &crate::security::seccomp::NoCache) {
        return Some((error.field, error.message));
    }
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let path = linux.and_then(|linux| linux.cgroups_path().as_deref());
    layouts().iter().find_map(|layout| {
        let plan = nucleus_cgroup::Plan::compile(resources, path.and_then(Path::to_str), "id", layout, false);
        plan.err().map(|error| {
            let text = error.to_string();
            (error.field.into_owned(), text)
        })
    })
}

/// A host of each kind, with every controller that there is.
pub(crate) fn layouts() -> &'static [Layout; 2] {
    static LAYOUTS: OnceLock<[Layout; 2]> = OnceLock::new();
    LAYOUTS.get_or_init(|| {
        let names = "cpu cpuset memory devices freezer blkio pids hugetlb net_cls net_prio rdma";
        let (mut own, mut mountinfo) = (String::new(), String::new());
        for (n, name) in names.split(' ').enumerate() {
            own += &format!("{n}:{name}:/\n");
            mountinfo += &format!("{n} 1 0:{n} / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}\n");
        }
        let v1 = Layout::parse(&Facts {
            own: &own,
            mountinfo: &mountinfo,
            ..Facts::default()
        });
        let v2 = Layout::parse(&Facts {
            v2_mount: Some("/sys/fs/cgroup"),
            v2_controllers: "cpuset cpu io memory hugetlb pids rdma misc",
            own: "0::/\n",
            mountinfo: "",
        });
        [v1, v2]
    })
}

/// Demands that an error names a field of the specification, or for the whole says where or what.
pub(crate) fn check(text: &[u8]) {
    let Some((field, message)) = error(text) else { return };
    check_error(&field, &message);
}

/// As [`check`], of an error that is there already.
pub(crate) fn check_error(field: &str, message: &str) {
    assert!(!message.trim().is_empty(), "{field} without a message");
    // Where the text is no JSON, a path may be of anything: then the place is told.
    let place = message.contains(" at line ");
    let top = field.split(['.', '[']).next().unwrap_or_default();
    let whole = field == "config.json" && message == "must be a JSON object";
    assert!(
        place || whole || TOP.contains(&top),
        "unknown field {field:?}: {message:?}"
    );
}
