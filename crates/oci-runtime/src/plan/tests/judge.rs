//! What must be true of loading and compiling any text: no panic, and an error names a field or a place in the text.
//!
//! Used by the tests with random damage beside it, and by the fuzz targets of `fuzz/`, which include this file.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock};

use nucleus_cgroup::{Facts, Layout};

use crate::plan::{Host, Options, Plan};
use crate::security::seccomp::{self, cache};
use crate::spec::{self, LoadError, Loaded};

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
    let loaded = match parse(text) {
        Ok(loaded) => loaded,
        Err(LoadError::Invalid { field, message }) => return Some((field, message)),
        Err(other) => panic!("{other}"),
    };
    let spec = loaded.spec;
    let process = spec.process().as_ref();
    let options = Options {
        bundle: "/bundle".into(),
        detach: true,
        console_socket: process.and_then(|process| process.terminal()).unwrap_or(false),
        ..Options::default()
    };
    match Plan::compile(&spec, &options, &HOST, loaded.seccomp) {
        Ok(plan) => {
            if let (Some(name), Some(seccomp)) = (&loaded.keep_seccomp, &plan.seccomp) {
                cache::put(&KEPT, name, seccomp);
            }
        }
        Err(error) => return Some((error.field, error.message)),
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

/// The programs of the last profiles.
struct Kept(Mutex<Option<HashMap<String, Vec<u8>>>>);

static KEPT: Kept = Kept(Mutex::new(None));

impl cache::Cache for Kept {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap().as_ref()?.get(name).cloned()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap();
        let entries = kept.take().filter(|entries| entries.len() < 100).unwrap_or_default();
        kept.insert(entries).insert(name.to_owned(), bytes.to_vec());
    }
}

/// Loads, and demands that it comes to the same as without kept programs.
fn parse(text: &[u8]) -> Result<Loaded, LoadError> {
    let loaded = spec::parse_with(text, Some(&KEPT));
    match (spec::parse(text), &loaded) {
        (Ok((mut spec, warnings)), Ok(loaded)) => {
            if let Some(program) = &loaded.seccomp {
                let profile = spec.linux_mut().as_mut().and_then(|linux| linux.seccomp_mut().take());
                let compiled = profile.map(|profile| seccomp::compile(&profile, false));
                assert_eq!(compiled, Some(Ok(program.clone())), "the program of another profile");
            }
            assert!(spec == loaded.spec, "{spec:?}\n\n{:?}", loaded.spec);
            assert_eq!(warnings, loaded.warnings);
        }
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
        (one, other) => panic!("{one:?}\n\n{other:?}"),
    }
    loaded
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
