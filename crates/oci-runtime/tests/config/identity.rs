//! Who the program is: user, groups, umask, the five sets of capabilities.

use serde_json::json;

use super::inside::{field, remove};
use crate::common::{Cmd, Out, Test};

/// The bits of some capabilities.
const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_BIND_SERVICE: u64 = 1 << 10;
const AUDIT_WRITE: u64 = 1 << 29;

/// The five sets in a `status`: inheritable, permitted, effective, bounding, ambient.
#[track_caller]
fn sets(status: &str) -> [u64; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
        .map(|key| u64::from_str_radix(field(status, key), 16).expect("a set of capabilities"))
}

#[test]
fn user_and_groups() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["cat", "/proc/self/status"], |config| {
        config["process"]["user"] = json!({ "uid": 1234, "gid": 5678, "additionalGids": [5, 1000, 99999] });
    });
    let out = c.run().ok();
    let words = |key: &str| {
        field(&out.stdout, key)
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(words("Uid"), ["1234"; 4]);
    assert_eq!(words("Gid"), ["5678"; 4]);
    let mut groups = words("Groups");
    groups.retain(|g| g != "5678");
    assert_eq!(groups, ["5", "1000", "99999"]);
}

#[test]
fn the_callers_groups_are_dropped() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["cat", "/proc/self/status"]);
    let run = c.with_bundle("run", &[]).wrapped(["setpriv", "--groups", "4,24,27"]);
    let out = run.run().ok();
    let groups: Vec<&str> = field(&out.stdout, "Groups")
        .split_whitespace()
        .filter(|g| *g != "0")
        .collect();
    assert!(groups.is_empty(), "{out}");
}

#[test]
fn the_callers_groups_are_kept_where_an_annotation_asks() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["cat", "/proc/self/status"], |config| {
        config["annotations"] = json!({ "run.oci.keep_original_groups": "1" });
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000, "additionalGids": [9] });
    });
    let groups = |out: &Out| field(&out.stdout, "Groups").trim().to_owned();
    let as_member = |command: Cmd| command.wrapped(["setpriv", "--groups", "4,24,27"]).run().ok();
    assert_eq!(groups(&as_member(c.with_bundle("run", &[]))), "4 24 27");
    c.edit(|config| config["process"]["args"] = json!(["sleep", "1000"]));
    c.run_detached().ok();
    let exec = || c.verb("exec", &[]).args(["cat", "/proc/self/status"]);
    assert_eq!(groups(&as_member(exec())), "4 24 27");
    c.force_delete().ok();
    // Without the annotation they are those of config.json, in exec too.
    c.edit(|config| drop(config.as_object_mut().expect("config").remove("annotations")));
    c.run_detached().ok();
    assert_eq!(groups(&as_member(exec())), "9");
    c.force_delete().ok();
}

#[test]
fn the_images_passwd_changes_no_number() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("id -u; id -g", |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 })
    });
    std::fs::write(
        c.rootfs().join("etc/passwd"),
        "1000:x:0:0:root:/root:/bin/sh\nroot:x:0:0::/:/bin/sh\n",
    )
    .expect("passwd");
    std::fs::write(c.rootfs().join("etc/group"), "1000:x:0:\n").expect("group");
    c.run().ok().prints("1000\n1000");
}

#[test]
fn the_umask() {
    let Some(test) = Test::new() else { return };
    let c = test.script_with("umask; touch /tmp/file; stat -c %a /tmp/file", |config| {
        config["root"]["readonly"] = json!(false);
    });
    c.run().ok().prints("0022\n644");
    c.edit(|config| config["process"]["user"]["umask"] = json!(0o077));
    std::fs::remove_file(c.rootfs().join("tmp/file")).expect("removing");
    c.run().ok().prints("0077\n600");
    // The caller's own has no say.
    c.edit(|config| remove(config, "/process/user", "umask"));
    std::fs::remove_file(c.rootfs().join("tmp/file")).expect("removing");
    c.with_bundle("run", &[])
        .wrapped(["sh", "-c", "umask 000; exec \"$@\"", "sh"])
        .run()
        .ok()
        .prints("0022\n644");
}

