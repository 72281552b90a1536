//! Commands with a time limit, whose output goes to files.
//!
//! Files and not pipes: a container that `create` has left behind keeps the output of `create` open, and a reader of
//! a pipe would wait for it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A command may take this long unless the test says otherwise; a healthy one takes a hundredth of it.
const LIMIT: Duration = Duration::from_secs(20);

/// Where a command's standard input comes from.
enum Input {
    Null,
    Bytes(Vec<u8>),
    Fd(OwnedFd),
}

/// A command to be run: program, arguments, and an environment that holds nothing but `PATH` and what is added here.
pub(crate) struct Cmd {
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    dir: Option<PathBuf>,
    input: Input,
    limit: Duration,
    logs: PathBuf,
}

impl Cmd {
    /// A command whose output files go to the directory `logs`.
    pub(crate) fn new(program: impl AsRef<OsStr>, logs: &Path) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        Self {
            args: vec![program.as_ref().to_owned()],
            env: BTreeMap::from([("PATH".into(), path)]),
            dir: None,
            input: Input::Null,
            limit: LIMIT,
            logs: logs.to_owned(),
        }
    }

    /// Adds one argument.
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(key.into(), value.as_ref().to_owned());
        self
    }

    /// Empties the environment, `PATH` included.
    pub(crate) fn no_env(mut self) -> Self {
        self.env.clear();
        self
    }

    /// Sets the working directory.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Gives these bytes as standard input (default: `/dev/null`).
    pub(crate) fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.input = Input::Bytes(bytes.as_ref().to_owned());
        self
    }

    /// Gives this file, pipe or terminal as standard input.
    pub(crate) fn stdin_fd(mut self, fd: OwnedFd) -> Self {
        self.input = Input::Fd(fd);
        self
    }

    /// Sets the time limit.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Puts another program before the command (`bash -c '…' -- runtime …`).
    pub(crate) fn wrapped<S: AsRef<OsStr>>(mut self, by: impl IntoIterator<Item = S>) -> Self {
        let mut args: Vec<OsString> = by.into_iter().map(|a| a.as_ref().to_owned()).collect();
        args.append(&mut self.args);
        self.args = args;
        self
    }

    /// Runs the command under bash with `redirections` (such as `3</dev/null`), which may name any descriptor.
    pub(crate) fn redirected(self, redirections: &str) -> Self {
        let script = format!("exec \"$0\" \"$@\" {redirections}");
        self.wrapped(["bash", "-c", &script])
    }

    /// Starts the command.
    pub(crate) fn spawn(self) -> Running {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = |kind: &str| self.logs.join(format!("{n}.{kind}"));
        let (out, err) = (path("out"), path("err"));
        let stdin = match self.input {
            Input::Null => Stdio::null(),
            Input::Fd(fd) => fd.into(),
            Input::Bytes(bytes) => {
                fs::write(path("in"), bytes).expect("writing the input file");
                File::open(path("in")).expect("opening the input file").into()
            }
        };
        let line = self
            .args
            .iter()
            .map(|a| a.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        let mut command = Command::new(&self.args[0]);
        command.args(&self.args[1..]).env_clear().envs(&self.env).stdin(stdin);
        command.stdout(File::create(&out).expect("creating the output file"));
        command.stderr(File::create(&err).expect("creating the error file"));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let child = command.spawn().unwrap_or_else(|e| panic!("cannot start `{line}`: {e}"));
        Running {
            child,
            line,
            out,
            err,
            since: Instant::now(),
            limit: self.limit,
            done: false,
        }
    }

    /// Starts the command and waits for it.
    pub(crate) fn run(self) -> Out {
        self.spawn().wait()
    }
}

/// A command that has been started. Dropped before it has ended, it is killed.
pub(crate) struct Running {
    child: Child,
    line: String,
    out: PathBuf,
    err: PathBuf,
    since: Instant,
    limit: Duration,
    done: bool,
}

impl Running {
    /// The process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What the command has written to its standard output so far.
    pub(crate) fn stdout(&self) -> String {
        read(&self.out)
    }

