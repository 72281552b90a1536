//! The state directory: which one it is, and which ones are refused.

mod common;

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use common::{id, is_root, names, scratch};
use nucleus_core::{DEFAULT_ROOT, Error, Result, Store, default_root, state_root};

fn env(pairs: &[(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
    let pairs = pairs.to_vec();
    move |name| {
        pairs
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.into())
    }
}

fn default(euid: u32, in_userns: bool, pairs: &[(&'static str, &'static str)]) -> Result<PathBuf> {
    default_root(euid, || in_userns, env(pairs))
}

const XDG: (&str, &str) = ("XDG_RUNTIME_DIR", "/run/user/1000");
const XDG_ROOT: &str = "/run/user/1000/nucleus";

#[test]
fn root_of_the_host_has_one_answer() {
    for pairs in [&[][..], &[XDG], &[XDG, ("USER", "bob")], &[("HOME", "/root")]] {
        assert_eq!(default(0, false, pairs).unwrap(), Path::new(DEFAULT_ROOT));
    }
}

#[test]
fn a_user_has_the_runtime_directory_or_an_error_with_advice() {
    for in_userns in [false, true] {
        assert_eq!(default(1000, in_userns, &[XDG]).unwrap(), Path::new(XDG_ROOT));
        for pairs in [
            &[][..],
            &[("XDG_RUNTIME_DIR", "")],
            &[("XDG_RUNTIME_DIR", "run")],
            &[("HOME", "/home/bob")],
        ] {
            let error = default(1000, in_userns, pairs).unwrap_err().to_string();
            assert!(error.contains("XDG_RUNTIME_DIR") && error.contains("--root"), "{error}");
        }
    }
}

#[test]
fn root_of_a_user_namespace_is_a_user_unless_it_calls_itself_root() {
    assert_eq!(default(0, true, &[XDG]).unwrap(), Path::new(XDG_ROOT));
    assert_eq!(default(0, true, &[XDG, ("USER", "bob")]).unwrap(), Path::new(XDG_ROOT));
    assert_eq!(default(0, true, &[XDG, ("USER", "")]).unwrap(), Path::new(XDG_ROOT));
    assert_eq!(
        default(0, true, &[XDG, ("USER", "root")]).unwrap(),
        Path::new(DEFAULT_ROOT)
    );
    assert_eq!(
        default(0, true, &[("XDG_RUNTIME_DIR", "")]).unwrap(),
        Path::new(DEFAULT_ROOT)
    );
}

#[test]
fn the_order_is_option_variable_default() {
    let pairs = [XDG, ("NUCLEUS_STATE_DIR", "/srv/state")];
    let root = |explicit: Option<&str>, uid, euid| {
        state_root(explicit.map(Path::new), uid, euid, || false, env(&pairs)).unwrap()
    };
    assert_eq!(root(Some("/srv/option"), 0, 0), Path::new("/srv/option"));
    assert_eq!(root(None, 0, 0), Path::new("/srv/state"));
    assert_eq!(root(None, 1000, 1000), Path::new("/srv/state"));
    assert_eq!(root(Some(""), 0, 0), Path::new("/srv/state"));
    let empty = state_root(None, 0, 0, || false, env(&[("NUCLEUS_STATE_DIR", "")])).unwrap();
    assert_eq!(empty, Path::new(DEFAULT_ROOT));
}

#[test]
fn the_environment_of_another_user_is_ignored() {
    let pairs = [XDG, ("NUCLEUS_STATE_DIR", "/srv/state")];
    assert_eq!(
        state_root(None, 1000, 0, || true, env(&pairs)).unwrap(),
        Path::new(DEFAULT_ROOT)
    );
    assert!(matches!(
        state_root(None, 0, 1000, || true, env(&pairs)),
        Err(Error::NoDefaultRoot)
    ));
}

#[test]
fn facts_that_do_not_matter_are_not_asked_for() {
    let never = || panic!("the user namespace was asked for");
    assert!(default_root(0, never, env(&[])).is_ok());
    assert!(default_root(1000, never, env(&[XDG])).is_ok());
    assert!(default_root(0, never, env(&[XDG, ("USER", "root")])).is_ok());
}

#[test]
fn a_missing_directory_is_made_for_us_alone() {
    let dir = scratch();
    let path = dir.path().join("a/b/root");
    let store = Store::open(&path, true).unwrap();
    assert_eq!(store.path(), path);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&dir.path().join("a")) & 0o022, 0);
    assert!(Store::open(&path, true).is_ok() && Store::open(&path, false).is_ok());
}

