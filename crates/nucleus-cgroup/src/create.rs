//! Executing a [`Plan`], first half: make the directories, hand out the means to join.
//!
//! Called by the host side. [`Plan::create`] only makes the directories, so that a child can be born into them while
//! the caller goes on with [`Cgroup::apply_limits`]; the caller sees to it that the limits are in place before the
//! user's program runs. A [`Cgroup`] removes what it made when it is dropped, until it is committed.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, mkdirat};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::dir::{Dir, read_path};
use crate::error::Error;
use crate::join::Joiner;
use crate::layout::Version;
use crate::plan::{Directory, Plan};
use crate::record::Record;
use crate::remove::{remove_tree, rmdir};
use crate::{cpuset, delegate};

const KILL: i32 = Signal::KILL.as_raw();
/// How often a parent may vanish under our hands before that is an error.
const RACES: usize = 3;

/// A container's cgroup, one directory in each hierarchy. Removes what it made when dropped, unless committed.
#[derive(Debug)]
pub struct Cgroup {
    pub(crate) plan: Plan,
    /// In the order of `plan.directories`; `None` where a rootless run goes without.
    pub(crate) members: Vec<Option<Dir>>,
    /// The v2 directory is new, see [`Cgroup::unified_dir`].
    pub(crate) unified_is_new: bool,
    /// What was made, parents first.
    made: Vec<PathBuf>,
    /// systemd has made the scope, and it is not committed yet.
    scope: bool,
}

impl Plan {
    /// Makes the directories, parents included, and checks that nothing else lives there.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] and [`Error::Frozen`] for a directory that existed before, [`Error::File`] naming the
    /// directory that could not be made. What was made until then is removed again.
    pub fn create(self) -> Result<Cgroup, Error> {
        let mut cgroup = Cgroup {
            members: Vec::with_capacity(self.directories.len()),
            made: Vec::with_capacity(self.directories.len()),
            unified_is_new: false,
            scope: false,
            plan: self,
        };
        if cgroup.plan.unit.is_some() {
            return Ok(cgroup);
        }
        for index in 0..cgroup.plan.directories.len() {
            let member = cgroup.make(index)?;
            cgroup.members.push(member);
        }
        Ok(cgroup)
    }

    /// Opens the directories of a plan that was compiled with [`Plan::compile_update`]. Nothing is made, and nothing
    /// is removed when the result is dropped.
    ///
    /// # Errors
    /// When a directory is gone.
    pub fn open(self) -> Result<Cgroup, Error> {
        let open = |directory: &Directory| {
            let wanted = !directory.path.as_os_str().is_empty();
            wanted
                .then(|| Dir::open(&directory.path).map_err(Error::file("open", &directory.path)))
                .transpose()
        };
        Ok(Cgroup {
            members: self.directories.iter().map(open).collect::<Result<_, _>>()?,
            made: Vec::new(),
            unified_is_new: false,
            scope: false,
            plan: self,
        })
    }
}

impl Cgroup {
    fn make(&mut self, index: usize) -> Result<Option<Dir>, Error> {
        let directory = &self.plan.directories[index];
        let path = directory.path.clone();
        let made = self.made.len();
        match make_path(&directory.mount, &path, &mut self.made) {
            Ok(()) => {}
            Err(Error::File { errno, .. }) if is_permission(errno) && self.plan.can_lack(index) => return Ok(None),
            Err(Error::File { errno, path, .. }) if is_permission(errno) => {
                return Err(self.refused(index, path, errno));
            }
            Err(error) => return Err(error),
        }
        let new = self.made.len() > made;
        let dir = match directory.version {
            Version::V1 => {
                if directory.controllers.iter().any(|name| name == "cpuset") {
                    cpuset::inherit(&directory.mount, &path, &self.made[made..])?;
                }
                Dir::at(path)
            }
            Version::V2 => {
                let dir = Dir::open(&path).map_err(Error::file("open", &path))?;
                delegate::enable(directory, &dir)?;
                self.unified_is_new = new;
                dir
            }
        };
        // A scope is new, and holds the process that it was made for.
        if !new && self.plan.unit.is_none() {
            check_existing(directory, &dir)?;
            if directory.version == Version::V2 {
                // A failure shows when the process joins.
                let _ = delegate::make_threaded(directory);
            }
        }
        Ok(Some(dir))
    }

    /// True with the systemd driver: the cgroup comes to be around a process, by [`Cgroup::adopt`]. Until then that
    /// process must wait, above all before it makes a cgroup namespace.
    pub fn adopts(&self) -> bool {
        self.plan.unit.is_some()
    }

