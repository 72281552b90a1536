//! Detection from text, one test for each layout.

use super::*;

const HYBRID_MOUNTS: &str = "\
30 23 0:26 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:10 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
35 30 0:28 / /var/lib/box/rootfs/sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
";
const HYBRID_OWN: &str = "9:name=systemd:/\n8:pids:/a/b\n4:cpu,cpuacct:/\n0::/init\n";

fn hybrid() -> Layout {
    Layout::parse(&Facts {
        v2_mount: Some("/sys/fs/cgroup/unified"),
        v2_controllers: "hugetlb\n",
        own: HYBRID_OWN,
        mountinfo: HYBRID_MOUNTS,
    })
}

#[test]
fn hybrid_places_each_controller() {
    let layout = hybrid();
    assert_eq!(layout.mode, Mode::Hybrid);
    let mount = |controller: &str| {
        layout
            .find(controller)
            .map(|found| found.mount.to_str().unwrap().to_owned())
    };
    assert_eq!(mount("cpuacct").as_deref(), Some("/sys/fs/cgroup/cpu,cpuacct"));
    assert_eq!(mount("pids").as_deref(), Some("/sys/fs/cgroup/pids"));
    assert_eq!(mount("name=systemd").as_deref(), Some("/sys/fs/cgroup/systemd"));
    assert_eq!(mount("hugetlb").as_deref(), Some("/sys/fs/cgroup/unified"));
    assert_eq!(mount("memory"), None);
    assert_eq!(layout.find("pids").unwrap().own, Path::new("a/b"));
    assert_eq!(layout.unified().unwrap().own, Path::new("init"));
    assert_eq!(layout.hierarchies.len(), 4);
}

#[test]
fn hierarchies_under_a_later_mount_are_not_there() {
    let mountinfo = format!(
        "{HYBRID_MOUNTS}36 30 0:31 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
         37 36 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    );
    let layout = Layout::parse(&Facts {
        own: HYBRID_OWN,
        mountinfo: &mountinfo,
        ..Facts::default()
    });
    assert!(layout.find("pids").is_some());
    assert!(layout.find("cpu").is_none());
}

#[test]
fn legacy_and_unified_and_none() {
    let facts = Facts {
        own: HYBRID_OWN,
        mountinfo: HYBRID_MOUNTS,
        ..Facts::default()
    };
    assert_eq!(Layout::parse(&facts).mode, Mode::Legacy);
    let facts = Facts {
        v2_mount: Some("/sys/fs/cgroup"),
        v2_controllers: "cpuset cpu io memory pids",
        own: "0::/user.slice/session.scope\n",
        mountinfo: "",
    };
    let layout = Layout::parse(&facts);
    assert_eq!(layout.mode, Mode::Unified);
    assert!(layout.find("memory").is_some());
    assert_eq!(layout.unified().unwrap().own, Path::new("user.slice/session.scope"));
    assert_eq!(Layout::parse(&Facts::default()), Layout::none());
}

#[test]
fn a_mount_of_a_sub_tree_is_seen_from_its_root() {
    let layout = Layout::parse(&Facts {
        own: "8:pids:/docker/abc/inner\n",
        mountinfo: "32 30 0:28 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
        ..Facts::default()
    });
    assert_eq!(layout.find("pids").unwrap().own, Path::new("inner"));
}

#[test]
fn the_top_mount_counts_and_escapes_are_undone() {
    let layout = Layout::parse(&Facts {
        own: "8:pids:/\n7:cpu:/\n",
        mountinfo: "\
32 30 0:28 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,pids
33 30 0:29 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,cpu
",
        ..Facts::default()
    });
    assert!(layout.find("pids").is_none());
    assert_eq!(layout.find("cpu").unwrap().mount, Path::new("/sys/fs/cgroup/a b"));
}

#[test]
fn outside_of_the_cgroup_namespace_nothing_climbs() {
    let layout = Layout::parse(&Facts {
        v2_mount: Some("/sys/fs/cgroup"),
        own: "0::/../../elsewhere\n",
        ..Facts::default()
    });
    assert_eq!(layout.unified().unwrap().own, Path::new("elsewhere"));
}

proptest::proptest! {
    /// Names of mounts and cgroups are chosen by others.
    #[test]
    fn any_text_is_read(mountinfo in "([0-9 :/,-]|cgroup|pids|\\\\|/sys/fs/cgroup/| - |\n){0,40}", own in "([0-9:/,]|pids|name=|\n){0,20}") {
        let layout = Layout::parse(&Facts { own: &own, mountinfo: &mountinfo, ..Facts::default() });
        proptest::prop_assert!(layout.hierarchies.iter().all(|hierarchy| hierarchy.mount.starts_with(ROOT)));
    }
}
