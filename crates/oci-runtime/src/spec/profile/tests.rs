//! What is taken for the profile, and that a config means the same whether its program is kept or not.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::super::{Loaded, parse, parse_with};
use super::{Profile, cache, length};
use crate::security::seccomp::compile;

/// A cache in memory that counts what it is given.
#[derive(Default)]
struct Memory {
    entries: RefCell<HashMap<String, Vec<u8>>>,
    puts: Cell<u32>,
}

impl cache::Cache for Memory {
    fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.entries.borrow().get(name).cloned()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.puts.set(self.puts.get() + 1);
        self.entries.borrow_mut().insert(name.to_string(), bytes.to_vec());
    }
}

/// Parses, and as `create` does, compiles and keeps what may be kept.
fn load(text: &str, memory: &Memory) -> Loaded {
    let loaded = parse_with(text.as_bytes(), Some(memory)).unwrap_or_else(|e| panic!("{e}: {text}"));
    if let Some(name) = &loaded.keep_seccomp {
        let linux = loaded.spec.linux().as_ref().unwrap();
        let program = compile(linux.seccomp().as_ref().unwrap(), false).unwrap();
        cache::put(memory, name, &program);
    }
    loaded
}

/// Fails unless the text means the same with this cache as without one; whether it was answered from there.
fn same(text: &str, memory: &Memory) -> bool {
    match (parse(text.as_bytes()), parse_with(text.as_bytes(), Some(memory))) {
        (Ok((mut spec, warnings)), Ok(loaded)) => {
            if let Some(seccomp) = &loaded.seccomp {
                let profile = spec.linux_mut().as_mut().unwrap().seccomp_mut().take().unwrap();
                assert_eq!(compile(&profile, false).unwrap(), *seccomp, "{text}");
            }
            assert_eq!(loaded.spec, spec, "{text}");
            assert_eq!(loaded.warnings, warnings, "{text}");
            loaded.seccomp.is_some()
        }
        (Err(plain), Err(other)) => {
            assert_eq!(plain.to_string(), other.to_string(), "{text}");
            false
        }
        (plain, other) => panic!("{plain:?}, but with a cache {other:?}: {text}"),
    }
}

const PROFILE: &str =
    r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","seccomp"],"action":"SCMP_ACT_ERRNO"}]}"#;

