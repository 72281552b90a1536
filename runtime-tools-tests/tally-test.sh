#!/usr/bin/env bash
# Whether tally.awk counts a test that could not run as skipped and not as passed. Called by all.sh.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'SKIP a::needs_root: needs root\nSKIP a::needs_root: needs root\n' >"$work/skipped"
cat >"$work/output" <<'END'
running 4 tests
SKIP a::needs_root: needs root
test a::runs ... ok
test a::needs_root ... ok
test a::switched_off ... ignored
test a::fails ... FAILED
ok   scenario one
FAIL scenario two
SKIP scenario-three: no such controller
test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
END
counts=$(./tally.awk "$work/skipped" "$work/output")
[ "$counts" = '2 2 3' ] || { echo "expected 2 2 3, got $counts" && exit 1; }
