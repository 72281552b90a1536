//! What `--version` prints.
//!
//! dockerd and podman read it: dockerd takes name and version from the line with the word "version" and the rest from
//! the prefixes `commit:` and `spec:`, so exactly one line may contain that word; podman shows the first line.

use libseccomp::ScmpVersion;

/// The version of the runtime specification that is implemented.
pub const SPEC: &str = "1.3.0";

/// Our own version.
pub const NUCLEUS: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, as the build passes it in `NUCLEUS_COMMIT`.
pub fn commit() -> &'static str {
    match option_env!("NUCLEUS_COMMIT").map(str::trim) {
        None | Some("") => "unknown",
        Some(commit) => commit,
    }
}

/// The version of libseccomp that is linked in; `None` if it will not tell.
pub fn libseccomp() -> Option<String> {
    ScmpVersion::current().ok().map(|version| version.to_string())
}

/// The whole text, newline at the end.
pub fn text() -> String {
    let mut text = format!("nucleus version {NUCLEUS}\ncommit: {}\nspec: {SPEC}\n", commit());
    if let Some(version) = libseccomp() {
        text.push_str("libseccomp: ");
        text.push_str(&version);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_dockerd_parses() {
        let text = text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("nucleus version {NUCLEUS}"));
        assert!(
            lines[1]
                .strip_prefix("commit: ")
                .is_some_and(|commit| !commit.is_empty())
        );
        assert_eq!(lines[2], "spec: 1.3.0");
        assert!(lines[3].strip_prefix("libseccomp: ").is_some_and(|version| {
            version
                .split('.')
                .filter(|number| number.parse::<u32>().is_ok())
                .count()
                == 3
        }));
        assert_eq!(lines.len(), 4);
        assert_eq!(text.matches("version").count(), 1);
        assert!(text.ends_with('\n'));
    }
}