#[test]
fn a_directory_that_nobody_asked_to_make_holds_no_container() {
    let dir = scratch();
    let store = Store::open(&dir.path().join("missing"), false).unwrap();
    assert!(store.get(&id("c")).unwrap_err().is_not_found());
    assert!(store.ids().unwrap().is_empty());
    assert_eq!(store.list().unwrap().count(), 0);
    assert!(
        store
            .reserve(&id("c"))
            .unwrap_err()
            .to_string()
            .ends_with("no such file or directory")
    );
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_directory_that_others_may_write_to_is_refused_and_left_alone() {
    let dir = scratch();
    for mode in [0o1777, 0o777, 0o770, 0o702] {
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
        for create in [false, true] {
            let error = Store::open(dir.path(), create).unwrap_err();
            assert!(matches!(&error, Error::WritableRoot { mode: told, .. } if *told == mode));
            assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
        }
        assert_eq!(dir.path().metadata().unwrap().permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn the_mode_of_a_directory_that_exists_is_never_changed() {
    let dir = scratch();
    for mode in [0o755, 0o711, 0o1700] {
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
        Store::open(dir.path(), true).unwrap();
        assert_eq!(dir.path().metadata().unwrap().permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn a_directory_of_another_owner_is_refused() {
    if !is_root() {
        return common::skip("needs root");
    }
    let dir = scratch();
    std::os::unix::fs::chown(dir.path(), Some(12345), Some(12345)).unwrap();
    let before = dir.path().metadata().unwrap();
    let error = Store::open(dir.path(), true).unwrap_err();
    assert!(matches!(
        error,
        Error::ForeignRoot {
            owner: 12345,
            euid: 0,
            ..
        }
    ));
    let after = dir.path().metadata().unwrap();
    assert_eq!((after.uid(), after.mode()), (12345, before.mode()));
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_link_in_the_place_of_the_directory_is_refused() {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    std::fs::set_permissions(dir.path().join("real"), PermissionsExt::from_mode(0o700)).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    for end in ["link", "link/", "link//", "link/."] {
        let error = Store::open(&dir.path().join(end), true).unwrap_err();
        assert!(matches!(error, Error::SymlinkRoot { .. }), "{end}: {error}");
        assert!(error.to_string().contains("use a real directory"), "{error}");
    }
    symlink("nowhere", dir.path().join("dangling")).unwrap();
    assert!(matches!(
        Store::open(&dir.path().join("dangling"), true),
        Err(Error::SymlinkRoot { .. })
    ));
    assert_eq!(names(dir.path()), ["dangling", "link", "real"]);
}

#[test]
fn a_link_on_the_way_is_followed_but_no_magic_one() {
    let dir = scratch();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    assert!(Store::open(&dir.path().join("link/root"), true).is_ok());
    assert!(dir.path().join("real/root").is_dir());
    let open = std::fs::File::open(dir.path().join("real")).unwrap();
    let magic = format!("/proc/self/fd/{}/root", std::os::fd::AsRawFd::as_raw_fd(&open));
    assert!(matches!(
        Store::open(Path::new(&magic), false),
        Err(Error::OpenRoot { .. })
    ));
}

#[test]
fn what_is_no_directory_is_refused() {
    let dir = scratch();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Store::open(&dir.path().join("file"), true).unwrap_err();
    assert!(error.to_string().ends_with(": not a directory"), "{error}");
    let error = Store::open(&dir.path().join("file/root"), true).unwrap_err();
    assert!(error.to_string().ends_with(": not a directory"), "{error}");
}

#[test]
fn an_exchange_of_the_path_after_opening_leads_nowhere() {
    let dir = scratch();
    let (path, evil) = (dir.path().join("root"), dir.path().join("evil"));
    let store = Store::open(&path, true).unwrap();
    std::fs::create_dir(&evil).unwrap();
    std::fs::rename(&path, dir.path().join("moved")).unwrap();
    symlink(&evil, &path).unwrap();
    store.reserve(&id("c")).unwrap().commit();
    assert!(names(&evil).is_empty());
    assert_eq!(names(&dir.path().join("moved")), ["c"]);
}

#[test]
fn no_probe_is_written() {
    let dir = scratch();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o500)).unwrap();
    let before = dir.path().metadata().unwrap();
    let store = Store::open(dir.path(), true).unwrap();
    assert_eq!(store.list().unwrap().count(), 0);
    let after = dir.path().metadata().unwrap();
    assert_eq!(
        (before.mtime(), before.mtime_nsec()),
        (after.mtime(), after.mtime_nsec())
    );
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).unwrap();
}
