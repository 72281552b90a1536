# shellcheck shell=bash
# What the engine tests have in common: the sandbox, the step runner, the counts and the leak check.
# Sourced by podman.sh, containerd.sh and docker.sh. RUNTIME names the runtime under test.
# Rules: - every engine runs in namespaces of its own (mount, PID, network, IPC, UTS, cgroup), on a private /run and /dev
#          and on overlays of /etc, /opt, /usr/local and /var/lib: the host stays as it was, and all processes end with
#          the sandbox;
#        - a step passes only by what it shows (output, exit status, kernel files), within STEP_TIMEOUT seconds;
#        - at the end nothing may be left: no mount, no cgroup, no process, no state directory of the runtime.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)
STEP_TIMEOUT=${STEP_TIMEOUT:-60}
WORK=/run/judge
# Where the runtime under test lies inside of the sandbox: the path that the README uses.
NUCLEUS=/usr/local/bin/nucleus
n_passed=0 n_failed=0 n_skipped=0

# ---- sandbox: outside -------------------------------------------------------------------------------------------

cgroup_mounts() { awk '$3 ~ /^cgroup2?$/ && $2 ~ /^\/sys\/fs\/cgroup/ { print $2 }' /proc/self/mounts | sort -u; }

# Runs this script again in namespaces of its own and exits with its status; inside it returns after the set-up.
sandbox() {
    if [ "${JUDGE_SANDBOX:-}" = inside ]; then
        sandbox_inside || { echo "cannot set up the sandbox" >&2; exit 1; }
        limited 5 middle_fails
        [ $? = 1 ] || { echo "the step runner does not see failures" >&2; exit 1; }
        return
    fi
    RUNTIME=$(runtime_path) || exit 1
    export RUNTIME
    [ "$(id -u)" = 0 ] || { echo "$0: must be root" >&2; exit 1; }
    local name=judge-$$ mp status=0
    for mp in $(cgroup_mounts); do
        mkdir "$mp/$name" || exit 1
        if [ -e "$mp/cpuset.mems" ] && [ -e "$mp/$name/cpuset.mems" ] && [ ! -e "$mp/cgroup.controllers" ]; then
            cat "$mp/cpuset.cpus" >"$mp/$name/cpuset.cpus" && cat "$mp/cpuset.mems" >"$mp/$name/cpuset.mems" || exit 1
        fi
    done
    (
        for mp in $(cgroup_mounts); do echo "$BASHPID" >"$mp/$name/cgroup.procs" || exit 1; done
        JUDGE_SANDBOX=inside exec unshare --mount --pid --net --ipc --uts --cgroup --fork --kill-child --mount-proc \
            --propagation private -- bash "$0" "$@"
    ) </dev/null &
    local child=$!
    trap 'kill -KILL $child' INT TERM HUP # and with it, by --kill-child, all that runs in the sandbox
    step_aside "$name" "$child"
    wait "$child" || status=$?
    trap '' INT TERM HUP
    until_true 10 remove_cgroups "$name" || { echo "cannot remove the cgroups $name" >&2; status=1; }
    exit "$status"
}

# On cgroup v2 a cgroup with processes of its own cannot hand controllers down: the waiting unshare(1) goes to one beside.
step_aside() { # NAME PID
    local mp
    for mp in $(cgroup_mounts); do
        [ -e "$mp/cgroup.controllers" ] || continue
        mkdir "$mp/$1-outside" && until_true 10 has_child "$2" && echo "$2" >"$mp/$1-outside/cgroup.procs"
    done
}
has_child() { [ -n "$(cat "/proc/$1/task/$1/children")" ]; }

remove_cgroups() {
    local mp dir status=0
    for mp in $(cgroup_mounts); do
        for dir in "$mp/$1" "$mp/$1-outside"; do
            [ ! -d "$dir" ] || find "$dir" -depth -type d -exec rmdir {} + || status=1
        done
    done
    return "$status"
}

runtime_path() {
    local r=${RUNTIME:-}
    if [ -z "$r" ]; then
        r=$repo/target/${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}/release/nucleus
    fi
    r=$(command -v "$r") && r=$(realpath "$r") && [ -x "$r" ] && echo "$r" && return
    echo "no runtime at '${RUNTIME:-$r}': run \`make build\` or set RUNTIME" >&2
    return 1
}

# ---- sandbox: inside --------------------------------------------------------------------------------------------

