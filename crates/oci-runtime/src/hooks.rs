//! Running hooks: an absolute path, a directory and an environment of their own, the container's state on standard input.
//!
//! The state comes as a sealed-off memory file, so that a hook which never reads it cannot block us; what the hook
//! prints goes to another one and is quoted when it fails. The new process closes all other descriptors before it
//! resolves the hook's path, which may be a path of the image (startContainer).

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nucleus_sys::spawn::Spawn;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::init::failure::{Explain, Failure};
use crate::plan::Hook;

/// At most this much of a failing hook's output is quoted (bytes).
const QUOTED: usize = 2048;

/// The container's state as hooks get it (runtime.md, state), but for status and pid.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// `ociVersion` of the bundle.
    pub oci_version: String,
    /// Container id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: std::path::PathBuf,
    /// `annotations` of config.json.
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl State {
    /// The JSON document for a hook that runs while the container has this status.
    pub fn json(&self, status: &str, pid: Pid) -> String {
        self.document(status, Some(pid))
    }

    /// The JSON document for a hook of a container that is gone; `pid` is then optional and left out.
    pub fn stopped(&self) -> String {
        self.document("stopped", None)
    }

    /// The document itself, to be part of a larger one.
    pub fn with<'a>(&'a self, status: &'a str, pid: Option<Pid>) -> Document<'a> {
        Document {
            state: self,
            status,
            pid: pid.map(|pid| pid.as_raw_nonzero().get()),
        }
    }

    fn document(&self, status: &str, pid: Option<Pid>) -> String {
        // Strings, a map of strings and a number always have a JSON form.
        serde_json::to_string(&self.with(status, pid)).unwrap_or_default()
    }
}

/// The state of a container (runtime.md).
#[derive(Debug, serde::Serialize)]
pub struct Document<'a> {
    #[serde(flatten)]
    state: &'a State,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i32>,
}

/// Where a hook runs, and whose environment it inherits when config.json gives it none.
#[derive(Debug, Clone, Copy)]
pub enum Side<'a> {
    /// As a process of the host: in the bundle, with the runtime's environment.
    Host {
        /// The directory of the bundle.
        bundle: &'a Path,
    },
    /// As a process of the container: in its root.
    Container {
        /// The container's root directory.
        root: BorrowedFd<'a>,
        /// What the process that runs the hook has.
        env: &'a [CString],
    },
}

impl Side<'_> {
    /// The bundle may be gone by the time that poststop hooks run.
    fn directory(&self) -> Result<Option<OwnedFd>, Errno> {
        match self {
            Self::Host { bundle } => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                match rustix::fs::open(*bundle, flags, Mode::empty()) {
                    Err(Errno::NOENT) => Ok(None),
                    other => other.map(Some),
                }
            }
            Self::Container { root, .. } => rustix::io::fcntl_dupfd_cloexec(root, 3).map(Some),
        }
    }

    fn environment(&self) -> Vec<CString> {
        match self {
            Self::Host { .. } => {
                let entry = |(name, value): (OsString, OsString)| {
                    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()
                };
                std::env::vars_os().filter_map(entry).collect()
            }
            Self::Container { env, .. } => env.to_vec(),
        }
    }
}

/// Runs hooks in order, each with `state` (JSON) on its standard input; stops at the first that fails.
///
/// # Errors
/// `error running KIND hook #N: …`, as runc says it, with the hook's own output.
pub fn run_all(kind: &str, hooks: &[Hook], state: &str, side: Side<'_>) -> Result<(), Failure> {
    hooks
        .iter()
        .enumerate()
        .try_for_each(|(index, hook)| run_one(kind, index, hook, state, side))
}

/// Runs one hook, the one with this number of its kind.
///
/// # Errors
/// As [`run_all`].
pub fn run_one(kind: &str, index: usize, hook: &Hook, state: &str, side: Side<'_>) -> Result<(), Failure> {
    run(hook, state, side).map_err(|reason| {
        let path = hook.path.display();
        Failure::new(format!("error running {kind} hook #{index}: {path}: {reason}"))
    })
}

fn run(hook: &Hook, state: &str, side: Side<'_>) -> Result<(), Failure> {
    let mut input = memory_file()?;
    let write = |input: &mut File| input.write_all(state.as_bytes()).and_then(|()| input.rewind());
    write(&mut input).explain(|| "cannot pass the state")?;
    let mut output = memory_file()?;
    let stdout = hook.output.stdout.as_deref().map(append_to).transpose()?;
    let stderr = hook.output.stderr.as_deref().map(append_to).transpose()?;
    let streams = [&stdout, &stderr].map(|file| file.as_ref().unwrap_or(&output));
    let directory = side.directory().explain(|| "cannot enter its directory")?;
    let env = match hook.inherits_env {
        true => side.environment(),
        false => words(&hook.env).explain(|| "env")?,
    };
    let directory = directory.as_ref().map(AsFd::as_fd);
    let pid = start(hook, directory, &env, [&input, streams[0], streams[1]]).explain(|| "cannot execute")?;
    let timely = wait(pid, hook.timeout)?;
    let (_, status) = retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()))
        .and_then(|ended| ended.ok_or(Errno::CHILD))
        .explain(|| "cannot wait")?;
    let outcome = match (timely, status.exit_status(), status.terminating_signal()) {
        (true, Some(0), _) => return Ok(()),
        (false, ..) => format!("timed out after {} s", hook.timeout.unwrap_or_default()),
        (true, Some(code), _) => format!("exit status {code}"),
        (true, None, signal) => format!("killed by signal {}", signal.unwrap_or_default()),
    };
    Err(Failure::new(format!("{outcome}{}", quote(&mut output))))
}

