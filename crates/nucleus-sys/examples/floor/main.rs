//! The floor: what the kernel alone takes for a container, with no runtime around it.
//!
//! `floor STEPS NAME` reads a list of steps that the benchmark has made of a config.json (crates/nucleus-bench, `floor.rs`)
//! and performs them, one or a few raw system calls each: the control groups, the device program, one clone3 into all
//! namespaces, mounts, devices, masks, capabilities, the seccomp program, execve; then it waits and removes the groups.
//! There is no state, no check, no error handling but "say it and end", nothing parsed but this list: a runtime cannot be
//! cheaper than this with these steps. Not there: groups, keyring, umask, oom score, the loopback interface.
//!
//! The list is words that each end in NUL; an operation has a fixed number of words. What follows `clone` is the child's.
//! A C `main`, because setting up Rust's runtime costs what is measured here.
#![no_main]

mod device;

use std::ffi::{CStr, c_char, c_int, c_long};

/// Join the cgroup given at birth (`clone3(2)`).
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// As many hierarchies as cgroup v1 may have mounted, and more.
const MOST_GROUPS: usize = 24;
const AT_CWD: usize = libc::AT_FDCWD as usize;

/// # Panics
/// Never in sense: every failure ends the program with code 111 and a line that names the step.
#[unsafe(no_mangle)]
pub extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    if argc != 3 {
        fail(c"usage: floor STEPS NAME", "", 0);
    }
    let mut buffer = [0; 16 << 10];
    let length = read_file(argument(argv, 1), &mut buffer);
    let words = Words(buffer.get(..length).unwrap_or_default());
    Floor::new(argument(argv, 2)).perform(words)
}

/// What the steps leave for later ones.
struct Floor<'a> {
    name: &'a CStr,
    /// The groups made, for `join` and for their removal.
    groups: [[u8; 256]; MOST_GROUPS],
    made: usize,
    /// The v2 group to be born into.
    into: Option<usize>,
    program: [u64; 256],
    instructions: usize,
    seccomp: Vec<u64>,
}

impl<'a> Floor<'a> {
    fn new(name: &'a CStr) -> Self {
        Self {
            name,
            groups: [[0; 256]; MOST_GROUPS],
            made: 0,
            into: None,
            program: [0; 256],
            instructions: 0,
            seccomp: Vec::new(),
        }
    }

    fn perform(&mut self, mut words: Words<'_>) -> c_int {
        while let Some(operation) = words.next() {
            match operation.to_bytes() {
                b"cgroup" => self.make_group(words.text()),
                b"limit" => self.limit(words.text(), words.text(), words.text()),
                b"into" => self.into = Some(self.open_group(words.text())),
                b"device" => self.allow_device(words.number(), words.number(), words.number(), words.number()),
                b"attach" => self.attach(),
                b"clone" => {
                    if let Some(child) = self.clone(words.number()) {
                        return self.finish(child);
                    }
                }
                b"join" => self.join(),
                b"bindgroup" => self.bind_group(words.text(), words.text()),
                b"seccomp" => self.read_seccomp(words.text()),
                b"load" => self.load_seccomp(),
                b"exec" => execute(words.text()),
                _ => container_step(operation, &mut words),
            }
        }
        fail(c"the list has no exec", "", 0)
    }

    /// PARENT/NAME or PARENT/NAME/FILE, NUL at the end.
    fn path(&self, parent: &CStr, file: &[u8]) -> [u8; 256] {
        let mut path = [0; 256];
        let parts = [parent.to_bytes(), b"/", self.name.to_bytes(), file];
        let mut room = path.iter_mut().take(255);
        for (byte, place) in parts.into_iter().flatten().zip(&mut room) {
            *place = *byte;
        }
        path
    }

    fn make_group(&mut self, parent: &CStr) {
        let path = self.path(parent, b"");
        must(c"mkdir", libc::SYS_mkdirat, [AT_CWD, bytes(&path), 0o755, 0, 0]);
        if let Some(place) = self.groups.get_mut(self.made) {
            *place = path;
            self.made += 1;
        }
    }

