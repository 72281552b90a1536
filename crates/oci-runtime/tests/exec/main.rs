//! `exec`: a further process in a container is as much inside as the first one, and no more.

#[path = "../common/mod.rs"]
mod common;

mod basics;
mod given_process;
mod hold;
mod place;
mod refusals;
mod rights;
mod terminal;

use common::{Cmd, Container, Out, Test};
use serde_json::{Value, json};

/// `exec FLAGS… ID COMMAND…`.
fn exec(c: &Container<'_>, flags: &[&str], command: &[&str]) -> Cmd {
    c.verb("exec", flags).args(command)
}

/// `exec FLAGS… ID sh -c SCRIPT`, to its end.
fn script(c: &Container<'_>, flags: &[&str], text: &str) -> Out {
    exec(c, flags, &["sh", "-c", text]).run()
}

/// A running container whose program sleeps, its config changed by `edit`.
fn running<'t>(test: &'t Test, edit: impl FnOnce(&mut Value)) -> Container<'t> {
    let c = test.container_with(&["sleep", "1000"], edit);
    c.run_detached().ok();
    c
}

/// A process section such as an engine gives, for a shell script.
fn section(text: &str) -> Value {
    json!({
        "user": { "uid": 0, "gid": 0 }, "args": ["sh", "-c", text], "cwd": "/",
        "env": ["PATH=/bin"],
    })
}

/// Writes a process section beside the bundle, and returns the path.
fn write_section(c: &Container<'_>, section: &Value) -> String {
    let path = c.bundle.join("process.json");
    std::fs::write(&path, section.to_string()).expect("process.json");
    path.to_str().expect("path").to_owned()
}
