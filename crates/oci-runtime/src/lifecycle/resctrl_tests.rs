//! Classes of service and monitoring groups in a directory that looks like resctrl.

use std::fs;

use super::*;

fn rdt(clos_id: Option<&str>, lines: &[&str], monitoring: bool) -> IntelRdt {
    IntelRdt {
        clos_id: clos_id.map(str::to_owned),
        schemas: lines.iter().map(|line| (*line).to_owned()).collect(),
        schemata: Vec::new(),
        monitoring,
    }
}

/// Like the kernel's: a group holds files, and is removed with them.
fn empty(dir: &Path) {
    for file in ["tasks", "schemata"] {
        let _ = fs::remove_file(dir.join(file));
    }
    let _ = fs::remove_dir(dir.join("mon_groups"));
}

fn tree() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("mon_groups")).unwrap();
    fs::write(dir.path().join("schemata"), "L3:0=fff;1=fff\n").unwrap();
    dir
}

fn pid() -> Pid {
    Pid::from_raw(4711).unwrap()
}

#[test]
fn a_class_of_its_own_has_the_containers_id_and_goes_with_it() {
    let tree = tree();
    let class = tree.path().join("c1");
    let mut group = Resctrl::below(tree.path(), &rdt(None, &["L3:0=f", "MB:0=50"], false), "c1").unwrap();
    assert_eq!(group.planned(), std::slice::from_ref(&class));
    group.apply(pid()).unwrap();
    assert_eq!(fs::read_to_string(class.join("schemata")).unwrap(), "L3:0=f\nMB:0=50\n");
    assert_eq!(fs::read_to_string(class.join("tasks")).unwrap(), "4711");
    let made = group.made().to_vec();
    assert_eq!(made, std::slice::from_ref(&class));
    group.keep();
    empty(&class);
    remove(&made).unwrap();
    assert!(!class.exists());
    remove(&made).unwrap();
}

#[test]
fn a_class_that_is_there_is_used_and_left() {
    let tree = tree();
    let class = tree.path().join("gold");
    fs::create_dir(&class).unwrap();
    let there = "    MB:0=100;1= 50\n    L3:0=00f;1=fff\n";
    for lines in [&[][..], &["L3:0=F"], &["L3:1=0fff;0=f", "MB:1=50"]] {
        let mut group = Resctrl::below(tree.path(), &rdt(Some("gold"), lines, false), "c1").unwrap();
        assert!(group.planned().is_empty());
        fs::write(class.join("schemata"), there).unwrap();
        group.apply(pid()).unwrap();
        assert!(group.made().is_empty());
    }
    fs::write(class.join("schemata"), there).unwrap();
    for line in ["L3:0=7", "L3:2=f", "L2:0=f"] {
        let mut group = Resctrl::below(tree.path(), &rdt(Some("gold"), &[line], false), "c1").unwrap();
        let error = group.apply(pid()).unwrap_err().to_string();
        assert!(error.contains("its schemata differ from config.json's"), "{error}");
    }
    assert_eq!(fs::read_to_string(class.join("schemata")).unwrap(), there);
}

#[test]
fn schemata_are_written_last_even_to_a_class_that_is_there() {
    let tree = tree();
    let class = tree.path().join("gold");
    fs::create_dir(&class).unwrap();
    fs::write(class.join("schemata"), "L3:0=f\n").unwrap();
    let wanted = IntelRdt {
        schemata: vec!["L2:0=1".to_owned(), "L3:0=7".to_owned()],
        ..rdt(Some("gold"), &["L3:0=f"], false)
    };
    Resctrl::below(tree.path(), &wanted, "c1")
        .unwrap()
        .apply(pid())
        .unwrap();
    assert_eq!(
        fs::read_to_string(class.join("schemata")).unwrap(),
        "L3:0=f\nL2:0=1\nL3:0=7\n"
    );
}

