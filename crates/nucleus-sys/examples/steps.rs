//! `steps COMMAND [ARG...]`: runs a command instruction by instruction, its children included, and prints the addresses of
//! the code that ran (of this program, which must be linked to a fixed address), 16 bytes each, in the order of first use.
//!
//! For `runtime-tools-tests/layout.sh`, which finds out what the hot part of the binary is. Slow: ptrace(2) takes ten
//! microseconds for each instruction. It ends with the command, whose exit code is its own; children that go on are no
//! longer watched then.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// Code of the program itself lies below; what lies above is the kernel's vDSO.
const END: usize = 0x200_0000;
const LINE: usize = 16;

fn main() {
    let args: Vec<CString> = std::env::args()
        .skip(1)
        .filter_map(|arg| CString::new(arg).ok())
        .collect();
    if args.is_empty() {
        eprintln!("usage: steps COMMAND [ARG...]");
        std::process::exit(2);
    }
    let program = identity(&std::env::args().nth(1).unwrap_or_default());
    let child = start(&args);
    let (lines, code) = follow(child, program);
    let text: String = lines.iter().map(|line| format!("{line:x}\n")).collect();
    // Nobody reads on: nothing to be done.
    let _ = std::io::stdout().write_all(text.as_bytes());
    std::process::exit(code);
}

/// Which file this is, through links.
fn identity(path: &str) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// Starts the command, stopped before its first instruction.
fn start(args: &[CString]) -> i32 {
    let mut pointers: Vec<*const libc::c_char> = args.iter().map(|arg| arg.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: this program has one thread, and the child only makes system calls.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: PTRACE_TRACEME takes no other argument.
        unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) };
        // SAFETY: stops this process until the parent goes on.
        unsafe { libc::raise(libc::SIGSTOP) };
        // SAFETY: the strings end with NUL, the array with a null pointer.
        unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
        // SAFETY: ends the child without anything of the parent's.
        unsafe { libc::_exit(127) };
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    let options =
        libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEFORK | libc::PTRACE_O_TRACEVFORK | libc::PTRACE_O_TRACEEXEC;
    // SAFETY: the child is ours and stopped.
    unsafe { libc::ptrace(libc::PTRACE_SETOPTIONS, child, 0, options) };
    step(child, 0);
    child
}

fn step(pid: i32, signal: i32) {
    // SAFETY: fails for a process that is not ours and stopped, and does nothing else then.
    unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, signal) };
}

/// Steps through all processes that run `program` until the first one ends: the lines in the order of first use, and its exit code.
fn follow(first: i32, program: Option<(u64, u64)>) -> (Vec<usize>, i32) {
    let mut seen = vec![false; END / LINE];
    let mut order = Vec::new();
    let mut watched = BTreeSet::new();
    loop {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) || pid < 0 {
            if pid == first || pid < 0 {
                let code = if libc::WIFEXITED(status) {
                    libc::WEXITSTATUS(status)
                } else {
                    1
                };
                watched.remove(&first);
                watched.into_iter().for_each(let_go);
                return (order, code);
            }
            watched.remove(&pid);
            continue;
        }
        if status >> 16 == libc::PTRACE_EVENT_EXEC && identity(&format!("/proc/{pid}/exe")) != program {
            // Another program, at addresses that mean something else.
            // SAFETY: the process is ours and stopped.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
            watched.remove(&pid);
            continue;
        }
        watched.insert(pid);
        let line = instruction_pointer(pid) / LINE;
        if line < seen.len() && !std::mem::replace(&mut seen[line], true) {
            order.push(line * LINE);
        }
        // An event of ptrace, or our own step, is not for the process.
        let own = status >> 16 != 0 || matches!(libc::WSTOPSIG(status), libc::SIGTRAP | libc::SIGSTOP);
        step(pid, if own { 0 } else { libc::WSTOPSIG(status) });
    }
}

/// Stops a process that runs or waits, and lets it go on by itself: just left alone, it would end at its next step.
fn let_go(pid: i32) {
    // SAFETY: the process is ours until it is detached.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    while unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } == pid && libc::WIFSTOPPED(status) {
        if libc::WSTOPSIG(status) == libc::SIGSTOP {
            // SAFETY: the process is ours and stopped.
            unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
            return;
        }
        step(pid, 0);
    }
}

#[cfg(target_arch = "x86_64")]
fn instruction_pointer(pid: i32) -> usize {
    let offset = std::mem::offset_of!(libc::user_regs_struct, rip);
    // SAFETY: reads a word of the stopped process' registers.
    unsafe { libc::ptrace(libc::PTRACE_PEEKUSER, pid, offset, 0) as usize }
}

#[cfg(target_arch = "aarch64")]
fn instruction_pointer(pid: i32) -> usize {
    // SAFETY: an all-zero value is one of this struct.
    let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
    let mut vector = libc::iovec {
        iov_base: (&raw mut registers).cast(),
        iov_len: size_of::<libc::user_regs_struct>(),
    };
    const NT_PRSTATUS: usize = 1;
    // SAFETY: the vector names a buffer of the size it says, and both outlive the call.
    unsafe { libc::ptrace(libc::PTRACE_GETREGSET, pid, NT_PRSTATUS, &raw mut vector) };
    registers.pc as usize
}
