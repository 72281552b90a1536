#!/usr/bin/env bash
# Runs the validation programs of opencontainers/runtime-tools: run.sh [PROGRAM...] (default: all 58). Called by
# `make conformance` and by all.sh. RUNTIME names the runtime under test.
# nucleus is held against expected.tsv. A program that passes as expected counts as passed; one whose failure has its
# reason there, or whose result is a race, counts as skipped; every other result counts as failed. For other runtimes
# (RUNTIME=/usr/sbin/runc) the results are only shown. What the programs have printed is kept in .cache/conformance/last.
# CGROUPS=v1 hides a cgroup2 mount beside the v1 ones: crun refuses to run with both.
# Rule: each program has mount and PID namespaces of its own inside of the judges' sandbox (engines/lib.sh): what the
# programs leave behind ends with them. Ends with `N passed, N failed, N skipped` unless the caller counts (TALLY).
set -u
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../engines/lib.sh
source "$here/../engines/lib.sh"
here=$(cd "$(dirname "$0")" && pwd) # lib.sh has set its own
CACHE=${CONFORMANCE_CACHE:-$repo/.cache/conformance}
EXPECTED=$here/expected.tsv
LIMIT=90 # seconds a program
# v1 controllers that hosts seldom mount, but which the network programs need.
NETWORK_CONTROLLERS=(net_cls net_prio)

# Each line of the table: PROGRAM, what is expected, why.
table() { grep -v '^#' "$EXPECTED"; }

# ---- outside: the suite, the host's cgroup tree with more in it, the sandbox -----------------------------------------

outside() {
    local status=0 counts
    "$here/fetch-build.sh" "$CACHE" || status=$?
    if [ "$status" = 77 ]; then
        echo "SKIP - all conformance programs: THE SUITE CANNOT BE FETCHED, so nothing is shown about conformance"
        count 0 0 "$(table | wc -l)"
        exit
    fi
    [ "$status" = 0 ] || { echo "not ok - the suite cannot be built"; count 0 1 0; exit 1; }
    counts=$(mktemp)
    # shellcheck disable=SC2064 # the name of now is meant
    trap "rm -f $counts" EXIT
    trap 'kill "$child"; wait "$child"; release_controllers; exit 130' INT TERM HUP
    TALLY=$counts CONFORMANCE=tree unshare --mount --propagation private -- bash "$0" "$@" &
    child=$!
    wait "$child" || status=$?
    release_controllers
    [ -s "$counts" ] || { echo "not ok - the run ended before its end"; echo '0 1 0' >"$counts"; }
    # shellcheck disable=SC2046 # three numbers
    count $(cat "$counts")
    exit "$status"
}

count() {
    if [ -n "${TALLY:-}" ]; then echo "$1 $2 $3" >>"$TALLY"; else echo "$1 passed, $2 failed, $3 skipped"; fi
}

# In a mount namespace of our own: the tree as it is, with the network controllers. (A cgroup namespace may only mount
# hierarchies that exist already, so this happens before the sandbox makes its own.)
add_controllers() {
    local new c mp
    grep -q ' /sys/fs/cgroup cgroup2 ' /proc/self/mounts && return
    new=$(mktemp -d) || return 1
    mount -t tmpfs -o mode=755 tmpfs "$new" || return 1
    while read -r mp; do
        [ "${CGROUPS:-}" = v1 ] && is_cgroup2 "$mp" && continue
        mkdir "$new/${mp##*/}" && mount --bind "$mp" "$new/${mp##*/}" || return 1
    done < <(cgroup_mounts)
    find /sys/fs/cgroup -maxdepth 1 -type l -exec cp -P -t "$new" {} + || return 1
    for c in "${NETWORK_CONTROLLERS[@]}"; do
        [ -e "$new/$c" ] || { mkdir "$new/$c" && mount -t cgroup -o "$c" cgroup "$new/$c"; } \
            || rmdir "$new/$c" # this kernel has none: host_has will tell
    done
    umount -R /sys/fs/cgroup && mount --move "$new" /sys/fs/cgroup && rmdir "$new"
}