sandbox_inside() {
    mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/lock "$WORK"/{bin,tmp,home,out} || return 1
    chmod 1777 "$WORK/tmp"
    mount -t tmpfs -o mode=1777 tmpfs /var/tmp && private_overlays && private_dev && private_cgroups && ip link set lo up || return 1
    install -m 755 "$RUNTIME" "$NUCLEUS" || return 1
    export HOME=$WORK/home TMPDIR=$WORK/tmp PATH=$WORK/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    unset XDG_RUNTIME_DIR XDG_CONFIG_HOME XDG_DATA_HOME DOCKER_HOST CONTAINERS_CONF
    trap cleanup EXIT
    trap 'exit 1' INT TERM HUP
    cd "$WORK" || return 1
    dev_null_before=$(stat -c '%u:%g %a %t:%T' /dev/null)
}

private_overlays() {
    local d o=$WORK/overlay
    for d in /etc /opt /usr/local /var/lib; do
        mkdir -p "$o$d/upper" "$o$d/work" && mount -t overlay \
            -o "lowerdir=$d,upperdir=$o$d/upper,workdir=$o$d/work" overlay "$d" || return 1
    done
}

private_dev() {
    local dev=$WORK/dev name numbers
    mkdir "$dev" && mount -t tmpfs -o mode=755,nosuid tmpfs "$dev" && mkdir "$dev/net" || return 1
    while read -r name numbers; do
        # shellcheck disable=SC2086 # two numbers
        mknod -m 666 "$dev/$name" c $numbers || return 1
    done <<-'END'
	null 1 3
	zero 1 5
	full 1 7
	random 1 8
	urandom 1 9
	tty 5 0
	fuse 10 229
	net/tun 10 200
	END
    mkdir "$dev/pts" "$dev/shm" "$dev/mqueue" || return 1
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$dev/pts" || return 1
    mount -t tmpfs -o mode=1777 tmpfs "$dev/shm" && mount -t mqueue mqueue "$dev/mqueue" || return 1
    ln -s pts/ptmx "$dev/ptmx" && ln -s /proc/self/fd "$dev/fd" && ln -s fd/0 "$dev/stdin" \
        && ln -s fd/1 "$dev/stdout" && ln -s fd/2 "$dev/stderr" && mount --move "$dev" /dev && rmdir "$dev"
}

# The host's hierarchies again, as the cgroup namespace shows them, on a tmpfs that nobody else writes to. LAYOUT=v2 shows
# cgroup v2 alone, with the controllers that v1 has left over.
private_cgroups() {
    local new=$WORK/cgroup mp type opts sub
    mkdir "$new" || return 1
    if [ "${LAYOUT:-}" = v2 ] || grep -q ' /sys/fs/cgroup cgroup2 ' /proc/self/mounts; then
        mount -t cgroup2 cgroup2 "$new" && umount -R /sys/fs/cgroup && mount --move "$new" /sys/fs/cgroup || return 1
        # No internal processes: our own go to a leaf, so that the engines can enable controllers beside it.
        mkdir /sys/fs/cgroup/init && echo $$ >/sys/fs/cgroup/init/cgroup.procs || return 1
        until_true 10 hand_down
        return
    fi
    mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs "$new" || return 1
    while read -r _ mp type opts _; do
        sub=${mp#/sys/fs/cgroup/}
        mkdir "$new/$sub" || return 1
        case $type,$opts in
        cgroup2,*) mount -t cgroup2 cgroup2 "$new/$sub" || return 1 ;;
        *,*name=*) mount -t cgroup -o "none,name=${opts##*name=}" cgroup "$new/$sub" || return 1 ;;
        *) mount -t cgroup -o "$sub" cgroup "$new/$sub" || return 1 ;;
        esac
    done < <(grep -E '^[^ ]+ /sys/fs/cgroup/[^ /]+ cgroup2? ' /proc/self/mounts)
    find /sys/fs/cgroup -maxdepth 1 -type l -exec cp -P -t "$new" {} + || return 1
    umount -R /sys/fs/cgroup && mount --move "$new" /sys/fs/cgroup && mount -o remount,ro /sys/fs/cgroup || return 1
    other_hierarchies
}

# Hierarchies of the kernel that are mounted elsewhere on the host (by a test beside this one, say), aside: containerd
# gives no metrics and no message of the memory killer if it finds no mount for a line of /proc/PID/cgroup.
other_hierarchies() {
    local controllers dir
    while IFS=: read -r _ controllers _; do
        case $controllers in '' | name=*) continue ;; esac
        ! awk '$3 == "cgroup" { print $4 }' /proc/self/mounts | grep -Eq "(^|,)$controllers(,|\$)" || continue
        dir=$WORK/hierarchies/$controllers
        mkdir -p "$dir" && mount -t cgroup -o "$controllers" cgroup "$dir" || return 1
    done </proc/self/cgroup
}

hand_down() { sed 's/[a-z_]\+/+&/g' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control; }

