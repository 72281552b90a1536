# shellcheck shell=bash
# The steps that podman and Docker share, as both have nearly the same command line. Sourced after lib.sh by podman.sh,
# podman-rootless.sh and docker.sh, which set E (the command) and I (the image), and define
#   remove NAME...     kills and removes containers at once
#   default_caps       the capability mask that the engine gives to a container
# shellcheck disable=SC2016,SC2154 # single-quoted programs are for the container's shell; E, I: see above

clear_all() {
    local ids
    ids=$("$E" ps -aq)
    # shellcheck disable=SC2086 # a list
    [ -z "$ids" ] || remove $ids
}
all_gone() { want "$("$E" ps -aq)" ''; }
state() { "$E" inspect -f "{{.State.$2}}" "$1"; }
log_has() { like "$("$E" logs "$1" 2>&1)" "$2"; }
log_count() { "$E" logs "$1" | grep -c "$2"; }
logged() { [ "$(log_count "$1" "$2")" -ge "$3" ]; } # NAME TEXT TIMES

# A container that says `up` and then waits; the traps are its own.
waiter() { # NAME TRAPS [OPTION...]
    "$E" run -d --name "$1" "${@:3}" "$I" sh -c "$2; echo up; while :; do sleep 0.1; done"
    until_true 20 log_has "$1" up
}

# ---- life -------------------------------------------------------------------------------------------------------

step_separate() {
    "$E" create --name sep "$I" sh -c 'echo late; exit 5'
    want "$(state sep Status)" created
    want "$("$E" start -a sep || echo "status $?")" $'late\nstatus 5'
    want "$(state sep Status)" exited
    want "$(state sep ExitCode)" 5
    "$E" rm sep
    all_gone
}

step_restart() {
    "$E" run -d --name again "$I" sh -c 'echo started; exec sleep 100'
    "$E" restart -t 0 again
    until_true 20 logged again started 2
    remove again
    all_gone
}

step_conflict() {
    local rc=0
    "$E" create --name twice "$I" true
    "$E" run --name twice "$I" true 2>err || rc=$?
    want "$rc" 125
    like "$(cat err)" 'already in use'
    "$E" rm twice
}

step_inspect_pid() {
    local pid ns
    "$E" run -d --name pid --hostname inner "$I" sleep 1000
    pid=$(state pid Pid)
    want "$(tr '\0' ' ' <"/proc/$pid/cmdline")" 'sleep 1000 '
    want "$(nsenter -t "$pid" -u hostname)" inner
    for ns in mnt pid net ipc uts; do
        differ "$(readlink "/proc/$pid/ns/$ns")" "$(readlink "/proc/self/ns/$ns")" "$ns namespace"
    done
    remove pid
    refused test -e "/proc/$pid"
    all_gone
}

step_logs() {
    "$E" run -d --name logs "$I" sh -c 'echo one; echo two >&2; echo three'
    "$E" wait logs
    want "$("$E" logs logs 2>/dev/null)" $'one\nthree'
    want "$("$E" logs logs 2>&1 >/dev/null)" two
    "$E" rm logs
}

step_term() {
    waiter term 'trap "echo bye; exit 42" TERM'
    "$E" stop -t 30 term
    want "$(state term ExitCode)" 42
    log_has term bye
    "$E" rm term
}

step_term_ignored() {
    waiter deaf 'trap "" TERM'
    "$E" stop -t 1 deaf
    want "$(state deaf ExitCode)" 137
    "$E" rm deaf
}

step_kill_usr1() {
    waiter usr1 'trap "echo got it" USR1'
    "$E" kill -s USR1 usr1
    until_true 10 log_has usr1 'got it'
    want "$(state usr1 Status)" running
    "$E" kill usr1
    want "$("$E" wait usr1)" 137
    "$E" rm usr1
}

step_kill_stopped() {
    "$E" run -d --name still "$I" true
    "$E" wait still
    refused "$E" kill still
    "$E" rm still
}

step_rm_running() {
    "$E" run -d --name busy "$I" sleep 1000
    refused "$E" rm busy
    remove busy
    all_gone
}

step_share_pid() {
    "$E" run -d --name pidns --ipc shareable "$I" sleep 1234
    like "$("$E" run --rm --pid container:pidns --ipc container:pidns "$I" ps)" 'sleep 1234'
    remove pidns
    all_gone
}

step_sequential() {
    local i
    for i in $(seq "$1"); do want "$("$E" run --rm --network none "$I" echo "$i")" "$i"; done
    all_gone
}

