//! A test's place on the machine, and the search for what it has left there.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::cmd::Cmd;
use super::container::Container;
use super::host::{cgroup_dirs, eventually, process_state};
use super::{base_config, busybox_rootfs, write_config};

/// Which program is under test. Only a test that cannot mean anything for another program may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Ours.
    Nucleus,
    /// The reference implementation.
    Runc,
    /// The C implementation.
    Crun,
}

/// The runtime under test.
pub(crate) fn runtime() -> PathBuf {
    match std::env::var_os("NUCLEUS_TEST_RUNTIME") {
        Some(path) if !path.is_empty() => path.into(),
        _ => env!("CARGO_BIN_EXE_nucleus").into(),
    }
}

/// Which program is under test, by the name of its file.
pub(crate) fn kind() -> Kind {
    let path = runtime();
    match path.file_name().unwrap_or_default().to_string_lossy().as_ref() {
        "runc" => Kind::Runc,
        "crun" => Kind::Crun,
        _ => Kind::Nucleus,
    }
}

/// Says that this test, or a part of it, cannot be done on this machine, and counts it in `NUCLEUS_SKIP_LOG`.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("SKIP {}: {reason}\n", thread.name().unwrap_or("?"));
    // Straight to the descriptor: the test harness hides what a passing test prints.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("NUCLEUS_SKIP_LOG") {
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut f| f.write_all(line.as_bytes()));
    }
}

/// A test's own directory, runtime root and cgroup. Dropped, it looks for leftovers, and fails the test if there are.
pub(crate) struct Test {
    dir: PathBuf,
    mark: String,
    containers: Cell<usize>,
    program: RefCell<PathBuf>,
}

