#!/usr/bin/env bash
# Many containers at once through the command line: COUNT (200) are created, started, exec'd into, killed and deleted,
# AT_ONCE at a time (16), then a quarter as many are run in the foreground. RUNTIME=/path/to/runtime stress.sh
# Called by `make stress`, by all.sh, and by hand.
# Rule: every exit code is right, nothing that the caller has open comes into a container, and nothing is left: no
# process, mount, cgroup, directory or file of the runtime. (A runtime that has ended holds no descriptor; what its
# shims and daemons hold, engines/containerd.sh counts.)
# shellcheck disable=SC2016,SC2317 # single-quoted programs are for the container's shell; steps are called by name
here_stress=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here_stress/engines/lib.sh"
sandbox "$@"

COUNT=${COUNT:-200}
AT_ONCE=${AT_ONCE:-16}
STEP_TIMEOUT=${STRESS_TIMEOUT:-300}
rt=("$NUCLEUS" --root "$WORK/state")

clear_all() {
    local id
    for id in $("${rt[@]}" list -q); do "${rt[@]}" delete --force "$id"; done
}

# Two bundles with one root filesystem: one that waits to be killed, one that ends with the code that it is told.
set_up() {
    RUNTIME=$NUCLEUS "$here_stress/bundle.sh" wait sleep 1000
    mkdir told
    jq --arg root "$PWD/wait/rootfs" '.root.path = $root | .process.args = ["sh", "-c",
        "mkfifo /run/end; read code </run/end; exit $code"]
        | .mounts += [{ destination: "/run", type: "tmpfs", source: "tmpfs" }]' wait/config.json >told/config.json
    mkdir state codes
}

# code WANTED COMMAND...: the command ends with this exit code; what it says goes to the caller's file.
code() {
    local want=$1 rc=0
    shift
    "$@" || rc=$?
    [ "$rc" = "$want" ] || { echo "$*: exit code $rc, wanted $want"; return 1; }
}
status_is() { [ "$("${rt[@]}" state "$1" | jq -r .status)" = "$2" ]; }

# The life of one container by the engines' verbs, with descriptors of the caller open.
by_verbs() {
    local id=s$1 n=$(($1 % 200 + 1))
    exec 7</dev/null 8>/dev/null
    code 0 "${rt[@]}" create --bundle wait --pid-file "$id.pid" "$id" </dev/null >/dev/null
    status_is "$id" created
    code 0 "${rt[@]}" start "$id"
    code "$n" "${rt[@]}" exec "$id" sh -c "exit $n"
    # ls has one more open: the directory itself.
    [ "$("${rt[@]}" exec "$id" sh -c 'ls /proc/self/fd | xargs; ls /proc/1/fd | xargs')" = $'0 1 2 3\n0 1 2' ]
    code 255 "${rt[@]}" exec "$id" /missing 2>/dev/null
    code 1 "${rt[@]}" delete "$id" 2>/dev/null # it runs
    code 0 "${rt[@]}" kill "$id" KILL
    until status_is "$id" stopped; do sleep 0.05; done
    code 255 "${rt[@]}" exec "$id" true 2>/dev/null
    code 0 "${rt[@]}" delete "$id"
    code 1 "${rt[@]}" state "$id" 2>/dev/null
    rm "$id.pid"
}

# In the foreground: the container's exit code is the runtime's.
in_foreground() {
    local id=f$1 n=$(($1 % 200 + 1)) p rc=0
    "${rt[@]}" run --bundle told "$id" </dev/null &
    p=$!
    until "${rt[@]}" exec "$id" test -p /run/end 2>/dev/null; do kill -0 "$p"; sleep 0.05; done
    # Detached: with the container's end it is killed, perhaps before it has ended by itself.
    code 0 "${rt[@]}" exec --detach "$id" sh -c "echo $n >/run/end" </dev/null >/dev/null
    wait "$p" || rc=$?
    [ "$rc" = "$n" ] || { echo "run: exit code $rc, wanted $n"; return 1; }
    code 1 "${rt[@]}" state "$id" 2>/dev/null
}

# many FUNCTION COUNT: that often, AT_ONCE at a time; what goes wrong is printed.
many() {
    local i failed=0
    rm -f codes/*
    for i in $(seq "$2"); do
        [ "$(jobs -rp | wc -l)" -lt "$AT_ONCE" ] || wait -n || true
        ( set -eE; trap 'echo "$1 $i: line $LINENO: $BASH_COMMAND" >&2' ERR; "$1" "$i"; echo well >"codes/$i" ) 2>"codes/$i.err" &
    done
    wait
    for i in $(seq "$2"); do
        [ -s "codes/$i" ] || { failed=$((failed + 1)); sed "s/^/$1 $i: /" "codes/$i.err" >&2; }
    done
    want "$failed" 0 'failed'
    want "$("${rt[@]}" list -q)" '' 'left over'
}

holds 'set-up: bundles' set_up
baseline
cgroups_before=$(find /sys/fs/cgroup -type d | sort)
files_before=$(find "$WORK" /run -xdev -not -path "$WORK/out*" -not -path "*/codes/*" -not -path "*/.cache*" | sort)
holds "$COUNT containers, $AT_ONCE at once: create, start, exec, kill, delete; every exit code" many by_verbs "$COUNT"
holds "$((COUNT / 4)) in the foreground, $AT_ONCE at once; every exit code" many in_foreground $((COUNT / 4))
left=$(diff <(echo "$cgroups_before") <(find /sys/fs/cgroup -type d | sort))
if [ -z "$left" ]; then pass 'no cgroup more than before'; else fail 'no cgroup more than before' "$left"; fi
left=$(diff <(echo "$files_before") <(find "$WORK" /run -xdev -not -path "$WORK/out*" -not -path "*/codes/*" \
    -not -path "*/.cache*" | sort))
if [ -z "$left" ]; then pass 'no file or directory more than before'; else fail 'no file or directory more than before' "$left"; fi
leak_check no-such-cgroup "$WORK/state"
finish stress "$("$NUCLEUS" --version | head -n 1)"
