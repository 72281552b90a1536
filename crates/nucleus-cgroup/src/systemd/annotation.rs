//! `org.systemd.property.NAME` annotations: properties of the scope, their values in GVariant's text format
//! (<https://docs.gtk.org/glib/gvariant-text-format.html>), as runc takes them.
//!
//! Annotations reach a container from people who may not command the host's systemd (CVE-2024-3154 of CRI-O: `ExecStart`
//! and the like by way of a pod). So only properties that bound, order or end the scope itself are taken, and only values
//! of simple types; systemd gets what was parsed, never the text.

use super::property::{Property, Value};
use crate::error::PlanError;

/// What the key of an annotation begins with that becomes a property of the scope.
pub const PREFIX: &str = "org.systemd.property.";

/// Properties that say nothing about anything but the scope's own resources, its place in the order of units, and its end.
const ALLOWED: [&str; 44] = [
    "After",
    "AllowedCPUs",
    "AllowedMemoryNodes",
    "Before",
    "CollectMode",
    "CoredumpReceive",
    "CPUQuotaPerSecUSec",
    "CPUQuotaPeriodUSec",
    "CPUWeight",
    "Description",
    "Documentation",
    "FinalKillSignal",
    "IgnoreOnIsolate",
    "IOAccounting",
    "IOWeight",
    "IPAccounting",
    "JobRunningTimeoutUSec",
    "JobTimeoutUSec",
    "KillMode",
    "KillSignal",
    "ManagedOOMMemoryPressure",
    "ManagedOOMMemoryPressureDurationUSec",
    "ManagedOOMMemoryPressureLimit",
    "ManagedOOMPreference",
    "ManagedOOMSwap",
    "MemoryHigh",
    "MemoryLow",
    "MemoryMax",
    "MemoryMin",
    "MemoryPressureThresholdUSec",
    "MemoryPressureWatch",
    "MemorySwapMax",
    "MemoryZSwapMax",
    "OOMPolicy",
    "RuntimeMaxUSec",
    "RuntimeRandomizedExtraUSec",
    "SendSIGHUP",
    "SendSIGKILL",
    "StartupCPUWeight",
    "StartupIOWeight",
    "SurviveFinalKillSignal",
    "TasksMax",
    "TimeoutStopUSec",
    "WatchdogSignal",
];

/// The properties among `annotations`.
///
/// # Errors
/// The annotation that is not one, by its key.
pub(super) fn properties(annotations: &[(String, String)]) -> Result<Vec<Property>, PlanError> {
    let ours = annotations
        .iter()
        .filter_map(|(key, text)| Some((key, key.strip_prefix(PREFIX)?, text)));
    ours.map(|(key, name, text)| {
        property(name, text).map_err(|problem| PlanError::new(format!("annotations.{key}"), problem))
    })
    .collect()
}

fn property(name: &str, text: &str) -> Result<Property, String> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("is not the name of a property: letters only, three at least".to_owned());
    }
    let value = parse(text).ok_or_else(|| {
        format!("{text:?} is not a value: true, 5, uint64 5, 1.5, 'text', ['several', 'texts'] or @as [] are")
    })?;
    // As runc: what is given in seconds is wanted in microseconds. `USec` is that already.
    let seconds = name
        .strip_suffix("Sec")
        .filter(|stem| stem.ends_with(|letter: char| letter.is_ascii_lowercase()));
    let (name, value) = match seconds {
        None => (name.to_owned(), value),
        Some(stem) => (
            format!("{stem}USec"),
            microseconds(&value).ok_or_else(|| format!("{text:?} is not a number of seconds"))?,
        ),
    };
    if !ALLOWED.contains(&name.as_str()) {
        return Err(format!(
            "{name} is not a property that an annotation may set: only limits, order and end of the container's own scope are"
        ));
    }
    Ok(Property {
        annotated: true,
        ..Property::new(&name, value)
    })
}

fn microseconds(value: &Value) -> Option<Value> {
    const SECOND: u64 = 1_000_000;
    let whole = match *value {
        Value::U8(number) => u64::from(number),
        Value::U16(number) => u64::from(number),
        Value::U32(number) => u64::from(number),
        Value::U64(number) => number,
        Value::I16(number) => u64::try_from(number).ok()?,
        Value::I32(number) => u64::try_from(number).ok()?,
        Value::I64(number) => u64::try_from(number).ok()?,
        Value::F64(number) => {
            let micro = number * SECOND as f64;
            // 2^63: beyond that lies no time.
            return (0.0..9.2e18).contains(&micro).then_some(Value::U64(micro as u64));
        }
        _ => return None,
    };
    whole.checked_mul(SECOND).map(Value::U64)
}

/// One value: a type in the form `@t` or `uint64`, or none, and a literal.
fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    let (kind, literal) = match text.split_once(char::is_whitespace) {
        Some((word, rest)) if word.starts_with('@') => (word[1..].to_owned(), rest.trim()),
        Some((word, rest)) if NAMES.iter().any(|(name, _)| *name == word) => {
            (NAMES.iter().find(|(name, _)| *name == word)?.1.to_owned(), rest.trim())
        }
        _ => (default_kind(text)?.to_owned(), text),
    };
    match kind.as_str() {
        "b" => literal.parse().ok().map(Value::Bool),
        "y" => literal.parse().ok().map(Value::U8),
        "n" => literal.parse().ok().map(Value::I16),
        "q" => literal.parse().ok().map(Value::U16),
        "i" => literal.parse().ok().map(Value::I32),
        "u" => literal.parse().ok().map(Value::U32),
        "x" => literal.parse().ok().map(Value::I64),
        "t" => literal.parse().ok().map(Value::U64),
        "d" => literal
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Value::F64),
        "s" => quoted(literal).and_then(|(value, rest)| rest.is_empty().then_some(Value::Text(value))),
        "as" => list(literal).map(Value::Texts),
        _ => None,
    }
}

