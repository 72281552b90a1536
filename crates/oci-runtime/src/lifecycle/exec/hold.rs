//! `--exec-wait-fifo`: the process stands before its execve until somebody opens a FIFO for reading.
//!
//! Who supervises the process adopts it meanwhile, without a race. Called by `exec`; the waiting is done by the process
//! (`init::hold`). The rule: what is handed to it leads nowhere, as the program is looked up while it is open
//! (CVE-2024-21626). Hence the FIFO is opened here, and its readers are heard of by inotify(7): to open it by name would take
//! a descriptor of the host's /proc or of a directory along.

use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, inotify};

use crate::init::failure::{Explain, Failure};
use crate::init::hold::Hold;

/// Opens the FIFO at this host path, and begins to listen for those who open it.
///
/// # Errors
/// Named by `--exec-wait-fifo`: as open(2) and inotify_add_watch(2), and for a file of another kind.
pub fn open(path: &Path) -> Result<Hold, Failure> {
    let what = || format!("--exec-wait-fifo: failed to open exec wait fifo {}", path.display());
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).explain(what)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file).explain(what)?.st_mode);
    if kind != FileType::Fifo {
        return Err(Failure::new(format!(
            "--exec-wait-fifo: {} is not a fifo",
            path.display()
        )));
    }
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    let open = |flags| rustix::fs::open(&name, flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
    // With a reader of our own, open(2) for writing finds one. It is gone before the watch begins.
    let both = open(OFlags::RDWR).explain(what)?;
    let fifo = open(OFlags::WRONLY).explain(what)?;
    drop(both);
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).explain(what)?;
    inotify::add_watch(
        &watch,
        &name,
        inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE_NOWRITE,
    )
    .explain(what)?;
    Ok(Hold { fifo, watch })
}