is_cgroup2() { [ "$(stat -f -c %T "$1")" = cgroup2fs ]; }

# A hierarchy that still had a cgroup, perhaps a removed one being freed in the background, when its last mount went
# lives on with nobody to end it: then it is mounted and unmounted once more. Its end takes the kernel a moment.
release_controllers() {
    local c try
    for c in "${NETWORK_CONTROLLERS[@]}"; do
        grep -Eq " cgroup [^ ]*\b$c\b" /proc/self/mounts && continue # the host's own
        for try in 1 2 3 4 5; do
            until_true 3 is_released "$c" && continue 2
            # shellcheck disable=SC2016 # for the inner shell
            unshare --mount --propagation private -- \
                sh -c 'mount -t cgroup -o "$1" cgroup /mnt && umount /mnt' "try-$try" "$c"
        done
        until_true 3 is_released "$c" || echo "# the $c hierarchy is still there (does another run use it?)"
    done
}

is_released() { [ "$(awk -v c="$1" '$1 == c { print $2 }' /proc/cgroups)" = 0 ]; }

case ${CONFORMANCE:-} in
'') outside "$@" ;;
tree) add_controllers || { echo "cannot set up the cgroup tree" >&2; exit 1; } ;;
esac
export CONFORMANCE=inside
sandbox "$@"

# ---- inside ---------------------------------------------------------------------------------------------------------

# host_has WORD: does this host give what the programs with `needs:WORD` need?
host_has() {
    local cg=/sys/fs/cgroup
    case $1 in
    cgroup-v1) [ -e $cg/memory/memory.limit_in_bytes ] ;;
    net-cgroups) [ -e $cg/net_cls/net_cls.classid ] && [ -n "$interface" ] ;;
    hugetlb-v1) compgen -G "$cg/hugetlb/hugetlb.*.limit_in_bytes" >/dev/null ;;
    blkio-weight) [ -e $cg/blkio/blkio.leaf_weight_device ] && [ -e /sys/dev/block/8:0 ] ;;
    kernel-memory) takes_limit $cg/memory memory.kmem.limit_in_bytes 4194304 ;;
    every-capability)
        [ $((0x$(sed -n 's/^CapBnd:\t//p' /proc/self/status) + 1)) = $((2 ** ($(cat /proc/sys/kernel/cap_last_cap) + 1))) ]
        ;;
    *) echo "expected.tsv: unknown need '$1'" >&2; exit 1 ;;
    esac
}

# takes_limit HIERARCHY FILE VALUE: does a cgroup keep what is written? (Some files are there for show.)
takes_limit() {
    local dir=$1/probe got
    mkdir "$dir" || return 1
    { echo "$3" >"$dir/$2" && got=$(cat "$dir/$2"); } 2>/dev/null
    rmdir "$dir"
    [ "${got:-}" = "$3" ]
}

# Reads what a program has printed: its points, and status 0 if all is well. Some programs write one report per case: the
# points of all of them must be those that their plans announce. Some have no point at all and write what is wrong, if
# anything, as a bare YAML block (others only by their exit status, which the caller heeds).
read_report() {
    awk '/^1\.\.[0-9]+/ { plan += substr($0, 4) } /^ok.*# SKIP/ || /^not ok.*# TODO/ { skipped++; next }
        /^ok / { ok++ } /^not ok / { bad++ } /^  ---/ && !(ok + bad + skipped) { bare++ }
        END { printf "%d/%d/%d\n", ok, bad, skipped; exit bad || plan != ok + skipped || bare && !plan }'
}

