//! Look-ups that must not leave the root, and what is made in it.

use super::*;

fn image() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    (dir, root)
}

#[test]
fn what_is_below_an_anchor_is_seen_however_it_is_spelt() {
    let rest = |path| below(b"proc", Path::new(path)).and_then(OsStr::to_str);
    for path in [
        "/proc/sys",
        "//proc/sys",
        "/./proc//sys",
        "/proc/./sys",
        "/proc/././/sys",
    ] {
        assert_eq!(rest(path), Some("sys"), "{path}");
    }
    for path in ["/proc", "/proc/", "/proc/."] {
        assert_eq!(rest(path), Some(""), "{path}");
    }
    assert_eq!(rest("/proc/.sys"), Some(".sys"));
    assert_eq!(rest("/proc/../sys"), Some("../sys"));
    for path in ["/procession", "/sys/proc", "/", "proc/sys", "/.proc/sys"] {
        assert_eq!(rest(path), None, "{path}");
    }
}

#[test]
fn links_of_the_image_stay_inside_the_root() {
    let (dir, root) = image();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::os::unix::fs::symlink("/etc", dir.path().join("absolute")).unwrap();
    std::os::unix::fs::symlink("../../../../etc", dir.path().join("climbing")).unwrap();
    for link in ["/absolute/made/deep", "/climbing/made/deeper"] {
        root.make_dir(Path::new(link)).unwrap();
    }
    assert!(dir.path().join("etc/made/deep").is_dir());
    assert!(dir.path().join("etc/made/deeper").is_dir());
}

#[test]
fn magic_links_are_refused() {
    let (dir, root) = image();
    std::os::unix::fs::symlink("/proc/self/root", dir.path().join("out")).unwrap();
    // Inside the root there is no /proc at all: the link dangles instead of leading to the host.
    assert_eq!(root.resolve(Path::new("/out"), OFlags::PATH).unwrap_err(), Errno::NOENT);
    let host = Root::open(Path::new("/")).unwrap();
    assert_eq!(
        host.resolve(Path::new("/proc/self/root/etc"), OFlags::PATH)
            .unwrap_err(),
        Errno::LOOP
    );
}

#[test]
fn an_ordinary_directory_has_no_link_on_its_path() {
    let (dir, root) = image();
    std::fs::create_dir(dir.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("proc")).unwrap();
    assert!(root.resolve_ordinary_dir(Path::new("/real")).is_ok());
    assert_eq!(root.resolve_ordinary_dir(Path::new("/proc")).unwrap_err(), Errno::LOOP);
}

#[test]
fn dangling_links_are_followed_within_the_root() {
    let (dir, root) = image();
    std::os::unix::fs::symlink("/new/place", dir.path().join("absolute")).unwrap();
    std::os::unix::fs::symlink("../../up", dir.path().join("climbing")).unwrap();
    root.make_dir(Path::new("/absolute/below")).unwrap();
    root.make_file(Path::new("/climbing")).unwrap();
    assert!(dir.path().join("new/place/below").is_dir());
    assert!(dir.path().join("up").is_file());
    std::os::unix::fs::symlink("round", dir.path().join("round")).unwrap();
    assert_eq!(root.make_dir(Path::new("/round/x")).unwrap_err(), Errno::LOOP);
}

#[test]
fn what_is_below_an_anchor_is_looked_up_there() {
    let (dir, mut root) = image();
    std::fs::create_dir(dir.path().join("dev")).unwrap();
    std::os::unix::fs::symlink("/outer", dir.path().join("dev/link")).unwrap();
    root.anchor(
        Path::new("/dev"),
        root.make_dir(Path::new("/dev")).unwrap(),
        Names::OfAnyone,
    );
    std::fs::rename(dir.path().join("dev"), dir.path().join("moved")).unwrap();
    std::fs::create_dir(dir.path().join("dev")).unwrap();
    for path in ["/dev", "/dev/a/b", "/dev/link/c"] {
        root.make_dir(Path::new(path)).unwrap();
    }
    assert!(dir.path().join("moved/a/b").is_dir());
    // A link leads out of it, to where the container will see it.
    assert!(dir.path().join("outer/c").is_dir());
    assert_eq!(std::fs::read_dir(dir.path().join("dev")).unwrap().count(), 0);
    let gone = root.resolve(Path::new("/dev/../moved"), OFlags::PATH);
    assert!(gone.is_ok(), "{gone:?}");
}

#[test]
fn a_new_directory_is_new_and_right_below_an_anchor() {
    let (dir, mut root) = image();
    assert!(root.make_new_dir(Path::new("/dev/shm")).is_none());
    root.anchor(
        Path::new("/dev"),
        root.make_dir(Path::new("/dev")).unwrap(),
        Names::OfAnyone,
    );
    let made = root.make_new_dir(Path::new("/dev/shm")).unwrap();
    assert!(is_dir(made).unwrap());
    std::fs::create_dir(dir.path().join("outer")).unwrap();
    std::os::unix::fs::symlink("../outer", dir.path().join("dev/link")).unwrap();
    for path in [
        "/dev",
        "/dev/shm",
        "/dev/shm/deeper",
        "/dev/link",
        "/dev/link/x",
        "/dev/..",
    ] {
        assert!(root.make_new_dir(Path::new(path)).is_none(), "{path}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("outer")).unwrap().count(), 0);
}

#[test]
fn a_file_target_is_made_but_never_replaces_a_directory() {
    let (dir, root) = image();
    root.make_file(Path::new("/a/b/file")).unwrap();
    assert!(dir.path().join("a/b/file").is_file());
    assert_eq!(root.make_file(Path::new("/a/b")).unwrap_err(), Errno::ISDIR);
}
