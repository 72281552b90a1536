#!/usr/bin/env bash
# containerd's shim, driven by ctr, works with the runtime. RUNTIME=/path/to/runtime containerd.sh
# Called by run.sh (`make test-engines`) and by hand. Every step is a real container; lib.sh has the rules.
# containerd runs with a root, a state directory and a socket of its own; its PATH leads `runc` to the runtime, because
# some options of ctr 1.6 (--no-pivot) make the shim forget --runc-binary.
# shellcheck disable=SC2016,SC2317 # single-quoted programs are for the container's shell; steps are called by name
. "$(dirname "$0")/lib.sh"
sandbox "$@"

I=localhost/busybox:latest
export CONTAINERD_ADDRESS=$WORK/containerd.sock

clear_all() {
    local id
    for id in $(ctr task ls -q); do ctr task kill -s KILL "$id"; done
    for id in $(ctr task ls -q); do ctr task rm -f "$id"; done
    for id in $(ctr container ls -q); do ctr container rm "$id"; done
}
all_gone() { want "$(ctr task ls -q; ctr container ls -q)" ''; }

set_up() {
    mkdir -p containerd
    { cat <<-END; documented_file /etc/containerd/config.toml | grep -v '^version'; } >config.toml
	version = 2
	root = "$WORK/containerd/root"
	state = "$WORK/containerd/state"
	[grpc]
	address = "$CONTAINERD_ADDRESS"
	[plugins."io.containerd.internal.v1.opt"]
	path = "$WORK/containerd/opt"
	END
    ln -s "$NUCLEUS" bin/runc
    "$here/images.sh" busybox.tar
}

step_config() { like "$(containerd -c config.toml config dump)" "BinaryName = \"$NUCLEUS\""; }

step_up() {
    until_true 20 ctr version
    ctr image import --snapshotter native busybox.tar
    ctr image check "name==$I"
}

# With the native snapshotter: overlay's would do as well, but this one leaves nothing to unmount in question.
run=(ctr run --runc-binary "$NUCLEUS" --snapshotter native)
# For a program whose output is looked at: ctr loses what a task has written that ends before ctr has opened its FIFO.
held=(sh -c '"$@"; s=$?; sleep 0.1; exit $s' held)
create=(ctr container create --snapshotter native) # knows no --runc-binary

pid_of() { ctr task ls | awk -v id="$1" '$1 == id { print $2 }'; }
status_of() { ctr task ls | awk -v id="$1" '$1 == id { print $3 }'; }
is_status() { [ "$(status_of "$1")" = "$2" ]; }

step_separate() {
    "${create[@]}" "$I" sep awk 'BEGIN { print "late"; fflush(); system("sleep 0.1"); exit 5 }' # a -c would be ctr's own
    want "$(status_of sep)" ''
    want "$(ctr task start sep || echo "status $?")" $'late\nstatus 5'
    ctr container rm sep
    all_gone
}

step_conflict() {
    "${run[@]}" -d "$I" twice sleep 1000
    refused "${run[@]}" "$I" twice true 2>err
    cat err >&2
    like "$(cat err)" 'already exists'
    is_status twice RUNNING
    ctr task kill -s KILL twice
    until_true 10 is_status twice STOPPED
    ctr task rm twice
    ctr container rm twice
}

step_detached() {
    local pid ns
    "${run[@]}" -d "$I" bg sleep 1000
    is_status bg RUNNING
    pid=$(pid_of bg)
    want "$(tr '\0' ' ' <"/proc/$pid/cmdline")" 'sleep 1000 '
    for ns in mnt pid net ipc uts; do
        differ "$(readlink "/proc/$pid/ns/$ns")" "$(readlink "/proc/self/ns/$ns")" "$ns namespace"
    done
    refused ctr task rm bg
    ctr task rm -f bg
    refused test -e "/proc/$pid"
    ctr container rm bg
}