    fn open_group(&self, parent: &CStr) -> usize {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        must(
            c"open",
            libc::SYS_openat,
            [AT_CWD, bytes(&self.path(parent, b"")), flags as usize, 0, 0],
        )
    }

    fn limit(&self, parent: &CStr, file: &CStr, value: &CStr) {
        let mut name = [0; 64];
        for (place, byte) in name.iter_mut().zip(b"/".iter().chain(file.to_bytes())) {
            *place = *byte;
        }
        write_file(&self.path(parent, &name), value);
    }

    /// Births into a v1 group cost the kernel's global lock; "0" in `tasks` from inside does not.
    fn join(&self) {
        for group in self.groups.iter().take(self.made) {
            let mut path = *group;
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(0);
            for (place, byte) in path.iter_mut().skip(end).zip(b"/tasks\0") {
                *place = *byte;
            }
            write_file(&path, c"0");
        }
    }

    fn bind_group(&self, parent: &CStr, target: &CStr) {
        let (source, flags) = (self.path(parent, b""), libc::MS_BIND as usize);
        must(
            c"bind group",
            libc::SYS_mount,
            [bytes(&source), text(target), 0, flags, 0],
        );
    }

    fn clone(&self, namespaces: usize) -> Option<usize> {
        // clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup.
        let mut args = [0u64; 11];
        args[0] = namespaces as u64;
        args[4] = libc::SIGCHLD as u64;
        if let Some(group) = self.into {
            args[0] |= CLONE_INTO_CGROUP;
            args[10] = group as u64;
        }
        let child = must(
            c"clone3",
            libc::SYS_clone3,
            [args.as_ptr() as usize, size_of_val(&args), 0, 0, 0],
        );
        (child != 0).then_some(child)
    }

    fn finish(&self, child: usize) -> c_int {
        let mut status: c_int = 0;
        must(c"wait4", libc::SYS_wait4, [child, (&raw mut status) as usize, 0, 0, 0]);
        for group in self.groups.iter().take(self.made) {
            must(
                c"rmdir",
                libc::SYS_unlinkat,
                [AT_CWD, bytes(group), libc::AT_REMOVEDIR as usize, 0, 0],
            );
        }
        c_int::from(status != 0)
    }

    fn read_seccomp(&mut self, path: &CStr) {
        self.seccomp = vec![0; 4096];
        let length = read_file(path, &mut self.seccomp);
        self.seccomp.truncate(length / 8);
    }

    fn load_seccomp(&self) {
        // sock_fprog: a 16-bit length, then a pointer.
        let program = [self.seccomp.len() as u64, self.seccomp.as_ptr() as u64];
        let flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as usize;
        must(
            c"seccomp",
            libc::SYS_seccomp,
            [
                libc::SECCOMP_SET_MODE_FILTER as usize,
                flags,
                program.as_ptr() as usize,
                0,
                0,
            ],
        );
    }
}

