#!/usr/bin/env bash
# Docker (dockerd with its own containerd) drives the runtime through its daily work. RUNTIME=/path/to/runtime docker.sh
# Called by run.sh (`make test-engines`) and by hand. Every step is a real container; lib.sh has the rules.
# The bridge network brings Docker's prestart hook (libnetwork-setkey), which only works if the runtime runs it at the
# right moment with the right state on its stdin.
# shellcheck disable=SC2016,SC2317 # single-quoted programs are for the container's shell; steps are called by name
. "$(dirname "$0")/lib.sh"
sandbox "$@"

I=localhost/busybox
export DOCKER_HOST=unix://$WORK/docker.sock
files=$(ulimit -Hn)

clear_all() {
    local ids
    ids=$(docker ps -aq)
    # shellcheck disable=SC2086 # a list
    [ -z "$ids" ] || docker rm -f $ids
}
all_gone() { want "$(docker ps -aq)" ''; }
state() { docker inspect -f "{{.State.$2}}" "$1"; }
log_has() { docker logs "$1" 2>&1 | grep -q "$2"; }

set_up() {
    mkdir -p docker
    readme_file /etc/docker/daemon.json >documented.json
    jq --arg dir "$WORK/docker" --argjson files "$files" '. + {
        "data-root": "\($dir)/root", "exec-root": "\($dir)/exec", pidfile: "\($dir)/pid", hosts: [env.DOCKER_HOST],
        "default-runtime": "nucleus", "storage-driver": "overlay2",
        "default-ulimits": { nofile: { Name: "nofile", Hard: $files, Soft: $files } } }' documented.json >daemon.json
    "$here/images.sh" busybox.tar
}

step_up() {
    until_true 30 docker version
    docker load -q -i busybox.tar
    docker run --rm --network host "$I" true # makes Docker's own mounts
}

step_info() {
    like "$(docker info -f '{{.DefaultRuntime}} {{(index .Runtimes "nucleus").Path}}')" "^nucleus $NUCLEUS\$"
    want "$(jq -r '.runtimes.nucleus.path' documented.json)" "$NUCLEUS"
}

step_separate() {
    docker create --name sep "$I" sh -c 'echo late; exit 5'
    want "$(state sep Status)" created
    want "$(docker start -a sep || echo "status $?")" $'late\nstatus 5'
    want "$(state sep Status)" exited
    want "$(state sep ExitCode)" 5
    docker rm sep
    all_gone
}

step_restart() {
    docker run -d --name again "$I" sh -c 'echo started; exec sleep 100'
    docker restart -t 0 again
    until_true 5 two_starts
    docker rm -f again
}
two_starts() { [ "$(docker logs again | grep -c started)" = 2 ]; }

step_restart_policy() {
    docker run -d --name retry --restart on-failure:2 "$I" sh -c 'echo try; exit 3'
    until_true 20 three_tries
    until_true 10 is_exited retry
    docker rm retry
}
three_tries() { [ "$(docker logs retry | grep -c try)" = 3 ]; }
is_exited() { [ "$(state "$1" Status)" = exited ]; }

step_conflict() {
    local rc=0
    docker create --name twice "$I" true
    docker run --name twice "$I" true 2>err || rc=$?
    want "$rc" 125
    like "$(cat err)" 'already in use'
    docker rm twice
}

step_inspect_pid() {
    local pid ns
    docker run -d --name pid --hostname inner "$I" sleep 1000
    pid=$(state pid Pid)
    want "$(tr '\0' ' ' <"/proc/$pid/cmdline")" 'sleep 1000 '
    want "$(nsenter -t "$pid" -u hostname)" inner
    for ns in mnt pid net ipc uts; do
        differ "$(readlink "/proc/$pid/ns/$ns")" "$(readlink "/proc/self/ns/$ns")" "$ns namespace"
    done
    docker rm -f pid
    refused test -e "/proc/$pid"
    all_gone
}

step_logs() {
    docker run -d --name logs "$I" sh -c 'echo one; echo two >&2; echo three'
    docker wait logs
    want "$(docker logs logs 2>/dev/null)" $'one\nthree'
    want "$(docker logs logs 2>&1 >/dev/null)" two
    docker rm logs
}

step_term() {
    docker run -d --name term "$I" sh -c 'trap "echo bye; exit 42" TERM; echo up; while :; do sleep 0.1; done'
    until_true 10 log_has term up
    docker stop -t 30 term
    want "$(state term ExitCode)" 42
    log_has term bye
    docker rm term
}

step_term_ignored() {
    docker run -d --name deaf "$I" sh -c 'trap "" TERM; echo up; while :; do sleep 0.1; done'
    until_true 10 log_has deaf up
    docker stop -t 1 deaf
    want "$(state deaf ExitCode)" 137
    docker rm deaf
}