step_log() {
    "${run[@]}" -d --log-uri "file://$WORK/ctr.log" "$I" logs sh -c 'echo one; echo two >&2'
    until_true 10 is_status logs STOPPED
    want "$(sort "$WORK/ctr.log")" $'one\ntwo'
    ctr task rm logs
    ctr container rm logs
}

step_term() {
    "${run[@]}" -d --log-uri "file://$WORK/term.log" "$I" term \
        sh -c 'trap "echo bye; exit 42" TERM; trap "echo usr1" USR1; echo up; while :; do sleep 0.1; done'
    until_true 10 grep -q up "$WORK/term.log"
    ctr task kill -s SIGUSR1 term
    until_true 10 grep -q usr1 "$WORK/term.log"
    is_status term RUNNING
    ctr task kill term
    until_true 10 is_status term STOPPED
    grep bye "$WORK/term.log"
    like "$(ctr task rm term 2>&1)" 'exit code 42'
    ctr container rm term
}

step_kill() {
    "${run[@]}" -d "$I" deaf sh -c 'trap "" TERM; while :; do sleep 0.1; done'
    ctr task kill deaf
    sleep 0.5
    is_status deaf RUNNING
    ctr task kill -s 9 deaf
    until_true 10 is_status deaf STOPPED
    like "$(ctr task rm deaf 2>&1)" 'exit code 137'
    ctr container rm deaf
}

step_kill_all() {
    "${run[@]}" -d "$I" many sh -c 'sleep 1000 & sleep 1000 & wait'
    ctr task kill -a -s KILL many
    until_true 10 is_status many STOPPED
    ctr task rm -f many
    ctr container rm many
    all_gone
}

step_kill_stopped() {
    "${run[@]}" -d "$I" still true
    until_true 10 is_status still STOPPED
    refused ctr task kill still 2>err
    cat err >&2
    like "$(cat err)" 'process already finished|not found'
    ctr task rm still
    ctr container rm still
}

step_hostpid() {
    "${run[@]}" -d --with-ns "pid:/proc/1/ns/pid" "$I" hostpid sh -c 'sleep 1001 & exec sleep 1000'
    local pid
    pid=$(pid_of hostpid)
    want "$(readlink "/proc/$pid/ns/pid")" "$(readlink /proc/1/ns/pid)"
    ctr task kill -s KILL hostpid
    until_true 10 is_status hostpid STOPPED
    ctr task rm -f hostpid
    ctr container rm hostpid
    until_true 5 no_sleep_1001
}
no_sleep_1001() { ! pgrep -f 'sleep 1001'; }

step_ps() {
    "${run[@]}" -d "$I" procs sh -c 'sleep 1000 & sleep 1000 & wait'
    until_true 5 three_processes
    ctr task kill -s KILL procs
    until_true 10 is_status procs STOPPED
    ctr task rm -f procs
    ctr container rm procs
}
three_processes() { [ "$(ctr task ps procs | wc -l)" = 4 ]; }

step_limits() {
    local pid
    "${run[@]}" -d --memory-limit 67108864 --cpus 0.5 "$I" limits sleep 1000
    pid=$(pid_of limits)
    want "$(cgroup_file "$pid" memory memory.limit_in_bytes memory.max)" 67108864
    like "$(cgroup_file "$pid" cpu cpu.cfs_quota_us cpu.max)" '^50000( 100000)?$'
    ctr task rm -f limits
    ctr container rm limits
}

step_mount() {
    mkdir -p vol
    echo outside >vol/in
    want "$("${run[@]}" --rm --mount "type=bind,src=$PWD/vol,dst=/data,options=rbind:rw" "$I" m1 "${held[@]}" \
        sh -c 'cat /data/in; echo inside >/data/out')" outside
    want "$(cat vol/out)" inside
    want "$("${run[@]}" --rm --mount "type=bind,src=$PWD/vol,dst=/data,options=rbind:ro" "$I" m2 "${held[@]}" \
        sh -c 'touch /data/no 2>/dev/null || cat /data/in')" outside
    refused test -e vol/no
}

