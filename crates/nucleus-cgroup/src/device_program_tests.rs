//! The device program against the plain definition, by a small evaluator of its instructions.

use proptest::prelude::*;

use super::*;
use crate::devices::Match;

/// Runs a program on one access; `None` for anything that the kernel's verifier would refuse.
fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> Option<u64> {
    let context = [kind | access << 16, major, minor];
    let mut registers: [Option<u64>; 11] = [None; 11];
    let mut at = 0_usize;
    loop {
        let step = program.get(at)?;
        let (to, from) = (usize::from(step.registers & 15), usize::from(step.registers >> 4));
        let immediate = i64::from(step.immediate).cast_unsigned();
        at += 1;
        let jump = match step.code {
            LDX_W => {
                registers[to] = Some(u64::from(*context.get(usize::try_from(step.offset).ok()? / 4)?));
                false
            }
            MOV32_X => {
                registers[to] = Some(registers[from]? & 0xffff_ffff);
                false
            }
            MOV64_K => {
                registers[to] = Some(immediate);
                false
            }
            AND32_K => {
                registers[to] = Some(registers[to]? & immediate & 0xffff_ffff);
                false
            }
            RSH32_K => {
                registers[to] = Some((registers[to]? & 0xffff_ffff) >> immediate);
                false
            }
            JA => true,
            JEQ_K => registers[to]? == immediate,
            JNE_K => registers[to]? != immediate,
            JGT_K => registers[to]? > immediate,
            JLT_K => registers[to]? < immediate,
            EXIT => return registers[0],
            _ => return None,
        };
        if jump {
            // Forward only, as the verifier of old kernels wants it.
            at += usize::try_from(step.offset).ok()?;
        }
    }
}

fn check(rules: &Rules, program: &[Instruction], kind: Kind, major: u32, minor: u32) {
    let mask = rules.allowed(kind, major, minor);
    for access in 1..=ALL {
        let expected = u64::from(access & !mask == 0);
        let result = run(program, kind as u32, u32::from(access), major, minor);
        assert_eq!(
            result,
            Some(expected),
            "{kind:?} {major}:{minor} access {access}\n{rules:?}\n{program:?}"
        );
    }
}

/// No instruction may be out of reach: the verifier of kernels before 5.x refused such programs.
fn assert_all_reachable(program: &[Instruction]) {
    let mut seen = vec![false; program.len()];
    let mut queue = vec![0];
    while let Some(at) = queue.pop() {
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        let step = program[at];
        let target = at + 1 + usize::try_from(step.offset).unwrap_or(0);
        match step.code {
            EXIT => {}
            JA => queue.push(target),
            JEQ_K | JNE_K | JGT_K | JLT_K => queue.extend([at + 1, target]),
            _ => queue.push(at + 1),
        }
    }
    assert!(seen.iter().all(|seen| *seen), "{program:?}");
}

#[test]
fn the_defaults_are_short_and_right() {
    let rules = Rules::compile(&[]).unwrap();
    let program = compile(&rules);
    assert!(program.len() <= 30, "{} instructions", program.len());
    assert_all_reachable(&program);
    for kind in [Kind::Block, Kind::Char] {
        for major in 0..300 {
            for minor in (0..20).chain(195..205) {
                check(&rules, &program, kind, major, minor);
            }
        }
    }
}

#[test]
fn trivial_rules_are_trivial_programs() {
    let all = |allow| {
        [Kind::Block, Kind::Char].map(|kind| Rule {
            allow,
            devices: Match {
                kind,
                major: None,
                minor: None,
            },
            access: ALL,
        })
    };
    for allow in [true, false] {
        let program = compile(&Rules(all(allow).to_vec()));
        assert!(program.len() <= 5, "{program:?}");
        assert_all_reachable(&program);
        check(&Rules(all(allow).to_vec()), &program, Kind::Char, 1, 3);
    }
}

fn rule() -> impl Strategy<Value = Rule> {
    let number = || proptest::option::of(0_u32..6);
    (any::<bool>(), any::<bool>(), number(), number(), 1..=ALL).prop_map(|(allow, block, major, minor, access)| Rule {
        allow,
        devices: Match {
            kind: if block { Kind::Block } else { Kind::Char },
            major,
            minor,
        },
        access,
    })
}

proptest! {
    #[test]
    fn agrees_with_the_definition(list in proptest::collection::vec(rule(), 0..12)) {
        let rules = Rules(list);
        let program = compile(&rules);
        assert_all_reachable(&program);
        for kind in [Kind::Block, Kind::Char] {
            for major in 0..8 {
                for minor in 0..8 {
                    check(&rules, &program, kind, major, minor);
                }
            }
        }
    }

    /// Where v1 accepts a list, its exceptions mean the same.
    #[test]
    fn v1_agrees_with_the_definition(list in proptest::collection::vec(rule(), 0..8)) {
        let rules = Rules(list);
        let Ok(v1) = rules.to_v1() else { return Ok(()) };
        let mut same = Vec::new();
        for (allow, value) in v1.writes() {
            let mut words = value.split([' ', ':']);
            let kinds: &[Kind] = match words.next() {
                Some("a") => &[Kind::Block, Kind::Char],
                Some("b") => &[Kind::Block],
                _ => &[Kind::Char],
            };
            let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
            let (major, minor) = (number(words.next()), number(words.next()));
            let letters = words.next().unwrap_or("rwm");
            let bit = |letter, bit| if letters.contains(letter) { bit } else { 0 };
            let access = bit('r', crate::devices::READ) | bit('w', crate::devices::WRITE) | bit('m', crate::devices::MKNOD);
            same.extend(kinds.iter().map(|&kind| Rule { allow, devices: Match { kind, major, minor }, access }));
        }
        let same = Rules(same);
        for kind in [Kind::Block, Kind::Char] {
            for (major, minor) in (0..7).flat_map(|major| (0..7).map(move |minor| (major, minor))) {
                prop_assert_eq!(rules.allowed(kind, major, minor), same.allowed(kind, major, minor));
            }
        }
    }
}
