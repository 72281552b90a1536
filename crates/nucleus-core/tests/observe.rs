//! The status as it is seen: real processes, a real FIFO, and a freezer that is played.

mod common;

use std::process::{Child, Command, Stdio};

use common::{container, id, root};
use nucleus_core::{ContainerDir, ContainerState, Error, Phase, ProcessIdentity, Result, Status};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

fn sleeper() -> (Child, ProcessIdentity) {
    let child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    (child, ProcessIdentity::of(pid, pidfd).unwrap())
}

fn end(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn status(dir: &ContainerDir, state: &ContainerState, frozen: bool) -> Status {
    dir.observe(state, || Ok::<_, Error>(frozen), |_, error| Err(error))
        .unwrap()
        .status
}

#[test]
fn the_status_follows_what_lives() {
    let (_scratch, store) = root();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    let mut state = dir.load().unwrap();
    let (mut init, identity) = sleeper();
    (state.phase, state.init) = (Phase::Created, Some(identity));
    dir.make_fifo().unwrap();
    let held = dir.open_fifo_for_init().unwrap();
    assert_eq!(status(&dir, &state, false), Status::Created);
    assert_eq!(status(&dir, &state, true), Status::Paused);
    drop(held);
    assert_eq!(
        status(&dir, &state, false),
        Status::Running,
        "a FIFO that nobody reads was left behind by a start"
    );
    dir.unlink_fifo().unwrap();
    assert_eq!(status(&dir, &state, false), Status::Running);
    assert_eq!(status(&dir, &state, true), Status::Paused);
    init.kill().unwrap();
    let process = dir
        .observe(&state, || Ok::<_, Error>(false), |_, error| Err(error))
        .unwrap()
        .init;
    assert!(process.is_none_or(|process| process.wait_exit(None).unwrap()));
    // A zombie by now, and the cgroup may still say frozen.
    assert_eq!(status(&dir, &state, true), Status::Stopped);
    init.wait().unwrap();
    assert_eq!(status(&dir, &state, false), Status::Stopped);
}

#[test]
fn a_creation_is_what_its_creator_is() {
    let (_scratch, store) = root();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    let mut state = dir.load().unwrap();
    assert_eq!(status(&dir, &state, false), Status::Stopped);
    let (mut creator, identity) = sleeper();
    state.creator = Some(identity);
    assert_eq!(status(&dir, &state, false), Status::Creating);
    end(&mut creator);
    assert_eq!(status(&dir, &state, false), Status::Stopped);
}

#[test]
fn doubts_are_handed_on() {
    let (_scratch, store) = root();
    container(&store, "c");
    let dir = store.get(&id("c")).unwrap();
    let mut state = dir.load().unwrap();
    let (mut init, identity) = sleeper();
    (state.phase, state.init) = (Phase::Created, Some(identity));
    let unknown = || Err(Error::NoDefaultRoot);
    let seen: Result<_> = dir.observe(&state, unknown, |_, error| Err(error));
    assert!(matches!(seen, Err(Error::NoDefaultRoot)));
    end(&mut init);
    // Of a dead container the freezer is not asked.
    assert_eq!(
        dir.observe(&state, unknown, |_, error| Err(error)).unwrap().status,
        Status::Stopped
    );
}
