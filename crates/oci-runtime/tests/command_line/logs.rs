//! `--log`, `--log-format`, `--debug`.

use std::fs;

use serde_json::Value;

use crate::common::{Kind, Test, kind, shell, skip};

/// What the runtime writes to its log as JSON, for these words; each line is an object with these three fields.
fn json_lines(test: &Test, flags: &[&str], words: &[&str]) -> Vec<(String, String)> {
    let file = test.dir().join("log.json");
    let _ = fs::remove_file(&file);
    let _ = test
        .runtime()
        .arg("--log")
        .arg(&file)
        .args(["--log-format", "json"])
        .args(flags)
        .args(words)
        .run();
    let text = fs::read_to_string(&file).unwrap_or_default();
    let field = |line: &Value, name: &str| {
        line[name]
            .as_str()
            .unwrap_or_else(|| panic!("{name}: {line}"))
            .to_owned()
    };
    let mut lines = Vec::new();
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(object.as_object().map(serde_json::Map::len), Some(3), "{line}");
        rfc_3339(&field(&object, "time"));
        lines.push((field(&object, "level"), field(&object, "msg")));
    }
    assert!(text.is_empty() || text.ends_with('\n'));
    lines
}

/// `2026-11-21T23:30:00Z`, with or without a fraction: what Go's RFC 3339 parser takes.
#[track_caller]
fn rfc_3339(time: &str) {
    let (second, rest) = time.split_at_checked(19).unwrap_or_else(|| panic!("{time:?}"));
    let shape: String = second
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00", "{time}");
    let fraction = rest.strip_suffix('Z').unwrap_or_else(|| panic!("{time:?}"));
    assert!(
        fraction.is_empty() || fraction.strip_prefix('.').is_some_and(|f| f.parse::<u64>().is_ok()),
        "{time}"
    );
    shell(&format!("date -d '{time}'"));
}

#[test]
fn every_kind_of_error_is_one_line() {
    let Some(test) = Test::new() else { return };
    let c = test.container(&["nosuchprogram"]);
    let bundle = c.bundle.to_str().expect("path");
    let rows: [(&[&str], &str); 7] = [
        (&["state", "nobody"], "container does not exist"),
        (
            &["create", "--bundle", bundle, &c.id],
            "executable file not found in $PATH",
        ),
        (&["exec", "nobody", "true"], "container does not exist"),
        (&["list", "--nosuch"], "flag provided but not defined: -nosuch"),
        (&["nosuch"], "No help topic for 'nosuch'"),
        (&["kill", "nobody", "NOPE"], ""),
        (&["delete", "a\n\u{1b}[2J\"b"], ""),
    ];
    for (words, text) in rows {
        if kind() != Kind::Nucleus && words.contains(&"--nosuch") {
            // runc differs: it does not log wrong flags.
            continue;
        }
        let lines = json_lines(&test, &[], words);
        assert_eq!(lines.len(), 1, "{words:?}: {lines:?}");
        assert_eq!(lines[0].0, "error");
        assert!(lines[0].1.contains(text), "{words:?}: {lines:?}");
        // The same as text: one line, nothing that steers a terminal.
        let file = test.dir().join("log.text");
        let _ = fs::remove_file(&file);
        let _ = test.runtime().arg("--log").arg(&file).args(words).run();
        let log = fs::read_to_string(&file).expect("log");
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(
            log.starts_with("time=\"") && log.contains(" level=error msg=\""),
            "{log}"
        );
        assert!(!log.trim_end().contains(char::is_control), "{log:?}");
        rfc_3339(log["time=\"".len()..].split('"').next().expect("time"));
    }
    test.nothing_left();
}

#[test]
fn a_log_that_cannot_be_opened() {
    let Some(test) = Test::new() else { return };
    for path in ["/nosuch/log", "/"] {
        let out = test.runtime().args(["--log", path, "list"]).run().exits(1);
        assert!(out.stdout.is_empty() && out.stderr.lines().count() == 1, "{out}");
        assert!(out.stderr.contains(path), "{out}");
    }
    // The format is checked although nothing is logged; the complaint itself is text.
    let file = test.dir().join("log");
    let out = test
        .runtime()
        .arg("--log")
        .arg(&file)
        .args(["--log-format", "xml", "list"])
        .run();
    out.fails("invalid log-format");
    if kind() == Kind::Nucleus {
        let log = fs::read_to_string(&file).expect("log");
        assert!(log.lines().count() == 1 && log.contains("level=error"), "{log}");
    }
}

#[test]
fn debug_tells_each_step_of_a_verb() {
    let Some(test) = Test::new() else { return };
    if kind() != Kind::Nucleus {
        return skip("the steps are ours");
    }
    let c = test.script("exec sleep 1000");
    let bundle = c.bundle.to_str().expect("path");
    let steps = |words: &[&str], wanted: &[&str]| {
        let lines = json_lines(&test, &["--debug"], words);
        assert!(lines.iter().all(|(level, _)| level == "debug"), "{words:?}: {lines:?}");
        let mut messages = lines.iter().map(|(_, message)| message.as_str());
        for step in wanted {
            assert!(
                messages.any(|message| message.starts_with(step)),
                "{words:?}: {step} in {lines:?}"
            );
        }
    };
    let create = [
        "1 ", "2 ", "3 ", "4 ", "5 ", "init:1 ", "init:2 ", "init:6 ", "init:9 ", "9 ",
    ];
    let host = ["1 ", "2 ", "3 ", "4 ", "5 ", "6 ", "7 ", "8 ", "9 "];
    steps(&["create", "--bundle", bundle, &c.id], &create);
    steps(&["start", &c.id], &["1 ", "2 ", "3 "]);
    steps(
        &["exec", &c.id, "true"],
        &["exec:1 ", "exec:2 ", "exec:3 ", "exec:4 ", "exec:5 "],
    );
    steps(&["delete", "--force", &c.id], &["1 "]);
    let other = test.container(&["true"]);
    let other_bundle = other.bundle.to_str().expect("path");
    steps(&["run", "--bundle", other_bundle, &other.id], &host);
    // Without a file the steps go to standard error, as text.
    let out = test
        .runtime()
        .args(["--debug", "run", "--bundle", other_bundle, &other.id])
        .run()
        .ok();
    assert!(
        out.stderr.lines().all(|line| line.contains(" level=debug msg=\"")),
        "{out}"
    );
    assert!(out.stderr.lines().count() > 15, "{out}");
    test.nothing_left();
}

#[test]
fn a_warning_does_not_hide_an_error() {
    let Some(test) = Test::new() else { return };
    let c = test.container_with(&["true"], |config| {
        config["process"]["capabilities"]["bounding"] = serde_json::json!(["CAP_NO_SUCH"]);
        config["process"]["cwd"] = serde_json::json!("/nosuch/../..relative");
        config["process"]["args"] = serde_json::json!(["nosuchprogram"]);
    });
    let bundle = c.bundle.to_str().expect("path");
    let lines = json_lines(&test, &[], &["create", "--bundle", bundle, &c.id]);
    let errors = lines.iter().filter(|(level, _)| level == "error").count();
    assert_eq!(errors, 1, "{lines:?}");
    if kind() == Kind::Nucleus {
        assert_eq!(lines.len(), 1, "podman reads the file as one object: {lines:?}");
    }
}
