//! The program's first instructions: sealing before anything else is set up.
//!
//! `create`, `run` and `exec` run from a read-only clone of the binary (see the `seal` module of the binary). Started
//! over from `main`, the C library would have been set up in vain, which costs more than the seal itself: hundreds of
//! microseconds of page faults and trapped `cpuid` instructions. So the entry point tries first, with bare system
//! calls: it exchanges the file that the process runs from ([`in_place`]), or executes the clone where the kernel
//! refuses that, and hands over to the C library's `_start`. What it cannot do, `main` does or reports.
//!
//! The rule of this file: nothing here may use thread-local storage, the C library, or functions that the compiler
//! might turn into calls of `memcpy` and its kin, whose addresses are not yet resolved. All reads are volatile, so that
//! no loop is recognised as one of them.

mod in_place;

use core::sync::atomic::{AtomicBool, Ordering};

use crate::arena;
use crate::process::PAGE;

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .text.nucleus_start, \"ax\", @progbits",
    ".globl nucleus_start",
    ".type nucleus_start, @function",
    "nucleus_start:",
    "mov rdi, rsp",
    "mov r12, rsp",
    "mov r13, rdx",
    "and rsp, -16",
    "call {early}",
    "mov rsp, r12",
    "mov rdx, r13",
    "jmp _start",
    ".popsection",
    early = sym early,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".pushsection .text.nucleus_start, \"ax\", %progbits",
    ".globl nucleus_start",
    ".type nucleus_start, %function",
    "nucleus_start:",
    "mov x19, x0",
    "mov x0, sp",
    "bl {early}",
    "mov x0, x19",
    "b _start",
    ".popsection",
    early = sym early,
);

/// The subcommands that run from a sealed copy.
pub const SEALED_VERBS: [&str; 5] = ["create", "run", "exec", "mounts", "restore"];

unsafe extern "C" {
    /// The first byte after the program's variables (ld(1) and lld define it).
    #[link_name = "end"]
    static PROGRAM_END: u8;
}

/// `ST_RDONLY` of statvfs(3), which statfs(2) reports as well.
const ST_RDONLY: i64 = 1;
const READ_ONLY: isize = -(libc::EROFS as isize);
const EXE: &core::ffi::CStr = c"/proc/self/exe";

/// Seals and starts over if a verb asks for it. `stack` is what the kernel left there: argc, argv, NULL, envp, NULL.
extern "C" fn early(stack: *const usize) {
    // SAFETY: at the entry point the stack pointer points to argc (System V ABI, process initialisation).
    let argc = unsafe { stack.read_volatile() };
    let argv = stack.wrapping_add(1);
    let verb = |index: usize| {
        // SAFETY: `index` is below argc, so that argv has this entry.
        let argument = unsafe { argv.wrapping_add(index).read_volatile() } as *const u8;
        SEALED_VERBS.iter().any(|verb| is_text(argument, verb))
    };
    if !(1..argc).any(verb) {
        return;
    }
    populate_memory(stack as usize);
    if is_read_only() {
        SEALED.store(true, Ordering::Relaxed);
        return;
    }
    // envp follows the NULL that ends argv.
    let envp = argv.wrapping_add(argc + 1);
    seal(&Start { argc, argv, envp });
}

/// Asks for the pages that any of these verbs writes to, all at once: a page fault for each costs more. These are the
/// stack that reading a config takes, and the variables beyond the allocator's block, most of them the C library's.
fn populate_memory(top: usize) {
    const STACK: usize = 12 * PAGE;
    let begin = (top - STACK) & !(PAGE - 1);
    // execve(2) has mapped 128 KiB below the arguments, or as much as RLIMIT_STACK allows: then this fails, and is not needed.
    populate(begin, begin + STACK);
    populate(
        arena::end_of_block(),
        (&raw const PROGRAM_END as usize).next_multiple_of(PAGE),
    );
}

fn populate(begin: usize, end: usize) {
    let advice = libc::MADV_POPULATE_WRITE as usize;
    syscall(libc::SYS_madvise, [begin, end - begin, advice, 0, 0, 0]);
}

/// What the kernel left on the stack.
struct Start {
    /// At least 2: there is a verb.
    argc: usize,
    argv: *const usize,
    envp: *const usize,
}

/// True when the entry point has found that nobody can write the running binary: `main` need not look again.
pub fn is_sealed() -> bool {
    SEALED.load(Ordering::Relaxed)
}

static SEALED: AtomicBool = AtomicBool::new(false);