/// The file that a hook's output is appended to; it is made if it is missing.
fn append_to(path: &Path) -> Result<File, Failure> {
    let mut options = File::options();
    options.append(true).create(true).mode(0o600);
    options
        .open(path)
        .explain(|| format!("cannot append the output to {}", path.display()))
}

fn start(hook: &Hook, directory: Option<BorrowedFd<'_>>, env: &[CString], streams: [&File; 3]) -> Result<Pid, Errno> {
    let path = CString::new(hook.path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let mut args = words(&hook.args)?;
    if args.is_empty() {
        args.push(path.clone());
    }
    Spawn {
        path: &path,
        args: &args,
        env,
        directory,
        stdio: streams.map(AsFd::as_fd),
    }
    .start()
}

fn words(list: &[String]) -> Result<Vec<CString>, Errno> {
    list.iter()
        .map(|word| CString::new(word.as_bytes()).map_err(|_| Errno::INVAL))
        .collect()
}

/// Waits until the hook has ended; false when its time ran out, and it was killed.
fn wait(pid: Pid, timeout: Option<u32>) -> Result<bool, Failure> {
    let Some(seconds) = timeout else { return Ok(true) };
    let what = || "cannot watch";
    let pidfd: OwnedFd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).explain(what)?;
    let deadline = std::time::Instant::now() + Duration::from_secs(seconds.into());
    loop {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        let left = Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: left.subsec_nanos().into(),
        };
        match rustix::event::poll(
            &mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)],
            Some(&left),
        ) {
            Err(Errno::INTR) => {}
            Ok(0) => {
                rustix::process::pidfd_send_signal(&pidfd, Signal::KILL).explain(|| "cannot kill")?;
                return Ok(false);
            }
            other => return other.map(|_| true).explain(what),
        }
    }
}

fn memory_file() -> Result<File, Failure> {
    rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC)
        .map(File::from)
        .explain(|| "cannot make a memory file")
}

/// `, output: "…"`, or nothing when the hook was silent.
fn quote(output: &mut File) -> String {
    let mut text = Vec::new();
    if output.rewind().is_err() || output.take(QUOTED as u64).read_to_end(&mut text).is_err() || text.is_empty() {
        return String::new();
    }
    format!(", output: {:?}", String::from_utf8_lossy(&text).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Side<'static> {
        Side::Host { bundle: Path::new("/") }
    }
    use crate::plan::HookOutput;

    fn hook(script: &str, timeout: Option<u32>) -> Hook {
        let args = ["sh", "-c", script].map(String::from).to_vec();
        Hook {
            path: "/bin/sh".into(),
            args,
            env: vec!["ONLY=this".to_string()],
            inherits_env: false,
            timeout,
            output: HookOutput::default(),
        }
    }

    #[test]
    fn the_state_arrives_on_standard_input_and_the_environment_is_exact() {
        let script = r#"read -r line; test "$line" = '{"id":"x"}' && test "$ONLY" = this && test -z "$HOME""#;
        run_all("prestart", &[hook(script, None)], "{\"id\":\"x\"}", host()).unwrap();
    }

    #[test]
    fn a_hook_that_does_not_read_a_large_state_does_not_block() {
        run_all("prestart", &[hook("exit 0", None)], &"x".repeat(1 << 20), host()).unwrap();
    }

    #[test]
    fn a_failure_names_the_hook_and_quotes_its_output() {
        let error = run_all(
            "poststop",
            &[hook("true", None), hook("echo no such luck >&2; exit 3", None)],
            "{}",
            host(),
        );
        let text = error.unwrap_err().to_string();
        assert_eq!(
            text,
            "error running poststop hook #1: /bin/sh: exit status 3, output: \"no such luck\""
        );
    }

    #[test]
    fn output_is_appended_to_files_that_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let (stdout, stderr) = (dir.path().join("out"), dir.path().join("err"));
        std::fs::write(&stdout, "before\n").unwrap();
        let mut noisy = hook("echo said; echo wrong >&2; exit 3", None);
        noisy.output.stdout = Some(stdout.clone());
        let text = run_all("prestart", &[noisy.clone()], "{}", host())
            .unwrap_err()
            .to_string();
        assert!(
            text.ends_with("output: \"wrong\""),
            "what is not redirected is quoted: {text}"
        );
        noisy.output.stderr = Some(stderr.clone());
        let text = run_all("prestart", &[noisy.clone()], "{}", host())
            .unwrap_err()
            .to_string();
        assert!(text.ends_with("exit status 3"), "{text}");
        assert_eq!(std::fs::read_to_string(stdout).unwrap(), "before\nsaid\nsaid\n");
        assert_eq!(std::fs::read_to_string(stderr).unwrap(), "wrong\n");
        noisy.output.stderr = Some(dir.path().into());
        let text = run_all("prestart", &[noisy], "{}", host()).unwrap_err().to_string();
        assert!(text.contains("cannot append the output to"), "{text}");
    }

    #[test]
    fn a_hook_that_outstays_its_time_is_killed() {
        let start = std::time::Instant::now();
        let text = run_all("prestart", &[hook("exec sleep 60", Some(1))], "{}", host())
            .unwrap_err()
            .to_string();
        assert!(text.contains("timed out after 1 s"), "{text}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_missing_program_is_named() {
        let missing = Hook {
            path: "/nonexistent/hook".into(),
            args: vec!["hook".into()],
            env: vec![],
            inherits_env: false,
            timeout: None,
            output: HookOutput::default(),
        };
        let text = run_all("prestart", &[missing], "{}", host()).unwrap_err().to_string();
        assert!(
            text.contains("/nonexistent/hook") && text.contains("no such file or directory"),
            "{text}"
        );
    }
}
