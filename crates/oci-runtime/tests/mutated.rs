//! Damaged configs and the real binary: `create` either makes a container that can be deleted, or says in one line
//! what is wrong and leaves nothing. Never something in between.
//!
//! The damage depends on a seed alone, which is part of every message; `NUCLEUS_TEST_SEED` sets another one and
//! `NUCLEUS_TEST_CONFIGS` how many configs are tried.

mod common;
#[path = "common/damage.rs"]
mod damage;

use std::path::Path;

use common::{Container, Out, Test, eventually, shell, write_config};
use damage::Random;
use serde_json::{Value, json};

/// How many damaged configs are tried.
const CONFIGS: u64 = 150;

fn number_from(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// More than the smallest config has, so that there is more to damage and more to undo.
fn enrich(config: &mut Value) {
    config["process"]["oomScoreAdj"] = json!(100);
    config["process"]["user"]["additionalGids"] = json!([5, 6]);
    config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
    config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 4 });
    config["annotations"] = json!({ "org.example.key": "value" });
    config["hooks"] = json!({
        "createRuntime": [{ "path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5 }],
        "poststop": [{ "path": "/bin/true" }],
    });
    let mounts = config["mounts"].as_array_mut().expect("mounts");
    mounts.push(
        json!({ "destination": "/data", "type": "bind", "source": "data", "options": ["rbind", "ro", "nosuid"] }),
    );
    mounts.push(
        json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "tmpcopyup"] }),
    );
    let linux = &mut config["linux"];
    linux["namespaces"]
        .as_array_mut()
        .expect("namespaces")
        .push(json!({ "type": "cgroup" }));
    linux["sysctl"] = json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "65536" });
    linux["devices"] =
        json!([{ "path": "/dev/some", "type": "c", "major": 1, "minor": 5, "fileMode": 420, "uid": 1, "gid": 1 }]);
    linux["resources"]["pids"] = json!({ "limit": 64 });
    linux["resources"]["cpu"] = json!({ "shares": 512, "quota": 50000, "period": 100000 });
    linux["resources"]["memory"] = json!({ "limit": 67108864, "reservation": 33554432 });
    linux["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["kexec_load"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
                       "args": [{ "index": 0, "value": 7, "op": "SCMP_CMP_EQ" }] }],
    });
}

/// Whoever writes config.json may do anything to the host. Configs that would are not tried.
fn harmless(config: &Value, c: &Container<'_>) -> bool {
    let own = |path: &str| Path::new(path).starts_with(&c.bundle) || !Path::new(path).exists();
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str);
    let list = |pointer: &str| {
        config
            .pointer(pointer)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let inside = |path: &str| !path.contains("..") && (!path.starts_with('/') || own(path));
    let strings = |list: Vec<Value>, key: &str| -> Vec<String> {
        let found = list.iter().filter_map(|entry| entry[key].as_str());
        found.map(str::to_owned).collect()
    };
    let hooks = config["hooks"].as_object().cloned().unwrap_or_default();
    let mut programs = hooks
        .values()
        .flat_map(|of| strings(of.as_array().cloned().unwrap_or_default(), "path"));
    text("/root/path").is_none_or(inside)
        && strings(list("/mounts"), "source").iter().all(|source| inside(source))
        && strings(list("/linux/namespaces"), "path").iter().all(|path| own(path))
        && programs.all(|path| path == "/bin/true" || !Path::new(&path).is_file())
        // Elsewhere, what is left would not be found.
        && text("/linux/cgroupsPath").is_none_or(|path| path == format!("/{}/{}", c.test().mark(), c.id))
}

/// An error of one line that names a field, a path or a program.
fn names_something(out: &Out) -> bool {
    let fields = [
        "ociVersion",
        "root",
        "mounts",
        "process",
        "hostname",
        "domainname",
        "hooks",
        "annotations",
        "linux",
        "config.json",
    ];
    let said = out.said();
    let text = said.trim_end();
    out.code() == 1
        && text.lines().count() == 1
        && !text.contains("panicked")
        && (fields.iter().any(|field| text.contains(field)) || text.contains(" /") || text.contains("exec: \""))
}

/// What the damage is: each place that is not as it was, with what is there now.
fn difference(sound: &Value, damaged: &Value, at: &str) -> String {
    match (sound, damaged) {
        (Value::Object(one), Value::Object(other)) => {
            let names: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            let of = |name: &String| difference(&sound[name], &damaged[name], &format!("{at}/{name}"));
            names.into_iter().map(of).collect()
        }
        (one, other) if one == other => String::new(),
        (_, other) => format!("\n{at} is now {other}"),
    }
}

#[test]
fn nothing_is_half_created() {
    let Some(test) = Test::new() else { return };
    let seed = number_from("NUCLEUS_TEST_SEED", 20_261_122);
    let c = test.named(&format!("{}-m", test.mark()), &["true"], enrich);
    std::fs::create_dir(c.bundle.join("data")).expect("mkdir");
    let sound = c.config();
    c.create().ok();
    c.delete().ok();
    let mut random = Random(seed);
    let (mut made, mut refused) = (0, 0);
    while made + refused < number_from("NUCLEUS_TEST_CONFIGS", CONFIGS) {
        let mut config = sound.clone();
        for _ in 0..=random.below(2) {
            damage::damage(&mut config, &mut random);
        }
        if config == sound || !harmless(&config, &c) {
            continue;
        }
        write_config(&c.bundle, &config);
        let which = format!(
            "seed {seed}, config {}: {}",
            made + refused,
            difference(&sound, &config, "")
        );
        let out = c.create();
        if out.success() {
            made += 1;
            let deleted = c.delete();
            assert!(deleted.success(), "{deleted}\n{which}");
        } else {
            refused += 1;
            assert!(names_something(&out), "{out}\n{which}");
        }
        assert!(!c.has_state(), "{out}\n{which}");
        let groups = || shell(&format!("find /sys/fs/cgroup -type d -name {}", c.id));
        let gone = eventually(|| test.leftovers().is_empty() && groups().is_empty());
        assert!(gone, "left: {:?} {}\n{out}\n{which}", test.leftovers(), groups());
    }
    assert!(made > 0 && refused > 0, "seed {seed}: {made} made, {refused} refused");
}
