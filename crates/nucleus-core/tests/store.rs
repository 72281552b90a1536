//! The store: reserving, saving, loading, locking, listing and removing containers.

mod common;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use common::{container, id, is_root, names, root, state};
use nucleus_core::{Error, MIN_PREFIX_LENGTH, STATE_FILE, Store};

/// Runs what must not hang; a hang fails the test instead of the whole run.
fn within_seconds<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(10)).expect("it hangs")
}

#[test]
fn w16_an_id_is_taken_once() {
    let (_scratch, store) = root();
    let reservation = store.reserve(&id("c")).unwrap();
    let error = store.reserve(&id("c")).unwrap_err();
    assert_eq!(error.to_string(), "container with given ID already exists");
    drop(reservation.commit());
    assert!(matches!(store.reserve(&id("c")), Err(Error::Exists { .. })));
    assert_eq!(
        store.path().join("c").metadata().unwrap().permissions().mode() & 0o7777,
        0o700
    );
}

#[test]
fn w16_ids_that_look_like_files_of_the_flat_layout_do_not_collide() {
    let (_scratch, store) = root();
    for name in ["c", "c.json", "c.exec", "state.json", "lock"] {
        container(&store, name);
    }
    assert!(store.list().unwrap().all(|(_, state)| state.is_ok()));
}

#[test]
fn w16_of_many_who_want_an_id_one_gets_it() {
    let (_scratch, store) = root();
    for round in 0..20 {
        let (barrier, won) = (Arc::new(Barrier::new(4)), Arc::new(AtomicUsize::new(0)));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    match store.reserve(&id(&format!("c{round}"))) {
                        Ok(reservation) => {
                            won.fetch_add(1, Ordering::Relaxed);
                            drop(reservation.commit());
                        }
                        Err(error) => assert!(matches!(error, Error::Exists { .. }), "{error}"),
                    }
                });
            }
        });
        assert_eq!(won.load(Ordering::Relaxed), 1);
    }
}

#[test]
fn a_reservation_that_is_not_committed_leaves_nothing() {
    let (_scratch, store) = root();
    let reservation = store.reserve(&id("c")).unwrap();
    reservation.make_fifo().unwrap();
    reservation.save(&state("c")).unwrap();
    drop(reservation);
    assert!(names(store.path()).is_empty());
    assert!(store.reserve(&id("c")).is_ok());
}

#[test]
fn w28_an_unknown_container_has_its_own_error_and_runcs_text() {
    let (_scratch, store) = root();
    let error = store.get(&id("c")).unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "container does not exist");
}

#[test]
fn s17_what_is_saved_is_loaded() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    let mut state = dir.load().unwrap();
    state.annotations.insert("ä".to_owned(), "\u{0}\"\n".to_owned());
    dir.save(&state).unwrap();
    assert_eq!(dir.load().unwrap(), state);
    let file = path.join(STATE_FILE);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(file).unwrap().contains("\n  \"id\": \"c\""));
    assert_eq!(names(&path), ["lock", STATE_FILE]);
}

#[test]
fn w17_links_at_the_file_or_at_temporary_names_are_not_written_through() {
    let (scratch, store) = root();
    let path = container(&store, "c");
    let victim = scratch.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::remove_file(path.join(STATE_FILE)).unwrap();
    symlink(&victim, path.join(STATE_FILE)).unwrap();
    symlink(&victim, path.join("state.json.tmp")).unwrap();
    let dir = store.get(&id("c")).unwrap();
    dir.save(&state("c")).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert!(path.join(STATE_FILE).symlink_metadata().unwrap().is_file());
    assert!(dir.load().is_ok());
}

#[test]
fn w17_a_failed_save_leaves_the_old_state_and_no_temporary_file() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    // A directory in the place of the file makes the very last step fail.
    std::fs::remove_file(path.join(STATE_FILE)).unwrap();
    std::fs::create_dir(path.join(STATE_FILE)).unwrap();
    let error = store.get(&id("c")).unwrap().save(&state("c")).unwrap_err();
    assert!(error.to_string().ends_with(": is a directory"), "{error}");
    assert_eq!(names(&path), ["lock", STATE_FILE]);
}

#[test]
fn w17_a_full_disk_leaves_the_old_state_and_no_temporary_file() {
    let scratch = common::scratch();
    let mount = scratch.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"])
        .arg(&mount)
        .output();
    if !is_root() || !mounted.is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: needs root to mount a tmpfs");
    }
    let store = Store::open(&mount, true).unwrap();
    let path = container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    let old = dir.load().unwrap();
    let mut big = old.clone();
    big.command = vec!["x".repeat(200_000)];
    let error = dir.save(&big);
    let (after, left) = (dir.load(), names(&path));
    drop((dir, store));
    Command::new("umount").arg("-l").arg(&mount).status().unwrap();
    assert!(error.unwrap_err().to_string().ends_with(": no space left on device"));
    assert_eq!(after.unwrap(), old);
    assert_eq!(left, ["lock", STATE_FILE]);
}

#[test]
fn w19_a_lasting_file_system_is_saved_to_as_well() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(&scratch.path().join("root"), true).unwrap();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    assert_eq!(dir.load().unwrap().id, id("c"));
    dir.remove().unwrap();
    assert!(names(store.path()).is_empty());
}

