//! Listing, looking up and removing containers, the broken ones too.

mod common;

use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;

use common::{container, id, names, root, state, within_seconds};
use nucleus_core::{Durability, Error, STATE_FILE};

#[test]
fn removing_again_is_fine_and_never_hits_the_next_of_the_name() {
    let (_scratch, store) = root();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    dir.remove(Durability::Lasting).unwrap();
    dir.remove(Durability::Lasting).unwrap();
    std::fs::create_dir(store.path().join("c")).unwrap();
    dir.remove(Durability::Lasting).unwrap();
    assert_eq!(names(store.path()), ["c"]);
}

#[test]
fn leftovers_are_removed_and_nothing_is_followed() {
    let (scratch, store) = root();
    let path = container(&store, "c");
    let victim = scratch.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("precious"), "").unwrap();
    symlink(&victim, path.join("link")).unwrap();
    std::fs::write(path.join(".state.77.1.0"), "{").unwrap();
    std::fs::create_dir(path.join("criu-root")).unwrap();
    std::fs::write(path.join("unknown"), "").unwrap();
    let dir = store.get(&id("c")).unwrap();
    dir.make_fifo().unwrap();
    dir.remove(Durability::Lasting).unwrap();
    assert!(names(store.path()).is_empty());
    assert_eq!(names(&victim), ["precious"]);
}

#[test]
fn the_notify_directory_is_removed_whatever_is_in_it() {
    let (scratch, store) = root();
    let path = container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    assert!(dir.bind_notify_socket().unwrap().is_none(), "it was made without");
    dir.make_notify_dir().unwrap();
    assert_eq!(path.join("notify").metadata().unwrap().mode() & 0o777, 0o755);
    for _ in 0..2 {
        // Again after one that was cut off.
        let socket = dir.bind_notify_socket().unwrap().expect("a socket");
        let file = path.join("notify/notify.sock").metadata().unwrap();
        assert_eq!(file.mode() & 0o777, 0o777);
        drop(socket);
    }
    let victim = scratch.path().join("victim");
    std::fs::create_dir(&victim).unwrap();
    std::fs::write(victim.join("precious"), "").unwrap();
    std::fs::create_dir_all(path.join("notify/a/b")).unwrap();
    symlink(&victim, path.join("notify/a/link")).unwrap();
    dir.remove(Durability::Lasting).unwrap();
    assert!(names(store.path()).is_empty());
    assert_eq!(names(&victim), ["precious"]);
}

#[test]
fn a_removal_that_cannot_finish_keeps_the_state() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    std::fs::create_dir_all(path.join("foreign/things")).unwrap();
    let dir = store.get(&id("c")).unwrap();
    let error = dir.remove(Durability::Lasting).unwrap_err().to_string();
    assert!(
        error.contains("foreign") && error.ends_with(": directory not empty"),
        "{error}"
    );
    assert!(dir.load().is_ok() && path.join("foreign/things").is_dir());
    std::fs::remove_dir(path.join("foreign/things")).unwrap();
    dir.remove(Durability::Lasting).unwrap();
    assert!(names(store.path()).is_empty());
}

#[test]
fn a_corrupt_container_can_be_listed_locked_and_removed() {
    let (_scratch, store) = root();
    let path = container(&store, "broken");
    std::fs::write(path.join(STATE_FILE), "{").unwrap();
    std::fs::create_dir(store.path().join("empty")).unwrap();
    let listed: Vec<_> = store
        .list()
        .unwrap()
        .map(|(id, state)| (id.to_string(), state.is_err()))
        .collect();
    assert_eq!(listed, [("broken".to_owned(), true), ("empty".to_owned(), true)]);
    for name in ["broken", "empty"] {
        let dir = store.get(&id(name)).unwrap();
        let _lock = dir.lock().unwrap();
        dir.remove(Durability::Lasting).unwrap();
    }
    assert!(names(store.path()).is_empty());
}

#[test]
fn the_list_is_sorted_and_one_bad_container_does_not_spoil_it() {
    let (_scratch, store) = root();
    for name in ["zeta", "alpha", "mid.dle"] {
        container(&store, name);
    }
    let fifo = container(&store, "fifo").join(STATE_FILE);
    std::fs::remove_file(&fifo).unwrap();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::fs::create_dir(store.path().join(".cache")).unwrap();
    std::fs::create_dir(store.path().join("not an id")).unwrap();
    std::fs::write(store.path().join("a-file"), "").unwrap();
    let list = within_seconds(move || {
        store
            .list()
            .unwrap()
            .map(|(id, state)| (id.to_string(), state.is_ok()))
            .collect::<Vec<_>>()
    });
    let list: Vec<_> = list.iter().map(|(id, ok)| (id.as_str(), *ok)).collect();
    assert_eq!(
        list,
        [("alpha", true), ("fifo", false), ("mid.dle", true), ("zeta", true)]
    );
}

#[test]
fn containers_that_come_and_go_do_not_fail_the_list() {
    let (_scratch, store) = root();
    container(&store, "stays");
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for round in 0..200 {
                let reservation = store.reserve(&id(&format!("c{}", round % 7))).unwrap();
                reservation
                    .save(&state(reservation.id().as_str()), Durability::Lasting)
                    .unwrap();
            }
        });
        while !worker.is_finished() {
            let list: Vec<_> = store.list().unwrap().collect();
            assert!(list.iter().any(|(name, state)| name == &id("stays") && state.is_ok()));
            for (name, state) in list {
                // A directory without its file yet (or without it any more) is all that may be wrong.
                assert!(
                    matches!(state, Ok(_) | Err(Error::Incomplete { .. })),
                    "{name}: {state:?}"
                );
            }
        }
    });
}

#[test]
fn verbs_never_match_a_prefix() {
    let (_scratch, store) = root();
    container(&store, "9748ea0123");
    assert!(store.get(&id("974")).unwrap_err().is_not_found());
    assert!(store.get(&id("9748ea012")).unwrap_err().is_not_found());
}

#[test]
fn a_verb_does_not_look_at_other_containers() {
    let (_scratch, store) = root();
    container(&store, "c");
    let other = container(&store, "other").join(STATE_FILE);
    let before = other.metadata().unwrap();
    store.get(&id("c")).unwrap().load().unwrap();
    assert_eq!((before.atime(), before.atime_nsec()), {
        let after = other.metadata().unwrap();
        (after.atime(), after.atime_nsec())
    });
}
