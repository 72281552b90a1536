//! Changing the file that a running program runs from, without starting over.
//!
//! A process holds its file in two ways: by the mappings of its segments, and as that which `/proc/PID/exe` leads to.
//! Both can be exchanged. Mapped anew from the sealed clone at the same addresses, the segments have the same content
//! as before, as nothing has been written to yet; and `PR_SET_MM_MAP` (prctl(2), checkpoint and restore was what it
//! was made for) exchanges the other, once no mapping of the former file is left. The kernel refuses that to whoever
//! has neither CAP_SYS_ADMIN nor CAP_CHECKPOINT_RESTORE. It spares the second execve, a tenth of all that `run`
//! costs.
//!
//! The rule of the module above holds here too.

use core::mem::MaybeUninit;
use core::ptr::read_volatile;

use super::{Start, syscall};

/// `struct prctl_mm_map` of linux/prctl.h.
#[repr(C)]
struct MemoryMap {
    start_code: usize,
    end_code: usize,
    start_data: usize,
    end_data: usize,
    start_brk: usize,
    brk: usize,
    start_stack: usize,
    arg_start: usize,
    arg_end: usize,
    env_start: usize,
    env_end: usize,
    auxv: usize,
    auxv_size: u32,
    exe_fd: u32,
}

/// What of the auxiliary vector is needed: the program headers and the size of a page.
struct Auxiliary {
    headers: *const libc::Elf64_Phdr,
    count: usize,
    page: usize,
}

/// Lets the process run from the file that `tree` (a descriptor of open_tree(2)) is. False when it still runs from the
/// former one.
pub(super) fn run_from(tree: usize, start: &Start) -> bool {
    let variables = length(start.envp);
    // The auxiliary vector follows the NULL that ends envp.
    let Some(auxiliary) = auxiliary(start.envp.wrapping_add(variables + 1)) else {
        return false;
    };
    let Some(file) = open(tree) else { return false };
    let mut map = MemoryMap {
        start_code: usize::MAX,
        end_code: 0,
        start_data: 0,
        end_data: 0,
        start_brk: 0,
        brk: 0,
        start_stack: start.argv as usize - size_of::<usize>(),
        arg_start: word(start.argv, 0),
        arg_end: 0,
        env_start: 0,
        env_end: 0,
        auxv: 0,
        auxv_size: 0,
        exe_fd: file as u32,
    };
    let done = map_segments(&auxiliary, file, &mut map) && {
        map.arg_end = end_of(word(start.argv, start.argc - 1));
        map.env_start = map.arg_end;
        map.env_end = match variables {
            0 => map.env_start,
            count => end_of(word(start.envp, count - 1)),
        };
        // Nothing was allocated yet: the heap ends where it begins.
        map.brk = syscall(libc::SYS_brk, [0; 6]) as usize;
        map.start_brk = map.brk;
        let (what, size) = (libc::PR_SET_MM_MAP as usize, size_of::<MemoryMap>());
        let arguments = [libc::PR_SET_MM as usize, what, (&raw const map) as usize, size, 0, 0];
        syscall(libc::SYS_prctl, arguments) == 0
    };
    syscall(libc::SYS_close, [file, 0, 0, 0, 0, 0]);
    done
}

fn word(vector: *const usize, index: usize) -> usize {
    // SAFETY: callers ask for words of the vectors that the kernel left on the stack, up to the NULL that ends each.
    unsafe { read_volatile(vector.wrapping_add(index)) }
}

/// The entries before the NULL.
fn length(vector: *const usize) -> usize {
    let mut count = 0;
    while word(vector, count) != 0 {
        count += 1;
    }
    count
}

/// The address after the NUL of a C string.
fn end_of(string: usize) -> usize {
    let mut end = string;
    // SAFETY: the kernel's strings end with a NUL.
    while unsafe { read_volatile(end as *const u8) } != 0 {
        end += 1;
    }
    end + 1
}

fn auxiliary(vector: *const usize) -> Option<Auxiliary> {
    let mut entry = vector;
    let (mut headers, mut count, mut page) = (0, 0, 0);
    loop {
        let value = word(entry, 1);
        match word(entry, 0) as u64 {
            libc::AT_NULL => break,
            libc::AT_PHDR => headers = value,
            libc::AT_PHNUM => count = value,
            libc::AT_PAGESZ => page = value,
            _ => {}
        }
        entry = entry.wrapping_add(2);
    }
    (headers != 0 && page != 0).then_some(Auxiliary {
        headers: headers as *const libc::Elf64_Phdr,
        count,
        page,
    })
}

