//! `bpf(2)`, as far as device control groups need it: load a `BPF_PROG_TYPE_CGROUP_DEVICE` program, attach it to a
//! cgroup v2 directory, list and detach what is attached.
//!
//! Called by nucleus-cgroup only. The program itself is data made elsewhere; the kernel's verifier is what keeps it
//! honest, so that loading arbitrary instructions is a safe operation for the caller.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::check;

const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const PROG_QUERY: u32 = 16;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const ATTACH_CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// One instruction: `struct bpf_insn` of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation code.
    pub code: u8,
    /// Destination register in the lower four bits, source register in the upper four.
    pub registers: u8,
    /// Jump distance or memory offset.
    pub offset: i16,
    /// Immediate operand.
    pub immediate: i32,
}

/// The member of `union bpf_attr` for `BPF_PROG_LOAD`, up to `prog_name`.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
}

/// The member of `union bpf_attr` for `BPF_PROG_ATTACH` and `BPF_PROG_DETACH`.
#[repr(C)]
#[derive(Default)]
struct AttachAttr {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

/// The member of `union bpf_attr` for `BPF_PROG_GET_FD_BY_ID`.
#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// The member of `union bpf_attr` for `BPF_PROG_QUERY`, as Linux 4.15 knew it.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

/// The system call itself. Private: `attr` must be the structure that `command` expects, with pointers that are valid
/// for the call.
fn bpf<T>(command: u32, attr: &mut T) -> Result<libc::c_long, Errno> {
    // SAFETY: every caller in this module passes the structure of its command; the kernel reads and writes no more
    // than its size, and the buffers that it points to outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    check(result)
}

/// Descriptors in `union bpf_attr` are unsigned; an open one is never negative.
fn number(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().unsigned_abs()
}

/// Loads a device program. The returned descriptor keeps it alive until it is attached.
///
/// # Errors
/// `EPERM` without `CAP_BPF` (or `CAP_SYS_ADMIN`), `EINVAL` when the verifier refuses the program or the kernel was
/// built without `CONFIG_CGROUP_BPF`; else as `bpf(2)`.
pub fn load_device_program(program: &[Instruction]) -> Result<OwnedFd, Errno> {
    let mut name = [0; 16];
    name[..15].copy_from_slice(b"nucleus_devices");
    let mut attr = LoadAttr {
        prog_type: PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        insns: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        prog_name: name,
        ..LoadAttr::default()
    };
    let fd = bpf(PROG_LOAD, &mut attr)?;
    // SAFETY: BPF_PROG_LOAD returns a fresh close-on-exec descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a device program to a cgroup v2 directory, beside those that are there (`BPF_F_ALLOW_MULTI`: all of them,
/// and those of every ancestor, must allow an access), or in the place of `replace`.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` and friends, `ENOENT` when `replace` is not attached there; else as `bpf(2)`.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd, replace: Option<&OwnedFd>) -> Result<(), Errno> {
    let mut attr = AttachAttr {
        target_fd: number(&cgroup),
        attach_bpf_fd: number(&program),
        attach_type: ATTACH_CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI,
        ..AttachAttr::default()
    };
    if let Some(replace) = replace {
        attr.attach_flags |= F_REPLACE;
        attr.replace_bpf_fd = number(replace);
    }
    bpf(PROG_ATTACH, &mut attr).map(drop)
}

/// Detaches one device program from a cgroup v2 directory.
///
/// # Errors
/// `ENOENT` when it is not attached there; else as `bpf(2)`.
pub fn detach_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<(), Errno> {
    let mut attr = AttachAttr {
        target_fd: number(&cgroup),
        attach_bpf_fd: number(&program),
        attach_type: ATTACH_CGROUP_DEVICE,
        ..AttachAttr::default()
    };
    bpf(PROG_DETACH, &mut attr).map(drop)
}

/// The device programs that are attached to this cgroup v2 directory itself (not to its ancestors).
///
/// # Errors
/// As `bpf(2)`; `EPERM` without `CAP_SYS_ADMIN` (program ids are for the administrator).
pub fn device_programs(cgroup: impl AsFd) -> Result<Vec<OwnedFd>, Errno> {
    // The kernel's own bound is 64 programs for each cgroup (BPF_CGROUP_MAX_PROGS).
    let mut ids = [0_u32; 64];
    let mut attr = QueryAttr {
        target_fd: number(&cgroup),
        attach_type: ATTACH_CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        ..QueryAttr::default()
    };
    bpf(PROG_QUERY, &mut attr)?;
    let count = ids.len().min(attr.prog_cnt as usize);
    ids[..count].iter().map(|id| program_by_id(*id)).collect()
}

/// `BPF_PROG_GET_FD_BY_ID`.
fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    let mut attr = IdAttr {
        id,
        ..IdAttr::default()
    };
    let fd = bpf(PROG_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: the kernel returns a fresh close-on-exec descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
