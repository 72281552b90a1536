//! Device rules as `DevicePolicy=` and `DeviceAllow=` of systemd.resource-control(5).
//!
//! systemd allows what is on a list and denies the rest: rules that come to such a list are mirrored, others are not, and
//! then systemd is told to leave devices alone. Either way the exact rules are what this crate itself gives the kernel;
//! the kernel allows what both allow.

use super::property::{Property, Value};
use crate::devices::{Kind, MKNOD, Match, READ, Rules, WRITE};

/// Since here systemd takes a device's numbers without a node to look at, and a major number for a group's name.
const NUMBERS_SINCE: u32 = 240;

pub(super) fn properties(rules: &Rules, version: u32) -> [Property; 2] {
    let list = rules
        .to_v1()
        .ok()
        .filter(|list| !list.default_allow && version >= NUMBERS_SINCE);
    let entries: Option<Vec<_>> = list.and_then(|list| {
        let entry = |(devices, access): &(Match, u8)| Some((specifier(*devices)?, letters(*access)));
        list.exceptions.iter().map(entry).collect()
    });
    let policy = if entries.is_some() { "strict" } else { "auto" };
    [
        Property::new("DevicePolicy", Value::Text(policy.to_owned())),
        Property::new("DeviceAllow", Value::Pairs(entries.unwrap_or_default())),
    ]
}

/// `None` for what systemd has no word for: a minor number of every major one.
fn specifier(devices: Match) -> Option<String> {
    let kind = match devices.kind {
        Kind::Block => "block",
        Kind::Char => "char",
    };
    match (devices.major, devices.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{kind}-{major}")),
        (None, None) => Some(format!("{kind}-*")),
        (None, Some(_)) => None,
    }
}

fn letters(access: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| access & bit != 0)
        .map(|(_, letter)| *letter)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::{ALL, Rule};

    type Line = (bool, Kind, Option<u32>, Option<u32>, u8);

    fn of(rules: &[Line], version: u32) -> (String, Vec<(String, String)>) {
        let rule = |&(allow, kind, major, minor, access): &Line| Rule {
            allow,
            devices: Match { kind, major, minor },
            access,
        };
        match properties(&Rules(rules.iter().map(rule).collect()), version).map(|property| property.value) {
            [Value::Text(policy), Value::Pairs(list)] => (policy, list),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_of_allowed_devices_is_mirrored() {
        let rules = [
            (true, Kind::Char, None, None, MKNOD),
            (true, Kind::Char, Some(1), Some(3), ALL),
            (true, Kind::Char, Some(136), None, READ | WRITE),
            (true, Kind::Block, Some(8), Some(0), READ),
            (false, Kind::Block, Some(8), Some(0), READ),
        ];
        let list = [("char-*", "m"), ("/dev/char/1:3", "rwm"), ("char-136", "rw")];
        let list: Vec<_> = list
            .map(|(device, access)| (device.to_owned(), access.to_owned()))
            .into();
        assert_eq!(of(&rules, 257), ("strict".to_owned(), list));
        assert_eq!(of(&rules, 239), ("auto".to_owned(), Vec::new()));
        assert_eq!(of(&[], 257), ("strict".to_owned(), Vec::new()));
    }

    #[test]
    fn what_is_no_such_list_is_left_to_the_kernel() {
        let everything = [
            (true, Kind::Char, None, None, ALL),
            (true, Kind::Block, None, None, ALL),
        ];
        let hole = [
            (true, Kind::Char, Some(1), None, ALL),
            (false, Kind::Char, Some(1), Some(5), ALL),
        ];
        let minor = [(true, Kind::Char, None, Some(5), ALL)];
        for rules in [&everything[..], &hole, &minor] {
            assert_eq!(of(rules, 257), ("auto".to_owned(), Vec::new()), "{rules:?}");
        }
    }
}
