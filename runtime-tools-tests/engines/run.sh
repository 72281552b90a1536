#!/usr/bin/env bash
# Runs the engine tests: run.sh [podman|podman-rootless|build|containerd|docker ...] (default: all), JOBS (one for each
# processor) at a time, as each is in a sandbox of its own. RUNTIME names the runtime under test.
# Called by `make test-engines` and by all.sh. Ends with `N passed, N failed, N skipped` unless the caller counts
# (TALLY); fails when any step has failed or when an engine's script ended without giving its counts.
set -u
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- podman docker podman-rootless containerd build # the longest first
JOBS=${JOBS:-$(nproc)}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# shellcheck disable=SC2046 # a list
trap 'trap "" TERM; kill $(jobs -p); wait; exit 130' INT TERM HUP
for engine; do
    [ "$(jobs -rp | wc -l)" -lt "$JOBS" ] || wait -n
    TALLY=$dir/$engine.counts bash "$here/$engine.sh" >"$dir/$engine.log" 2>&1 &
done
wait
for engine; do
    echo "# $engine"
    cat "$dir/$engine.log"
    if [ ! -s "$dir/$engine.counts" ]; then
        echo "not ok - $engine.sh ended before its end"
        echo '0 1 0' >"$dir/$engine.counts"
    fi
done
read -r passed failed skipped < <(cat "$dir"/*.counts | awk '{ p += $1; f += $2; s += $3 } END { print p, f, s }')
if [ -n "${TALLY:-}" ]; then
    echo "$passed $failed $skipped" >>"$TALLY"
else
    echo "$passed passed, $failed failed, $skipped skipped in $SECONDS s"
fi
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