step_kill_usr1() {
    docker run -d --name usr1 "$I" sh -c 'trap "echo got it" USR1; echo up; while :; do sleep 0.1; done'
    until_true 10 log_has usr1 up
    docker kill -s USR1 usr1
    until_true 10 log_has usr1 'got it'
    want "$(state usr1 Status)" running
    docker kill usr1
    want "$(docker wait usr1)" 137
    docker rm usr1
}

step_kill_stopped() {
    docker run -d --name still "$I" true
    docker wait still
    refused docker kill still
    docker rm still
}

step_rm_running() {
    docker run -d --name busy "$I" sleep 1000
    refused docker rm busy
    docker rm -f busy
    all_gone
}

step_volumes() {
    mkdir -p vol
    echo outside >vol/in
    want "$(docker run --rm -v "$PWD/vol:/data" "$I" sh -c 'cat /data/in; echo inside >/data/out')" outside
    want "$(cat vol/out)" inside
    want "$(docker run --rm -v "$PWD/vol:/data:ro" "$I" sh -c 'touch /data/no 2>/dev/null || cat /data/in')" outside
    refused test -e vol/no
    docker run --rm -v "$PWD/vol/in:/etc/one-file:ro" "$I" grep -q outside /etc/one-file
    docker run --rm -v named:/data "$I" sh -c 'echo kept >/data/f'
    want "$(docker run --rm -v named:/data "$I" cat /data/f)" kept
    docker volume rm named
}

step_memory() {
    docker run -d --name mem --memory 64m --memory-swap 64m "$I" sleep 1000
    want "$(cgroup_file "$(state mem Pid)" memory memory.limit_in_bytes memory.max)" 67108864
    docker rm -f mem
}

step_oom() {
    local rc=0
    docker run --name oom --memory 16m --memory-swap 16m "$I" sh -c 'tail -c 100m /dev/zero; sleep 1; exit 3' || rc=$?
    want "$rc" 3 'exit status'
    want "$(state oom OOMKilled)" true
    docker rm oom
}

step_cpus() {
    local pid
    docker run -d --name cpus --cpus 0.5 --cpu-shares 512 "$I" sleep 1000
    pid=$(state cpus Pid)
    like "$(cgroup_file "$pid" cpu cpu.cfs_quota_us cpu.max)" '^50000( 100000)?$'
    like "$(cgroup_file "$pid" cpu cpu.shares cpu.weight)" '^(512|20|59)$'
    docker rm -f cpus
}

step_cpuset() {
    docker run -d --name cpuset --cpuset-cpus 0 "$I" sleep 1000
    want "$(cgroup_file "$(state cpuset Pid)" cpuset cpuset.cpus cpuset.cpus)" 0
    docker rm -f cpuset
}

step_pids() {
    docker run -d --name pids --pids-limit 20 "$I" sleep 1000
    want "$(cgroup_file "$(state pids Pid)" pids pids.max pids.max)" 20
    docker rm -f pids
    like "$(docker run --rm --pids-limit 20 "$I" sh -c 'for i in $(seq 40); do sleep 3 & done; wait' 2>&1)" "can't fork"
}

step_devices() {
    want "$(docker run --rm --device /dev/fuse "$I" stat -c '%t:%T' /dev/fuse)" a:e5
    # Docker grants MKNOD: the device cgroup alone says no.
    like "$(docker run --rm "$I" sh -c 'mknod /tmp/d c 1 11 && cat /tmp/d' 2>&1 || true)" 'not permitted'
}

step_bridge() {
    local ip
    docker network create judge
    docker run -d --name server --network judge "$I" sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    ip=$(docker inspect -f '{{.NetworkSettings.Networks.judge.IPAddress}}' server)
    like "$ip" '^[0-9]+\.'
    want "$(docker run --rm --network judge "$I" sh -c 'sleep 0.5; wget -q -O - http://server/index.html')" served
    want "$(docker run --rm --network container:server "$I" wget -q -O - http://127.0.0.1/index.html)" served
    docker rm -f server
    docker network rm judge
    like "$(docker run --rm "$I" ip -o addr show dev eth0)" 'inet 172\.'
    all_gone
}

step_publish() {
    docker run -d --name web -p 127.0.0.1:8088:80 "$I" sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    until_true 10 busybox wget -q -O page http://127.0.0.1:8088/index.html
    want "$(cat page)" served
    docker rm -f web
}

step_share_pid() {
    docker run -d --name pidns --ipc shareable "$I" sleep 1234
    like "$(docker run --rm --pid container:pidns --ipc container:pidns "$I" ps)" 'sleep 1234'
    docker rm -f pidns
    all_gone
}

