#!/usr/bin/awk -f
# tally.awk SKIPPED OUTPUT: counts what `cargo test` printed to OUTPUT, as "PASSED FAILED SKIPPED". SKIPPED has a line
# `SKIP NAME: REASON` for each test that could not run: such a test counts as skipped, although the harness calls it ok. A
# harness of another form (that of nucleus-cgroup) prints `ok NAME`, `FAIL NAME` and `SKIP NAME: REASON` itself.
function name() { sub(/:$/, "", $2); return $2 }
FILENAME == ARGV[1] { if ($1 == "SKIP") known[name()] = 1; next }
$1 == "test" && $NF == "ok" { if ($2 in known) skipped++; else passed++; next }
$1 == "test" && $NF == "FAILED" { failed++; next }
$1 == "test" && /\.\.\. ignored/ { skipped++; next }
$1 == "ok" { passed++; next }
$1 == "FAIL" { failed++; next }
$1 == "SKIP" && !(name() in known) { skipped++ }
END { print passed + 0, failed + 0, skipped + 0 }