# run_program NAME: its result in $result (pass or fail), with $points (ok/not ok/skipped) and $seconds.
run_program() {
    local start=$SECONDS rc=0
    (
        cd "$CACHE/suite" || exit 1
        TMPDIR=$WORK/programs RUNTIME=$WORK/bin/runtime timeout -s KILL "$LIMIT" \
            unshare --mount --pid --fork --kill-child --mount-proc --propagation private -- "validation/$1"
    ) >"$WORK/out/stdout" 2>"$WORK/out/stderr" </dev/null || rc=$?
    seconds=$((SECONDS - start))
    points=$(read_report <"$WORK/out/stdout") || rc=1
    [ "$rc" = 0 ] && result=pass || result=fail
    cp "$WORK/out/stdout" "$CACHE/last/$1.tap"
    cp "$WORK/out/stderr" "$CACHE/last/$1.err"
    clean_up
}

# What a program has left: its processes are gone, its mounts too. Cgroups, states and bundles are not.
clean_up() {
    until_true 10 no_cgroups_left || echo "# cgroups are left: $(cgroups_left | tr '\n' ' ')"
    rm -rf "$WORK/programs" "$WORK/state"
    mkdir "$WORK/programs"
}

cgroups_left() {
    local mp
    for mp in $(cgroup_mounts); do find "$mp" -mindepth 1 -type d ! -path /sys/fs/cgroup/init; done
}

no_cgroups_left() {
    cgroups_left | sort -r | xargs -r rmdir
    [ -z "$(cgroups_left)" ]
}

details() {
    sed 's/^/    # /' <(grep -A 12 '^not ok' "$WORK/out/stdout" | head -n 30) <(tail -n 10 "$WORK/out/stderr")
}

# judge NAME EXPECTED REASON
judge() {
    local expected=$2 shown="$1: $points in $seconds s"
    [ "${expected#needs:}" = "$expected" ] || { host_has "${expected#needs:}" && expected=pass || expected=fail; }
    case $expected/$result in
    pass/pass) pass "$shown" ;;
    fail/fail) skip "$shown" "fails: $3" ;;
    flaky/*) skip "$shown" "${result}es this time: $3" ;;
    fail/pass) n_failed=$((n_failed + 1)); echo "not ok - $shown: PASSES, but expected.tsv says: $3" ;;
    pass/fail) n_failed=$((n_failed + 1)); echo "not ok - $shown"; details ;;
    *) echo "expected.tsv: $1: '$2' is no expectation" >&2; exit 1 ;;
    esac
}

# show NAME: for a runtime whose results nobody expects.
show() {
    [ "$result" = pass ] && n_passed=$((n_passed + 1)) || n_failed=$((n_failed + 1))
    printf '%s\t%s\t%s\t%s s\n' "$result" "$1" "$points" "$seconds"
}

printf '#!/bin/sh\nexec %s --root %s "$@"\n' "$NUCLEUS" "$WORK/state" >"$WORK/bin/runtime"
chmod +x "$WORK/bin/runtime"
rm -rf "$CACHE/last"
mkdir "$CACHE/last"
mkdir "$WORK/programs"
umount /etc # the sandbox's overlay: `mounts` looks for the name of the directory in what the kernel says about a bind
# The network programs set a priority for the second interface. The kernel knows its name in the first network namespace
# only, so the sandbox gets one of a name that is known there.
interface=$(awk '$1 != "lo" { print $1; exit }' /sys/fs/cgroup/net_prio/net_prio.ifpriomap 2>/dev/null)
[ -z "$interface" ] || ip link add "$interface" type dummy 2>/dev/null || ip link add "$interface" type bridge || interface=''
version=$("$NUCLEUS" --version | head -n 1)
echo "# $version; each line: points ok/not ok/skipped"
while IFS=$'\t' read -r name expected reason <&3; do
    [ $# = 0 ] || [[ " $* " = *" $name "* ]] || continue
    run_program "$name"
    case $version in
    nucleus*) judge "$name" "$expected" "$reason" ;;
    *) show "$name" ;;
    esac
done 3< <(table)
case $version in
nucleus*) finish conformance "$version" ;;
*) echo "0 0 $((n_passed + n_failed))" >>"$TALLY"; echo "# $version: $n_passed pass, $n_failed fail in $SECONDS s" ;;
esac