/// True when the C string is exactly this text.
fn is_text(string: *const u8, text: &str) -> bool {
    // SAFETY: a read past the end of the string is not possible: the comparison stops at its NUL, which is in no verb.
    let at = |index: usize| unsafe { string.wrapping_add(index).read_volatile() };
    text.bytes().enumerate().all(|(index, byte)| at(index) == byte) && at(text.len()) == 0
}

/// True when the running binary lies on a read-only mount: sealed already, or in no need of it.
fn is_read_only() -> bool {
    // Asked for the right to write, the kernel need not count the free blocks of the filesystem.
    let at = libc::AT_FDCWD as isize as usize;
    match syscall(
        libc::SYS_faccessat,
        [at, EXE.as_ptr() as usize, libc::W_OK as usize, 0, 0, 0],
    ) {
        0 => false,
        READ_ONLY => true,
        // This user may not write the file, wherever it lies.
        _ => is_on_read_only_mount(),
    }
}

fn is_on_read_only_mount() -> bool {
    let mut buffer = core::mem::MaybeUninit::<[u64; 15]>::uninit();
    let result = syscall(
        libc::SYS_statfs,
        [EXE.as_ptr() as usize, buffer.as_mut_ptr() as usize, 0, 0, 0, 0],
    );
    if result != 0 {
        return false;
    }
    // `struct statfs` of the 64-bit ABIs: f_flags is the eleventh word.
    // SAFETY: the kernel has filled the buffer, and 10 is inside it.
    let flags = unsafe { buffer.as_ptr().cast::<i64>().wrapping_add(10).read_volatile() };
    flags & ST_RDONLY != 0
}

fn seal(start: &Start) {
    let flags = libc::OPEN_TREE_CLONE as usize | libc::OPEN_TREE_CLOEXEC as usize;
    let at = libc::AT_FDCWD as isize as usize;
    let tree = syscall(libc::SYS_open_tree, [at, EXE.as_ptr() as usize, flags, 0, 0, 0]);
    if tree < 0 {
        return;
    }
    let tree = tree as usize;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let (empty, flag) = (c"".as_ptr() as usize, libc::AT_EMPTY_PATH as usize);
    let size = size_of::<libc::mount_attr>();
    let sealed = syscall(
        libc::SYS_mount_setattr,
        [tree, empty, flag, (&raw const attributes) as usize, size, 0],
    );
    if sealed == 0 {
        if in_place::run_from(tree, start) {
            SEALED.store(true, Ordering::Relaxed);
        } else {
            let (argv, envp) = (start.argv as usize, start.envp as usize);
            syscall(libc::SYS_execveat, [tree, empty, argv, envp, flag, 0]);
        }
    }
    // Sealed; or still here, as if nothing had been tried.
    syscall(libc::SYS_close, [tree, 0, 0, 0, 0, 0]);
}

/// A bare system call; negative results are error numbers.
#[cfg(target_arch = "x86_64")]
fn syscall(number: libc::c_long, arguments: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the calls of this file read and write only what they are pointed to, and that lives longer than they take.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// A bare system call; negative results are error numbers.
#[cfg(target_arch = "aarch64")]
fn syscall(number: libc::c_long, arguments: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the calls of this file read and write only what they are pointed to, and that lives longer than they take.
    unsafe {
        core::arch::asm!(
            "svc 0",
            in("x8") number as isize,
            inlateout("x0") arguments[0] as isize => result,
            in("x1") arguments[1],
            in("x2") arguments[2],
            in("x3") arguments[3],
            in("x4") arguments[4],
            in("x5") arguments[5],
            options(nostack),
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_words_are_verbs() {
        assert!(is_text(c"run".as_ptr().cast(), "run"));
        for other in [c"", c"ru", c"runc", c"RUN"] {
            assert!(!is_text(other.as_ptr().cast(), "run"), "{other:?}");
        }
    }

    #[test]
    fn the_kernel_says_whether_the_binary_is_read_only() {
        let flags = rustix::fs::statvfs("/proc/self/exe").unwrap().f_flag;
        let read_only = flags.contains(rustix::fs::StatVfsMountFlags::RDONLY);
        assert_eq!((is_read_only(), is_on_read_only_mount()), (read_only, read_only));
    }

    #[test]
    fn a_failing_call_gives_the_error_number() {
        assert_eq!(
            syscall(libc::SYS_close, [usize::MAX, 0, 0, 0, 0, 0]),
            -(libc::EBADF as isize)
        );
    }
}
