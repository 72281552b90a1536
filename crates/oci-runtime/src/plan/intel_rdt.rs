//! `linux.intelRdt`: which class of service, and the lines for its `schemata` file.
//!
//! Rules of config-linux.md: with both schemas, `MB:` lines of the cache schema give way to those of the bandwidth
//! schema; `schemata` comes last, so that it has the last word. What a line may say is the kernel's business.

use oci_spec::runtime::LinuxIntelRdt;

use super::{IntelRdt, PlanError};

/// Names that resctrl keeps for itself.
const RESERVED: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];

/// Compiles the section.
pub(crate) fn compile(rdt: &LinuxIntelRdt) -> Result<IntelRdt, PlanError> {
    let clos_id = rdt.clos_id().clone().filter(|id| !id.is_empty());
    if let Some(id) = &clos_id {
        check_class(id).map_err(|why| {
            PlanError::new(
                "linux.intelRdt.closID",
                format_args!("{id:?} is not a class of service: {why}"),
            )
        })?;
    }
    let text = |schema: &Option<String>| schema.clone().unwrap_or_default();
    let (cache, bandwidth) = (text(rdt.l3_cache_schema()), text(rdt.mem_bw_schema()));
    no_nul(&cache, "l3CacheSchema")?;
    no_nul(&bandwidth, "memBwSchema")?;
    if !bandwidth.is_empty() && (!bandwidth.starts_with("MB:") || bandwidth.contains('\n')) {
        return Err(PlanError::new(
            "linux.intelRdt.memBwSchema",
            format_args!("{bandwidth:?} must be one line that starts with \"MB:\""),
        ));
    }
    let kept = |line: &&str| !line.is_empty() && (bandwidth.is_empty() || !line.starts_with("MB:"));
    let mut schemas: Vec<String> = cache.lines().filter(kept).map(str::to_owned).collect();
    schemas.extend(Some(bandwidth.clone()).filter(|line| !line.is_empty()));
    let mut schemata = Vec::new();
    for (i, line) in rdt.schemata().iter().flatten().enumerate() {
        let field = format!("schemata[{i}]");
        no_nul(line, &field)?;
        if line.contains('\n') || line.is_empty() {
            return Err(PlanError::new(
                format_args!("linux.intelRdt.{field}"),
                format_args!("{line:?} must be one line"),
            ));
        }
        schemata.push(line.clone());
    }
    Ok(IntelRdt {
        clos_id,
        schemas,
        schemata,
        monitoring: rdt.enable_monitoring().unwrap_or(false),
    })
}

/// `/` is the class that everything belongs to unless told otherwise.
///
/// # Errors
/// Why a directory of resctrl cannot have this name.
pub(crate) fn check_class(id: &str) -> Result<(), &'static str> {
    if RESERVED.contains(&id) {
        return Err("the name is reserved");
    }
    if id != "/" && id.contains(['/', '\0', '\n']) {
        return Err("it must be the name of one directory");
    }
    Ok(())
}

fn no_nul(text: &str, field: &str) -> Result<(), PlanError> {
    match text.contains('\0') {
        true => Err(PlanError::new(
            format_args!("linux.intelRdt.{field}"),
            "must not contain a NUL byte",
        )),
        false => Ok(()),
    }
}
