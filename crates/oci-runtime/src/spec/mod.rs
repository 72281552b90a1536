//! Loading `config.json`: from the bundle into the types of oci-spec, in one read and one parse.
//!
//! Called by every verb that needs the config, before anything is made. The file is opened so that nothing which lies
//! there instead (a FIFO, a directory, a loop of links) can make the runtime hang. The slow ways (naming the path of an
//! error, dropping unknown capabilities) are taken only after the quick one has failed.

mod draft;
mod mounts_file;
mod profile;
mod tolerance;
mod version;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_path_to_error::Segment;
use sha2::{Digest, Sha256};

use crate::plan::Seccomp;
use crate::plan::annotations::FAIL_UNKNOWN_CALLS;
use crate::security::seccomp::cache::{self, Cache, hex};
pub(crate) use draft::CpuAffinity;
pub(crate) use mounts_file::load_mounts;
use profile::Profile;
pub(crate) use tolerance::resources_without_nulls;

/// More than any engine writes, and little enough to read without thought.
const LARGEST: u64 = 8 << 20;

/// A config that was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The config; three kilobytes, which are better not moved about.
    pub spec: Box<Spec>,
    /// `linux.seccomp` compiled, when its program was kept: then it is not in `spec`.
    pub seccomp: Option<Seccomp>,
    /// What the program of `linux.seccomp` may be kept under, once it is compiled.
    pub keep_seccomp: Option<String>,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// `process.cpuAffinity`, which is not in `spec`.
    pub cpu_affinity: Option<CpuAffinity>,
    /// Things that are not errors but that a person should know.
    pub warnings: Vec<String>,
}

/// A `process` section that was read.
#[derive(Debug)]
pub(crate) struct LoadedProcess {
    /// The section.
    pub process: Process,
    /// Its `cpuAffinity`.
    pub cpu_affinity: Option<CpuAffinity>,
    /// Things that are not errors but that a person should know.
    pub warnings: Vec<String>,
}

/// Why `config.json` was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// There is no such file.
    #[error("JSON specification file {path:?} not found: no such file or directory")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Something else lies there.
    #[error("{path:?} must be a regular file, but is a {kind}")]
    NotAFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The file is larger than any config.
    #[error("{path:?} is larger than {LARGEST} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be opened or read.
    #[error("can't read {path:?}: {}", lower(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not JSON, or a field is not what the specification says.
    #[error("{field}: {message}")]
    Invalid {
        /// JSON path; `config.json` for the whole.
        field: String,
        /// What is wrong with it.
        message: String,
    },
}

/// Reads `config.json` of a bundle; `profiles` has compiled seccomp profiles.
///
/// # Errors
/// As [`LoadError`] lists them; an error in a field names it.
pub(crate) fn load(bundle: &Path, profiles: Option<&dyn Cache>) -> Result<Loaded, LoadError> {
    parse_with(&read(bundle.join("config.json"))?, profiles)
}

/// [`parse`], but for a profile whose program is kept.
///
/// # Errors
/// [`LoadError::Invalid`].
pub(crate) fn parse_with(text: &[u8], profiles: Option<&dyn Cache>) -> Result<Loaded, LoadError> {
    let sha256 = hex(&Sha256::digest(text));
    let profile = profiles.and_then(|_| Profile::find(text));
    let kept = profile.as_ref().zip(profiles).and_then(|(profile, profiles)| {
        let seccomp = cache::get(profiles, &profile.name)?;
        let rest = profile.cut_out();
        let spec = profile.remove_from(quick(&rest)?)?;
        check(&spec, rest.as_bytes()).ok()?;
        // Then each name in the profile must be looked at.
        let annotations = spec.annotations().as_ref();
        if annotations.is_some_and(|map| map.contains_key(FAIL_UNKNOWN_CALLS)) {
            return None;
        }
        let cpu_affinity = cpu_affinity(rest.as_bytes()).ok()?;
        Some((spec, seccomp, cpu_affinity))
    });
    if let Some((spec, seccomp, cpu_affinity)) = kept {
        return Ok(Loaded {
            spec,
            seccomp: Some(seccomp),
            keep_seccomp: None,
            sha256,
            cpu_affinity,
            warnings: Vec::new(),
        });
    }
    let (spec, warnings) = parse(text)?;
    let compiled = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let profile = profile.filter(|profile| profile.is(compiled));
    Ok(Loaded {
        seccomp: None,
        keep_seccomp: profile.map(|profile| profile.name),
        spec,
        sha256,
        cpu_affinity: cpu_affinity(text)?,
        warnings,
    })
}

