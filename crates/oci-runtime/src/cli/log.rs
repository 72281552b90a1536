//! `--log`, `--log-format` and `--debug`: where messages go, and in which form.
//!
//! main.rs opens the one [`Log`] and hands it the error of the verb. The rules, which engines depend on: an error goes
//! to stderr as plain text and, with `--log`, as exactly one line to the file as well (podman parses the whole file as
//! one JSON object, containerd line by line); without `--debug` nothing else is ever written. Each message is one
//! write(2) to a file opened for appending, so that the lines of several processes do not mix.
//!
//! With `--debug`, spans and events of `tracing` become messages too (see [`super::trace`]).

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use nucleus_core::reason;

use super::table::printable;
use super::trace;

/// The form of the messages in the file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`, as logrus writes it.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(format!("invalid log-format: {name:?} is neither text nor json")),
        }
    }
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open log file {}: {}", path.display(), reason(source))]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// How grave a message is. The names are logrus'.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The verb has failed.
    Error,
    /// A person should know.
    Warning,
    /// Progress worth telling.
    Info,
    /// A step.
    Debug,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

/// The log of this process. The default one has no file and tells errors only.
#[derive(Debug, Default)]
pub struct Log {
    sink: Arc<Sink>,
    debug: bool,
}

impl Log {
    /// Opens `path` for appending and, for `debug`, starts to write down spans and events. An empty path is none.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: Option<&Path>, format: Format, debug: bool) -> Result<Log, OpenError> {
        let open = |path: &Path| {
            // std opens close-on-exec. The mode is runc's: the engine that reads the file may be another user.
            let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
            file.map_err(|source| OpenError {
                path: path.to_owned(),
                source,
            })
        };
        let file = path.filter(|path| !path.as_os_str().is_empty()).map(open).transpose()?;
        let sink = Arc::new(Sink { file, format });
        if debug {
            trace::install(Arc::clone(&sink));
        }
        Ok(Log { sink, debug })
    }

    /// The number of the file's descriptor, for a process that closes all others.
    pub fn raw_fd(&self) -> Option<i32> {
        self.sink.file.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Tells why the verb has failed: on stderr always, and in the file.
    pub fn error(&self, text: &str) {
        if self.sink.file.is_some() {
            self.sink.write(Level::Error, text);
        }
        stderr(format!("error: {}\n", printable(text)).as_bytes());
    }

    /// Tells what a person should know of a verb that succeeded: on stderr if there is no file. An engine, which always
    /// names a file, takes a word on stderr for a failure, and a second line in the file hides an error from it: there
    /// the warning is only written with `--debug`.
    pub fn warn(&self, text: &str) {
        if self.sink.file.is_none() {
            stderr(format!("warning: {}\n", printable(text)).as_bytes());
        } else if self.debug {
            self.sink.write(Level::Warning, text);
        }
    }
}

/// Where the messages of one process go: the file, or stderr if there is none.
#[derive(Debug, Default)]
pub struct Sink {
    file: Option<File>,
    format: Format,
}

impl Sink {
    /// Writes one message as one line. A full disk or a closed stderr must not fail the verb, so nothing is returned.
    pub fn write(&self, level: Level, text: &str) {
        let line = line(self.format, level, text, SystemTime::now());
        match &self.file {
            Some(file) => {
                let _ = (&*file).write_all(line.as_bytes());
            }
            None => stderr(line.as_bytes()),
        }
    }
}

fn stderr(text: &[u8]) {
    // Unbuffered: one write(2).
    let _ = io::stderr().write_all(text);
}

fn line(format: Format, level: Level, text: &str, time: SystemTime) -> String {
    match format {
        Format::Text => text_line(level, text, time),
        Format::Json => json_line(level, text, time),
    }
}

fn text_line(level: Level, text: &str, time: SystemTime) -> String {
    let time = humantime::format_rfc3339_seconds(time);
    let mut line = format!("time=\"{time}\" level={} msg=\"", level.name());
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            // All that a reader could take for the end of a line, or a terminal for a command.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                // Writing to a string cannot fail.
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push_str("\"\n");
    line
}

fn json_line(level: Level, text: &str, time: SystemTime) -> String {
    #[derive(Serialize)]
    struct Record<'a> {
        level: &'static str,
        msg: &'a str,
        time: String,
    }
    let record = Record {
        level: level.name(),
        msg: text,
        time: humantime::format_rfc3339_nanos(time).to_string(),
    };
    // Strings always serialise.
    let mut line = serde_json::to_string(&record).unwrap_or_default();
    line.push('\n');
    line
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