#[test]
fn capabilities_of_root() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["cat", "/proc/self/status"], |config| {
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        });
    });
    let [inheritable, permitted, effective, bounding, ambient] = sets(&c.run().ok().stdout);
    assert_eq!(inheritable, KILL);
    assert_eq!(permitted, CHOWN | KILL);
    assert_eq!(
        effective,
        CHOWN | KILL,
        "an exec gives root's program what is permitted"
    );
    assert_eq!(bounding, CHOWN | KILL | NET_BIND_SERVICE);
    assert_eq!(ambient, KILL);
    // Where new privileges are allowed, it gives it all of the bounding set.
    c.edit(|config| config["process"]["noNewPrivileges"] = json!(false));
    let [_, permitted, effective, bounding, _] = sets(&c.run().ok().stdout);
    assert_eq!([permitted, effective, bounding], [CHOWN | KILL | NET_BIND_SERVICE; 3]);
}

#[test]
fn capabilities_of_a_user() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["cat", "/proc/self/status"], |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        let all = ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
        config["process"]["capabilities"] = json!({
            "bounding": all, "permitted": all, "effective": all,
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_NET_BIND_SERVICE"],
        });
    });
    let [inheritable, permitted, effective, bounding, ambient] = sets(&c.run().ok().stdout);
    assert_eq!(inheritable, KILL | NET_BIND_SERVICE);
    assert_eq!(permitted, NET_BIND_SERVICE, "only the ambient ones pass the exec");
    assert_eq!(effective, NET_BIND_SERVICE);
    assert_eq!(bounding, CHOWN | KILL | NET_BIND_SERVICE);
    assert_eq!(ambient, NET_BIND_SERVICE);
}

#[test]
fn a_user_without_ambient_capabilities_has_none() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["cat", "/proc/self/status"], |config| {
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
        remove(config, "/process/capabilities", "ambient");
    });
    let [inheritable, permitted, effective, bounding, ambient] = sets(&c.run().ok().stdout);
    assert_eq!([inheritable, permitted, effective, ambient], [0; 4]);
    assert_eq!(bounding, KILL | NET_BIND_SERVICE | AUDIT_WRITE);
}

#[test]
fn inheritable_is_empty_unless_the_config_says_otherwise() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["cat", "/proc/self/status"], |config| {
        remove(config, "/process/capabilities", "inheritable");
    });
    let caller = c
        .with_bundle("run", &[])
        .wrapped(["setpriv", "--inh-caps", "+chown,+kill", "--"]);
    let [inheritable, permitted, effective, bounding, ambient] = sets(&caller.run().ok().stdout);
    assert_eq!([inheritable, ambient], [0; 2]);
    assert_eq!(
        [permitted, effective, bounding],
        [KILL | NET_BIND_SERVICE | AUDIT_WRITE; 3]
    );
}

#[test]
fn ambient_needs_inheritable() {
    let Some(test) = Test::new() else { return };
    // As older `runc spec` wrote it. What cannot be granted is not, and the container runs.
    let c = test.container_with(&["cat", "/proc/self/status"], |config| {
        config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL"]);
        config["process"]["user"] = json!({ "uid": 1000, "gid": 1000 });
    });
    let [inheritable, permitted, effective, _, ambient] = sets(&c.run().ok().stdout);
    assert_eq!([inheritable, permitted, effective, ambient], [0; 4]);
}

#[test]
fn no_capabilities_at_all() {
    let Some(test) = Test::new() else { return };
    let empty = json!({ "bounding": [], "permitted": [], "effective": [], "inheritable": [], "ambient": [] });
    // runc differs: from 1.2 on a process without the section keeps all that the runtime has.
    for capabilities in [json!({}), empty, json!(null)] {
        let c = test.container_with(&["cat", "/proc/self/status"], |config| {
            if capabilities.is_null() {
                remove(config, "/process", "capabilities");
            } else {
                config["process"]["capabilities"] = capabilities.clone();
            }
        });
        assert_eq!(sets(&c.run().ok().stdout), [0; 5], "{capabilities}");
    }
}

#[test]
fn capabilities_are_really_gone() {
    let Some(test) = Test::new() else { return };
    let script = "mount -t tmpfs t /tmp 2>/dev/null || echo nomount; chown 5 /tmp/f 2>/dev/null || echo nochown; \
                  mknod /tmp/n c 1 3 2>/dev/null || echo nomknod; hostname x 2>/dev/null || echo nohostname";
    let c = test.script_with(script, |config| config["root"]["readonly"] = json!(false));
    std::fs::write(c.rootfs().join("tmp/f"), "").expect("file");
    c.run().ok().prints("nomount\nnochown\nnomknod\nnohostname");
}