/// The steps that are one call, or a few that need to know nothing of the others.
fn container_step(operation: &CStr, words: &mut Words<'_>) {
    match operation.to_bytes() {
        b"netns" => {
            let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
            let namespace = must(c"open", libc::SYS_openat, [AT_CWD, text(words.text()), flags, 0, 0]);
            must(
                c"setns",
                libc::SYS_setns,
                [namespace, libc::CLONE_NEWNET as usize, 0, 0, 0],
            );
        }
        b"mount" => {
            let [source, target, kind] = [words.text(), words.text(), words.text()];
            mount(source, target, kind, words.number(), words.text());
        }
        b"mkdir" => drop(must(
            c"mkdir",
            libc::SYS_mkdirat,
            [AT_CWD, text(words.text()), words.number(), 0, 0],
        )),
        b"mknod" => {
            let (path, device) = (
                words.text(),
                libc::makedev(words.number() as u32, words.number() as u32),
            );
            let mode = (libc::S_IFCHR | 0o666) as usize;
            must(
                c"mknod",
                libc::SYS_mknodat,
                [AT_CWD, text(path), mode, device as usize, 0],
            );
        }
        b"symlink" => drop(must(
            c"symlink",
            libc::SYS_symlinkat,
            [text(words.text()), AT_CWD, text(words.text()), 0, 0],
        )),
        b"write" => write_file(words.text().to_bytes_with_nul(), words.text()),
        b"chdir" => drop(must(c"chdir", libc::SYS_chdir, [text(words.text()), 0, 0, 0, 0])),
        b"pivot" => pivot(),
        b"mask" => mask(words.text()),
        b"readonly" => read_only(words.text()),
        b"hostname" => {
            let name = words.text();
            must(
                c"sethostname",
                libc::SYS_sethostname,
                [text(name), name.count_bytes(), 0, 0, 0],
            );
        }
        b"rlimit" => {
            let (resource, limits) = (words.number(), [words.number(), words.number()]);
            must(
                c"prlimit",
                libc::SYS_prlimit64,
                [0, resource, limits.as_ptr() as usize, 0, 0],
            );
        }
        b"caps" => capabilities(words.number()),
        b"nnp" => drop(must(
            c"no_new_privs",
            libc::SYS_prctl,
            [libc::PR_SET_NO_NEW_PRIVS as usize, 1, 0, 0, 0],
        )),
        _ => fail(operation, "no such operation", 0),
    }
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: usize, data: &CStr) {
    // Nothing is NULL, so that the kernel copies nothing.
    let some = |word: &CStr| if word.is_empty() { 0 } else { text(word) };
    let arguments = [some(source), text(target), some(kind), flags, some(data)];
    if let Err(errno) = call(libc::SYS_mount, arguments) {
        fail(target, "mount", errno);
    }
}

fn pivot() {
    let flags = (libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) as usize;
    let old = must(c"open /", libc::SYS_openat, [AT_CWD, text(c"/"), flags, 0, 0]);
    must(c"pivot_root", libc::SYS_pivot_root, [text(c"."), text(c"."), 0, 0, 0]);
    must(c"fchdir", libc::SYS_fchdir, [old, 0, 0, 0, 0]);
    must(
        c"umount",
        libc::SYS_umount2,
        [text(c"."), libc::MNT_DETACH as usize, 0, 0, 0],
    );
    must(c"chdir /", libc::SYS_chdir, [text(c"/"), 0, 0, 0, 0]);
    must(c"close", libc::SYS_close, [old, 0, 0, 0, 0]);
}

/// A file gets /dev/null over it, a directory an empty read-only tmpfs; what is not there needs nothing.
fn mask(path: &CStr) {
    match call(
        libc::SYS_mount,
        [text(c"/dev/null"), text(path), 0, libc::MS_BIND as usize, 0],
    ) {
        Err(libc::ENOTDIR) => mount(c"tmpfs", path, c"tmpfs", libc::MS_RDONLY as usize, c""),
        Ok(_) | Err(libc::ENOENT) => {}
        Err(errno) => fail(path, "mask", errno),
    }
}

fn read_only(path: &CStr) {
    const FLAGS: u64 = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let bind = (libc::MS_BIND | libc::MS_REC) as usize;
    match call(libc::SYS_mount, [text(path), text(path), 0, bind, 0]) {
        Ok(_) => mount(c"", path, c"", (libc::MS_BIND | libc::MS_REMOUNT | FLAGS) as usize, c""),
        Err(libc::ENOENT) => {}
        Err(errno) => fail(path, "read-only", errno),
    }
}