fn config(linux: &str) -> String {
    format!(r#"{{"ociVersion":"1.3.0","linux":{{{linux}}},"hostname":"x"}}"#)
}

/// A cache that has the program of [`PROFILE`].
fn warm() -> Memory {
    let memory = Memory::default();
    load(&config(&format!(r#""seccomp":{PROFILE}"#)), &memory);
    assert_eq!(memory.puts.get(), 1);
    memory
}

#[test]
fn the_end_of_an_object() {
    for (text, end) in [
        ("{}", Some(2)),
        ("{}}", Some(2)),
        (r#"{"a":[{},{"b":{}}]},"c":{}"#, Some(19)),
        ("{", None),
        ("{{}", None),
        ("", None),
        ("[{}]", None),
        ("null", None),
    ] {
        assert_eq!(length(text), end, "{text}");
    }
}

#[test]
fn the_text_of_a_profile() {
    let found = |text: &str| Profile::find(text.as_bytes()).map(|profile| profile.parts.concat() + profile.parts[1]);
    for text in [
        r#"{"seccomp":{"a":{}},"b":1}"#,
        "{\"seccomp\" \n:\t\r {\"a\":{}},\"b\":1}",
        r#"{"x":"seccomp\"","seccomp":{"a":{}},"seccomp":{}}"#,
    ] {
        assert_eq!(found(text).unwrap(), format!("{text}{}", r#"{"a":{}}"#));
    }
    for text in [
        "{}",
        r#"{"seccomp":null}"#,
        r#"{"seccomp":[{}]}"#,
        r#"{"seccomp":"{}"}"#,
        r#"{"seccomp","x":{}}"#,
        r#"{"seccomp":{"a":{}"#,
        r#"{"s\u0065ccomp":{}}"#,
        r#"{"x":"\"seccomp\":{}"}"#,
    ] {
        assert_eq!(found(text), None);
    }
    assert!(Profile::find(b"{\"seccomp\":{\"\xff\":1}}").is_none());
}

#[test]
fn a_profile_is_compiled_once_and_a_damaged_entry_again() {
    let memory = Memory::default();
    let load = |action: &str| {
        let profile = PROFILE.replace("SCMP_ACT_ERRNO", action);
        load(&config(&format!(r#""seccomp":{profile}"#)), &memory).seccomp
    };
    assert_eq!(load("SCMP_ACT_ERRNO"), None);
    let program = load("SCMP_ACT_ERRNO");
    assert!(program.is_some());
    assert_eq!(memory.puts.get(), 1);
    assert_eq!(load("SCMP_ACT_KILL"), None);
    assert_eq!(memory.puts.get(), 2);
    assert!(load("SCMP_ACT_KILL").is_some_and(|other| Some(other) != program));
    for bytes in memory.entries.borrow_mut().values_mut() {
        bytes.truncate(bytes.len() - 8);
    }
    assert_eq!(load("SCMP_ACT_ERRNO"), None, "a cut-off entry is no filter");
    assert_eq!(memory.puts.get(), 3);
    assert_eq!(load("SCMP_ACT_ERRNO"), program);
}

#[test]
fn every_profile_of_an_engine_is_answered_from_the_cache() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs");
    let mut answered = 0;
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let (text, memory) = (fs::read_to_string(&entry).unwrap(), Memory::default());
        let cold = load(&text, &memory);
        assert!(cold.seccomp.is_none());
        let profile = cold.spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
        let listens = profile.is_some_and(|profile| profile.listener_path().is_some());
        assert_eq!(same(&text, &memory), profile.is_some() && !listens, "{entry:?}");
        assert_eq!(memory.puts.get(), u32::from(profile.is_some() && !listens));
        answered += memory.puts.get();
    }
    assert!(answered >= 5, "{answered}");
}

/// Of all these the profile's program is kept, and the first has it in the place that counts.
#[test]
fn a_config_means_the_same_with_a_kept_program() {
    let memory = warm();
    let sound = config(&format!(r#""seccomp" : {PROFILE}"#));
    assert!(same(&sound, &memory));
    for (from, to) in [
        (r#""hostname":"x""#, r#""hostname":"seccomp","x":"\u0022""#),
        (
            r#""hostname":"x""#,
            r#""x":{"seccomp":{"defaultAction":"SCMP_ACT_KILL"}}"#,
        ),
    ] {
        assert!(same(&sound.replace(from, to), &memory), "{to}");
    }
    let seccomp = format!(r#""seccomp":{PROFILE}"#);
    for (from, to) in [
        // An error beside it has its own place and text.
        ("1.3.0", "7.0.0"),
        (r#""hostname":"x""#, r#""hostname":7"#),
        (r#""hostname":"x""#, r#""hostname":"x""#.repeat(2).as_str()),
        (r#""hostname":"x"}"#, r#""hostname":"x"} {}"#),
        (r#""hostname":"x"}"#, ""),
        (r#""hostname":"x""#, r#""process":{"cwd":"/","user":{},"landlock":{}}"#),
        (
            r#""hostname":"x""#,
            r#""process":{"cwd":"/","user":{"uid":0,"gid":0},"capabilities":{"bounding":["CAP_MOON"]}}"#,
        ),
        (r#""hostname":"x""#, r#""linux":{}"#),
        // Within it: that is another text.
        ("SCMP_ACT_ERRNO", "SCMP_ACT_NONE"),
        (r#""mkdir""#, "7"),
        (r#""mkdir""#, r#""mkdir"}"#),
        (r#""syscalls""#, r#""comment":"}","syscalls""#),
        (r#""syscalls""#, r#""comment":"{","syscalls""#),
        // Twice, or somewhere else.
        (r#"}]}"#, r#"}]},"seccomp":{"defaultAction":"SCMP_ACT_KILL"}"#),
        (r#""linux""#, &format!(r#""x":{{{seccomp}}},"linux""#)),
        (r#""linux""#, r#""Linux""#),
        (r#""seccomp" "#, r#""x\"seccomp""#),
        (r#""linux":{"#, r#""linux":{"x":{"#),
        (r#""hostname":"x""#, r#"}"#),
        ("{\"ociVersion\":\"1.3.0\",", "[\"1.3.0\",{"),
    ] {
        let text = sound.replacen(from, to, 1);
        assert_ne!(text, sound, "{from}");
        assert!(!same(&text, &memory), "{text}");
    }
    assert_eq!(memory.puts.get(), 1);
}

/// A list is as good to serde as an object: one of its elements is `linux.seccomp`, which the text found is not.
#[test]
fn a_profile_elsewhere_is_not_that_of_the_config() {
    let other = r#"{"defaultAction":"SCMP_ACT_KILL"}"#;
    let text = |count: usize| {
        let before = "null,".repeat(count);
        format!(r#"{{"x":{{"seccomp":{PROFILE}}},"ociVersion":"1.3.0","linux":[{before}{other}]}}"#)
    };
    let parsed = |count: &usize| {
        let spec = parse(text(*count).as_bytes()).ok()?.0;
        spec.linux().as_ref()?.seccomp().as_ref().map(drop)
    };
    let count = (0..30)
        .find(|count| parsed(count).is_some())
        .expect("a place in the list");
    for memory in [Memory::default(), warm()] {
        let puts = memory.puts.get();
        let without = format!(r#"{{"x":{{"seccomp":{PROFILE}}},"ociVersion":"1.3.0","linux":{{}}}}"#);
        for text in [text(count), without] {
            assert!(!same(&text, &memory));
            assert!(load(&text, &memory).keep_seccomp.is_none());
        }
        assert_eq!(memory.puts.get(), puts);
    }
}

#[test]
fn a_profile_with_a_listener_is_not_kept() {
    let memory = Memory::default();
    let text = config(
        r#""seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/agent",
            "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}"#,
    );
    for _ in 0..2 {
        assert!(load(&text, &memory).keep_seccomp.is_none());
    }
    assert_eq!(memory.puts.get(), 0);
}

#[test]
fn without_a_cache_nothing_is_looked_for() {
    let loaded = parse_with(config(&format!(r#""seccomp":{PROFILE}"#)).as_bytes(), None).unwrap();
    assert!(loaded.seccomp.is_none() && loaded.keep_seccomp.is_none());
    assert!(loaded.spec.linux().as_ref().unwrap().seccomp().is_some());
}
