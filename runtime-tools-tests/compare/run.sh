#!/usr/bin/env bash
# The differential judge: plays some 500 situations with RUNTIME, and with runc and crun of Debian sid, and compares what a program
# inside, hooks, and the caller see. `run.sh` plays all, `run.sh sample` some of them, `run.sh PATTERN...` those of such names
# (NAME/WAY/KIND/LAYOUT), `run.sh show NAME` prints all views of one; `run.sh --peer runc ...` compares with that one alone.
# Called by `make compare` and all.sh.
# Rules: every difference needs a row of the peer's table, which is written for the version that it names; another version is a
# reason to skip that peer. Nothing outside of namespaces and control groups of its own is touched. Adds its counts to TALLY.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
: "${RUNTIME:?run.sh: RUNTIME names the runtime}"
cache=$PWD/.cache/compare
mkdir -p "$cache"
skip() {
    echo "SKIP - the differential judge: $1"
    [ -z "${TALLY:-}" ] || echo '0 0 1' >>"$TALLY"
}
names=(runc crun)
if [ "${1:-}" = --peer ]; then
    names=("$2")
    shift 2
fi
fetched=$("$HERE/../bench/peers.sh" "$PWD/.cache/peers")
peers=()
for name in "${names[@]}"; do
    table=$HERE/expected-$name.tsv
    [ "$name" != runc ] || table=$HERE/expected.tsv
    path=$(sed -n "s/^peer $name-sid=//p" <<<"$fetched")
    wanted=$(sed -n 's/^# recorded with: //p' "$table")
    if [ -z "$path" ]; then
        skip "${name^^} OF SID CANNOT BE FETCHED, so nothing is shown about differences from it"
        continue
    fi
    # All of the output is read: a program whose reader ends early is killed by the next write.
    found=$("$path" --version | sed -n 1p)
    if [ "$found" = "$wanted" ]; then
        peers+=(--peer "$name=$path")
    else
        skip "the table is for $wanted, and the peer is $found"
    fi
done
[ "${#peers[@]}" != 0 ] || exit 0
gcc -O1 -Wall -static -o "$cache/probe" "$HERE/probe.c"
arguments=()
case ${1:-} in
'') ;;
sample) arguments=(--every 6) ;;
show) arguments=(--show "$2") ;;
*) arguments=(--only "$@") ;;
esac
out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
"$HERE/judge.py" --runtime "$RUNTIME" "${peers[@]}" --probe "$cache/probe" --cache "$cache" "${arguments[@]}" \
    | tee "$out" | sed '/^[0-9]* [0-9]* [0-9]*$/d' || status=$?
[ -z "${TALLY:-}" ] || tail -n 1 "$out" | grep -E '^[0-9]+ [0-9]+ [0-9]+$' >>"$TALLY" || echo '0 1 0' >>"$TALLY"
exit "$status"
