//! Random damage to real configs: loading and compiling, control groups included, never panic, and an error always
//! names a field. `PROPTEST_CASES` sets how long that goes on.

use std::fs;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::golden::configs;
use super::judge::{check, error, layouts};

/// What a value is replaced by.
fn replacement() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        Just(None),
        Just(Some(Value::Null)),
        any::<bool>().prop_map(|b| Some(json!(b))),
        any::<i64>().prop_map(|n| Some(json!(n))),
        (-2i64..5000).prop_map(|n| Some(json!(n))),
        any::<u64>().prop_map(|n| Some(json!(n))),
        ".{0,12}".prop_map(|s| Some(json!(s))),
        "[0-9,-]{0,6}".prop_map(|s| Some(json!(s))),
        "[a-z/.=]{0,12}".prop_map(|s| Some(json!(s))),
        "/(proc|sys|dev|\\.\\.)?/?[a-z\\x00]{0,3}".prop_map(|s| Some(json!(s))),
        Just(Some(json!([]))),
        Just(Some(json!({}))),
        Just(Some(json!([{}, null, "x"]))),
    ]
}

/// JSON pointers of all values below `value`.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let children: Vec<(String, &Value)> = match value {
        Value::Array(list) => list.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (escape(k), v)).collect(),
        _ => Vec::new(),
    };
    for (name, child) in children {
        let pointer = format!("{at}/{name}");
        pointers(child, &pointer, all);
        all.push(pointer);
    }
}

fn damage(config: &mut Value, pick: usize, with: Option<Value>) {
    let mut all = Vec::new();
    pointers(config, "", &mut all);
    let Some(pointer) = all.get(pick % all.len().max(1)) else {
        return;
    };
    match with {
        Some(value) => *config.pointer_mut(pointer).unwrap() = value,
        None => {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match config.pointer_mut(parent).unwrap() {
                Value::Array(list) => drop(list.remove(key.parse().unwrap())),
                Value::Object(map) => drop(map.remove(&key.replace("~1", "/").replace("~0", "~"))),
                _ => {}
            }
        }
    }
}

/// Enough cases to find what is easy to find, in about a second.
fn bounded() -> ProptestConfig {
    ProptestConfig {
        cases: match std::env::var_os("PROPTEST_CASES") {
            Some(_) => ProptestConfig::default().cases,
            None => 400,
        },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The texts of all configs, read once.
fn texts() -> &'static [Vec<u8>] {
    static TEXTS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    TEXTS.get_or_init(|| configs().iter().map(|path| fs::read(path).unwrap()).collect())
}

proptest! {
    #![proptest_config(bounded())]

    #[test]
    fn damaged_values(
        config in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<usize>(), replacement()), 1..4),
    ) {
        let mut value: Value = serde_json::from_slice(config.get(texts()).as_slice()).unwrap();
        for (pick, with) in changes {
            damage(&mut value, pick, with);
        }
        check(value.to_string().as_bytes());
    }

    #[test]
    fn damaged_bytes(
        config in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut text = config.get(texts()).clone();
        for (at, byte) in changes {
            *at.get_mut(&mut text) = byte;
        }
        if cut {
            text.truncate(end.index(text.len()));
        }
        // The name of a field may itself be what is damaged.
        let empty = error(&text).is_some_and(|(field, message)| field.is_empty() || message.is_empty());
        prop_assert!(!empty);
    }
}

/// What the damage does not reach must be sound, or nothing behind it is ever tried.
#[test]
fn undamaged_configs_compile() {
    for text in texts() {
        let config = String::from_utf8_lossy(text);
        let first = error(text).map(|(field, _)| field);
        // One of the layouts lacks what a config for the other asks for.
        let of_layout = |field: &str| field.starts_with("linux.resources.");
        assert!(first.as_deref().is_none_or(of_layout), "{first:?} of {config}");
    }
}

proptest! {
    #![proptest_config(bounded())]

    #[test]
    fn damaged_resources(
        changes in prop::collection::vec((any::<usize>(), replacement()), 1..3),
        layout in 0usize..2,
    ) {
        let text = texts().iter().find(|text| text.windows(12).any(|word| word == b"memBwSchema\"")).unwrap();
        let mut config: Value = serde_json::from_slice(text).unwrap();
        for (pick, with) in changes {
            damage(&mut config["linux"]["resources"], pick, with);
        }
        let Ok((spec, _)) = crate::spec::parse(config.to_string().as_bytes()) else { return Ok(()) };
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let plan = nucleus_cgroup::Plan::compile(resources, None, "id", &layouts()[layout], false);
        if let Err(error) = plan {
            prop_assert!(error.field.starts_with("linux.resources"), "{}", error.field);
        }
    }
}
