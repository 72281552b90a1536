//! `hooks`: six lists of programs that run with the rights of the runtime.
//!
//! Only absolute paths, the arguments and the environment exactly as config.json gives them, and a time limit that
//! means something.

use oci_spec::runtime as oci;

use super::{Hook, Hooks, PlanError, paths};

/// Compiles all six lists.
pub(crate) fn compile(hooks: Option<&oci::Hooks>) -> Result<Hooks, PlanError> {
    let Some(hooks) = hooks else {
        return Ok(Hooks::default());
    };
    // Deprecated by the spec, and the only kind that Docker uses.
    #[allow(deprecated)]
    let prestart = hooks.prestart();
    Ok(Hooks {
        prestart: list(prestart, "prestart")?,
        create_runtime: list(hooks.create_runtime(), "createRuntime")?,
        create_container: list(hooks.create_container(), "createContainer")?,
        start_container: list(hooks.start_container(), "startContainer")?,
        poststart: list(hooks.poststart(), "poststart")?,
        poststop: list(hooks.poststop(), "poststop")?,
    })
}

fn list(hooks: &Option<Vec<oci::Hook>>, kind: &str) -> Result<Vec<Hook>, PlanError> {
    let hooks = hooks.as_deref().unwrap_or_default();
    hooks.iter().enumerate().map(|(i, hook)| one(hook, kind, i)).collect()
}

fn one(hook: &oci::Hook, kind: &str, i: usize) -> Result<Hook, PlanError> {
    paths::absolute(hook.path(), format_args!("hooks.{kind}[{i}].path"))?;
    let args = match hook.args().as_deref().unwrap_or_default() {
        [] => vec![hook.path().to_string_lossy().into_owned()],
        args => strings(args, kind, i, "args")?,
    };
    let timeout = match hook.timeout() {
        None => None,
        Some(seconds) => match u32::try_from(seconds) {
            Ok(seconds @ 1..) => Some(seconds),
            _ => {
                return Err(PlanError::new(
                    format_args!("hooks.{kind}[{i}].timeout"),
                    format_args!("{seconds} must be greater than zero and fit in 32 bits"),
                ));
            }
        },
    };
    Ok(Hook {
        path: hook.path().clone(),
        args,
        env: strings(hook.env().as_deref().unwrap_or_default(), kind, i, "env")?,
        timeout,
    })
}

fn strings(list: &[String], kind: &str, i: usize, name: &str) -> Result<Vec<String>, PlanError> {
    match list.iter().position(|s| s.contains('\0')) {
        Some(at) => Err(PlanError::new(
            format_args!("hooks.{kind}[{i}].{name}[{at}]"),
            "must not contain a NUL byte",
        )),
        None => Ok(list.to_vec()),
    }
}
