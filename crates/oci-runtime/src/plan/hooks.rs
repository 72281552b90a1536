//! `hooks`: six lists of programs that run with the rights of the runtime.
//!
//! Only absolute paths, the arguments and the environment exactly as config.json gives them, and a time limit that
//! means something.

use oci_spec::runtime as oci;

use super::{Hook, HookOutput, Hooks, PlanError, paths};

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

/// Says where the output of the hooks goes. startContainer hooks run in the container's root, where nothing of the host is
/// open, so that theirs stays as it is.
pub(crate) fn redirect(hooks: &mut Hooks, output: &HookOutput, warnings: &mut Vec<String>) {
    if *output == HookOutput::default() {
        return;
    }
    if !hooks.start_container.is_empty() {
        warnings.push(
            "annotations.run.oci.hooks.stdout, run.oci.hooks.stderr: ignored for hooks.startContainer, which run in the \
             container's root"
                .to_owned(),
        );
    }
    let redirected = [
        &mut hooks.prestart,
        &mut hooks.create_runtime,
        &mut hooks.create_container,
        &mut hooks.poststart,
        &mut hooks.poststop,
    ];
    for hook in redirected.into_iter().flatten() {
        hook.output.clone_from(output);
    }
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
        inherits_env: hook.env().is_none(),
        timeout,
        output: HookOutput::default(),
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
