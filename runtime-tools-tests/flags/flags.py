#!/usr/bin/env python3
"""The flag table, docs/flags.md: ours against runc's and crun's, out of their `--help`.

    flags.py write RUNTIME            writes docs/flags.md
    flags.py check RUNTIME            fails if docs/flags.md is not what `write` would make of this runtime
    flags.py collect PROGRAM NAME     prints a peer's rows for peers.tsv, from its `--help`

Called by all.sh (`make test`). Rule: every flag of a peer has a row; one that we lack, or that does something else with
us, has a reason in reasons.tsv, and a reason that is no longer needed is an error. peers.tsv: peer, version, verb (`-` for
the flags before it), flag, short form (`-` for none), `value` or `switch`. runc's 1.5.1 and crun's 1.29.1 cannot be had
from Debian yet: their rows are those of runc 1.3.6 and crun 1.28, collected, and what has come since, by hand.
"""
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
TABLE = HERE.parent.parent / "docs/flags.md"
HEAD = """# Flags: nucleus, runc and crun

Made by `runtime-tools-tests/flags/flags.py` from the `--help` of each; `make test` checks that it is up to date. `=` stands
for a flag that takes a value. "same" means the same meaning. How flags may be written
(`-b x`, `--b=x`, `--detach=false` …): [command-line.md](command-line.md).
"""


def text(*command):
    """What a command prints; crun's and runc's help end with different codes."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.stdout


def flags(help_text):
    """{long name: (short or "-", "value" or "switch")}"""
    found = {}
    for line in help_text.splitlines():
        if not (match := re.match(r"\s+(-\S.*)", line)):
            continue
        words = re.split(r"\s{2,}|\t", match[1])[0]
        name = re.search(r"--([a-z0-9][a-z0-9-]+)", words)
        if not name or name[1] in ("help", "usage"):
            continue
        short = re.search(r"(?<![-\w])-([A-Za-z])\b", words)
        kind = "value" if re.search(r"[= ](<|\[|value|[A-Z])", words) else "switch"
        found[name[1]] = (short[1] if short else "-", kind)
    return found


def verbs(help_text):
    """The names in the list of commands."""
    part = re.search(r"\ncommands:\n(.*?)\n\n", help_text, re.S | re.I)
    names = re.findall(r"^\s+([a-z]+)\b", part[1], re.M) if part else []
    return [name for name in names if name != "help"]


def collect(program, ask):
    """{(verb, flag): (short, kind)}, the flags before the verb under `-`."""
    top = text(program, "--help")
    rows = {("-", flag): shape for flag, shape in flags(top).items()}
    for verb in verbs(top):
        rows.update({(verb, flag): shape for flag, shape in flags(text(program, *ask(verb))).items()})
    return rows


def read(name, columns):
    lines = (HERE / name).read_text().splitlines()
    rows = [tuple(line.split("\t")) for line in lines if line and not line.startswith("#")]
    if bad := [row for row in rows if len(row) != columns]:
        sys.exit(f"{name}: wrong number of columns: {bad[0]}")
    return rows


def table(runtime):
    ours = collect(runtime, lambda verb: ["help", verb])
    if not ours:
        sys.exit(f"{runtime}: no flags in its help")
    peers = {}
    for peer, version, verb, flag, short, kind in read("peers.tsv", 6):
        peers.setdefault(f"{peer} {version}", {})[verb, flag] = (short, kind)
    reasons = {(verb, flag): why for verb, flag, why in read("reasons.tsv", 3)}
    needed, holes = set(), []
    lines = [HEAD]
    everything = set(ours).union(*peers.values())
    for verb in sorted({verb for verb, _ in everything}):
        lines.append(f"## {'Before the verb' if verb == '-' else verb}\n")
        lines.append(f"| flag | nucleus | {' | '.join(peers)} | |")
        lines.append("|---" * (len(peers) + 3) + "|")
        for flag in sorted(flag for v, flag in everything if v == verb):
            row = (verb, flag)
            has = [peer for peer in peers if row in peers[peer]]
            shapes = {rows[row] for rows in peers.values() if row in rows}
            why = reasons.get(row) or reasons.get((verb, "*"))
            if row in reasons:
                needed.add(row)
            elif why:
                needed.add((verb, "*"))
            elif row not in ours:
                holes.append(f"{verb} --{flag}: not there, and reasons.tsv does not say why")
            elif not has:
                why = "ours alone"
            if why is None and ours.get(row) not in shapes:
                holes.append(f"{verb} --{flag}: {ours.get(row)}, but {shapes} with the peers")
            cells = [shape(rows.get(row)) for rows in (ours, *peers.values())]
            lines.append(f"| `--{flag}` | {' | '.join(cells)} | {why or 'same'} |")
        lines.append("")
    holes += [f"reasons.tsv: {verb} {flag} needs no reason" for verb, flag in set(reasons) - needed]
    if holes:
        sys.exit("\n".join(sorted(holes)))
    return "\n".join(lines)


def shape(found):
    if not found:
        return "–"
    short, kind = found
    return ("yes" if short == "-" else f"yes, `-{short}`") + (" =" if kind == "value" else "")


def main(mode, program, *rest):
    if mode == "collect":
        version = re.search(r"version (\S+?)(\+\S*)?\s", text(program, "--version"))[1]
        for (verb, flag), found in sorted(collect(program, lambda verb: [verb, "--help"]).items()):
            print(rest[0], version, verb, flag, *found, sep="\t")
    elif mode == "write":
        TABLE.write_text(table(program))
    elif mode == "check":
        if TABLE.read_text() != table(program):
            sys.exit(f"{TABLE} is out of date: run {Path(__file__).name} write {program}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
