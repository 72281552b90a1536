//! The exec FIFO. A program of its own: a child that another test forks would hold copies of its ends for a moment.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::time::Duration;

use common::{container, id, root};
use nucleus_core::{Error, FIFO_FILE};

#[test]
fn the_fifo_is_made_once_and_removed_as_often_as_one_likes() {
    let (_scratch, store) = root();
    let path = container(&store, "c").join(FIFO_FILE);
    let dir = store.get(&id("c")).unwrap();
    dir.make_fifo().unwrap();
    let metadata = path.symlink_metadata().unwrap();
    assert!(metadata.file_type().is_fifo());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(dir.make_fifo().unwrap_err().to_string().ends_with(": file exists"));
    dir.unlink_fifo().unwrap();
    assert!(!path.exists());
    dir.unlink_fifo().unwrap();
}

#[test]
fn start_wakes_init() {
    let (_scratch, store) = root();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    dir.make_fifo().unwrap();
    let mut init = File::from(dir.open_fifo_for_init().unwrap());
    let waiting = std::thread::spawn(move || {
        let mut byte = [0];
        init.read_exact(&mut byte).map(|()| byte)
    });
    // A `start` that dies before it writes must not wake init.
    drop(dir.open_fifo_for_start().unwrap());
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished());
    File::from(dir.open_fifo_for_start().unwrap()).write_all(b"0").unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), *b"0");
    assert!(matches!(dir.open_fifo_for_start(), Err(Error::NoFifoReader)));
}

#[test]
fn start_does_not_wait_for_an_init_that_is_dead() {
    let (_scratch, store) = root();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    dir.make_fifo().unwrap();
    assert!(matches!(dir.open_fifo_for_start(), Err(Error::NoFifoReader)));
    drop(dir.open_fifo_for_init().unwrap());
    assert!(matches!(dir.open_fifo_for_start(), Err(Error::NoFifoReader)));
}

#[test]
fn what_is_no_fifo_is_never_opened_as_one() {
    let (_scratch, store) = root();
    let path = container(&store, "c").join(FIFO_FILE);
    let dir = store.get(&id("c")).unwrap();
    let error = dir.open_fifo_for_start().unwrap_err();
    assert!(error.to_string().ends_with(": no such file or directory"), "{error}");

    std::fs::write(&path, "").unwrap();
    assert!(matches!(dir.open_fifo_for_start(), Err(Error::NotAFifo { .. })));
    assert!(matches!(dir.open_fifo_for_init(), Err(Error::NotAFifo { .. })));
    assert!(matches!(dir.fifo_awaited(), Err(Error::NotAFifo { .. })));
    std::fs::remove_file(&path).unwrap();

    symlink("/dev/null", &path).unwrap();
    assert!(matches!(dir.open_fifo_for_start(), Err(Error::NotAFifo { .. })));
    assert!(matches!(dir.fifo_awaited(), Err(Error::NotAFifo { .. })));
    std::fs::remove_file(&path).unwrap();

    std::fs::create_dir(&path).unwrap();
    assert!(matches!(dir.open_fifo_for_start(), Err(Error::NotAFifo { .. })));
}