step_config_json() {
    RUNTIME=$NUCLEUS "$here/../bundle.sh" bundle sh -c 'echo $(id -u) $(id -g) $(id -G) $(hostname) $(umask)'
    jq --arg root "$PWD/bundle/rootfs" '.root.path = $root | .hostname = "inner"
        | .process.user = { uid: 1000, gid: 1000, additionalGids: [900], umask: 63 }' bundle/config.json >own.json
    want "$("${run[@]}" --rm --config own.json own)" '1000 1000 1000 900 inner 0077'
}

step_rootfs() {
    "$here/../bundle.sh" --rootfs image
    echo here >image/mark
    want "$(ctr run --runc-binary "$NUCLEUS" --rm --rootfs "$PWD/image" dir /bin/cat /mark)" here
}

step_terminal() {
    like "$(script -qec "ctr run --runc-binary $NUCLEUS --snapshotter native --rm -t $I tty sh -c 'test -t 0 && tty'" \
        /dev/null)" '/dev/pts/0'
}

step_exec_terminal() {
    "${run[@]}" -d "$I" ext sleep 1000
    like "$(script -qec "ctr task exec -t --exec-id t1 ext sh -c 'test -t 0 && tty'" /dev/null)" '/dev/pts/[0-9]'
    removed ext
}

step_exec() {
    local rc=0
    "${run[@]}" -d --env A=b "$I" ex sleep 1000
    want "$(ctr task exec --exec-id e1 ex sh -c 'echo $A $(id -u)')" 'b 0'
    want "$(ctr task exec --exec-id e2 --user 1000 --cwd /tmp ex sh -c 'echo $(pwd) $(id -u)')" '/tmp 1000'
    ctr task exec --exec-id e3 ex sh -c 'exit 9' || rc=$?
    want "$rc" 9
    refused ctr task exec --exec-id e4 ex /missing
    ctr task rm -f ex
    ctr container rm ex
}

# removed ID: kills and deletes a task and its container.
removed() {
    ctr task rm -f "$1"
    ctr container rm "$1"
}

# What containerd's log says about a failure that ctr keeps to itself.
why() { grep -aE 'level=(error|warning)' "$WORK/containerd.log" | grep -a "$1" | tail -n 5 >&2; return 1; }

step_metrics() {
    local stats
    "${run[@]}" -d --memory-limit 67108864 "$I" metrics sh -c 'sleep 1000 & sleep 1000 & wait'
    stats=$(ctr task metrics --format json metrics) || why metrics
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        want "$(jq -r .memory.usage_limit <<<"$stats")" 67108864
    else
        want "$(jq -r .memory.usage.limit <<<"$stats")" 67108864
        like "$(jq -r .cpu.usage.total <<<"$stats")" '^[1-9]'
    fi
    until_true 10 three_pids
    removed metrics
}
three_pids() { [ "$(ctr task metrics --format json metrics | jq -r .pids.current)" = 3 ]; }

step_pause() {
    local pid
    "${run[@]}" -d --log-uri "file://$WORK/pause.log" "$I" frozen \
        sh -c 'trap "echo woken" USR1; echo up; while :; do sleep 0.1; done'
    until_true 10 grep up "$WORK/pause.log"
    pid=$(pid_of frozen)
    ctr task pause frozen
    is_status frozen PAUSED
    like "$(cgroup_file "$pid" freezer freezer.state cgroup.freeze)" '^(FROZEN|1)$'
    refused ctr task exec --exec-id p1 frozen true
    ctr task kill -s USR1 frozen # waits for the thaw
    ctr task resume frozen
    is_status frozen RUNNING
    like "$(cgroup_file "$pid" freezer freezer.state cgroup.freeze)" '^(THAWED|0)$'
    until_true 10 grep woken "$WORK/pause.log"
    ctr task pause frozen
    ctr task kill -s KILL frozen # a paused one dies at once
    until_true 10 is_status frozen STOPPED
    removed frozen
}

