#!/usr/bin/env bash
# Podman (rootful) drives the runtime through its daily work. RUNTIME=/path/to/runtime podman.sh
# Called by run.sh (`make test-engines`) and by hand. Every step is a real container; lib.sh has the rules.
# shellcheck disable=SC2016,SC2317 # single-quoted programs are for the container's shell; steps are called by name
. "$(dirname "$0")/lib.sh"
sandbox "$@"

I=localhost/busybox
files=$(ulimit -Hn)
procs=$(ulimit -Hu)
[ "$procs" != unlimited ] && [ "$procs" -lt 32768 ] || procs=32768

clear_all() { podman rm -f -t 0 -a; }

set_up() {
    mkdir -p /etc/containers/containers.conf.d
    # shellcheck disable=SC2094 # the first is a name in the README
    readme_file /etc/containers/containers.conf.d/nucleus.conf >/etc/containers/containers.conf.d/nucleus.conf
    # Podman asks for limits that not every host may grant; no journal and no systemd here.
    cat >/etc/containers/containers.conf.d/zz-judge.conf <<-END
	[containers]
	default_ulimits = ["nofile=$files:$files", "nproc=$procs:$procs"]
	log_driver = "k8s-file"
	[engine]
	cgroup_manager = "cgroupfs"
	events_logger = "file"
	[network]
	network_backend = "netavark"
	END
    printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' "$WORK/storage" "$WORK/runroot" \
        >/etc/containers/storage.conf
    "$here/images.sh" "$WORK/busybox.tar"
    podman load -q -i "$WORK/busybox.tar"
    podman run --rm "$I" true # makes podman's own mounts
}

all_gone() { want "$(podman ps -aq)" ''; }
state() { podman inspect -f "{{.State.$2}}" "$1"; }
log_has() { podman logs "$1" 2>&1 | grep -q "$2"; }

step_separate() {
    podman create --name sep "$I" sh -c 'echo late; exit 5'
    want "$(state sep Status)" created
    want "$(podman start -a sep || echo "status $?")" $'late\nstatus 5'
    want "$(state sep Status)" exited
    want "$(state sep ExitCode)" 5
    podman rm sep
    all_gone
}

step_restart() {
    podman run -d --name again "$I" sh -c 'echo started; exec sleep 100'
    podman restart -t 0 again
    until_true 5 two_starts
    podman rm -f -t 0 again
    all_gone
}
two_starts() { [ "$(podman logs again | grep -c started)" = 2 ]; }

step_conflict() {
    local rc=0
    podman create --name twice "$I" true
    podman run --name twice "$I" true 2>err || rc=$?
    want "$rc" 125
    like "$(cat err)" 'already in use'
    podman rm twice
}

step_inspect_pid() {
    local pid ns
    podman run -d --name pid --hostname inner "$I" sleep 1000
    pid=$(state pid Pid)
    want "$(tr '\0' ' ' <"/proc/$pid/cmdline")" 'sleep 1000 '
    want "$(nsenter -t "$pid" -u hostname)" inner
    for ns in mnt pid net ipc uts; do
        differ "$(readlink "/proc/$pid/ns/$ns")" "$(readlink "/proc/self/ns/$ns")" "$ns namespace"
    done
    podman rm -f -t 0 pid
    refused test -e "/proc/$pid"
    all_gone
}

step_logs() {
    podman run -d --name logs "$I" sh -c 'echo one; echo two >&2; echo three'
    podman wait logs
    want "$(podman logs logs 2>/dev/null)" $'one\nthree'
    want "$(podman logs logs 2>&1 >/dev/null)" two
    podman rm logs
}

step_term() {
    podman run -d --name term "$I" sh -c 'trap "echo bye; exit 42" TERM; echo up; while :; do sleep 0.1; done'
    until_true 10 log_has term up
    podman stop -t 30 term
    want "$(state term ExitCode)" 42
    log_has term bye
    podman rm term
}

step_term_ignored() {
    podman run -d --name deaf "$I" sh -c 'trap "" TERM; echo up; while :; do sleep 0.1; done'
    until_true 10 log_has deaf up
    podman stop -t 1 deaf
    want "$(state deaf ExitCode)" 137
    podman rm deaf
}

