//! The shapes that runc takes its flags in, as clap wants them.
//!
//! runc parses as Go's flag package does: one dash is as good as two (`-bundle x`, `--b=x`), a switch may have a value
//! (`--detach=false`), a flag may be repeated and the last one counts, the word after a flag is its value whatever it
//! looks like. clap does none of that; but it knows the flags. So this pass sorts the words by clap's own definitions,
//! and hands `--flag=value …, --, positionals …` to it: one reading for everybody.
//!
//! Building the definitions and parsing by them would be an eighth of the instructions that `run` executes in user space,
//! and a fifth of the code that it touches. So the global flags and the verbs of a container's life are first read by
//! [`Quick`], which knows the shapes that engines write and leaves everything else, above all what is wrong, to clap.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

/// Which words are flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flags {
    /// Those before the first word that is none; what follows is somebody else's.
    First,
    /// All up to a `--`.
    Anywhere,
}

/// A command line that was sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sorted {
    /// The flags: `--name` or `--name=value`.
    pub flags: Vec<OsString>,
    /// Everything else, in its order.
    pub rest: Vec<OsString>,
    /// `--help` is among the flags.
    pub help: bool,
    /// What is wrong, in runc's words. `flags` has those before it.
    pub wrong: Option<String>,
}

impl Sorted {
    /// As clap reads it.
    pub fn for_clap(self) -> impl Iterator<Item = OsString> {
        let dashes = std::iter::once(OsString::from("--"));
        self.flags.into_iter().chain(dashes).chain(self.rest)
    }
}

/// Sorts `words` by the flags of `command`.
pub fn sort(command: &Command, flags: Flags, words: impl IntoIterator<Item = OsString>) -> Sorted {
    let mut words = words.into_iter();
    let mut sorted = Sorted::default();
    let mut found: Vec<(&Arg, Option<OsString>)> = Vec::new();
    while let Some(word) = words.next() {
        let Some((name, value)) = flag(&word) else {
            // Two dashes end the flags, and go away.
            let end = word == "--";
            if !end {
                sorted.rest.push(word);
            }
            if end || flags == Flags::First {
                sorted.rest.extend(words);
                break;
            }
            continue;
        };
        if name == "help" || name == "h" {
            sorted.help = true;
            continue;
        }
        let taken = match name.is_empty() || name.starts_with('-') {
            true => Err(format!("bad flag syntax: {}", word.to_string_lossy())),
            false => take(command, &mut found, &name, value, &mut words),
        };
        if let Err(wrong) = taken {
            sorted.wrong = Some(wrong);
            break;
        }
    }
    let spell = |(arg, value): (&Arg, Option<OsString>)| {
        let mut word = OsString::from("--");
        word.push(arg.get_long().unwrap_or_default());
        if let Some(value) = value {
            word.push("=");
            word.push(value);
        }
        word
    };
    sorted.flags = found.into_iter().map(spell).collect();
    sorted
}

/// Words in the shapes `--name value`, `--name=value` and `--switch`. For a reader that gives up at all that it does not
/// understand, and leaves it to [`sort`] and clap.
#[derive(Debug, Clone)]
pub struct Quick<'a>(std::slice::Iter<'a, OsString>);

impl<'a> Quick<'a> {
    /// Reads `words`.
    pub fn new(words: &'a [OsString]) -> Self {
        Self(words.iter())
    }

    /// How many words are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// The next word; a flag without what follows its `=`, and that. One that is not UTF-8 is `-`, a flag that nobody knows.
    pub fn next(&mut self) -> Option<(&'a str, Option<&'a str>)> {
        let word = self.0.next()?.to_str().unwrap_or("-");
        match word.split_once('=').filter(|_| word.starts_with('-')) {
            Some((name, value)) => Some((name, Some(value))),
            None => Some((word, None)),
        }
    }

    /// The only word, which is no flag.
    pub fn only(mut self) -> Option<&'a str> {
        match (self.next()?, self.next()) {
            ((word, None), None) if !word.starts_with('-') => Some(word),
            _ => None,
        }
    }

    /// The value of a flag, after its `=` or in the next word. What an empty one means depends on the flag: none.
    pub fn value(&mut self, inline: Option<&'a str>) -> Option<&'a str> {
        let value = inline.or_else(|| self.0.next()?.to_str());
        value.filter(|value| !value.is_empty())
    }
}

/// Name and value of a flag; none for a word that is no flag.
fn flag(word: &OsStr) -> Option<(String, Option<OsString>)> {
    let bytes = word.as_bytes();
    let bytes = match bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))? {
        [] => return None,
        bytes => bytes,
    };
    let mut parts = bytes.splitn(2, |byte| *byte == b'=');
    let name = String::from_utf8_lossy(parts.next()?).into_owned();
    Some((name, parts.next().map(|value| OsString::from_vec(value.to_vec()))))
}

/// Adds one flag to those found.
fn take<'c>(
    command: &'c Command,
    found: &mut Vec<(&'c Arg, Option<OsString>)>,
    name: &str,
    value: Option<OsString>,
    words: &mut impl Iterator<Item = OsString>,
) -> Result<(), String> {
    let is = |arg: &&Arg| arg.get_long() == Some(name) || arg.get_short().is_some_and(|short| name.chars().eq([short]));
    let arg = command.get_arguments().find(is);
    let arg = arg.ok_or_else(|| format!("flag provided but not defined: -{name}"))?;
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        let on = match &value {
            None => true,
            Some(value) => parse_bool(&value.to_string_lossy())
                .ok_or_else(|| format!("invalid boolean value {value:?} for -{name}: parse error"))?,
        };
        found.retain(|(other, _)| other.get_id() != arg.get_id());
        if on {
            found.push((arg, None));
        }
        return Ok(());
    }
    let value = value.or_else(|| words.next());
    let value = value.ok_or_else(|| format!("flag needs an argument: -{name}"))?;
    let repeatable = matches!(arg.get_action(), ArgAction::Append);
    if !repeatable {
        found.retain(|(other, _)| other.get_id() != arg.get_id());
    }
    // An empty path is none, as with runc; clap would refuse it.
    if repeatable || !value.is_empty() || !is_path(arg.get_value_parser()) {
        found.push((arg, Some(value)));
    }
    Ok(())
}

fn is_path(parser: &ValueParser) -> bool {
    parser.type_id() == TypeId::of::<PathBuf>()
}

/// A switch's value, as Go's strconv.ParseBool takes it.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