impl Test {
    /// A fresh place; none (after saying SKIP) where containers cannot be made at all.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        if !nix::unistd::geteuid().is_root() {
            skip("needs root");
            return None;
        }
        if !Path::new(super::bundle::BUSYBOX).exists() {
            skip("needs /bin/busybox, statically linked (Debian: busybox-static)");
            return None;
        }
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let mark = format!("nucleus-test-{}-{n:04}", std::process::id());
        let dir = std::env::temp_dir().join(&mark);
        fs::create_dir_all(dir.join("logs")).expect("making the test's directory");
        Some(Self {
            dir,
            mark,
            containers: Cell::new(0),
            program: RefCell::new(runtime()),
        })
    }

    /// The test's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A word that is in the environment, the cgroup and the paths of all that belongs to this test.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// What the runtime gets as `--root`. It does not exist before the runtime has made it.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// A command of the host whose output is kept with this test.
    pub(crate) fn command(&self, program: &str) -> Cmd {
        Cmd::new(program, &self.dir.join("logs"))
    }

    /// The runtime under test with its `--root`.
    pub(crate) fn runtime(&self) -> Cmd {
        self.bare_runtime().arg("--root").arg(self.root())
    }

    /// The runtime under test without any flag.
    pub(crate) fn bare_runtime(&self) -> Cmd {
        Cmd::new(self.program.borrow().as_path(), &self.dir.join("logs"))
    }

    /// From now on this test runs the program at `path` (a copy of the runtime that may be attacked, for one).
    pub(crate) fn use_runtime(&self, path: &Path) {
        path.clone_into(&mut self.program.borrow_mut());
    }

    /// A bundle named `id` (busybox, default config) for the program `args`, not created yet.
    pub(crate) fn named(&self, id: &str, args: &[&str], edit: impl FnOnce(&mut Value)) -> Container<'_> {
        let bundle = self.dir.join("bundles").join(id);
        busybox_rootfs(&bundle.join("rootfs"));
        let mut config = base_config(args, &format!("/{}/{id}", self.mark), &self.mark);
        edit(&mut config);
        write_config(&bundle, &config);
        Container::new(self, id, bundle)
    }

    /// A bundle for the program `args`, its config changed by `edit`, with an id that this test has not used yet.
    pub(crate) fn container_with(&self, args: &[&str], edit: impl FnOnce(&mut Value)) -> Container<'_> {
        let n = self.containers.get() + 1;
        self.containers.set(n);
        self.named(&format!("c{n}"), args, edit)
    }

    /// A bundle for the program `args`.
    pub(crate) fn container(&self, args: &[&str]) -> Container<'_> {
        self.container_with(args, |_| ())
    }

    /// A bundle for a shell script, its config changed by `edit`.
    pub(crate) fn script_with(&self, script: &str, edit: impl FnOnce(&mut Value)) -> Container<'_> {
        self.container_with(&["sh", "-c", script], edit)
    }

    /// A bundle for a shell script.
    pub(crate) fn script(&self, script: &str) -> Container<'_> {
        self.container(&["sh", "-c", script])
    }

    /// Demands that no process, cgroup, mount or state of this test's containers is left.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        let mut left = Vec::new();
        if !eventually(|| {
            left = self.leftovers();
            left.is_empty()
        }) {
            panic!("left behind:\n{}", left.join("\n"));
        }
    }

    /// As [`Test::nothing_left`], but the process `pid`, which the test itself has started, may bear its mark.
    #[track_caller]
    pub(crate) fn nothing_left_but(&self, pid: i32) {
        let theirs = format!("process {pid} ");
        let mut left = Vec::new();
        let clean = eventually(|| {
            left = self.leftovers();
            left.retain(|l| !l.starts_with(&theirs));
            left.is_empty()
        });
        assert!(clean, "left behind:\n{}", left.join("\n"));
    }

    /// All that is left of this test's containers, in words.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = self.processes().into_iter().map(|(_, words)| words).collect();
        for (name, dir) in self.cgroups() {
            left.push(format!("cgroup {name}: {}", dir.display()));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
        left.extend(
            mounts
                .lines()
                .filter(|l| l.contains(&self.mark))
                .map(|l| format!("mount: {l}")),
        );
        // A cache of compiled filters outlives containers by design.
        let state = fs::read_dir(self.root())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|e| e.file_name() != ".cache");
        left.extend(state.map(|e| format!("state: {}", e.path().display())));
        left
    }

    /// The containers' cgroups: all below the test's own, which may stay until the end.
    fn cgroups(&self) -> Vec<(String, PathBuf)> {
        let mut found = Vec::new();
        for (name, dir) in cgroup_dirs(&self.mark) {
            let inside = fs::read_dir(&dir).into_iter().flatten().flatten().map(|e| e.path());
            found.extend(inside.filter(|p| p.is_dir()).map(|p| (name.clone(), p)));
        }
        found
    }

    /// Living processes that bear the test's mark: in environment, arguments, cgroup or mounts.
    fn processes(&self) -> Vec<(i32, String)> {
        let mut found = Vec::new();
        let me = std::process::id().cast_signed();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            if pid == me || matches!(process_state(pid), None | Some('Z' | 'X')) {
                continue;
            }
            let has = |file: &str| {
                let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
                bytes.windows(self.mark.len()).any(|w| w == self.mark.as_bytes())
            };
            let signs: Vec<&str> = ["environ", "cmdline", "cgroup", "mountinfo"]
                .into_iter()
                .filter(|f| has(f))
                .collect();
            if !signs.is_empty() {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.push((
                    pid,
                    format!("process {pid} ({}), by its {}", name.trim(), signs.join(", ")),
                ));
            }
        }
        found
    }

    /// Kills and removes what a failed test has left, so that the next one finds a clean machine.
    fn sweep(&self) {
        for (pid, _) in self.processes() {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        for (_, dir) in self.cgroups() {
            eventually(|| fs::remove_dir(&dir).is_ok() || !dir.exists());
        }
    }
}

impl Drop for Test {
    fn drop(&mut self) {
        let mut left = Vec::new();
        eventually(|| {
            left = self.leftovers();
            left.is_empty() || std::thread::panicking()
        });
        if !left.is_empty() {
            self.sweep();
        }
        // The runtime need not remove the parent of a container's cgroup; the test does.
        for (_, dir) in cgroup_dirs(&self.mark) {
            eventually(|| fs::remove_dir(&dir).is_ok() || !dir.exists());
        }
        // Never delete through a mount that is still there.
        let mounted = left.iter().any(|l| l.starts_with("mount"));
        if !mounted && std::env::var_os("NUCLEUS_TEST_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.dir);
        }
        let text = format!("left behind:\n{}", left.join("\n"));
        if std::thread::panicking() {
            if !left.is_empty() {
                eprintln!("{text}");
            }
        } else {
            assert!(left.is_empty(), "{text}");
        }
    }
}
