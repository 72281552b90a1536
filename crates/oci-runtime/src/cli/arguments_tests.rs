use super::*;

fn command() -> Command {
    Command::new("verb")
        .arg(
            Arg::new("bundle")
                .long("bundle")
                .short('b')
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(Arg::new("env").long("env").short('e').action(ArgAction::Append))
        .arg(Arg::new("count").long("count").value_parser(clap::value_parser!(u32)))
        .arg(Arg::new("detach").long("detach").short('d').action(ArgAction::SetTrue))
        .arg(Arg::new("id"))
}

/// The flags and the rest, each in one line.
fn sorted(flags: Flags, line: &str) -> (String, String) {
    let words = line
        .split(' ')
        .map(|word| OsString::from(if word == "''" { "" } else { word }));
    let sorted = sort(&command(), flags, words);
    assert_eq!(sorted.wrong, None, "{line}");
    let join = |words: Vec<OsString>| words.join(OsStr::new(" ")).into_string().expect("text");
    (join(sorted.flags), join(sorted.rest))
}

#[test]
fn one_dash_is_as_good_as_two() {
    for line in [
        "--bundle x id",
        "-bundle x id",
        "-b x id",
        "--b x id",
        "-b=x id",
        "--bundle=x id",
    ] {
        assert_eq!(
            sorted(Flags::Anywhere, line),
            ("--bundle=x".into(), "id".into()),
            "{line}"
        );
    }
}

#[test]
fn a_switch_may_have_a_value() {
    for (line, flags) in [
        ("-d", "--detach"),
        ("--detach=true", "--detach"),
        ("-d=1 -detach=T", "--detach"),
        ("--detach=false", ""),
        ("--detach --detach=0", ""),
        ("--detach=false --detach", "--detach"),
    ] {
        assert_eq!(sorted(Flags::Anywhere, line).0, flags, "{line}");
    }
    // The next word is none.
    assert_eq!(sorted(Flags::Anywhere, "-d false"), ("--detach".into(), "false".into()));
}

#[test]
fn the_last_one_counts_unless_all_do() {
    assert_eq!(sorted(Flags::Anywhere, "-b x -b y").0, "--bundle=y");
    assert_eq!(
        sorted(Flags::Anywhere, "-e A=1 -e B=2 -e=").0,
        "--env=A=1 --env=B=2 --env="
    );
    // Empty is "not given", and takes an earlier one away.
    assert_eq!(sorted(Flags::Anywhere, "-b x --bundle=").0, "");
    assert_eq!(sorted(Flags::Anywhere, "--count=").0, "--count=");
}

#[test]
fn a_value_may_look_like_a_flag() {
    assert_eq!(
        sorted(Flags::Anywhere, "--count -1 id"),
        ("--count=-1".into(), "id".into())
    );
    assert_eq!(sorted(Flags::Anywhere, "--env -d"), ("--env=-d".into(), String::new()));
    assert_eq!(sorted(Flags::Anywhere, "--env --"), ("--env=--".into(), String::new()));
}

#[test]
fn where_flags_end() {
    let here = |line| sorted(Flags::First, line);
    assert_eq!(here("-d id -b x -- -d"), ("--detach".into(), "id -b x -- -d".into()));
    assert_eq!(here("-- id -- -d"), (String::new(), "id -- -d".into()));
    let anywhere = |line| sorted(Flags::Anywhere, line);
    assert_eq!(
        anywhere("id -d KILL -b x"),
        ("--detach --bundle=x".into(), "id KILL".into())
    );
    assert_eq!(anywhere("id -- -d"), (String::new(), "id -d".into()));
    assert_eq!(anywhere("- '' id"), (String::new(), "-  id".into()));
}

#[test]
fn what_is_wrong_is_said_in_runcs_words() {
    for (line, text) in [
        ("--nosuch", "flag provided but not defined: -nosuch"),
        ("-bx", "flag provided but not defined: -bx"),
        ("-id=5", "flag provided but not defined: -id"),
        ("--bundle", "flag needs an argument: -bundle"),
        (
            "--detach=maybe",
            "invalid boolean value \"maybe\" for -detach: parse error",
        ),
        ("---bundle x", "bad flag syntax: ---bundle"),
        ("-=x", "bad flag syntax: -=x"),
    ] {
        let sorted = sort(
            &command(),
            Flags::Anywhere,
            ["-e", "A=1"].into_iter().chain(line.split(' ')).map(Into::into),
        );
        assert_eq!(sorted.wrong.as_deref(), Some(text), "{line}");
        assert_eq!(sorted.flags, ["--env=A=1"], "{line}");
    }
}

#[test]
fn help_is_seen_among_the_flags_only() {
    let help = |flags, line: &str| sort(&command(), flags, line.split(' ').map(Into::into)).help;
    for line in ["--help", "-h", "-help", "-d -h", "-b x --help"] {
        assert!(help(Flags::Anywhere, line), "{line}");
    }
    assert!(!help(Flags::First, "id --help"));
    assert!(!help(Flags::Anywhere, "-b --help"));
    assert!(!help(Flags::Anywhere, "-- -h"));
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    let word = OsString::from_vec(b"--bundle=/\xff".to_vec());
    assert_eq!(sort(&command(), Flags::Anywhere, [word.clone()]).flags, [word]);
}