step_parallel() {
    local i pids=()
    for i in $(seq "$1"); do
        "$E" run --rm "$I" sh -c "sleep 0.3; echo $i" >"par.$i" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    want "$(cat par.* | sort -n)" "$(seq "$1")"
    all_gone
}

step_cp() {
    echo outside >cp.in
    "$E" run -d --name cp "$I" sleep 1000
    "$E" cp cp.in cp:/tmp/in
    want "$("$E" exec cp cat /tmp/in)" outside
    "$E" exec cp sh -c 'echo inside >/tmp/out'
    "$E" cp cp:/tmp/out cp.out
    want "$(cat cp.out)" inside
    remove cp
}

# What begins with "exec" or "run" here: in a container that has them all.
step_exec() {
    local rc=0
    "$E" run -d --name ex --env A=b --hostname inner "$I" sleep 1000
    want "$("$E" exec -e C=d ex sh -c 'echo $A $C $(hostname)')" 'b d inner'
    want "$(echo piped | "$E" exec -i ex cat)" piped
    want "$("$E" exec -u tester -w /tmp ex sh -c 'id -un; pwd')" $'tester\n/tmp'
    "$E" exec ex sh -c 'exit 9' || rc=$?
    want "$rc" 9
    rc=0
    "$E" exec ex no-such-command >err 2>&1 || rc=$?
    like "$rc" '^12[67]$' # Docker has changed its mind between versions
    like "$(cat err)" '(not found|no such file)'
    "$E" exec -d ex sh -c 'sleep 0.2; echo later >/tmp/later'
    until_true 10 "$E" exec ex test -s /tmp/later
    remove ex
}

# typed KEYS COMMAND...: the command on a terminal of 33 lines and 99 columns, and what is typed there.
typed() {
    local keys=$1 rc=0
    shift
    mkfifo keys
    exec 9<>keys # open until the end: an end of input would be typed as ^D
    printf '%s\n' "$keys" >&9
    script -qec "stty rows 33 cols 99; $*" /dev/null <&9 9<&- || rc=$?
    exec 9<&-
    rm keys
    return "$rc"
}

step_exec_terminal() {
    local out rc=0
    "$E" run -d --name tty "$I" sleep 1000
    out=$(typed 'until [ "$(stty size)" = "33 99" ]; do sleep 0.1; done; test -t 2 && tty; exit 5' \
        "$E" exec -it tty sh) || rc=$?
    want "$rc" 5
    like "$out" '^/dev/pts/[0-9]+'
    remove tty
}

step_run_terminal() {
    local out rc=0
    out=$(typed 'until [ "$(stty size)" = "33 99" ]; do sleep 0.1; done; echo "[$(tty) $$]"; exit 6' \
        "$E" run --rm -it "$I" sh) || rc=$?
    want "$rc" 6
    like "$out" '^\[/dev/pts/0 1\]'
    all_gone
}

common_life() {
    prints 'run prints from inside' "$(uname -s) 1 inner" "$E" run --rm --hostname inner "$I" sh -c 'echo $(uname -s) $$ $(hostname)'
    exits 'exit status 0' 0 '^$' "$E" run --rm "$I" sh -c 'echo; exit 0'
    exits 'exit status 7' 7 '^$' "$E" run --rm "$I" sh -c 'echo; exit 7'
    exits 'exit status 126: not an executable file' 126 'permission denied' "$E" run --rm "$I" /etc/passwd
    exits 'exit status 127: no such file' 127 'no such file or directory' "$E" run --rm "$I" /no/such/file
    exits 'exit status 127: not found in PATH' 127 'executable file.* not found in' "$E" run --rm "$I" no-such-command
    exits 'killed by a signal: 128 + number' 143 '^$' "$E" run --rm --init "$I" sh -c 'echo; kill -TERM $$'
    holds 'failed and finished containers are gone (--rm)' all_gone
    holds 'create, then start; status and exit code' step_separate
    holds 'restart' step_restart
    holds 'a name is used twice: refused' step_conflict
    holds 'inspect gives the pid, in namespaces of its own' step_inspect_pid
    holds 'detached: logs, both streams' step_logs
    holds 'stop: TERM is honoured' step_term
    holds 'stop: KILL after the time' step_term_ignored
    holds 'kill -s USR1, then KILL' step_kill_usr1
    holds 'kill of a stopped container: refused' step_kill_stopped
    holds 'rm refuses, rm -f removes a running container' step_rm_running
    holds "another container's PID and IPC namespace" step_share_pid
    holds 'exec: output, stdin, user, exit codes, detached' step_exec
    holds 'exec -it: a terminal, its size, what is typed' step_exec_terminal
    holds 'run -it: the same' step_run_terminal
    holds 'cp: into and out of a container' step_cp
    prints 'stdin is piped through' 'hi' bash -c "echo hi | $E run --rm -i $I cat"
    prints 'a terminal (-t)' $'/dev/pts/0\r' "$E" run --rm -t "$I" sh -c 'test -t 0 && test -t 1 && tty'
}

