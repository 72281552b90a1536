//! The first instructions of a filter: ENOSYS for system calls that are newer than the profile.
//!
//! A profile that refuses by default gives EPERM for calls that did not exist when it was written. C libraries probe for
//! new calls and fall back to older ones on ENOSYS only. So a call whose number is above the highest one that the
//! profile names for that architecture gets ENOSYS, as under runc since 1.0-rc93. Only `compile` calls this; whatever
//! the profile names is left to libseccomp's program, which follows.

use libseccomp::{ScmpArch, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction as Action};
use rustix::io::Errno;

use super::architecture;

/// `BPF_LD | BPF_W | BPF_ABS`: loads a word of `struct seccomp_data`.
const LOAD: u16 = 0x20;
/// `BPF_JMP | BPF_JA`.
const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`.
const IF_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`.
const IF_GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`.
const IF_NOT_LESS: u16 = 0x35;
/// `BPF_RET | BPF_K`.
const RETURN: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `SECCOMP_RET_ERRNO`.
const RETURN_ERRNO: u32 = 0x0005_0000;
const ENOSYS: u32 = Errno::NOSYS.raw_os_error().unsigned_abs();

/// `__X32_SYSCALL_BIT`: tells the calls of x32 from those of x86-64, which have the same `AUDIT_ARCH_*`.
const X32: u32 = 0x4000_0000;

/// One `struct sock_filter`: code, jump if true, jump if false, constant.
#[derive(Debug, Clone, Copy)]
struct Instruction(u16, u8, u8, u32);

impl Instruction {
    fn bytes(self) -> [u8; 8] {
        let Self(code, if_true, if_false, constant) = self;
        let [c0, c1] = code.to_ne_bytes();
        let [k0, k1, k2, k3] = constant.to_ne_bytes();
        [c0, c1, if_true, if_false, k0, k1, k2, k3]
    }
}

/// The highest numbers of one `AUDIT_ARCH_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Highest {
    audit: u32,
    /// `u32::MAX` when no call is named: then none is known to be newer.
    number: u32,
    x32: Option<u32>,
}

/// The instructions to put before libseccomp's. There are none when the profile lets unknown calls pass, kills for them,
/// leaves them to a tracer, or answers ENOSYS by itself.
pub(super) fn prologue(profile: &LinuxSeccomp) -> Vec<u8> {
    let refuses = match profile.default_action() {
        Action::ScmpActErrno => profile.default_errno_ret() != Some(ENOSYS),
        Action::ScmpActTrap => true,
        _ => false,
    };
    let blocks: Vec<Vec<Instruction>> = match refuses {
        true => highest(profile).iter().map(block).collect(),
        false => Vec::new(),
    };
    if blocks.is_empty() {
        return Vec::new();
    }
    let mut left: usize = blocks.iter().map(Vec::len).sum();
    let mut program = vec![Instruction(LOAD, 0, 0, ARCHITECTURE)];
    for instruction in blocks.into_iter().flatten() {
        left -= 1;
        program.push(match instruction {
            Instruction(JUMP, ..) => Instruction(JUMP, 0, 0, left as u32),
            other => other,
        });
    }
    program.into_iter().flat_map(Instruction::bytes).collect()
}

/// The highest numbers for each architecture of the filter with a named call.
fn highest(profile: &LinuxSeccomp) -> Vec<Highest> {
    let listed = profile.architectures().iter().flatten().copied();
    let mut all: Vec<Highest> = Vec::new();
    for name in [Arch::ScmpArchNative].into_iter().chain(listed) {
        let architecture = match architecture(name) {
            ScmpArch::Native => ScmpArch::native(),
            other => other,
        };
        let Some(highest) = highest_of(profile, architecture) else {
            continue;
        };
        let new = Highest {
            audit: audit(architecture),
            number: if architecture == ScmpArch::X32 {
                u32::MAX
            } else {
                highest
            },
            x32: (architecture == ScmpArch::X32).then_some(highest),
        };
        match all.iter_mut().find(|known| known.audit == new.audit) {
            Some(known) => {
                known.number = known.number.min(new.number);
                known.x32 = known.x32.or(new.x32);
            }
            None => all.push(new),
        }
    }
    all
}

