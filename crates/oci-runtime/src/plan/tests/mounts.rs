//! `mounts`: kinds, the option table, destinations, `/proc`.

use std::path::Path;

use nix::mount::MsFlags;
use nucleus_sys::mount::{Attributes, attr};
use serde_json::{Value, json};

use super::{plan, refused};
use crate::plan::mount_options::meaning;
use crate::plan::{Links, Mount, MountKind};

fn mount(mount: Value) -> Mount {
    plan(json!({"mounts": [mount]})).mounts.remove(0)
}

fn tmpfs(options: &[&str]) -> Mount {
    mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options}))
}

fn bind(options: &[&str]) -> Mount {
    mount(json!({"destination": "/data", "type": "bind", "source": "/srv", "options": options}))
}

fn set(set: u64) -> Attributes {
    Attributes {
        set,
        ..Attributes::default()
    }
}

fn clear(clear: u64) -> Attributes {
    Attributes {
        clear,
        ..Attributes::default()
    }
}

fn atime(mode: u64) -> Attributes {
    Attributes {
        set: mode,
        clear: attr::ATIME_MASK,
        propagation: 0,
    }
}

#[test]
fn a_filesystem_takes_flags_and_data() {
    let mount = tmpfs(&["nosuid", "strictatime", "mode=755", "size=65536k", "nosymfollow"]);
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_STRICTATIME;
    assert_eq!(mount.flags, flags.bits() | 256);
    assert_eq!(mount.data.to_str(), Ok("mode=755,size=65536k"));
    assert!(mount.attributes.is_empty() && mount.recursive.is_empty());
    assert_eq!(
        mount.kind,
        MountKind::Filesystem {
            fstype: c"tmpfs".into(),
            source: c"tmpfs".into()
        }
    );
}

#[test]
fn a_filesystem_without_source_gets_none() {
    let mount = mount(json!({"destination": "/p", "type": "proc"}));
    assert_eq!(
        mount.kind,
        MountKind::Filesystem {
            fstype: c"proc".into(),
            source: c"none".into()
        }
    );
}

#[test]
fn every_superblock_and_mount_flag_has_its_bit_and_its_negation() {
    let table = [
        ("ro", "rw", MsFlags::MS_RDONLY),
        ("nosuid", "suid", MsFlags::MS_NOSUID),
        ("nodev", "dev", MsFlags::MS_NODEV),
        ("noexec", "exec", MsFlags::MS_NOEXEC),
        ("sync", "async", MsFlags::MS_SYNCHRONOUS),
        ("nodiratime", "diratime", MsFlags::MS_NODIRATIME),
        ("iversion", "noiversion", MsFlags::MS_I_VERSION),
        ("lazytime", "nolazytime", MsFlags::MS_LAZYTIME),
        ("silent", "loud", MsFlags::MS_SILENT),
        ("mand", "nomand", MsFlags::MS_MANDLOCK),
    ];
    for (on, off, flag) in table {
        assert_eq!(tmpfs(&[on]).flags, flag.bits(), "{on}");
        assert_eq!(tmpfs(&[on, off]).flags, 0, "{on},{off}");
        assert_eq!(tmpfs(&[off, on]).flags, flag.bits(), "{off},{on}");
    }
    assert_eq!(tmpfs(&["dirsync"]).flags, MsFlags::MS_DIRSYNC.bits());
    assert_eq!(tmpfs(&["nosymfollow", "symfollow"]).flags, 0);
    assert_eq!(tmpfs(&["defaults", "norelatime"]).flags, 0);
    assert_eq!(tmpfs(&["", "defaults"]).data.to_str(), Ok(""));
}

