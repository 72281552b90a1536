//! Who gets an id, and who may change a container: reservations and locks.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use common::{container, id, names, root, state};
use nucleus_core::{Durability, Error};

#[test]
fn an_id_is_taken_once() {
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
fn ids_that_look_like_files_of_the_flat_layout_do_not_collide() {
    let (_scratch, store) = root();
    for name in ["c", "c.json", "c.exec", "state.json", "lock"] {
        container(&store, name);
    }
    assert!(store.list().unwrap().all(|(_, state)| state.is_ok()));
}

#[test]
fn of_many_who_want_an_id_one_gets_it() {
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
    reservation.save(&state("c"), Durability::Lasting).unwrap();
    drop(reservation);
    assert!(names(store.path()).is_empty());
    assert!(store.reserve(&id("c")).is_ok());
}

#[test]
fn two_verbs_do_not_hold_the_lock_at_once() {
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
fn a_creation_holds_the_lock_until_it_commits() {
    let (_scratch, store) = root();
    let reservation = store.reserve(&id("c")).unwrap();
    let dir = store.get(&id("c")).unwrap();
    assert!(dir.try_lock().unwrap().is_none());
    reservation.commit();
    assert!(dir.try_lock().unwrap().is_some());
}

#[test]
fn who_waits_for_a_container_that_is_removed_is_told() {
    let (_scratch, store) = root();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    let lock = dir.lock().unwrap();
    let waiting = store.get(&id("c")).unwrap();
    let waiting = std::thread::spawn(move || waiting.lock().map(drop));
    std::thread::sleep(Duration::from_millis(50));
    dir.remove(Durability::Lasting).unwrap();
    // The next container of this name is another one.
    container(&store, "c");
    drop(lock);
    assert!(waiting.join().unwrap().unwrap_err().is_not_found());
    assert!(dir.lock().unwrap_err().is_not_found());
}

#[test]
fn a_lock_on_a_file_that_is_not_the_lock_any_more_is_none() {
    let (_scratch, store) = root();
    let file = container(&store, "c").join("lock");
    let dir = store.get(&id("c")).unwrap();
    let old = dir.lock().unwrap();
    let waiting = dir.clone();
    let waiting = std::thread::spawn(move || waiting.lock().unwrap());
    std::thread::sleep(Duration::from_millis(50));
    std::fs::remove_file(file).unwrap();
    let new = dir.try_lock().unwrap().unwrap();
    drop(old);
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished());
    drop(new);
    drop(waiting.join().unwrap());
}

#[test]
fn starts_deletes_and_creates_in_a_tumult_keep_their_order() {
    let (_scratch, store) = root();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    match store.reserve(&id("c")) {
                        Ok(reservation) => match reservation.save(&state("c"), Durability::Lasting) {
                            Ok(()) => drop(reservation.commit()),
                            // The removal of the line below had begun, and found the lock that we took on its way.
                            Err(error) => assert!(error.is_not_found(), "{error}"),
                        },
                        Err(Error::Exists { .. }) => {}
                        // A removal came between `mkdir` and the lock.
                        Err(error) => assert!(error.is_not_found(), "{error}"),
                    }
                    let Ok(dir) = store.get(&id("c")) else { continue };
                    match dir.lock() {
                        Ok(_lock) => dir.remove(Durability::Lasting).unwrap(),
                        Err(error) => assert!(error.is_not_found(), "{error}"),
                    }
                }
            });
        }
    });
    assert!(names(store.path()).is_empty());
}
