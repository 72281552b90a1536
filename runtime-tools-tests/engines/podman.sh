#!/usr/bin/env bash
# Podman (rootful) drives the runtime through its daily work. RUNTIME=/path/to/runtime podman.sh
# Called by run.sh (`make test-engines`) and by hand. Every step is a real container; lib.sh has the rules.
# shellcheck disable=SC2016,SC2317 # single-quoted programs are for the container's shell; steps are called by name
. "$(dirname "$0")/lib.sh"
. "$here/common.sh"
. "$here/podman-lib.sh"
sandbox "$@"

step_oom() {
    local rc=0
    podman run --rm --memory 16m --memory-swap 16m "$I" sh -c 'exec tail -c 100m /dev/zero' || rc=$?
    want "$rc" 137 'exit status'
    rc=0
    podman run --rm --memory 16m --memory-swap 16m "$I" sh -c 'tail -c 100m /dev/zero; echo $?; exit 3' >oom.out || rc=$?
    want "$rc $(cat oom.out)" '3 137' # a child is killed, init is not
}

step_bridge() {
    local ip
    podman run -d --name server "$I" sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    ip=$(podman inspect -f '{{.NetworkSettings.IPAddress}}' server)
    like "$ip" '^[0-9]+\.'
    until_true 10 podman exec server wget -q -O - http://127.0.0.1/index.html
    want "$(podman run --rm "$I" wget -q -O - "http://$ip/index.html")" served
    want "$(podman run --rm --network container:server "$I" wget -q -O - http://127.0.0.1/index.html)" served
    remove server
    all_gone
}

step_uidmap() {
    local got
    got=$(podman run --rm --uidmap 0:100000:5000 --gidmap 0:200000:5000 "$I" sh -c \
        'cat /proc/self/uid_map /proc/self/gid_map; id -u; touch /tmp/f; stat -c %u /tmp/f; echo x >/dev/null')
    want "$(tr -s ' \n' ' ' <<<"$got")" ' 0 100000 5000 0 200000 5000 0 0 '
}

# Two containers get ranges of their own; exec enters the user namespace, too.
step_userns_auto() {
    local a b
    podman run -d --name auto1 --userns auto:size=4096 "$I" sleep 1000
    podman run -d --name auto2 --userns auto:size=4096 "$I" sleep 1000
    a=$(podman exec auto1 cat /proc/self/uid_map)
    b=$(podman exec auto2 cat /proc/self/uid_map)
    like "$a" ' 4096$'
    differ "$a" "$b" 'uid map'
    want "$(podman exec auto1 id -u)" 0
    want "$(podman exec auto1 readlink /proc/self/ns/user)" "$(readlink "/proc/$(state auto1 Pid)/ns/user")"
    # Podman's clean-up after the exit and its rm are not always of one mind about the /dev/shm of such a container.
    until_true 20 podman rm -f -t 0 --ignore auto1 auto2
    all_gone
}

step_privileged() {
    want "$(podman run --rm --privileged "$I" sh -c 'grep -q . /proc/timer_list && echo $(grep Seccomp: /proc/self/status)')" \
        'Seccomp: 0'
}

step_healthcheck() {
    podman run -d --name health --health-cmd 'test -e /tmp/well' --health-retries 1 --health-interval disable "$I" sleep 1000
    refused podman healthcheck run health
    want "$(state health Health.Status)" unhealthy
    podman exec health touch /tmp/well
    podman healthcheck run health
    want "$(state health Health.Status)" healthy
    remove health
}

step_top() {
    podman run -d --name top "$I" sh -c 'sleep 1234 & wait'
    until_true 10 top_shows
    remove top
}
top_shows() { like "$(podman top top user,pid,args)" '^root +[0-9]+ +sleep 1234'; }

step_checkpoint() {
    podman run -d --name save "$I" sleep 1000
    refused podman container checkpoint save 2>err
    cat err >&2
    like "$(cat err)" 'checkpoint'
    want "$(state save Status)" running
    want "$(podman exec save echo alive)" alive
    remove save
}

step_kube() {
    podman pod create --name web "${infra[@]}"
    podman run -d --pod web --name web-one -e A=b "$I" sleep 1000
    podman generate kube web >web.yaml
    podman pod rm -f -t 0 web
    podman play kube web.yaml
    want "$(podman pod inspect -f '{{.State}}' web)" Running
    want "$(podman exec web-web-one sh -c 'echo $A' || podman exec web-one sh -c 'echo $A')" b
    podman play kube --down web.yaml
    all_gone
}

step_runtime_flags() {
    podman --runtime "$NUCLEUS" --runtime-flag debug run --rm --network none "$I" true
    want "$(podman --runtime "$NUCLEUS" run --rm "$I" echo by path)" 'by path'
}

holds 'set-up: configuration and image' podman_rootful
baseline
matches 'info names the runtime' "^nucleus $NUCLEUS\$" podman info -f '{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}}'
holds 'set-up: a Containerfile' containerfile
documented 'podman '
common_life
common_process
holds 'bind mounts: rw, ro, one file; a named volume' step_volumes
prints 'no environment at all' 'none' podman run --rm --unsetenv-all "$I" /bin/sh -c 'echo ${FROM_IMAGE-none}'
prints 'umask' 0077 podman run --rm --umask 077 "$I" sh -c umask
prints 'device is added' 'a:e5' podman run --rm --device /dev/fuse "$I" stat -c '%t:%T' /dev/fuse
holds 'flags for the runtime; the runtime by its path' step_runtime_flags
common_limits
limits 'out of memory: init or its child is killed' step_oom
holds 'network: bridge, and another container'"'"'s' step_bridge
holds 'user namespace: --uidmap' step_uidmap
holds 'user namespace: --userns auto, exec in it' step_userns_auto
common_security
holds 'privileged: sees all, no filter' step_privileged
holds 'healthcheck: unhealthy, healthy' step_healthcheck
holds 'top' step_top
holds 'pod: shared network, IPC and host name; stop, start' step_pod
holds 'generate kube, play kube' step_kube
holds 'checkpoint: refused, the container lives on' step_checkpoint
holds '20 runs, one after another' step_sequential 20
holds '6 runs at once' step_parallel 6
holds 'everything is removed' all_gone
# Podman's own mount of its storage, which it may or may not undo by itself.
! mountpoint -q "$WORK/storage/overlay" || umount "$WORK/storage/overlay"
leak_check libpod-
finish podman "$("$NUCLEUS" --version | head -n 1)"
