//! From the C library to the program, without the Rust runtime in between.
//!
//! Rust's own `main` prepares for threads and for a report of stack overflows: a dozen system calls, one of which has
//! the kernel write down the address space. Of what it does, two things matter to a program with one thread: that
//! descriptors 0 to 2 are open, and that a closed pipe is an error and not a signal.

use rustix::io::Errno;

/// Makes `$main`, a `fn() -> i32` that returns the exit code, the program's `main`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn main() -> i32 {
            $crate::entry::prepare();
            $crate::entry::leave($main())
        }
    };
}

/// See the module. A program that cannot open /dev/null in the place of a missing descriptor ends here: a file that
/// is opened later must not pass for standard output.
pub fn prepare() {
    for fd in 0..=2 {
        // SAFETY: F_GETFD looks at the number only.
        let open = crate::check(unsafe { libc::fcntl(fd, libc::F_GETFD) }.into());
        // SAFETY: a constant C string; the lowest free number is the one that is missing.
        if open == Err(Errno::BADF) && unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } != fd {
            std::process::abort();
        }
    }
    refuse_small_stack();
    // SAFETY: ignoring a signal runs none of our code.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    // A caller that ignores SIGCHLD leaves that to us, and the kernel then reaps children before they can be waited for.
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Least RLIMIT_STACK in bytes. Reading a usual config takes 48 KiB.
const LEAST_STACK: u64 = 96 * 1024;

/// Without this the process would end by SIGSEGV somewhere, perhaps with a container half made.
fn refuse_small_stack() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
    if limit.is_some_and(|bytes| bytes < LEAST_STACK) {
        let text = b"error: the stack limit (RLIMIT_STACK, ulimit -s) is below the 96 KiB that nucleus needs\n";
        let _ = rustix::io::write(rustix::stdio::stderr(), text);
        leave(1);
    }
}

/// Ends the process. Whoever has written to standard output has flushed it; what the C library does when a program ends, for
/// its own streams and for whoever has registered with it, is of no use here and copies some pages.
pub fn leave(status: i32) -> ! {
    // SAFETY: ends the process and nothing else.
    unsafe { libc::_exit(status) }
}
