//! Writes the manual pages and the shell completions of `nucleus`, out of the definitions that the binary parses with.
//!
//! `nucleus-manual DIR` fills DIR as a PREFIX/share: `make install` copies it. A program of its own, so that nothing of
//! this is in the runtime.
#![forbid(unsafe_code)]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap_complete::{Shell, generate_to};

/// Where each shell looks below PREFIX/share, and the name of the file there.
const COMPLETIONS: [(Shell, &str, &str); 3] = [
    (Shell::Bash, "bash-completion/completions", "nucleus"),
    (Shell::Zsh, "zsh/site-functions", "_nucleus"),
    (Shell::Fish, "fish/vendor_completions.d", "nucleus.fish"),
];

fn main() -> io::Result<()> {
    let share = std::env::args_os().nth(1).map(PathBuf::from);
    let share = share.ok_or_else(|| io::Error::other("usage: nucleus-manual DIR"))?;
    completions(&share)?;
    manual(&share.join("man/man8"))
}

fn completions(share: &Path) -> io::Result<()> {
    for (shell, dir, name) in COMPLETIONS {
        let dir = share.join(dir);
        fs::create_dir_all(&dir)?;
        let written = generate_to(shell, &mut oci_runtime::command_line(), "nucleus", &dir)?;
        fs::rename(written, dir.join(name))?;
    }
    Ok(())
}

/// `nucleus.8`, and `nucleus-VERB.8` for each verb.
fn manual(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let whole = oci_runtime::command_line().disable_help_subcommand(true);
    let verbs: Vec<_> = whole.get_subcommands().cloned().collect();
    page(dir, "nucleus".to_owned(), whole)?;
    for verb in verbs {
        page(dir, format!("nucleus-{}", verb.get_name()), verb)?;
    }
    Ok(())
}

fn page(dir: &Path, name: String, command: clap::Command) -> io::Result<()> {
    // The name in the page's head; how it is called is in its usage line. Without clap's feature for it, which the
    // runtime does not need, a name must live for ever.
    let command = command.name(&*name.clone().leak());
    let page = clap_mangen::Man::new(command).section("8").manual("Nucleus");
    let mut text = Vec::new();
    page.render(&mut text)?;
    fs::write(dir.join(format!("{name}.8")), text)
}