# shellcheck disable=SC2094 # the file is looked at while it grows
# The shim tells of each step, of the kernel's memory killer too; containerd passes it on.
step_events() {
    local topic listener
    ctr events >>events &
    listener=$!
    until_true 10 says_start
    : >events
    "${run[@]}" -d --memory-limit 16777216 "$I" told \
        sh -c 'until [ -e /go ]; do sleep 0.1; done; tail -c 100m /dev/zero; until [ -e /end ]; do sleep 0.1; done; exit 3'
    ctr task pause told
    ctr task resume told
    ctr task exec --exec-id e1 told touch /go
    until_true 20 grep /tasks/oom events
    ctr task exec --exec-id e2 told touch /end
    until_true 20 is_status told STOPPED
    removed told || true # its exit code is not 0
    for topic in create start paused resumed exec-added exec-started oom exit delete; do
        until_true 10 grep "/tasks/$topic " events
    done
    kill "$listener"
    like "$(grep '/tasks/exit ' events)" '"exit_status":3.*"id":"told"|"id":"told".*"exit_status":3'
    all_gone
}
says_start() { ctr namespaces label default seen="$SECONDS" && grep -q /namespaces/update events; }

# A kill as soon as containerd knows the task, that is while it is created or started.
step_kill_starting() {
    local i p
    for i in 1 2 3 4 5 6 7 8; do
        "${run[@]}" -d "$I" "race$i" sleep 1000 2>err &
        p=$!
        until_true 20 killed_or_gone "race$i" "$p"
        wait "$p" || true
        until_true 10 stopped_or_gone "race$i"
        ctr task rm -f "race$i" || true
        ctr container rm "race$i" || true
    done
    all_gone
    want "$(pgrep -fx 'sleep 1000' || true)" ''
}
killed_or_gone() { ctr task kill -s KILL "$1" || { ! kill -0 "$2" && [ -z "$(status_of "$1")" ]; }; }
stopped_or_gone() { like "$(status_of "$1")" '^(STOPPED)?$'; }

# A kill of a task that ends by itself meanwhile: done, or told that it is over; never a failure of another kind.
step_kill_ending() {
    local i
    for i in 1 2 3 4 5 6 7 8; do
        "${run[@]}" -d "$I" "ending$i" true
        ctr task kill -s KILL "ending$i" 2>err || like "$(cat err)" 'process already finished|not found'
        until_true 10 is_status "ending$i" STOPPED
        ctr task rm "ending$i" || true # 137 if the kill was quicker
        ctr container rm "ending$i"
    done
    all_gone
}

# A delete while processes are being exec'd into it: they end or fail, and all is gone.
step_delete_exec() {
    local i j p
    for i in 1 2 3 4; do
        "${run[@]}" -d "$I" "busy$i" sleep 1000
        for j in 1 2 3; do ctr task exec --exec-id "x$i$j" "busy$i" sleep 1003 >exec.out 2>&1 & done
        [ "$i" -lt 3 ] || until_true 10 pgrep -fx 'sleep 1003' # at first before they run, then after
        ctr task rm -f "busy$i"
        for p in $(jobs -p); do refused wait "$p"; done
        ctr container rm "busy$i"
    done
    want "$(pgrep -fx 'sleep 100[03]' || true)" ''
    all_gone
}

step_checkpoint() {
    "${run[@]}" -d "$I" save sleep 1000
    refused ctr task checkpoint --image-path "$WORK/checkpoint" save
    is_status save RUNNING
    want "$(ctr task exec --exec-id alive save echo alive)" alive
    removed save
}

step_places() {
    "${run[@]}" -d --cgroup /judged/by-path --pid-file here.pid "$I" placed sleep 1000
    want "$(cat here.pid)" "$(pid_of placed)"
    like "$(grep -E ':pids:|^0::' here.pid "/proc/$(cat here.pid)/cgroup")" ':/judged/by-path$'
    removed placed
    find /sys/fs/cgroup -depth -type d -path '*/judged' -exec rmdir {} +
}

