//! `nucleus check`: prints what a bundle's config.json comes to, and what a person should know about it.
//!
//! One document, printed as JSON or as indented text. What config.json is silent about is left out.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::Outcome;
use super::check_plan::document;
use crate::lifecycle::check;

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the bundle
    #[arg(value_name = "BUNDLE", default_value = ".")]
    bundle: PathBuf,
    /// What to print
    #[arg(long, short, value_enum, default_value = "text", value_name = "FORMAT")]
    format: Format,
}

/// How the plan is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Indented lines
    Text,
    /// One JSON document
    Json,
}

/// Checks a bundle.
pub fn main(args: &Args, systemd: bool) -> Outcome {
    let bundle: &Path = &std::path::absolute(&args.bundle)?;
    let checked = check::check(bundle, systemd).map_err(|error| format!("nucleus check failed: {error}"))?;
    let plan = without_empty(document(&checked.plan, &checked.cgroups));
    super::print(&match args.format {
        Format::Json => {
            let all = json!({ "plan": plan, "warnings": checked.plan.warnings });
            serde_json::to_string_pretty(&all)? + "\n"
        }
        Format::Text => {
            let mut text = String::new();
            render(&plan, 0, &mut text);
            for warning in &checked.plan.warnings {
                let _ = writeln!(text, "warning: {warning}");
            }
            text
        }
    })
}

/// Removes what says nothing: null, false, and what is empty after that.
fn without_empty(value: Value) -> Value {
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    match value {
        Value::Object(map) => {
            let map = map.into_iter().map(|(key, value)| (key, without_empty(value)));
            Value::Object(map.filter(|(_, value)| says(value)).collect::<Map<_, _>>())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_empty).collect()),
        other => other,
    }
}

/// One line for each plain value; objects and lists are indented below their name.
fn render(value: &Value, depth: usize, text: &mut String) {
    let pad = "  ".repeat(depth);
    let line = |name: &str, value: &Value, text: &mut String| match plain(value) {
        Some(word) => {
            let _ = writeln!(text, "{pad}{name} {word}");
        }
        None => {
            let _ = writeln!(text, "{pad}{name}");
            render(value, depth + 1, text);
        }
    };
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| line(&format!("{}:", printable(key)), value, text)),
        Value::Array(list) => list.iter().for_each(|value| line("-", value, text)),
        other => line("", other, text),
    }
}

/// A value that fits on the line of its name.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(printable(text)),
        Value::Array(list) if list.iter().all(Value::is_number) => {
            Some(list.iter().map(Value::to_string).collect::<Vec<_>>().join(" "))
        }
        Value::Array(_) | Value::Object(_) => None,
        other => Some(other.to_string()),
    }
}

/// Text of a config.json must not steer the terminal that it is printed to.
fn printable(text: &str) -> String {
    if text.is_empty() || text.chars().any(char::is_control) {
        return format!("{text:?}");
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_indented_and_harmless() {
        let value = without_empty(json!({
            "a": {"b": 1, "c": [], "d": null, "e": false, "f": {"g": ""}},
            "h": ["x", "\u{1b}[2J", {"i": [1, 2]}],
        }));
        let mut text = String::new();
        render(&value, 0, &mut text);
        assert_eq!(text, "a:\n  b: 1\nh:\n  - x\n  - \"\\u{1b}[2J\"\n  -\n    i: 1 2\n");
    }
}
