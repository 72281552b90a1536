//! v2: controllers reach a cgroup only when every ancestor hands them down through `cgroup.subtree_control`.
//!
//! Called when the v2 directory is made. All controllers that the hierarchy has are handed down, because engines read
//! statistics also of containers without limits; only one that a limit needs is an error when it cannot be.

use crate::dir::Dir;
use crate::error::Error;
use crate::plan::Directory;

/// Enables the hierarchy's controllers for `directory`, from the mount point down to its parent.
pub(crate) fn enable(directory: &Directory) -> Result<(), Error> {
    if directory.controllers.is_empty() {
        return Ok(());
    }
    let path = directory.mount.join(&directory.relative);
    let mut levels: Vec<_> = path
        .ancestors()
        .skip(1)
        .take_while(|level| level.starts_with(&directory.mount))
        .collect();
    levels.reverse();
    for level in levels {
        let dir = Dir::open(level).map_err(Error::file("open", level))?;
        let file = "cgroup.subtree_control";
        let enabled = dir.read(file).map_err(Error::file("read", dir.file(file)))?;
        let has = |name: &str| enabled.split_whitespace().any(|other| other == name);
        let missing: Vec<&str> = directory
            .controllers
            .iter()
            .map(String::as_str)
            .filter(|name| !has(name))
            .collect();
        if missing.is_empty() {
            continue;
        }
        // All at once is one migration of the whole sub-tree; when one of them is refused, each on its own.
        if dir.write(file, &format!("+{}", missing.join(" +"))).is_ok() {
            continue;
        }
        for name in missing {
            let Err(errno) = dir.write(file, &format!("+{name}")) else {
                continue;
            };
            if let Some((_, field)) = directory.needed.iter().find(|(needed, _)| needed == name) {
                return Err(Error::Limit {
                    field: field.clone(),
                    value: format!("+{name}"),
                    path: dir.file(file),
                    errno,
                    hint: String::new(),
                });
            }
            tracing::debug!(
                "{name} stays disabled below {}: {}",
                level.display(),
                crate::error::reason(errno)
            );
        }
    }
    Ok(())
}