step_kill_usr1() {
    podman run -d --name usr1 "$I" sh -c 'trap "echo got it" USR1; echo up; while :; do sleep 0.1; done'
    until_true 10 log_has usr1 up
    podman kill -s USR1 usr1
    until_true 10 log_has usr1 'got it'
    want "$(state usr1 Status)" running
    podman kill usr1
    want "$(podman wait usr1)" 137
    podman rm usr1
}

step_kill_stopped() {
    podman run -d --name still "$I" true
    podman wait still
    refused podman kill still
    podman rm still
}

step_rm_running() {
    podman run -d --name busy "$I" sleep 1000
    refused podman rm busy
    podman rm -f -t 0 busy
    all_gone
}

step_volumes() {
    mkdir -p vol
    echo outside >vol/in
    want "$(podman run --rm -v "$PWD/vol:/data" "$I" sh -c 'cat /data/in; echo inside >/data/out')" outside
    want "$(cat vol/out)" inside
    want "$(podman run --rm -v "$PWD/vol:/data:ro" "$I" sh -c 'touch /data/no 2>/dev/null || cat /data/in')" outside
    refused test -e vol/no
    podman run --rm -v "$PWD/vol/in:/etc/one-file:ro" "$I" grep -q outside /etc/one-file
}

step_memory() {
    podman run -d --name mem --memory 64m --memory-swap 64m "$I" sleep 1000
    want "$(cgroup_file "$(state mem Pid)" memory memory.limit_in_bytes memory.max)" 67108864
    podman rm -f -t 0 mem
}

step_oom() {
    local rc=0
    podman run --rm --memory 16m --memory-swap 16m "$I" sh -c 'exec tail -c 100m /dev/zero' || rc=$?
    want "$rc" 137 'exit status'
    rc=0
    podman run --rm --memory 16m --memory-swap 16m "$I" sh -c 'tail -c 100m /dev/zero; echo $?; exit 3' >oom.out || rc=$?
    want "$rc $(cat oom.out)" '3 137' # a child is killed, init is not
}

step_cpus() {
    local pid
    podman run -d --name cpus --cpus 0.5 --cpu-shares 512 "$I" sleep 1000
    pid=$(state cpus Pid)
    like "$(cgroup_file "$pid" cpu cpu.cfs_quota_us cpu.max)" '^50000( 100000)?$'
    like "$(cgroup_file "$pid" cpu cpu.shares cpu.weight)" '^(512|20|59)$'
    podman rm -f -t 0 cpus
}

step_cpuset() {
    podman run -d --name cpuset --cpuset-cpus 0 "$I" sleep 1000
    want "$(cgroup_file "$(state cpuset Pid)" cpuset cpuset.cpus cpuset.cpus)" 0
    podman rm -f -t 0 cpuset
}

step_pids() {
    podman run -d --name pids --pids-limit 20 "$I" sleep 1000
    want "$(cgroup_file "$(state pids Pid)" pids pids.max pids.max)" 20
    podman rm -f -t 0 pids
    like "$(podman run --rm --pids-limit 20 "$I" sh -c 'for i in $(seq 40); do sleep 3 & done; wait' 2>&1)" "can't fork"
}

step_bridge() {
    local ip
    podman run -d --name server "$I" sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    ip=$(podman inspect -f '{{.NetworkSettings.IPAddress}}' server)
    like "$ip" '^[0-9]+\.'
    want "$(podman run --rm "$I" sh -c "sleep 0.5; wget -q -O - http://$ip/index.html")" served
    want "$(podman run --rm --network container:server "$I" wget -q -O - http://127.0.0.1/index.html)" served
    podman rm -f -t 0 server
    all_gone
}

step_share_pid() {
    podman run -d --name pidns "$I" sleep 1234
    like "$(podman run --rm --pid container:pidns --ipc container:pidns "$I" ps)" 'sleep 1234'
    podman rm -f -t 0 pidns
    all_gone
}

step_uidmap() {
    local got
    got=$(podman run --rm --uidmap 0:100000:5000 --gidmap 0:200000:5000 "$I" sh -c \
        'cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /tmp/f; stat -c %u /tmp/f; echo x >/dev/null')
    want "$(tr -s ' \n' ' ' <<<"$got")" ' 0 100000 5000 0 200000 5000 0 0 '
}

