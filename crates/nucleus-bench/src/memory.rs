//! What a created container's init holds in memory.

use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::peers::Peer;

/// The init's pid, as its runtime tells.
///
/// # Errors
/// A runtime that cannot be started, or tells none.
pub fn init_pid(peer: &Peer, id: &str) -> io::Result<i32> {
    let output = Command::new(&peer.path)
        .arg("--root")
        .arg(&peer.root)
        .args(["state", id])
        .output()?;
    let state: Value = serde_json::from_slice(&output.stdout)?;
    let pid = state["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
    pid.ok_or_else(|| io::Error::other("its state has no pid"))
}

/// Resident and private memory of a process that waits, KiB. `create` may return while init is still on its last steps: what
/// counts is what stays the same for a while.
///
/// # Errors
/// A process that is gone.
pub fn smaps(pid: i32) -> io::Result<(f64, f64)> {
    let mut last = now(pid)?;
    for _ in 0..LONGEST {
        std::thread::sleep(WHILE);
        let this = now(pid)?;
        if this == last {
            break;
        }
        last = this;
    }
    Ok(last)
}

const WHILE: Duration = Duration::from_millis(30);
const LONGEST: u32 = 30;

fn now(pid: i32) -> io::Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok((
        rollup(&text, &["Rss:"]),
        rollup(&text, &["Private_Clean:", "Private_Dirty:"]),
    ))
}

fn rollup(text: &str, names: &[&str]) -> f64 {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        names
            .contains(&words.next()?)
            .then_some(words.next()?.parse::<f64>().ok()?)
    };
    text.lines().filter_map(line).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_process() {
        let text = "400000-7fff ---p 0 00:00 0 [rollup]\nRss:  900 kB\nPrivate_Clean: 8 kB\nPrivate_Dirty:  100 kB\n";
        assert_eq!(rollup(text, &["Rss:"]), 900.0);
        assert_eq!(rollup(text, &["Private_Clean:", "Private_Dirty:"]), 108.0);
        assert!(smaps(std::process::id() as i32).unwrap().0 > 0.0);
    }
}