/// Opens what an O_PATH descriptor stands for.
fn open(tree: usize) -> Option<usize> {
    const DIRECTORY: &[u8; 14] = b"/proc/self/fd/";
    const LONGEST: usize = DIRECTORY.len() + 20 + 1;
    let mut path = MaybeUninit::<[u8; LONGEST]>::uninit();
    let mut length = 0;
    let mut put = |byte: u8| {
        // SAFETY: the longest number has 20 digits, so that `length` stays inside the array.
        unsafe { path.as_mut_ptr().cast::<u8>().wrapping_add(length).write_volatile(byte) };
        length += 1;
    };
    for byte in DIRECTORY {
        put(*byte);
    }
    let mut unit = 1;
    while tree / unit >= 10 {
        unit *= 10;
    }
    while unit > 0 {
        put(b'0' + (tree / unit % 10) as u8);
        unit /= 10;
    }
    put(0);
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC) as usize;
    let at = libc::AT_FDCWD as isize as usize;
    let file = syscall(libc::SYS_openat, [at, path.as_ptr() as usize, flags, 0, 0, 0]);
    usize::try_from(file).ok()
}

/// Maps each segment from `file` in the place where it is, and notes in `map` where code and data are.
fn map_segments(auxiliary: &Auxiliary, file: usize, map: &mut MemoryMap) -> bool {
    for index in 0..auxiliary.count {
        let header = auxiliary.headers.wrapping_add(index);
        // SAFETY: the kernel has given the address and number of the program headers, which the binary's first segment
        // holds.
        let field = |offset: usize| unsafe { read_volatile(header.cast::<u8>().wrapping_add(offset).cast::<u64>()) };
        // p_type and p_flags are 32 bits each, of one word.
        let (kind, flags) = (field(0) as u32, (field(0) >> 32) as u32);
        if kind != libc::PT_LOAD {
            continue;
        }
        let offset = field(core::mem::offset_of!(libc::Elf64_Phdr, p_offset)) as usize;
        let begin = field(core::mem::offset_of!(libc::Elf64_Phdr, p_vaddr)) as usize;
        let length = field(core::mem::offset_of!(libc::Elf64_Phdr, p_filesz)) as usize;
        let whole = field(core::mem::offset_of!(libc::Elf64_Phdr, p_memsz)) as usize;
        if length > 0 && !map_segment([begin, length, offset, auxiliary.page], file, flags) {
            return false;
        }
        if whole > length {
            zero(begin + length, auxiliary.page);
        }
        if flags & libc::PF_X != 0 {
            map.start_code = map.start_code.min(begin);
            map.end_code = map.end_code.max(begin + length);
        }
        map.start_data = map.start_data.max(begin);
        map.end_data = map.end_data.max(begin + length);
    }
    true
}

/// Maps one segment: first byte and length in memory, offset in the file, size of a page.
fn map_segment([begin, length, offset, page]: [usize; 4], file: usize, flags: u32) -> bool {
    let right = |flag: u32, right: i32| if flags & flag != 0 { right as usize } else { 0 };
    let rights =
        right(libc::PF_R, libc::PROT_READ) | right(libc::PF_W, libc::PROT_WRITE) | right(libc::PF_X, libc::PROT_EXEC);
    let before = begin % page;
    // Nearly every page of the data is written to: at once costs less than a page fault each.
    let populate = if flags & libc::PF_W != 0 { libc::MAP_POPULATE } else { 0 };
    let how = (libc::MAP_PRIVATE | libc::MAP_FIXED | populate) as usize;
    let arguments = [begin - before, length + before, rights, how, file, offset - before];
    syscall(libc::SYS_mmap, arguments) == (begin - before) as isize
}

/// What follows the file's bytes in the last page of a segment that goes on without the file is zero.
fn zero(from: usize, page: usize) {
    let mut at = from;
    while !at.is_multiple_of(size_of::<u64>()) {
        // SAFETY: a page of a writable segment, beyond the bytes that the file has given; nothing lives there yet.
        unsafe { (at as *mut u8).write_volatile(0) };
        at += 1;
    }
    while !at.is_multiple_of(page) {
        // SAFETY: as above, and aligned.
        unsafe { (at as *mut u64).write_volatile(0) };
        at += size_of::<u64>();
    }
}
