//! How many system calls each verb makes, whole tree, against the table that is committed (calls.txt).
//!
//! The program in the container does not count. Nor do: reads of files whose length is the machine's (the mount table, the
//! process's maps), `madvise`, by which the allocator asks for memory, three pages at a time, and so as often as the machine's
//! paths are long, and `fcntl(F_GETFD)`, with which the standard library of a debug build looks at each descriptor before
//! it closes it. So debug and release builds have the same table. `NUCLEUS_TEST_RECORD=1` writes the table anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use crate::common::{shell, skip};
use crate::lifecycle;
use crate::trace::{Call, Layout, Trace};

const VERBS: [&str; 7] = ["run", "create", "start", "state", "exec", "kill", "delete"];
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cost/calls.txt");

/// Calls by name.
type Counts = BTreeMap<String, usize>;
/// Counts by column, such as `v2:run`.
type Table = BTreeMap<String, Counts>;

fn counts(call: &Call) -> bool {
    let theirs = ["/maps>", "/mountinfo>", "/cgroup>"]
        .iter()
        .any(|f| call.arg(0).ends_with(f));
    match call.name.as_str() {
        "read" => !theirs,
        "fcntl" => call.arg(1) != "F_GETFD",
        "madvise" => !call.args.contains("MADV_POPULATE_WRITE"),
        _ => true,
    }
}

fn count(trace: &Trace) -> Counts {
    let mut counted = Counts::new();
    for call in trace.own().into_iter().filter(|c| counts(c)) {
        *counted.entry(call.name.clone()).or_default() += 1;
    }
    counted
}

/// What decides on the numbers besides the runtime: kernel, controllers, whether state is synced to a disk, and the standard
/// library. On another machine they cannot be compared.
fn machine() -> String {
    let script = "uname -r | sed 's/\\([0-9]*\\.[0-9]*\\).*/Linux \\1/'
        for f in /sys/fs/cgroup/unified /sys/fs/cgroup; do
            if [ -e $f/cgroup.controllers ]; then echo v2 controllers: $(cat $f/cgroup.controllers); break; fi
        done
        case $(stat -f -c %T \"${TMPDIR:-/tmp}\") in *tmpfs | ramfs) echo state in memory ;; *) echo state on disk ;; esac
        rustc --version | sed 's/\\(rustc [0-9]*\\.[0-9]*\\).*/\\1/'";
    shell(script).lines().collect::<Vec<_>>().join(", ")
}

/// Reads the machine and the table from the file's text.
fn read(text: &str) -> Option<(&str, Table)> {
    let machine = text.lines().find_map(|l| l.strip_prefix("# recorded on: "))?;
    let mut lines = text.lines().filter(|l| !l.starts_with('#'));
    let columns: Vec<&str> = lines.next()?.split_whitespace().skip(1).collect();
    let mut table = Table::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        for column in &columns {
            let n = words.next()?;
            let n = if n == "." { 0 } else { n.parse().ok()? };
            table
                .entry((*column).to_owned())
                .or_default()
                .insert(name.to_owned(), n);
        }
    }
    // The row `total` is for the reader.
    for counted in table.values_mut() {
        counted.remove("total");
    }
    Some((machine, table))
}

fn write(table: &Table) -> String {
    let mut text = format!(
        "# System calls of each verb, whole tree, with the config that `runc spec` prints; read by tests/cost/calls.rs.\n\
         # Written by `make guard RECORD=1` (docs/performance.md): never by hand, and never higher without a reason.\n\
         # recorded on: {}\n",
        machine()
    );
    let columns: Vec<String> = Layout::ALL
        .iter()
        .flat_map(|layout| VERBS.map(|verb| format!("{}:{verb}", layout.name())))
        .collect();
    let mut row = |name: &str, cells: &mut dyn Iterator<Item = String>| {
        let line = cells.fold(format!("{name:<18}"), |line, cell| format!("{line}{cell:>10}"));
        writeln!(text, "{line}").expect("writing to a string");
    };
    row("call", &mut columns.iter().cloned());
    row(
        "total",
        &mut columns.iter().map(|c| table[c].values().sum::<usize>().to_string()),
    );
    let names: BTreeSet<&String> = table.values().flat_map(Counts::keys).collect();
    for name in names {
        let cell = |column: &String| table[column].get(name).map_or(".".to_owned(), usize::to_string);
        row(name, &mut columns.iter().map(cell));
    }
    text
}

/// The differences, one a line: `read 12, not 10`.
fn differences(now: &Counts, then: &Counts) -> String {
    let names: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
    let pair = |name| {
        (
            now.get(name).copied().unwrap_or(0),
            then.get(name).copied().unwrap_or(0),
        )
    };
    let lines = names
        .into_iter()
        .map(|name| (name, pair(name)))
        .filter(|(_, (a, b))| a != b);
    lines
        .map(|(name, (a, b))| format!("    {name}: {a}, not {b}\n"))
        .collect()
}

/// Verdict on one column: the complaint if there are more calls, the good news if there are fewer.
fn judge(column: &str, now: &Counts, then: &Counts) -> Result<Option<String>, String> {
    let (total, allowed) = (now.values().sum::<usize>(), then.values().sum::<usize>());
    let text = format!(
        "{column}: {total} system calls, {allowed} in the table\n{}",
        differences(now, then)
    );
    match total.cmp(&allowed) {
        std::cmp::Ordering::Greater => Err(text),
        std::cmp::Ordering::Less => Ok(Some(text)),
        std::cmp::Ordering::Equal => Ok(None),
    }
}

#[test]
fn no_verb_makes_more_calls_than_it_did() {
    let mut now = Table::new();
    for layout in Layout::ALL {
        let Some(traces) = lifecycle::of(layout) else { return };
        for verb in VERBS {
            now.insert(format!("{}:{verb}", layout.name()), count(&traces[verb]));
        }
    }
    if std::env::var_os("NUCLEUS_TEST_RECORD").is_some() {
        std::fs::write(FILE, write(&now)).expect("writing the table");
    }
    let text = std::fs::read_to_string(Path::new(FILE)).expect("the table");
    let (recorded_on, then) = read(&text).expect("the table has a head, and a number in each column of each row");
    if recorded_on != machine() {
        skip(&format!(
            "the table is of another machine ({recorded_on}), this is: {}",
            machine()
        ));
        return;
    }
    assert_eq!(
        now.keys().collect::<Vec<_>>(),
        then.keys().collect::<Vec<_>>(),
        "the columns"
    );
    let verdicts: Vec<_> = now
        .iter()
        .map(|(column, counts)| judge(column, counts, &then[column]))
        .collect();
    for better in verdicts.iter().filter_map(|v| v.as_ref().ok()?.as_ref()) {
        println!("fewer than the table allows; `make guard RECORD=1` lowers it:\n{better}");
    }
    let worse: String = verdicts.into_iter().filter_map(Result::err).collect();
    assert!(worse.is_empty(), "more system calls than the table allows:\n{worse}");
}

#[test]
fn one_call_more_is_found() {
    let counts = |n| Counts::from([("read".to_owned(), n), ("write".to_owned(), 1)]);
    let more = judge("v2:run", &counts(3), &counts(2)).expect_err("one more");
    assert_eq!(more, "v2:run: 4 system calls, 3 in the table\n    read: 3, not 2\n");
    assert!(judge("v2:run", &counts(2), &counts(3)).expect("one fewer").is_some());
    assert!(judge("v2:run", &counts(2), &counts(2)).expect("as many").is_none());
}
