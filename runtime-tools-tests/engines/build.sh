#!/usr/bin/env bash
# buildah and `podman build` run the steps of a build with the runtime. RUNTIME=/path/to/runtime build.sh
# Called by run.sh (`make test-engines`) and by hand. Every step is a real container; lib.sh has the rules.
# `judged` stands between engine and runtime and writes its calls down, so that a build that went past the runtime (by
# chroot isolation, or with another runtime) does not pass.
# shellcheck disable=SC2016,SC2317 # single-quoted programs are for the container's shell; steps are called by name
. "$(dirname "$0")/lib.sh"
. "$here/podman-lib.sh"
sandbox "$@"

calls=$WORK/calls

set_up() {
    podman_rootful
    printf '#!/bin/sh\necho "$@" >>%s\nexec %s "$@"\n' "$calls" "$NUCLEUS" >bin/judged
    chmod 755 bin/judged
    containerfile
    buildah from --name work "$I"
}

# used VERB...: each was called since the last look.
used() {
    local verb
    for verb; do like "$(cat "$calls")" "(^| )$verb( |\$)" || return 1; done
    rm "$calls"
}

run() { buildah run --runtime "$WORK/bin/judged" --isolation oci "$@"; }

step_run() {
    want "$(run work sh -c 'echo $$ $(id -u) $FROM_IMAGE')" '1 0 yes'
    used create start state delete
}

step_exit_code() {
    local rc=0
    run work sh -c 'exit 7' 2>err || rc=$?
    want "$rc" 7
    rc=0
    run work /missing 2>err || rc=$?
    refused test "$rc" = 0
    like "$(cat err)" 'no such file or directory'
    run work true # and the next one is well
}

# By the variable, and by podman's file, which names $NUCLEUS: `judged` takes that place for a moment.
step_defaults() {
    BUILDAH_RUNTIME=$WORK/bin/judged buildah run work true
    used create start delete
    mv "$NUCLEUS" real
    sed "s|exec [^ ]*|exec $PWD/real|" bin/judged >"$NUCLEUS"
    chmod 755 "$NUCLEUS"
    buildah run work true
    mv real "$NUCLEUS"
    used create start delete
}

step_user() {
    want "$(run --user tester --workingdir /tmp --hostname inner --env A=b work sh -c 'echo $(id -un) $(pwd) $(hostname) $A')" \
        'tester /tmp inner b'
}

step_volume() {
    mkdir -p vol
    echo outside >vol/in
    want "$(run -v "$PWD/vol:/data" work sh -c 'cat /data/in; echo inside >/data/out')" outside
    want "$(cat vol/out)" inside
    refused run -v "$PWD/vol:/data:ro" work touch /data/no
    refused test -e vol/no
}

step_caps() {
    local plain
    plain=$((0x$(run work awk '/CapEff/ { print $2 }' /proc/self/status)))
    want $((plain & 0x80001)) 1 'chown, but not sys_ptrace'
    plain=$((0x$(run --cap-drop CAP_CHOWN --cap-add CAP_SYS_PTRACE work awk '/CapEff/ { print $2 }' /proc/self/status)))
    want $((plain & 0x80001)) $((0x80000)) 'the other way round'
}

step_stdin() { want "$(echo piped | run work cat)" piped; }

step_terminal() {
    like "$(script -qec "buildah run --runtime $WORK/bin/judged --isolation oci -t work sh -c 'test -t 0 && tty'" /dev/null)" \
        '/dev/pts/0'
    used create start
    run work sh -c 'test ! -t 0'
}

step_networks() {
    want "$(run --network none work ls /sys/class/net)" lo
    want "$(run --network host work readlink /proc/self/ns/net)" "$(readlink /proc/self/ns/net)"
}

# TERM to buildah becomes `kill` and the end of the container.
step_killed() {
    local p
    buildah run --runtime "$WORK/bin/judged" --isolation oci work sh -c 'echo up; exec sleep 1007' >up &
    p=$!
    until_true 20 grep -q up up
    kill -TERM "$p"
    refused wait "$p"
    until_true 10 no_sleep_1007
}
no_sleep_1007() { ! pgrep -fx 'sleep 1007'; }

step_commit() {
    run work sh -c 'mkdir /made && echo kept >/made/f && chown 1000:900 /made/f'
    buildah config --cmd 'stat -c %u:%g /made/f' work
    buildah commit -q work localhost/committed
    want "$(podman run --rm localhost/committed)" 1000:900
    podman rmi -f localhost/committed
}

built() { # COMMAND...: builds that file with it
    rm -f "$calls"
    "$@" build
    used create start delete
    want "$(podman run --rm localhost/built)" $'0\n/made\nb\ntester'
    podman rmi -f localhost/built
    want "$(ls /run/nucleus)" ''
}

step_failing() {
    local rc=0
    mkdir -p failing
    printf 'FROM %s\nRUN echo before; exit 9\n' "$I" >failing/Containerfile
    "$@" failing >err 2>&1 || rc=$?
    refused test "$rc" = 0
    like "$(cat err)" 'exit status 9'
    want "$(ls /run/nucleus)" ''
}

bud=(buildah build --runtime "$WORK/bin/judged" --isolation oci --no-cache -q -t localhost/built)
pb=(podman --runtime "$WORK/bin/judged" build --isolation oci --no-cache -q -t localhost/built)

holds 'set-up: configuration, image and working container' set_up
baseline
documented '(BUILDAH_RUNTIME=[^ ]* )?buildah '
holds 'buildah run: its calls come to the runtime' step_run
holds 'buildah run: the runtime by variable and by file' step_defaults
holds 'buildah run: exit codes, and a failure in between' step_exit_code
holds 'buildah run: user, directory, host name, environment' step_user
holds 'buildah run: volumes, rw and ro' step_volume
holds 'buildah run: capabilities' step_caps
holds 'buildah run: standard input' step_stdin
holds 'buildah run: a terminal, and none' step_terminal
holds 'buildah run: networks none and host' step_networks
holds 'buildah run: killed half-way' step_killed
holds 'buildah commit: what a run has made' step_commit
holds 'buildah build: two stages, mount, user' built "${bud[@]}"
holds 'buildah build: a step that fails' step_failing "${bud[@]}"
holds 'podman build: two stages, mount, user' built "${pb[@]}"
holds 'podman build: with --network none, --cap-drop, --ulimit' built "${pb[@]}" --network none --cap-drop mknod --ulimit nofile=100:200
holds 'podman build: a step that fails' step_failing "${pb[@]}"
buildah rm -a >/dev/null
! mountpoint -q "$WORK/storage/overlay" || umount "$WORK/storage/overlay"
leak_check buildah
finish build "$("$NUCLEUS" --version | head -n 1)"
