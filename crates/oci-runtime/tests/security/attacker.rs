//! What the attacks share: a directory of the host that must stay as it is, and a thread that swaps names.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;

use rustix::fs::{CWD, RenameFlags};
use serde_json::json;

use crate::common::{Container, Out, Test, shell};

/// A directory of the host, outside of every root filesystem, in which nothing may ever be made.
pub(crate) struct Outside(pub(crate) PathBuf);

impl Outside {
    /// One directory and one file in it.
    pub(crate) fn new(test: &Test) -> Self {
        let dir = test.dir().join("outside");
        fs::create_dir_all(dir.join("dir")).expect("mkdir");
        fs::write(dir.join("file"), "of the host\n").expect("file");
        Self(dir)
    }

    /// Demands that the directory is as it was.
    #[track_caller]
    pub(crate) fn untouched(&self, what: &str) {
        let list = shell(&format!("cd {} && find . | sort | xargs && cat file", self.0.display()));
        assert_eq!(list, ". ./dir ./file\nof the host\n", "{what} has come to the host");
    }

    /// Links to this directory in several forms: absolute, and up from wherever it is.
    pub(crate) fn forms(&self) -> [String; 2] {
        let absolute = self.0.display().to_string();
        let upwards = format!("{}{}", "../".repeat(20).trim_end_matches('/'), absolute);
        [absolute, upwards]
    }
}

/// Adds a mount to the config.
pub(crate) fn mount(c: &Container<'_>, destination: &str, fstype: &str, source: &str, options: &[&str]) {
    let mount = json!({ "destination": destination, "type": fstype, "source": source, "options": options });
    c.edit(|config| config["mounts"].as_array_mut().expect("mounts").push(mount));
}

/// A container whose /dev is the image's own.
pub(crate) fn with_own_dev<'t>(test: &'t Test, args: &[&str]) -> Container<'t> {
    test.container_with(args, |config| {
        let mounts = config["mounts"].as_array_mut().expect("mounts");
        mounts.retain(|m| !m["destination"].as_str().expect("destination").starts_with("/dev"));
    })
}

/// A thread that exchanges two names as fast as the kernel can, until it is dropped. Another container that shares the
/// volume could do the same; a thread of the host is as quick and leaves more rounds in a second.
pub(crate) struct Swapper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    swaps: AtomicUsize,
    /// The number of those who want the names to stay.
    wait: AtomicUsize,
    swapping: RwLock<()>,
}

impl Swapper {
    /// Both names must exist.
    pub(crate) fn new(one: &Path, other: &Path) -> Self {
        let shared = Arc::new(Shared::default());
        let (one, other, told) = (one.to_owned(), other.to_owned(), shared.clone());
        let thread = std::thread::spawn(move || {
            while !told.stop.load(Ordering::SeqCst) {
                if told.wait.load(Ordering::SeqCst) > 0 {
                    std::thread::sleep(std::time::Duration::from_micros(200));
                    continue;
                }
                let swapping = told.swapping.write().expect("a lock");
                rustix::fs::renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).expect("an exchange of names");
                drop(swapping);
                told.swaps.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// How often it has swapped.
    pub(crate) fn swaps(&self) -> usize {
        self.shared.swaps.load(Ordering::SeqCst)
    }

    /// Looks at something while the names stay as they are.
    pub(crate) fn still<T>(&self, look: impl FnOnce() -> T) -> T {
        self.shared.wait.fetch_add(1, Ordering::SeqCst);
        let quiet = self.shared.swapping.read().expect("a lock");
        let seen = look();
        drop(quiet);
        self.shared.wait.fetch_sub(1, Ordering::SeqCst);
        seen
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || ended.is_some_and(|e| e.is_ok()),
            "the swapper has failed"
        );
    }
}

/// What a number of raced `create`s have led to.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Containers that came to be, and were right.
    pub(crate) right: usize,
    /// Clear errors.
    pub(crate) refused: usize,
}

/// Creates and deletes `c` again and again while `swapper` swaps. Each round must end in a container that `check` (it
/// gets the pid) finds right, or in an error of one line that leaves nothing; `outside` must stay as it is.
#[track_caller]
pub(crate) fn rounds(
    c: &Container<'_>,
    flags: &[&str],
    (number, swapper, outside): (usize, &Swapper, &Outside),
    mut check: impl FnMut(i32, usize),
) -> Rounds {
    let mut rounds = Rounds::default();
    let pid_file = c.bundle.join("pid");
    let pid_flag = ["--pid-file", pid_file.to_str().expect("a path")];
    let before = swapper.swaps();
    for round in 0..number {
        let out = c.with_bundle("create", &[&pid_flag, flags].concat()).run();
        if out.success() {
            let pid = fs::read_to_string(&pid_file).expect("the pid file");
            let pid = pid.trim().parse().expect("a pid");
            swapper.still(|| check(pid, round));
            swapper.still(|| c.force_delete().ok());
            rounds.right += 1;
        } else {
            clear_error(&out);
            c.test().nothing_left();
            rounds.refused += 1;
        }
        outside.untouched(&format!("round {round}: something"));
    }
    assert!(swapper.swaps() - before >= number, "the swapper has hardly swapped");
    rounds
}

/// Demands an error of one line that names a field or a path.
#[track_caller]
pub(crate) fn clear_error(out: &Out) {
    assert_eq!(out.code(), 1, "{out}");
    assert_eq!(out.stderr.trim_end().lines().count(), 1, "one line: {out}");
    let named = ["mounts[", "linux.", "process.", "root.", "/dev", "/proc"];
    assert!(
        named.iter().any(|name| out.stderr.contains(name)),
        "names nothing: {out}"
    );
}

/// One mount of a process, as mountinfo shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mounted {
    /// The filesystem and the root of the mount that it is on.
    pub(crate) on: String,
    /// Its place, from the top of the mount that it is on. In the image itself all places are the same.
    pub(crate) place: String,
    /// The type of the filesystem.
    pub(crate) fstype: String,
    /// The root of the mount in its filesystem.
    pub(crate) root: String,
    /// Its source.
    pub(crate) source: String,
    /// `ro` or `rw`, of the mount.
    pub(crate) access: String,
}

