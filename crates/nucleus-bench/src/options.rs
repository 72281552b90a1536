//! The command line, which is for bench.sh.

use std::path::PathBuf;

use crate::cases::CASES;
use crate::layout::Layout;

/// How it is called.
pub const USAGE: &str = "usage: nucleus-bench run [--rounds N] [--containers N] [--limit SECONDS] [--cases a,b] [--layouts v1,v2] --configs DIR \
    [--out DIR] [--page FILE] [--floor PATH] --peer NAME=PATH... [--absent NAME=REASON...]\n       \
    nucleus-bench render RESULT.json PLOT.svg PAGE.md";

/// What is asked for.
#[derive(Debug)]
pub struct Options {
    /// How often each command is measured.
    pub rounds: usize,
    /// How many containers there are where there are many.
    pub containers: usize,
    /// A command that takes longer hangs, seconds.
    pub limit: u64,
    /// Letters of cases.
    pub cases: Vec<char>,
    /// Which cgroups.
    pub layouts: Vec<Layout>,
    /// Where the captured configs are.
    pub configs: PathBuf,
    /// Where JSON and plot go; without it, only the table is printed.
    pub out: Option<PathBuf>,
    /// The page whose table is replaced.
    pub page: Option<PathBuf>,
    /// The floor's binary.
    pub floor: Option<PathBuf>,
    /// Runtimes: name and path.
    pub peers: Vec<(String, PathBuf)>,
    /// What could not be had: name and reason.
    pub absent: Vec<(String, String)>,
}

/// Reads the words after `run`.
///
/// # Errors
/// A text that names the word.
pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        rounds: 20,
        containers: 1000,
        limit: 20,
        cases: CASES.iter().map(|case| case.letter).collect(),
        layouts: vec![Layout::V1, Layout::V2],
        configs: PathBuf::new(),
        out: None,
        page: None,
        floor: None,
        peers: Vec::new(),
        absent: Vec::new(),
    };
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| format!("{flag} needs a value\n{USAGE}"))?;
        let wrong = || format!("{flag}: {value:?} is not understood\n{USAGE}");
        match flag.as_str() {
            "--rounds" => options.rounds = value.parse().ok().filter(|rounds| *rounds > 0).ok_or_else(wrong)?,
            "--containers" => options.containers = value.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?,
            "--limit" => options.limit = value.parse().ok().filter(|limit| *limit > 0).ok_or_else(wrong)?,
            "--cases" => options.cases = value.split(',').map(letter).collect::<Option<_>>().ok_or_else(wrong)?,
            "--layouts" => options.layouts = value.split(',').map(layout).collect::<Option<_>>().ok_or_else(wrong)?,
            "--configs" => options.configs = value.into(),
            "--out" => options.out = Some(value.into()),
            "--page" => options.page = Some(value.into()),
            "--floor" => options.floor = Some(value.into()),
            "--peer" => {
                let (name, path) = value.split_once('=').ok_or_else(wrong)?;
                // Names are words in tables, directories and container ids.
                let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
                if name.is_empty() || !name.chars().all(plain) || options.peers.iter().any(|(known, _)| known == name) {
                    return Err(wrong());
                }
                options.peers.push((name.to_owned(), path.into()));
            }
            "--absent" => {
                let (name, reason) = value.split_once('=').ok_or_else(wrong)?;
                options.absent.push((name.to_owned(), reason.to_owned()));
            }
            _ => return Err(format!("{flag} is not known\n{USAGE}")),
        }
    }
    Ok(options)
}

fn letter(word: &str) -> Option<char> {
    CASES
        .iter()
        .map(|case| case.letter)
        .find(|letter| word == letter.to_string())
}

fn layout(word: &str) -> Option<Layout> {
    match word {
        "v1" => Some(Layout::V1),
        "v2" => Some(Layout::V2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Options, String> {
        parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn all_is_understood() {
        let line =
            "--rounds 5 --cases a,h --layouts v2 --configs c --peer nucleus=/n --peer crun-1.29=/c --absent youki=none";
        let options = words(line).unwrap();
        assert_eq!((options.rounds, options.cases), (5, vec!['a', 'h']));
        assert_eq!(options.layouts, [Layout::V2]);
        assert_eq!(options.peers[1], ("crun-1.29".to_owned(), PathBuf::from("/c")));
        assert_eq!(options.absent, [("youki".to_owned(), "none".to_owned())]);
    }

    #[test]
    fn nothing_is_guessed() {
        for line in [
            "--rounds 0",
            "--limit x",
            "--cases z",
            "--layouts v3",
            "--peer x",
            "--peer a/b=/c",
            "--peer a=/b --peer a=/c",
            "--what 1",
        ] {
            let flag = line.split(' ').next().unwrap();
            assert!(words(line).unwrap_err().starts_with(flag), "{line}");
        }
        assert!(words("--rounds").unwrap_err().contains("needs a value"));
    }
}