fn cpu_affinity(text: &[u8]) -> Result<Option<CpuAffinity>, LoadError> {
    draft::cpu_affinity(text).map_err(|message| LoadError::Invalid {
        field: "process.cpuAffinity".to_owned(),
        message,
    })
}

/// Reads the `process` section that `exec` is given: any file, a pipe for one; `-` is standard input.
///
/// # Errors
/// As [`load`].
pub(crate) fn load_process(path: &Path) -> Result<LoadedProcess, LoadError> {
    parse_process(&read_any(path)?)
}

/// Reads a file whatever it is, a pipe for one; `-` is standard input.
fn read_any(path: &Path) -> Result<Vec<u8>, LoadError> {
    let failed = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => io::stdin().lock().take(LARGEST + 1).read_to_end(&mut text),
        false => File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text)),
    };
    if read.map_err(failed)? as u64 > LARGEST {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    Ok(text)
}

/// Parses a `process` section by itself.
///
/// # Errors
/// [`LoadError::Invalid`].
pub(crate) fn parse_process(text: &[u8]) -> Result<LoadedProcess, LoadError> {
    // As part of a config every error gets the path that it has there. The section is checked to be one document of
    // its own before it is put between the braces.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(text) {
        return Err(LoadError::Invalid {
            field: "process".to_owned(),
            message: error.to_string(),
        });
    }
    let config = [br#"{"ociVersion":"1.0.0","process":"#, text, b"}"].concat();
    let (spec, warnings) = parse(&config)?;
    match spec.process() {
        Some(process) => Ok(LoadedProcess {
            process: process.clone(),
            cpu_affinity: cpu_affinity(&config)?,
            warnings,
        }),
        None => Err(LoadError::Invalid {
            field: "process".to_owned(),
            message: "must be a JSON object".to_owned(),
        }),
    }
}

fn read(path: PathBuf) -> Result<Vec<u8>, LoadError> {
    let failed = |source: io::Error| LoadError::Read {
        path: path.clone(),
        source,
    };
    // NONBLOCK: a FIFO opens at once, and is then seen for what it is.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open(&path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Err(LoadError::Missing { path }),
        result => result.map_err(|e| failed(e.into()))?,
    };
    let stat = fstat(&fd).map_err(|e| failed(e.into()))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("directory"),
        FileType::Fifo => Some("FIFO"),
        FileType::Socket => Some("socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("device"),
        _ => Some("special file"),
    };
    if let Some(kind) = kind {
        return Err(LoadError::NotAFile { path, kind });
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let mut text = Vec::with_capacity(size.min(LARGEST) as usize + 1);
    File::from(fd)
        .take(LARGEST + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > LARGEST {
        return Err(LoadError::TooLarge { path });
    }
    Ok(text)
}

/// Parses the text of a config, and checks it.
///
/// # Errors
/// [`LoadError::Invalid`].
pub(crate) fn parse(text: &[u8]) -> Result<(Box<Spec>, Vec<String>), LoadError> {
    let mut warnings = Vec::new();
    let spec = match std::str::from_utf8(text).ok().and_then(quick) {
        Some(spec) => spec,
        None => {
            let tolerant = tolerance::adapt(text, &mut warnings);
            from_text(tolerant.as_deref().unwrap_or(text))?
        }
    };
    check(&spec, text)?;
    Ok((spec, warnings))
}

/// Parses what needs neither tolerance nor an error. From a `str`: its strings need not be checked one by one.
fn quick(text: &str) -> Option<Box<Spec>> {
    match is_array(text.as_bytes()) {
        true => None,
        false => serde_json::from_str(text).ok(),
    }
}

/// An array, whose elements serde would take for the fields in their order.
fn is_array(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"[")
}

/// Checks what must be known before anything else is read out of a config.
fn check(spec: &Spec, text: &[u8]) -> Result<(), LoadError> {
    version::check(spec.version()).map_err(|message| LoadError::Invalid {
        field: "ociVersion".to_owned(),
        message,
    })?;
    let has_rdt = spec.linux().as_ref().is_some_and(|linux| linux.intel_rdt().is_some());
    if let Some((field, message)) = refused(text, has_rdt) {
        return Err(LoadError::Invalid {
            field: field.to_owned(),
            message: message.to_owned(),
        });
    }
    let limits = spec.process().as_ref().and_then(|process| process.rlimits().as_deref());
    if limits.is_some_and(|limits| limits.iter().any(|limit| limit.soft() == 0 || limit.hard() == 0)) {
        check_rlimits(text)?;
    }
    Ok(())
}

