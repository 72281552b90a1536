//! Whole configs as engines write them, and the plans they lead to.
//!
//! `tests/configs/NAME.json` compiles to `tests/configs/NAME.plan`; `tests/configs/README.md` tells where each comes
//! from. After a change that is meant, write the plans anew with `NUCLEUS_BLESS=1 cargo test -p oci-runtime golden` and
//! read the difference.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use nucleus_cgroup::Layout;
use oci_spec::runtime::Spec;

use super::compact::compact;
use super::{HOST, layouts, options};
use crate::plan::{Options, Plan, exec};

/// All configs of a directory below `tests/configs`, sorted.
fn below(directory: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/configs")
        .join(directory);
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut configs: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    configs.sort();
    configs
}

/// All configs.
pub(super) fn configs() -> Vec<PathBuf> {
    below("")
}

fn dump(config: &Path) -> String {
    let (spec, warnings) = crate::spec::parse(&fs::read(config).unwrap()).unwrap();
    let terminal = spec.process().as_ref().and_then(|process| process.terminal());
    let options = Options {
        console_socket: terminal.unwrap_or(false),
        ..options()
    };
    let mut plan = Plan::compile(&spec, &options, &HOST, None).unwrap_or_else(|e| panic!("{config:?}: {e}"));
    plan.warnings.splice(0..0, warnings);
    if let Some(seccomp) = &mut plan.seccomp {
        // Bulky, and different from one libseccomp to the next.
        assert!(!seccomp.program.is_empty());
        seccomp.program.clear();
    }
    let [v1, v2] = layouts().each_ref().map(|layout| cgroup(&spec, layout));
    format!("{}\n# cgroup v1\n{v1}\n# cgroup v2\n{v2}", text(&plan))
}

/// What the control groups come to on one host, or why it cannot have them.
fn cgroup(spec: &Spec, layout: &Layout) -> String {
    let linux = spec.linux().as_ref();
    let path = linux
        .and_then(|linux| linux.cgroups_path().as_deref())
        .and_then(Path::to_str);
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    match nucleus_cgroup::Plan::compile(resources, path, "ID", layout, false) {
        Ok(plan) => text(&plan),
        Err(error) => format!("{error}\n"),
    }
}

/// Without the device program of v2, which is as bulky as a seccomp profile and has tests of its own.
fn text(plan: &impl Debug) -> String {
    compact(&format!("{plan:#x?}"), "Instruction")
}

/// The process of an `exec`.
fn dump_process(section: &Path) -> String {
    let loaded = crate::spec::load_process(section).unwrap();
    let (process, mut quiet) = (loaded.process, loaded.warnings);
    let mut warnings = Vec::new();
    let options = Options {
        console_socket: process.terminal().unwrap_or(false),
        ..options()
    };
    let process = exec::compile(
        process,
        &exec::Changes::default(),
        &options,
        &HOST,
        (&mut warnings, &mut quiet),
    )
    .unwrap_or_else(|e| panic!("{section:?}: {e}"));
    warnings.extend(quiet);
    assert!(warnings.is_empty(), "{section:?}: {warnings:?}");
    text(&process)
}

/// Compares, or writes anew; returns those that differ.
fn check(configs: &[PathBuf], dump: fn(&Path) -> String) -> Vec<&PathBuf> {
    let bless = std::env::var_os("NUCLEUS_BLESS").is_some();
    let differs = |config: &&PathBuf| {
        let (plan, golden) = (dump(config), config.with_extension("plan"));
        if bless {
            fs::write(&golden, &plan).unwrap();
        }
        fs::read_to_string(&golden).unwrap_or_default() != plan
    };
    configs.iter().filter(differs).collect()
}

#[test]
fn golden_plans() {
    let configs = configs();
    assert!(configs.len() >= 40, "the goal is forty configs or more");
    let wrong = check(&configs, dump);
    assert!(wrong.is_empty(), "the plans of these configs have changed: {wrong:#?}");
}

#[test]
fn golden_processes() {
    let sections = below("processes");
    assert!(!sections.is_empty());
    let wrong = check(&sections, dump_process);
    assert!(
        wrong.is_empty(),
        "the plans of these processes have changed: {wrong:#?}"
    );
}

/// A plan without its config is checked by nobody, and a config whose origin is not told is of no use.
#[test]
fn every_file_belongs_to_a_config_that_is_told_about() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs");
    let told = fs::read_to_string(directory.join("README.md")).unwrap();
    for config in configs().into_iter().chain(below("processes")) {
        let name = config.strip_prefix(&directory).unwrap().with_extension("");
        assert!(told.contains(&format!("| `{}` |", name.display())), "{name:?}");
    }
    for directory in [directory.clone(), directory.join("processes")] {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            let is_plan = entry.extension().is_some_and(|e| e == "plan");
            assert!(!is_plan || entry.with_extension("json").exists(), "{entry:?}");
        }
    }
}
