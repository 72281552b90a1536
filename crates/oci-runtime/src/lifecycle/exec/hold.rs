//! `--exec-wait-fifo`: the process waits before its execve until another process opens a FIFO for reading.
//!
//! A supervisor can adopt the process in that time, without a race. `exec` opens the descriptors here; the process waits on
//! them (`init::hold`). The rule: no descriptor may lead to a file of the host, because the process looks up its program
//! while they are open (CVE-2024-21626). Opening the FIFO by name inside the process would need a descriptor of a directory
//! or of /proc. So the FIFO is opened here, and inotify(7) reports its readers.

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
    // A non-blocking open(2) for writing fails without a reader, so the first descriptor is one. It closes before the watch
    // starts.
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