# STRESS containers, 16 at once, each with an exec; every exit code, and what containerd itself holds open afterwards.
STRESS=50
one_of_many() {
    local id=many$1 n=$(($1 % 200 + 1)) rc=0
    "${run[@]}" -d --log-uri "file://$WORK/$id.log" "$I" "$id" sh -c "echo $id; until [ -e /end ]; do sleep 0.1; done; exit $n"
    ctr task exec --exec-id one "$id" sh -c "exit $n" || rc=$?
    want "$rc" "$n" 'exec'
    ctr task exec --exec-id two "$id" touch /end
    until_true 60 is_status "$id" STOPPED
    ctr task rm "$id" 2>"$id.err" || true
    like "$(cat "$id.err")" "exit code $n\"?\$"
    want "$(cat "$id.log")" "$id"
    ctr container rm "$id"
    rm "$id.log" "$id.err"
    echo "$id" >>all-well
}
step_stress() {
    local i
    rm -f all-well
    for i in $(seq "$STRESS"); do
        [ "$(jobs -rp | wc -l)" -lt 16 ] || wait -n || true
        ( set -e; one_of_many "$i" ) &
    done
    wait
    want "$(wc -l <all-well)" "$STRESS" 'containers that went well'
    all_gone
}
open_files() { find "/proc/${daemons[0]}/fd" -type l | wc -l; }
few_open_files() { [ "$(open_files)" -le "$1" ]; }

step_sequential() {
    local i
    for i in $(seq 20); do want "$("${run[@]}" --rm "$I" "seq$i" "${held[@]}" echo "$i")" "$i"; done
    all_gone
}

step_parallel() {
    local i pids=()
    for i in 1 2 3 4 5 6; do
        "${run[@]}" --rm "$I" "par$i" "${held[@]}" echo "$i" >"par.$i" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    want "$(cat par.*)" $'1\n2\n3\n4\n5\n6'
    all_gone
}

caps='$(grep -E "Cap(Eff|Bnd)" /proc/self/status)'

