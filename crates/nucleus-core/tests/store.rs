//! The state file: saved as a whole, loaded only if it is what it must be.

mod common;

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use common::{container, id, is_root, names, root, state, within_seconds};
use nucleus_core::{Durability, Error, STATE_FILE, Store};

#[test]
fn an_unknown_container_has_its_own_error_and_runcs_text() {
    let (_scratch, store) = root();
    let error = store.get(&id("c")).unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "container does not exist");
}

#[test]
fn what_is_saved_is_loaded() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    let mut state = dir.load().unwrap();
    state.annotations.insert("ä".to_owned(), "\u{0}\"\n".to_owned());
    dir.save(&state, Durability::Lasting).unwrap();
    assert_eq!(dir.load().unwrap(), state);
    let file = path.join(STATE_FILE);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(file).unwrap().contains("\n  \"id\": \"c\""));
    assert_eq!(names(&path), ["lock", STATE_FILE]);
}

#[test]
fn links_at_the_file_or_at_temporary_names_are_not_written_through() {
    let (scratch, store) = root();
    let path = container(&store, "c");
    let victim = scratch.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::remove_file(path.join(STATE_FILE)).unwrap();
    symlink(&victim, path.join(STATE_FILE)).unwrap();
    symlink(&victim, path.join("state.json.tmp")).unwrap();
    let dir = store.get(&id("c")).unwrap();
    dir.save(&state("c"), Durability::Lasting).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(path.join(STATE_FILE).symlink_metadata().unwrap().is_file());
    assert!(dir.load().is_ok());
}

#[test]
fn a_failed_save_leaves_the_old_state_and_no_temporary_file() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    // A directory in the place of the file makes the very last step fail.
    std::fs::remove_file(path.join(STATE_FILE)).unwrap();
    std::fs::create_dir(path.join(STATE_FILE)).unwrap();
    let error = store
        .get(&id("c"))
        .unwrap()
        .save(&state("c"), Durability::Lasting)
        .unwrap_err();
    assert!(error.to_string().ends_with(": is a directory"), "{error}");
    assert_eq!(names(&path), ["lock", STATE_FILE]);
}

#[test]
fn a_full_disk_leaves_the_old_state_and_no_temporary_file() {
    let scratch = common::scratch();
    let mount = scratch.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"])
        .arg(&mount)
        .output();
    if !is_root() || !mounted.is_ok_and(|output| output.status.success()) {
        return common::skip("needs root to mount a tmpfs");
    }
    let store = Store::open(&mount, true).unwrap();
    let path = container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    let old = dir.load().unwrap();
    let mut big = old.clone();
    big.command = vec!["x".repeat(200_000)];
    let error = dir.save(&big, Durability::Lasting);
    let (after, left) = (dir.load(), names(&path));
    drop((dir, store));
    Command::new("umount").arg("-l").arg(&mount).status().unwrap();
    assert!(error.unwrap_err().to_string().ends_with(": no space left on device"));
    assert_eq!(after.unwrap(), old);
    assert_eq!(left, ["lock", STATE_FILE]);
}

#[test]
fn a_lasting_file_system_is_saved_to_as_well() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&scratch.path().join("root"), true).unwrap();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    assert_eq!(dir.load().unwrap().id, id("c"));
    dir.remove(Durability::Lasting).unwrap();
    assert!(names(store.path()).is_empty());
}

#[test]
fn readers_see_the_old_or_the_new_state_and_never_a_torn_one() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (1..=2)
            .map(|writer: usize| {
                let dir = dir.clone();
                scope.spawn(move || {
                    for round in 0..200 {
                        let mut state = state("c");
                        state.command = vec![format!("{writer}"); 1 + (round * writer) % 97];
                        dir.save(&state, Durability::Lasting).unwrap();
                    }
                })
            })
            .collect();
        while !writers.iter().all(|writer| writer.is_finished()) {
            let command = dir.load().unwrap().command;
            assert!(command.iter().all(|word| word == &command[0]));
        }
    });
    assert_eq!(names(&path), ["lock", STATE_FILE]);
}

