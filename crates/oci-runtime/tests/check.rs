//! `check`: the plan of a bundle, as text and as JSON, without rights and without traces.

mod common;

use common::{Kind, Test, kind, shell};
use serde_json::{Value, json};

fn ours() -> Option<Test> {
    if kind() != Kind::Nucleus {
        common::skip("only nucleus has this subcommand");
        return None;
    }
    Test::new()
}

#[test]
fn a_plan_as_json() {
    let Some(test) = ours() else { return };
    let c = test.script_with("true", |config| {
        config["hostname"] = json!("checked");
        config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 3});
        config["process"]["execCPUAffinity"] = json!({"final": "0-2"});
        config["windows"] = json!({"layerFolders": []});
    });
    let out = test
        .bare_runtime()
        .args(["check", "--format", "json"])
        .arg(&c.bundle)
        .run()
        .ok()
        .silent();
    let all: Value = serde_json::from_str(&out.stdout).expect("JSON");
    let plan = &all["plan"];
    assert_eq!(plan["root"]["path"], json!(c.rootfs()));
    assert_eq!(plan["hostname"], "checked");
    assert_eq!(plan["process"]["args"], json!(["sh", "-c", "true"]));
    assert_eq!(plan["process"]["scheduler"]["nice"], 3);
    assert_eq!(plan["process"]["execCPUAffinity"]["final"], json!([0, 1, 2]));
    assert!(
        plan["mounts"].as_array().is_some_and(|mounts| mounts.len() > 3),
        "{out}"
    );
    assert_eq!(
        all["warnings"],
        json!(["windows: ignored, as this is not its platform"])
    );
    assert!(!test.root().exists(), "nothing is made");
    test.nothing_left();
}

#[test]
fn a_plan_as_text() {
    let Some(test) = ours() else { return };
    let c = test.script("true");
    let out = test.bare_runtime().arg("check").arg(&c.bundle).run().ok().silent();
    for line in ["process:\n", "  cwd: /\n", "    - destination: /proc\n"] {
        let loose = line.replace("    - destination", "destination");
        assert!(
            out.stdout.contains(line) || out.stdout.contains(&loose),
            "{line:?}: {out}"
        );
    }
    // The working directory is the bundle when none is given.
    let here = test.bare_runtime().arg("check").dir(&c.bundle).run().ok();
    assert_eq!(here.stdout, out.stdout);
}

#[test]
fn what_create_would_refuse() {
    let Some(test) = ours() else { return };
    let check = |edit: fn(&mut Value), says: &str| {
        let c = test.script_with("true", edit);
        test.bare_runtime().arg("check").arg(&c.bundle).run().fails(says);
    };
    check(
        |config| config["process"]["cwd"] = json!("relative"),
        "nucleus check failed: process.cwd: \"relative\" must be an absolute path",
    );
    check(
        |config| config["root"]["path"] = json!("missing"),
        "nucleus check failed: root.path: ",
    );
    check(
        |config| config["linux"]["resources"] = json!({"memory": {"limit": -2}}),
        "linux.resources.memory.limit",
    );
    let missing = test.dir().join("no-bundle");
    test.bare_runtime()
        .arg("check")
        .arg(&missing)
        .run()
        .fails("not found: no such file or directory");
}

#[test]
fn anybody_may_check() {
    let Some(test) = ours() else { return };
    let c = test.script("true");
    shell(&format!("chmod -R a+rX {}", test.dir().display()));
    let program = test.dir().join("nucleus");
    shell(&format!(
        "cp {} {}; chmod 755 {1}",
        common::runtime().display(),
        program.display()
    ));
    test.use_runtime(&program);
    let out = test
        .bare_runtime()
        .arg("check")
        .arg(&c.bundle)
        .wrapped(["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups"])
        .run()
        .ok();
    assert!(
        out.stdout
            .contains("warning: linux.namespaces: only root can run this, as there is no user namespace"),
        "{out}"
    );
}

/// Every path to a member of `value`, as a JSON pointer.
fn members(value: &Value, pointer: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(n, value)| (n.to_string(), value))
            .collect(),
        _ => return,
    };
    for (key, child) in children {
        let path = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        if value.is_object() {
            found.push(path.clone());
        }
        members(child, &path, found);
    }
}

/// The config with this member left out, and with null in its place.
fn without(config: &Value, path: &str) -> [Value; 2] {
    let (parent, key) = path.rsplit_once('/').expect("a pointer");
    let key = key.replace("~1", "/").replace("~0", "~");
    let [mut absent, mut null] = [config.clone(), config.clone()];
    let object = absent.pointer_mut(parent).and_then(Value::as_object_mut);
    object.expect("an object").remove(&key);
    null.pointer_mut(parent).expect("an object")[&key] = Value::Null;
    [absent, null]
}

#[test]
fn null_is_absent_in_every_field() {
    let Some(test) = ours() else { return };
    let c = test.script("true");
    let check = |config: &Value| {
        c.edit(|kept| *kept = config.clone());
        let words = ["check", "--format", "json"];
        let out = test.bare_runtime().args(words).arg(&c.bundle).run();
        // What a refusal says differs: a missing field, or null in its place.
        out.success().then_some(out.stdout)
    };
    for name in ["every-feature", "docker-limits", "podman-userns-device"] {
        let text = std::fs::read_to_string(format!("tests/configs/{name}.json")).expect(name);
        let mut config: Value = serde_json::from_str(&text).expect(name);
        config["root"]["path"] = json!("rootfs");
        // The control: the config itself has a plan.
        assert!(check(&config).is_some(), "{name}");
        let mut all = Vec::new();
        members(&config, "", &mut all);
        assert!(all.len() > 100, "{name} has {} members", all.len());
        for path in all {
            let [absent, null] = without(&config, &path);
            assert_eq!(check(&null), check(&absent), "{name}: null in {path}");
        }
    }
}