step_host_pid() {
    local pid
    docker run -d --name hostpid --pid host "$I" sh -c 'sleep 1001 & exec sleep 1000'
    want "$(readlink "/proc/$(state hostpid Pid)/ns/pid")" "$(readlink /proc/1/ns/pid)"
    docker kill hostpid
    want "$(docker wait hostpid)" 137
    docker rm hostpid
    until_true 5 no_sleep_1001
}
no_sleep_1001() { ! pgrep -f 'sleep 1001'; }

step_top() {
    docker run -d --name top "$I" sh -c 'sleep 1234 & wait'
    until_true 5 top_shows
    docker rm -f top
}
top_shows() { docker top top | grep -q 'sleep 1234'; }

step_update() {
    docker run -d --name upd --memory 64m --memory-swap 64m "$I" sleep 1000
    docker update --memory 32m upd
    want "$(cgroup_file "$(state upd Pid)" memory memory.limit_in_bytes memory.max)" 33554432
    docker rm -f upd
}

step_build() {
    mkdir -p build
    printf 'FROM %s\nRUN id -u >/built && mkdir /made\nUSER tester\nCMD cat /built\n' "$I" >build/Dockerfile
    DOCKER_BUILDKIT=0 docker build -q -t localhost/built build
    want "$(docker run --rm localhost/built)" 0
    docker rmi -f localhost/built
}

step_exec() {
    local rc=0
    docker run -d --name ex --env A=b --hostname inner "$I" sleep 1000
    want "$(docker exec -e C=d ex sh -c 'echo $A $C $(hostname)')" 'b d inner'
    want "$(echo piped | docker exec -i ex cat)" piped
    want "$(docker exec -u tester -w /tmp ex sh -c 'id -un; pwd')" $'tester\n/tmp'
    docker exec ex sh -c 'exit 9' || rc=$?
    want "$rc" 9
    rc=0
    docker exec ex no-such-command || rc=$?
    like "$rc" '^12[67]$' # Docker has changed its mind between versions
    docker rm -f ex
}

step_sequential() {
    local i
    for i in $(seq 20); do want "$(docker run --rm --network none "$I" echo "$i")" "$i"; done
    all_gone
}

step_parallel() {
    local i pids=()
    for i in 1 2 3 4 5 6; do
        docker run --rm "$I" sh -c "sleep 0.3; echo $i" >"par.$i" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    want "$(cat par.*)" $'1\n2\n3\n4\n5\n6'
    all_gone
}