#[test]
fn fifo_named_state_json_does_not_hang() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    std::fs::remove_file(path.join(STATE_FILE)).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(path.join(STATE_FILE))
            .status()
            .unwrap()
            .success()
    );
    within_seconds(move || {
        let error = store.get(&id("c")).unwrap().load().unwrap_err();
        assert!(
            matches!(&error, Error::CorruptState { what, .. } if what == "it is not a regular file"),
            "{error}"
        );
    });
}

#[test]
fn only_a_regular_file_of_sane_size_is_read() {
    let (scratch, store) = root();
    let path = container(&store, "c");
    let (file, dir) = (path.join(STATE_FILE), store.get(&id("c")).unwrap());
    let good = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::write(scratch.path().join("elsewhere"), &good).unwrap();
    symlink(scratch.path().join("elsewhere"), &file).unwrap();
    assert!(dir.load().unwrap_err().to_string().ends_with("it is a symbolic link"));

    std::fs::remove_file(&file).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(&file).unwrap();
    assert!(
        dir.load()
            .unwrap_err()
            .to_string()
            .ends_with("it is not a regular file")
    );
    drop(socket);

    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(
        dir.load()
            .unwrap_err()
            .to_string()
            .ends_with("it is not a regular file")
    );

    std::fs::remove_dir(&file).unwrap();
    std::fs::File::create(&file).unwrap().set_len((4 << 20) + 1).unwrap();
    assert!(dir.load().unwrap_err().to_string().contains("more than 4194304 bytes"));
}

#[test]
fn unreadable_and_unparsable_are_told_apart() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    for bad in [
        "",
        "{",
        "{}",
        "[]",
        "null",
        "{\"id\":\"c\",\"init\":{\"pid\":1}}",
        "\u{feff}{\"id\":\"c\"}",
    ] {
        std::fs::write(path.join(STATE_FILE), bad).unwrap();
        assert!(matches!(dir.load(), Err(Error::ParseState { .. })), "{bad}");
    }
    std::fs::remove_file(path.join(STATE_FILE)).unwrap();
    let error = dir.load().unwrap_err();
    assert!(matches!(error, Error::Incomplete { .. }) && !error.is_not_found());
    assert!(error.to_string().starts_with("container does not exist"));
    dir.remove(Durability::Lasting).unwrap();
    assert!(dir.load().unwrap_err().is_not_found());
}

#[test]
fn the_state_of_another_container_is_refused() {
    let (_scratch, store) = root();
    let (one, other) = (container(&store, "one"), container(&store, "other"));
    std::fs::copy(other.join(STATE_FILE), one.join(STATE_FILE)).unwrap();
    let error = store.get(&id("one")).unwrap().load().unwrap_err();
    assert!(
        error.to_string().ends_with("it is the state of container other"),
        "{error}"
    );
}

#[test]
fn an_init_with_pid_1_is_refused() {
    let (_scratch, store) = root();
    let path = container(&store, "c").join(STATE_FILE);
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    json["init"] = serde_json::to_value(nucleus_core::ProcessIdentity::current().unwrap()).unwrap();
    json["init"]["pid"] = 1.into();
    std::fs::write(&path, json.to_string()).unwrap();
    assert!(matches!(
        store.get(&id("c")).unwrap().load(),
        Err(Error::CorruptState { .. })
    ));
}

#[test]
fn a_link_in_the_place_of_a_container_is_no_container() {
    let (scratch, store) = root();
    container(&store, "real");
    symlink(store.path().join("real"), store.path().join("link")).unwrap();
    std::fs::write(store.path().join("file"), "").unwrap();
    for name in ["link", "file"] {
        assert!(matches!(store.get(&id(name)), Err(Error::OpenContainer { .. })));
        assert!(matches!(store.reserve(&id(name)), Err(Error::Exists { .. })));
    }
    assert_eq!(store.ids().unwrap(), [id("real")]);
    drop(scratch);
}
