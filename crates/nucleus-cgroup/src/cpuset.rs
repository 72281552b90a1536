//! v1's cpuset: a new cgroup has no CPUs and no memory nodes, and nothing can join it before it has.
//!
//! Called when directories are made. Every new level gets what its parent has. A level that was there before keeps
//! what it has; one that has nothing, because somebody made it by hand, is treated like a new one.

use std::path::{Path, PathBuf};

use crate::dir::{Dir, read_path};
use crate::error::Error;

const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Makes the cgroup at `path`, below the hierarchy at `mount`, one that can be joined. `made` are those of its levels
/// that are new, parents first.
pub(crate) fn inherit(mount: &Path, path: &Path, made: &[PathBuf]) -> Result<(), Error> {
    let old = made.first().and_then(|first| first.parent()).unwrap_or(path);
    let values = ensure(mount, old)?;
    made.iter().try_for_each(|level| fill(level, &values))
}

/// The values of a level that was there before, taken from above where it has none.
fn ensure(mount: &Path, path: &Path) -> Result<[String; 2], Error> {
    let read = |file: &str| read_path(&path.join(file)).map(|text| text.trim().to_owned());
    let own = [read(FILES[0])?, read(FILES[1])?];
    match path.parent() {
        Some(parent) if path != mount && own.iter().any(String::is_empty) => {
            let mut values = ensure(mount, parent)?;
            for (value, own) in values.iter_mut().zip(own) {
                if !own.is_empty() {
                    *value = own;
                }
            }
            fill(path, &values)?;
            Ok(values)
        }
        _ => Ok(own),
    }
}

fn fill(level: &Path, values: &[String; 2]) -> Result<(), Error> {
    let dir = Dir::at(level.to_owned());
    let mut pairs = FILES.iter().zip(values);
    pairs.try_for_each(|(file, value)| dir.write(file, value).map_err(Error::file("write to", dir.file(file))))
}
