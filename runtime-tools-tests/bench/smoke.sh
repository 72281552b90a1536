#!/usr/bin/env bash
# Whether the benchmark itself works: one round of `run` with RUNTIME, the floor, a runtime that is not there and one that
# hangs. Nothing is timed here, and no peer is needed. Called by `make bench-smoke`, with the names of the binaries.
# Rule: what hangs and what is absent is told, what works is measured, and nothing is left.
# shellcheck disable=SC2016,SC2317 # single-quoted programs are for jq; checks are called by name
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${RUNTIME:?}" "${BENCH:?}" "${FLOOR:?}"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/hangs" <<'END'
#!/bin/sh
[ "$1" = --version ] && echo hangs 1.0 && exit
trap '' TERM
sleep 1000
END
chmod +x "$dir/hangs"

left() { # what a run of the benchmark could leave
    find /sys/fs/cgroup -name 'nb-*' -o -name nucleus-bench
    grep nucleus-bench /proc/self/mountinfo || true
    grep -al "$dir/hangs" /proc/[0-9]*/cmdline 2>/dev/null || true
}

"$BENCH" run --rounds 1 --cases a --limit 2 --configs crates/oci-runtime/tests/configs --floor "$FLOOR" \
    --peer "nucleus=$RUNTIME" --peer "hangs=$dir/hangs" --peer "gone=$dir/gone" --absent 'missing=cannot be had' \
    --out "$dir/out" | tee "$dir/text"

failed=0
expect() { # expect WHAT COMMAND...
    local what=$1
    shift
    "$@" >/dev/null || { echo "not ok - $what" && failed=1; }
}
json() { jq -e "$@" "$dir/out/result.json"; }
measured='.cells[] | select(.runtime == $name and .case == "run" and .failed == 0 and .hung == 0)
    | .metrics.cpu_ms.median > 0 and .metrics.wall_ms.median > 0 and .metrics.faults.median > 0'
for name in nucleus floor true; do expect "$name is measured" json --arg name "$name" "$measured"; done
expect 'what hangs is told' json '[.cells[] | select(.runtime == "hangs")] | length > 0 and all(.[]; .hung > 0)'
expect 'what is not there is told' json '.peers[] | select(.name == "gone") | .absent | contains("cannot be executed")'
expect 'what is absent is told' grep -q '^missing: absent: cannot be had$' "$dir/text"
expect 'the plot is there' grep -q '^<svg ' "$dir/out/cpu.svg"
expect 'nothing is left' [ -z "$(left)" ]
left
[ "$failed" = 0 ] && echo 'ok - the benchmark measures, tells what it cannot, and leaves nothing'
exit $failed
