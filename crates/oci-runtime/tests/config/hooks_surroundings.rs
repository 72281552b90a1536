//! Where hooks start, and whose environment they inherit.

use std::fs;

use serde_json::{Value, json};

use super::hooks::{KINDS, hook, log_dir, seen_by};
use crate::common::Test;

#[test]
fn hooks_of_the_host_start_in_the_bundle_and_those_of_the_container_in_its_root() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    log_dir(&c);
    let hooks: serde_json::Map<String, Value> = KINDS
        .iter()
        .map(|kind| {
            let script = format!("pwd -P >{}/{kind}", seen_by(kind, &c));
            ((*kind).to_owned(), json!([hook(&script)]))
        })
        .collect();
    c.edit(|config| {
        config["hooks"] = Value::Object(hooks);
        config["process"]["cwd"] = json!("/tmp");
    });
    c.with_bundle("run", &[]).wrapped(["env", "-C", "/usr/bin"]).run().ok();
    let (bundle, rootfs) = (c.bundle.display().to_string(), c.rootfs().display().to_string());
    for kind in KINDS {
        let expected = match kind {
            "createContainer" => &rootfs,
            "startContainer" => "/",
            _ => &bundle,
        };
        let found = fs::read_to_string(c.bundle.join("log").join(kind)).expect("pwd");
        assert_eq!(found.trim_end(), expected, "{kind}");
    }
    test.nothing_left();
}

#[test]
fn a_hook_without_an_environment_inherits_one() {
    let Some(test) = Test::new() else { return };
    let c = test.script("true");
    log_dir(&c);
    for (env, callers, containers) in [
        (None, "CALLER=1", "CONTAINER=1"),
        (Some(json!([])), "", ""),
        (Some(json!(["OWN=1"])), "OWN=1", "OWN=1"),
    ] {
        let hooks: serde_json::Map<String, Value> = KINDS
            .iter()
            .map(|kind| {
                let dir = seen_by(kind, &c);
                let script = format!(
                    "cat /proc/self/environ | tr '\\0' '\\n' | grep -E '^(CALLER|CONTAINER|OWN)=' >{dir}/{kind}; true"
                );
                let mut hook =
                    json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("PATH=/usr/bin:/bin; {script}")] });
                if let Some(env) = &env {
                    hook["env"] = env.clone();
                }
                ((*kind).to_owned(), json!([hook]))
            })
            .collect();
        c.edit(|config| {
            config["hooks"] = Value::Object(hooks);
            config["process"]["env"] = json!(["PATH=/bin", "CONTAINER=1"]);
        });
        c.with_bundle("run", &[]).env("CALLER", "1").run().ok();
        for kind in KINDS {
            let of_container = matches!(kind, "createContainer" | "startContainer");
            let expected = match kind {
                // As with runc.
                "createContainer" if env.is_none() => "",
                _ if of_container => containers,
                _ => callers,
            };
            let found = fs::read_to_string(c.bundle.join("log").join(kind)).expect("environment");
            assert_eq!(found.trim_end(), expected, "{kind} with {env:?}");
        }
    }
    test.nothing_left();
}
