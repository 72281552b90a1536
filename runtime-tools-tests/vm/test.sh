#!/usr/bin/env bash
# The tests that need a pure cgroup v2 with every controller, or systemd: builds them, runs them in two virtual machines
# (one without systemd, one with it) at the same time, and counts. Called by `make test-vm`; NUCLEUS is the binary under
# test (default: a debug build), VM_ONLY the subjects of
# guest/tests.d to run (default: all). Rule: reports in a form of its own, and adds its counts to the file TALLY if that is
# set.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
"$HERE/deps.sh"
start=$SECONDS
read -r -a only <<<"${VM_ONLY:-}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# --- what goes into the guests: static programs, all of them
programs() { # programs PACKAGE TARGET...: builds tests and prints "NAME PATH" of each
    local package=$1 target flags=()
    shift
    for target; do flags+=(--test "$target"); done
    cargo test --quiet --locked --package "$package" "${flags[@]}" --no-run --message-format json \
        | jq -r 'select(.executable != null and .profile.test) | "\(.target.name) \(.executable)"'
}
share=$work/share
mkdir -p "$share"
if [ -z "${NUCLEUS:-}" ]; then
    NUCLEUS=$(cargo build --quiet --locked --package oci-runtime --message-format json \
        | jq -r 'select(.executable != null and .target.name == "nucleus") | .executable')
fi
cp "$NUCLEUS" "$share/nucleus"
{ programs nucleus-cgroup cgroups && programs oci-runtime verbs config lifecycle run exec; } | while read -r name path; do
    cp "$path" "$share/$name"
done
cp -r "$HERE"/guest/tests{,.d} "$share/"
strip --strip-debug "$share"/{nucleus,cgroups,verbs,config,lifecycle,run,exec}
"$HERE/image.sh" "$HERE/../../.cache/vm"

# --- two guests side by side: each has one thread
for mode in init systemd; do
    flag=()
    [ $mode = init ] || flag=(--systemd)
    "$HERE/run.sh" "${flag[@]}" --share "$share" --timeout "${VM_TIMEOUT:-900}" -- /share/tests $mode "${only[@]}" \
        >"$work/$mode.out" 2>"$work/$mode.err" && echo 0 >"$work/$mode.rc" || echo $? >"$work/$mode.rc" &
done
wait

# --- the counts: lines "ok NAME", "not ok NAME" (and what it said, after "# "), "skip NAME: why"
bad=0
for mode in init systemd; do
    passed=$(grep -c '^ok ' "$work/$mode.out" || true)
    failed=$(grep -c '^not ok ' "$work/$mode.out" || true)
    skipped=$(grep -c '^skip ' "$work/$mode.out" || true)
    grep -v '^ok ' "$work/$mode.out" | sed "s/^/$mode: /" || true
    # The tests' verdict is the exit status, too: a guest that ends before its last line is a failure of its own.
    if [ "$(cat "$work/$mode.rc")" != 0 ] && [ "$failed" = 0 ] || [ "$passed" = 0 ]; then
        sed "s/^/$mode: # /" "$work/$mode.err"
        echo "$mode: not ok the virtual machine (status $(cat "$work/$mode.rc"))"
        failed=$((failed + 1))
    fi
    echo "# test-vm $mode: passed $passed, failed $failed, skipped $skipped"
    [ -z "${TALLY:-}" ] || echo "$passed $failed $skipped" >>"$TALLY"
    [ "$failed" = 0 ] || bad=1
done
echo "# test-vm: $((SECONDS - start)) s"
exit $bad
