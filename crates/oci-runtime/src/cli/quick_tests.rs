//! The quick reading of a command line and clap's must be one: whatever the first one takes, the other takes as the same.

use std::fmt::Debug;

use clap::FromArgMatches;

use super::*;

/// The shapes of one flag, right and wrong; the first two are those that engines write.
fn shapes(arg: &clap::Arg) -> Vec<Vec<String>> {
    let long = format!("--{}", arg.get_long().expect("a flag"));
    let short = arg.get_short().map(|short| format!("-{short}"));
    let mut shapes = match arg.get_action() {
        clap::ArgAction::SetTrue => vec![vec![long.clone()], vec![long.clone()]],
        _ => vec![vec![long.clone(), "7".to_owned()], vec![format!("{long}=7")]],
    };
    for name in [Some(long), short].into_iter().flatten() {
        let dash = format!("-{}", name.trim_start_matches('-'));
        for word in [&name, &dash] {
            shapes.push(vec![word.clone()]);
            for value in [
                "8",
                "",
                "true",
                "false",
                "a=b",
                "-1",
                "+9",
                "0x1",
                "4294967296",
                "--",
                "--debug",
                "é",
            ] {
                shapes.push(vec![word.clone(), value.to_owned()]);
                shapes.push(vec![format!("{word}={value}")]);
            }
        }
    }
    shapes
}

/// Command lines with any two flags, in front of, after and around words such as an id.
fn lines(command: &Command) -> Vec<Vec<OsString>> {
    let one: Vec<_> = command
        .get_arguments()
        .filter(|arg| arg.get_long().is_some())
        .flat_map(shapes)
        .collect();
    let tails: [&[&str]; 12] = [
        &[],
        &["id"],
        &["id", "id2"],
        &["--", "id"],
        &["-", "id"],
        &[""],
        &["--nosuch", "id"],
        &["no/id"],
        &["-x"],
        &["id", ""],
        &["id", "9", "8"],
        &["id", "=", "--"],
    ];
    let mut lines = Vec::new();
    for tail in tails {
        let tail: Vec<String> = tail.iter().map(|word| (*word).to_owned()).collect();
        lines.push(tail.clone());
        for (i, flag) in one.iter().enumerate() {
            lines.push([&flag[..], &tail].concat());
            lines.push([&tail[..], flag].concat());
            let other = &one[(i * 31 + 17) % one.len()];
            lines.push([&flag[..], other, &tail].concat());
            lines.push([&flag[..], &tail, other].concat());
        }
    }
    let line = |line: Vec<String>| line.into_iter().map(OsString::from).collect();
    lines.into_iter().map(line).collect()
}

/// Compares the two on all lines.
fn judge<A: Debug, B: Debug>(
    command: &Command,
    quick: impl Fn(&[OsString]) -> Option<A>,
    clap: impl Fn(&[OsString]) -> Result<B, String>,
) {
    let mut taken = 0;
    for line in lines(command) {
        let Some(quick) = quick(&line) else { continue };
        let clap = clap(&line);
        assert_eq!(format!("{:?}", Ok::<_, String>(quick)), format!("{clap:?}"), "{line:?}");
        taken += 1;
    }
    assert!(taken >= command.get_arguments().count(), "only {taken} lines");
}

/// Each flag by itself, as engines write it, is read quickly.
fn all_known<A>(command: &Command, but: &[&str], end: &str, quick: impl Fn(&[OsString]) -> Option<A>) {
    for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
        let known = !but.contains(&arg.get_long().expect("a flag"));
        for mut line in shapes(arg).into_iter().take(2) {
            line.push(end.to_owned());
            let words: Vec<OsString> = line.iter().map(OsString::from).collect();
            assert_eq!(quick(&words).is_some(), known, "{line:?}");
        }
    }
}

/// What `run_verb` makes of the words by clap.
fn by_clap<A: FromArgMatches>(verb: &str, words: &[OsString]) -> Result<A, String> {
    let verb = Verb::find(verb).expect("a verb");
    let command = verb.command();
    let sorted = arguments::sort(&command, verb.flags, words.iter().cloned());
    match (&sorted.wrong, sorted.help) {
        (Some(wrong), _) => Err(wrong.clone()),
        (None, true) => Err("help".to_owned()),
        (None, false) => parse(command, sorted),
    }
}

#[test]
fn global_flags() {
    let command = GlobalFlags::augment_args(Command::new("nucleus"));
    let quick = |line: &[OsString]| {
        GlobalFlags::quick(line).map(|(flags, verb)| (flags, line[verb..].to_vec(), false, None::<String>))
    };
    let clap = |line: &[OsString]| {
        let line = CommandLine::sorted(line.to_vec())?;
        Ok((line.flags, line.words, line.help, line.wrong))
    };
    judge(&command, quick, clap);
    all_known(&command, &["criu", "version"], "verb", quick);
}

fn verb<A: Debug + FromArgMatches>(name: &str, but: &[&str], quick: impl Fn(&[OsString]) -> Option<A>) {
    let command = Verb::find(name).expect("a verb").command();
    judge(&command, &quick, |line| by_clap::<A>(name, line));
    all_known(&command, but, "id", quick);
}

#[test]
fn the_verbs_of_a_containers_life() {
    verb("create", &[], |words| create::Args::quick(words, |_| false));
    verb("delete", &[], delete::Args::quick);
    let rare = [
        "additional-gids",
        "cap",
        "no-new-privs",
        "apparmor",
        "process-label",
        "pidfd-socket",
        "ignore-paused",
        "exec-wait-fifo",
        "cgroup",
    ];
    verb("exec", &rare, exec::Args::quick);
    verb("kill", &[], kill::Args::quick);
    verb("run", &[], run::Args::quick);
    verb("start", &[], start::Args::quick);
    verb("state", &[], state::Args::quick);
}

#[test]
fn what_is_no_text_is_left_to_clap() {
    use std::os::unix::ffi::OsStringExt;
    let path = OsString::from_vec(b"/\xff".to_vec());
    for line in [
        vec!["--bundle".into(), path.clone(), "id".into()],
        vec!["id".into(), path.clone()],
        vec![path],
    ] {
        assert!(run::Args::quick(&line).is_none(), "{line:?}");
    }
}