holds 'set-up: configuration and image' set_up
daemon docker.log dockerd --config-file daemon.json
holds 'dockerd is up and has the image' step_up
baseline
holds 'info names the runtime; documented configuration' step_info
documented 'docker '
prints 'run prints from inside' "$(uname -s) 1 inner" docker run --rm --hostname inner "$I" sh -c 'echo $(uname -s) $$ $(hostname)'
exits 'exit status 0' 0 '^$' docker run --rm "$I" sh -c 'echo; exit 0'
exits 'exit status 7' 7 '^$' docker run --rm "$I" sh -c 'echo; exit 7'
exits 'exit status 126: not an executable file' 126 'permission denied' docker run --rm "$I" /etc/passwd
exits 'exit status 127: no such file' 127 'no such file or directory' docker run --rm "$I" /no/such/file
exits 'exit status 127: not found in PATH' 127 'executable file not found in' docker run --rm "$I" no-such-command
exits 'killed by a signal: 128 + number' 143 '^$' docker run --rm --init "$I" sh -c 'echo; kill -TERM $$'
holds 'failed and finished containers are gone (--rm)' all_gone
holds 'create, then start; status and exit code' step_separate
holds 'restart' step_restart
holds 'restart policy' step_restart_policy
holds 'a name is used twice: refused' step_conflict
holds 'inspect gives the pid, in namespaces of its own' step_inspect_pid
holds 'detached: logs, both streams' step_logs
holds 'stop: TERM is honoured' step_term
holds 'stop: KILL after the time' step_term_ignored
holds 'kill -s USR1, then KILL' step_kill_usr1
holds 'kill of a stopped container: refused' step_kill_stopped
holds 'rm refuses, rm -f removes a running container' step_rm_running
prints 'environment' 'b yes' docker run --rm -e A=b "$I" sh -c 'echo $A $FROM_IMAGE'
prints 'working directory; one that is missing is made' $'/new/dir' docker run --rm -w /new/dir "$I" pwd
prints 'user by number' '1234 4321' docker run --rm -u 1234:4321 "$I" sh -c 'echo $(id -u) $(id -g)'
prints 'user by name, with groups' '1000 1000 1000 900 7777' docker run --rm -u tester --group-add 7777 "$I" sh -c 'echo $(id -u) $(id -g) $(id -G)'
prints 'rlimits' '100 200' docker run --rm --ulimit nofile=100:200 "$I" sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)'
prints 'oom_score_adj' 500 docker run --rm --oom-score-adj 500 "$I" cat /proc/self/oom_score_adj
prints 'sysctl' 4321 docker run --rm --sysctl kernel.msgmax=4321 "$I" cat /proc/sys/kernel/msgmax
holds 'bind mounts: rw, ro, one file; a named volume' step_volumes
matches 'tmpfs with options' '^tmpfs on /t type tmpfs \(rw,nosuid,nodev,noexec.*size=1024k.*mode=700' docker run --rm --tmpfs /t:rw,size=1m,mode=0700 "$I" mount
prints 'size of /dev/shm' 2048 docker run --rm --shm-size 2m "$I" sh -c "df -k /dev/shm | awk 'END { print \$2 }'"
prints 'read-only root' 'refused' docker run --rm --read-only "$I" sh -c 'touch /x 2>/dev/null || echo refused'
matches 'init process (--init)' '^ *1 root +.*docker-init' docker run --rm --init "$I" ps
holds 'devices: one added, others refused' step_devices
holds 'memory limit' step_memory
holds 'out of memory: told' step_oom
holds 'cpu limits' step_cpus
maybe_later 'cpuset' step_cpuset
holds 'pids limit' step_pids
prints 'network: none' 'lo' docker run --rm --network none "$I" ls /sys/class/net
prints 'network: host' "$(readlink /proc/self/ns/net)" docker run --rm --network host "$I" readlink /proc/self/ns/net
holds "network: bridge, names, another container's (prestart hook)" step_bridge
holds 'network: published port' step_publish
holds "another container's PID and IPC namespace" step_share_pid
holds "the host's PID namespace: the rest is killed with init" step_host_pid
prints 'seccomp: filter is on' 'Seccomp: 2' docker run --rm "$I" sh -c 'echo $(grep Seccomp: /proc/self/status)'
prints 'seccomp: unconfined' 'Seccomp: 0' docker run --rm --security-opt seccomp=unconfined "$I" sh -c 'echo $(grep Seccomp: /proc/self/status)'
exits 'seccomp: unshare is refused' 1 'operation not permitted' docker run --rm "$I" unshare -m true
prints 'no new privileges' 'NoNewPrivs: 1' docker run --rm --security-opt no-new-privileges "$I" sh -c 'echo $(grep NoNewPrivs: /proc/self/status)'
prints 'capabilities: default' 'CapEff: 00000000a80425fb CapBnd: 00000000a80425fb CapAmb: 0000000000000000' docker run --rm "$I" sh -c 'echo $(grep -E "Cap(Eff|Bnd|Amb)" /proc/self/status)'
prints 'capabilities: none' 'CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000000000' docker run --rm --cap-drop all "$I" sh -c 'echo $(grep -E "Cap(Eff|Prm|Bnd)" /proc/self/status)'
prints 'capabilities: added' 'CapEff: 0000000000003000' docker run --rm --cap-drop all --cap-add net_admin --cap-add net_raw "$I" sh -c 'echo $(grep CapEff /proc/self/status)'
prints 'capabilities: none for a user' 'CapEff: 0000000000000000' docker run --rm -u tester "$I" sh -c 'echo $(grep CapEff /proc/self/status)'
prints 'masked paths' '0 0' docker run --rm "$I" sh -c 'echo $(cat /proc/timer_list | wc -c) $(ls /sys/firmware | wc -l)'
prints 'read-only paths' 'refused refused' docker run --rm "$I" sh -c 'for f in /proc/sys/kernel/domainname /sys/fs/x; do echo y 2>/dev/null >$f || echo refused; done | xargs'
prints 'stdin is piped through' 'hi' bash -c "echo hi | docker run --rm -i $I cat"
prints 'a terminal' $'/dev/pts/0\r' docker run --rm -t "$I" sh -c 'test -t 0 && test -t 1 && tty'
holds 'build: RUN in a Dockerfile' step_build
if has_verb ps; then holds 'top' step_top; else skip top 'the runtime has no ps verb yet'; fi
if has_verb update; then holds 'update of limits' step_update; else skip update 'the runtime has no update verb yet'; fi
if has_verb exec; then holds 'exec: output, stdin, user, exit codes' step_exec; else skip exec 'the runtime has no exec verb yet'; fi
holds '20 runs, one after another' step_sequential
holds '6 runs at once' step_parallel
holds 'everything is removed' all_gone
stop_daemons
leak_check /docker/ "$WORK/docker/exec/runtime-runc/moby" "$WORK/docker/exec/runtime-nucleus/moby"
finish docker "$("$NUCLEUS" --version | head -n 1)"