# ---- process and files ------------------------------------------------------------------------------------------

step_volumes() {
    mkdir -p vol
    echo outside >vol/in
    want "$("$E" run --rm -v "$PWD/vol:/data" "$I" sh -c 'cat /data/in; echo inside >/data/out')" outside
    want "$(cat vol/out)" inside
    want "$("$E" run --rm -v "$PWD/vol:/data:ro" "$I" sh -c 'touch /data/no 2>/dev/null || cat /data/in')" outside
    refused test -e vol/no
    "$E" run --rm -v "$PWD/vol/in:/etc/one-file:ro" "$I" grep -q outside /etc/one-file
    "$E" run --rm -v named:/data "$I" sh -c 'echo kept >/data/f'
    want "$("$E" run --rm -v named:/data "$I" cat /data/f)" kept
    "$E" volume rm named
}

common_process() {
    prints 'environment' 'b yes' "$E" run --rm -e A=b "$I" sh -c 'echo $A $FROM_IMAGE'
    prints 'working directory' /var/tmp "$E" run --rm -w /var/tmp "$I" pwd
    prints 'user by number' '1234 4321' "$E" run --rm -u 1234:4321 "$I" sh -c 'echo $(id -u) $(id -g)'
    prints 'user by name, with groups' '1000 1000 1000 900 7777' "$E" run --rm -u tester --group-add 7777 "$I" \
        sh -c 'echo $(id -u) $(id -g) $(id -G)'
    prints 'rlimits' '100 200' "$E" run --rm --ulimit nofile=100:200 --ulimit nproc=500:600 "$I" \
        sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)'
    prints 'oom_score_adj' 500 "$E" run --rm --oom-score-adj 500 "$I" cat /proc/self/oom_score_adj
    prints 'sysctl' 4321 "$E" run --rm --sysctl kernel.msgmax=4321 "$I" cat /proc/sys/kernel/msgmax
    matches 'tmpfs with options' '^tmpfs on /t type tmpfs \(rw,nosuid,nodev,noexec.*size=1024k.*mode=700' \
        "$E" run --rm --tmpfs /t:rw,size=1m,mode=0700,noexec "$I" mount
    prints 'size of /dev/shm' 2048 "$E" run --rm --shm-size 2m "$I" sh -c "df -k /dev/shm | awk 'END { print \$2 }'"
    prints 'read-only root, a writable tmpfs' refused "$E" run --rm --read-only --tmpfs /w "$I" \
        sh -c 'touch /x 2>/dev/null || { touch /w/y && echo refused; }'
    matches 'init process (--init)' '^ *1 root +.*(catatonit|podman-init|docker-init)' "$E" run --rm --init "$I" ps
    prints 'devices' 'character special file 1:3 666' "$E" run --rm "$I" stat -c '%F %t:%T %a' /dev/null
    prints 'a mount on the place of a default device' 1:9 "$E" run --rm -v /dev/urandom:/dev/random "$I" stat -c %t:%T /dev/random
    prints 'network: none' 'lo' "$E" run --rm --network none "$I" ls /sys/class/net
    prints 'network: host' "$(readlink /proc/self/ns/net)" "$E" run --rm --network host "$I" readlink /proc/self/ns/net
}

# ---- security ---------------------------------------------------------------------------------------------------

common_security() {
    local eff='$(grep -E "Cap(Eff|Bnd|Amb)" /proc/self/status)' c=$default_caps
    prints 'seccomp: filter is on' 'Seccomp: 2' "$E" run --rm "$I" sh -c 'echo $(grep Seccomp: /proc/self/status)'
    prints 'seccomp: unconfined' 'Seccomp: 0' "$E" run --rm --security-opt seccomp=unconfined "$I" \
        sh -c 'echo $(grep Seccomp: /proc/self/status)'
    exits 'seccomp: unshare is refused' 1 'operation not permitted' "$E" run --rm "$I" unshare -m true
    prints 'no new privileges' 'NoNewPrivs: 1' "$E" run --rm --security-opt no-new-privileges "$I" \
        sh -c 'echo $(grep NoNewPrivs: /proc/self/status)'
    prints 'capabilities: default' "CapEff: $c CapBnd: $c CapAmb: 0000000000000000" "$E" run --rm "$I" sh -c "echo $eff"
    prints 'capabilities: none' 'CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000000000' \
        "$E" run --rm --cap-drop all "$I" sh -c 'echo $(grep -E "Cap(Eff|Prm|Bnd)" /proc/self/status)'
    prints 'capabilities: added' 'CapEff: 0000000000003000' "$E" run --rm --cap-drop all --cap-add net_admin \
        --cap-add net_raw "$I" sh -c 'echo $(grep CapEff /proc/self/status)'
    prints 'capabilities: none for a user' 'CapEff: 0000000000000000' "$E" run --rm -u tester "$I" \
        sh -c 'echo $(grep CapEff /proc/self/status)'
    prints 'masked paths' '0 0' "$E" run --rm "$I" sh -c 'echo $(cat /proc/timer_list | wc -c) $(ls /sys/firmware | wc -l)'
    prints 'read-only paths' 'refused refused' "$E" run --rm "$I" \
        sh -c 'for f in /proc/sys/kernel/domainname /sys/fs/x; do echo y 2>/dev/null >$f || echo refused; done | xargs'
}

