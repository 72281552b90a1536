//! The cases: what is measured, under which letter and name.

/// How a case is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `run` of a bundle with this config.
    Run(&'static str),
    /// `create`, `start`, wait for the program, `delete`.
    Lifecycle,
    /// `exec` into a running container.
    Exec,
    /// `state` and `kill 0` of one container among others.
    Among,
    /// Many `run`s, some at a time.
    Parallel,
    /// The memory of a created container's init.
    Memory,
}

/// One case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The letter by which it is chosen.
    pub letter: char,
    /// Its name in tables and files.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// How.
    pub kind: Kind,
}

/// How many containers [`Kind::Parallel`] runs, and how many at a time.
pub const PARALLEL: (usize, usize) = (64, 8);

/// All cases, in the order in which they are measured: what leaves work for the kernel behind comes last.
pub const CASES: [Case; 10] = [
    case('a', "run", "`run` with the config of `runc spec`", Kind::Run("spec")),
    case('b', "run-docker", "`run` with Docker's config", Kind::Run("docker")),
    case('b', "run-podman", "`run` with podman's config", Kind::Run("podman")),
    case('c', "lifecycle", "`create`, `start`, `delete`", Kind::Lifecycle),
    case('d', "exec", "`exec` into a running container", Kind::Exec),
    case('g', "run-userns", "`run` in a user namespace", Kind::Run("userns")),
    case(
        'g',
        "run-rootless",
        "`run` as a user without rights",
        Kind::Run("rootless"),
    ),
    case('h', "init", "memory of a created container's init", Kind::Memory),
    case('f', "parallel", "64 `run`s, 8 at a time", Kind::Parallel),
    case('e', "among", "`state` and `kill 0` among many containers", Kind::Among),
];

const fn case(letter: char, name: &'static str, title: &'static str, kind: Kind) -> Case {
    Case {
        letter,
        name,
        title,
        kind,
    }
}