/// The highest number that any rule names on this architecture.
fn highest_of(profile: &LinuxSeccomp, architecture: ScmpArch) -> Option<u32> {
    let names = profile.syscalls().iter().flatten().flat_map(|call| call.names());
    // libseccomp gives a negative number to calls that the architecture lacks.
    let number = |name: &String| {
        let call = ScmpSyscall::from_name_by_arch(name, architecture).ok()?;
        u32::try_from(call.as_raw_syscall()).ok()
    };
    names.filter_map(number).max()
}

/// The instructions for one architecture, entered with its `AUDIT_ARCH_*` in the accumulator. A plain jump in it leads
/// to the end of the prologue.
fn block(highest: &Highest) -> Vec<Instruction> {
    let enosys = Instruction(RETURN, 0, 0, RETURN_ERRNO | ENOSYS);
    let mut body = vec![Instruction(LOAD, 0, 0, NUMBER)];
    if matches!(highest.audit, AUDIT_S390 | AUDIT_S390X) {
        // Numbers above 255 go through call 0, setup(2), and stay 0 when the kernel does not know them.
        body.push(Instruction(IF_EQUAL, 1, 0, 0));
    }
    match highest.x32 {
        Some(x32) => body.extend([
            Instruction(IF_NOT_LESS, 2, 0, X32),
            Instruction(IF_GREATER, 2, 0, highest.number),
            Instruction(JUMP, 0, 0, 0),
            Instruction(IF_GREATER, 0, 1, x32),
        ]),
        None => body.push(Instruction(IF_GREATER, 0, 1, highest.number)),
    }
    body.extend([enosys, Instruction(JUMP, 0, 0, 0)]);
    let other = body.len() as u8;
    body.insert(0, Instruction(IF_EQUAL, 0, other, highest.audit));
    body
}

const AUDIT_S390: u32 = 0x16;
const AUDIT_S390X: u32 = 0x8000_0016;

/// The kernel's `AUDIT_ARCH_*`: machine (elf.h), with bits for 64 bits, little endian and the n32 convention.
fn audit(architecture: ScmpArch) -> u32 {
    const WIDE: u32 = 0x8000_0000;
    const LITTLE: u32 = 0x4000_0000;
    const N32: u32 = 0x2000_0000;
    match architecture {
        ScmpArch::X86 => LITTLE | 3,
        ScmpArch::X8664 | ScmpArch::X32 => WIDE | LITTLE | 62,
        ScmpArch::Arm => LITTLE | 40,
        ScmpArch::Aarch64 => WIDE | LITTLE | 183,
        ScmpArch::Loongarch64 => WIDE | LITTLE | 258,
        ScmpArch::M68k => 4,
        ScmpArch::Mips => 8,
        ScmpArch::Mips64 => WIDE | 8,
        ScmpArch::Mips64N32 => WIDE | N32 | 8,
        ScmpArch::Mipsel => LITTLE | 8,
        ScmpArch::Mipsel64 => WIDE | LITTLE | 8,
        ScmpArch::Mipsel64N32 => WIDE | LITTLE | N32 | 8,
        ScmpArch::Ppc => 20,
        ScmpArch::Ppc64 => WIDE | 21,
        ScmpArch::Ppc64Le => WIDE | LITTLE | 21,
        ScmpArch::S390 => AUDIT_S390,
        ScmpArch::S390X => AUDIT_S390X,
        ScmpArch::Parisc => 15,
        ScmpArch::Parisc64 => WIDE | 15,
        ScmpArch::Riscv64 => WIDE | LITTLE | 243,
        ScmpArch::Sheb => 42,
        ScmpArch::Sh => LITTLE | 42,
        // No kernel has this one, so its block never applies.
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