/// A limit of 0 that is not in the text: oci-spec takes an absent one for 0, the specification requires both.
fn check_rlimits(text: &[u8]) -> Result<(), LoadError> {
    #[derive(Deserialize)]
    struct Config {
        process: Option<Process>,
    }
    #[derive(Deserialize)]
    struct Process {
        rlimits: Option<Vec<Limit>>,
    }
    #[derive(Deserialize)]
    struct Limit {
        soft: Option<IgnoredAny>,
        hard: Option<IgnoredAny>,
    }
    let config: Option<Config> = serde_json::from_slice(text).ok();
    let limits = config.and_then(|config| config.process?.rlimits).unwrap_or_default();
    for (i, limit) in limits.iter().enumerate() {
        for (name, value) in [("soft", &limit.soft), ("hard", &limit.hard)] {
            if value.is_none() {
                return Err(LoadError::Invalid {
                    field: format!("process.rlimits[{i}].{name}"),
                    message: "must be set".to_owned(),
                });
            }
        }
    }
    Ok(())
}

/// Parses again, slowly, to name the field.
fn from_text(text: &[u8]) -> Result<Box<Spec>, LoadError> {
    if is_array(text) {
        return Err(LoadError::Invalid {
            field: "config.json".to_owned(),
            message: "must be a JSON object".to_owned(),
        });
    }
    let mut json = serde_json::Deserializer::from_slice(text);
    let spec = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let field = field(e.path());
        LoadError::Invalid {
            field,
            message: e.inner().to_string(),
        }
    })?;
    json.end().map_err(|e| LoadError::Invalid {
        field: "config.json".to_owned(),
        message: e.to_string(),
    })?;
    Ok(spec)
}

/// A JSON path as all our errors write it, as far as the keys could be read.
fn field(path: &serde_path_to_error::Path) -> String {
    let mut field = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => field.push_str(&format!("[{index}]")),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                if !field.is_empty() {
                    field.push('.');
                }
                field.push_str(name);
            }
            Segment::Unknown => break,
        }
    }
    match field.is_empty() {
        true => "config.json".to_owned(),
        false => field,
    }
}

/// Asked for, known to no type of oci-spec, and more than an unknown field: nobody shall believe to be bounded or watched
/// who is not. `enableCMT` and `enableMBM` are of runtime-spec 1.1 to 1.2, and in `linux.intelRdt` only.
fn refused(text: &[u8], has_rdt: bool) -> Option<(&'static str, &'static str)> {
    /// The parts of the config that oci-spec passes over.
    #[derive(Deserialize)]
    struct Extra {
        process: Option<Process>,
        linux: Option<Linux>,
    }
    #[derive(Deserialize)]
    struct Process {
        landlock: Option<IgnoredAny>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Linux {
        intel_rdt: Option<IntelRdt>,
    }
    #[derive(Deserialize)]
    struct IntelRdt {
        #[serde(default, rename = "enableCMT")]
        cmt: Option<bool>,
        #[serde(default, rename = "enableMBM")]
        mbm: Option<bool>,
    }
    // Hardly any config has one of the words at all, and searching is a hundred times quicker than parsing. An escape
    // could spell them in another way.
    const SIGNS: [&str; 2] = ["\"landlock\"", "\\u"];
    const SIGNS_OF_RDT: [&str; 2] = ["\"enableCMT\"", "\"enableMBM\""];
    let has_a_sign = |text: &str| {
        let has = |signs: &[&str]| signs.iter().any(|sign| text.contains(sign));
        has(&SIGNS) || has_rdt && has(&SIGNS_OF_RDT)
    };
    if std::str::from_utf8(text).is_ok_and(|text| !has_a_sign(text)) {
        return None;
    }
    let extra: Extra = serde_json::from_slice(text).ok()?;
    let rdt = extra.linux.and_then(|linux| linux.intel_rdt);
    let asks = |wanted: fn(&IntelRdt) -> Option<bool>| rdt.as_ref().and_then(wanted).unwrap_or(false);
    let former = "is not supported: runtime-spec 1.3 has enableMonitoring in its place";
    [
        (
            extra.process.is_some_and(|process| process.landlock.is_some()),
            ("process.landlock", "is not supported"),
        ),
        (asks(|rdt| rdt.cmt), ("linux.intelRdt.enableCMT", former)),
        (asks(|rdt| rdt.mbm), ("linux.intelRdt.enableMBM", former)),
    ]
    .into_iter()
    .find_map(|(asked, error)| asked.then_some(error))
}

/// The text of an error as C programs print it: lower case, without the number.
fn lower(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

#[cfg(test)]
mod tests;
