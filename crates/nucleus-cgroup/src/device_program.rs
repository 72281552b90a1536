//! Device rules as a BPF program of type `BPF_PROG_TYPE_CGROUP_DEVICE`, the v2 way to bound devices.
//!
//! Called by the plan. The kernel verifies a program when it is loaded, at a cost in proportion to its length, on the
//! way of every container; so the rules are not translated one by one but resolved first, into one access mask for
//! each device that any rule names, and the tree of those masks is folded: what equals its surroundings is left out,
//! neighbouring numbers share one range. The outcome agrees with `Rules::allowed` for every device and access.

use nucleus_sys::bpf::Instruction;

use crate::devices::{ALL, Kind, Rule, Rules};

// linux/bpf.h and linux/bpf_common.h.
const LDX_W: u8 = 0x61;
const MOV32_X: u8 = 0xbc;
const MOV64_K: u8 = 0xb7;
const AND32_K: u8 = 0x54;
const RSH32_K: u8 = 0x74;
const JA: u8 = 0x05;
const JEQ_K: u8 = 0x15;
const JNE_K: u8 = 0x55;
const JGT_K: u8 = 0x25;
const JLT_K: u8 = 0xa5;
const EXIT: u8 = 0x95;

/// `struct bpf_cgroup_dev_ctx *` on entry.
const CONTEXT: u8 = 1;
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// A step of the tree that has a jump target which is not placed yet.
type Label = usize;

/// Instructions with forward jumps to labels.
#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    /// (instruction, label it jumps to)
    jumps: Vec<(usize, Label)>,
    /// Where each label was placed.
    places: Vec<Option<usize>>,
}

impl Assembler {
    fn label(&mut self) -> Label {
        self.places.push(None);
        self.places.len() - 1
    }

    fn place(&mut self, label: Label) {
        self.places[label] = Some(self.code.len());
    }

    fn emit(&mut self, code: u8, to: u8, from: u8, offset: i16, immediate: u32) {
        self.code.push(Instruction {
            code,
            registers: to | from << 4,
            offset,
            immediate: immediate.cast_signed(),
        });
    }

    fn jump(&mut self, code: u8, register: u8, immediate: u32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(code, register, 0, 0, immediate);
    }

    /// Fills the jumps in and drops those that go to the very next instruction.
    fn finish(mut self) -> Vec<Instruction> {
        // From the back, so that the places of what has been looked at stay right.
        for index in (0..self.code.len()).rev() {
            if self.code[index].code != JA {
                continue;
            }
            let target = self
                .jumps
                .iter()
                .find(|(at, _)| *at == index)
                .and_then(|(_, label)| self.places[*label]);
            if target == Some(index + 1) {
                self.code.remove(index);
                self.jumps.retain(|(at, _)| *at != index);
                self.jumps
                    .iter_mut()
                    .filter(|(at, _)| *at > index)
                    .for_each(|(at, _)| *at -= 1);
                self.places
                    .iter_mut()
                    .flatten()
                    .filter(|place| **place > index)
                    .for_each(|place| *place -= 1);
            }
        }
        for (at, label) in &self.jumps {
            let target = self.places[*label].unwrap_or(*at);
            self.code[*at].offset = i16::try_from(target.wrapping_sub(at + 1)).unwrap_or(0);
        }
        self.code
    }
}

/// The minors of one major: ranges with their masks, and the mask of all others.
struct Minors {
    ranges: Vec<(u32, u32, u8)>,
    other: u8,
}

/// One kind of device, resolved.
struct Majors {
    /// Each named major that differs from `other`.
    named: Vec<(u32, Minors)>,
    other: Minors,
}

impl Minors {
    fn resolve(rules: &Rules, kind: Kind, major: u32) -> Minors {
        let about = |rule: &&Rule| rule.devices.kind == kind && rule.devices.major.is_none_or(|own| own == major);
        let rules = Rules(rules.0.iter().filter(about).copied().collect());
        let minors = numbers(rules.0.iter().map(|rule| rule.devices.minor));
        let other = rules.allowed(kind, major, unnamed(&minors));
        let mut ranges: Vec<(u32, u32, u8)> = Vec::new();
        for minor in minors {
            let mask = rules.allowed(kind, major, minor);
            match ranges.last_mut() {
                _ if mask == other => {}
                Some((_, last, same)) if *same == mask && *last + 1 == minor => *last = minor,
                _ => ranges.push((minor, minor, mask)),
            }
        }
        Minors { ranges, other }
    }

    fn same(&self, other: &Minors) -> bool {
        self.ranges == other.ranges && self.other == other.other
    }
}

