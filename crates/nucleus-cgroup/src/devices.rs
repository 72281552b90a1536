//! Which devices a container may use: `linux.resources.devices`, the default devices, and what becomes of them.
//!
//! Called by the plan. Everything is denied to begin with, the rules of config.json apply in their order, and the
//! default devices come last, so that the deny-all that engines pass does not take them away (runc does the same, and
//! podman relies on it). [`Rules::allowed`] is the definition; the v1 list made here and the program of
//! `device_program` are two ways to tell the kernel the same.

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use crate::error::PlanError;

/// mknod(2), as `BPF_DEVCG_ACC_MKNOD` numbers it.
pub(crate) const MKNOD: u8 = 1;
/// Open for reading.
pub(crate) const READ: u8 = 2;
/// Open for writing.
pub(crate) const WRITE: u8 = 4;
/// All three.
pub(crate) const ALL: u8 = MKNOD | READ | WRITE;

/// The kind of a device node, as `BPF_DEVCG_DEV_*` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Block = 1,
    Char = 2,
}

/// The devices that a rule is about; `None` is every number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Match {
    pub(crate) kind: Kind,
    pub(crate) major: Option<u32>,
    pub(crate) minor: Option<u32>,
}

impl Match {
    fn covers(self, kind: Kind, major: u32, minor: u32) -> bool {
        self.kind == kind && self.major.is_none_or(|own| own == major) && self.minor.is_none_or(|own| own == minor)
    }

    /// True when there is a device that both are about.
    fn meets(self, other: Match) -> bool {
        let agree = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && agree(self.major, other.major) && agree(self.minor, other.minor)
    }
}

/// Spelt as v1's devices.allow wants it, without the access letters.
impl fmt::Display for Match {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        write!(out, "{kind} {}:{}", number(self.major), number(self.minor))
    }
}

/// One rule: later ones win, for each kind of access by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) allow: bool,
    pub(crate) devices: Match,
    pub(crate) access: u8,
}

/// The whole list, from "everything is denied" on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Rules(pub(crate) Vec<Rule>);

/// What every container may do, as runc 1.5 has it: make any node, and use the devices that config-linux.md ("Default
/// Devices") promises, terminals, and tun.
const DEFAULTS: [(Kind, Option<u32>, Option<u32>, u8); 11] = [
    (Kind::Char, None, None, MKNOD),
    (Kind::Block, None, None, MKNOD),
    (Kind::Char, Some(1), Some(3), ALL), // null
    (Kind::Char, Some(1), Some(5), ALL), // zero
    (Kind::Char, Some(1), Some(7), ALL), // full
    (Kind::Char, Some(1), Some(8), ALL), // random
    (Kind::Char, Some(1), Some(9), ALL), // urandom
    (Kind::Char, Some(5), Some(0), ALL), // tty
    (Kind::Char, Some(5), Some(2), ALL), // ptmx
    (Kind::Char, Some(136), None, ALL),  // pts/*; the container's console is one of them
    (Kind::Char, Some(10), Some(200), ALL), // net/tun
                                         // Not 5:1 (console): that is the host's, and a container's /dev/console is a bind mount of a pts.
];

impl Rules {
    /// Reads config.json's list and adds the defaults.
    ///
    /// # Errors
    /// A type other than a, b, c, an access letter other than r, w, m, a number that is no device number.
    pub(crate) fn compile(config: &[LinuxDeviceCgroup]) -> Result<Rules, PlanError> {
        let mut rules = Vec::with_capacity(config.len() * 2 + DEFAULTS.len());
        for (index, entry) in config.iter().enumerate() {
            let field = |name: &str| format!("linux.resources.devices[{index}].{name}");
            let kinds: &[Kind] = match entry.typ() {
                None | Some(LinuxDeviceType::A) => &[Kind::Block, Kind::Char],
                Some(LinuxDeviceType::B) => &[Kind::Block],
                Some(LinuxDeviceType::C) => &[Kind::Char],
                Some(_) => return Err(PlanError::new(field("type"), "must be a, b or c")),
            };
            let major = number(entry.major()).map_err(|problem| PlanError::new(field("major"), problem))?;
            let minor = number(entry.minor()).map_err(|problem| PlanError::new(field("minor"), problem))?;
            let access =
                access(entry.access().as_deref()).map_err(|problem| PlanError::new(field("access"), problem))?;
            rules.extend(kinds.iter().map(|&kind| Rule {
                allow: entry.allow(),
                devices: Match { kind, major, minor },
                access,
            }));
        }
        rules.extend(DEFAULTS.iter().map(|&(kind, major, minor, access)| Rule {
            allow: true,
            devices: Match { kind, major, minor },
            access,
        }));
        Ok(Rules(rules))
    }