#[test]
fn the_last_access_time_mode_wins() {
    assert_eq!(tmpfs(&["noatime"]).flags, MsFlags::MS_NOATIME.bits());
    assert_eq!(tmpfs(&["noatime", "strictatime"]).flags, MsFlags::MS_STRICTATIME.bits());
    assert_eq!(tmpfs(&["strictatime", "relatime"]).flags, MsFlags::MS_RELATIME.bits());
    assert_eq!(bind(&["noatime"]).attributes, atime(attr::NOATIME));
    assert_eq!(bind(&["strictatime"]).attributes, atime(attr::STRICTATIME));
    assert_eq!(bind(&["relatime"]).attributes, atime(0));
    assert_eq!(bind(&["noatime", "atime"]).attributes, atime(0));
    assert_eq!(bind(&["strictatime", "nostrictatime"]).attributes, atime(0));
    assert_eq!(bind(&["norelatime"]).attributes, Attributes::default());
}

#[test]
fn a_bind_mount_sets_and_clears_attributes() {
    let table = [
        ("ro", "rw", attr::RDONLY),
        ("nosuid", "suid", attr::NOSUID),
        ("nodev", "dev", attr::NODEV),
        ("noexec", "exec", attr::NOEXEC),
        ("nodiratime", "diratime", attr::NODIRATIME),
        ("nosymfollow", "symfollow", attr::NOSYMFOLLOW),
    ];
    for (on, off, bit) in table {
        assert_eq!(bind(&["bind", on]).attributes, set(bit), "{on}");
        assert_eq!(bind(&["bind", on, off]).attributes, clear(bit), "{on},{off}");
        assert_eq!(bind(&["bind", off]).attributes, clear(bit), "{off}");
        assert_eq!(bind(&[&format!("r{on}")]).recursive, set(bit), "r{on}");
        assert_eq!(bind(&[&format!("r{off}")]).recursive, clear(bit), "r{off}");
        assert_eq!(bind(&[on]).flags, 0);
    }
    assert_eq!(bind(&["rnoatime"]).recursive, atime(attr::NOATIME));
    assert_eq!(bind(&["rstrictatime"]).recursive, atime(attr::STRICTATIME));
    for relative in ["rrelatime", "ratime", "rnostrictatime"] {
        assert_eq!(bind(&[relative]).recursive, atime(0), "{relative}");
    }
    assert_eq!(bind(&["rnorelatime"]).recursive, Attributes::default());
}

#[test]
fn propagation_of_the_mount_and_of_the_tree() {
    let table = [
        ("private", MsFlags::MS_PRIVATE),
        ("slave", MsFlags::MS_SLAVE),
        ("shared", MsFlags::MS_SHARED),
        ("unbindable", MsFlags::MS_UNBINDABLE),
    ];
    for (word, flag) in table {
        let wanted = Attributes {
            propagation: flag.bits(),
            ..Attributes::default()
        };
        assert_eq!(bind(&[word]).attributes, wanted);
        assert_eq!(tmpfs(&[word]).attributes, wanted);
        let tree = format!("r{word}");
        assert_eq!(bind(&["rbind", &tree]).recursive, wanted);
        for both in [[word, &tree], [&tree, word], [&tree, &tree]] {
            assert_eq!(
                (tmpfs(&both).attributes, tmpfs(&both).recursive),
                (Attributes::default(), wanted),
                "{both:?}"
            );
        }
    }
    let both = bind(&["rbind", "rslave", "shared", "rshared"]);
    assert_eq!(both.recursive.propagation, MsFlags::MS_SLAVE.bits());
    let shared = MsFlags::MS_SHARED;
    assert_eq!(
        both.more_propagation,
        [shared.bits(), (shared | MsFlags::MS_REC).bits()],
        "in their order"
    );
}

#[test]
fn what_makes_a_bind_mount() {
    let recursive = |m: Mount| match m.kind {
        MountKind::Bind { recursive, .. } => Some(recursive),
        _ => None,
    };
    assert_eq!(recursive(bind(&[])), Some(false));
    assert_eq!(recursive(bind(&["rbind"])), Some(true));
    assert_eq!(recursive(bind(&["rbind", "bind"])), Some(true));
    for kind in ["none", "", "ext4"] {
        let m = mount(json!({"destination": "/d", "type": kind, "source": "/s", "options": ["bind"]}));
        assert_eq!(recursive(m), Some(false), "{kind}");
    }
    let m = mount(json!({"destination": "/d", "source": "/s", "options": ["rbind"]}));
    assert_eq!(recursive(m), Some(true));
}

