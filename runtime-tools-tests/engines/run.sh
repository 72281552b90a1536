#!/usr/bin/env bash
# Runs the engine tests: run.sh [podman|podman-rootless|build|containerd|docker ...] (default: all). RUNTIME names the runtime under test.
# Called by `make test-engines` and by all.sh. Ends with `N passed, N failed, N skipped` unless the caller counts
# (TALLY); fails when any step has failed or when an engine's script ended without giving its counts.
set -u
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- podman podman-rootless build containerd docker
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT
trap 'exit 130' INT TERM HUP
status=0 failed=0
for engine; do
    before=$(wc -l <"$counts")
    echo "# $engine"
    TALLY=$counts bash "$here/$engine.sh" || status=1
    if [ "$(wc -l <"$counts")" = "$before" ]; then
        echo "not ok - $engine.sh ended before its end"
        echo '0 1 0' >>"$counts"
    fi
done
read -r passed failed skipped < <(awk '{ p += $1; f += $2; s += $3 } END { print p, f, s }' "$counts")
if [ -n "${TALLY:-}" ]; then
    echo "$passed $failed $skipped" >>"$TALLY"
else
    echo "$passed passed, $failed failed, $skipped skipped"
fi
[ "$status" = 0 ] && [ "$failed" = 0 ]