/// The numbers that rules name, ascending, each once.
fn numbers(named: impl Iterator<Item = Option<u32>>) -> Vec<u32> {
    let mut numbers: Vec<u32> = named.flatten().collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A number that no rule names stands for all of those. There always is one: rules are far fewer than numbers.
fn unnamed(named: &[u32]) -> u32 {
    (0..)
        .zip(named)
        .find_map(|(free, number)| (free != *number).then_some(free))
        .unwrap_or(named.len() as u32)
}

impl Majors {
    fn resolve(rules: &Rules, kind: Kind) -> Majors {
        let own = rules.0.iter().filter(|rule| rule.devices.kind == kind);
        let majors = numbers(own.map(|rule| rule.devices.major));
        let other = Minors::resolve(rules, kind, unnamed(&majors));
        let named = majors
            .into_iter()
            .map(|major| (major, Minors::resolve(rules, kind, major)))
            .filter(|(_, own)| !own.same(&other))
            .collect();
        Majors { named, other }
    }

    /// True when one mask holds for the whole kind.
    fn uniform(&self) -> Option<u8> {
        (self.named.is_empty() && self.other.ranges.is_empty()).then_some(self.other.other)
    }
}

/// One label for each access mask: there the program decides.
struct Leaves([Label; ALL as usize + 1], [bool; ALL as usize + 1]);

impl Leaves {
    fn to(&mut self, mask: u8) -> Label {
        self.1[mask as usize] = true;
        self.0[mask as usize]
    }
}

/// Compiles the rules. The program wants `struct bpf_cgroup_dev_ctx` and returns 1 to allow, 0 to deny.
pub(crate) fn compile(rules: &Rules) -> Vec<Instruction> {
    let mut out = Assembler::default();
    let mut leaves = Leaves(std::array::from_fn(|_| out.label()), [false; ALL as usize + 1]);
    let (block, char) = (Majors::resolve(rules, Kind::Block), Majors::resolve(rules, Kind::Char));
    // access_type: the type in the lower half, the access in the upper one. The types are 1 and 2.
    out.emit(LDX_W, TYPE, CONTEXT, 0, 0);
    out.emit(MOV32_X, ACCESS, TYPE, 0, 0);
    out.emit(RSH32_K, ACCESS, 0, 0, 16);
    match (block.uniform(), char.uniform()) {
        (Some(one), Some(other)) if one == other => {
            let leaf = leaves.to(one);
            out.jump(JA, 0, 0, leaf);
        }
        _ => {
            out.emit(AND32_K, TYPE, 0, 0, 0xffff);
            out.emit(LDX_W, MAJOR, CONTEXT, 4, 0);
            out.emit(LDX_W, MINOR, CONTEXT, 8, 0);
            let chars = out.label();
            match block.uniform() {
                Some(mask) => {
                    let leaf = leaves.to(mask);
                    out.jump(JNE_K, TYPE, Kind::Char as u32, leaf);
                }
                None => {
                    out.jump(JEQ_K, TYPE, Kind::Char as u32, chars);
                    majors(&mut out, &mut leaves, &block);
                }
            }
            out.place(chars);
            majors(&mut out, &mut leaves, &char);
        }
    }
    decisions(&mut out, &mut leaves);
    out.finish()
}

fn majors(out: &mut Assembler, leaves: &mut Leaves, kind: &Majors) {
    for (major, own) in &kind.named {
        if own.ranges.is_empty() {
            let leaf = leaves.to(own.other);
            out.jump(JEQ_K, MAJOR, *major, leaf);
            continue;
        }
        let next = out.label();
        out.jump(JNE_K, MAJOR, *major, next);
        minors(out, leaves, own);
        out.place(next);
    }
    minors(out, leaves, &kind.other);
}

/// Ends in a leaf on every way: nothing falls through.
fn minors(out: &mut Assembler, leaves: &mut Leaves, own: &Minors) {
    let other = leaves.to(own.other);
    for &(first, last, mask) in &own.ranges {
        let leaf = leaves.to(mask);
        if first == last {
            out.jump(JEQ_K, MINOR, first, leaf);
            continue;
        }
        // Ranges ascend: what lies below this one lies above the one before.
        if first > 0 {
            out.jump(JLT_K, MINOR, first, other);
        }
        let next = out.label();
        out.jump(JGT_K, MINOR, last, next);
        out.jump(JA, 0, 0, leaf);
        out.place(next);
    }
    out.jump(JA, 0, 0, other);
}

/// The leaves: allowed when no bit is wanted that the mask lacks.
fn decisions(out: &mut Assembler, leaves: &mut Leaves) {
    let (allow, deny) = (leaves.0[ALL as usize], leaves.0[0]);
    let partial: Vec<u8> = (1..ALL).filter(|mask| leaves.1[*mask as usize]).collect();
    for (index, mask) in partial.iter().enumerate() {
        out.place(leaves.0[*mask as usize]);
        out.emit(AND32_K, ACCESS, 0, 0, u32::from(!mask & ALL));
        out.jump(JNE_K, ACCESS, 0, deny);
        if index + 1 < partial.len() {
            out.jump(JA, 0, 0, allow);
        }
    }
    let allows = leaves.1[ALL as usize] || !partial.is_empty();
    out.place(allow);
    if allows {
        out.emit(MOV64_K, 0, 0, 0, 1);
        out.emit(EXIT, 0, 0, 0, 0);
    }
    out.place(deny);
    if leaves.1[0] || !partial.is_empty() {
        out.emit(MOV64_K, 0, 0, 0, 0);
        out.emit(EXIT, 0, 0, 0, 0);
    }
}

#[cfg(test)]
#[path = "device_program_tests.rs"]
mod tests;