/// The bounding set, then all others but the ambient one.
fn capabilities(keep: usize) {
    for capability in (0..=40).filter(|number| keep >> number & 1 == 0) {
        must(
            c"bounding set",
            libc::SYS_prctl,
            [libc::PR_CAPBSET_DROP as usize, capability, 0, 0, 0],
        );
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let (low, high) = (keep as u32, (keep >> 32) as u32);
    let sets = [low, low, 0, high, high, 0];
    must(
        c"capset",
        libc::SYS_capset,
        [header.as_ptr() as usize, sets.as_ptr() as usize, 0, 0, 0],
    );
}

fn execute(program: &CStr) {
    let arguments = [text(program), 0];
    let environment = [text(c"PATH=/bin"), 0];
    let pointers = [
        text(program),
        arguments.as_ptr() as usize,
        environment.as_ptr() as usize,
        0,
        0,
    ];
    must(c"execve", libc::SYS_execve, pointers);
}

fn write_file(path: &[u8], value: &CStr) {
    let flags = (libc::O_WRONLY | libc::O_CLOEXEC) as usize;
    let file = must(
        c"open for writing",
        libc::SYS_openat,
        [AT_CWD, bytes(path), flags, 0, 0],
    );
    must(
        c"write",
        libc::SYS_write,
        [file, text(value), value.count_bytes(), 0, 0],
    );
    must(c"close", libc::SYS_close, [file, 0, 0, 0, 0]);
}

/// Fills the buffer from a file and returns how many bytes came.
fn read_file<T>(path: &CStr, buffer: &mut [T]) -> usize {
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let file = must(c"open", libc::SYS_openat, [AT_CWD, text(path), flags, 0, 0]);
    let length = must(
        c"read",
        libc::SYS_read,
        [file, buffer.as_mut_ptr() as usize, size_of_val(buffer), 0, 0],
    );
    must(c"close", libc::SYS_close, [file, 0, 0, 0, 0]);
    length
}

/// The list of steps, word by word.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a CStr> {
        let word = CStr::from_bytes_until_nul(self.0).ok()?;
        self.0 = self.0.get(word.count_bytes() + 1..)?;
        Some(word)
    }

    fn text(&mut self) -> &'a CStr {
        self.next().unwrap_or_else(|| fail(c"the list is cut short", "", 0))
    }

    fn number(&mut self) -> usize {
        let digits = self.text().to_bytes().iter();
        digits.fold(0, |number, digit| number * 10 + usize::from(digit.wrapping_sub(b'0')))
    }
}

fn argument<'a>(argv: *const *const c_char, number: usize) -> &'a CStr {
    // SAFETY: the caller has checked argc: argv has this entry.
    let entry = unsafe { argv.add(number) };
    // SAFETY: as above; the kernel has set it to a string.
    let word = unsafe { *entry };
    // SAFETY: NUL-terminated and there until the program ends.
    unsafe { CStr::from_ptr(word) }
}

fn text(word: &CStr) -> usize {
    word.as_ptr() as usize
}

fn bytes(path: &[u8]) -> usize {
    path.as_ptr() as usize
}

/// One system call.
fn call(number: c_long, arguments: [usize; 5]) -> Result<usize, c_int> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: every pointer among the arguments was made from a reference to something of the size that the call expects
    // (a NUL-terminated string, an array beside its length, or the call's own structure) that outlives the call.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result != -1 {
        return Ok(result as usize);
    }
    // SAFETY: takes nothing and returns the place of this thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: that place is there as long as the thread.
    Err(unsafe { *errno })
}

fn must(what: &CStr, number: c_long, arguments: [usize; 5]) -> usize {
    call(number, arguments).unwrap_or_else(|errno| fail(what, "", errno))
}

fn fail(what: &CStr, step: &str, errno: c_int) -> ! {
    let reason = std::io::Error::from_raw_os_error(errno);
    eprintln!("floor: {} {step}: {reason}", what.to_string_lossy());
    // SAFETY: ends the process; nothing of ours runs afterwards.
    unsafe { libc::_exit(111) }
}
