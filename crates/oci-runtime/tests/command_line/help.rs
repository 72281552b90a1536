//! Help, for people and for the engines that take it for support.

use serde_json::Value;

use crate::common::{Kind, Test, kind};

const VERBS: [&str; 18] = [
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "kill",
    "list",
    "mounts",
    "pause",
    "ps",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
    "checkpoint",
    "restore",
];

#[test]
fn without_a_verb() {
    let Some(test) = Test::new() else { return };
    let texts = [&[][..], &["--help"], &["-h"], &["help"], &["h"]].map(|words: &[&str]| {
        let out = test.bare_runtime().args(words).run().ok().silent();
        for verb in VERBS {
            assert!(out.stdout.contains(&format!("  {verb} ")), "{verb}: {out}");
        }
        out.stdout
    });
    assert!(
        texts.iter().all(|text| *text == texts[0]),
        "the same however it is asked for"
    );
}

#[test]
fn of_help() {
    let Some(test) = Test::new() else { return };
    for verb in ["help", "h"] {
        let out = test.bare_runtime().args(["help", verb]).run().ok().silent();
        assert!(!out.stdout.is_empty(), "{out}");
    }
}

#[test]
fn of_a_verb() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return crate::common::skip("the texts are ours");
    }
    for verb in VERBS {
        let text = test.bare_runtime().args(["help", verb]).run().ok().silent().stdout;
        assert!(text.contains(&format!("Usage: nucleus {verb}")), "{text}");
        assert!(text.contains("Examples:\n  nucleus "), "{text}");
        assert!(text.lines().all(|line| line.len() <= 140), "{text}");
        if verb == "checkpoint" || verb == "restore" {
            continue;
        }
        for flags in [&[verb, "--help"][..], &[verb, "-h"], &[verb, "-help"]] {
            let out = test.bare_runtime().args(flags).run().ok().silent();
            assert_eq!(out.stdout, text, "{flags:?}");
        }
    }
    // It may come after other flags, and before the verb it is about all of them.
    let late = test.bare_runtime().args(["exec", "--tty", "--help"]).run().ok();
    assert!(late.stdout.contains("nucleus exec"), "{late}");
}

#[test]
fn of_what_there_is_not() {
    let Some(test) = Test::new() else { return };
    for words in [
        &["nosuch"][..],
        &["help", "nosuch"],
        &["h", "nosuch", "x"],
        &["nosuch", "--help"],
    ] {
        let out = test.bare_runtime().args(words).run().exits(3);
        assert!(out.said().contains("No help topic for 'nosuch'"), "{out}");
        assert!(out.stdout.is_empty(), "{out}");
    }
}

#[test]
fn podman_is_not_told_that_checkpoints_work() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return crate::common::skip("others can make checkpoints");
    }
    for verb in ["checkpoint", "restore"] {
        for flag in ["--help", "-h"] {
            let out = test.bare_runtime().args([verb, flag]).run().fails("not supported yet");
            assert!(out.stdout.is_empty(), "{out}");
        }
    }
    let features: Value = serde_json::from_str(&test.bare_runtime().arg("features").run().ok().stdout).expect("JSON");
    let annotations = features["annotations"].as_object().expect("annotations");
    assert!(
        !annotations
            .keys()
            .any(|key| key.contains("checkpoint") || key.contains("criu")),
        "{features}"
    );
}
