//! What a verb asks of the kernel: its system calls, and those of all processes that it makes, as strace prints them.
//!
//! The rule: a trace that could have missed something is no trace. It begins with the runtime's own execve, ends with its
//! exit, and holds the container's side of the verbs that have one.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use crate::common::{Cmd, Container, Kind, Test, alive, kind, process_state, runtime, shell, wait_for};

/// Which control groups the runtime finds at `/sys/fs/cgroup`, in a mount namespace of its own, whatever the machine has there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layout {
    /// v2 alone.
    V2,
    /// Three hierarchies of v1, and v2 beside them.
    V1,
}

impl Layout {
    pub(crate) const ALL: [Self; 2] = [Self::V2, Self::V1];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V1 => "v1",
        }
    }

    /// The shell commands that make it.
    fn mounts(self) -> &'static str {
        match self {
            Self::V2 => "umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup",
            Self::V1 => {
                "umount -R /sys/fs/cgroup; mount -t tmpfs none /sys/fs/cgroup; cd /sys/fs/cgroup; \
                 for c in devices freezer pids; do mkdir $c; mount -t cgroup -o $c none $c; done; \
                 mkdir unified; mount -t cgroup2 none unified; cd \"$OLDPWD\""
            }
        }
    }
}

/// The variable that holds the words of the tracer, for the script that stands for the runtime.
pub(crate) const TRACER: &str = "NUCLEUS_TEST_TRACER";

/// A test whose runtime sees this layout; else the reason why there is none.
pub(crate) fn place(layout: Layout) -> Result<Test, String> {
    let test = Test::new().ok_or("needs root and busybox")?;
    if shell("command -v strace || :").is_empty() {
        return Err("needs strace".to_owned());
    }
    let script = test.dir().join("runtime");
    // Descriptors that the caller of the tests has left open would change the numbers of ours, and so what is to be closed.
    let text = format!(
        "#!/bin/sh\nexec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-\nexec unshare --mount sh -ec '{}; exec \"$@\"' sh ${TRACER} {} \"$@\"\n",
        layout.mounts(),
        runtime().display()
    );
    fs::write(&script, text).expect("writing the script");
    shell(&format!("chmod 755 {}", script.display()));
    test.use_runtime(&script);
    let probe = test.bare_runtime().arg("--version").run();
    if !probe.success() {
        return Err(format!(
            "cannot have control groups {}: {}",
            layout.name(),
            probe.stderr
        ));
    }
    Ok(test)
}

/// One system call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) pid: i32,
    pub(crate) name: String,
    /// As strace prints them, descriptors with the paths of their files: `3</proc/7/maps>`.
    pub(crate) args: String,
    /// What follows the `=`: `0`, `-1 ENOENT (…)`, `3</proc>`, or `?` if the call has not returned.
    pub(crate) result: String,
}

impl Call {
    /// True if the call has returned, and no error.
    pub(crate) fn ok(&self) -> bool {
        !self.result.starts_with(['-', '?']) && !self.result.is_empty()
    }

    /// The n-th argument; commas within brackets do not count.
    pub(crate) fn arg(&self, n: usize) -> &str {
        let mut depth = 0;
        let mut quoted = false;
        let mut parts = self.args.split(|c: char| {
            match c {
                '"' => quoted = !quoted,
                '{' | '[' | '(' if !quoted => depth += 1,
                '}' | ']' | ')' if !quoted => depth -= 1,
                _ => (),
            }
            c == ',' && depth == 0 && !quoted
        });
        parts.nth(n).unwrap_or_default().trim()
    }

    /// The descriptor that the call has returned.
    pub(crate) fn returned_fd(&self) -> Option<i32> {
        self.ok().then(|| number(&self.result)).flatten()
    }

    /// The descriptor in the n-th argument.
    pub(crate) fn fd(&self, n: usize) -> Option<i32> {
        number(self.arg(n))
    }

    fn executes(&self) -> bool {
        self.ok() && (self.name == "execve" || self.name == "execveat")
    }
}

/// The number that a text begins with.
pub(crate) fn number(text: &str) -> Option<i32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

/// All calls of a verb, in the order of their beginning.
pub(crate) struct Trace {
    pub(crate) calls: Vec<Call>,
    pub(crate) code: i32,
}

impl Trace {
    /// Runs `VERB FLAGS… ID WORDS…` under strace until the runtime itself has ended and what it has left behind sleeps.
    #[track_caller]
    pub(crate) fn of(c: &Container<'_>, verb: &str, flags: &[&str], words: &[&str]) -> Self {
        let bundle = ["create", "run"].contains(&verb);
        let command = if bundle {
            c.with_bundle(verb, flags)
        } else {
            c.verb(verb, flags)
        };
        let trace = Self::record(command.args(words), &c.test().dir().join("trace"));
        assert_eq!(trace.code, 0, "{verb} has failed");
        if ["create", "run", "exec"].contains(&verb) {
            let first = trace.calls[0].pid;
            let of = |theirs: bool| trace.calls.iter().filter(move |c| (c.pid != first) == theirs);
            assert!(of(true).count() > 10, "{verb}: the container's side was not traced");
            let seals = |c: &Call| c.ok() && c.name == "prctl" && c.args.contains("PR_SET_MM_MAP");
            let sealed = of(false).any(seals) || kind() != Kind::Nucleus;
            assert!(sealed, "{verb}: it does not exchange the file that it runs from");
        }
        trace
    }

