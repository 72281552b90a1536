//! HOME for a program whose environment has none: from the image's /etc/passwd, as runc does.
//!
//! Called by steps 8 to 11 once the rights are dropped. The file may be anything, and decides nothing else. The root is the
//! container's by now.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::plan::Process;
use crate::rootfs::root::PROC_MAGIC;

/// How long a file may be read.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of the longest line that is looked at.
const LONGEST: usize = 1 << 16;

/// `process.env`, with HOME when it is missing or empty.
pub fn complete(process: &Process) -> Vec<CString> {
    let mut env = process.env.clone();
    let is_set = |entry: &CString| entry.to_bytes().starts_with(b"HOME=") && entry.to_bytes() != b"HOME=";
    if !env.iter().any(is_set) {
        env.retain(|entry| entry.to_bytes() != b"HOME=");
        let mut home = b"HOME=".to_vec();
        home.extend(of_user(process.uid).unwrap_or_else(|| b"/".to_vec()));
        env.extend(CString::new(home));
    }
    env
}

fn of_user(uid: u32) -> Option<Vec<u8>> {
    let file = File::from(open().ok()?);
    // A file of procfs is no passwd: to read /proc/kmsg takes messages away from the host.
    if !file.metadata().ok()?.is_file() || rustix::fs::fstatfs(&file).ok()?.f_type as u64 == PROC_MAGIC {
        return None;
    }
    find(BufReader::with_capacity(LONGEST, file), uid)
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match rustix::fs::openat2(
        rustix::fs::CWD,
        "/etc/passwd",
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    ) {
        // A seccomp profile from before Linux 5.6 does not know the call. No link leads out of the root through this process:
        // it holds nothing open.
        Err(Errno::NOSYS | Errno::PERM) => rustix::fs::open("/etc/passwd", flags, Mode::empty()),
        other => other,
    }
}

/// The home directory of `uid`, read line by line however large the file is.
fn find(mut passwd: impl BufRead, uid: u32) -> Option<Vec<u8>> {
    let start = Instant::now();
    let mut line = Vec::new();
    // Set while the rest of a line that is too long is skipped.
    let mut skipping = false;
    while start.elapsed() < PATIENCE {
        let buffer = passwd.fill_buf().ok()?;
        if buffer.is_empty() {
            return home_in(&line, uid).filter(|_| !skipping);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(buffer.len());
        skipping |= line.len() + taken > LONGEST;
        if !skipping {
            line.extend_from_slice(&buffer[..taken]);
        }
        passwd.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            if let Some(home) = home_in(&line, uid).filter(|_| !skipping) {
                return Some(home);
            }
            line.clear();
            skipping = false;
        }
    }
    None
}

fn home_in(line: &[u8], uid: u32) -> Option<Vec<u8>> {
    let mut fields = line.split(|byte| *byte == b':');
    let found: u32 = std::str::from_utf8(fields.nth(2)?).ok()?.parse().ok()?;
    let home = fields.nth(2)?;
    (found == uid && !home.is_empty()).then(|| home.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(text: &[u8], uid: u32) -> Option<String> {
        // A small buffer, so that lines lie across its ends.
        find(BufReader::with_capacity(7, text), uid).map(|home| String::from_utf8(home).unwrap())
    }

    #[test]
    fn the_first_line_of_the_user_decides() {
        let text = b"root:x:0:0:root:/root:/bin/sh\nbroken\na:x:7:7::/first:\nb:x:7:7::/second:\nc:x:8:8:::\n";
        assert_eq!(home(text, 0).as_deref(), Some("/root"));
        assert_eq!(home(text, 7).as_deref(), Some("/first"));
        assert_eq!(home(text, 8), None);
        assert_eq!(home(text, 9), None);
        assert_eq!(home(b"z:x:3:3::/last:/bin/sh", 3).as_deref(), Some("/last"));
    }

    #[test]
    fn a_line_beyond_all_bounds_is_skipped() {
        let mut text = b"x:x:1:1:".to_vec();
        text.extend(vec![b'y'; 3 * LONGEST]);
        text.extend(b":/long:\nuser:x:1:1::/home/user:\n");
        assert_eq!(home(&text, 1).as_deref(), Some("/home/user"));
    }
}
