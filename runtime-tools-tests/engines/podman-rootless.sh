#!/usr/bin/env bash
# Podman as an ordinary user drives the runtime: in a user namespace made by podman, with newuidmap's ranges, with
# slirp4netns, and (on cgroup v1) without any cgroup. RUNTIME=/path/to/runtime podman-rootless.sh
# Called by run.sh (`make test-engines`) and by hand. Every step is a real container; lib.sh has the rules.
# The user exists in the sandbox's own /etc only. `podman` on PATH becomes that user; the steps look on as root.
# shellcheck disable=SC2016,SC2317 # single-quoted programs are for the container's shell; steps are called by name
. "$(dirname "$0")/lib.sh"
. "$here/common.sh"
. "$here/podman-lib.sh"
sandbox "$@"

home=$WORK/judge
runtime_dir=$WORK/xdg

set_up() {
    useradd --uid 54321 --user-group --create-home --home-dir "$home" --shell /bin/sh judge
    like "$(cat /etc/subuid)" '^judge:[0-9]+:65536$'
    install -d -m 700 -o judge -g judge "$runtime_dir"
    podman_config "$home/.config/containers/containers.conf"
    chown -R judge:judge "$home"
    cat >bin/podman <<-END
	#!/bin/sh
	exec setpriv --reuid judge --regid judge --init-groups env -i HOME=$home PATH=$PATH XDG_RUNTIME_DIR=$runtime_dir \\
	    TERM=dumb /usr/bin/podman "\$@"
	END
    chmod 755 bin/podman
    "$here/images.sh" "$WORK/busybox.tar"
    podman load -q -i "$WORK/busybox.tar"
    like "$(podman info -f '{{.Host.OCIRuntime.Name}} {{.Host.Security.Rootless}}')" '^nucleus true$'
}

# Who runs it, and in which user namespace: the container's root is the user outside.
step_who() {
    local pid
    podman run -d --name who "$I" sleep 1000
    pid=$(state who Pid)
    want "$(stat -c '%U' "/proc/$pid")" judge
    differ "$(readlink "/proc/$pid/ns/user")" "$(readlink /proc/self/ns/user)" 'user namespace'
    like "$(tr -s ' ' <"/proc/$pid/uid_map")" '^ 0 54321 1$'
    like "$(find "$runtime_dir" -maxdepth 2)" "/$(basename "$RUNTIME")/$(podman inspect -f '{{.Id}}' who)$" # the runtime's state
    remove who
}

step_no_cgroup() {
    local pid
    podman run -d --name free "$I" sleep 1000
    pid=$(state free Pid)
    want "$(cat "/proc/$pid/cgroup")" "$(cat /proc/self/cgroup)" 'cgroup'
    refused podman pause free
    remove free
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        refused podman run --rm --memory 64m "$I" true 2>err
        like "$(cat err)" 'linux.resources.memory.limit'
    else
        like "$(podman run --rm --memory 64m "$I" echo ran 2>&1)" '^ran$' # podman drops the limit, and says so
    fi
}

step_volumes_owners() {
    local first
    first=$(sed -n 's/^judge:\([0-9]*\):.*/\1/p' /etc/subuid)
    install -d -m 777 -o judge -g judge "$home/vol"
    podman run --rm -v "$home/vol:/data" "$I" sh -c 'echo inside >/data/root; cat /data/root'
    want "$(stat -c %u "$home/vol/root")" 54321
    podman run --rm -v "$home/vol:/data" -u tester "$I" touch /data/tester
    want "$(stat -c %u "$home/vol/tester")" "$((first + 999))" # 0 is the user, 1 the first of the range
    refused podman run --rm -v "$home/vol:/data:ro" "$I" touch /data/no
    refused test -e "$home/vol/no"
    podman run --rm -v "$home/vol:/data:U" -u tester "$I" touch /data/mine
    want "$(stat -c %u "$home/vol")" "$((first + 999))"
    podman run --rm -v named:/data "$I" sh -c 'echo kept >/data/f'
    want "$(podman run --rm -v named:/data "$I" cat /data/f)" kept
    podman volume rm named
}

step_keep_id() {
    install -d -o judge -g judge "$home/keep"
    want "$(podman run --rm --userns keep-id -v "$home/keep:/data" "$I" sh -c 'touch /data/f; id -u')" 54321
    want "$(stat -c %u "$home/keep/f")" 54321
    podman run -d --name keep --userns keep-id --user 0 "$I" sleep 1000
    want "$(podman exec keep id -u)" 0
    differ "$(stat -c %U "/proc/$(state keep Pid)")" judge
    remove keep
}

step_uidmap() {
    want "$(podman run --rm --uidmap 0:1:1000 --gidmap 0:1:1000 "$I" sh -c 'awk "{ print \$1, \$2, \$3 }" /proc/self/uid_map; id -u')" \
        $'0 1 1000\n0'
}

step_slirp() {
    mkdir -p www
    echo served >www/index.html
    busybox httpd -p 127.0.0.1:8099 -h www
    want "$(podman run --rm --network slirp4netns:allow_host_loopback=true "$I" wget -q -O - http://10.0.2.2:8099/index.html)" \
        served
    kill "$(pgrep -f 'httpd -p 127.0.0.1:8099')"
    like "$(podman run --rm "$I" ip -o addr show dev tap0)" 'inet 10\.0\.2\.'
}

step_publish() {
    podman run -d --name web -p 127.0.0.1:8088:80 "$I" sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp'
    until_true 10 busybox wget -q -O page http://127.0.0.1:8088/index.html
    want "$(cat page)" served
    remove web
}

step_build() {
    rm -rf build
    install -d -o judge -g judge build
    printf 'FROM %s\nRUN id -u >/built && touch /made && chown 1000:900 /made\nUSER tester\nCMD stat -c %%u:%%g /made\n' "$I" \
        >build/Containerfile
    printf '#!/bin/sh\necho "$@" >>%s\nexec %s "$@"\n' "$home/calls" "$NUCLEUS" >judged # so that no build goes past it
    chmod 755 judged
    podman --runtime "$PWD/judged" build -q -t localhost/built "$home/build"
    like "$(cat calls)" '(^| )create '
    want "$(podman run --rm localhost/built)" 1000:900
    podman rmi -f localhost/built
}

step_privileged() {
    want "$(podman run --rm --privileged "$I" sh -c 'mount -t tmpfs none /home && echo mounted' 2>&1)" mounted
}

holds 'set-up: user, configuration and image' set_up
cd "$home" || exit 1
baseline
holds 'set-up: a Containerfile' containerfile
documented 'podman '
holds 'the root of the container is the user outside' step_who
holds 'no cgroup is needed and none is made' step_no_cgroup
common_life
common_process
holds 'volumes: owners outside, read-only, :U, named' step_volumes_owners
holds '--userns keep-id' step_keep_id
holds '--uidmap' step_uidmap
holds 'network: slirp4netns reaches the host' step_slirp
holds 'network: published port' step_publish
common_security
holds 'privileged within the user namespace' step_privileged
holds 'pod: shared network, IPC and host name; stop, start' step_pod
holds 'build: RUN in a Containerfile' step_build
holds '4 runs at once' step_parallel 4
holds 'everything is removed' all_gone
kill -KILL "$(cat "$runtime_dir/libpod/tmp/pause.pid")" # holds podman's namespaces between the commands until the logout
leak_check libpod- "$runtime_dir/nucleus" "$runtime_dir/runc"
finish podman-rootless "$("$NUCLEUS" --version | head -n 1)"
