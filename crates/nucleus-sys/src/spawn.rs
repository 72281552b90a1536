//! Starting another program that inherits its standard streams and no other descriptor: posix_spawn(3) with `addclosefrom_np` (glibc 2.34).
//!
//! Close-on-exec is too late for a path that the caller does not trust: execve(2) resolves the path while every
//! descriptor is still open, and /proc/self/fd leads through them. Here the new process closes them before it
//! resolves the path. Called for hooks.

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

/// A program to start.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// Path of the program; not looked up in PATH.
    pub path: &'a CStr,
    /// Arguments, the program's name included.
    pub args: &'a [CString],
    /// Environment, `NAME=value` each.
    pub env: &'a [CString],
    /// Directory in which the program starts; `None` is the caller's.
    pub directory: Option<BorrowedFd<'a>>,
    /// Standard input, output and error. No descriptor among them may have a number below 3 other than its own.
    pub stdio: [BorrowedFd<'a>; 3],
}

/// The list of what the new process does before execve; freed when dropped.
struct Actions(libc::posix_spawn_file_actions_t);

/// What the new process gets besides; freed when dropped.
struct Attributes(libc::posix_spawnattr_t);

impl Spawn<'_> {
    /// Starts the program: with these three descriptors and no other, every signal at its default and unblocked.
    ///
    /// # Errors
    /// As posix_spawn(3): those of fork(2), and those of execve(2) for the program.
    pub fn start(&self) -> Result<Pid, Errno> {
        let mut actions = Actions::new()?;
        for (number, fd) in self.stdio.iter().enumerate() {
            actions.duplicate(fd.as_raw_fd(), number as c_int)?;
        }
        if let Some(directory) = &self.directory {
            actions.enter(directory.as_raw_fd())?;
        }
        actions.close_from(3)?;
        let attributes = Attributes::new()?;
        let pointers = |list: &[CString]| -> Vec<*mut c_char> {
            let strings = list.iter().map(|text| text.as_ptr().cast_mut());
            strings.chain([ptr::null_mut()]).collect()
        };
        let (args, env) = (pointers(self.args), pointers(self.env));
        let mut pid: libc::pid_t = 0;
        // SAFETY: both arrays end in NULL and point into strings that outlive the call, which writes to none of them;
        // actions and attributes are initialised; `pid` is ours.
        let result = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                self.path.as_ptr(),
                &raw const actions.0,
                &raw const attributes.0,
                args.as_ptr(),
                env.as_ptr(),
            )
        };
        outcome(result)?;
        Pid::from_raw(pid).ok_or(Errno::SRCH)
    }
}

/// The functions of posix_spawn(3) return the error number itself.
fn outcome(result: c_int) -> Result<(), Errno> {
    match result {
        0 => Ok(()),
        number => Err(Errno::from_raw_os_error(number)),
    }
}

impl Actions {
    fn new() -> Result<Self, Errno> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given, or fails.
        outcome(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn duplicate(&mut self, from: c_int, to: c_int) -> Result<(), Errno> {
        // SAFETY: the list is initialised; descriptors are numbers, used in the new process only.
        outcome(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }

    fn enter(&mut self, directory: c_int) -> Result<(), Errno> {
        // SAFETY: as above.
        outcome(unsafe { libc::posix_spawn_file_actions_addfchdir_np(&raw mut self.0, directory) })
    }

    fn close_from(&mut self, first: c_int) -> Result<(), Errno> {
        // SAFETY: as above; the new process closes descriptors in its own table.
        outcome(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(&raw mut self.0, first) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and freed here only.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

impl Attributes {
    /// All signals at their default, none blocked.
    fn new() -> Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given, or fails.
        outcome(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let (mut all, mut none) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the call fills in a set of signals and cannot fail.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: as above.
        unsafe { libc::sigemptyset(none.as_mut_ptr()) };
        let flags = (libc::POSIX_SPAWN_SETSIGDEF | libc::POSIX_SPAWN_SETSIGMASK) as libc::c_short;
        // SAFETY: attributes and set are initialised.
        outcome(unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, all.as_ptr()) })?;
        // SAFETY: as above.
        outcome(unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, none.as_ptr()) })?;
        // SAFETY: as above.
        outcome(unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised by `new`, and freed here only.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::os::fd::AsFd;

    use super::*;

    fn output_of(script: &str, directory: Option<BorrowedFd<'_>>) -> String {
        let mut output = File::from(rustix::fs::memfd_create("output", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        let null = File::open("/dev/null").unwrap();
        let args = ["sh", "-c", script].map(|word| CString::new(word).unwrap());
        let env = [c"PATH=/bin:/usr/bin".to_owned(), c"ONLY=this".to_owned()];
        let spawn = Spawn {
            path: c"/bin/sh",
            args: &args,
            env: &env,
            directory,
            stdio: [null.as_fd(), output.as_fd(), output.as_fd()],
        };
        let pid = spawn.start().unwrap();
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
        let mut text = String::new();
        output.rewind().unwrap();
        output.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn descriptors_are_closed_even_if_execve_would_keep_them() {
        let kept = File::open("/").unwrap();
        rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
        let number = kept.as_raw_fd();
        let text = output_of(
            &format!("[ -e /proc/self/fd/{number} ] && echo open || echo closed"),
            None,
        );
        assert_eq!(text, "closed\n");
    }

    #[test]
    fn the_path_cannot_lead_through_an_open_descriptor() {
        let root = File::open("/").unwrap();
        let path = CString::new(format!("/proc/self/fd/{}/bin/true", root.as_raw_fd())).unwrap();
        let null = File::open("/dev/null").unwrap();
        let spawn = Spawn {
            path: &path,
            args: &[c"true".to_owned()],
            env: &[],
            directory: None,
            stdio: [null.as_fd(); 3],
        };
        assert_eq!(spawn.start().unwrap_err(), Errno::NOENT);
        // The same path is there for the caller, so it was the closed descriptor that made it fail.
        assert!(rustix::fs::stat(&*path).is_ok());
    }

    #[test]
    fn directory_and_environment_are_as_given() {
        let directory = File::open("/usr").unwrap();
        let text = output_of("pwd; echo $ONLY", Some(directory.as_fd()));
        assert_eq!(text, "/usr\nthis\n");
    }
}