holds 'set-up: configuration and image' set_up
holds 'containerd takes the documented configuration' step_config
daemon containerd.log containerd -c config.toml
holds 'containerd is up and has the image' step_up
baseline
documented 'ctr '
prints 'run prints from inside' "$(uname -s) 1" "${run[@]}" --rm "$I" r1 sh -c 'echo $(uname -s) $$; sleep 0.1'
exits 'exit status 0' 0 '^$' "${run[@]}" --rm "$I" r2 sh -c 'echo; exit 0'
exits 'exit status 7' 7 '^$' "${run[@]}" --rm "$I" r3 sh -c 'echo; exit 7'
exits 'killed by a signal: 128 + number' 137 '^$' "${run[@]}" --rm --with-ns pid:/proc/1/ns/pid "$I" r4 sh -c 'echo; kill -KILL $$'
exits 'not an executable file: told' 1 'permission denied' "${run[@]}" --rm "$I" r5 /etc/passwd
exits 'no such file: told' 1 'no such file or directory' "${run[@]}" --rm "$I" r6 /no/such/file
exits 'not found in PATH: told' 1 'executable file not found in' "${run[@]}" --rm "$I" r7 no-such-command
holds 'failed and finished containers are gone (--rm)' all_gone
holds 'create, then start; exit code' step_separate
holds 'an id is used twice: refused' step_conflict
holds 'detached; pid, in namespaces of its own; delete' step_detached
holds 'detached: log, both streams' step_log
holds 'kill USR1, then TERM: both honoured' step_term
holds 'kill TERM ignored, then KILL' step_kill
holds 'kill --all' step_kill_all
holds 'kill of a stopped task: "already finished"' step_kill_stopped
holds "the host's PID namespace: the rest is killed with init" step_hostpid
holds 'task ps' step_ps
prints 'environment and working directory' 'b /tmp' "${run[@]}" --rm --env A=b --cwd /tmp "$I" e1 "${held[@]}" sh -c 'echo $A $(pwd)'
holds "a bundle's own config.json: user, host name" step_config_json
limits 'memory and cpu limits' step_limits
limits 'task metrics: memory, cpu time, processes' step_metrics
holds 'pause, resume; a paused one is killed' step_pause
limits "events: the shim's own" step_events
holds 'bind mounts: rw, ro' step_mount
prints 'read-only root' refused "${run[@]}" --rm --read-only "$I" e4 "${held[@]}" sh -c 'touch /x 2>/dev/null || echo refused'
prints 'network: none' lo "${run[@]}" --rm "$I" e5 "${held[@]}" ls /sys/class/net
prints 'network: host' "$(readlink /proc/self/ns/net)" "${run[@]}" --rm --net-host "$I" e6 "${held[@]}" readlink /proc/self/ns/net
prints 'capabilities: default' 'CapEff: 00000000a80425fb CapBnd: 00000000a80425fb' "${run[@]}" --rm "$I" e7 "${held[@]}" sh -c "echo $caps"
prints 'capabilities: dropped' 'CapEff: 00000000a80405fb CapBnd: 00000000a80405fb' "${run[@]}" --rm --cap-drop CAP_NET_RAW "$I" e8 "${held[@]}" sh -c "echo $caps"
prints 'no new privileges' 'NoNewPrivs: 1' "${run[@]}" --rm "$I" e9 "${held[@]}" sh -c 'echo $(grep NoNewPrivs /proc/self/status)'
prints 'seccomp: filter is on' 'Seccomp: 2' "${run[@]}" --rm --seccomp "$I" e10 "${held[@]}" sh -c 'echo $(grep Seccomp: /proc/self/status)'
prints 'masked and read-only paths' '0 refused' "${run[@]}" --rm "$I" e11 "${held[@]}" sh -c 'echo x 2>/dev/null >/proc/sys/kernel/domainname || echo $(cat /proc/timer_list | wc -c) refused'
prints 'device is added' 'a:e5' "${run[@]}" --rm --device /dev/fuse "$I" e12 "${held[@]}" stat -c '%t:%T' /dev/fuse
prints 'rlimits' 1024 "${run[@]}" --rm "$I" e13 "${held[@]}" sh -c 'ulimit -Hn'
prints 'no pivot_root' pivoted "${run[@]}" --rm --no-pivot "$I" e14 "${held[@]}" echo pivoted
prints 'user namespace' '0 100000 5000 0 200000 5000 0 0:0' "${run[@]}" --rm --uidmap 0:100000:5000 --gidmap 0:200000:5000 "$I" e16 "${held[@]}" \
    sh -c 'echo $(cat /proc/self/uid_map /proc/self/gid_map) $(id -u) $(stat -c %u:%g /bin)'
holds 'a root filesystem by path' step_rootfs
holds 'a terminal' step_terminal
holds 'exec: output, user, exit codes' step_exec
holds 'exec -t: a terminal' step_exec_terminal
holds 'a cgroup by path, a pid file' step_places
prints 'new privileges are allowed' 'NoNewPrivs: 0' "${run[@]}" --rm --allow-new-privs "$I" e15 "${held[@]}" sh -c 'echo $(grep NoNewPrivs /proc/self/status)'
holds 'checkpoint: refused, the task lives on' step_checkpoint
holds 'kill while it starts' step_kill_starting
holds 'kill while it ends by itself' step_kill_ending
holds 'delete while processes are executed in it' step_delete_exec
files_before=$(open_files)
STEP_TIMEOUT=300 holds "$STRESS containers, 16 at once; every exit code" step_stress
holds 'containerd has no more files open than before' until_true 20 few_open_files "$files_before"
holds '20 runs, one after another' step_sequential
holds '6 runs at once' step_parallel
holds 'everything is removed' all_gone
stop_daemons
leak_check /default/ "$WORK/containerd/state/io.containerd.runtime.v2.task/default" /run/containerd/runc/default
finish containerd "$("$NUCLEUS" --version | head -n 1)"
