#!/usr/bin/env bash
# Everything that CI runs, in order, two stages beside the others: all.sh [lint] (only the checks that read the sources).
# Called by the Makefile, which names the binary (RUNTIME) and the cargo target. A stage that fails does not stop the next
# ones.
# Rule: the last line is `N passed, N failed, N skipped`, alone; stages report in another form. What has failed is named
# once more just above it, since the end is what people and CI servers show.
set -u
cd "$(dirname "$0")/.." || exit 1
T=runtime-tools-tests
export TALLY NUCLEUS_SKIP_LOG
TALLY=$(mktemp)
# Each test that cannot run here writes `SKIP NAME: REASON` to it (tests/common, skip).
NUCLEUS_SKIP_LOG=$(mktemp)
log=$(mktemp)
all=$(mktemp)
aside=$(mktemp)
trap 'rm -f "$TALLY" "$NUCLEUS_SKIP_LOG" "$log" "$all" "$aside" "$aside.log"' EXIT

# stage NAME COMMAND...: counts as one check; its output is shown if it fails.
stage() {
    local name=$1 start=$SECONDS
    shift
    if "$@" >"$log" 2>&1; then
        echo "ok - $name ($((SECONDS - start)) s)"
        echo '1 0 0' >>"$TALLY"
    else
        sed 's/^/    # /' "$log"
        echo "not ok - $name ($((SECONDS - start)) s)"
        echo '0 1 0' >>"$TALLY"
    fi
}

# counted COMMAND...: a stage that counts by itself.
counted() {
    local start=$SECONDS
    "$@"
    echo "# ${1#"$T/"}: $((SECONDS - start)) s"
}

# Each test of `cargo test` counts; a build that fails counts as one failure. A test that had to leave out itself or a part
# counts as skipped, as it has not shown all that it is there for.
cargo_tests() {
    local rc=0 start=$SECONDS
    # A caller in the background ignores SIGINT, and so would the containers' programs: sh cannot trap it then.
    env --default-signal CARGO_TERM_QUIET=false cargo test --workspace --locked --no-fail-fast >"$log" 2>&1 || rc=$?
    # shellcheck disable=SC2046 # three numbers
    set -- $("$T/tally.awk" "$NUCLEUS_SKIP_LOG" "$log")
    if [ "$rc" != 0 ]; then
        grep -vE '^test .* \.\.\. ok$|^$|^running |^ok ' "$log" | tail -n 200 | sed 's/^/    # /'
        [ "$2" != 0 ] || set -- "$1" 1 "$3"
    fi
    { cat "$NUCLEUS_SKIP_LOG" && grep '^SKIP ' "$log"; } | sort -u
    echo "# cargo test: $1 passed, $2 failed, $3 skipped in $((SECONDS - start)) s"
    echo "$1 $2 $3" >>"$TALLY"
}

# The host's own layout is what `cargo test` has; this is the other one, in a mount namespace of its own.
descriptors_on_v2() {
    # shellcheck disable=SC2016 # for the inner shell
    unshare --mount --propagation private bash -c 'umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && "$@"' \
        bash cargo test --locked --workspace --test security descriptors
}

shell_scripts() { find .ci "$T" -type f \( -name '*.sh' -o -path .ci/run \); }
# shellcheck disable=SC2046 # none of our paths has a space
check_shell() { shellcheck -x -P SCRIPTDIR $(shell_scripts) && for f in $(shell_scripts); do bash -n "$f" || return 1; done; }

check_format() { cargo fmt --all --check && cargo fmt --manifest-path fuzz/Cargo.toml --check; }

everything() {
    stage 'formatting' check_format
    stage 'clippy' cargo clippy --workspace --all-targets --locked -- -D warnings
    stage 'licences, sources and advisories' "$T/licences.py"
    stage 'shell scripts' check_shell
    stage 'the tally of skipped tests' "$T/tally-test.sh"
    [ "${1:-}" != lint ] || return 0
    stage 'flag table' "$T/flags/flags.py" check "$RUNTIME"
    stage 'installation' "$T/install.sh"
    cargo_tests
    stage 'no path of the image leads through a descriptor (cgroup v2)' descriptors_on_v2
    stage 'the benchmark itself (smoke test)' make --no-print-directory bench-smoke
    builds_aside >"$aside" 2>&1 &
    counted "$T/conformance/run.sh"
    counted "$T/compare/run.sh" sample
    counted "$T/engines/run.sh"
    counted "$T/stress.sh"
    counted "$T/vm/test.sh"
    wait
    cat "$aside"
    echo "# all: $SECONDS s"
}

# What builds for minutes and measures no time, at a low priority beside stages that wait a lot: the validation programs
# need a tenth of their time for themselves, the guests three quarters. Those have control groups and namespaces of their own.
# (The fuzz targets alone have the usual priority while they run, and half as long again, as they share the processors. At
# the lowest one, tests in bare.sh would wait longer than they wait for anything.)
builds_aside() {
    log=$aside.log
    stage 'fuzzing (config.json, other inputs)' "$T/fuzz.sh" "${FUZZ_SECONDS:-45}"
    renice -n 10 "$BASHPID" >/dev/null
    DEADLINE=3600 counted "$T/bare.sh"
}

# The names, each with the first lines of the reason.
failures() { grep -E -A 3 '(^|: )not ok |^    # (thread .* panicked|error(\[|: could not compile))' "$all" | cut -c 1-200 | tail -n 40; }

# What was skipped, one line each: `SKIP …` of the stages, and `GUEST: skip …` of the virtual machines.
skips() { grep -E '^(SKIP|[a-z0-9]+: skip) ' "$all" | cut -c 1-300 | sort -u; }

everything "$@" 2>&1 | tee "$all"
if [ -n "$(skips)" ]; then
    echo '# What was skipped:'
    skips
fi
if [[ $(awk '{ f += $2 } END { print f + 0 }' "$TALLY") != 0 ]]; then
    echo '# What failed:'
    failures
fi
awk '{ p += $1; f += $2; s += $3 } END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 || !p }' "$TALLY"