step_sequential() {
    local i
    for i in $(seq 20); do want "$(podman run --rm --network none "$I" echo "$i")" "$i"; done
    all_gone
}

step_parallel() {
    local i pids=()
    for i in 1 2 3 4 5 6; do
        podman run --rm "$I" sh -c "sleep 0.3; echo $i" >"par.$i" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i"; done
    want "$(cat par.*)" $'1\n2\n3\n4\n5\n6'
    all_gone
}

step_build() {
    mkdir -p build
    printf 'FROM %s\nRUN id -u >/built && mkdir /made\nUSER tester\nCMD cat /built\n' "$I" >build/Containerfile
    podman build -q --isolation oci -t localhost/built build
    want "$(podman run --rm localhost/built)" 0
    podman rmi -f localhost/built
}

step_exec() {
    local rc=0
    podman run -d --name ex --env A=b --hostname inner "$I" sleep 1000
    want "$(podman exec -e C=d ex sh -c 'echo $A $C $(hostname)')" 'b d inner'
    want "$(echo piped | podman exec -i ex cat)" piped
    want "$(podman exec -u tester -w /tmp ex sh -c 'id -un; pwd')" $'tester\n/tmp'
    podman exec ex sh -c 'exit 9' || rc=$?
    want "$rc" 9
    rc=0
    podman exec ex /missing || rc=$?
    want "$rc" 127
    podman rm -f -t 0 ex
}