/// All mounts of a process, in order. Names that are swapped in the image make no difference; everything else does.
pub(crate) fn mount_table(pid: i32) -> Vec<Mounted> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).expect("mountinfo");
    let lines: Vec<(Vec<&str>, Vec<&str>)> = text
        .lines()
        .map(|line| {
            let (left, right) = line.split_once(" - ").expect("a separator");
            (left.split(' ').collect(), right.split(' ').collect())
        })
        .collect();
    let mut table: Vec<Mounted> = lines
        .iter()
        .map(|(left, right)| {
            let on = lines
                .iter()
                .find(|(other, _)| other[0] == left[1] && other[0] != left[0]);
            let top = on.map_or("/", |(other, _)| other[4]);
            let place = match top {
                "/" => "*",
                top => left[4].strip_prefix(top).unwrap_or(left[4]).trim_matches('/'),
            };
            Mounted {
                on: on.map_or(String::new(), |(other, about)| format!("{} {}", about[0], other[3])),
                place: place.to_owned(),
                fstype: right[0].to_owned(),
                root: left[3].to_owned(),
                source: right[1].to_owned(),
                access: left[5][..2].to_owned(),
            }
        })
        .collect();
    table.sort();
    table
}

/// Demands that two sorted lists of mounts are the same, and shows no more than what is different.
#[track_caller]
pub(crate) fn assert_same<T: PartialEq + std::fmt::Debug>(found: &[T], calm: &[T]) {
    let more = |these: &[T], those: &[T]| -> Vec<String> {
        let count = |list: &[T], mount: &T| list.iter().filter(|other| *other == mount).count();
        let more = these.iter().filter(|mount| count(these, mount) > count(those, mount));
        more.map(|mount| format!("{mount:?}")).collect()
    };
    assert!(
        found == calm,
        "missing: {:#?}\nnew: {:#?}",
        more(calm, found),
        more(found, calm)
    );
}

/// The mount table of a container that nobody attacks.
pub(crate) fn calm_table(c: &Container<'_>, flags: &[&str]) -> Vec<Mounted> {
    let pid_file = c.bundle.join("pid");
    let pid_flag = ["--pid-file", pid_file.to_str().expect("a path")];
    c.with_bundle("create", &[&pid_flag, flags].concat()).run().ok();
    let pid = fs::read_to_string(&pid_file).expect("the pid file");
    let table = mount_table(pid.trim().parse().expect("a pid"));
    c.force_delete().ok();
    table
}
