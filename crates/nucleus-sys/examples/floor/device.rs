//! The device program, one rule after the other, as a runtime would write it that does not fold them.

use crate::{Floor, must};

/// What eBPF adds to the instructions of classic BPF (linux/bpf.h).
const BPF_MOV: u32 = 0xb0;
const BPF_EXIT: u32 = 0x90;

impl Floor<'_> {
    fn instruction(&mut self, code: u32, registers: u8, offset: i16, immediate: u32) {
        if let Some(place) = self.program.get_mut(self.instructions) {
            let word = u64::from(code) | u64::from(registers) << 8 | u64::from(offset as u16) << 16;
            *place = word | u64::from(immediate) << 32;
            self.instructions += 1;
        }
    }

    /// One rule of the device program: kind (1 block, 2 character), access (a mask of 1 mknod, 2 read, 4 write), numbers;
    /// a number of `u32::MAX` is any.
    pub fn allow_device(&mut self, kind: usize, access: usize, major: usize, minor: usize) {
        use libc::{BPF_ALU, BPF_AND, BPF_JMP, BPF_K, BPF_LDX, BPF_MEM, BPF_RSH, BPF_W};
        const NOT_EQUAL: u32 = 0x50;
        if self.instructions == 0 {
            // r2 = kind, r3 = access, r4 = major, r5 = minor: linux/bpf.h, bpf_cgroup_dev_ctx
            self.instruction(BPF_LDX | BPF_MEM | BPF_W, 0x12, 0, 0);
            self.instruction(BPF_ALU | BPF_AND | BPF_K, 0x02, 0, 0xffff);
            self.instruction(BPF_LDX | BPF_MEM | BPF_W, 0x13, 0, 0);
            self.instruction(BPF_ALU | BPF_RSH | BPF_K, 0x03, 0, 16);
            self.instruction(BPF_LDX | BPF_MEM | BPF_W, 0x14, 4, 0);
            self.instruction(BPF_LDX | BPF_MEM | BPF_W, 0x15, 8, 0);
        }
        // What each test must find, and how many words it takes.
        let some = |number: usize| number != u32::MAX as usize;
        let accesses = access != 7;
        let mut left = 3 + i16::from(some(major)) + i16::from(some(minor)) + 3 * i16::from(accesses);
        self.instruction(BPF_JMP | NOT_EQUAL | BPF_K, 0x02, left - 1, kind as u32);
        left -= 1;
        if accesses {
            // Refused: r1 = access & ~allowed, which must be 0.
            self.instruction(BPF_ALU | BPF_MOV | libc::BPF_X, 0x31, 0, 0);
            self.instruction(BPF_ALU | BPF_AND | BPF_K, 0x01, 0, !(access as u32) & 7);
            self.instruction(BPF_JMP | NOT_EQUAL | BPF_K, 0x01, left - 3, 0);
            left -= 3;
        }
        for (register, number) in [(0x04, major), (0x05, minor)] {
            if some(number) {
                self.instruction(BPF_JMP | NOT_EQUAL | BPF_K, register, left - 1, number as u32);
                left -= 1;
            }
        }
        self.instruction(BPF_ALU | BPF_MOV | BPF_K, 0x00, 0, 1);
        self.instruction(BPF_JMP | BPF_EXIT, 0, 0, 0);
    }

    /// Ends the program with "no", loads it and attaches it to the group of `into`.
    pub fn attach(&mut self) {
        const PROG_LOAD: usize = 5;
        const PROG_ATTACH: usize = 8;
        const CGROUP_DEVICE_TYPE: u64 = 15;
        const CGROUP_DEVICE_ATTACH: u64 = 6;
        const ALLOW_MULTI: u64 = 2;
        self.instruction(libc::BPF_ALU | BPF_MOV | libc::BPF_K, 0x00, 0, 0);
        self.instruction(libc::BPF_JMP | BPF_EXIT, 0, 0, 0);
        let mut attributes = [0u64; 16];
        attributes[0] = CGROUP_DEVICE_TYPE | (self.instructions as u64) << 32;
        attributes[1] = self.program.as_ptr() as u64;
        attributes[2] = c"GPL".as_ptr() as u64;
        let size = size_of_val(&attributes);
        let program = must(
            c"bpf load",
            libc::SYS_bpf,
            [PROG_LOAD, attributes.as_ptr() as usize, size, 0, 0],
        );
        let mut attributes = [0u64; 16];
        attributes[0] = self.into.unwrap_or_default() as u64 | (program as u64) << 32;
        attributes[1] = CGROUP_DEVICE_ATTACH | ALLOW_MULTI << 32;
        must(
            c"bpf attach",
            libc::SYS_bpf,
            [PROG_ATTACH, attributes.as_ptr() as usize, size, 0, 0],
        );
        must(c"close", libc::SYS_close, [program, 0, 0, 0, 0]);
    }
}
