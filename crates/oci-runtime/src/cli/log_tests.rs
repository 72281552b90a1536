//! What engines read in the log file, and what `--debug` adds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use super::super::trace::Debug;
use super::*;

const NASTY: &str = "exec: \"a\\b\": no such file\nor\tdirectory\r \u{1b}[31m\u{0}\u{85}\u{2028} žluťoučký";

fn open(dir: &tempfile::TempDir, format: Format) -> (Log, PathBuf) {
    let path = dir.path().join("log");
    (Log::open(Some(&path), format, false).unwrap(), path)
}

#[test]
fn an_error_is_the_only_line_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (log, path) = open(&dir, Format::Json);
    log.warn("not to be seen");
    log.error("exec: \"x\": permission denied");
    let record: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(record.as_object().unwrap().len(), 3);
    assert_eq!(record["level"], "error");
    assert_eq!(record["msg"], "exec: \"x\": permission denied");
    assert!(humantime::parse_rfc3339(record["time"].as_str().unwrap()).is_ok());
}

#[test]
fn json_is_one_object_on_one_line() {
    let time = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
    let text = line(Format::Json, Level::Error, NASTY, time);
    assert_eq!(text.matches(['\n', '\r', '\u{1b}', '\0']).count(), 1);
    assert!(text.starts_with("{\"level\":\"error\",\"msg\":\"exec: "));
    assert!(text.ends_with(",\"time\":\"2023-11-14T22:13:20.000000005Z\"}\n"));
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["msg"], NASTY);
}

#[test]
fn text_is_one_line_in_quotes() {
    let time = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
    assert_eq!(
        line(Format::Text, Level::Error, NASTY, time),
        "time=\"2023-11-14T22:13:20Z\" level=error msg=\"exec: \\\"a\\\\b\\\": no such file\\nor\\tdirectory\\r \
         \\u001b[31m\\u0000\\u0085\\u2028 žluťoučký\"\n"
    );
    assert_eq!(
        line(Format::Text, Level::Warning, "", time),
        "time=\"2023-11-14T22:13:20Z\" level=warning msg=\"\"\n"
    );
}

#[test]
fn the_file_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let (log, path) = open(&dir, Format::Text);
    let (other, _) = open(&dir, Format::Text);
    log.error("one");
    other.error("two");
    log.error("three");
    let text = fs::read_to_string(&path).unwrap();
    let order: Vec<bool> = text
        .lines()
        .zip(["one", "two", "three"])
        .map(|(line, text)| line.ends_with(&format!("level=error msg=\"{text}\"")))
        .collect();
    assert_eq!(order, [true; 3], "{text}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o133, 0);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let open = |path: &str| Log::open(Some(Path::new(path)), Format::Json, false);
    assert_eq!(
        open("/nonexistent/log").unwrap_err().to_string(),
        "open log file /nonexistent/log: no such file or directory"
    );
    assert_eq!(open("/").unwrap_err().to_string(), "open log file /: is a directory");
    assert!(open("").unwrap().sink.file.is_none());
}

#[test]
fn formats_have_names() {
    assert_eq!("json".parse(), Ok(Format::Json));
    assert_eq!("text".parse(), Ok(Format::Text));
    assert_eq!(
        "yaml".parse::<Format>(),
        Err("invalid log-format: \"yaml\" is neither text nor json".to_owned())
    );
}

/// Runs `f` under a `--debug` of its own and returns the lines: (level, message).
fn traced(f: impl FnOnce()) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
    let sink = Sink {
        file: Some(file),
        format: Format::Json,
    };
    tracing::subscriber::with_default(Debug(Arc::new(sink)), f);
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| {
            let record: Value = serde_json::from_str(line).unwrap();
            let get = |key: &str| record[key].as_str().unwrap().to_owned();
            (get("level"), get("msg"))
        })
        .collect()
}

#[test]
fn an_event_is_a_line_with_its_fields() {
    let lines = traced(|| {
        tracing::debug!(pid = 42, "init is alive");
        tracing::debug_span!("ignored").in_scope(|| tracing::warn!("slow"));
        tracing::trace!("not to be seen");
        tracing::info!(value = true);
    });
    let lines: Vec<_> = lines
        .iter()
        .map(|(level, text)| (level.as_str(), text.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            ("debug", "init is alive pid=42"),
            ("warning", "slow"),
            ("info", "value=true")
        ]
    );
}
