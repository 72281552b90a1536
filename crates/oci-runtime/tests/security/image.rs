//! What the runtime leaves in the image, and what of the host's control groups it shows.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::attacker::Outside;
use crate::common::{Container, Test, cgroup_dirs, shell};

/// Names, kinds, sizes, inodes and times of all that is in the image.
fn inventory(c: &Container<'_>) -> String {
    shell(&format!(
        "cd {} && find . -printf '%p %y %s %i %m %T@ %C@\\n' | sort",
        c.rootfs().display()
    ))
}

#[test]
fn nothing_is_written_into_the_image() {
    let Some(test) = Test::new() else { return };
    // CVE-2025-24965: no file of the runtime's own, hence none behind a link of the image.
    let outside = Outside::new(&test);
    let c = test.container_with(&["true"], |config| config["root"]["readonly"] = json!(false));
    for name in [
        ".krun_config.json",
        ".krun_vm.json",
        "etc/mtab",
        "etc/resolv.conf",
        "etc/hostname",
        ".containerenv",
    ] {
        symlink(outside.0.join("made"), c.rootfs().join(name)).expect("link");
    }
    let before = inventory(&c);
    c.run().ok();
    assert_eq!(inventory(&c), before);
    outside.untouched("a file");
    c.create().ok();
    c.start().ok();
    c.wait_status("stopped");
    c.delete().ok();
    assert_eq!(inventory(&c), before);
    outside.untouched("a file");
    test.nothing_left();
}

#[test]
fn no_group_of_the_host_can_be_written() {
    let Some(test) = Test::new() else { return };
    // CVE-2023-25809: a writable cgroup mount without a cgroup namespace, with and without a user namespace.
    // Linux CVE-2022-0492: a release_agent, which only the root of a v1 hierarchy has.
    let name = format!("made-by-{}", test.mark());
    let script = format!(
        "find /sys/fs/cgroup -name release_agent; for d in /sys/fs/cgroup /sys/fs/cgroup/* /sys/fs/cgroup/*/..; do \
         mkdir $d/{name} 2>/dev/null; echo 1 2>/dev/null >$d/notify_on_release; done; echo done"
    );
    for (user, own) in [(false, false), (false, true), (true, false), (true, true)] {
        let c = test.script_with(&script, |config| {
            for mount in config["mounts"].as_array_mut().expect("mounts") {
                if mount["type"] == "cgroup" {
                    mount["options"] = json!(["rw", "nosuid", "noexec", "nodev"]);
                }
            }
            let namespaces = config["linux"]["namespaces"].as_array_mut().expect("namespaces");
            if own {
                namespaces.push(json!({ "type": "cgroup" }));
            }
            if user {
                namespaces.push(json!({ "type": "user" }));
                let all = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
                config["linux"]["uidMappings"] = all.clone();
                config["linux"]["gidMappings"] = all;
            }
        });
        let agents = "cat $(find /sys/fs/cgroup -maxdepth 2 -name release_agent); echo";
        let before = shell(agents);
        // What it finds is printed before the end.
        c.run().ok().prints("done");
        assert_eq!(shell(agents), before);
        for above in ["", test.mark()] {
            for (controller, dir) in cgroup_dirs(&format!("/{above}/{name}")) {
                assert!(
                    !dir.exists(),
                    "{controller}, user namespace: {user}, own group: {own}: {dir:?}"
                );
            }
        }
        test.nothing_left();
    }
}