    /// Has systemd make the scope around a process, and the directories of hierarchies that systemd leaves alone; the
    /// process is then in all of them. Limits come with [`Cgroup::apply_limits`]. Nothing with the cgroup
    /// filesystem's driver.
    ///
    /// # Errors
    /// [`Error::Systemd`], or as [`Plan::create`].
    pub fn adopt(&mut self, pid: Pid) -> Result<(), Error> {
        let Some(unit) = self.plan.unit.clone() else {
            return Ok(());
        };
        // What fails here leaves nothing of ours: a scope whose process dies is gone, and one that was there is not ours.
        unit.start(pid)?;
        self.scope = true;
        check_place(pid, &unit)?;
        if !unit.below.subgroup.as_os_str().is_empty() {
            self.enter_subgroup(pid)?;
        }
        for index in 0..self.plan.directories.len() {
            let member = self.make(index)?;
            self.members.push(member);
        }
        // Already in v2's, which systemd has made new.
        self.unified_is_new = true;
        self.joiner()?.join_pid(pid)
    }

    /// Moves the process into the group below the scope, which then has no processes of its own and can hand controllers down.
    fn enter_subgroup(&mut self, pid: Pid) -> Result<(), Error> {
        for directory in &self.plan.directories {
            make_path(&directory.mount, &directory.path, &mut self.made)?;
            move_into(&directory.path, pid)?;
        }
        Ok(())
    }

    /// Moves the process into the group that the container's program is to manage, if there is to be one, and gives that to
    /// `owner`. It is below the container's group, which the process must have entered, and in which its cgroup namespace must be
    /// rooted. It goes together with that group.
    ///
    /// # Errors
    /// When it cannot be made, or entered.
    pub fn enter_delegated(&self, pid: Pid, owner: Option<u32>) -> Result<(), Error> {
        let delegated = self.plan.unit.as_ref().and_then(|unit| unit.below.delegated.as_ref());
        let (Some(delegated), Some(own)) = (delegated, self.unified()) else {
            return Ok(());
        };
        let path = own.path.join(delegated);
        make_path(&own.path, &path, &mut Vec::new())?;
        if let Some(owner) = owner {
            delegate::chown(&Dir::open(&path).map_err(Error::file("open", &path))?, owner)?;
        }
        move_into(&path, pid)
    }

    /// The error for a directory that we may not make: for a limit's sake where there is one.
    pub(crate) fn refused(&self, index: usize, path: PathBuf, errno: Errno) -> Error {
        match self.plan.writes.iter().find(|write| write.directory == index) {
            Some(write) => Error::NoCgroup {
                field: write.field.clone(),
                path,
                errno,
            },
            None => Error::File {
                action: "make cgroup",
                path,
                errno,
            },
        }
    }

    /// The v2 directory, for `CLONE_INTO_CGROUP`; `None` on a host without v2, and for a directory that was there
    /// before: that is joined through the [`Joiner`].
    ///
    /// Linux (seen on 6.18) kills a child at its birth when it is cloned into a cgroup whose `cgroup.kill` was written
    /// another number of times than that of the parent's own cgroup: `cgroup_css_set_fork` notes the `kill_seq` of the
    /// one and `cgroup_post_fork` compares it with that of the other. A new directory starts with none.
    pub fn unified_dir(&self) -> Option<BorrowedFd<'_>> {
        self.unified().filter(|_| self.unified_is_new)?.fd().ok()
    }

    /// To be called when the kernel has refused a clone into [`Cgroup::unified_dir`] with `EOPNOTSUPP`: makes the directory
    /// a threaded one if that helps, and says whether to try again.
    pub fn make_threaded(&self) -> bool {
        let mut directories = self.plan.directories.iter();
        let unified = directories.find(|directory| directory.version == Version::V2);
        unified.is_some_and(|directory| delegate::make_threaded(directory).unwrap_or(false))
    }

    /// What a process needs to move itself into all hierarchies that [`Cgroup::unified_dir`] does not stand for.
    ///
    /// # Errors
    /// When a `tasks` file (v1) or `cgroup.procs` (v2) cannot be opened.
    pub fn joiner(&self) -> Result<Joiner, Error> {
        self.open_joiner(!self.unified_is_new)
    }

    /// What a process needs that was not cloned into [`Cgroup::unified_dir`] (Linux before 5.7, or a child that was
    /// killed at birth): as [`Cgroup::joiner`], v2 included. Slow: v2's `cgroup.procs` waits for an RCU grace period.
    ///
    /// # Errors
    /// As [`Cgroup::joiner`].
    pub fn full_joiner(&self) -> Result<Joiner, Error> {
        self.open_joiner(true)
    }

    fn open_joiner(&self, with_unified: bool) -> Result<Joiner, Error> {
        let members = self.plan.directories.iter().zip(&self.members);
        let v1 = members
            .filter(|(dir, _)| dir.version == Version::V1)
            .filter_map(|(_, member)| member.as_ref());
        Joiner::open(v1, self.unified().filter(|_| with_unified))
    }

    /// What later verbs need to find the cgroup again. No paths when the container runs without one.
    pub fn record(&self) -> Record {
        if self.adopts() {
            return self.plan.record();
        }
        let pairs = self.plan.directories.iter().zip(&self.members);
        let found = pairs.filter_map(|(directory, member)| Some((directory, member.as_ref()?.path.clone())));
        self.plan.record_of(found)
    }

    /// Hands the v2 directory to a user of the host, so that the container, whose root that user is, can make and use
    /// sub-cgroups; the limits stay out of reach (cgroup-v2.rst, "Delegation"). Nothing on a host without v2.
    ///
    /// # Errors
    /// When one of the files cannot be chowned.
    pub fn delegate(&self, uid: u32) -> Result<(), Error> {
        self.unified().map_or(Ok(()), |dir| delegate::chown(dir, uid))
    }

    /// Keeps what was made: from now on the state file's [`Record`] answers for it.
    pub fn commit(mut self) {
        self.made.clear();
        self.scope = false;
    }

    fn unified(&self) -> Option<&Dir> {
        let members = self.plan.directories.iter().zip(&self.members);
        members
            .filter(|(dir, _)| dir.version == Version::V2)
            .find_map(|(_, member)| member.as_ref())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Some(unit) = self.plan.unit.as_ref().filter(|_| self.scope) {
            // systemd would ask processes to end, and wait for them.
            let known = !self.members.is_empty();
            let killed = if known { self.record().kill_all(KILL) } else { Ok(()) };
            if let Err(error) = killed.and_then(|()| unit.stop()) {
                tracing::warn!("{error}");
            }
        }
        // The directories that were made last go first, so that parents are empty when their turn comes.
        for path in self.made.drain(..).rev() {
            let ours = self.plan.directories.iter().any(|directory| directory.path == path);
            let result = match rmdir(&path) {
                Err(Errno::BUSY | Errno::NOTEMPTY) if ours => remove_tree(&path),
                // A parent that we made, and that others have put their cgroups into by now.
                Err(Errno::BUSY | Errno::NOTEMPTY) => Ok(()),
                result => result.map_err(Error::file("remove cgroup", &path)),
            };
            if let Err(error) = result {
                tracing::warn!("{error}");
            }
        }
    }
}

