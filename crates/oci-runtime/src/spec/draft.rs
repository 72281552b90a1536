//! `process.cpuAffinity`, a draft of the specification (runtime-spec pull request 1296) that oci-spec does not know.
//!
//! Called after a config or a process section was parsed. Hardly any text has the word, and searching for it is a hundred
//! times quicker than parsing; so only a text that has it is parsed once more.

use serde::Deserialize;

/// The CPUs of each stage: a list such as `0-3,7`, or `all`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CpuAffinity {
    /// The runtime while it makes a container, and its hooks.
    pub create_runtime: Option<String>,
    /// The container's first process before it is started.
    pub create_container: Option<String>,
    /// That process from then on.
    pub start_container: Option<String>,
    /// A further process before it is in the container's control groups.
    pub exec_runtime: Option<String>,
    /// That process from then on.
    pub exec_container: Option<String>,
}

/// Reads the field from the text of a config.
///
/// # Errors
/// A message for the field.
pub(super) fn cpu_affinity(text: &[u8]) -> Result<Option<CpuAffinity>, String> {
    #[derive(Deserialize)]
    struct Config {
        process: Option<Process>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Process {
        cpu_affinity: Option<CpuAffinity>,
    }
    let has_a_sign = |text: &str| text.contains("\"cpuAffinity\"") || text.contains("\\u");
    if std::str::from_utf8(text).is_ok_and(|text| !has_a_sign(text)) {
        return Ok(None);
    }
    let config: Config = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    Ok(config.process.and_then(|process| process.cpu_affinity))
}