    /// Runs the command, whose program is the script of [`place`], under strace.
    #[track_caller]
    fn record(command: Cmd, file: &Path) -> Self {
        let _ = fs::remove_file(file);
        let read = || fs::read_to_string(file).unwrap_or_default();
        // -I1: a signal may end strace, which then lets go of whatever the verb has left behind.
        let tracer = format!("strace -I1 -f -y -s 64 -E {TRACER} -o {}", file.display());
        let mut strace = command.env(TRACER, tracer).spawn();
        let ended = |text: &str| text.lines().any(|l| l.contains(" +++ ") && number(l) == number(text));
        wait_for("the end of the traced runtime", || {
            (ended(&read()) || strace.ended()).then_some(())
        });
        let text = read();
        wait_for("the rest of the processes to sleep", || {
            let idle = |pid| !alive(pid) || process_state(pid) == Some('S');
            pids(&text).into_iter().all(idle).then_some(())
        });
        if !strace.ended() {
            strace.signal(Signal::SIGTERM);
        }
        let said = strace.wait();
        let trace = Self::parse(&read());
        trace.unwrap_or_else(|what| panic!("no trace: {what}: {said}"))
    }

    /// Reads what strace has written with `-f -o`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut calls: Vec<Call> = Vec::new();
        let mut code = None;
        for line in text.lines() {
            let (pid, rest) = line.split_once(' ').ok_or(line)?;
            let pid: i32 = pid.parse().map_err(|_| line)?;
            let rest = rest.trim_start();
            if let Some(end) = rest.strip_prefix("+++ exited with ") {
                if calls.first().is_some_and(|c| c.pid == pid) {
                    code = number(end);
                }
            } else if let Some(resumed) = rest.strip_prefix("<... ") {
                let call = calls.iter_mut().rev().find(|c| c.pid == pid).ok_or(line)?;
                let (_, end) = resumed.split_once(" resumed>").ok_or(line)?;
                let (args, result) = split_result(end);
                call.args.push_str(args);
                result.clone_into(&mut call.result);
            } else if !rest.starts_with("---") && !rest.starts_with("+++") && !rest.starts_with('<') {
                let (name, rest) = rest.split_once('(').ok_or(line)?;
                let (args, result) = match rest.split_once(" <unfinished ...>") {
                    Some((args, _)) => (args, "?"),
                    None => split_result(rest),
                };
                let name = name.to_owned();
                calls.push(Call {
                    pid,
                    name,
                    args: args.to_owned(),
                    result: result.to_owned(),
                });
            }
        }
        if calls.first().is_none_or(|c| c.name != "execve") {
            return Err("it does not begin with execve".to_owned());
        }
        let code = code.ok_or("the end of the runtime is missing")?;
        Ok(Self { calls, code })
    }

    /// The calls of this name.
    pub(crate) fn named(&self, names: &[&str]) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|c| names.contains(&c.name.as_str()))
    }

    /// The runtime's own calls: of the first process all, of the others those until they have become another program. A process
    /// that never does is the one in the middle: after its last word the runtime kills it, so that its end is a race.
    pub(crate) fn own(&self) -> Vec<&Call> {
        let first = self.calls[0].pid;
        let last = |pid: i32| {
            let of = |f: fn(&Call) -> bool| self.calls.iter().rposition(|c| c.pid == pid && f(c));
            let execution = self.calls.iter().position(|c| c.pid == pid && c.executes());
            execution.or_else(|| of(|c| c.name == "write")).unwrap_or(usize::MAX)
        };
        let own = |(n, call): &(usize, &Call)| call.pid == first || *n <= last(call.pid);
        self.calls
            .iter()
            .enumerate()
            .filter(own)
            .map(|(_, call)| call)
            .collect()
    }
}

/// The processes of a trace.
fn pids(text: &str) -> Vec<i32> {
    let mut pids: Vec<i32> = text.lines().filter_map(number).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Arguments and result of `…) = …`.
fn split_result(text: &str) -> (&str, &str) {
    let (args, result) = text.rsplit_once(" = ").unwrap_or((text, "?"));
    (args.trim_end().strip_suffix(')').unwrap_or(args), result)
}

#[test]
fn a_trace_that_shows_nothing_is_refused() {
    assert!(Trace::parse("").is_err());
    assert!(Trace::parse("7 execve(\"/x\", [\"x\"], 0x7 /* 1 vars */) = 0\n7 read(3,  <detached ...>\n").is_err());
    assert!(Trace::parse("7 getpid() = 7\n7 +++ exited with 0 +++\n").is_err());
}

#[test]
fn calls_that_were_interrupted_are_put_together() {
    let text = "7 execve(\"/x\", [\"x\"], 0x7 /* 1 vars */) = 0\n\
                7 clone3({flags=CLONE_NEWNS, exit_signal=SIGCHLD}, 88 <unfinished ...>\n\
                8 read(4</a>, \"a = b, c\", 5) = 5\n\
                7 <... clone3 resumed>) = 8\n\
                8 +++ exited with 3 +++\n\
                7 exit_group(1) = ?\n7 +++ exited with 1 +++\n";
    let trace = Trace::parse(text).expect("a trace");
    let calls: Vec<_> = trace
        .calls
        .iter()
        .map(|c| (c.pid, c.name.as_str(), c.result.as_str()))
        .collect();
    let expected = [
        (7, "execve", "0"),
        (7, "clone3", "8"),
        (8, "read", "5"),
        (7, "exit_group", "?"),
    ];
    assert_eq!(calls, expected);
    assert_eq!(trace.code, 1);
    assert_eq!(trace.calls[1].arg(0), "{flags=CLONE_NEWNS, exit_signal=SIGCHLD}");
    assert_eq!(trace.calls[2].arg(2), "5");
}
