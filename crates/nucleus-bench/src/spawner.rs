//! The process that starts what is measured, and reaps it.
//!
//! A program of its own, because a child's peak memory counts that of its starter from before execve: this one must be
//! smaller than any runtime. It is a subreaper, so that what a runtime leaves behind (a created container's init) is
//! counted too. One line in, one line out ([`Answer`]); words are parted by tabs.
//!
//!     run PROGRAM ARG...            starts it, waits for it and takes what else has ended meanwhile
//!     reap                          waits until no child is left
//!     batch COUNT ATONCE PROGRAM…   starts COUNT, `{}` in an argument being the number, ATONCE at a time

use std::io::{self, BufRead, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use nucleus_sys::usage::{Ended, wait_any};
use rustix::io::Errno;

/// What one request has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Answer {
    /// How many of the programs started ended otherwise than with exit code 0.
    pub failed: u64,
    /// From before the start to the end, seconds.
    pub wall: f64,
    /// User and system time of everything that was reaped, seconds.
    pub cpu: f64,
    /// Greatest resident set of one process, KiB.
    pub peak_rss: u64,
    /// Page faults of everything that was reaped.
    pub faults: u64,
}

impl Answer {
    fn add(&mut self, ended: &Ended) {
        self.cpu += (ended.user + ended.system).as_secs_f64();
        self.peak_rss = self.peak_rss.max(ended.peak_rss);
        self.faults += ended.faults;
    }

    fn line(&self) -> String {
        let Self {
            failed,
            wall,
            cpu,
            peak_rss,
            faults,
        } = self;
        format!("{failed} {wall:.9} {cpu:.9} {peak_rss} {faults}\n")
    }

    /// Reads what [`serve`] has written.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let answer = Self {
            failed: words.next()?.parse().ok()?,
            wall: words.next()?.parse().ok()?,
            cpu: words.next()?.parse().ok()?,
            peak_rss: words.next()?.parse().ok()?,
            faults: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(answer)
    }
}

/// Serves requests until its input ends.
///
/// # Errors
/// A request that cannot be read, a program that cannot be started at all.
pub fn serve() -> io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut line = String::new();
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.trim_end_matches('\n').split('\t');
        let answer = match words.next() {
            Some("run") => run(words)?,
            Some("reap") => reap()?,
            Some("batch") => {
                let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
                let (count, at_once) = number().zip(number()).ok_or(io::ErrorKind::InvalidInput)?;
                batch(count, at_once, &words.collect::<Vec<_>>())?
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        output.write_all(answer.line().as_bytes())?;
        output.flush()?;
    }
}

fn run<'a>(mut words: impl Iterator<Item = &'a str>) -> io::Result<Answer> {
    let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = command(program, words);
    let began = Instant::now();
    // Waited for below, with wait4, by its pid.
    let child = command.spawn()?.id();
    let mut answer = Answer::default();
    loop {
        let ended = wait(true)?.ok_or(io::ErrorKind::NotFound)?;
        answer.add(&ended);
        if u32::try_from(ended.pid) == Ok(child) {
            answer.wall = began.elapsed().as_secs_f64();
            answer.failed = u64::from(ended.status != 0);
            break;
        }
    }
    while let Some(ended) = wait(false)? {
        answer.add(&ended);
    }
    Ok(answer)
}

/// Waits for all children.
fn reap() -> io::Result<Answer> {
    let began = Instant::now();
    let mut answer = Answer::default();
    while let Some(ended) = wait(true)? {
        answer.add(&ended);
    }
    answer.wall = began.elapsed().as_secs_f64();
    Ok(answer)
}

fn batch(count: usize, at_once: usize, words: &[&str]) -> io::Result<Answer> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let began = Instant::now();
    let mut answer = Answer::default();
    let mut running = Vec::with_capacity(at_once);
    let mut next = 0;
    while next < count || !running.is_empty() {
        if next < count && running.len() < at_once {
            let arguments: Vec<_> = arguments
                .iter()
                .map(|word| word.replace("{}", &next.to_string()))
                .collect();
            running.push(command(program, arguments.iter().map(String::as_str)).spawn()?.id());
            next += 1;
            continue;
        }
        let ended = wait(true)?.ok_or(io::ErrorKind::NotFound)?;
        answer.add(&ended);
        if let Some(place) = running.iter().position(|pid| u32::try_from(ended.pid) == Ok(*pid)) {
            running.swap_remove(place);
            answer.failed += u64::from(ended.status != 0);
        }
    }
    answer.wall = began.elapsed().as_secs_f64();
    Ok(answer)
}

/// Standard error stays the spawner's: a file that the benchmark reads after a failure.
fn command<'a>(program: &str, arguments: impl Iterator<Item = &'a str>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// As [`wait_any`]; without any child, `None`.
fn wait(block: bool) -> io::Result<Option<Ended>> {
    loop {
        match wait_any(block) {
            Err(Errno::CHILD) => return Ok(None),
            Err(Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back() {
        let answer = Answer {
            failed: 1,
            wall: 0.25,
            cpu: 0.125,
            peak_rss: 900,
            faults: 77,
        };
        assert_eq!(Answer::parse(&answer.line()), Some(answer));
        assert_eq!(Answer::parse("1 2 3 4"), None);
        assert_eq!(Answer::parse("1 2 3 4 5 6"), None);
    }
}
