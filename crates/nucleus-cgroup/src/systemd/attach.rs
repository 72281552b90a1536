//! Further processes of a user's scope, for a caller who may not put them there.
//!
//! To move a process the kernel wants the right to write to the nearest cgroup that is above both places
//! (cgroup-v2.rst, "Delegation Containment"). A user who has logged in is outside of what is delegated to their systemd, and
//! that cgroup is root's: only systemd can do it, the user's by way of the host's.

use std::path::Path;

use rustix::fs::{Access, access};
use rustix::process::Pid;

use super::{Bus, bus};
use crate::dir::read_path;
use crate::error::Error;
use crate::record::Record;

impl Record {
    /// True when a process of this caller cannot be born into the cgroup, and [`Record::attach`] is the way.
    ///
    /// # Errors
    /// When /proc/self/cgroup cannot be read.
    pub fn is_out_of_reach(&self) -> Result<bool, Error> {
        let Some(path) = self.unified().filter(|_| self.driver == Bus::User.driver()) else {
            return Ok(false);
        };
        let text = read_path(Path::new("/proc/self/cgroup"))?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::"));
        let own = Path::new(own.unwrap_or_default());
        Ok(common(path, own).is_some_and(|above| access(above.join("cgroup.procs"), Access::WRITE_OK).is_err()))
    }

    /// Has systemd move a process of the caller's into the scope.
    ///
    /// # Errors
    /// [`Error::Systemd`].
    pub fn attach(&self, pid: Pid) -> Result<(), Error> {
        let (Some(bus), Some(unit), Some(path)) = (Bus::of_driver(&self.driver), &self.unit, self.unified()) else {
            return Ok(());
        };
        let below = path.ancestors().find(|above| above.ends_with(unit));
        let below = below
            .and_then(|scope| path.strip_prefix(scope).ok())
            .unwrap_or(Path::new(""));
        bus::attach(
            bus,
            unit,
            &format!("/{}", below.display()),
            pid.as_raw_nonzero().get().unsigned_abs(),
        )
    }
}

/// The directory above both: `path` as it is mounted, `own` as in /proc/self/cgroup.
fn common<'a>(path: &'a Path, own: &Path) -> Option<&'a Path> {
    let mount = Path::new("/sys/fs/cgroup");
    let own = mount.join(own.strip_prefix("/").ok()?);
    path.ancestors().find(|above| own.starts_with(above))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_cgroup_above_both() {
        let of = |path: &'static str, own: &str| common(Path::new(path), Path::new(own)).and_then(Path::to_str);
        let scope = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/user.slice/x.scope";
        assert_eq!(
            of(scope, "/user.slice/user-1000.slice/session-1.scope"),
            Some("/sys/fs/cgroup/user.slice/user-1000.slice")
        );
        assert_eq!(of(scope, "/system.slice/sshd.service"), Some("/sys/fs/cgroup"));
        assert_eq!(
            of(
                scope,
                "/user.slice/user-1000.slice/user@1000.service/app.slice/y.service"
            ),
            Some("/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service")
        );
        assert_eq!(of(scope, "/"), Some("/sys/fs/cgroup"));
    }
}
