//! Device rules: reading, order, defaults, and the v1 list.

use oci_spec::runtime::LinuxDeviceCgroupBuilder;

use super::*;

fn entry(allow: bool, typ: Option<LinuxDeviceType>, numbers: (i64, i64), access: &str) -> LinuxDeviceCgroup {
    let builder = LinuxDeviceCgroupBuilder::default().allow(allow).access(access);
    let builder = match typ {
        Some(typ) => builder.typ(typ),
        None => builder,
    };
    builder.major(numbers.0).minor(numbers.1).build().unwrap()
}

fn writes(rules: &Rules) -> Vec<String> {
    let name = |allow| if allow { "allow" } else { "deny" };
    rules
        .to_v1()
        .unwrap()
        .writes()
        .map(|(allow, value)| format!("{} {value}", name(allow)))
        .collect()
}

#[test]
fn no_rules_and_deny_all_leave_the_defaults() {
    let deny_all = [entry(false, None, (-1, -1), "rwm")];
    for config in [&[][..], &deny_all[..]] {
        let rules = Rules::compile(config).unwrap();
        assert_eq!(rules.allowed(Kind::Char, 1, 3), ALL);
        assert_eq!(rules.allowed(Kind::Char, 136, 77), ALL);
        assert_eq!(rules.allowed(Kind::Char, 5, 1), MKNOD);
        assert_eq!(rules.allowed(Kind::Char, 10, 232), MKNOD);
        assert_eq!(rules.allowed(Kind::Block, 8, 0), MKNOD);
    }
}

#[test]
fn order_counts() {
    let allow = entry(true, Some(LinuxDeviceType::C), (10, 232), "rw");
    let deny = entry(false, None, (-1, -1), "");
    let rules = Rules::compile(&[deny.clone(), allow.clone()]).unwrap();
    assert_eq!(rules.allowed(Kind::Char, 10, 232), ALL);
    let rules = Rules::compile(&[allow, deny]).unwrap();
    assert_eq!(rules.allowed(Kind::Char, 10, 232), MKNOD);
}

#[test]
fn v1_list_of_the_defaults() {
    let expected = [
        "deny a",
        "allow c *:* m",
        "allow b *:* m",
        "allow c 1:3 rwm",
        "allow c 1:5 rwm",
        "allow c 1:7 rwm",
        "allow c 1:8 rwm",
        "allow c 1:9 rwm",
        "allow c 5:0 rwm",
        "allow c 5:2 rwm",
        "allow c 136:* rwm",
        "allow c 10:200 rwm",
    ];
    assert_eq!(writes(&Rules::compile(&[]).unwrap()), expected);
}

#[test]
fn v1_list_keeps_the_order_of_the_config() {
    let config = [
        entry(false, None, (-1, -1), ""),
        entry(true, Some(LinuxDeviceType::C), (10, 229), "rwm"),
        entry(true, Some(LinuxDeviceType::B), (8, 20), "rw"),
        entry(true, Some(LinuxDeviceType::C), (1, 1), "r"),
        entry(true, Some(LinuxDeviceType::B), (8, 20), "m"),
    ];
    let writes = writes(&Rules::compile(&config).unwrap());
    assert_eq!(
        writes[..4],
        ["deny a", "allow c 10:229 rwm", "allow b 8:20 rwm", "allow c 1:1 r"]
    );
    assert_eq!(writes[4], "allow c *:* m");
}

#[test]
fn v1_allow_all_is_one_write_and_exceptions_are_denials() {
    let all = entry(true, None, (-1, -1), "rwm");
    assert_eq!(
        writes(&Rules::compile(std::slice::from_ref(&all)).unwrap()),
        ["allow a"]
    );
    let kvm = entry(false, Some(LinuxDeviceType::C), (10, 232), "rw");
    assert_eq!(
        writes(&Rules::compile(&[all, kvm]).unwrap()),
        ["allow a", "deny c 10:232 rw"]
    );
}

#[test]
fn v1_refuses_holes() {
    let wide = entry(true, Some(LinuxDeviceType::C), (1, -1), "rwm");
    let hole = entry(false, Some(LinuxDeviceType::C), (1, 1), "r");
    let error = Rules::compile(&[wide, hole]).unwrap().to_v1().unwrap_err();
    assert_eq!(
        error.to_string(),
        "linux.resources.devices: cgroup v1 cannot deny c 1:1 out of the earlier rule for c 1:*"
    );
}

#[test]
fn bad_entries_name_their_field() {
    let bad = |entry: LinuxDeviceCgroup| Rules::compile(&[entry]).unwrap_err().to_string();
    let c = Some(LinuxDeviceType::C);
    assert_eq!(
        bad(entry(true, c, (1, 1), "rwx")),
        "linux.resources.devices[0].access: may only hold the letters r, w and m"
    );
    assert_eq!(
        bad(entry(true, c, (-2, 1), "r")),
        "linux.resources.devices[0].major: is not a device number"
    );
    assert_eq!(
        bad(entry(true, c, (1, 1 << 40), "r")),
        "linux.resources.devices[0].minor: is not a device number"
    );
    let pipe = Some(LinuxDeviceType::P);
    assert_eq!(
        bad(entry(true, pipe, (1, 1), "r")),
        "linux.resources.devices[0].type: must be a, b or c"
    );
}
