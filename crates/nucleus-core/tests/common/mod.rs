//! What the store's tests share.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::path::{Path, PathBuf};

use nucleus_core::{ContainerId, ContainerState, Durability, Store};
use tempfile::TempDir;

/// A state directory on a tmpfs if there is one, so that tests do not wait for a disk.
pub(crate) fn root() -> (TempDir, Store) {
    let dir = scratch();
    let store = Store::open(&dir.path().join("root"), true).unwrap();
    (dir, store)
}

/// An empty directory.
pub(crate) fn scratch() -> TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        tempfile::tempdir_in(shm).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

pub(crate) fn id(text: &str) -> ContainerId {
    ContainerId::parse(text).unwrap()
}

pub(crate) fn state(text: &str) -> ContainerState {
    ContainerState::new(id(text), "/bundle".into())
}

/// A container with a saved state; gives the path of its directory.
pub(crate) fn container(store: &Store, name: &str) -> PathBuf {
    let reservation = store.reserve(&id(name)).unwrap();
    reservation.save(&state(name), Durability::Lasting).unwrap();
    reservation.commit().path()
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs what must not hang; a hang fails the test instead of the whole run.
pub(crate) fn within_seconds<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(std::time::Duration::from_secs(10))
        .expect("it hangs")
}

/// Says that this test cannot run here, and counts it in `NUCLEUS_SKIP_LOG`.
pub(crate) fn skip(reason: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    let line = format!("SKIP {}: {reason}\n", thread.name().unwrap_or("?"));
    // Straight to the descriptor: the test harness hides what a passing test prints.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("NUCLEUS_SKIP_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
}