#[test]
fn w17_readers_see_the_old_or_the_new_state_and_never_a_torn_one() {
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
                        dir.save(&state).unwrap();
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
fn w20_fifo_named_state_json_does_not_hang() {
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
fn s18_w20_only_a_regular_file_of_sane_size_is_read() {
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
    assert!(dir.load().unwrap_err().to_string().contains("too many"));
}

#[test]
fn s18_w28_unreadable_and_unparsable_are_told_apart() {
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
    dir.remove().unwrap();
    assert!(dir.load().unwrap_err().is_not_found());
}

#[test]
fn w14_the_state_of_another_container_is_refused() {
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
fn w10_an_init_with_pid_1_is_refused() {
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
fn w24_a_link_in_the_place_of_a_container_is_no_container() {
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

#[test]
fn w18_two_verbs_do_not_hold_the_lock_at_once() {
    let (_scratch, store) = root();
    container(&store, "c");
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _lock = store.get(&id("c")).unwrap().lock().unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
}

#[test]
fn w18_a_creation_holds_the_lock_until_it_commits() {
    let (_scratch, store) = root();
    let reservation = store.reserve(&id("c")).unwrap();
    let dir = store.get(&id("c")).unwrap();
    assert!(dir.try_lock().unwrap().is_none());
    reservation.commit();
    assert!(dir.try_lock().unwrap().is_some());
}

#[test]
fn w18_who_waits_for_a_container_that_is_removed_is_told() {
    let (_scratch, store) = root();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    let lock = dir.lock().unwrap();
    let waiting = store.get(&id("c")).unwrap();
    let waiting = std::thread::spawn(move || waiting.lock().map(drop));
    std::thread::sleep(Duration::from_millis(50));
    dir.remove().unwrap();
    // The next container of this name is another one.
    container(&store, "c");
    drop(lock);
    assert!(waiting.join().unwrap().unwrap_err().is_not_found());
    assert!(dir.lock().unwrap_err().is_not_found());
}

#[test]
fn w18_starts_deletes_and_creates_in_a_tumult_keep_their_order() {
    let (_scratch, store) = root();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    match store.reserve(&id("c")) {
                        Ok(reservation) => {
                            reservation.save(&state("c")).unwrap();
                            reservation.commit();
                        }
                        Err(Error::Exists { .. }) => {}
                        // A removal came between `mkdir` and the lock.
                        Err(error) => assert!(error.is_not_found(), "{error}"),
                    }
                    let Ok(dir) = store.get(&id("c")) else { continue };
                    match dir.lock() {
                        Ok(_lock) => dir.remove().unwrap(),
                        Err(error) => assert!(error.is_not_found(), "{error}"),
                    }
                }
            });
        }
    });
    assert!(names(store.path()).is_empty());
}

#[test]
fn s19_removing_again_is_fine_and_never_hits_the_next_of_the_name() {
    let (_scratch, store) = root();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    dir.remove().unwrap();
    dir.remove().unwrap();
    std::fs::create_dir(store.path().join("c")).unwrap();
    dir.remove().unwrap();
    assert_eq!(names(store.path()), ["c"]);
}

#[test]
fn w21_leftovers_are_removed_and_nothing_is_followed() {
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
    dir.remove().unwrap();
    assert!(names(store.path()).is_empty());
    assert_eq!(names(&victim), ["precious"]);
}

#[test]
fn w7_a_removal_that_cannot_finish_keeps_the_state() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    std::fs::create_dir_all(path.join("foreign/things")).unwrap();
    let dir = store.get(&id("c")).unwrap();
    let error = dir.remove().unwrap_err().to_string();
    assert!(
        error.contains("foreign") && error.ends_with(": directory not empty"),
        "{error}"
    );
    assert!(dir.load().is_ok() && path.join("foreign/things").is_dir());
    std::fs::remove_dir(path.join("foreign/things")).unwrap();
    dir.remove().unwrap();
    assert!(names(store.path()).is_empty());
}

#[test]
fn w21_a_corrupt_container_can_be_listed_locked_and_removed() {
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
        dir.remove().unwrap();
    }
    assert!(names(store.path()).is_empty());
}

#[test]
fn s20_the_list_is_sorted_and_one_bad_container_does_not_spoil_it() {
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
fn s20_containers_that_come_and_go_do_not_fail_the_list() {
    let (_scratch, store) = root();
    container(&store, "stays");
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for round in 0..200 {
                let reservation = store.reserve(&id(&format!("c{}", round % 7))).unwrap();
                reservation.save(&state(reservation.id().as_str())).unwrap();
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
fn w12_verbs_never_match_a_prefix() {
    let (_scratch, store) = root();
    container(&store, "9748ea0123");
    assert!(store.get(&id("974")).unwrap_err().is_not_found());
    assert!(store.get(&id("9748ea012")).unwrap_err().is_not_found());
}

#[test]
fn s16_w12_people_may_look_containers_up_by_prefix() {
    let (_scratch, store) = root();
    for name in ["9748ea01", "9748ff02", "9748", "abc"] {
        container(&store, name);
    }
    assert_eq!(store.resolve("9748e").unwrap(), id("9748ea01"));
    assert_eq!(store.resolve("9748").unwrap(), id("9748"));
    assert_eq!(store.resolve("abc").unwrap(), id("abc"));
    assert!(matches!(
        store.resolve("ab"),
        Err(Error::ShortPrefix {
            minimum: MIN_PREFIX_LENGTH,
            ..
        })
    ));
    assert!(matches!(store.resolve(""), Err(Error::Id(_))));
    assert!(matches!(store.resolve("../x"), Err(Error::Id(_))));
    assert!(matches!(store.resolve("zzzz"), Err(Error::NotFound { .. })));
    store.get(&id("9748")).unwrap().remove().unwrap();
    assert!(matches!(store.resolve("9748"), Err(Error::Ambiguous { count: 2, .. })));
}

#[test]
fn w13_a_verb_does_not_look_at_other_containers() {
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
