//! The programs that are measured side by side.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::bundles::USER;

/// Our own name; all ratios are ours to another's.
pub const OURS: &str = "nucleus";
/// The floor's name.
pub const FLOOR: &str = "floor";
/// The name of the static program without any container.
pub const PROGRAM: &str = "true";

/// What kind of program it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An OCI runtime.
    Runtime,
    /// The floor: takes a list of steps.
    Floor,
    /// The static program alone: tells how quiet the machine is.
    Program,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its name in tables and files.
    pub name: String,
    /// The binary.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Where its containers' state is.
    pub root: PathBuf,
    /// The same for a user without rights.
    pub user_root: PathBuf,
}

/// What the report says of one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// The first line of its `--version`; none for what is absent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// The binary's size in KiB, without the libraries it may need.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub size_kib: Option<u64>,
    /// Why it is not measured.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub absent: Option<String>,
}

impl Peer {
    /// With directories for its state below `work`.
    pub fn new(name: &str, path: &Path, kind: Kind, work: &Path) -> io::Result<Self> {
        let root = work.join("roots").join(name);
        let user_root = work.join("rootless").join(name);
        for directory in [&root, &user_root] {
            fs::create_dir_all(directory)?;
            fs::set_permissions(directory, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
        std::os::unix::fs::chown(&user_root, Some(USER), Some(USER))?;
        Ok(Self {
            name: name.to_owned(),
            path: path.to_owned(),
            kind,
            root,
            user_root,
        })
    }

    /// Asks a runtime for its version. A runtime that cannot even tell that is absent.
    pub fn describe(&self) -> Described {
        let size_kib = fs::metadata(&self.path).ok().map(|file| file.len().div_ceil(1024));
        let mut described = Described {
            name: self.name.clone(),
            version: None,
            size_kib,
            absent: None,
        };
        if self.kind != Kind::Runtime {
            return described;
        }
        match Command::new(&self.path).arg("--version").output() {
            Ok(output) if output.status.success() => {
                let text = String::from_utf8_lossy(&output.stdout);
                described.version = text.lines().next().map(str::to_owned);
            }
            Ok(output) => described.absent = Some(format!("`--version` fails: {}", output.status)),
            Err(error) => described.absent = Some(format!("cannot be executed: {error}")),
        }
        described
    }
}