#[test]
fn a_further_process_joins_the_class_and_the_monitoring_group() {
    let tree = tree();
    let mut group = Resctrl::below(tree.path(), &rdt(Some("/"), &[], true), "c1").unwrap();
    group.apply(pid()).unwrap();
    join(&group.groups(), Pid::from_raw(4712).unwrap()).unwrap();
    for tasks in ["tasks", "mon_groups/c1/tasks"] {
        assert_eq!(fs::read_to_string(tree.path().join(tasks)).unwrap(), "4712");
    }
    let gone = join(&[tree.path().join("gone")], pid()).unwrap_err().to_string();
    assert!(gone.starts_with("linux.intelRdt: cannot write \"4711\" to "), "{gone}");
}

#[test]
fn a_class_without_schemata_must_be_there() {
    let tree = tree();
    let error = Resctrl::below(tree.path(), &rdt(Some("none"), &[], true), "c1").unwrap_err();
    assert!(error.to_string().starts_with("linux.intelRdt.closID: "), "{error}");
    let mut made = Resctrl::below(tree.path(), &rdt(Some("new"), &["L3:0=f"], false), "c1").unwrap();
    made.apply(pid()).unwrap();
    assert_eq!(made.made(), [tree.path().join("new")]);
}

#[test]
fn a_monitoring_group_is_made_in_its_class() {
    let tree = tree();
    let group_dir = tree.path().join("mon_groups/c1");
    let mut group = Resctrl::below(tree.path(), &rdt(Some("/"), &[], true), "c1").unwrap();
    assert_eq!(group.planned(), std::slice::from_ref(&group_dir));
    group.apply(pid()).unwrap();
    assert_eq!(fs::read_to_string(group_dir.join("tasks")).unwrap(), "4711");
    assert_eq!(fs::read_to_string(tree.path().join("tasks")).unwrap(), "4711");
    assert_eq!(group.made(), [group_dir]);
}

#[test]
fn a_failure_takes_back_what_was_made() {
    let tree = tree();
    let class = tree.path().join("c1");
    let mut group = Resctrl::below(tree.path(), &rdt(None, &[], true), "c1").unwrap();
    // No `mon_groups` in a class that a plain directory stands for.
    let error = group.apply(pid()).unwrap_err().to_string();
    assert!(error.contains("cannot make"), "{error}");
    empty(&class);
    drop(group);
    assert!(!class.exists());
    let error = Resctrl::below(tree.path(), &rdt(None, &[], false), "info").unwrap_err();
    assert!(error.to_string().contains("reserved"), "{error}");
}

fn schemas(cache: &str, bandwidth: &str) -> LinuxIntelRdt {
    let mut rdt = LinuxIntelRdt::default();
    rdt.set_l3_cache_schema(Some(cache.to_owned()));
    rdt.set_mem_bw_schema(Some(bandwidth.to_owned()));
    rdt
}

#[test]
fn an_update_rewrites_the_class_of_the_container() {
    let tree = tree();
    let class = tree.path().join("c1");
    let monitoring = class.join("mon_groups").join("c1");
    fs::create_dir_all(&monitoring).unwrap();
    let file = class.join("schemata");
    fs::write(&file, "L3:0=f\nMB:0=50\n").unwrap();
    let made = [monitoring.clone(), class];
    let rewritten = Rewritten::in_class(&schemas("L3:0=3\nMB:0=99", "MB:0=20"), &made).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "L3:0=3\nMB:0=20\n");
    rewritten.put_back().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "L3:0=f\nMB:0=50\n");
}

#[test]
fn a_class_of_others_is_not_rewritten() {
    let tree = tree();
    for made in [&[][..], &[tree.path().join("gold/mon_groups/c1")]] {
        let error = Rewritten::in_class(&schemas("L3:0=3", ""), made).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Intel RDT: the container has no class of its own (linux.intelRdt in config.json makes one)"
        );
    }
}

#[test]
fn an_update_without_schemas_asks_nobody() {
    assert!(Rewritten::write(&schemas("", ""), &[]).unwrap().is_none());
}
