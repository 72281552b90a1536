//! The file of `mounts add` and `mounts remove`: a JSON array like `mounts` of config.json.
//!
//! Called by `lifecycle::mounts`. The rule: every field that is not one of a mount is an error, because nothing that the
//! caller asks for may be ignored.

use std::path::Path;

use oci_spec::runtime::Mount;
use serde_json::Value;

use super::tolerance::drop_null_members;
use super::{LoadError, field, read_any};

/// The fields of a mount (config.md).
const FIELDS: [&str; 6] = ["destination", "type", "source", "options", "uidMappings", "gidMappings"];

/// Reads the file: any, a pipe for one; `-` is standard input.
///
/// # Errors
/// As [`LoadError`] lists them; an error in a field names it.
pub(crate) fn load_mounts(path: &Path) -> Result<Vec<Mount>, LoadError> {
    parse(&read_any(path)?)
}

fn parse(text: &[u8]) -> Result<Vec<Mount>, LoadError> {
    let list = serde_json::from_slice(text).map_err(|error| invalid("mounts".to_owned(), error.to_string()))?;
    let Value::Array(list) = list else {
        return Err(invalid("mounts".to_owned(), "must be a JSON array".to_owned()));
    };
    list.into_iter().enumerate().map(|(i, mount)| one(mount, i)).collect()
}

fn one(mut mount: Value, i: usize) -> Result<Mount, LoadError> {
    drop_null_members(&mut mount);
    let Some(members) = mount.as_object() else {
        return Err(invalid(format!("mounts[{i}]"), "must be a JSON object".to_owned()));
    };
    if let Some(name) = members.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(invalid(
            format!("mounts[{i}].{name}"),
            "is not a field of a mount".to_owned(),
        ));
    }
    serde_path_to_error::deserialize(mount).map_err(|error| {
        let path = match error.path().iter().next() {
            Some(_) => format!("mounts[{i}].{}", field(error.path())),
            None => format!("mounts[{i}]"),
        };
        invalid(path, error.inner().to_string())
    })
}

fn invalid(field: String, message: String) -> LoadError {
    LoadError::Invalid { field, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn a_list_as_in_config_json() {
        let list = parse(br#" [{"destination": "/a", "source": "/b", "options": ["bind"], "type": null}]"#).unwrap();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].destination(), Path::new("/a"));
        assert!(list[0].typ().is_none());
        assert!(parse(b"[]").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(error("{}"), "mounts: must be a JSON array");
        assert_eq!(error("[[]]"), "mounts[0]: must be a JSON object");
        assert_eq!(
            error(r#"[{"destination": "/a"}, {"destination": "/b", "sourc": "/c"}]"#),
            "mounts[1].sourc: is not a field of a mount"
        );
        assert!(error(r#"[{"source": "/b"}]"#).starts_with("mounts[0]: missing field"));
        assert!(error(r#"[{"destination": "/a", "options": "ro"}]"#).starts_with("mounts[0].options: invalid type"));
        assert!(
            error(r#"[{"destination": "/a", "uidMappings": [{"size": "x"}]}]"#).starts_with("mounts[0].uidMappings[0]")
        );
        assert!(error("[").starts_with("mounts: EOF"));
        assert!(error("[] x").starts_with("mounts: trailing"));
    }
}