#[test]
fn a_relative_source_is_below_the_bundle() {
    let m = mount(json!({"destination": "/d", "type": "bind", "source": "data/x"}));
    assert_eq!(
        m.kind,
        MountKind::Bind {
            source: "/bundle/data/x".into(),
            recursive: false,
            links: Links::default(),
        }
    );
}

#[test]
fn filesystem_options_on_a_bind_mount_are_dropped_with_a_warning() {
    let plan = plan(json!({"mounts": [
        {"destination": "/d", "type": "bind", "source": "/s", "options": ["bind", "mode=755", "size=1k", "sync"]}
    ]}));
    assert_eq!(plan.mounts[0].data.to_str(), Ok(""));
    assert_eq!(
        plan.warnings,
        ["mounts[0].options: ignoring options of a filesystem on a bind mount at \"/d\""]
    );
}

#[test]
fn cgroup_mounts_keep_their_flags() {
    for (kind, wanted) in [("cgroup", MountKind::Cgroup), ("cgroup2", MountKind::Cgroup2)] {
        let m = mount(
            json!({"destination": "/sys/fs/cgroup", "type": kind, "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}),
        );
        let flags =
            MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV | MsFlags::MS_RELATIME | MsFlags::MS_RDONLY;
        assert_eq!((m.kind, m.flags), (wanted, flags.bits()));
    }
}

#[test]
fn tmpcopyup_is_for_tmpfs() {
    assert!(tmpfs(&["tmpcopyup"]).copy_up);
    let plan = plan(json!({"mounts": [
        {"destination": "/d", "type": "bind", "source": "/s", "options": ["tmpcopyup"]}
    ]}));
    assert!(!plan.mounts[0].copy_up);
    assert_eq!(
        plan.warnings,
        ["mounts[0].options: ignoring tmpcopyup, which is for tmpfs only"]
    );
}

#[test]
fn destinations_are_cleaned() {
    let plan = plan(json!({"mounts": [
        {"destination": "/a/./b//../c/", "type": "tmpfs"},
        {"destination": "relative", "type": "tmpfs"},
        {"destination": "/../../etc", "type": "tmpfs"},
    ]}));
    let paths: Vec<&Path> = plan.mounts.iter().map(|m| m.destination.as_path()).collect();
    assert_eq!(paths, [Path::new("/a/c"), Path::new("/relative"), Path::new("/etc")]);
    assert_eq!(
        plan.warnings,
        ["mounts[1].destination: relative path \"relative\" is deprecated, using it as relative to /"]
    );
}

#[test]
fn refused_mounts() {
    let one = |mount: Value| json!({"mounts": [{"destination": "/ok", "type": "tmpfs"}, mount]});
    refused([
        (
            one(json!({"destination": "/", "type": "tmpfs"})),
            "mounts[1].destination: \"/\" is the root of the container",
        ),
        (
            one(json!({"destination": "", "type": "tmpfs"})),
            "mounts[1].destination: \"\" is the root of the container",
        ),
        (
            one(json!({"destination": "/a\u{0}b", "type": "tmpfs"})),
            "mounts[1].destination: must not contain a NUL byte",
        ),
        (
            one(json!({"destination": "/a"})),
            "mounts[1].type: must name a filesystem, as options contain neither bind nor rbind",
        ),
        (
            one(json!({"destination": "/a", "type": "none", "source": "/x"})),
            "mounts[1].type: must name a filesystem, as options contain neither bind nor rbind",
        ),
        (
            one(json!({"destination": "/a", "type": "bind"})),
            "mounts[1].source: a bind mount needs a source",
        ),
        (
            one(json!({"destination": "/a", "type": "tmpfs", "source": "a\u{0}b"})),
            "mounts[1].source: must not contain a NUL byte",
        ),
        (
            one(json!({"destination": "/a", "type": "t\u{0}", "source": "a"})),
            "mounts[1].type: must not contain a NUL byte",
        ),
        (
            one(json!({"destination": "/a", "type": "tmpfs", "options": ["ro", "mode=\u{0}"]})),
            "mounts[1].options: must not contain a NUL byte",
        ),
        (
            one(json!({"destination": "/a", "type": "overlay", "options": [format!("lowerdir={}", "x".repeat(4096))]})),
            "mounts[1].options: 4105 bytes of data are more than the kernel's 4095",
        ),
    ]);
}

#[test]
fn a_remount_needs_neither_type_nor_source() {
    let m = mount(json!({"destination": "/t", "options": ["remount", "ro", "nosuid", "size=1k"]}));
    assert_eq!(m.kind, MountKind::Remount { bind: false });
    assert_eq!(m.flags, (MsFlags::MS_RDONLY | MsFlags::MS_NOSUID).bits());
    assert_eq!(m.data.to_str(), Ok("size=1k"));
    let m = mount(json!({"destination": "/t", "type": "bind", "source": "/s", "options": ["rbind", "remount", "ro"]}));
    assert_eq!(
        (m.kind, m.flags),
        (MountKind::Remount { bind: true }, MsFlags::MS_RDONLY.bits())
    );
    mount(json!({"destination": "/proc", "type": "proc", "options": ["remount", "ro"]}));
}

#[test]
fn nothing_but_procfs_goes_onto_proc() {
    let at = |destination: &str, kind: &str, source: &str| json!({"mounts": [{"destination": destination, "type": kind, "source": source}]});
    plan(at("/proc", "proc", "proc"));
    plan(at("/proc/", "bind", "/proc"));
    plan(at("/proc/uptime", "bind", "/var/lib/lxcfs/proc/uptime"));
    plan(at("/proc/sys/kernel/ns_last_pid", "bind", "/x"));
    plan(at("/process", "tmpfs", "x"));
    refused([
        (
            at("/proc", "tmpfs", "tmpfs"),
            "mounts[0].destination: \"/proc\" cannot be mounted because it is not of type proc",
        ),
        (
            at("/proc", "bind", "/srv/fake"),
            "mounts[0].destination: \"/proc\" cannot be mounted because it is not of type proc",
        ),
        (
            at("proc", "cgroup", "cgroup"),
            "mounts[0].destination: \"/proc\" cannot be mounted because it is not of type proc",
        ),
        (
            at("/proc/self", "tmpfs", "tmpfs"),
            "mounts[0].destination: \"/proc/self\" cannot be mounted because it is inside /proc",
        ),
        (
            at("/x/../proc//sys/", "bind", "/proc/sys"),
            "mounts[0].destination: \"/proc/sys\" cannot be mounted because it is inside /proc",
        ),
    ]);
}

#[test]
fn a_bound_dev_is_left_alone() {
    let device = json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]);
    let bound = plan(json!({
        "mounts": [{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}],
        "linux": {"devices": device}
    }));
    assert!(bound.dev_is_bound && bound.devices.is_empty());
    let own = plan(json!({"mounts": [{"destination": "/dev", "type": "tmpfs"}], "linux": {"devices": device}}));
    assert!(!own.dev_is_bound);
    assert_eq!(own.devices.len(), 7);
}

#[test]
fn every_option_of_the_specification_is_known() {
    let table = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime \
        noexec noiversion nolazytime norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime \
        relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro \
        rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave \
        strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap";
    for option in table.split_whitespace() {
        assert!(meaning(option).is_some(), "{option}");
    }
    for data in ["mode=755", "RO", "rrro", "rsync", "r", "newinstance", "context=\"x\""] {
        assert_eq!(meaning(data), None, "{data}");
    }
}