holds 'set-up: configuration and image' set_up
baseline
matches 'info names the runtime' "^nucleus $NUCLEUS\$" podman info -f '{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}'
documented 'podman '
prints 'run prints from inside' "$(uname -s) 1 inner" podman run --rm --hostname inner "$I" sh -c 'echo $(uname -s) $$ $(hostname)'
exits 'exit status 0' 0 '^$' podman run --rm "$I" sh -c 'echo; exit 0'
exits 'exit status 7' 7 '^$' podman run --rm "$I" sh -c 'echo; exit 7'
exits 'exit status 126: not an executable file' 126 'permission denied' podman run --rm "$I" /etc/passwd
exits 'exit status 127: no such file' 127 'no such file or directory' podman run --rm "$I" /no/such/file
exits 'exit status 127: not found in PATH' 127 'executable file.* not found in' podman run --rm "$I" no-such-command
exits 'killed by a signal: 128 + number' 143 '^$' podman run --rm --init "$I" sh -c 'echo; kill -TERM $$'
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
prints 'environment' 'b yes podman' podman run --rm -e A=b "$I" sh -c 'echo $A $FROM_IMAGE $container'
prints 'no environment at all' 'none' podman run --rm --unsetenv-all "$I" /bin/sh -c 'echo ${FROM_IMAGE-none}'
prints 'working directory' /var/tmp podman run --rm -w /var/tmp "$I" pwd
prints 'user by number' '1234 4321' podman run --rm -u 1234:4321 "$I" sh -c 'echo $(id -u) $(id -g)'
prints 'user by name, with groups' '1000 1000 1000 900 7777' podman run --rm -u tester --group-add 900 --group-add 7777 "$I" sh -c 'echo $(id -u) $(id -g) $(id -G)'
prints 'umask' 0077 podman run --rm --umask 077 "$I" sh -c umask
prints 'rlimits' '100 200' podman run --rm --ulimit nofile=100:200 --ulimit nproc=500:600 "$I" sh -c 'echo $(ulimit -Sn) $(ulimit -Hn)'
prints 'oom_score_adj' 500 podman run --rm --oom-score-adj 500 "$I" cat /proc/self/oom_score_adj
prints 'sysctl' 4321 podman run --rm --sysctl kernel.msgmax=4321 "$I" cat /proc/sys/kernel/msgmax
holds 'bind mounts: rw, ro, one file' step_volumes
matches 'tmpfs with options' '^tmpfs on /t type tmpfs \(rw,nosuid,nodev,noexec.*size=1024k.*mode=700' podman run --rm --tmpfs /t:rw,size=1m,mode=0700,noexec "$I" mount
prints 'read-only root, writable /tmp' 'refused' podman run --rm --read-only "$I" sh -c 'touch /x 2>/dev/null || { touch /tmp/y && echo refused; }'
matches 'init process (--init)' '^ *1 root +.*(catatonit|podman-init)' podman run --rm --init "$I" ps
matches 'devices' '^character special file 1:3 666$' podman run --rm "$I" stat -c '%F %t:%T %a' /dev/null
prints 'device is added' 'a:e5' podman run --rm --device /dev/fuse "$I" stat -c '%t:%T' /dev/fuse
holds 'memory limit' step_memory
holds 'out of memory: init or its child is killed' step_oom
holds 'cpu limits' step_cpus
maybe_later 'cpuset' step_cpuset
holds 'pids limit' step_pids
prints 'network: none' 'lo' podman run --rm --network none "$I" ls /sys/class/net
prints 'network: host' "$(readlink /proc/self/ns/net)" podman run --rm --network host "$I" readlink /proc/self/ns/net
holds 'network: bridge, and another container'"'"'s' step_bridge
holds "another container's PID and IPC namespace" step_share_pid
holds 'user namespace' step_uidmap
prints 'seccomp: filter is on' 'Seccomp: 2' podman run --rm "$I" sh -c 'echo $(grep Seccomp: /proc/self/status)'
prints 'seccomp: unconfined' 'Seccomp: 0' podman run --rm --security-opt seccomp=unconfined "$I" sh -c 'echo $(grep Seccomp: /proc/self/status)'
exits 'seccomp: unshare is refused' 1 'operation not permitted' podman run --rm "$I" unshare -m true
prints 'no new privileges' 'NoNewPrivs: 1' podman run --rm --security-opt no-new-privileges "$I" sh -c 'echo $(grep NoNewPrivs: /proc/self/status)'
prints 'capabilities: default' 'CapEff: 00000000800405fb CapBnd: 00000000800405fb CapAmb: 0000000000000000' podman run --rm "$I" sh -c 'echo $(grep -E "Cap(Eff|Bnd|Amb)" /proc/self/status)'
prints 'capabilities: none' 'CapPrm: 0000000000000000 CapEff: 0000000000000000 CapBnd: 0000000000000000' podman run --rm --cap-drop all "$I" sh -c 'echo $(grep -E "Cap(Eff|Prm|Bnd)" /proc/self/status)'
prints 'capabilities: added' 'CapEff: 0000000000003000' podman run --rm --cap-drop all --cap-add net_admin,net_raw "$I" sh -c 'echo $(grep CapEff /proc/self/status)'
prints 'capabilities: none for a user' 'CapEff: 0000000000000000' podman run --rm -u tester "$I" sh -c 'echo $(grep CapEff /proc/self/status)'
prints 'masked paths' '0 0' podman run --rm "$I" sh -c 'echo $(cat /proc/timer_list | wc -c) $(ls /sys/firmware | wc -l)'
prints 'read-only paths' 'refused refused' podman run --rm "$I" sh -c 'for f in /proc/sys/kernel/domainname /sys/fs/x; do echo y 2>/dev/null >$f || echo refused; done | xargs'
prints 'privileged: sees all, no filter' 'Seccomp: 0 CapBnd:' podman run --rm --privileged "$I" sh -c 'grep -q . /proc/timer_list && echo $(grep Seccomp: /proc/self/status) $(grep -o CapBnd: /proc/self/status)'
prints 'stdin is piped through' 'hi' bash -c "echo hi | podman run --rm -i $I cat"
prints 'a terminal' $'/dev/pts/0\r' podman run --rm -t "$I" sh -c 'test -t 0 && test -t 1 && tty'
holds 'build: RUN in a Containerfile' step_build
if has_verb exec; then holds 'exec: output, stdin, user, exit codes' step_exec; else skip exec 'the runtime has no exec verb yet'; fi
holds '20 runs, one after another' step_sequential
holds '6 runs at once' step_parallel
holds 'everything is removed' all_gone
# Podman's own mount of its storage, which it may or may not undo by itself.
! mountpoint -q "$WORK/storage/overlay" || umount "$WORK/storage/overlay"
leak_check libpod-
finish podman "$("$NUCLEUS" --version | head -n 1)"
