//! A container of a test: a bundle, an id, and the verbs of the runtime on it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cmd::{Cmd, Out};
use super::harness::Test;
use super::host::{alive, wait_for};
use super::write_config;

/// A bundle and the id that its container has or will have. Dropped, the container is deleted by force.
pub(crate) struct Container<'t> {
    test: &'t Test,
    /// The container's id.
    pub(crate) id: String,
    /// The bundle directory.
    pub(crate) bundle: PathBuf,
}

impl<'t> Container<'t> {
    /// See [`Test::named`].
    pub(crate) fn new(test: &'t Test, id: &str, bundle: PathBuf) -> Self {
        Self {
            test,
            id: id.to_owned(),
            bundle,
        }
    }

    /// The root filesystem, on the host.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    /// Reads the bundle's config.json.
    pub(crate) fn config(&self) -> Value {
        serde_json::from_slice(&fs::read(self.bundle.join("config.json")).expect("config.json")).expect("config.json")
    }

    /// Changes the bundle's config.json.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut Value)) {
        let mut config = self.config();
        edit(&mut config);
        write_config(&self.bundle, &config);
    }

    /// `VERB FLAGS… ID`, as a command to be changed further.
    pub(crate) fn verb(&self, verb: &str, flags: &[&str]) -> Cmd {
        self.test.runtime().arg(verb).args(flags).arg(&self.id)
    }

    /// `create` or `run` with `--bundle`, as a command to be changed further.
    pub(crate) fn with_bundle(&self, verb: &str, flags: &[&str]) -> Cmd {
        self.test
            .runtime()
            .arg(verb)
            .arg("--bundle")
            .arg(&self.bundle)
            .args(flags)
            .arg(&self.id)
    }

    /// `create`.
    pub(crate) fn create(&self) -> Out {
        self.with_bundle("create", &[]).run()
    }

    /// `start`.
    pub(crate) fn start(&self) -> Out {
        self.verb("start", &[]).run()
    }

    /// `run` in the foreground, to its end.
    pub(crate) fn run(&self) -> Out {
        self.with_bundle("run", &[]).run()
    }

    /// `run --detach`.
    pub(crate) fn run_detached(&self) -> Out {
        self.with_bundle("run", &["--detach"]).run()
    }

    /// `kill ID SIGNAL`.
    pub(crate) fn kill(&self, signal: &str) -> Out {
        self.test.runtime().args(["kill", &self.id, signal]).run()
    }

    /// `delete`.
    pub(crate) fn delete(&self) -> Out {
        self.verb("delete", &[]).run()
    }

    /// `delete --force`.
    pub(crate) fn force_delete(&self) -> Out {
        self.verb("delete", &["--force"]).run()
    }

    /// What `state` prints.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        let out = self.verb("state", &[]).run().ok();
        serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("state is no JSON ({e}): {out}"))
    }

    /// The status that `state` prints.
    #[track_caller]
    pub(crate) fn status(&self) -> String {
        self.state()["status"].as_str().expect("status").to_owned()
    }

    /// The container's process, by `state`.
    #[track_caller]
    pub(crate) fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().expect("pid");
        i32::try_from(pid).expect("pid")
    }

    /// Waits until `state` prints this status.
    #[track_caller]
    pub(crate) fn wait_status(&self, status: &str) {
        wait_for(&format!("{} {status}", self.id), || {
            (self.status() == status).then_some(())
        });
    }

    /// `kill ID KILL`, waits for the end, and `delete`s.
    #[track_caller]
    pub(crate) fn kill_and_delete(&self) {
        let pid = self.pid();
        self.kill("KILL").ok();
        wait_for("the end of the process", || (!alive(pid)).then_some(()));
        self.wait_status("stopped");
        self.delete().ok();
    }

    /// The directory of the container's cgroup below the controller `name` (v1), or its only one (v2).
    pub(crate) fn cgroup(&self, name: &str) -> Option<PathBuf> {
        let path = format!("/{}/{}", self.test.mark(), self.id);
        super::host::cgroup_dirs(&path)
            .into_iter()
            .find(|(n, _)| n == name)
            .map(|(_, dir)| dir)
    }

    /// The test that this container belongs to.
    pub(crate) fn test(&self) -> &'t Test {
        self.test
    }

    /// True if the container's state directory exists.
    pub(crate) fn has_state(&self) -> bool {
        self.state_dir().exists()
    }

    /// Where the runtime keeps this container's state.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.test.root().join(Path::new(&self.id))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if self.has_state() {
            let _ = self.verb("delete", &["--force"]).spawn().finish();
        }
    }
}
