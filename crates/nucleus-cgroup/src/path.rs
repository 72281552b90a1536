//! Where below a hierarchy's mount a container's cgroup goes: the rules of `linux.cgroupsPath`.
//!
//! Pure text. Called by the plan. The rule that it keeps: whatever config.json says, the result lies below the mount
//! point, because `..` is resolved as in a rooted path before anything is joined.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where a `cgroupsPath` starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `/a/b`: below the hierarchy's mount point.
    Absolute(PathBuf),
    /// `a/b`, or the container's id when config says nothing: below the runtime's own cgroup.
    Relative(PathBuf),
}

impl Place {
    /// Reads `linux.cgroupsPath` for the cgroupfs driver, as runc does: a path that is absent or empty is the
    /// container's id, relative. `None` when nothing is left after cleaning (`/`, `..`): that would be a cgroup that
    /// is not ours.
    pub(crate) fn parse(cgroups_path: Option<&str>, id: &str) -> Option<Place> {
        let text = cgroups_path.filter(|path| !path.is_empty()).unwrap_or(id);
        let clean = clean(Path::new(text));
        if clean.as_os_str().is_empty() {
            return None;
        }
        Some(if text.starts_with('/') {
            Place::Absolute(clean)
        } else {
            Place::Relative(clean)
        })
    }

    /// The directory below the mount point of a hierarchy in which the runtime itself sits in `own`.
    ///
    /// On a pure v2 host a relative path goes beside the runtime's own cgroup, not below: a cgroup that holds
    /// processes cannot hand controllers down (cgroup-v2.rst, "No Internal Process Constraint").
    pub(crate) fn below(&self, own: &Path, beside: bool) -> PathBuf {
        match self {
            Place::Absolute(path) => path.clone(),
            Place::Relative(path) => {
                let mut base = clean(own);
                if beside {
                    base.pop();
                }
                base.join(path)
            }
        }
    }
}

/// Resolves `.` and `..` as if `path` stood below `/`, and drops the leading slash.
pub(crate) fn clean(path: &Path) -> PathBuf {
    let text = path.as_os_str().as_bytes();
    let mut result = Vec::with_capacity(text.len());
    for part in text.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => result.truncate(result.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            name => {
                if !result.is_empty() {
                    result.push(b'/');
                }
                result.extend_from_slice(name);
            }
        }
    }
    OsString::from_vec(result).into()
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use super::*;

    fn place(path: Option<&str>) -> Option<PathBuf> {
        Place::parse(path, "box").map(|place| place.below(Path::new("/user/session"), false))
    }

    #[test]
    fn absolute_relative_and_absent() {
        assert_eq!(place(Some("/docker/abc")), Some("docker/abc".into()));
        assert_eq!(place(Some("abc")), Some("user/session/abc".into()));
        assert_eq!(place(Some("")), Some("user/session/box".into()));
        assert_eq!(place(None), Some("user/session/box".into()));
    }

    #[test]
    fn dots_cannot_climb_out() {
        assert_eq!(place(Some("/../../x/../y")), Some("y".into()));
        assert_eq!(place(Some("../../../x")), Some("user/session/x".into()));
        assert_eq!(place(Some("/")), None);
        assert_eq!(place(Some("a/..")), None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_climbs_out(path in "[a./]{0,12}", own in "[a./]{0,8}", beside in proptest::bool::ANY) {
            if let Some(place) = Place::parse(Some(&path), "box") {
                let below = place.below(Path::new(&own), beside);
                proptest::prop_assert!(!below.as_os_str().is_empty());
                proptest::prop_assert!(below.components().all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }

    #[test]
    fn beside_on_pure_v2() {
        let place = Place::parse(None, "box").unwrap();
        assert_eq!(place.below(Path::new("/user/session"), true), Path::new("user/box"));
        assert_eq!(place.below(Path::new("/"), true), Path::new("box"));
        let place = Place::parse(Some("/a"), "box").unwrap();
        assert_eq!(place.below(Path::new("/user/session"), true), Path::new("a"));
    }
}