    /// True once the command has ended.
    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().expect("waiting").is_some()
    }

    /// Sends a signal to the command.
    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid());
        nix::sys::signal::kill(pid, signal).unwrap_or_else(|e| panic!("signalling `{}`: {e}", self.line));
    }

    /// Waits for the end. A command that takes longer than its limit is killed, and the test fails with all it said.
    #[track_caller]
    pub(crate) fn wait(self) -> Out {
        self.finish().unwrap_or_else(|e| panic!("{e}"))
    }

    /// As [`Running::wait`], but gives the complaint back instead of failing the test.
    pub(crate) fn finish(mut self) -> Result<Out, String> {
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("waiting") {
                break status;
            }
            if self.since.elapsed() > self.limit {
                return Err(self.complaint());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        self.done = true;
        Ok(Out {
            line: self.line.clone(),
            status,
            stdout: read(&self.out),
            stderr: read(&self.err),
            stdout_file: self.out.clone(),
            took: self.since.elapsed(),
        })
    }

    /// What there is to say of a command that hangs.
    fn complaint(&self) -> String {
        let file = |name| fs::read_to_string(format!("/proc/{}/{name}", self.pid())).unwrap_or_default();
        format!(
            "`{}` has not ended after {:?}\nwaits in: {}\nsystem call: {}\nstdout: {}\nstderr: {}",
            self.line,
            self.limit,
            file("wchan"),
            file("syscall"),
            read(&self.out),
            read(&self.err)
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a command has done.
pub(crate) struct Out {
    line: String,
    status: ExitStatus,
    /// Its standard output, at the moment of its end.
    pub(crate) stdout: String,
    /// Its standard error.
    pub(crate) stderr: String,
    stdout_file: PathBuf,
    /// How long it took.
    pub(crate) took: Duration,
}

impl Out {
    /// The exit code; a command that a signal has ended fails the test.
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {self}"))
    }

    /// True if the command was ended by this signal.
    pub(crate) fn died_of(&self, signal: i32) -> bool {
        self.status.signal() == Some(signal)
    }

    /// True if the exit code is 0.
    pub(crate) fn success(&self) -> bool {
        self.status.success()
    }

    /// Demands exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.status.success(), "should have succeeded: {self}");
        self
    }

    /// Demands this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert!(
            self.status.code() == Some(code),
            "should have exited with {code}: {self}"
        );
        self
    }

    /// Demands exit code 1 and this text in standard error.
    #[track_caller]
    pub(crate) fn fails(self, text: &str) -> Self {
        let out = self.exits(1);
        assert!(out.said().contains(text), "should have said \"{text}\": {out}");
        out
    }

    /// Demands exit code 1 and one of these texts in standard error (in any letter case).
    #[track_caller]
    pub(crate) fn fails_with_any(self, texts: &[&str]) -> Self {
        let out = self.exits(1);
        let said = out.stderr.to_lowercase();
        assert!(
            texts.iter().any(|t| said.contains(&t.to_lowercase())),
            "should have said one of {texts:?}: {out}"
        );
        out
    }

    /// Standard error, with the quotes as they were before they were put into a quoted log line.
    pub(crate) fn said(&self) -> String {
        self.stderr.replace("\\\"", "\"")
    }

    /// Demands that nothing was written to standard error.
    #[track_caller]
    pub(crate) fn silent(self) -> Self {
        assert!(self.stderr.is_empty(), "should have written nothing to stderr: {self}");
        self
    }

    /// Demands this standard output, white space at its end aside.
    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout.trim_end() == text.trim_end(),
            "should have printed \"{text}\": {self}"
        );
        self
    }

    /// What has been written to its standard output by now, by the command and by whoever has inherited it.
    pub(crate) fn stdout_now(&self) -> String {
        read(&self.stdout_file)
    }
}

impl std::fmt::Display for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "`{}`: {} after {:?}\nstdout: {}\nstderr: {}",
            self.line, self.status, self.took, self.stdout, self.stderr
        )
    }
}

/// A file's text, whatever bytes it holds.
fn read(path: &Path) -> String {
    fs::read(path)
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .unwrap_or_default()
}