# ---- daemons ----------------------------------------------------------------------------------------------------

daemons=()

# daemon LOG COMMAND...: starts it in the background; cleanup stops it.
daemon() {
    local log=$1
    shift
    "$@" >"$log" 2>&1 </dev/null &
    daemons+=("$!")
}

# until_true SECONDS COMMAND...: polls until it succeeds.
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

stop_daemons() {
    local p
    for p in "${daemons[@]}"; do kill "$p" 2>/dev/null; done
    for p in "${daemons[@]}"; do until_true 20 is_gone "$p" || kill -KILL "$p"; done
    daemons=()
}

is_gone() { ! kill -0 "$1" 2>/dev/null; }

cleanup() { stop_daemons; }

# ---- steps ------------------------------------------------------------------------------------------------------

# Runs a command or function with errexit and a time limit, stdin empty; output in $WORK/out/{stdout,stderr}.
# To be called plainly: behind `||`, in `if` and the like, bash switches errexit off for all that is called.
limited() {
    local s=$1 p w done_pid rc
    shift
    set -m
    (
        set +m -e -o pipefail
        "$@"
    ) >"$WORK/out/stdout" 2>"$WORK/out/stderr" </dev/null &
    p=$!
    sleep "$s" &
    w=$!
    set +m
    wait -n -p done_pid "$p" "$w"
    rc=$?
    if [ "${done_pid:-$p}" = "$w" ]; then
        echo "timed out after $s s" >>"$WORK/out/stderr"
        kill -KILL -- "-$p"
        rc=124
    fi
    kill -KILL -- "-$w" 2>/dev/null
    wait "$p" "$w" 2>/dev/null
    return "$rc"
}

middle_fails() { false; true; }

pass() {
    n_passed=$((n_passed + 1))
    echo "ok $((n_passed + n_failed + n_skipped)) - $1"
}

fail() { # DESCRIPTION REASON
    n_failed=$((n_failed + 1))
    echo "not ok $((n_passed + n_failed + n_skipped)) - $1"
    {
        echo "$2"
        for f in stdout stderr; do
            [ ! -s "$WORK/out/$f" ] || { echo "$f:" && tail -n 15 "$WORK/out/$f"; }
        done
    } | sed 's/^/    # /'
    clear_all >/dev/null 2>&1 # so that one failure is counted once
}

skip() { # DESCRIPTION REASON
    n_skipped=$((n_skipped + 1))
    echo "SKIP $((n_passed + n_failed + n_skipped)) - $1: $2"
}

# STEPS=REGEX runs only the steps whose description matches, beside those that set things up: for work on one of them.
chosen() { [ -z "${STEPS:-}" ] || grep -Eq -- "set-up|is up|$STEPS" <<<"$1"; }

# prints DESCRIPTION EXPECTED COMMAND...: exit status 0 and exactly this on stdout.
prints() {
    local desc=$1 want=$2 rc got
    chosen "$desc" || return 0
    shift 2
    limited "$STEP_TIMEOUT" "$@"
    rc=$?
    got=$(cat "$WORK/out/stdout")
    if [ "$rc" = 0 ] && [ "$got" = "$want" ]; then pass "$desc"; else fail "$desc" "status $rc, wanted 0 and: $want"; fi
}

# matches DESCRIPTION REGEX COMMAND...: exit status 0 and a line of stdout that matches.
matches() {
    local desc=$1 want=$2 rc
    chosen "$desc" || return 0
    shift 2
    limited "$STEP_TIMEOUT" "$@"
    rc=$?
    if [ "$rc" = 0 ] && grep -Eq -- "$want" "$WORK/out/stdout"; then
        pass "$desc"
    else
        fail "$desc" "status $rc, wanted 0 and a line like: $want"
    fi
}

# exits DESCRIPTION STATUS REGEX COMMAND...: this exit status, and a line of stdout or stderr that matches.
exits() {
    local desc=$1 want=$2 text=$3 rc
    chosen "$desc" || return 0
    shift 3
    limited "$STEP_TIMEOUT" "$@"
    rc=$?
    if [ "$rc" = "$want" ] && cat "$WORK/out/stdout" "$WORK/out/stderr" | grep -Eqi -- "$text"; then
        pass "$desc"
    else
        fail "$desc" "status $rc, wanted $want and a line like: $text"
    fi
}

# holds DESCRIPTION FUNCTION [ARG...]: the function, run with errexit, succeeds.
holds() {
    local desc=$1 rc
    chosen "$desc" || return 0
    shift
    limited "$STEP_TIMEOUT" "$@"
    rc=$?
    if [ "$rc" = 0 ]; then pass "$desc"; else fail "$desc" "status $rc"; fi
}

