//! A writer that is killed at any moment leaves a state that can be loaded, and a directory that can be removed.

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{container, id, names, root, state};
use nucleus_core::{Durability, STATE_FILE, Store};

const LOOP_ENV: &str = "NUCLEUS_TEST_SAVE_LOOP";

/// What the next test runs as a child of its own: saves until it is killed.
#[test]
fn save_for_ever() {
    let Some(path) = std::env::var_os(LOOP_ENV) else {
        return;
    };
    let store = Store::open(Path::new(&path), false).unwrap();
    let dir = store.get(&id("c")).unwrap();
    let _lock = dir.lock().unwrap();
    for round in 0.. {
        let mut state = state("c");
        state.command = vec![round.to_string(); 1 + round % 1000];
        dir.save(&state, Durability::Lasting).unwrap();
    }
}

#[test]
fn a_writer_that_is_killed_leaves_a_whole_state_and_no_lock() {
    let (_scratch, store) = root();
    let path = container(&store, "c");
    let mut leftovers = 0;
    for round in 0..25 {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "save_for_ever"])
            .env(LOOP_ENV, store.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(20_000 + 1_237 * round));
        writer.kill().unwrap();
        writer.wait().unwrap();
        let dir = store.get(&id("c")).unwrap();
        let command = dir.load().unwrap().command;
        assert!(command.iter().all(|word| word == &command[0]));
        assert!(dir.try_lock().unwrap().is_some());
        leftovers = names(&path).len() - 2;
    }
    println!("{leftovers} temporary files were left");
    let dir = store.get(&id("c")).unwrap();
    dir.remove(Durability::Lasting).unwrap();
    assert!(names(store.path()).is_empty());
}

#[test]
fn a_creation_that_is_cut_off_anywhere_can_be_removed() {
    let (_scratch, store) = root();
    // After mkdir; after the lock; in the middle of the first save; after it; after the FIFO.
    let steps: [&[&str]; 5] = [
        &[],
        &["lock"],
        &["lock", ".state.9.9.9"],
        &["lock", STATE_FILE],
        &["lock", "exec.fifo"],
    ];
    for files in steps {
        let path = store.path().join("c");
        std::fs::create_dir(&path).unwrap();
        for file in files {
            std::fs::write(path.join(file), "").unwrap();
        }
        assert!(store.reserve(&id("c")).is_err());
        let dir = store.get(&id("c")).unwrap();
        assert!(dir.load().is_err());
        let _lock = dir.lock().unwrap();
        dir.remove(Durability::Lasting).unwrap();
        assert!(names(store.path()).is_empty());
    }
}