# ---- limits -----------------------------------------------------------------------------------------------------

# limit NAME CONTROLLER V1FILE V2FILE: what the kernel says about a container.
limit() { cgroup_file "$(state "$1" Pid)" "${@:2}"; }

step_memory() {
    "$E" run -d --name mem --memory 64m --memory-swap 64m "$I" sleep 1000
    want "$(limit mem memory memory.limit_in_bytes memory.max)" 67108864
    remove mem
}

step_cpus() {
    "$E" run -d --name cpus --cpus 0.5 --cpu-shares 512 "$I" sleep 1000
    like "$(limit cpus cpu cpu.cfs_quota_us cpu.max)" '^50000( 100000)?$'
    like "$(limit cpus cpu cpu.shares cpu.weight)" '^(512|20|59)$'
    remove cpus
}

step_cpuset() {
    "$E" run -d --name cpuset --cpuset-cpus 0 "$I" sleep 1000
    want "$(limit cpuset cpuset cpuset.cpus cpuset.cpus)" 0
    remove cpuset
}

step_pids() {
    "$E" run -d --name pids --pids-limit 20 "$I" sleep 1000
    want "$(limit pids pids pids.max pids.max)" 20
    remove pids
    like "$("$E" run --rm --pids-limit 20 "$I" sh -c 'for i in $(seq 40); do sleep 3 & done; wait' 2>&1)" "can't fork"
}

step_update() {
    local before
    "$E" run -d --name upd --memory 64m --memory-swap 64m --cpus 0.5 --pids-limit 30 "$I" sleep 1000
    before=$(limit upd pids pids.max pids.max)
    "$E" update --memory 32m upd
    want "$(limit upd memory memory.limit_in_bytes memory.max)" 33554432
    "$E" update --cpu-shares 256 --cpuset-cpus 0 upd
    like "$(limit upd cpu cpu.shares cpu.weight)" '^(256|10|35)$'
    want "$(limit upd cpuset cpuset.cpus cpuset.cpus)" 0
    # What is not named stays.
    want "$(limit upd memory memory.limit_in_bytes memory.max)" 33554432
    like "$(limit upd cpu cpu.cfs_quota_us cpu.max)" '^50000( 100000)?$'
    want "$(limit upd pids pids.max pids.max)" "$before"
    remove upd
}

step_pause() {
    waiter frozen 'trap "echo woken" USR1'
    "$E" pause frozen
    want "$(state frozen Status)" paused
    like "$(limit frozen freezer freezer.state cgroup.freeze)" '^(FROZEN|1)$'
    refused "$E" exec frozen true
    "$E" unpause frozen
    want "$(state frozen Status)" running
    like "$(limit frozen freezer freezer.state cgroup.freeze)" '^(THAWED|0)$'
    "$E" kill -s USR1 frozen
    until_true 10 log_has frozen woken
    "$E" pause frozen
    remove frozen # a paused one can be killed, too
    all_gone
}

step_stats() {
    "$E" run -d --name stats --memory 64m --memory-swap 64m "$I" sh -c 'sleep 1000 & sleep 1000 & wait'
    until_true 20 stats_tell
    remove stats
}
stats_tell() { like "$("$E" stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' stats)" '/ ?(64MiB|67\.11MB) 3$'; }

common_limits() {
    limits 'memory limit' step_memory
    limits 'cpu limits' step_cpus
    limits 'cpuset' step_cpuset
    limits 'pids limit' step_pids
    limits 'update of limits; the others stay' step_update
    holds 'pause, unpause; a paused one is killed' step_pause
    limits 'stats: memory limit and processes' step_stats
}
