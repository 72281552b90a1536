//! `linux.cgroupsPath` for the systemd driver: `slice:prefix:name`, as runc reads it.
//!
//! Pure text. `a-b-c.slice` lies in `a-b.slice`, which lies in `a.slice` (systemd.slice(5)), so that a slice's name is its
//! path.

use std::path::PathBuf;

use super::Bus;
use crate::error::PlanError;

const FIELD: &str = "linux.cgroupsPath";
const SLICE: &str = ".slice";
/// `UNIT_NAME_MAX`, the final NUL not counted.
const LONGEST: usize = 255;

/// Where a scope goes and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// The slice that holds it.
    pub(super) slice: String,
    /// That slice's directory below systemd's own.
    pub(super) below: PathBuf,
    /// The scope.
    pub(super) unit: String,
}

impl Name {
    /// Reads `linux.cgroupsPath`. An absent one is a scope `nucleus-ID.scope`; an empty slice is `system.slice`, or
    /// `user.slice` with a user's systemd.
    pub(super) fn parse(cgroups_path: Option<&str>, id: &str, bus: Bus) -> Result<Name, PlanError> {
        let refuse = |problem: String| PlanError::new(FIELD, problem);
        let text = cgroups_path.filter(|path| !path.is_empty());
        let (slice, prefix, name) = match text.map(|path| path.split(':').collect::<Vec<_>>()).as_deref() {
            None => ("", "nucleus", escape(id)),
            Some([slice, prefix, name]) => (*slice, *prefix, (*name).to_owned()),
            Some(_) => {
                let got = text.unwrap_or_default();
                return Err(refuse(format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {got:?} instead"
                )));
            }
        };
        if name.is_empty() {
            return Err(refuse("names no unit: slice:prefix:name needs a name".to_owned()));
        }
        if name.ends_with(SLICE) {
            return Err(refuse(format!(
                "{name}: a slice holds no processes, only units: give a name for a scope"
            )));
        }
        let unit = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        if !is_valid(&unit) {
            return Err(refuse(format!(
                "{unit:?} is not a name for a unit: letters, digits and :-_.\\@ only, {LONGEST} at most"
            )));
        }
        let slice = match (slice, bus) {
            ("", Bus::System) => "system.slice",
            ("", Bus::User) => "user.slice",
            (slice, _) => slice,
        };
        Ok(Name {
            below: expand(slice).ok_or_else(|| refuse(format!("{slice:?} is not the name of a slice")))?,
            slice: slice.to_owned(),
            unit,
        })
    }
}

/// `a-b.slice` → `a.slice/a-b.slice`; `-.slice` is the top.
fn expand(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(SLICE).filter(|_| is_valid(slice))?;
    if name == "-" {
        return Some(PathBuf::new());
    }
    let mut path = PathBuf::new();
    for (end, _) in name.match_indices('-').chain([(name.len(), "")]) {
        let part = &name[..end];
        // Neither "-a" nor "a--b" nor "a-".
        if part.is_empty() || part.ends_with('-') {
            return None;
        }
        path.push(format!("{part}{SLICE}"));
    }
    Some(path)
}

/// `VALID_CHARS` of systemd's unit-name.c.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte)
}

fn is_valid(unit: &str) -> bool {
    unit.len() <= LONGEST && unit.bytes().all(|byte| is_plain(byte) || byte == b'@') && !unit.starts_with('.')
}

/// systemd-escape's way to write what a unit's name cannot have: a container's id may have a `+`.
fn escape(id: &str) -> String {
    let one = |byte: u8| match is_plain(byte) && byte != b'\\' {
        true => char::from(byte).to_string(),
        false => format!("\\x{byte:02x}"),
    };
    id.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Result<(String, String, String), String> {
        Name::parse(Some(path), "box", Bus::System)
            .map(|name| (name.slice, name.below.display().to_string(), name.unit))
            .map_err(|error| error.to_string())
    }

    fn is(slice: &str, below: &str, unit: &str) -> Result<(String, String, String), String> {
        Ok((slice.to_owned(), below.to_owned(), unit.to_owned()))
    }

    #[test]
    fn three_parts_are_slice_prefix_and_name() {
        assert_eq!(
            parse("machine.slice:libpod:abc"),
            is("machine.slice", "machine.slice", "libpod-abc.scope")
        );
        assert_eq!(parse(":runc:x"), is("system.slice", "system.slice", "runc-x.scope"));
        assert_eq!(parse("::x"), is("system.slice", "system.slice", "x.scope"));
        assert_eq!(
            parse("a-b-c.slice:p:n"),
            is("a-b-c.slice", "a.slice/a-b.slice/a-b-c.slice", "p-n.scope")
        );
        assert_eq!(parse("-.slice:p:n"), is("-.slice", "", "p-n.scope"));
    }

    #[test]
    fn an_absent_path_is_named_after_the_container() {
        for path in [None, Some("")] {
            let name = Name::parse(path, "a+b_c", Bus::User).unwrap();
            assert_eq!(
                (name.slice.as_str(), name.unit.as_str()),
                ("user.slice", "nucleus-a\\x2bb_c.scope")
            );
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for path in ["/a/b", "a", "a:b", "a.slice:b:c:d"] {
            let error = parse(path).unwrap_err();
            assert_eq!(
                error,
                format!(
                    "linux.cgroupsPath: expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, \
                     got {path:?} instead"
                )
            );
        }
        for path in [
            "a:b:c",
            ".slice:b:c",
            "-a.slice:b:c",
            "a--b.slice:b:c",
            "a-.slice:b:c",
            "../a.slice:b:c",
            "a.slice::",
            "a.slice:b:",
            "a.slice:b:../c",
            "a.slice:b:c/d",
            "a.slice:b:c d",
            "a.slice:b:n.slice",
            "::.x",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
        assert!(parse(&format!("a.slice:b:{}", "x".repeat(250))).is_err());
    }
}