/// The words that may stand before a literal instead of `@` and a letter.
const NAMES: [(&str, &str); 9] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
];

/// The type of a literal that says none.
fn default_kind(literal: &str) -> Option<&'static str> {
    match literal.bytes().next()? {
        b'\'' | b'"' => Some("s"),
        // An empty list could be one of anything.
        b'[' => Some("as").filter(|_| literal.contains(['\'', '"'])),
        b't' | b'f' => Some("b"),
        _ if literal.contains('.') => Some("d"),
        _ => Some("i"),
    }
}

/// A text in quotes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut letters = text.char_indices();
    let (_, quote) = letters.next().filter(|(_, letter)| matches!(letter, '\'' | '"'))?;
    let mut value = String::new();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                't' => '\t',
                letter @ ('\\' | '\'' | '"') => letter,
                _ => return None,
            }),
            letter if letter == quote => return Some((value, text[at + 1..].trim_start())),
            // D-Bus cannot carry it.
            '\0' => return None,
            letter => value.push(letter),
        }
    }
    None
}

/// Texts in brackets.
fn list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut values = Vec::new();
    if rest == "]" {
        return Some(values);
    }
    loop {
        let (value, more) = quoted(rest)?;
        values.push(value);
        match more.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None => return (more == "]").then_some(values),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_the_type_that_they_say() {
        let texts = |texts: &[&str]| Some(Value::Texts(texts.iter().map(|text| (*text).to_owned()).collect()));
        let cases = [
            ("true", Some(Value::Bool(true))),
            ("5", Some(Value::I32(5))),
            ("-5", Some(Value::I32(-5))),
            ("uint64 5", Some(Value::U64(5))),
            ("@t 5", Some(Value::U64(5))),
            ("@x -5", Some(Value::I64(-5))),
            ("byte 255", Some(Value::U8(255))),
            ("int16 -1", Some(Value::I16(-1))),
            ("@q 9", Some(Value::U16(9))),
            ("uint32 7", Some(Value::U32(7))),
            ("1.5", Some(Value::F64(1.5))),
            ("@d 2", Some(Value::F64(2.0))),
            ("'it''s'", None),
            (r#" "it's" "#, Some(Value::Text("it's".to_owned()))),
            (r"'a\'b\\'", Some(Value::Text(r"a'b\".to_owned()))),
            ("@s 'x'", Some(Value::Text("x".to_owned()))),
            ("['a', \"b\"]", texts(&["a", "b"])),
            ("@as []", texts(&[])),
            ("[]", None),
            ("[1, 2]", None),
            ("['a',]", None),
            ("['a'", None),
            ("'open", None),
            ("byte 256", None),
            ("@v 5", None),
            ("@a(ss) []", None),
            ("uint64 -1", None),
            ("5000000000", None),
            ("tru", None),
            ("inf.", None),
            ("@d inf", None),
            ("", None),
            ("'a\0b'", None),
            ("text", None),
        ];
        for (text, value) in cases {
            assert_eq!(parse(text), value, "{text:?}");
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        let of = |name: &str, text: &str| property(name, text).map(|property| (property.name, property.value));
        let is = |number| Ok(("TimeoutStopUSec".to_owned(), Value::U64(number)));
        assert_eq!(of("TimeoutStopSec", "uint64 3"), is(3_000_000));
        assert_eq!(of("TimeoutStopSec", "1.5"), is(1_500_000));
        assert_eq!(of("TimeoutStopUSec", "uint64 3"), is(3));
        for text in ["-1", "'3'", "uint64 18446744073709551615", "-0.5"] {
            assert!(of("TimeoutStopSec", text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_properties_and_names_are_refused() {
        let refused = |name: &str| {
            let annotation = (format!("{PREFIX}{name}"), "'x'".to_owned());
            properties(&[annotation]).unwrap_err().to_string()
        };
        for name in [
            "ExecStart",
            "ExecStopPost",
            "FailureAction",
            "SuccessAction",
            "JobTimeoutAction",
            "OnFailure",
            "Wants",
            "Conflicts",
            "PIDs",
            "Slice",
            "Delegate",
            "DeviceAllow",
            "DevicePolicy",
            "IPIngressFilterPath",
            "BPFProgram",
            "User",
        ] {
            assert_eq!(
                refused(name),
                format!(
                    "annotations.org.systemd.property.{name}: {name} is not a property that an annotation may set: only \
                     limits, order and end of the container's own scope are"
                )
            );
        }
        for name in ["", "A", "Kill-Mode", "KillMode2", "Kill Mode", "\u{e9}\u{e9}\u{e9}"] {
            assert!(refused(name).contains("is not the name of a property"), "{name}");
        }
        let other = ("org.example".to_owned(), "x".to_owned());
        assert_eq!(properties(&[other]), Ok(Vec::new()));
    }
}
