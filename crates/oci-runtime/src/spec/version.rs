//! `ociVersion`: Semantic Versioning, and the versions that this runtime understands.
//!
//! 1.0.0 up to every 1.3, with pre-release and build suffixes: engines write versions such as `1.0.2-dev`.

/// The highest minor version of the specification that is implemented.
const MINOR: u64 = 3;

/// Checks `ociVersion`.
///
/// # Errors
/// A message for the field.
pub(crate) fn check(version: &str) -> Result<(), String> {
    if version.is_empty() {
        return Err("must be set".to_owned());
    }
    match parse(version) {
        None => Err(format!("{version:?} is not a version in SemVer v2.0.0 format")),
        Some((1, 0..=MINOR)) => Ok(()),
        Some(_) => Err(format!(
            "unsupported version {version:?} (supported are 1.0.0 to 1.{MINOR}.x)"
        )),
    }
}

/// Major and minor number of a well-formed version.
fn parse(version: &str) -> Option<(u64, u64)> {
    let (version, build) = split_suffix(version, '+');
    let (core, pre_release) = split_suffix(version, '-');
    let identifiers = |suffix: Option<&str>| {
        suffix.is_none_or(|suffix| {
            suffix.split('.').all(|identifier| {
                !identifier.is_empty() && identifier.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
        })
    };
    if !identifiers(build) || !identifiers(pre_release) {
        return None;
    }
    let mut numbers = core.split('.').map(number);
    let version = (numbers.next()??, numbers.next()??);
    numbers.next()??;
    numbers.next().is_none().then_some(version)
}

fn split_suffix(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((text, suffix)) => (text, Some(suffix)),
        None => (text, None),
    }
}

/// A number without sign and leading zeros.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}
