#!/usr/bin/env bash
# Docker (dockerd with its own containerd) drives the runtime through its daily work. RUNTIME=/path/to/runtime docker.sh
# Called by run.sh (`make test-engines`) and by hand. Every step is a real container; lib.sh has the rules.
# The bridge network brings Docker's prestart hook (libnetwork-setkey), which only works if the runtime runs it at the
# right moment with the right state on its stdin.
# shellcheck disable=SC2016,SC2317 # single-quoted programs are for the container's shell; steps are called by name
. "$(dirname "$0")/lib.sh"
. "$here/common.sh"
sandbox "$@"

# shellcheck disable=SC2034 # for common.sh
E=docker
I=localhost/busybox
# shellcheck disable=SC2034
default_caps=00000000a80425fb
remove() { docker rm -f "$@"; }
export DOCKER_HOST=unix://$WORK/docker.sock
files=$(ulimit -Hn)

# dockerd raises this global limit of the kernel; the host gets its own value back.
root_maxkeys=$(cat /proc/sys/kernel/keys/root_maxkeys)
cleanup() {
    stop_daemons
    echo "$root_maxkeys" >/proc/sys/kernel/keys/root_maxkeys
}

set_up() {
    mkdir -p docker
    documented_file /etc/docker/daemon.json >documented.json
    jq --arg dir "$WORK/docker" --argjson files "$files" '. + {
        "data-root": "\($dir)/root", "exec-root": "\($dir)/exec", pidfile: "\($dir)/pid", hosts: [env.DOCKER_HOST],
        "default-runtime": "nucleus", "storage-driver": "overlay2", "live-restore": true,
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

is_status() { [ "$(state "$1" Status)" = "$2" ]; }

step_restart_policy() {
    docker run -d --name retry --restart on-failure:2 "$I" sh -c 'echo try; exit 3'
    until_true 20 logged retry try 3
    until_true 10 is_status retry exited
    want "$(log_count retry try)" 3
    want "$(state retry ExitCode)" 3
    docker rm retry
}

step_restart_always() {
    local pid
    docker run -d --name always --restart always "$I" sh -c 'echo try; exec sleep 1000'
    pid=$(state always Pid)
    kill -KILL "$pid" # not through Docker: that would count as wanted
    until_true 20 logged always try 2
    until_true 10 is_status always running
    differ "$(state always Pid)" "$pid" pid
    docker stop -t 0 always
    want "$(state always Status)" exited
    docker rm always
}

step_devices() {
    want "$(docker run --rm --device /dev/fuse "$I" stat -c '%t:%T' /dev/fuse)" a:e5
    # Docker grants MKNOD: the device cgroup alone says no.
    like "$(docker run --rm "$I" sh -c 'mknod /tmp/d c 1 11 && cat /tmp/d' 2>&1 || true)" 'not permitted'
}

step_update_more() {
    docker run -d --name more --pids-limit 50 "$I" sleep 1000
    docker update --pids-limit 20 more
    want "$(limit more pids pids.max pids.max)" 20
    docker update --restart always more
    want "$(docker inspect -f '{{.HostConfig.RestartPolicy.Name}}' more)" always
    remove more
}

# The shim listens for the kernel's message only once the container is started, and Docker hears of it by an event: the
# container waits for both, so that nothing depends on who is quicker.
step_oom() {
    local since
    since=$(date +%s)
    docker run -d --name oom --memory 16m --memory-swap 16m "$I" sh -c \
        'until [ -e /go ]; do sleep 0.1; done; tail -c 100m /dev/zero; until [ -e /end ]; do sleep 0.1; done; exit 3'
    docker exec oom touch /go
    until_true 20 oom_event "$since"
    docker exec oom touch /end
    want "$(docker wait oom)" 3
    want "$(state oom OOMKilled)" true
    docker rm oom
}
oom_event() { like "$(docker events --since "$1" --until "$(date +%s)" --filter container=oom --filter event=oom)" ' oom '; }

step_bridge() {
    local ip
    docker network create judge
    docker run -d --name server --network judge "$I" sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    ip=$(docker inspect -f '{{.NetworkSettings.Networks.judge.IPAddress}}' server)
    like "$ip" '^[0-9]+\.'
    until_true 10 docker exec server wget -q -O - http://127.0.0.1/index.html
    want "$(docker run --rm --network judge "$I" wget -q -O - http://server/index.html)" served
    want "$(docker run --rm --network container:server "$I" wget -q -O - http://127.0.0.1/index.html)" served
    remove server
    docker network rm judge
    like "$(docker run --rm "$I" ip -o addr show dev eth0)" 'inet 172\.'
    all_gone
}

step_publish() {
    docker run -d --name web -p 127.0.0.1:8088:80 "$I" sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    until_true 10 busybox wget -q -O page http://127.0.0.1:8088/index.html
    want "$(cat page)" served
    remove web
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
    until_true 10 top_shows
    remove top
}
top_shows() { like "$(docker top top)" 'sleep 1234'; }

step_healthcheck() {
    docker run -d --name health --health-cmd 'test -e /tmp/well' --health-retries 1 --health-interval 1s "$I" sleep 1000
    until_true 20 is_health unhealthy
    docker exec health touch /tmp/well
    until_true 20 is_health healthy
    remove health
}
is_health() { [ "$(state health Health.Status)" = "$1" ]; }

step_build() {
    mkdir -p build
    printf 'FROM %s\nRUN id -u >/built && mkdir /made\nUSER tester\nCMD cat /built\n' "$I" >build/Dockerfile
    DOCKER_BUILDKIT=0 docker build -q -t localhost/built build
    want "$(docker run --rm localhost/built)" 0
    docker rmi -f localhost/built
}

# Docker dies by SIGKILL, and its containerd with it; shim and container stay.
step_survivor() {
    docker run -d --name survivor "$I" sh -c 'trap "exit 42" TERM; while :; do echo tick; sleep 0.1; done'
    until_true 10 logged survivor tick 2
    state survivor Pid >survivor.pid
}
step_survives() {
    refused docker version
    like "$(tr '\0' ' ' <"/proc/$(cat survivor.pid)/cmdline")" '^sh -c trap'
}
step_taken_over() {
    until_true 30 docker version
    want "$(state survivor Status) $(state survivor Pid)" "running $(cat survivor.pid)"
    want "$(docker exec survivor echo alive)" alive
    docker pause survivor
    docker unpause survivor
    docker stop -t 30 survivor
    want "$(state survivor ExitCode)" 42
    docker start survivor
    remove survivor
    all_gone
}

holds 'set-up: configuration and image' set_up
daemon docker.log dockerd --config-file daemon.json
holds 'dockerd is up and has the image' step_up
baseline
holds 'info names the runtime; documented configuration' step_info
documented 'docker '
common_life
holds 'restart policy: on-failure' step_restart_policy
holds 'restart policy: always' step_restart_always
common_process
holds 'bind mounts: rw, ro, one file; a named volume' step_volumes
prints 'a working directory that is missing is made' /new/dir docker run --rm -w /new/dir "$I" pwd
holds 'devices: one added, others refused' step_devices
common_limits
limits 'update: processes, restart policy' step_update_more
limits 'out of memory: told by an event and in the state' step_oom
holds "network: bridge, names, another container's (prestart hook)" step_bridge
holds 'network: published port' step_publish
holds "the host's PID namespace: the rest is killed with init" step_host_pid
common_security
holds 'build: RUN in a Dockerfile' step_build
holds 'top' step_top
holds 'healthcheck: unhealthy, healthy' step_healthcheck
holds '20 runs, one after another' step_sequential 20
holds '6 runs at once' step_parallel 6
holds 'live-restore: a container runs' step_survivor
if chosen live-restore && [ -s survivor.pid ]; then
    kill -KILL "${daemons[0]}"
    wait "${daemons[0]}" 2>/dev/null
    holds 'live-restore: dockerd is killed, the container lives' step_survives
    daemons=()
    daemon docker2.log dockerd --config-file daemon.json
    holds 'live-restore: the new dockerd is up and takes it over' step_taken_over
fi
holds 'everything is removed' all_gone
stop_daemons
leak_check /docker/ "$WORK/docker/exec/runtime-runc/moby" "$WORK/docker/exec/runtime-nucleus/moby"
finish docker "$("$NUCLEUS" --version | head -n 1)"
