//! docs/spec-conformance.md says where each field is carried out and which test shows it: this test holds it to that.

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A path of the table: below `crates/` when it names a crate, else below `base` in this one.
fn resolve(path: &str, base: &str) -> PathBuf {
    match path.starts_with("nucleus-") || path.starts_with("oci-runtime/") {
        true => top().join("crates").join(path),
        false => Path::new(env!("CARGO_MANIFEST_DIR")).join(base).join(path),
    }
}

/// What stands between backticks.
fn words(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// True when `file` holds this text.
fn has(file: &Path, text: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|all| all.contains(text))
}

/// What is wrong with the file of a place.
fn bad_place(place: &str) -> Option<String> {
    (!resolve(place, "src").exists()).then(|| format!("no such file: {place}"))
}

/// What is wrong with a test: `MODULE::NAME` is one of tests/config, `PATH.rs::NAME` one of that file, `PATH.sh::NAME` a
/// check of the virtual machine.
fn bad_test(test: &str) -> Option<String> {
    let Some((module, name)) = test.split_once("::") else {
        return Some(format!("not a test: {test}"));
    };
    let found = match module.rsplit_once('.') {
        Some((_, "sh")) => has(
            &top().join("runtime-tools-tests").join(module),
            &format!("check '{name}' "),
        ),
        Some(_) => has(&resolve(module, ""), &format!("fn {name}(")),
        None => has(
            &resolve(&format!("{module}.rs"), "tests/config"),
            &format!("fn {name}("),
        ),
    };
    (!found).then(|| format!("no such test: {test}"))
}

#[test]
fn every_row_is_complete_and_every_test_exists() {
    let text = fs::read_to_string(top().join("docs/spec-conformance.md")).expect("the table");
    let (mut rows, mut wrong) = (0, Vec::new());
    for (n, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with("| ")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let mut complain = |what: String| wrong.push(format!("line {}: {what}", n + 1));
        let [field, places, tests, runc] = cells[..] else {
            complain(format!("{} cells", cells.len()));
            continue;
        };
        if places == "place" {
            continue;
        }
        rows += 1;
        if [field, places, tests, runc].contains(&"") {
            complain("an empty cell".to_owned());
        }
        let (places, tests) = (words(places), words(tests));
        if places.is_empty() || tests.is_empty() {
            complain("no place, or no test".to_owned());
        }
        places.into_iter().filter_map(bad_place).for_each(&mut complain);
        tests.into_iter().filter_map(bad_test).for_each(&mut complain);
    }
    assert!(wrong.is_empty(), "docs/spec-conformance.md: {wrong:#?}");
    assert!(rows > 150, "only {rows} rows: has the form of the table changed?");
}

#[test]
fn what_is_missing_is_found() {
    assert!(bad_test("mounts::bind_options").is_none());
    assert!(bad_test("tests/errors.rs::versions").is_none());
    assert!(bad_test("vm/guest/tests.d/rights.sh::SCHED_FIFO").is_none());
    assert!(bad_test("vm/guest/tests.d/rights.sh::SCHED_ISO").is_some());
    assert!(bad_test("mounts::bind_option").is_some() && bad_test("mount::bind_options").is_some());
    assert!(bad_place("plan/mounts.rs").is_none() && bad_place("nucleus-cgroup/src/plan").is_none());
    assert!(bad_place("plan/mount.rs").is_some());
}
