//! The benchmark's side of a [`spawner`](crate::spawner): requests with a time limit. Nothing here waits for ever, and
//! every wait ends at SIGINT, SIGTERM or SIGHUP.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::{SfdFlags, SigSet, SignalFd};
use nix::unistd::Pid;

use crate::spawner::Answer;

/// The signals that end the benchmark in good order, as something to wait for.
pub struct Interrupt(SignalFd);

impl Interrupt {
    /// Blocks the signals from here on.
    pub fn new() -> io::Result<Self> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits so long, or until interrupted, which is an error.
    pub fn sleep(&self, time: Duration) -> io::Result<()> {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], timeout)? {
            0 => Ok(()),
            _ => Err(io::ErrorKind::Interrupted.into()),
        }
    }
}

/// How a request ended that was answered at all.
pub enum Outcome {
    /// All programs ended with exit code 0.
    Done(Answer),
    /// One did not; what it said.
    Failed(String),
    /// The time limit passed; what was running then, and has been killed.
    Hung(String),
}

/// A running spawner.
pub struct Spawner<'a> {
    child: Child,
    said: File,
    interrupt: &'a Interrupt,
}

impl<'a> Spawner<'a> {
    /// Starts one, as this user if one is given.
    pub fn start(work: &Path, user: Option<u32>, interrupt: &'a Interrupt) -> io::Result<Self> {
        let path = work.join(format!("said-{}", user.unwrap_or(0)));
        let said = File::options().create(true).append(true).read(true).open(path)?;
        let mut command = Command::new("/proc/self/exe");
        // Not of the terminal's group: Ctrl-C is for us, who then end it.
        command
            .arg("spawner")
            .process_group(0)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(said.try_clone()?);
        if let Some(user) = user {
            command
                .uid(user)
                .gid(user)
                .env("XDG_RUNTIME_DIR", work.join("rootless"))
                .env("HOME", "/");
        }
        // Its programs find the signals as a shell would give them.
        let unblocked = UnblockedSignals::new()?;
        let child = command.spawn();
        drop(unblocked);
        Ok(Self {
            child: child?,
            said,
            interrupt,
        })
    }

    /// Its pid, the ancestor of everything measured.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// An interrupt; a spawner that does not answer even after its programs were killed.
    pub fn ask(&mut self, words: &[&str], limit: Duration) -> io::Result<Outcome> {
        let input = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        self.said.set_len(0)?;
        input.write_all(format!("{}\n", words.join("\t")).as_bytes())?;
        let mut hung = None;
        let line = loop {
            match self.answer(limit)? {
                Some(line) => break line,
                None if hung.is_none() => hung = Some(kill_descendants(self.pid())),
                None => return Err(io::Error::other("the spawner does not answer")),
            }
        };
        let answer = Answer::parse(&line).ok_or_else(|| {
            let said = self.said();
            io::Error::other(format!("cannot start {}: {line} {said}", words.join(" ")))
        })?;
        Ok(match hung {
            Some(processes) => Outcome::Hung(processes),
            None if answer.failed == 0 => Outcome::Done(answer),
            None => Outcome::Failed(self.said()),
        })
    }

    fn answer(&mut self, limit: Duration) -> io::Result<Option<String>> {
        let output = self.child.stdout.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        let mut waited = [
            PollFd::new(output.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.interrupt.0.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut waited, timeout)? == 0 {
            return Ok(None);
        }
        if waited.get(1).is_some_and(|signal| signal.any() == Some(true)) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        // An answer is one write of less than PIPE_BUF bytes.
        let mut line = [0; 256];
        let length = output.read(&mut line)?;
        Ok(Some(
            String::from_utf8_lossy(line.get(..length).unwrap_or_default()).into_owned(),
        ))
    }

    /// What the programs of the last request have written to standard error, cut to what fits a line or two.
    fn said(&mut self) -> String {
        let mut text = String::new();
        let read = self
            .said
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.said.read_to_string(&mut text));
        match read {
            Ok(_) => text
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .chars()
                .take(160)
                .collect(),
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Spawner<'_> {
    fn drop(&mut self) {
        kill_descendants(self.pid());
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// While it lives, the signals that [`Interrupt`] has blocked are not.
struct UnblockedSignals(SigSet);

impl UnblockedSignals {
    fn new() -> io::Result<Self> {
        let before = SigSet::thread_get_mask()?;
        SigSet::empty().thread_set_mask()?;
        Ok(Self(before))
    }
}

impl Drop for UnblockedSignals {
    fn drop(&mut self) {
        let _ = self.0.thread_set_mask();
    }
}

/// Kills all that descends from a process and returns its names. Only the caller's own processes are ever named here.
fn kill_descendants(ancestor: u32) -> String {
    let mut names = Vec::new();
    // What is being born while we look is found the next time.
    for _ in 0..20 {
        let found = descendants(ancestor);
        if found.is_empty() {
            break;
        }
        for (pid, name) in found {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    names.join(", ")
}

/// The living descendants, by /proc/PID/stat: pid and name.
fn descendants(ancestor: u32) -> Vec<(i32, String)> {
    let mut children: HashMap<i32, Vec<(i32, String)>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if let Some((pid, name, parent)) = parse_stat(&stat) {
            children.entry(parent).or_default().push((pid, name));
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![i32::try_from(ancestor).unwrap_or(0)];
    while let Some(parent) = parents.pop() {
        for (pid, name) in children.remove(&parent).unwrap_or_default() {
            parents.push(pid);
            found.push((pid, name));
        }
    }
    found
}

/// `PID (NAME) STATE PPID …`, where the name may have spaces and parentheses; none of a zombie.
fn parse_stat(stat: &str) -> Option<(i32, String, i32)> {
    let (pid, rest) = stat.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?;
    let parent = words.next()?.parse().ok()?;
    (state != "Z").then_some((pid.parse().ok()?, name.to_owned(), parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_stat() {
        assert_eq!(parse_stat("7 (a) (b) S 3 7 7 0"), Some((7, "a) (b".to_owned(), 3)));
        assert_eq!(parse_stat("7 (a) Z 3 7"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn descendants_are_found() {
        let mut shell = Command::new("sh").args(["-c", "sleep 60; :"]).spawn().unwrap();
        let mut found = Vec::new();
        for _ in 0..500 {
            found = descendants(shell.id());
            if found.iter().any(|(_, name)| name == "sleep") {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(kill_descendants(shell.id()).contains("sleep"));
        let _ = shell.kill();
        shell.wait().unwrap();
    }
}