    /// The accesses that are allowed to one device: the definition that everything else must agree with.
    pub(crate) fn allowed(&self, kind: Kind, major: u32, minor: u32) -> u8 {
        self.0
            .iter()
            .filter(|rule| rule.devices.covers(kind, major, minor))
            .fold(0, |mask, rule| {
                if rule.allow {
                    mask | rule.access
                } else {
                    mask & !rule.access
                }
            })
    }

    /// The list for v1's `devices.deny` and `devices.allow`.
    ///
    /// # Errors
    /// v1 takes back exactly what was given, never a part of it (security/device_cgroup.c, `dev_exception_rm`): a
    /// deny that would cut a hole into an earlier, wider allow is silently ignored there, so it is refused here.
    pub(crate) fn to_v1(&self) -> Result<V1List, PlanError> {
        let mut list = V1List::default();
        for rule in &self.0 {
            list.apply(rule)
                .map_err(|problem| PlanError::new("linux.resources.devices", problem))?;
        }
        Ok(list)
    }
}

/// The state of a v1 devices cgroup: allowed or denied by default, with exceptions of the other kind. They keep the order
/// of config.json, as in the kernel's own list: whoever compares devices.list with config.json finds the same.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct V1List {
    pub(crate) default_allow: bool,
    pub(crate) exceptions: Vec<(Match, u8)>,
}

impl V1List {
    /// Kinds of which everything is excepted, which makes up an "a" entry.
    fn is_everything(&self) -> bool {
        [Kind::Block, Kind::Char].iter().all(|&kind| {
            let all = Match {
                kind,
                major: None,
                minor: None,
            };
            self.exceptions.contains(&(all, ALL))
        })
    }

    fn apply(&mut self, rule: &Rule) -> Result<(), String> {
        if rule.allow != self.default_allow {
            match self.exceptions.iter_mut().find(|(devices, _)| *devices == rule.devices) {
                Some((_, access)) => *access |= rule.access,
                None => self.exceptions.push((rule.devices, rule.access)),
            }
            if self.is_everything() {
                *self = V1List {
                    default_allow: !self.default_allow,
                    exceptions: Vec::new(),
                };
            }
            return Ok(());
        }
        let swallowed = |other: Match| {
            let within = |outer: Option<u32>, inner: Option<u32>| outer.is_none() || outer == inner;
            within(rule.devices.major, other.major) && within(rule.devices.minor, other.minor)
        };
        for (other, access) in &mut self.exceptions {
            if !other.meets(rule.devices) || *access & rule.access == 0 {
                continue;
            }
            if !swallowed(*other) {
                let verb = if rule.allow { "allow" } else { "deny" };
                return Err(format!(
                    "cgroup v1 cannot {verb} {} out of the earlier rule for {other}",
                    rule.devices
                ));
            }
            *access &= !rule.access;
        }
        self.exceptions.retain(|(_, access)| *access != 0);
        Ok(())
    }

    /// The writes, in order: (allow or deny, value).
    pub(crate) fn writes(&self) -> impl Iterator<Item = (bool, String)> {
        let letters = |access: u8| -> String {
            [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
                .iter()
                .filter(|(bit, _)| access & bit != 0)
                .map(|(_, letter)| *letter)
                .collect()
        };
        let exceptions = self
            .exceptions
            .iter()
            .map(move |(devices, access)| (!self.default_allow, format!("{devices} {}", letters(*access))));
        std::iter::once((self.default_allow, "a".to_owned())).chain(exceptions)
    }
}

/// A device number; absent or -1 is every number (config-linux.md, "Allowed Device list").
fn number(value: Option<i64>) -> Result<Option<u32>, &'static str> {
    match value {
        None | Some(-1) => Ok(None),
        // dev_t has 12 bits for the major and 20 for the minor number; anything that fits an immediate will do.
        Some(number) => match i32::try_from(number) {
            Ok(number) if number >= 0 => Ok(Some(number.unsigned_abs())),
            _ => Err("is not a device number"),
        },
    }
}

/// Access letters; absent or empty is all of them.
fn access(text: Option<&str>) -> Result<u8, &'static str> {
    let text = text.filter(|text| !text.is_empty()).unwrap_or("rwm");
    text.bytes().try_fold(0, |mask, letter| match letter {
        b'r' => Ok(mask | READ),
        b'w' => Ok(mask | WRITE),
        b'm' => Ok(mask | MKNOD),
        _ => Err("may only hold the letters r, w and m"),
    })
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