pub(crate) fn is_permission(errno: Errno) -> bool {
    matches!(errno, Errno::ACCESS | Errno::PERM | Errno::ROFS)
}

/// Makes sure that systemd has put a process where the plan expects it: the kernel's word on it (cgroups(7)).
fn check_place(pid: Pid, unit: &crate::systemd::Unit) -> Result<(), Error> {
    let text = read_path(Path::new(&format!("/proc/{}/cgroup", pid.as_raw_nonzero())))?;
    let places = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let mut places = places.map(|place| place.trim_start_matches('/'));
    if places.clone().any(|place| Path::new(place) == unit.path) {
        return Ok(());
    }
    Err(Error::Systemd {
        action: format!("unit {}", unit.name),
        problem: format!(
            "the process is expected in {}, and is in {}",
            unit.path.display(),
            places.next_back().unwrap_or_default()
        ),
    })
}

fn move_into(path: &Path, pid: Pid) -> Result<(), Error> {
    let dir = Dir::at(path.to_owned());
    let file = "cgroup.procs";
    dir.write(file, &pid.as_raw_nonzero().to_string())
        .map_err(Error::file("join through", dir.file(file)))
}

/// mkdir -p below `mount`, in one call where the parents exist. Records what it made.
fn make_path(mount: &Path, path: &Path, made: &mut Vec<PathBuf>) -> Result<(), Error> {
    let mut make = |path: &Path| match mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            made.push(path.to_path_buf());
            Ok(())
        }
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
    };
    // Another runtime may take an empty parent away while we make what goes into it: then from the top again.
    for _ in 0..RACES {
        match make(path) {
            Err(Errno::NOENT) => {}
            result => return result.map_err(Error::file("make cgroup", path)),
        }
        let parents = path.ancestors().skip(1).take_while(|parent| *parent != mount);
        for parent in parents.collect::<Vec<_>>().into_iter().rev() {
            match make(parent) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::file("make cgroup", parent)(errno)),
            }
        }
    }
    make(path).map_err(Error::file("make cgroup", path))
}

/// A directory that was there before may be used when nothing lives in it and nothing in it would stand still: what
/// runc 1.2 and later ask for.
fn check_existing(directory: &Directory, dir: &Dir) -> Result<(), Error> {
    let freezer = directory.controllers.iter().any(|name| name == "freezer");
    let frozen = match directory.version {
        Version::V2 => dir.read("cgroup.freeze").is_ok_and(|text| text.trim() == "1"),
        Version::V1 => freezer && dir.read("freezer.state").is_ok_and(|text| text.trim() != "THAWED"),
    };
    if frozen {
        return Err(Error::Frozen { path: dir.path.clone() });
    }
    let count = crate::pids::read(&dir.path, true)?.len();
    if count > 0 {
        return Err(Error::NotEmpty {
            path: dir.path.clone(),
            count,
        });
    }
    Ok(())
}
