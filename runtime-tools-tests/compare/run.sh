#!/usr/bin/env bash
# The differential judge: plays some 270 situations with RUNTIME and with runc of Debian sid, and compares what a program inside,
# hooks, and the caller see. `run.sh` plays all, `run.sh sample` one in three, `run.sh PATTERN...` those of such names
# (NAME/WAY/KIND/LAYOUT), `run.sh show NAME` prints both views of one. Called by `make compare` and all.sh.
# Rules: every difference needs a row of expected.tsv, which is written for the version of runc that it names; another version
# is a reason to skip. Nothing outside of namespaces and control groups of its own is touched. Adds its counts to TALLY.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
: "${RUNTIME:?run.sh: RUNTIME names the runtime}"
cache=$PWD/.cache/compare
mkdir -p "$cache"
skip() {
    echo "SKIP - the differential judge: $1"
    [ -z "${TALLY:-}" ] || echo '0 0 1' >>"$TALLY"
    exit 0
}
peer=$("$HERE/../bench/peers.sh" "$PWD/.cache/peers" | sed -n 's/^peer runc-sid=//p')
[ -n "$peer" ] || skip 'RUNC OF SID CANNOT BE FETCHED, so nothing is shown about differences'
wanted=$(sed -n 's/^# recorded with: //p' "$HERE/expected.tsv")
found=$("$peer" --version | sed -n 1p)
[ "$found" = "$wanted" ] || skip "its table is for $wanted, and the peer is $found"
gcc -O1 -Wall -static -o "$cache/probe" "$HERE/probe.c"
arguments=()
case ${1:-} in
'') ;;
sample) arguments=(--every 3) ;;
show) arguments=(--show "$2") ;;
*) arguments=(--only "$@") ;;
esac
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
"$HERE/judge.py" --runtime "$RUNTIME" --peer "runc=$peer" --probe "$cache/probe" --cache "$cache" "${arguments[@]}" \
    | tee "$out" | sed '/^[0-9]* [0-9]* [0-9]*$/d' || status=$?
[ -z "${TALLY:-}" ] || tail -n 1 "$out" | grep -E '^[0-9]+ [0-9]+ [0-9]+$' >>"$TALLY" || echo '0 1 0' >>"$TALLY"
exit "$status"
