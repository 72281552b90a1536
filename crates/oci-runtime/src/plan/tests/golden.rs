//! Whole configs as engines write them, and the plans they lead to.
//!
//! `tests/configs/NAME.json` compiles to `tests/configs/NAME.plan`. After a change that is meant, write the plans anew
//! with `NUCLEUS_BLESS=1 cargo test -p oci-runtime golden` and read the difference.

use std::fs;
use std::path::{Path, PathBuf};

use super::{HOST, options};
use crate::plan::{Options, Plan};

/// All configs of the directory, sorted.
pub(super) fn configs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs");
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut configs: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    configs.sort();
    configs
}

fn dump(config: &Path) -> String {
    let (spec, warnings) = crate::spec::parse(&fs::read(config).unwrap()).unwrap();
    let terminal = spec
        .process()
        .as_ref()
        .and_then(|process| process.terminal())
        .unwrap_or(false);
    let options = Options {
        console_socket: terminal,
        ..options()
    };
    let mut plan = Plan::compile(&spec, &options, &HOST, &crate::security::seccomp::NoCache)
        .unwrap_or_else(|e| panic!("{config:?}: {e}"));
    plan.warnings.splice(0..0, warnings);
    if let Some(seccomp) = &mut plan.seccomp {
        // Bulky, and different from one libseccomp to the next.
        assert!(!seccomp.program.is_empty());
        seccomp.program.clear();
    }
    format!("{plan:#x?}\n")
}

#[test]
fn golden_plans() {
    let bless = std::env::var_os("NUCLEUS_BLESS").is_some();
    let mut wrong = Vec::new();
    let configs = configs();
    assert!(configs.len() >= 12);
    for config in configs {
        let plan = dump(&config);
        let golden = config.with_extension("plan");
        if bless {
            fs::write(&golden, plan).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != plan {
            wrong.push(config);
        }
    }
    assert!(wrong.is_empty(), "the plans of these configs have changed: {wrong:#?}");
}