# limits DESCRIPTION FUNCTION: like holds; skipped on a tree without the controllers (cgroup v2 of a host that has v1, too).
limits() {
    if has_limits; then holds "$@"; elif chosen "$1"; then skip "$1" 'this cgroup tree has no memory controller'; fi
}
has_limits() { [ ! -e /sys/fs/cgroup/cgroup.controllers ] || grep -qw memory /sys/fs/cgroup/cgroup.controllers; }

# Inside of a step function: want GOT EXPECTED [WHAT]; like TEXT REGEX; refused COMMAND (it must fail).
# Each on a line of its own: errexit does not see a failure in the middle of an && list, nor one behind `!`.
want() { [ "$1" = "$2" ] || { echo "${3:-value}: got '$1', wanted '$2'" >&2; return 1; }; }
like() { grep -Eq -- "$2" <<<"$1" || { echo "got '$1', wanted a line like: $2" >&2; return 1; }; }

refused() { if "$@"; then echo "succeeded: $*" >&2; return 1; fi; }
differ() { [ "$1" != "$2" ] || { echo "${3:-value}: got '$1' twice" >&2; return 1; }; }

# cgroup_file PID CONTROLLER V1FILE V2FILE: what the kernel says about the cgroup of a process.
cgroup_file() {
    local path
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        path=$(sed -n 's/^0:://p' "/proc/$1/cgroup")
        cat "/sys/fs/cgroup$path/$4"
    else
        path=$(awk -F: -v c="$2" '{ n = split($2, a, ","); for (i in a) if (a[i] == c) print $3 }' "/proc/$1/cgroup")
        cat "/sys/fs/cgroup/$2$path/$3"
    fi
}

# ---- the documents' own lines -----------------------------------------------------------------------------------

documents=("$repo/README.md" "$repo/docs/engines.md")
# shellcheck source=documents.sh
. "$here/documents.sh"

# documented PREFIX: one step for each line of a fenced block that begins so; it must succeed and print something.
documented() {
    local line lines
    mapfile -t lines < <(awk -v prefix="^$1" '/^```/ { on = /^```sh/ } on && $0 ~ prefix' "${documents[@]}")
    [ ${#lines[@]} -gt 0 ] || fail "the documents show lines that begin with '$1'" 'none found'
    for line in "${lines[@]}"; do matches "as documented: $line" . bash -c "$line"; done
}

# ---- the end ----------------------------------------------------------------------------------------------------

# Called when the engine is up: what is there now may still be there at the end.
baseline() {
    mounts_before=$(awk '{ print $2 }' /proc/self/mounts | sort)
}

# Called after everything is removed and the daemons are stopped.
leak_check() {
    local left
    until_true 10 nothing_runs
    left=$(processes)
    rm -f "$WORK/out/"*
    if [ -z "$left" ]; then pass 'no process is left'; else fail 'no process is left' "$left"; fi
    left=$(diff <(echo "$mounts_before") <(awk '{ print $2 }' /proc/self/mounts | sort) | sed -n 's/^> //p')
    if [ -z "$left" ]; then pass 'no mount is left'; else fail 'no mount is left' "$left"; fi
    left=$(find /sys/fs/cgroup -mindepth 1 -type d -path "*$1*" | head -n 20)
    if [ -z "$left" ]; then pass 'no cgroup of a container is left'; else fail 'no cgroup of a container is left' "$left"; fi
    # Compiled seccomp profiles (.cache) are meant to outlive the container.
    left=$(find /run/runc /run/nucleus "${@:2}" -mindepth 1 -not -path '*/.cache*' 2>/dev/null | head -n 20)
    if [ -z "$left" ]; then pass 'no state of a container is left'; else fail 'no state of a container is left' "$left"; fi
    left=$(stat -c '%u:%g %a %t:%T' /dev/null)
    if [ "$left" = "$dev_null_before" ]; then pass '/dev/null is as before'; else fail '/dev/null is as before' "$left"; fi
}

nothing_runs() { [ -z "$(processes)" ]; }
# All but this script (process 1 of the sandbox), its subshells and the programs of the pipe itself.
processes() {
    local self=$BASHPID
    ps -eo pid=,ppid=,args= | awk -v self="$self" '$1 != 1 && $1 != self && $2 != self'
}

# Prints the counts, hands them to the caller (TALLY) and exits.
finish() {
    echo "# $1 ($2): $n_passed passed, $n_failed failed, $n_skipped skipped in $SECONDS s"
    [ -z "${TALLY:-}" ] || echo "$n_passed $n_failed $n_skipped" >>"$TALLY"
    [ "$n_failed" = 0 ] && [ "$n_passed" -gt 0 ]
    exit
}
